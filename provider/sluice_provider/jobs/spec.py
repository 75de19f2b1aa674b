"""What a service's job is. Each operator has one `JobSpec`; everything else is shared by all operators.

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
from sluice_provider.jobs.record import MAX_IDS, NOTHING, Intent, JobRecord, PhaseRecord, iso

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
    :param halve: splits it into two smaller units, for when the service finds it too large; None where it cannot be
        split
    """

    start: int = 0
    size: int = 0
    content: Any = None
    halve: Callable[[], Sequence[Unit]] | None = None


class Prepared(NamedTuple):
    """What `Phase.prepare` found out before a submission.

    :param found: the id of a suitable job that exists already: then nothing is submitted
    :param key: the idempotency key, or a marker by which the effect can be found; "" for the lifecycle's own key
    :param facts: what is needed to find the effect of this submission if its outcome becomes unknown
    :param locator: what is needed beside the ids to poll, and is only known now
    """

    found: str | None = None
    key: str = ""
    facts: Mapping[str, Any] = NOTHING
    locator: Mapping[str, str] = NOTHING


# --- results of reconciling a submission whose outcome is unknown


class Found(NamedTuple):
    """The request was applied: this is the job."""

    id: str


class NoEffect(NamedTuple):
    """The request was not applied, and will not be."""


class RepeatRequest(NamedTuple):
    """The same request is safe to repeat: it is idempotent (`why` is for the log)."""

    why: str


class Resubmit(NamedTuple):
    """The outcome cannot be determined, and the DAG's author, or the type of job, allows submitting another one."""

    why: str


class Unknown(NamedTuple):
    """The outcome cannot be determined, and a person must decide. The error says where to look and what to do.

    :param question: the same for a person whose answer the task waits for; by default the error's message
    """

    error: OutcomeUnknown
    question: str = ""


ReconcileResult = Found | NoEffect | RepeatRequest | Resubmit | Unknown


class Phase:
    """One step of the work: submitted in one request or several, then polled until it is over.

    Subclasses override `units`, `prepare`, `submit` and `reconcile`.

    :param name: its name in the record, unique within the task
    :param job_type: a key of the service's `JOB_TYPES`
    :param locator: what the service needs beside the ids to find the jobs
    :param last: no phase comes after it: a task that does not wait for completion ends with its submission
    """

    grouped: ClassVar[bool] = False
    """Submissions are idempotent, so intents and responses are saved about once a second instead of one by one."""

    max_in_flight: int = 1
    """How many units of a grouped phase are submitted at the same time, at the most."""

    send_window: ClassVar[float] = 30.0
    """Seconds after the intent within which its request may be sent. A process that was suspended for longer must not
    send it: a newer try may have found that it had no effect, and submitted again."""

    items: ClassVar[str] = "items"
    """What a unit's `start` and `size` count, for people: rows, for example."""

    prepare_again_on: ClassVar[tuple[type[SluiceError], ...]] = ()
    """Errors of `submit` after which `prepare` is called once more: the wanted job may exist by now."""

    def __init__(self, name: str, job_type: str, locator: Mapping[str, str] = NOTHING, *, last: bool = True) -> None:
        self.name = name
        self.job_type = job_type
        self.locator = locator
        self.last = last

    def units(self, record: PhaseRecord) -> Iterator[Unit]:
        """The units that have not been submitted yet. By default a phase is one unit."""
        if not record.submissions:
            yield Unit()

    def prepare(self, unit: Unit, record: PhaseRecord) -> Flow[Prepared]:
        """Read from the service what is needed to submit this unit. No intent is saved yet, so this must be
        idempotent."""
        del unit, record
        return Prepared()
        yield  # makes it a flow, one without a request

    def submit(self, unit: Unit, intent: Intent, record: PhaseRecord) -> Flow[str]:
        """Submit one unit, and return the id in the response.

        :raises OutcomeUnknown: there was no response, and the request may have been applied
        """
        raise NotImplementedError

    def reconcile(self, intent: Intent, record: PhaseRecord) -> Flow[ReconcileResult]:
        """Find out whether a submission whose outcome is unknown was applied."""
        raise NotImplementedError

    def mark(self, intent: Intent) -> str:
        """The name that the service shows of the job of this intent and of no other; "" if it has none."""
        del intent
        return ""

    def settled(self, record: PhaseRecord) -> PhaseRecord:
        """The phase's record once everything is submitted: without facts that are no longer needed."""
        return record._replace(facts=NOTHING)


def reconcile_by_search(
    find: Callable[[], Flow[str | None]], intent: Intent, visible_after: float = VISIBILITY_GRACE_SECONDS
) -> Flow[ReconcileResult]:
    """`reconcile` where the service can be searched for the effect: until it is found, or until it would have to be
    visible. Before that, finding nothing proves nothing.

    :param visible_after: seconds after the intent when the effect must be visible
    """
    found = yield from find_after_lost_response(find, intent.at, visible_after)
    return NoEffect() if found is None else Found(found)


def unknown_outcome(service: str, what: str, search_for: str, intent: Intent) -> Unknown:
    """`reconcile` where the service cannot be queried, and submitting again could do the work twice.

    :param service: its name for people
    :param what: what was submitted
    :param search_for: what to search for in the service, as in "a job whose name is 'x'"
    """
    happened = (
        f"{what} was submitted at {iso(intent.at)} without a response: {service} may or may not have accepted it, and "
        f"its API cannot be queried for it. It was not submitted again. Search {service} for {search_for}"
    )
    then = "if it exists, mark this task as success; if not, clear this task to submit again"
    return Unknown(OutcomeUnknown(f"{happened}: {then}"), happened)


MAX_RESULT_IDS = 100
"""Ids that a task's result lists."""


def id_members(name: str, ids: Sequence[str]) -> dict[str, Any]:
    """The ids of a task's jobs as members of its result, which is kept as an XCom. More than `MAX_RESULT_IDS` are
    counted, and only the first are listed: under other names, so that nobody takes them for all.

    :param name: as `import_ids`
    """
    if len(ids) <= MAX_RESULT_IDS:
        return {name: list(ids)}
    prefix = name.removesuffix("ids")
    return {f"{prefix}count": len(ids), f"first_{name}": list(ids[:MAX_IDS])}


class JobSpec:
    """The job of one operator.

    :cvar service: a name in `services.py`
    :cvar success_states: final states that count as success
    """

    service: ClassVar[str]
    success_states: ClassVar[frozenset[JobState]] = frozenset({JobState.SUCCEEDED})
    dry_run_in_service: ClassVar[bool] = False
    """A dry run is a job, too, which the service computes: it is submitted and waited for."""

    log: Any = log
    """The task's log, once a task runs it."""

    @property
    def locator(self) -> Mapping[str, str]:
        """What the hook needs beside the connection: a region, an environment."""
        return NOTHING

    def validate(self) -> None:
        """Check the rendered arguments. :raises InvalidInput: before anything is sent"""

    def resume(self, record: JobRecord) -> None:
        """Called before `fingerprint` with the record of an earlier try: what it says of the input need not be found
        out again."""

    def read_before_input(self) -> Flow[None] | None:
        """A flow that reads from the service what is needed to check the input; None if nothing is. Called before
        `fingerprint`."""
        return None

    def fingerprint(self) -> Any:
        """Plain data that identifies the input. :raises InvalidInput: for unusable input"""
        raise NotImplementedError

    def preview(self) -> Flow[dict[str, Any]]:
        """For a dry run, after `validate` and `fingerprint`: log what would be submitted, and return it in numbers. May
        read from the service, and change nothing there.

        :raises SluiceError: submitting would fail
        """
        return {}
        yield  # makes it a flow, one without a request

    def next_phase(self, record: JobRecord) -> Phase | None:
        """The phase that comes next, given the results of those that have ended; None when all are done."""
        raise NotImplementedError

    def keep_rejections(self, phase: Phase, record: PhaseRecord, work: JobGroup) -> Flow[dict[str, Any]]:
        """Keep the rows that the service rejected where the DAG's author wants them, and return what the result says
        of that. Called before `check_result`."""
        del phase, record, work
        return {}
        yield  # makes it a flow, one without a request

    def check_result(self, phase: Phase, work: JobGroup) -> None:
        """Check the results of jobs that succeeded in the service. :raises JobFailed: if they are not acceptable"""

    def explain_failure(self, work: JobGroup) -> None:
        """Log what the service reports about single rows of failed jobs."""
        check_rejections(work, "warn", self.log)

    def fetch_outputs(self, phase: Phase, work: JobGroup) -> Flow[dict[str, Any]]:
        """Fetch the results of jobs that succeeded, and return a small JSON description of them.

        If the task dies here, its retry polls the jobs and calls this again.
        """
        del phase, work
        return {}
        yield  # makes it a flow, one without a request

    def manifest(self, record: JobRecord) -> dict[str, Any]:
        """What the task returns: small and JSON-serializable, without rows of data."""
        raise NotImplementedError

    def close(self) -> None:
        """Close files: this process is done with this spec."""
