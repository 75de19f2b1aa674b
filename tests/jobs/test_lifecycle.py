"""The steps of the lifecycle, without Airflow, clock or service."""

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
from sluice_provider.jobs.lifecycle import BRIEF_WAIT_SECONDS, MAX_TRIGGER_RESTARTS, Lifecycle, Options
from sluice_provider.jobs.model import EndedJobs, Job, JobGroup, JobState, Rejection
from sluice_provider.jobs.question import Choice
from sluice_provider.jobs.record import JobRecord, PhaseRecord, Submission
from sluice_provider.jobs.spec import Found, NoEffect, RepeatRequest, Resubmit, Unknown
from tests.jobs.echo_job import EchoJob, EchoPhase, GroupedPhase

STARTED = on.Started(100.0, "print", (0, 3), "seed")
CLEARED = STARTED._replace(now=500.0, clears=(1, 7), seed="other seed")
LOST = Unreachable("no response", maybe_applied=True)


def work(*states, **counts):
    """The jobs of one phase, as the service describes them."""
    return JobGroup(tuple(Job(f"job-{number}", JobState(state), counts=counts) for number, state in enumerate(states)))


class Runner:
    """Runs steps one after the other, and keeps the record."""

    def __init__(self, spec=None, *, cancellable=False, record=None, **options):
        spec = spec or EchoJob()
        self.lifecycle = Lifecycle(
            "echo", spec.next_phase, Options(**options), cancellable=lambda _job_type: cancellable
        )
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
    """A runner whose one job was submitted."""
    runner = Runner(**options)
    runner(STARTED, on.UnitPrepared(101.0), on.Submitted(102.0, (Submission("job-0"),)), on.AllSubmitted(103.0))
    return runner


# --- the normal course


def test_a_job_from_submission_to_success():
    """Each request is saved before it is sent, and its response right after."""
    runner = Runner()
    assert runner(STARTED) == ["Prepare"]
    assert runner(on.UnitPrepared(101.0)) == ["Save", "Submit"]
    assert runner.phase.intent.at == 101.0
    assert runner(on.Submitted(102.0, (Submission("job-0"),))) == ["Save", "Prepare"]
    assert (runner.phase.ids, runner.phase.intent) == (("job-0",), None)
    assert runner(on.AllSubmitted(103.0)) == ["Save", "Publish", "Poll"]
    assert runner(on.Polled(104.0, work("running"))) == ["Save", "Wait"]
    assert runner(on.Polled(105.0, work("succeeded", rows=3))) == ["FetchOutputs"]
    assert runner(on.OutputsFetched(106.0, work("succeeded", rows=3), {"file": "x"})) == ["Save", "Finish"]
    assert runner.phase.outcome == {"state": "succeeded", "counts": {"rows": 3}, "at": 106.0, "outputs": {"file": "x"}}


def test_a_deferrable_task_waits_in_the_triggerer():
    """After a few seconds in the worker, in which many jobs end."""
    runner = submitted(deferrable=True)
    assert runner(on.Polled(104.0, work("running"))) == ["WaitBriefly"]
    assert runner(on.Polled(109.0, work("running"))) == ["Save", "Defer"]
    assert runner(on.Resumed(200.0)) == ["Publish", "Poll"]
    assert runner(on.Polled(200.0, work("running"))) == ["Save", "Defer"]


def test_a_job_that_ends_soon_is_not_deferred():
    """A deferral takes longer than that."""
    runner = submitted(deferrable=True)
    runner(on.Polled(104.0, work("running")))
    assert runner(on.Polled(106.0, work("succeeded"))) == ["FetchOutputs"]
    assert "deferred" not in [event.what for event in runner.record.history]


def test_a_brief_wait_is_not_repeated():
    """A status check that fails, or a clock that is set back, does not hold the worker."""
    runner = submitted(deferrable=True)
    runner(on.Polled(104.0, work("running")))
    assert runner(on.PollFailed(50.0, LOST)) == ["Save", "Defer"]


def test_long_jobs_are_not_waited_for_in_the_worker():
    """Nor those that come after jobs that all took long, nor many at once, nor old ones."""
    late = submitted(deferrable=True)
    assert late(on.Polled(103.0 + BRIEF_WAIT_SECONDS, work("running"))) == ["Save", "Defer"]
    chain = Runner(EchoJob(EchoPhase("one", last=False), EchoPhase("two")), deferrable=True)
    chain(STARTED, on.UnitPrepared(1.0), on.Submitted(2.0, (Submission("job-0"),)), on.AllSubmitted(3.0))
    chain(on.Polled(4.0, work("running")), on.Polled(60.0, work("succeeded")))
    chain(on.OutputsFetched(60.0, work("succeeded"), {}), on.UnitPrepared(60.0))
    chain(on.Submitted(61.0, (Submission("job-1"),)), on.AllSubmitted(61.0))
    assert chain(on.Polled(61.0, work("running"))) == ["Save", "Defer"]
    many = many_submitted(deferrable=True)
    assert many(on.Polled(104.0, work(*["running"] * 10))) == ["Save", "Defer"]


# --- many jobs of one phase


def many_submitted(count=10, **options):
    """A runner whose many jobs were submitted."""
    runner = Runner(EchoJob(GroupedPhase("push")), **options)
    jobs = tuple(Submission(f"job-{number}", number, 1) for number in range(count))
    runner(STARTED, on.UnitPrepared(101.0), on.Submitted(102.0, jobs, complete=True))
    return runner


def test_what_has_succeeded_is_counted_and_not_polled_again():
    """Not by the next try either. What failed is polled again, as it is submitted again."""
    runner = many_submitted()
    rejected = Rejection("1", "mass", "heavy", "not a number")
    jobs = [
        Job(f"job-{number}", JobState.SUCCEEDED if number < 7 else JobState.RUNNING, counts={"created": 2})
        for number in range(10)
    ]
    jobs[0] = jobs[0]._replace(rejections=(rejected,))
    jobs[9] = jobs[9]._replace(state=JobState.FAILED)
    runner(on.Polled(104.0, JobGroup(tuple(jobs))))
    assert runner.phase.unfinished_ids == ("job-7", "job-8", "job-9")
    assert runner.phase.ended == EndedJobs(7, {"created": 14}, (rejected,))
    runner(on.StatusSeen(105.0, JobGroup(tuple(jobs)), ""))
    assert runner.phase.ended.number == 7, "counted once"
    assert runner.record.summary["id_count"] == 10
    rest = JobGroup(tuple(job._replace(state=JobState.SUCCEEDED) for job in jobs[7:]), runner.phase.ended)
    assert (rest.counts, rest.size, list(rest.rejections)) == ({"created": 20}, 10, [rejected])
    assert runner(on.Polled(106.0, rest)) == ["FetchOutputs"]
    assert runner.phase.unfinished_ids == ()


def test_jobs_with_links_are_polled_again():
    """Their results are behind links, which are not stored."""
    runner = many_submitted(2)
    runner(
        on.Polled(
            104.0, JobGroup((Job("job-0", JobState.SUCCEEDED, links=("http://file",)), Job("job-1", JobState.RUNNING)))
        )
    )
    assert runner.phase.unfinished_ids == ("job-0", "job-1")


def test_a_job_that_is_alone_is_polled_again():
    """The task's end says what the service says of it."""
    runner = submitted()
    runner(on.Polled(104.0, work("succeeded")))
    assert runner.phase.unfinished_ids == ("job-0",)


def test_the_state_of_jobs_that_are_replaced():
    """A cleared task submits again what has succeeded, too."""
    runner = many_submitted(3)
    runner(on.Polled(104.0, work("succeeded", "running", "running")))
    again = Runner(EchoJob(GroupedPhase("push")), record=runner.record)
    again(CLEARED, on.Polled(501.0, JobGroup(work("running", "succeeded", "succeeded").jobs[1:], runner.phase.ended)))
    assert [job.state for job in again.record.replaced] == ["succeeded"] * 3


def test_a_task_that_does_not_wait_ends_with_the_submission():
    """Its job continues, and is not shown as orphaned."""
    runner = Runner(wait_for_completion=False)
    runner(STARTED, on.UnitPrepared(101.0), on.Submitted(102.0, (Submission("job-0"),)))
    assert runner(on.AllSubmitted(103.0))[-1] == "Finish"
    assert runner.record.summary["state"] == "submitted"


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_retry_of_a_task_that_does_not_wait_does_not_wait_either(deferrable):
    """The previous try died between the submission and its end."""
    options = {"wait_for_completion": False, "deferrable": deferrable}
    runner = Runner(record=submitted(**options).record, **options)
    assert runner(STARTED._replace(now=300.0)) == ["Poll"]
    assert runner(on.Polled(301.0, work("running")))[-1] == "Finish"
    assert runner.record.summary["state"] == "submitted"
    again = Runner(record=submitted(**options).record, **options)
    again(STARTED._replace(now=300.0))
    assert again(on.PollFailed(301.0, LOST))[-1] == "Finish"
    cleared = Runner(record=submitted(**options).record, **options)
    cleared(CLEARED, on.Polled(501.0, work("running")))
    assert cleared(on.Polled(502.0, work("running")))[-1] == "Finish"


def test_phases_follow_each_other():
    """The second one starts when the first one has ended."""
    runner = Runner(EchoJob(EchoPhase("one", last=False), EchoPhase("two")))
    runner(STARTED, on.UnitPrepared(1.0), on.Submitted(2.0, (Submission("job-0"),)), on.AllSubmitted(3.0))
    runner(on.Polled(4.0, work("succeeded")))
    assert runner(on.OutputsFetched(5.0, work("succeeded"), {})) == ["Save", "Prepare"]
    runner(on.UnitPrepared(6.0))
    assert [phase.name for phase in runner.record.phases] == ["one", "two"]


def test_an_existing_job_is_not_submitted_again():
    """Its id is used."""
    runner = Runner()
    runner(STARTED)
    assert runner(on.UnitFound(101.0, "job-7")) == ["Save", "Prepare"]
    assert runner.phase.ids == ("job-7",)


def test_a_grouped_phase_is_saved_once_for_many_requests():
    """The intent stays until everything was submitted, as the requests are idempotent."""
    runner = Runner(EchoJob(GroupedPhase(units=4)))
    runner(STARTED, on.UnitPrepared(101.0, 0, 1))
    first = (Submission("a", 0, 1), Submission("b", 1, 1))
    assert runner(on.Submitted(102.0, first)) == ["Save", "Submit"]
    assert runner.phase.intent is not None
    last = (Submission("c", 2, 1), Submission("d", 3, 1))
    assert runner(on.Submitted(103.0, last, complete=True)) == ["Save", "Publish", "Poll"]
    assert (runner.phase.ids, runner.phase.complete) == (("a", "b", "c", "d"), True)


# --- a step is pure


def test_a_step_is_pure():
    """The input record is unchanged, and the same step returns the same again."""
    runner = Runner()
    runner(STARTED, on.UnitPrepared(101.0))
    before = runner.record
    copy = JobRecord(*before)
    one = runner.lifecycle.step(before, on.Submitted(102.0, (Submission("job-0"),)))
    two = runner.lifecycle.step(before, on.Submitted(102.0, (Submission("job-0"),)))
    assert one == two
    assert before == copy


def test_reading_a_record_does_not_change_it():
    """A phase that has not started is empty, and stays so."""
    record = JobRecord("print")
    assert record.phase("echo").submissions == ()
    assert (record.phases, record.current) == ((), None)


def test_the_lifecycle_imports_no_airflow_clock_or_network():
    """Nor do the modules of its data."""
    path = Path(sluice_provider.jobs.__file__).parent
    for module in ("lifecycle", "record", "events", "storage"):
        for node in ast.walk(ast.parse((path / f"{module}.py").read_text())):
            names = [alias.name for alias in getattr(node, "names", ())] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"airflow", "httpx", "time", "asyncio", "threading"}


# --- outcome unknown


def test_a_lost_response_is_reconciled_at_once():
    """By the same process, before anything is sent again."""
    runner = Runner()
    runner(STARTED, on.UnitPrepared(101.0))
    assert runner(on.SubmissionFailed(131.0, LOST)) == ["Save", "Reconcile"]
    assert runner.phase.intent.at == 101.0


def test_the_next_try_reconciles_a_lost_response():
    """It finds the intent in the record."""
    runner = Runner()
    runner(STARTED, on.UnitPrepared(101.0))
    later = Runner(record=runner.record)
    assert later(STARTED._replace(now=400.0)) == ["Reconcile"]


@pytest.mark.parametrize(
    ("effect", "actions", "attempt"),
    [
        (Found("job-9"), ["Save", "Prepare"], 0),
        (NoEffect(), ["Save", "Prepare"], 0),
        (RepeatRequest("idempotent"), ["Save", "Prepare"], 0),
        (Resubmit("allowed"), ["Save", "Prepare"], 1),
        (Unknown(OutcomeUnknown("look there")), ["Save", "Fail"], 0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_result_of_reconciling(effect, actions, attempt):
    """Decides about the next action."""
    runner = Runner()
    runner(STARTED, on.UnitPrepared(101.0), on.SubmissionFailed(131.0, LOST))
    assert runner(on.Reconciled(250.0, effect)) == actions
    assert runner.phase.attempt == attempt
    assert runner.phase.ids == (("job-9",) if isinstance(effect, Found) else ())


def waiting_for_input(**options):
    """A runner that waits for an answer about a lost response."""
    runner = Runner(request_input=True, **options)
    runner(STARTED, on.UnitPrepared(101.0), on.SubmissionFailed(131.0, LOST))
    assert runner(on.Reconciled(250.0, Unknown(OutcomeUnknown("look there")))) == ["Save", "RequestInput"]
    return runner


def test_a_job_that_a_person_found_is_checked_and_adopted():
    """It takes the place of the intent; nothing is submitted."""
    runner = waiting_for_input()
    assert runner(on.Answered(300.0, Choice.FOUND, "job-9", "Ada")) == ["CheckJob"]
    assert runner(on.JobChecked(301.0, "job-9")) == ["Save", "Prepare"]
    assert (runner.phase.ids, runner.phase.intent) == (("job-9",), None)


def test_an_answer_to_submit_again():
    """With a new key, as the first request may still have been applied."""
    runner = waiting_for_input()
    assert runner(on.Answered(300.0, Choice.SUBMIT_AGAIN, "", "Ada")) == ["Save", "Prepare"]
    assert (runner.phase.attempt, runner.phase.intent) == (1, None)
    assert [(job.id, job.state) for job in runner.record.replaced] == [("", "outcome_unknown")]


@pytest.mark.parametrize(
    "answer",
    [on.Answered(300.0, Choice.FOUND, "", "Ada"), on.Answered(300.0, "?", "job-9", "Ada")],
    ids=["id", "choice"],
)
def test_an_unusable_answer_keeps_the_intent(answer):
    """It is asked again, with the reason."""
    runner = waiting_for_input()
    assert runner(answer) == ["Reconcile"]
    assert runner(on.Reconciled(302.0, Unknown(OutcomeUnknown("look there")))) == ["Save", "RequestInput"]
    assert "could not be used" in runner.record.summary["message"]
    assert runner.phase.intent is not None


def test_a_try_after_a_death_asks_again():
    """Until there is an answer, the intent stays as it was."""
    later = Runner(record=waiting_for_input().record, request_input=True)
    assert later(STARTED._replace(now=400.0)) == ["Reconcile"]
    assert not later.phase.intent.reported


def test_a_person_gives_up():
    """The next clear then means to submit again."""
    runner = waiting_for_input()
    assert runner(on.Answered(300.0, Choice.GIVE_UP, "", "Ada")) == ["Save", "Fail"]
    assert runner.phase.intent.reported
    assert not runner.error.retryable


def test_a_repeated_key_keeps_its_first_time():
    """The service keeps a key from its first use."""
    runner = Runner()
    runner(STARTED, on.UnitPrepared(101.0, key="k"), on.SubmissionFailed(131.0, LOST))
    runner(on.Reconciled(132.0, RepeatRequest("same key")), on.UnitPrepared(133.0, key="k"))
    assert runner.phase.intent.at == 101.0


def test_a_rejected_repeat_leaves_the_outcome_unknown():
    """The first request may still have been applied; a first request that is rejected was not."""
    runner = Runner()
    runner(STARTED, on.UnitPrepared(101.0, key="k"), on.SubmissionFailed(131.0, LOST))
    runner(on.Reconciled(132.0, RepeatRequest("same key")), on.UnitPrepared(133.0, key="k"))
    runner(on.SubmissionFailed(134.0, ClientError("no")))
    assert runner.phase.intent is not None
    first = Runner()
    first(STARTED, on.UnitPrepared(101.0))
    assert first(on.SubmissionFailed(102.0, ClientError("no"))) == ["Save", "Fail"]
    assert first.phase.intent is None


def test_submissions_of_one_try_are_limited():
    """Twice without an effect is enough for one try."""
    runner = Runner()
    runner(STARTED, on.UnitPrepared(101.0), on.SubmissionFailed(131.0, LOST), on.Reconciled(250.0, NoEffect()))
    runner(on.UnitPrepared(251.0), on.SubmissionFailed(281.0, LOST))
    assert runner(on.Reconciled(400.0, NoEffect())) == ["Save", "Fail"]
    assert isinstance(runner.error, Unreachable)


# --- retries


def test_a_retry_reconnects():
    """To the job of the previous try."""
    runner = submitted()
    later = Runner(record=runner.record)
    assert later(STARTED._replace(now=300.0)) == ["Poll"]
    assert later(on.Polled(301.0, work("running"))) == ["Publish", "Save", "Wait"]


def test_a_retry_submits_a_failed_job_again():
    """And the record lists the replaced job."""
    runner = submitted()
    later = Runner(record=runner.record)
    later(STARTED._replace(now=300.0))
    assert later(on.Polled(301.0, work("failed", processed=5))) == ["Save", "Prepare"]
    assert (later.phase.ids, later.phase.attempt) == ((), 1)
    assert [tuple(job) for job in later.record.replaced] == [("job-0", "failed", 5)]


def test_not_durable_starts_over():
    """Whatever is in the record."""
    runner = submitted()
    later = Runner(record=runner.record, durable=False)
    assert later(STARTED._replace(now=300.0)) == ["Prepare"]


def test_changed_input_is_submitted_again():
    """The result lists what was submitted before."""
    later = Runner(record=submitted().record)
    assert later(STARTED._replace(now=300.0, fingerprint="other")) == ["Prepare"]
    assert [job.id for job in later.record.replaced] == ["job-0"]


def test_input_that_can_no_longer_be_read():
    """Matters only if some of it was not submitted."""
    gone = STARTED._replace(now=300.0, input_error=InvalidInput("no such file"))
    assert Runner(record=submitted().record)(gone) == ["Poll"]
    half = Runner()
    half(STARTED, on.UnitPrepared(101.0))
    with pytest.raises(InvalidInput, match="no such file"):
        Runner(record=half.record)(gone)


OTHER_PHASE = EchoJob(EchoPhase("another"))


@pytest.mark.parametrize("after", ["submitted", "intent"])
@pytest.mark.parametrize(
    "event", [STARTED._replace(now=300.0), on.Resumed(300.0), CLEARED], ids=["retry", "back", "clear"]
)
def test_an_open_phase_that_is_no_longer_part_of_the_job(after, event):
    """The author has changed an argument, or a newer version has added it: it is ignored, and the job continues."""
    runner = submitted()
    if after == "intent":
        runner = Runner()
        runner(STARTED, on.UnitPrepared(101.0))
    later = Runner(OTHER_PHASE, record=runner.record)
    assert later(event)[-1] == "Prepare"
    assert any(isinstance(action, on.Log) and action.level == "warning" for action in later.actions)
    later(on.UnitPrepared(301.0), on.Submitted(302.0, (Submission("job-7"),)))
    assert later(on.AllSubmitted(303.0))[-1] == "Poll"
    assert later.phase.ids == ("job-7",)


@pytest.mark.parametrize("outcome", [None, {"state": "succeeded", "counts": {}, "at": 1.0}], ids=["open", "ended"])
def test_changesets_are_counted_by_their_names(outcome):
    """A phase that a newer version has added before them does not change that."""
    requests = [{"changeType": "DELETE", "dbPath": f"/{number}/"} for number in range(3)]
    arguments = {"client_token": None, "ensure_database": False, "region_name": None}
    spec = ChangesetJob(environment_id="e", database_name="d", change_requests=requests, max_requests=2, **arguments)
    other = PhaseRecord("database", submissions=(Submission("x"),), outcome=outcome)
    first = PhaseRecord("changeset-1", submissions=(Submission("a", 0, 2),), outcome={"counts": {}})
    last = PhaseRecord("changeset-2", submissions=(Submission("b", 2, 1),), outcome={"counts": {}})
    names = [spec.next_phase(JobRecord("print", phases=phases)) for phases in ((other,), (other, first))]
    assert [phase.name for phase in names] == ["changeset-1", "changeset-2"]
    assert spec.next_phase(JobRecord("print", phases=(other, first, last))) is None


def test_a_stop_signal_with_an_open_phase_that_is_no_longer_part_of_the_job():
    """There is nothing to cancel."""
    later = Runner(OTHER_PHASE, record=submitted().record, cancellable=True)
    later(STARTED._replace(now=300.0))
    assert later(on.Terminated(301.0, True, "the task was marked failed")) == []


# --- clears


def test_a_clear_of_a_running_job_that_can_be_cancelled():
    """It is cancelled, polled until it is over, and then submitted again."""
    runner = Runner(record=submitted().record, cancellable=True)
    assert runner(CLEARED) == ["Save", "Poll"]
    assert runner(on.Polled(501.0, work("running"))) == ["Save", "Cancel"]
    assert runner(on.CancelRequested(502.0))[-1] == "Wait"
    assert runner(on.Polled(510.0, work("cancelled", processed=2))) == ["Prepare"]
    assert (runner.record.seed, runner.record.clears, runner.record.rerun) == ("other seed", (1, 7), None)
    assert [tuple(job) for job in runner.record.replaced] == [("job-0", "cancelled", 2)]


def test_a_clear_of_a_running_job_that_cannot_be_cancelled():
    """The cleared task reconnects to it."""
    runner = Runner(record=submitted().record)
    runner(CLEARED)
    assert runner(on.Polled(501.0, work("running")))[-1] == "Poll"
    assert runner.record.clears == (1, 7)


def test_a_clear_of_a_job_that_is_over():
    """It is submitted again."""
    runner = Runner(record=submitted().record, cancellable=True)
    runner(CLEARED)
    assert runner(on.Polled(501.0, work("succeeded"))) == ["Prepare"]
    assert runner.record.phases == ()


def test_a_trigger_that_dies_while_a_cleared_job_is_being_cancelled():
    """The number of restarts is limited here, too."""
    runner = Runner(record=submitted().record, cancellable=True, deferrable=True)
    runner(CLEARED, on.Polled(501.0, work("running")))
    assert runner(on.CancelRequested(502.0))[-1] == "WaitBriefly"
    assert runner(on.Polled(508.0, work("running")))[-1] == "Defer"
    for _ in range(MAX_TRIGGER_RESTARTS):
        runner(on.Resumed(510.0, restart="it died"))
        assert runner(on.Polled(511.0, work("running")))[-1] == "Defer"
    runner(on.Resumed(520.0, restart="it died"))
    assert runner(on.Polled(521.0, work("running")))[-1] == "Fail"


def test_a_trigger_that_gives_up_while_a_cleared_job_is_being_cancelled():
    """The task fails with its error, if the job is not over."""
    runner = Runner(record=submitted().record, cancellable=True, deferrable=True)
    runner(CLEARED, on.Polled(501.0, work("running")), on.CancelRequested(502.0))
    runner(on.Resumed(510.0, LOST))
    assert runner(on.Polled(511.0, work("running")))[-1] == "Fail"
    assert isinstance(runner.error, Unreachable)


def test_one_increased_count_is_not_a_clear():
    """Another task of the run was cleared."""
    runner = Runner(record=submitted().record)
    assert runner(STARTED._replace(now=500.0, clears=(1, 3))) == ["Poll"]
    assert runner.record.rerun is None


# --- stop signals


@pytest.mark.parametrize("cancellable", [True, False])
@pytest.mark.parametrize("user", [True, False])
def test_a_stop_signal(user, cancellable):
    """A job is cancelled only on evidence that a user ended this try, and where the service can."""
    runner = submitted(cancellable=cancellable)
    assert runner(on.Terminated(200.0, user, "why")) == (["Save", "Cancel"] if user and cancellable else [])


def test_the_state_is_cancelling_until_the_job_is_over():
    """A process that received a stop signal may still see its job running."""
    runner = submitted(cancellable=True)
    runner(on.Terminated(200.0, True, "why"), on.StatusSeen(201.0, work("running"), "still there"))
    assert runner.record.summary["state"] == "cancelling"
    runner(on.StatusSeen(202.0, work("cancelled"), "gone"))
    assert runner.record.summary["state"] == "cancelled"


def test_a_rejected_cancellation_is_not_shown_as_cancelling():
    """The job continues: the jobs page shows that, and the log says what to do."""
    runner = submitted(cancellable=True)
    runner(on.Terminated(200.0, True, "the task was marked failed"))
    assert runner(on.CancelFailed(201.0, ClientError("409: too late"))) == ["Save"]
    assert runner.record.summary["state"] == "running"
    assert "409: too late" in runner.record.last_text("error")


def test_a_rejected_cancellation_of_a_cleared_task():
    """The try fails, and the next one cancels again before it submits anything."""
    runner = Runner(record=submitted().record, cancellable=True)
    runner(CLEARED, on.Polled(501.0, work("running")))
    assert runner(on.CancelFailed(502.0, ServerError("503")))[-1] == "Fail"
    assert runner.record.summary["state"] == "running"
    again = Runner(record=runner.record, cancellable=True)
    again(CLEARED._replace(now=600.0))
    assert again(on.Polled(601.0, work("running")))[-1] == "Cancel"


def test_a_stop_signal_before_anything_was_submitted():
    """There is nothing to cancel."""
    runner = Runner(cancellable=True)
    runner(STARTED)
    assert runner(on.Terminated(200.0, True, "the task was marked failed")) == []


# --- waiting


def test_a_wait_times_out():
    """The job continues, and the error says so."""
    runner = submitted(timeout=50.0)
    assert runner(on.Polled(200.0, work("running"))) == ["Save", "Fail"]
    assert isinstance(runner.error, TimedOut)
    assert "continues in echo" in str(runner.error)


def test_a_failed_status_check_does_not_end_the_wait():
    """Only the final error of a wait does."""
    runner = submitted()
    assert runner(on.PollFailed(104.0, LOST)) == ["Save", "Wait"]
    assert runner(on.PollFailed(904.0, LOST, final=True)) == ["Save", "Fail"]


def test_trigger_restarts_are_limited():
    """Triggers that die are replaced `MAX_TRIGGER_RESTARTS` times."""
    runner = submitted(deferrable=True)
    for _ in range(MAX_TRIGGER_RESTARTS):
        runner(on.Polled(104.0, work("running")))
        assert runner(on.Resumed(200.0, restart="it died")) == ["Save", "Publish", "Poll"]
    runner(on.Polled(201.0, work("running")), on.Resumed(300.0, restart="it died"))
    assert runner(on.Polled(301.0, work("running"))) == ["Save", "Fail"]


def test_a_failed_job_fails_the_try():
    """With the service's message."""
    runner = submitted()
    assert runner(on.Polled(104.0, work("failed"))) == ["Explain", "Save", "Fail"]
    assert isinstance(runner.error, JobFailed)
    assert "the next try submits again" in str(runner.error)
