"""The life of a job, points 4 to 6: the wait, what comes back from it, and what happens when it breaks."""

from __future__ import annotations

import pytest

from sluice_provider.errors import JobFailed, ServerError, TimedOut, UnexpectedResponse, Unreachable
from sluice_provider.jobs import lifecycle
from tests.operators.airflow_harness import UNKNOWN

pytestmark = pytest.mark.airflow

WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["plain", "deferrable"])


# --- cadence


@WAYS
def test_polls_grow_rarer_with_the_age_of_the_job(push, remote, clock, deferrable):
    """A young job is polled every second, an old one every tenth of its age."""
    remote.settings(job_seconds=200)
    life = push(deferrable=deferrable).go()
    assert life.state == "success"
    age = 0.0
    for nap in clock.naps:
        assert max(1.0, age / 10) * 0.85 < nap < max(1.0, age / 10) * 1.15 + 0.3, (age, nap)
        age += nap
    assert len(clock.naps) < 60
    assert age < 200 * 1.15


@WAYS
def test_the_poll_interval_is_the_longest_pause(push, remote, clock, deferrable):
    """As the author said."""
    remote.settings(job_seconds=60)
    push(deferrable=deferrable, poll_interval=2.5).go()
    assert max(clock.naps) == 2.5


def test_only_news_is_told(push, remote):
    """A change of the state is one INFO line; a status check without news is none."""
    remote.settings(job_seconds=30)
    life = push().go()
    told = [line.split(" ", 4)[-1].strip() for line in life.log if "INFO kaleidoscope import" in line]
    assert told == ["created", "processing", "completed, created 3"]


@pytest.mark.parametrize("timeout", [float("inf"), 1e13], ids=["for ever", "longer than any calendar"])
@WAYS
def test_a_wait_without_an_end(push, remote, deferrable, timeout):
    """It is nothing to fail about after the job was submitted."""
    life = push(deferrable=deferrable, timeout=timeout, retries=0).go()
    assert (life.state, len(remote.imports)) == ("success", 1), life.error


# --- failures that pass


@WAYS
def test_a_poll_that_fails_in_passing_is_not_news(push, remote, deferrable):
    """The service is away for many requests in the middle of the wait, and the task does not notice."""
    remote.settings(job_seconds=20)
    remote.trouble("GET", "imports/", status=503, times=20, skip=3)
    life = push(deferrable=deferrable, retries=0).go()
    assert (life.state, len(remote.imports)) == ("success", 1)


@WAYS
def test_the_first_poll_may_fail_too(push, remote, deferrable):
    """Also the one before deferring."""
    remote.trouble("GET", "imports/", drop="before", times=7)
    life = push(deferrable=deferrable, retries=0).go()
    assert (life.state, len(remote.imports)) == ("success", 1)
    assert life.said("WARNING", "polling continues")


@WAYS
def test_the_patience_has_an_end(push, remote, deferrable, monkeypatch):
    """A service that stays away fails the try; the next one reconnects to the import."""
    monkeypatch.setattr(lifecycle, "MAX_TRIGGER_RESTARTS", 1)
    remote.settings(job_seconds=20)
    remote.trouble("GET", "imports/", status=503)
    life = push(deferrable=deferrable).go()
    assert isinstance(life.error, (ServerError, Unreachable))
    remote.faults([])
    life.retry()
    assert (life.state, len(remote.imports)) == ("success", 1)


def test_the_service_says_when_to_poll_again(push, remote, clock):
    """Retry-After on a status check is obeyed."""
    remote.trouble("GET", "imports/", status=429, headers={"Retry-After": "600"}, times=1, skip=1)
    assert push().go().state == "success"
    assert 600 in clock.naps


def test_new_credentials_are_picked_up_while_deferred(push, remote, sluice_sandbox, monkeypatch):
    """The trigger looks the connection up again before it gives up."""
    life = push(deferrable=True).defer()
    remote.trouble("GET", "imports/", status=401, times=2)
    event = life.event()
    assert event["status"] == "over"
    assert life.said("WARNING", "reading connection kaleidoscope_default again")


# --- the deadline


@WAYS
def test_the_deadline_counts_from_the_submission(push, remote, clock, deferrable):
    """However long the task was away, the import is older than allowed, and one status check more is made."""
    remote.settings(job_seconds=1000)
    life = push(timeout=100, deferrable=deferrable)
    with life.death("all written"):
        life.go()
    clock.move(90)
    life.retry()
    assert isinstance(life.error, TimedOut)
    assert "The job continues in Kaleidoscope" in str(life.error)
    assert 8 < sum(clock.naps) < 11
    naps = len(clock.naps)
    life.retry()
    assert isinstance(life.error, TimedOut)
    assert len(clock.naps) == naps
    clock.move(1000)
    life.retry()
    assert (life.state, len(remote.imports)) == ("success", 1)


# --- what comes back is not trusted

GARBAGE = [
    None,
    "over",
    {},
    {"status": "over"},
    {"status": "perhaps", "job": {"service": "kaleidoscope", "job_type": "import", "ids": ["x"], "locator": {}}},
    {"status": "over", "job": {"service": "kaleidoscope", "job_type": "import", "ids": [7], "locator": {}}},
]


@pytest.mark.parametrize("event", GARBAGE, ids=repr)
def test_an_unknown_event_is_an_error_while_the_job_runs(push, remote, event):
    """It says nothing, so the try fails, and the next one reconnects."""
    life = push(deferrable=True).defer().fire(event).leg()
    assert isinstance(life.error, UnexpectedResponse)
    assert "The job continues in Kaleidoscope" in str(life.error)
    life.retry()
    assert (life.state, len(remote.imports)) == ("success", 1)


def test_an_unknown_event_does_not_matter_once_the_job_is_over(push, remote, clock):
    """The service's word counts, not the event's."""
    life = push(deferrable=True).defer()
    clock.move(10)
    life.fire("gibberish").leg()
    assert (life.state, life.result["created"]) == ("success", 3)


def test_an_event_that_calls_a_running_job_over_is_not_believed(push, remote):
    """The job is polled, found running, and waited for."""
    life = push(deferrable=True).defer()
    event = {"status": "over", "job": life.trigger().job, "message": "all done"}
    assert life.fire(event).leg().state == "deferred"
    life.fire().leg()
    assert (life.state, len(remote.imports)) == ("success", 1)


def test_an_event_of_another_job_is_not_believed(push, remote, clock):
    """The record says which job is ours."""
    life = push(deferrable=True).defer()
    event = {"status": "over", "job": {**life.trigger().job, "ids": [UNKNOWN]}, "message": ""}
    assert life.fire(event).leg().state == "deferred"
    assert life.trigger().job["ids"] == remote.imports


def test_how_a_job_failed_is_told_by_the_service(push, remote):
    """The event says that it is over; how it ended is asked."""
    remote.settings(fail_imports=1)
    life = push(deferrable=True).defer().fire().leg()
    assert isinstance(life.error, JobFailed)
    assert "failed_row" in str(life.error)


def test_without_its_record_the_task_goes_by_what_was_watched(push, remote):
    """A user cleared the state store meanwhile: no second import."""
    life = push(deferrable=True).defer().forget().fire().leg()
    assert (life.state, len(remote.imports)) == ("success", 1)
    assert life.result["import_ids"] == remote.imports
    assert life.said("WARNING", "The record of this task was deleted")


@pytest.mark.parametrize(
    "event",
    [
        "gibberish",
        {"status": "over", "job": {"service": "kaleidoscope", "job_type": "walk", "ids": ["1"], "locator": {}}},
    ],
    ids=["garbage", "other kind"],
)
def test_without_its_record_and_a_good_event_the_task_fails(push, remote, event):
    """Nothing is left to go by, and nothing is pushed on the off chance."""
    life = push(deferrable=True).defer().forget().fire(event).leg()
    assert isinstance(life.error, UnexpectedResponse)
    assert len(remote.imports) == 1


# --- the wait itself breaks


def test_a_trigger_that_crashed_is_replaced(push, remote):
    """The job is polled from the worker and waited for again; nothing is pushed."""
    life = push(deferrable=True).defer().crash().leg()
    assert life.state == "deferred"
    assert life.said("WARNING", "The trigger ended without an event (Trigger failure)")
    life.fire().leg()
    assert (life.state, len(remote.imports)) == ("success", 1)


def test_triggers_that_keep_crashing_are_not_replaced_for_ever(push, remote, monkeypatch):
    """After so many, the try fails and says why; the next one reconnects."""
    monkeypatch.setattr(lifecycle, "MAX_TRIGGER_RESTARTS", 3)
    remote.settings(job_seconds=1000)
    life = push(deferrable=True).defer()
    for _ in range(3):
        assert life.crash().leg().state == "deferred"
    life.crash().leg()
    assert isinstance(life.error, Unreachable)
    assert "3 times" in str(life.error)
    life.retry()
    assert (life.state, len(remote.imports)) == ("success", 1)


@pytest.mark.parametrize("breaks", ["crash", "overdue"])
def test_a_trigger_that_broke_after_the_job_had_ended_does_not_matter(push, remote, clock, breaks):
    """One status check from the worker finds the end."""
    life = push(deferrable=True).defer()
    clock.move(10)
    getattr(life, breaks)().leg()
    assert (life.state, life.result["created"], len(remote.imports)) == ("success", 3, 1)


@pytest.mark.parametrize("breaks", ["crash", "overdue"])
def test_a_trigger_that_broke_while_the_job_failed(push, remote, clock, breaks):
    """One status check from the worker finds the failure, in the service's words."""
    remote.settings(fail_imports=1)
    life = push(deferrable=True).defer()
    clock.move(10)
    getattr(life, breaks)().leg()
    assert isinstance(life.error, JobFailed)
    assert len(remote.imports) == 1


def test_a_trigger_that_hung_until_the_backstop_is_the_deadline(push, remote):
    """Airflow's own timeout, behind the trigger's: the job still runs, so it took too long."""
    remote.settings(job_seconds=1000)
    life = push(deferrable=True).defer().overdue().leg()
    assert isinstance(life.error, TimedOut)
    life.retry()
    assert (life.state, len(remote.imports)) == ("success", 1)


def test_the_backstop_is_behind_the_deadline(push):
    """Airflow must not end the trigger before it can say something itself."""
    life = push(deferrable=True, timeout=1000, poll_interval=50).defer()
    with life.row() as row:
        left = (row.trigger_timeout - row.updated_at).total_seconds()
    assert 1050 < left < 1500


def test_a_broken_trigger_without_a_record_fails(push, remote):
    """Nothing is left to go by, and nothing is pushed on the off chance."""
    life = push(deferrable=True).defer().forget().crash().leg()
    assert isinstance(life.error, UnexpectedResponse)
    assert len(remote.imports) == 1
