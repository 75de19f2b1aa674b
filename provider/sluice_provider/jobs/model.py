"""What all remotes have in common: a piece of work that was asked for, has an id, and ends. Plain data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple

from sluice_provider.errors import RowsRejected, SluiceError, TimedOut, UnexpectedResponse, Unreachable


class JobState(str, Enum):
    """Where a job stands. Anything that a remote says and we do not know is `RUNNING`."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    NOT_FOUND = "not_found"
    """The remote does not know the id: not yet, or no longer."""

    @property
    def over(self) -> bool:
        return self not in (JobState.RUNNING, JobState.NOT_FOUND)


class Rejection(NamedTuple):
    """One row, or one value of a row, that the remote turned away."""

    row: str
    field: str
    value: str
    reason: str

    def __str__(self) -> str:
        return f"row {self.row}: {self.field}={self.value}: {self.reason}"


class Job(NamedTuple):
    """A job as the remote last described it."""

    id: str
    state: JobState
    service_status: str = ""
    """The remote's own word for the state."""
    message: str = ""
    """The remote's own explanation, if it gave one."""
    counts: Mapping[str, int] = MappingProxyType({})
    """What was done so far, by the remote's own names."""
    done: int | None = None
    total: int | None = None
    """How far it is: `done` of `total`, where the remote tells a total."""
    rejections: tuple[Rejection, ...] = ()
    """The first rows that were turned away; `counts` tells how many there were."""
    links: tuple[str, ...] = ()
    """Where its results are. They may let anybody in who has them, so they are neither logged nor stored."""
    retryable: bool | None = None
    """Of a job that ended badly: whether the same asked for again may end well, where the remote tells."""

    def __str__(self) -> str:
        return f"{self.id} {self.service_status or self.state.value}" + (f" ({self.message})" if self.message else "")


class JobRef(NamedTuple):
    """How to find a piece of work again: small, JSON, and free of secrets.

    :param system: a name in `systems.py`
    :param kind: which of the system's kinds of job, a key of its API module's `JOB_TYPES`
    :param ids: the remote's ids; several when one piece of work was asked for in several parts
    :param where: what else the remote wants to know to find them (a project, an environment, ...)
    """

    service: str
    job_type: str
    ids: tuple[str, ...]
    locator: Mapping[str, str] = MappingProxyType({})

    def to_json(self) -> dict[str, Any]:
        return {**self._asdict(), "ids": list(self.ids), "locator": dict(self.locator)}

    @classmethod
    def from_json(cls, data: Any) -> JobRef:
        try:
            service, job_type, ids, locator = data["service"], data["job_type"], data["ids"], data["locator"]
            right = isinstance(ids, (list, tuple)) and len(ids) > 0
            right = right and all(isinstance(text, str) for text in (service, job_type, *ids, *locator.values()))
        except (KeyError, TypeError, AttributeError):
            right = False
        if not right:
            raise UnexpectedResponse(f"not a reference to a remote job: {data!r:.200}")
        return cls(service, job_type, tuple(ids), dict(locator))


class JobGroup(NamedTuple):
    """The jobs that one piece of work consists of, looked at together."""

    jobs: tuple[Job, ...]

    @property
    def state(self) -> JobState:
        """Running while any part runs; then the worst of the parts."""
        states = {job.state for job in self.jobs}
        worst = (JobState.RUNNING, JobState.NOT_FOUND, JobState.FAILED, JobState.CANCELLED)
        return next((state for state in worst if state in states), JobState.SUCCEEDED)

    @property
    def over(self) -> bool:
        return all(job.state.over for job in self.jobs)

    @property
    def retryable(self) -> bool | None:
        """Of work that ended badly: whether all that ended badly may end well when asked for again."""
        told = {job.retryable for job in self.jobs if job.state.over and job.state is not JobState.SUCCEEDED}
        return next((answer for answer in (False, None, True) if answer in told), None)

    @property
    def counts(self) -> dict[str, int]:
        """The parts' counts, summed."""
        total: dict[str, int] = {}
        for job in self.jobs:
            for name, number in job.counts.items():
                total[name] = total.get(name, 0) + number
        return total

    @property
    def progress(self) -> tuple[int | None, int | None]:
        """What is done, and of how much: by the remote's own numbers where it gives a total, else in parts."""
        if all(job.total is not None for job in self.jobs):
            return sum(job.done or 0 for job in self.jobs), sum(job.total or 0 for job in self.jobs)
        if len(self.jobs) > 1:
            return sum(job.state.over for job in self.jobs), len(self.jobs)
        return None, None

    def to_json(self) -> dict[str, Any]:
        """What is shown of it while it goes on: small, and without links, ids and rows."""
        done, total = self.progress
        only = self.jobs[0] if len(self.jobs) == 1 else None
        return {
            "state": self.state.value,
            "service_status": only.service_status if only else "",
            "message": (only.message if only else str(self))[:MAX_MESSAGE_LENGTH],
            "counts": self.counts,
            "done": done,
            "total": total,
        }

    @property
    def rejections(self) -> Iterable[Rejection]:
        return (rejection for job in self.jobs for rejection in job.rejections)

    @property
    def links(self) -> tuple[str, ...]:
        return tuple(link for job in self.jobs for link in job.links)

    def __str__(self) -> str:
        if len(self.jobs) == 1:
            return str(self.jobs[0])
        ended = sum(job.state.over for job in self.jobs)
        bad = [job for job in self.jobs if job.state.over and job.state is not JobState.SUCCEEDED]
        return f"{ended} of {len(self.jobs)} parts ended" + (f", badly: {'; '.join(map(str, bad[:3]))}" if bad else "")


MAX_MESSAGE_LENGTH = 500
"""So many letters of a remote's message are shown."""


class WaitStatus(str, Enum):
    """Why a trigger stopped watching."""

    OVER = "over"
    TIMED_OUT = "timed_out"
    GAVE_UP = "gave_up"
    """Looking failed too often in a row, or in a way that another look cannot cure."""


class WaitResult(NamedTuple):
    """What a trigger tells the task. It crosses a database and perhaps a version, so it is read with suspicion."""

    status: WaitStatus
    job: JobRef
    message: str = ""

    def to_event(self) -> dict[str, Any]:
        return {"status": self.status.value, "job": self.job.to_json(), "message": self.message}

    @classmethod
    def from_event(cls, event: Any) -> WaitResult:
        try:
            return cls(WaitStatus(event["status"]), JobRef.from_json(event["job"]), str(event.get("message", "")))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UnexpectedResponse(
                f"the trigger sent an event that this version does not know: {event!r:.300}"
            ) from error


class StatusObserver:
    """Tells a log how a piece of work goes on: a change of state is one INFO line, a look without news a DEBUG line.

    :param tell: is told of every look, and whether it was news
    """

    def __init__(
        self, log: Any, ref: JobRef, tell: Callable[[JobGroup, str], object] = lambda _work, _news: None
    ) -> None:
        self.ref = ref
        self._log = log
        self._tell = tell
        self._name = f"{ref.service} {ref.job_type}"
        self._last = ""

    def __call__(self, work: JobGroup) -> None:
        words = str(work)
        news = words != self._last
        self._last = words
        line = f"{words}{_how_far(work)}"
        write = self._log.info if news else self._log.debug
        write("%s %s", self._name, line)
        self._tell(work, line if news else "")


def _how_far(work: JobGroup) -> str:
    done, total = work.progress
    told = [f"{done} of {total}"] if total and len(work.jobs) == 1 else []
    told += [f"{name} {number}" for name, number in work.counts.items() if number]
    return f", {', '.join(told)}" if told else ""


def read_event(event: Any) -> tuple[WaitResult | None, SluiceError | None]:
    """What a trigger sent, and the error that it amounts to if the work should turn out not to be over."""
    try:
        outcome = WaitResult.from_event(event)
    except UnexpectedResponse as error:
        return None, error
    troubles: dict[WaitStatus, SluiceError | None] = {
        WaitStatus.OVER: None,
        WaitStatus.TIMED_OUT: TimedOut(outcome.message),
        WaitStatus.GAVE_UP: Unreachable(outcome.message),
    }
    return outcome, troubles[outcome.status]


MAX_LOGGED_REJECTIONS = 20
"""So many rejected rows are written to the log one by one; the others are counted."""


FIX_AND_CLEAR = "Fix the rows and clear this task, or set on_rejected_rows to 'warn'"


def check_rejections(
    work: JobGroup, policy: str, log: Any, rest: str = "all other rows were imported", then: str = FIX_AND_CLEAR
) -> None:
    """Rows that the remote turned away from work that succeeded otherwise: told, and judged by the author's policy.

    :param policy: fail, warn or ignore
    :param rest: what became of all else, for the error
    :param then: what to do about it, likewise
    :raises RowsRejected: when the policy is to fail
    """
    count = work.counts.get("rejected", 0)
    if not count or policy == "ignore":
        return
    rejections = list(work.rejections)
    for rejection in rejections[:MAX_LOGGED_REJECTIONS]:
        log.warning("Rejected: %s", rejection)
    if count > MAX_LOGGED_REJECTIONS:
        log.warning("... and more: %d rows were rejected in all", count)
    if policy == "fail":
        raise RowsRejected(f"{count} rows were rejected ({'; '.join(map(str, rejections[:3]))}); {rest}. {then}")
