"""What a service's job is. One `JobSpec` for each operator is composed into the one skeleton that all operators share.

A spec is plain Python: it knows its service's API and not Airflow. It describes phases; the lifecycle decides when each
is submitted, polled and ended, and what happens after a failure.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from sluice_provider.errors import OutcomeUnknown
from sluice_provider.jobs.model import JobState, check_rejections
from sluice_provider.jobs.polling import VISIBILITY_GRACE_SECONDS, find_after_lost_response
from sluice_provider.jobs.record import NOTHING, Intent, JobRecord, PhaseRecord, iso

if TYPE_CHECKING:
    from sluice_provider.errors import SluiceError
    from sluice_provider.http.flow import Flow
    from sluice_provider.jobs.model import JobGroup

log = logging.getLogger(__name__)


class Unit(NamedTuple):
    """What one request submits: all of a phase, or one batch of it.

    :param start: where its share of the input begins
    :param size: how much of the input it takes
    :param content: what is sent
    :param halve: makes two smaller units of it, for a service that finds it too large; None where that cannot be
    """

    start: int = 0
    size: int = 0
    content: Any = None
    halve: Callable[[], Sequence[Unit]] | None = None


class Prepared(NamedTuple):
    """What was found right before a submission.

    :param found: the id of what is there already and will do: then nothing is submitted
    :param key: the idempotency key, or the mark by which the effect can be found, if it is not the lifecycle's own
    :param facts: what will be needed to find the effect of this submission, should its outcome stay unknown
    :param locator: what will be needed beside the ids to poll, and can be known only now
    """

    found: str | None = None
    key: str = ""
    facts: Mapping[str, Any] = NOTHING
    locator: Mapping[str, str] = NOTHING


# --- what became of a submission whose outcome is unknown


class Found(NamedTuple):
    """It took effect: this is the job."""

    id: str


class NoEffect(NamedTuple):
    """It took no effect, and cannot any more."""


class RepeatRequest(NamedTuple):
    """The same request again is safe: it ends in the same state (`why` is for the log)."""

    why: str


class Resubmit(NamedTuple):
    """It cannot be found out, and the DAG's author, or the nature of the job, allows to submit another one."""

    why: str


class Unknown(NamedTuple):
    """It cannot be found out, and a person must decide. The error says where to look and what to do then."""

    error: OutcomeUnknown


ReconcileResult = Found | NoEffect | RepeatRequest | Resubmit | Unknown


class Phase:
    """One step of the work: submitted in one request or several, then polled until it is over.

    Subclasses override `units`, `prepare`, `submit` and `reconcile`.

    :param name: names it in the record; another phase of the same task has another name
    :param kind: the job type, a key of the service's job types
    :param where: what the service wants to know beside the ids to find the jobs
    :param last: no phase comes after it: a task that does not wait for completion ends with its submission
    """

    grouped: ClassVar[bool] = False
    """A repeated submission is harmless, so intents and answers are written about once a second and not one by one."""

    send_window: ClassVar[float] = 30.0
    """Seconds after an intent was made in which its request may be sent. A process that stood still for longer must not
    send it: a newer try may have found that it had no effect, and submitted again."""

    prepare_again_on: ClassVar[tuple[type[SluiceError], ...]] = ()
    """Errors of `submit` after which `prepare` is asked once more: what is wanted may be there by now."""

    def __init__(self, name: str, job_type: str, locator: Mapping[str, str] = NOTHING, *, last: bool = True) -> None:
        self.name = name
        self.job_type = job_type
        self.locator = locator
        self.last = last

    def units(self, record: PhaseRecord) -> Iterator[Unit]:
        """What has not been submitted yet. By default a phase is one unit."""
        if not record.submissions:
            yield Unit()

    def prepare(self, unit: Unit, record: PhaseRecord) -> Flow[Prepared]:
        """Ask the service what has to be known before this unit is submitted. Nothing is written yet, so this must not
        do anything that must not be done twice."""
        del unit, record
        return Prepared()
        yield  # a flow, though one without a call

    def submit(self, unit: Unit, intent: Intent, record: PhaseRecord) -> Flow[str]:
        """Submit one unit, and return the id that the service answered with.

        :raises OutcomeUnknown: the request may have been applied, and no answer came
        """
        raise NotImplementedError

    def reconcile(self, intent: Intent, record: PhaseRecord) -> Flow[ReconcileResult]:
        """Find out what became of a submission whose outcome is unknown."""
        raise NotImplementedError

    def settled(self, record: PhaseRecord) -> PhaseRecord:
        """The phase's record once everything is submitted: without facts that are of no use any more."""
        return record._replace(facts=NOTHING)


def reconcile_by_search(
    find: Callable[[], Flow[str | None]], intent: Intent, visible_after: float = VISIBILITY_GRACE_SECONDS
) -> Flow[ReconcileResult]:
    """What `reconcile` does where the effect can be looked for: until it is there, or until the request must have
    landed. Before that, not to see it means nothing.

    :param landed: seconds after the intent when a request must have landed
    """
    found = yield from find_after_lost_response(find, intent.at, visible_after)
    return NoEffect() if found is None else Found(found)


def unknown_outcome(service: str, what: str, search_for: str, intent: Intent) -> Unknown:
    """What `reconcile` ends with where the service cannot be asked, and to submit again could do the work twice.

    :param service: its name for people
    :param what: was submitted
    :param search_for: in the service, as in "a job whose name is 'x'"
    """
    return Unknown(
        OutcomeUnknown(
            f"{what} was submitted at {iso(intent.at)} without a response: {service} may or may not have accepted it, "
            f"and has no request that would tell. It was not submitted again. Look in {service} for {search_for}: if "
            "it is there, mark this task as success; if it is not there, clear this task to submit again"
        )
    )


class JobSpec:
    """What the job of one operator is.

    :cvar service: a name in `services.py`
    :cvar success_states: the ends that are good ones
    """

    service: ClassVar[str]
    success_states: ClassVar[frozenset[JobState]] = frozenset({JobState.SUCCEEDED})

    log: Any = log
    """Where to say what happens: the task's log, once a task runs it."""

    @property
    def locator(self) -> Mapping[str, str]:
        """What the hook has to know beside the connection: a region, an environment."""
        return NOTHING

    def validate(self) -> None:
        """Check the rendered arguments. :raises InvalidInput: before anything is sent"""

    def fingerprint(self) -> Any:
        """Plain data that tells this piece of work from any other. :raises InvalidInput: for unusable input"""
        raise NotImplementedError

    def dry_run_result(self) -> dict[str, Any] | None:
        """For a dry run: what to return instead of submitting anything, after the arguments were checked."""
        return None

    def next_phase(self, record: JobRecord) -> Phase | None:
        """The phase that comes next, by what the ended ones brought; None when all is done."""
        raise NotImplementedError

    def check_result(self, phase: Phase, work: JobGroup) -> None:
        """Look into work that the service calls succeeded. :raises JobFailed: if it is not good enough"""

    def explain_failure(self, work: JobGroup) -> None:
        """Write into the log what the service says of single rows of work that failed."""
        check_rejections(work, "warn", self.log)

    def fetch_outputs(self, phase: Phase, work: JobGroup) -> Flow[dict[str, Any]]:
        """Fetch what work that ended well has made, and tell of it in a few words of JSON.

        A retry of a task that died here polls the work and comes here again.
        """
        del phase, work
        return {}
        yield  # a flow, though one without a call

    def manifest(self, record: JobRecord) -> dict[str, Any]:
        """What the task returns: small, JSON, without records."""
        raise NotImplementedError

    def close(self) -> None:
        """The task's process is done with this spec: let go of files."""
