"""Waiting for a job: polling, the trigger's event, and failures of the wait."""

from __future__ import annotations

import pytest

from sluice_provider.errors import JobFailed, ServerError, TimedOut, UnexpectedResponse, Unreachable
from sluice_provider.jobs import lifecycle
from tests.operators.airflow_harness import UNKNOWN

pytestmark = pytest.mark.airflow

WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["plain", "deferrable"])


# --- cadence


@WAYS
def test_polls_grow_rarer_with_the_age_of_the_job(push, service, clock, deferrable):
    """A young job is polled every second, an old one every tenth of its age."""
    service.settings(job_seconds=200)
    task = push(deferrable=deferrable).run()
    assert task.state == "success"
    age = 0.0
    for sleep in clock.sleeps:
        assert max(1.0, age / 10) * 0.85 < sleep < max(1.0, age / 10) * 1.15 + 0.3, (age, sleep)
        age += sleep
    assert len(clock.sleeps) < 60
    assert age < 200 * 1.15


@WAYS
def test_the_poll_interval_is_the_longest_pause(push, service, clock, deferrable):
    """As the author said, but for jitter."""
    service.settings(job_seconds=60)
    push(deferrable=deferrable, poll_interval=2.5).run()
    assert 2.5 * 0.95 <= max(clock.sleeps) <= 2.5


def test_only_changes_are_logged(push, service):
    """A change of the state is one INFO line; a status check without a change is none."""
    service.settings(job_seconds=30)
    task = push().run()
    lines = [line.split(" ", 4)[-1].strip() for line in task.log if "INFO Kaleidoscope import" in line]
    assert lines == ["created", "processing", "completed, created 3"]


@pytest.mark.parametrize("timeout", [float("inf"), 1e13], ids=["for ever", "longer than any calendar"])
@WAYS
def test_a_wait_without_an_end(push, service, deferrable, timeout):
    """It is nothing to fail about after the job was submitted."""
    task = push(deferrable=deferrable, timeout=timeout, retries=0).run()
    assert (task.state, len(service.imports)) == ("success", 1), task.error


# --- failures that pass


@WAYS
def test_transient_poll_failures_are_tolerated(push, service, deferrable):
    """The service is away for many requests in the middle of the wait, and the task does not notice."""
    service.settings(job_seconds=20)
    service.inject_fault("GET", "imports/", status=503, times=20, skip=3)
    task = push(deferrable=deferrable, retries=0).run()
    assert (task.state, len(service.imports)) == ("success", 1)


@WAYS
def test_the_first_poll_may_fail_too(push, service, deferrable):
    """Also the one before deferring."""
    service.inject_fault("GET", "imports/", drop="before", times=7)
    task = push(deferrable=deferrable, retries=0).run()
    assert (task.state, len(service.imports)) == ("success", 1)
    assert task.logged("WARNING", "polling continues")


@WAYS
def test_the_patience_has_an_end(push, service, deferrable, monkeypatch):
    """A service that stays away fails the try; the next one reconnects to the import."""
    monkeypatch.setattr(lifecycle, "MAX_TRIGGER_RESTARTS", 1)
    service.settings(job_seconds=20)
    service.inject_fault("GET", "imports/", status=503)
    task = push(deferrable=deferrable).run()
    assert isinstance(task.error, (ServerError, Unreachable))
    service.faults([])
    task.retry()
    assert (task.state, len(service.imports)) == ("success", 1)


def test_the_service_says_when_to_poll_again(push, service, clock):
    """Retry-After on a status check is obeyed; jitter only adds to it."""
    service.inject_fault("GET", "imports/", status=429, headers={"Retry-After": "600"}, times=1, skip=1)
    assert push().run().state == "success"
    assert 600 <= max(clock.sleeps) <= 600 * 1.2


def test_new_credentials_are_picked_up_while_deferred(push, service, sluice_sandbox, monkeypatch):
    """The trigger reads the connection again before it fails."""
    task = push(deferrable=True).defer()
    service.inject_fault("GET", "imports/", status=401, times=2)
    event = task.event()
    assert event["status"] == "over"
    assert task.logged("WARNING", "reading connection kaleidoscope_default again")


# --- the deadline


@WAYS
def test_the_deadline_counts_from_the_submission(push, service, clock, deferrable):
    """However long the task was away, the import is older than allowed, and one status check more is made."""
    service.settings(job_seconds=1000)
    task = push(timeout=100, deferrable=deferrable)
    with task.death("all written"):
        task.run()
    clock.move(90)
    task.retry()
    assert isinstance(task.error, TimedOut)
    assert "The job continues in Kaleidoscope" in str(task.error)
    assert 8 < sum(clock.sleeps) < 11
    count = len(clock.sleeps)
    task.retry()
    assert isinstance(task.error, TimedOut)
    assert len(clock.sleeps) == count
    clock.move(1000)
    task.retry()
    assert (task.state, len(service.imports)) == ("success", 1)


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
def test_an_unknown_event_is_an_error_while_the_job_runs(push, service, event):
    """It says nothing, so the try fails, and the next one reconnects."""
    task = push(deferrable=True).defer().fire(event).worker_run()
    assert isinstance(task.error, UnexpectedResponse)
    assert "The job continues in Kaleidoscope" in str(task.error)
    task.retry()
    assert (task.state, len(service.imports)) == ("success", 1)


def test_an_unknown_event_does_not_matter_once_the_job_is_over(push, service, clock):
    """The service's word counts, not the event's."""
    task = push(deferrable=True).defer()
    clock.move(10)
    task.fire("gibberish").worker_run()
    assert (task.state, task.result["created"]) == ("success", 3)


def test_an_event_that_calls_a_running_job_over_is_not_believed(push, service):
    """The job is polled, found running, and waited for."""
    task = push(deferrable=True).defer()
    event = {"status": "over", "job": task.trigger().job, "message": "all done"}
    assert task.fire(event).worker_run().state == "deferred"
    task.fire().worker_run()
    assert (task.state, len(service.imports)) == ("success", 1)


def test_an_event_of_another_job_is_not_believed(push, service, clock):
    """The record says which job is ours."""
    task = push(deferrable=True).defer()
    event = {"status": "over", "job": {**task.trigger().job, "ids": [UNKNOWN]}, "message": ""}
    assert task.fire(event).worker_run().state == "deferred"
    assert task.trigger().job["ids"] == service.imports


def test_the_reason_of_a_failure_comes_from_the_service(push, service):
    """The event says that it is over; the worker requests the outcome."""
    service.settings(fail_imports=1)
    task = push(deferrable=True).defer().fire().worker_run()
    assert isinstance(task.error, JobFailed)
    assert "failed_row" in str(task.error)


def test_without_its_record_the_task_goes_by_what_was_watched(push, service):
    """A user cleared the state store meanwhile: no second import."""
    task = push(deferrable=True).defer().delete_state().fire().worker_run()
    assert (task.state, len(service.imports)) == ("success", 1)
    assert task.result["import_ids"] == service.imports
    assert task.logged("WARNING", "The record of this task was deleted")


@pytest.mark.parametrize(
    "event",
    [
        "gibberish",
        {"status": "over", "job": {"service": "kaleidoscope", "job_type": "walk", "ids": ["1"], "locator": {}}},
    ],
    ids=["garbage", "other kind"],
)
def test_without_its_record_and_a_good_event_the_task_fails(push, service, event):
    """Nothing shows what was submitted, so nothing is pushed."""
    task = push(deferrable=True).defer().delete_state().fire(event).worker_run()
    assert isinstance(task.error, UnexpectedResponse)
    assert len(service.imports) == 1


# --- the wait itself breaks


def test_a_trigger_that_crashed_is_replaced(push, service):
    """The job is polled from the worker and waited for again; nothing is pushed."""
    task = push(deferrable=True).defer().fail_trigger().worker_run()
    assert task.state == "deferred"
    assert task.logged("WARNING", "The trigger ended without an event (Trigger failure)")
    task.fire().worker_run()
    assert (task.state, len(service.imports)) == ("success", 1)


def test_triggers_that_keep_crashing_are_not_replaced_for_ever(push, service, monkeypatch):
    """After so many, the try fails and says why; the next one reconnects."""
    monkeypatch.setattr(lifecycle, "MAX_TRIGGER_RESTARTS", 3)
    service.settings(job_seconds=1000)
    task = push(deferrable=True).defer()
    for _ in range(3):
        assert task.fail_trigger().worker_run().state == "deferred"
    task.fail_trigger().worker_run()
    assert isinstance(task.error, Unreachable)
    assert "3 times" in str(task.error)
    task.retry()
    assert (task.state, len(service.imports)) == ("success", 1)


@pytest.mark.parametrize("breaks", ["fail_trigger", "time_out_trigger"])
def test_a_trigger_that_broke_after_the_job_had_ended_does_not_matter(push, service, clock, breaks):
    """One status check from the worker finds the end."""
    task = push(deferrable=True).defer()
    clock.move(10)
    getattr(task, breaks)().worker_run()
    assert (task.state, task.result["created"], len(service.imports)) == ("success", 3, 1)


@pytest.mark.parametrize("breaks", ["fail_trigger", "time_out_trigger"])
def test_a_trigger_that_broke_while_the_job_failed(push, service, clock, breaks):
    """One status check from the worker finds the failure, in the service's words."""
    service.settings(fail_imports=1)
    task = push(deferrable=True).defer()
    clock.move(10)
    getattr(task, breaks)().worker_run()
    assert isinstance(task.error, JobFailed)
    assert len(service.imports) == 1


def test_a_trigger_that_hung_until_the_backstop_is_the_deadline(push, service):
    """Airflow's own timeout, behind the trigger's: the job still runs, so it took too long."""
    service.settings(job_seconds=1000)
    task = push(deferrable=True).defer().time_out_trigger().worker_run()
    assert isinstance(task.error, TimedOut)
    task.retry()
    assert (task.state, len(service.imports)) == ("success", 1)


def test_the_backstop_is_behind_the_deadline(push):
    """Airflow must not end the trigger before it can say something itself."""
    task = push(deferrable=True, timeout=1000, poll_interval=50).defer()
    with task.row() as row:
        left = (row.trigger_timeout - row.updated_at).total_seconds()
    assert 1050 < left < 1500


def test_a_broken_trigger_without_a_record_fails(push, service):
    """Nothing shows what was submitted, so nothing is pushed."""
    task = push(deferrable=True).defer().delete_state().fail_trigger().worker_run()
    assert isinstance(task.error, UnexpectedResponse)
    assert len(service.imports) == 1
