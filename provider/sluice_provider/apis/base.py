"""What an API module says of its jobs, and how several of them are looked at as one piece of work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar
from urllib.parse import quote

from sluice_provider.calls.flow import Age, Cadence, Flow, Pause
from sluice_provider.errors import InvalidInput, NotFound
from sluice_provider.jobs import Job, JobRef, JobState, Work

T = TypeVar("T")

Where = Mapping[str, str]

GRACE = 120.0
"""Seconds after the asking during which no trace of the work means "not yet": remotes answer from replicas that lag."""


def vanished(job: Job) -> Job:
    """Work that left no trace in all that time is lost."""
    return job._replace(state=JobState.FAILED, word="vanished")


class Kind(NamedTuple):
    """One kind of job of one remote.

    :param noun: what people call it
    :param look: a flow that looks at one id once; `NotFound` from it means that the remote does not know the id, and
        a job that is `MISSING` that there is no trace yet of what was asked for
    :param cancel: a flow that asks the remote to stop it, or None where the remote cannot
    :param faded: what it means that there still is no trace of it after `GRACE` seconds
    :param costly: a look makes the remote work, so that also a young job is looked at every `poll_interval` only
    """

    noun: str
    look: Callable[[str, Where], Flow[Job]]
    cancel: Callable[[str, Where], Flow[None]] | None = None
    faded: Callable[[Job], Job] = vanished
    costly: bool = False

    def cadence(self, poll_interval: float) -> Cadence:
        return Cadence(poll_interval, shortest=poll_interval) if self.costly else Cadence(poll_interval)


class Watch:
    """Looks at all jobs of a reference together. A job that has ended is not asked for again."""

    def __init__(self, kind: Kind, ref: JobRef, age: Callable[[], float]) -> None:
        self._kind = kind
        self._ref = ref
        self._age = age
        self._ended: dict[str, Job] = {}

    def look(self) -> Flow[Work]:
        jobs = []
        for job_id in self._ref.ids:
            job = self._ended.get(job_id)
            if job is None:
                job = yield from self._look(job_id)
            if job.state.over:
                self._ended[job_id] = job
            jobs.append(job)
        return Work(tuple(jobs))

    def _look(self, job_id: str) -> Flow[Job]:
        try:
            job = yield from self._kind.look(job_id, self._ref.where)
        except NotFound as error:
            job = Job(job_id, JobState.MISSING, "not known", f"the remote does not know it: {error}")
        return self._kind.faded(job) if job.state is JobState.MISSING and self._age() >= GRACE else job


def cancel(kind: Kind, ref: JobRef) -> Flow[bool]:
    """Ask the remote to stop the work. False where it cannot."""
    if kind.cancel is None:
        return False
    for job_id in ref.ids:
        yield from kind.cancel(job_id, ref.where)
    return True


def trace(look: Callable[[], Flow[T | None]], asked_at: float) -> Flow[T | None]:
    """What became of an asking that was never answered: looked for until it is there, or `GRACE` seconds have passed
    since the asking, after which there is nothing to be found.

    :param look: a flow that looks once; None from it means that there is no trace yet
    """
    age = Age(asked_at)
    while True:
        late = age() >= GRACE
        found = yield from look()
        if found is not None or late:
            return found
        yield Pause(min(10.0, max(1.0, GRACE - age())), "no trace yet of what was asked for")


def segment(value: str, name: str) -> str:
    """An id as one segment of a path, quoted, so that it cannot name another endpoint.

    :raises InvalidInput: for an id that is empty or would change the path
    """
    if not isinstance(value, str) or not value.strip() or value in (".", ".."):
        raise InvalidInput(f"{name} must be a non-empty id, not {value!r}")
    if value == "None":
        raise InvalidInput(f"{name} is the text 'None': it was taken from an XCom or a parameter that is not there")
    return quote(value, safe="")
