"""What happens next: the lifecycle is run, without Airflow, clock or service."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import sluice_provider.jobs
from sluice_provider.apis.finspace.changeset_job import ChangesetJob
from sluice_provider.errors import (
    ClientError,
    InvalidInput,
    JobFailed,
    OutcomeUnknown,
    ServerError,
    TimedOut,
    Unreachable,
)
from sluice_provider.jobs import events as on
from sluice_provider.jobs.lifecycle import MAX_TRIGGER_RESTARTS, Lifecycle, Options
from sluice_provider.jobs.model import Job, JobGroup, JobState
from sluice_provider.jobs.record import JobRecord, PhaseRecord, Submission
from sluice_provider.jobs.spec import Found, NoEffect, RepeatRequest, Resubmit, Unknown
from tests.jobs.echo_job import EchoJob, EchoPhase, GroupedPhase

STARTED = on.Started(100.0, "print", (0, 3), "seed")
CLEARED = STARTED._replace(now=500.0, clears=(1, 7), seed="other seed")
LOST = Unreachable("nobody answered", maybe_applied=True)


def work(*states, **counts):
    """The jobs of one phase, as the service describes them."""
    return JobGroup(tuple(Job(f"job-{number}", JobState(state), counts=counts) for number, state in enumerate(states)))


class Life:
    """Steps one after the other, remembering the record."""

    def __init__(self, spec=None, *, cancellable=False, record=None, **options):
        spec = spec or EchoJob()
        self.lifecycle = Lifecycle("echo", spec.next_phase, Options(**options), cancellable=lambda _kind: cancellable)
        self.record = record
        self.actions = []

    def __call__(self, *events):
        for event in events:
            self.record, self.actions = self.lifecycle.step(self.record, event)
        return [type(action).__name__ for action in self.actions if not isinstance(action, (on.Log, on.Count))]

    @property
    def error(self):
        return next(action.error for action in self.actions if isinstance(action, on.Fail))

    @property
    def phase(self):
        return self.record.phases[-1]


def submitted(**options):
    """A life whose one job was submitted."""
    life = Life(**options)
    life(STARTED, on.UnitPrepared(101.0), on.Submitted(102.0, (Submission("job-0"),)), on.AllSubmitted(103.0))
    return life


# --- in order


def test_from_beginning_to_end():
    """Each request is written down before it is sent, and its answer right after."""
    life = Life()
    assert life(STARTED) == ["Prepare"]
    assert life(on.UnitPrepared(101.0)) == ["Save", "Submit"]
    assert life.phase.intent.at == 101.0
    assert life(on.Submitted(102.0, (Submission("job-0"),))) == ["Save", "Prepare"]
    assert (life.phase.ids, life.phase.intent) == (("job-0",), None)
    assert life(on.AllSubmitted(103.0)) == ["Save", "Publish", "Poll"]
    assert life(on.Polled(104.0, work("running"))) == ["Save", "Wait"]
    assert life(on.Polled(105.0, work("succeeded", rows=3))) == ["FetchOutputs"]
    assert life(on.OutputsFetched(106.0, work("succeeded", rows=3), {"file": "x"})) == ["Save", "Finish"]
    assert life.phase.outcome == {"state": "succeeded", "counts": {"rows": 3}, "at": 106.0, "outputs": {"file": "x"}}


def test_a_deferrable_task_waits_in_the_triggerer():
    """After one look from the worker."""
    life = submitted(deferrable=True)
    assert life(on.Polled(104.0, work("running"))) == ["Save", "Defer"]
    assert life(on.Resumed(200.0)) == ["Publish", "Poll"]


def test_a_task_that_does_not_wait_ends_with_the_submission():
    """Its job goes on, and nobody calls that orphaned."""
    life = Life(wait_for_completion=False)
    life(STARTED, on.UnitPrepared(101.0), on.Submitted(102.0, (Submission("job-0"),)))
    assert life(on.AllSubmitted(103.0))[-1] == "Finish"
    assert life.record.summary["state"] == "submitted"


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_retry_of_a_task_that_does_not_wait_does_not_wait_either(deferrable):
    """The try before died between the submission and its end."""
    options = {"wait_for_completion": False, "deferrable": deferrable}
    life = Life(record=submitted(**options).record, **options)
    assert life(STARTED._replace(now=300.0)) == ["Poll"]
    assert life(on.Polled(301.0, work("running")))[-1] == "Finish"
    assert life.record.summary["state"] == "submitted"
    again = Life(record=submitted(**options).record, **options)
    again(STARTED._replace(now=300.0))
    assert again(on.PollFailed(301.0, LOST))[-1] == "Finish"
    cleared = Life(record=submitted(**options).record, **options)
    cleared(CLEARED, on.Polled(501.0, work("running")))
    assert cleared(on.Polled(502.0, work("running")))[-1] == "Finish"


def test_phases_follow_each_other():
    """The second is begun when the first has ended."""
    life = Life(EchoJob(EchoPhase("one", last=False), EchoPhase("two")))
    life(STARTED, on.UnitPrepared(1.0), on.Submitted(2.0, (Submission("job-0"),)), on.AllSubmitted(3.0))
    life(on.Polled(4.0, work("succeeded")))
    assert life(on.OutputsFetched(5.0, work("succeeded"), {})) == ["Save", "Prepare"]
    life(on.UnitPrepared(6.0))
    assert [phase.name for phase in life.record.phases] == ["one", "two"]


def test_what_is_there_already_is_not_submitted():
    """Its id is adopted."""
    life = Life()
    life(STARTED)
    assert life(on.UnitFound(101.0, "job-7")) == ["Save", "Prepare"]
    assert life.phase.ids == ("job-7",)


def test_a_grouped_phase_is_written_down_once_for_many_requests():
    """The intent stays until all was submitted, as repeats do no harm."""
    life = Life(EchoJob(GroupedPhase(units=4)))
    life(STARTED, on.UnitPrepared(101.0, 0, 1))
    first = (Submission("a", 0, 1), Submission("b", 1, 1))
    assert life(on.Submitted(102.0, first)) == ["Save", "Submit"]
    assert life.phase.intent is not None
    last = (Submission("c", 2, 1), Submission("d", 3, 1))
    assert life(on.Submitted(103.0, last, complete=True)) == ["Save", "Publish", "Poll"]
    assert (life.phase.ids, life.phase.complete) == (("a", "b", "c", "d"), True)


# --- a step is pure


def test_a_step_changes_nothing_but_returns():
    """The record before is as it was, and the same step gives the same again."""
    life = Life()
    life(STARTED, on.UnitPrepared(101.0))
    before = life.record
    copy = JobRecord(*before)
    one = life.lifecycle.step(before, on.Submitted(102.0, (Submission("job-0"),)))
    two = life.lifecycle.step(before, on.Submitted(102.0, (Submission("job-0"),)))
    assert one == two
    assert before == copy


def test_to_ask_a_record_changes_nothing():
    """A phase that was never begun is an empty one, and stays so."""
    record = JobRecord("print")
    assert record.phase("echo").submissions == ()
    assert (record.phases, record.current) == ((), None)


def test_the_lifecycle_knows_no_airflow_clock_or_network():
    """By its imports."""
    path = Path(sluice_provider.jobs.__file__).parent
    for module in ("lifecycle", "record", "events", "storage"):
        for node in ast.walk(ast.parse((path / f"{module}.py").read_text())):
            names = [alias.name for alias in getattr(node, "names", ())] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"airflow", "httpx", "time", "asyncio", "threading"}


# --- outcome unknown


def test_a_lost_answer_is_looked_for_at_once():
    """By the living process, before anything is sent again."""
    life = Life()
    life(STARTED, on.UnitPrepared(101.0))
    assert life(on.SubmissionFailed(131.0, LOST)) == ["Save", "Reconcile"]
    assert life.phase.intent.at == 101.0


def test_the_next_try_does_the_same():
    """It finds the intent and looks."""
    life = Life()
    life(STARTED, on.UnitPrepared(101.0))
    later = Life(record=life.record)
    assert later(STARTED._replace(now=400.0)) == ["Reconcile"]


@pytest.mark.parametrize(
    ("effect", "actions", "attempt"),
    [
        (Found("job-9"), ["Save", "Prepare"], 0),
        (NoEffect(), ["Save", "Prepare"], 0),
        (RepeatRequest("harmless"), ["Save", "Prepare"], 0),
        (Resubmit("allowed"), ["Save", "Prepare"], 1),
        (Unknown(OutcomeUnknown("look there")), ["Save", "Fail"], 0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_became_of_it(effect, actions, attempt):
    """Decides what comes next."""
    life = Life()
    life(STARTED, on.UnitPrepared(101.0), on.SubmissionFailed(131.0, LOST))
    assert life(on.Reconciled(250.0, effect)) == actions
    assert life.phase.attempt == attempt
    assert life.phase.ids == (("job-9",) if isinstance(effect, Found) else ())


def test_a_repeated_key_does_not_become_younger():
    """It lives from when it was first used."""
    life = Life()
    life(STARTED, on.UnitPrepared(101.0, key="k"), on.SubmissionFailed(131.0, LOST))
    life(on.Reconciled(132.0, RepeatRequest("same key")), on.UnitPrepared(133.0, key="k"))
    assert life.phase.intent.at == 101.0


def test_a_refused_repeat_settles_nothing():
    """The first request may still have been applied; a first request that is refused was not."""
    life = Life()
    life(STARTED, on.UnitPrepared(101.0, key="k"), on.SubmissionFailed(131.0, LOST))
    life(on.Reconciled(132.0, RepeatRequest("same key")), on.UnitPrepared(133.0, key="k"))
    life(on.SubmissionFailed(134.0, ClientError("no")))
    assert life.phase.intent is not None
    first = Life()
    first(STARTED, on.UnitPrepared(101.0))
    assert first(on.SubmissionFailed(102.0, ClientError("no"))) == ["Save", "Fail"]
    assert first.phase.intent is None


def test_it_is_not_submitted_for_ever():
    """Twice without an effect is enough for one try."""
    life = Life()
    life(STARTED, on.UnitPrepared(101.0), on.SubmissionFailed(131.0, LOST), on.Reconciled(250.0, NoEffect()))
    life(on.UnitPrepared(251.0), on.SubmissionFailed(281.0, LOST))
    assert life(on.Reconciled(400.0, NoEffect())) == ["Save", "Fail"]
    assert isinstance(life.error, Unreachable)


# --- retries


def test_a_retry_reconnects():
    """To the job of the try before."""
    life = submitted()
    later = Life(record=life.record)
    assert later(STARTED._replace(now=300.0)) == ["Poll"]
    assert later(on.Polled(301.0, work("running"))) == ["Publish", "Save", "Wait"]


def test_a_retry_submits_again_what_failed():
    """And remembers what it took the place of."""
    life = submitted()
    later = Life(record=life.record)
    later(STARTED._replace(now=300.0))
    assert later(on.Polled(301.0, work("failed", processed=5))) == ["Save", "Prepare"]
    assert (later.phase.ids, later.phase.attempt) == ((), 1)
    assert [tuple(job) for job in later.record.replaced] == [("job-0", "failed", 5)]


def test_not_durable_begins_anew():
    """Whatever is in the record."""
    life = submitted()
    later = Life(record=life.record, durable=False)
    assert later(STARTED._replace(now=300.0)) == ["Prepare"]


def test_other_input_is_other_work():
    """What was submitted before is told in the result."""
    later = Life(record=submitted().record)
    assert later(STARTED._replace(now=300.0, fingerprint="other")) == ["Prepare"]
    assert [job.id for job in later.record.replaced] == ["job-0"]


def test_input_that_cannot_be_read_any_more():
    """Matters only if some of it was not submitted."""
    gone = STARTED._replace(now=300.0, input_error=InvalidInput("no such file"))
    assert Life(record=submitted().record)(gone) == ["Poll"]
    half = Life()
    half(STARTED, on.UnitPrepared(101.0))
    with pytest.raises(InvalidInput, match="no such file"):
        Life(record=half.record)(gone)


OTHER_PHASE = EchoJob(EchoPhase("another"))


@pytest.mark.parametrize("after", ["submitted", "intent"])
@pytest.mark.parametrize(
    "event", [STARTED._replace(now=300.0), on.Resumed(300.0), CLEARED], ids=["retry", "back", "clear"]
)
def test_an_open_phase_that_is_no_part_of_the_work_any_more(after, event):
    """The author has changed an argument, or a newer version has made it: it is not touched, and the work goes on."""
    life = submitted()
    if after == "intent":
        life = Life()
        life(STARTED, on.UnitPrepared(101.0))
    later = Life(OTHER_PHASE, record=life.record)
    assert later(event)[-1] == "Prepare"
    assert any(isinstance(action, on.Log) and action.level == "warning" for action in later.actions)
    later(on.UnitPrepared(301.0), on.Submitted(302.0, (Submission("job-7"),)))
    assert later(on.AllSubmitted(303.0))[-1] == "Poll"
    assert later.phase.ids == ("job-7",)


@pytest.mark.parametrize("outcome", [None, {"state": "succeeded", "counts": {}, "at": 1.0}], ids=["open", "ended"])
def test_changesets_are_counted_by_their_names(outcome):
    """A phase that a newer version has put before them takes no change requests away."""
    requests = [{"changeType": "DELETE", "dbPath": f"/{number}/"} for number in range(3)]
    arguments = {"client_token": None, "ensure_database": False, "dry_run": False, "region_name": None}
    spec = ChangesetJob(environment_id="e", database_name="d", change_requests=requests, max_requests=2, **arguments)
    other = PhaseRecord("database", submissions=(Submission("x"),), outcome=outcome)
    first = PhaseRecord("changeset-1", submissions=(Submission("a", 0, 2),), outcome={"counts": {}})
    last = PhaseRecord("changeset-2", submissions=(Submission("b", 2, 1),), outcome={"counts": {}})
    names = [spec.next_phase(JobRecord("print", phases=phases)) for phases in ((other,), (other, first))]
    assert [phase.name for phase in names] == ["changeset-1", "changeset-2"]
    assert spec.next_phase(JobRecord("print", phases=(other, first, last))) is None


def test_to_be_told_to_stop_with_an_open_phase_that_is_no_part_of_the_work_any_more():
    """There is nothing to cancel in this work."""
    later = Life(OTHER_PHASE, record=submitted().record, cancellable=True)
    later(STARTED._replace(now=300.0))
    assert later(on.Terminated(301.0, True, "the task was marked failed")) == []


# --- clears


def test_a_clear_of_a_running_job_that_can_be_cancelled():
    """It is cancelled, seen cancelled, and then submitted again."""
    life = Life(record=submitted().record, cancellable=True)
    assert life(CLEARED) == ["Save", "Poll"]
    assert life(on.Polled(501.0, work("running"))) == ["Save", "Cancel"]
    assert life(on.CancelRequested(502.0))[-1] == "Wait"
    assert life(on.Polled(510.0, work("cancelled", processed=2))) == ["Prepare"]
    assert (life.record.seed, life.record.clears, life.record.rerun) == ("other seed", (1, 7), None)
    assert [tuple(job) for job in life.record.replaced] == [("job-0", "cancelled", 2)]


def test_a_clear_of_a_running_job_that_cannot_be_cancelled():
    """It is what the user gets."""
    life = Life(record=submitted().record)
    life(CLEARED)
    assert life(on.Polled(501.0, work("running")))[-1] == "Poll"
    assert life.record.clears == (1, 7)


def test_a_clear_of_a_job_that_is_over():
    """Means: do it again."""
    life = Life(record=submitted().record, cancellable=True)
    life(CLEARED)
    assert life(on.Polled(501.0, work("succeeded"))) == ["Prepare"]
    assert life.record.phases == ()


def test_a_trigger_that_dies_while_a_cleared_job_is_being_cancelled():
    """Again and again: that ends, too, and so does a wait whose trigger gave up."""
    life = Life(record=submitted().record, cancellable=True, deferrable=True)
    life(CLEARED, on.Polled(501.0, work("running")))
    assert life(on.CancelRequested(502.0))[-1] == "Defer"
    for _ in range(MAX_TRIGGER_RESTARTS):
        life(on.Resumed(510.0, restart="it died"))
        assert life(on.Polled(511.0, work("running")))[-1] == "Defer"
    life(on.Resumed(520.0, restart="it died"))
    assert life(on.Polled(521.0, work("running")))[-1] == "Fail"


def test_a_trigger_that_gives_up_while_a_cleared_job_is_being_cancelled():
    """What it says is the error, if the job is not over."""
    life = Life(record=submitted().record, cancellable=True, deferrable=True)
    life(CLEARED, on.Polled(501.0, work("running")), on.CancelRequested(502.0))
    life(on.Resumed(510.0, LOST))
    assert life(on.Polled(511.0, work("running")))[-1] == "Fail"
    assert isinstance(life.error, Unreachable)


def test_only_one_count_that_has_risen_is_no_clear():
    """Another task of the run was cleared."""
    life = Life(record=submitted().record)
    assert life(STARTED._replace(now=500.0, clears=(1, 3))) == ["Poll"]
    assert life.record.rerun is None


# --- told to stop


@pytest.mark.parametrize("cancellable", [True, False])
@pytest.mark.parametrize("user", [True, False])
def test_told_to_stop(user, cancellable):
    """A job is cancelled only on evidence that a user ended this try, and where the service can."""
    life = submitted(cancellable=cancellable)
    assert life(on.Terminated(200.0, user, "why")) == (["Save", "Cancel"] if user and cancellable else [])


def test_what_is_being_cancelled_stays_so_until_it_is_over():
    """A process that was told to stop may still see its job run."""
    life = submitted(cancellable=True)
    life(on.Terminated(200.0, True, "why"), on.StatusSeen(201.0, work("running"), "still there"))
    assert life.record.summary["state"] == "cancelling"
    life(on.StatusSeen(202.0, work("cancelled"), "gone"))
    assert life.record.summary["state"] == "cancelled"


def test_a_cancellation_that_the_service_rejects_is_not_shown_for_ever():
    """The job goes on: the page says so, and the log says what to do about it."""
    life = submitted(cancellable=True)
    life(on.Terminated(200.0, True, "the task was marked failed"))
    assert life(on.CancelFailed(201.0, ClientError("409: too late"))) == ["Save"]
    assert life.record.summary["state"] == "running"
    assert "409: too late" in life.record.last_text("error")


def test_a_cancellation_for_a_cleared_task_that_the_service_rejects():
    """The try fails, and the next one cancels again before it submits anything."""
    life = Life(record=submitted().record, cancellable=True)
    life(CLEARED, on.Polled(501.0, work("running")))
    assert life(on.CancelFailed(502.0, ServerError("503")))[-1] == "Fail"
    assert life.record.summary["state"] == "running"
    again = Life(record=life.record, cancellable=True)
    again(CLEARED._replace(now=600.0))
    assert again(on.Polled(601.0, work("running")))[-1] == "Cancel"


def test_told_to_stop_before_anything_was_submitted():
    """There is nothing to cancel."""
    life = Life(cancellable=True)
    life(STARTED)
    assert life(on.Terminated(200.0, True, "the task was marked failed")) == []


# --- waiting


def test_a_wait_has_an_end():
    """The job goes on, and the error says so."""
    life = submitted(timeout=50.0)
    assert life(on.Polled(200.0, work("running"))) == ["Save", "Fail"]
    assert isinstance(life.error, TimedOut)
    assert "continues in echo" in str(life.error)


def test_a_status_check_that_fails_says_nothing_of_the_job():
    """The wait goes on; at its end it is the error."""
    life = submitted()
    assert life(on.PollFailed(104.0, LOST)) == ["Save", "Wait"]
    assert life(on.PollFailed(904.0, LOST, final=True)) == ["Save", "Fail"]


def test_triggers_that_die_again_and_again():
    """Are replaced, but not for ever."""
    life = submitted(deferrable=True)
    for _ in range(MAX_TRIGGER_RESTARTS):
        life(on.Polled(104.0, work("running")))
        assert life(on.Resumed(200.0, restart="it died")) == ["Save", "Publish", "Poll"]
    life(on.Polled(201.0, work("running")), on.Resumed(300.0, restart="it died"))
    assert life(on.Polled(301.0, work("running"))) == ["Save", "Fail"]


def test_a_failed_job_fails_the_try():
    """In the service's own words."""
    life = submitted()
    assert life(on.Polled(104.0, work("failed"))) == ["Explain", "Save", "Fail"]
    assert isinstance(life.error, JobFailed)
    assert "the next try submits again" in str(life.error)
