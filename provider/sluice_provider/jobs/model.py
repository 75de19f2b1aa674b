"""Jobs of any service, references to them, and the result of waiting for them. Plain data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from hashlib import sha256
from itertools import chain
from types import MappingProxyType
from typing import Any, NamedTuple

from sluice_provider.errors import RowsRejected, SluiceError, TimedOut, UnexpectedResponse, Unreachable


class JobState(str, Enum):
    """The state of a job. A status of the service that this version does not know counts as `RUNNING`."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    NOT_FOUND = "not_found"
    """The service does not know the id: not yet, or no longer."""

    @property
    def over(self) -> bool:
        return self not in (JobState.RUNNING, JobState.NOT_FOUND)


class Rejection(NamedTuple):
    """One row, or one value of a row, that the service rejected."""

    row: str
    field: str
    value: str
    reason: str

    def __str__(self) -> str:
        return f"row {self.row}: {self.field}={self.value}: {self.reason}"


class Job(NamedTuple):
    """A job as of the last status check."""

    id: str
    state: JobState
    service_status: str = ""
    """The status in the service's own terms."""
    message: str = ""
    """The service's own explanation, if it gave one."""
    counts: Mapping[str, int] = MappingProxyType({})
    """What was done so far, by the service's own names."""
    done: int | None = None
    total: int | None = None
    """Progress: `done` of `total`, where the service reports a total."""
    rejections: tuple[Rejection, ...] = ()
    """The first rejected rows; `counts["rejected"]` is their number."""
    links: tuple[str, ...] = ()
    """URLs of its results. They may grant access without authentication, so they are neither logged nor stored."""
    retryable: bool | None = None
    """Of a failed job: whether the same job may succeed if submitted again; None where the service does not say."""
    name: str = ""
    """Its name in the service, where its status has it and a name identifies a job."""

    def __str__(self) -> str:
        return f"{self.id} {self.service_status or self.state.value}" + (f" ({self.message})" if self.message else "")


MAX_KEPT_REJECTIONS = 20
"""Rejected rows of jobs that are only counted."""


class EndedJobs(NamedTuple):
    """Jobs of a phase that have succeeded, as far as they are still needed: they are not polled again.

    :param number: how many they are
    :param counts: theirs, summed
    :param rejections: the first of their rejected rows
    """

    number: int = 0
    counts: Mapping[str, int] = MappingProxyType({})
    rejections: tuple[Rejection, ...] = ()

    def plus(self, jobs: Sequence[Job]) -> EndedJobs:
        rejections = (*self.rejections, *(rejection for job in jobs for rejection in job.rejections))
        counts = _summed((self.counts, *(job.counts for job in jobs)))
        return EndedJobs(self.number + len(jobs), counts, rejections[:MAX_KEPT_REJECTIONS])

    def to_json(self) -> dict[str, Any]:
        return {**self._asdict(), "counts": dict(self.counts), "rejections": [list(each) for each in self.rejections]}

    @classmethod
    def from_json(cls, data: Any) -> EndedJobs:
        """What is readable of it: a number that is not there is 0, a rejection that is not valid is left out."""
        data = data if isinstance(data, dict) else {}
        counts, rejections = data.get("counts"), data.get("rejections")
        return cls(
            count_or_zero(data.get("number")),
            {str(name): count_or_zero(value) for name, value in counts.items()} if isinstance(counts, dict) else {},
            tuple(
                Rejection(*map(str, each))
                for each in (rejections if isinstance(rejections, list) else ())
                if isinstance(each, list) and len(each) == len(Rejection._fields)
            ),
        )


def count_or_zero(value: Any) -> int:
    """A count that somebody else wrote; 0 if it is not a plausible one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**15 else 0


def _summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for name, number in each.items():
            total[name] = total.get(name, 0) + number
    return total


class JobRef(NamedTuple):
    """What identifies the jobs of one phase: small, JSON-serializable, without secrets.

    :param service: a name in `services.py`
    :param job_type: a key of the `JOB_TYPES` of the service's API module
    :param ids: the service's ids; several when the input was submitted in several requests
    :param locator: what the service needs beside the ids to find them (a project, an environment, ...)
    :param ended: other jobs of the phase, which have succeeded already
    """

    service: str
    job_type: str
    ids: tuple[str, ...]
    locator: Mapping[str, str] = MappingProxyType({})
    ended: EndedJobs = EndedJobs()

    def to_json(self) -> dict[str, Any]:
        found = {"service": self.service, "job_type": self.job_type, "ids": list(self.ids)}
        ended = {"ended": self.ended.to_json()} if self.ended.number else {}
        return {**found, "locator": dict(self.locator), **ended}

    @classmethod
    def from_json(cls, data: Any) -> JobRef:
        try:
            service, job_type, ids, locator = data["service"], data["job_type"], data["ids"], data["locator"]
            valid = isinstance(ids, (list, tuple)) and len(ids) > 0
            valid = valid and all(isinstance(text, str) for text in (service, job_type, *ids, *locator.values()))
        except (KeyError, TypeError, AttributeError):
            valid = False
        if not valid:
            raise UnexpectedResponse(f"not a valid reference to a job of a service: {data!r:.200}")
        return cls(service, job_type, tuple(ids), dict(locator), EndedJobs.from_json(data.get("ended")))


class JobGroup(NamedTuple):
    """The jobs of one phase, polled together.

    :param jobs: those that were polled
    :param ended: others, which have succeeded before
    """

    jobs: tuple[Job, ...]
    ended: EndedJobs = EndedJobs()

    @property
    def size(self) -> int:
        """The number of all jobs."""
        return len(self.jobs) + self.ended.number

    @property
    def state(self) -> JobState:
        """Running while any job runs; then the worst of their states."""
        states = {job.state for job in self.jobs}
        worst = (JobState.RUNNING, JobState.NOT_FOUND, JobState.FAILED, JobState.CANCELLED)
        return next((state for state in worst if state in states), JobState.SUCCEEDED)

    @property
    def over(self) -> bool:
        return all(job.state.over for job in self.jobs)

    @property
    def retryable(self) -> bool | None:
        """Whether all failed jobs may succeed if submitted again; None where the service does not say of one of
        them."""
        answers = {job.retryable for job in self.jobs if job.state.over and job.state is not JobState.SUCCEEDED}
        return next((answer for answer in (False, None, True) if answer in answers), None)

    @property
    def counts(self) -> dict[str, int]:
        """The jobs' counts, summed."""
        return _summed((self.ended.counts, *(job.counts for job in self.jobs)))

    @property
    def progress(self) -> tuple[int | None, int | None]:
        """`done` and `total`: the service's own numbers where it reports a total, else the number of jobs."""
        if not self.ended.number and all(job.total is not None for job in self.jobs):
            return sum(job.done or 0 for job in self.jobs), sum(job.total or 0 for job in self.jobs)
        return (self._over_count, self.size) if self.size > 1 else (None, None)

    @property
    def _over_count(self) -> int:
        return self.ended.number + sum(job.state.over for job in self.jobs)

    def to_json(self) -> dict[str, Any]:
        """What is shown while the jobs run: small, and without links, ids and rows."""
        done, total = self.progress
        only = self.jobs[0] if len(self.jobs) == self.size == 1 else None
        return {
            "state": self.state.value,
            "service_status": only.service_status if only else "",
            "message": (only.message if only else str(self))[:MAX_MESSAGE_LENGTH],
            "counts": self.counts,
            "done": done,
            "total": total,
        }

    @property
    def digest(self) -> str:
        """Of the jobs' status in words: small, and without what a service wrote."""
        return sha256(str(self).encode("utf-8", "replace")).hexdigest()[:16]

    @property
    def rejections(self) -> Iterable[Rejection]:
        return chain(self.ended.rejections, (rejection for job in self.jobs for rejection in job.rejections))

    @property
    def links(self) -> tuple[str, ...]:
        return tuple(link for job in self.jobs for link in job.links)

    def __str__(self) -> str:
        if len(self.jobs) == self.size == 1:
            return str(self.jobs[0])
        failed = [job for job in self.jobs if job.state.over and job.state is not JobState.SUCCEEDED]
        failures = f", not successful: {'; '.join(map(str, failed[:3]))}" if failed else ""
        return f"{self._over_count} of {self.size} jobs ended{failures}"


MAX_MESSAGE_LENGTH = 500
"""Characters of a service's message that are shown."""


class WaitStatus(str, Enum):
    """Why a trigger stopped polling."""

    OVER = "over"
    TIMED_OUT = "timed_out"
    GAVE_UP = "gave_up"
    """Status checks failed too often in a row, or with an error that is not retryable."""


class WaitResult(NamedTuple):
    """What a trigger reports to its task. Another version may have stored it in the database, so it is validated on
    read."""

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
                f"the trigger sent an event that this version of the provider does not know: {event!r:.300}"
            ) from error


class StatusObserver:
    """Logs status checks: at INFO when the status has changed, else at DEBUG.

    :param title: the service's name for people
    :param on_status: called after every status check, with the log line if the status has changed, else with ""
    :param seen: `JobGroup.digest` of the last status that another process has seen, if any
    """

    def __init__(
        self,
        log: Any,
        title: str,
        ref: JobRef,
        on_status: Callable[[JobGroup, str], object] = lambda _work, _change: None,
        seen: str = "",
    ) -> None:
        self.ref = ref
        self._log = log
        self._on_status = on_status
        self._title = title
        self._last = seen

    def __call__(self, work: JobGroup) -> None:
        status = work.digest
        changed = status != self._last
        self._last = status
        line = f"{work}{_progress_text(work)}"
        write = self._log.info if changed else self._log.debug
        write("%s %s %s", self._title, self.ref.job_type, line)
        self._on_status(work, line if changed else "")


def _progress_text(work: JobGroup) -> str:
    done, total = work.progress
    parts = [f"{done} of {total}"] if total and work.size == 1 else []
    parts += [f"{name} {number}" for name, number in work.counts.items() if number]
    return f", {', '.join(parts)}" if parts else ""


def read_event(event: Any) -> tuple[WaitResult | None, SluiceError | None]:
    """The result in a trigger's event, and the error to raise if the jobs turn out not to be over."""
    try:
        outcome = WaitResult.from_event(event)
    except UnexpectedResponse as error:
        return None, error
    errors: dict[WaitStatus, SluiceError | None] = {
        WaitStatus.OVER: None,
        WaitStatus.TIMED_OUT: TimedOut(outcome.message),
        WaitStatus.GAVE_UP: Unreachable(outcome.message),
    }
    return outcome, errors[outcome.status]


MAX_LOGGED_REJECTIONS = 20
"""Rejected rows that are logged one by one; the others are counted."""


FIX_AND_CLEAR = "Fix the rows and clear this task, or set on_rejected_rows to 'warn'"


def check_rejections(
    work: JobGroup, policy: str, log: Any, rest: str = "all other rows were imported", then: str = FIX_AND_CLEAR
) -> None:
    """Log rows that the service rejected in jobs that succeeded otherwise, and fail if the policy says so.

    :param policy: of the DAG's author: fail, warn or ignore
    :param rest: what happened to the other rows, for the error message
    :param then: what to do about it, for the error message
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
