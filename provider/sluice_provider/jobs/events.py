"""The events and actions of the lifecycle: what happened, and what to do next. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sluice_provider.errors import SluiceError
from sluice_provider.jobs.model import JobGroup
from sluice_provider.jobs.question import Question
from sluice_provider.jobs.record import NOTHING, Submission
from sluice_provider.jobs.spec import ReconcileResult

# --- what happened


class Started(NamedTuple):
    """A try begins.

    :param clears: as in `JobRecord`
    :param input_error: why the input can no longer be read
    """

    now: float
    fingerprint: str
    clears: tuple[int, int]
    seed: str
    input_error: SluiceError | None = None


class Resumed(NamedTuple):
    """Back from the triggerer.

    :param error: why the wait ended, if not because the jobs are over
    :param restart: why the trigger stopped polling, if it should not have
    """

    now: float
    error: SluiceError | None = None
    restart: str = ""


class Answered(NamedTuple):
    """A person answered what became of a request whose outcome is unknown.

    :param choice: one of `Choice`, or something else if it is not readable
    :param id: of the job, if the person found it
    :param by: who answered
    """

    now: float
    choice: str
    id: str
    by: str


class JobChecked(NamedTuple):
    """The service was queried for the job that a person named.

    :param problem: why it cannot be the job of the request; "" if it can
    """

    now: float
    id: str
    problem: str = ""


class UnitPrepared(NamedTuple):
    """The next unit can be submitted."""

    now: float
    start: int = 0
    size: int = 0
    key: str = ""
    facts: Mapping[str, Any] = NOTHING
    locator: Mapping[str, str] = NOTHING


class UnitFound(NamedTuple):
    """The job of the next unit exists already."""

    now: float
    id: str
    facts: Mapping[str, Any] = NOTHING
    locator: Mapping[str, str] = NOTHING


class AllSubmitted(NamedTuple):
    now: float


class Submitted(NamedTuple):
    """
    :param submissions: one; of a grouped phase, those since the last event
    :param complete: of a grouped phase: everything was submitted
    """

    now: float
    submissions: tuple[Submission, ...]
    complete: bool = False


class SubmissionFailed(NamedTuple):
    """
    :param submissions: of a grouped phase: what was submitted before
    """

    now: float
    error: SluiceError
    submissions: tuple[Submission, ...] = ()


class Reconciled(NamedTuple):
    now: float
    effect: ReconcileResult


class Polled(NamedTuple):
    now: float
    work: JobGroup


class PollFailed(NamedTuple):
    """
    :param final: this error ended the wait; else it was a single status check
    """

    now: float
    error: SluiceError
    final: bool = False


class CancelRequested(NamedTuple):
    now: float


class CancelFailed(NamedTuple):
    """The service rejected the request to cancel, so the jobs continue."""

    now: float
    error: SluiceError


class OutputsFetched(NamedTuple):
    now: float
    work: JobGroup
    outputs: Mapping[str, Any]


class StepFailed(NamedTuple):
    """Preparing, reconciling, checking the result or fetching outputs failed."""

    now: float
    error: SluiceError


class StatusSeen(NamedTuple):
    """A status check while waiting, for the jobs page. `change` is the log line, if the status has changed."""

    now: float
    work: JobGroup
    change: str


class Terminated(NamedTuple):
    """The process was sent a signal to stop.

    :param user_ended: Airflow says that a user ended this very try
    :param why: the evidence, for the log
    """

    now: float
    user_ended: bool
    why: str


Event = (
    Started
    | Resumed
    | Answered
    | JobChecked
    | UnitPrepared
    | UnitFound
    | AllSubmitted
    | Submitted
    | SubmissionFailed
    | Reconciled
    | Polled
    | PollFailed
    | CancelRequested
    | CancelFailed
    | OutputsFetched
    | StepFailed
    | StatusSeen
    | Terminated
)

# --- what to do next


class Save(NamedTuple):
    """Write the record.

    :param must: it must be saved before anything else is done
    :param only: "intent" or "answer": what is needed to know of one request, once before it and once after it; what is
        for people is written with the next whole record
    """

    must: bool = True
    only: str = ""


class Log(NamedTuple):
    level: str
    text: str


class Count(NamedTuple):
    """Increment a metric.

    :param state: how a job ended, `seconds` after it was submitted
    """

    name: str
    state: str = ""
    seconds: float = 0.0


class Publish(NamedTuple):
    """Make ids and link visible while the job runs."""


class Prepare(NamedTuple):
    """Determine the next unit of the open phase: `UnitPrepared`, `UnitFound`, `AllSubmitted` or `StepFailed`."""


class Submit(NamedTuple):
    """Send what was prepared: `Submitted` or `SubmissionFailed`."""


class Reconcile(NamedTuple):
    """Find out whether the request of the open phase's intent was applied: `Reconciled` or `StepFailed`."""


class RequestInput(NamedTuple):
    """Ask a person what became of the open phase's request, and wait for the answer. This worker run ends."""

    question: Question


class CheckJob(NamedTuple):
    """Check whether this can be the job of the open phase's intent: `JobChecked`."""

    id: str


class Poll(NamedTuple):
    """Check the status once: `Polled` or `PollFailed`."""


class Wait(NamedTuple):
    """Poll in this process until the jobs are over: `Polled` or `PollFailed`."""


class WaitBriefly(NamedTuple):
    """Poll in this process until the jobs are over, or so many seconds old: `Polled` or `PollFailed`."""

    seconds: float


class Defer(NamedTuple):
    """Wait in the triggerer. This worker run ends."""


class Cancel(NamedTuple):
    """Request the service to cancel the open phase's jobs: `CancelRequested` or `CancelFailed`."""


class FetchOutputs(NamedTuple):
    """Check the results and fetch the outputs: `OutputsFetched` or `StepFailed`."""

    work: JobGroup


class Explain(NamedTuple):
    """Log what the service reports about single rows of failed jobs."""

    work: JobGroup


class Finish(NamedTuple):
    """The task has succeeded."""


class Fail(NamedTuple):
    """The try has failed."""

    error: SluiceError


Action = (
    Save
    | Log
    | Count
    | Publish
    | Prepare
    | Submit
    | Reconcile
    | RequestInput
    | CheckJob
    | Poll
    | Wait
    | WaitBriefly
    | Defer
    | Cancel
    | FetchOutputs
    | Explain
    | Finish
    | Fail
)
