"""Job types, as an API module declares them, and how several jobs are polled together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple, TypeVar, cast

from sluice_provider.errors import (
    AuthenticationFailed,
    NotFound,
    RateLimited,
    ServerError,
    SluiceError,
    Unreachable,
)
from sluice_provider.http.concurrency import ConcurrencyLimit
from sluice_provider.http.flow import Flow, Gather, Sleep
from sluice_provider.http.polling import Elapsed, PollSchedule
from sluice_provider.jobs.model import Job, JobGroup, JobRef, JobState, Rejection
from sluice_provider.redaction import redact, redact_message

log = logging.getLogger(__name__)

T = TypeVar("T")

Locator = Mapping[str, str]

VISIBILITY_GRACE_SECONDS = 120.0
"""Seconds after a submission during which "not found" means "not visible yet": the request may still be in flight, and
services answer from replicas that lag."""


def mark_lost(job: Job) -> Job:
    """The default `on_not_found`: the job counts as failed."""
    return job._replace(state=JobState.FAILED, service_status="lost")


class Wanted(NamedTuple):
    """A job whose status is wanted."""

    id: str
    locator: Locator


class JobType(NamedTuple):
    """One type of job of one service.

    :param noun: its name for people
    :param get_status: a flow that asks for the status of one id once; `NotFound` from it means that the service does
        not know the id; a job in the state `NOT_FOUND` means that the submission is not visible yet
    :param cancel: a flow that asks the service to stop it, or None where the service cannot
    :param on_not_found: what a job becomes that is still not found after `VISIBILITY_GRACE_SECONDS`
    :param fixed_interval: a status check is costly for the service, so a young job is not polled more often
    :param list_statuses: a flow that gets the states of several jobs with fewer requests, in this order, and None in
        place of a job that it did not find, or of which it does not know enough. It must not cost much more requests
        than it finds jobs
    """

    noun: str
    get_status: Callable[[str, Locator], Flow[Job]]
    cancel: Callable[[str, Locator], Flow[None]] | None = None
    on_not_found: Callable[[Job], Job] = mark_lost
    fixed_interval: bool = False
    list_statuses: Callable[[Sequence[Wanted]], Flow[list[Job | None]]] | None = None

    def poll_schedule(self, poll_interval: float) -> PollSchedule:
        return (
            PollSchedule(poll_interval, min_interval=poll_interval)
            if self.fixed_interval
            else PollSchedule(poll_interval)
        )


class StatusCheck(NamedTuple):
    """A step of a waiting flow: what runs it answers with the jobs' states in this order, and with an error in place
    of a job whose status could not be read."""

    job_type: JobType
    wanted: tuple[Wanted, ...]


Statuses = list[Job | SluiceError]

GetStatuses = Callable[[JobType, Sequence[Wanted]], Generator[Any, Any, Statuses]]
"""A flow that gets the states of these jobs, in this order, with an error in place of a job whose status could not be
read."""


MIN_LISTED = 5
"""Jobs for which a listing is worth its requests."""

MAX_AT_ONCE = 8
"""Requests of one worker at the same time."""


def of_the_service(error: object) -> bool:
    """Whether every request would meet this error now, whichever job it asks for. A request without a response is none:
    it may be slow because of what it asks for."""
    no_connection = isinstance(error, Unreachable) and not error.maybe_applied
    return no_connection or isinstance(error, (AuthenticationFailed, RateLimited))


def get_listed(job_type: JobType, listing: Flow[list[Job | None]], *, repeated: bool) -> Flow[list[Job | None] | None]:
    """What a listing says of several jobs; None if it is of no use, so that each job must be requested alone.

    :param listing: `JobType.list_statuses` of these jobs
    :param repeated: whether a listing that failed with a server error was repeated already
    :raises SluiceError: one that concerns every job
    """
    try:
        found = yield from listing
        return [job and without_secrets(job) for job in found]
    except SluiceError as error:
        if of_the_service(error) or (isinstance(error, ServerError) and not repeated):
            raise
        log.warning("The %ss could not be listed, so each is requested alone: %s", job_type.noun, error)
    except Exception:  # a bug, or an odd value, about one job must not fail the others
        log.exception("The %ss could not be listed, so each is requested alone", job_type.noun)
    return None


def without_secrets(job: Job) -> Job:
    """A job whose texts can be logged and stored: the service may repeat in them what it was sent."""
    rejections = tuple(Rejection(*map(redact, each)) for each in job.rejections)
    return job._replace(
        service_status=redact(job.service_status), message=redact_message(job.message), rejections=rejections
    )


def get_statuses(job_type: JobType, wanted: Sequence[Wanted]) -> Flow[Statuses]:
    """`GetStatuses` by the service's own flows: by its listing where there is one, else several at the same time.

    Their requests are repeated (`http/retry.py`), the listing's, too: a try that reconnects polls once, and fails if
    that fails.
    """
    found: Sequence[Job | None] | None = None
    if job_type.list_statuses is not None and len(wanted) >= MIN_LISTED:
        try:
            found = yield from get_listed(job_type, job_type.list_statuses(wanted), repeated=True)
        except SluiceError as error:
            return [error] * len(wanted)
    statuses: list[Job | SluiceError | None] = list(found or [None] * len(wanted))
    missing = [number for number, status in enumerate(statuses) if status is None]
    requested = yield from _get_each(job_type, [wanted[number] for number in missing])
    for number, status in zip(missing, requested, strict=True):
        statuses[number] = status
    return cast("Statuses", statuses)


def _get_each(job_type: JobType, wanted: Sequence[Wanted]) -> Flow[Statuses]:
    """Each alone. Once the service has failed, the others are not requested, and get the same error."""
    failures: list[SluiceError] = []

    def get(each: Wanted) -> Flow[Job]:
        try:
            return (yield from get_status(job_type, each))
        except SluiceError as error:
            if of_the_service(error) or isinstance(error, ServerError):
                failures.append(error)
            raise

    flows = (get(each) for each in takewhile(lambda _each: not failures, wanted))
    requested: Statuses = yield Gather(flows, ConcurrencyLimit(MAX_AT_ONCE))
    return requested + failures[:1] * (len(wanted) - len(requested))


def get_status(job_type: JobType, wanted: Wanted) -> Flow[Job]:
    """The state of one job, which may be `NOT_FOUND`."""
    try:
        return without_secrets((yield from job_type.get_status(wanted.id, wanted.locator)))
    except NotFound as error:
        return Job(wanted.id, JobState.NOT_FOUND, "not found", f"the service does not know this id: {error}")


def wait_for_statuses(job_type: JobType, wanted: Sequence[Wanted]) -> Generator[StatusCheck, Statuses, Statuses]:
    """`GetStatuses` by what runs the flow, which may run many others with it."""
    return (yield StatusCheck(job_type, tuple(wanted)))


class JobPoller:
    """Polls all jobs of a reference together. A job that has ended is not polled again.

    :param age: seconds since the submission
    :param get_statuses: a flow that gets the states of several jobs
    """

    def __init__(
        self,
        job_type: JobType,
        ref: JobRef,
        age: Callable[[], float],
        get_statuses: GetStatuses = get_statuses,
    ) -> None:
        self._job_type = job_type
        self._ref = ref
        self._age = age
        self._get_statuses = get_statuses
        self._ended: dict[str, Job] = {}

    def poll(self) -> Flow[JobGroup]:
        """:raises SluiceError: the status of a job could not be read"""
        wanted = [Wanted(job_id, self._ref.locator) for job_id in self._ref.ids if job_id not in self._ended]
        found = (yield from self._get_statuses(self._job_type, wanted)) if wanted else []
        polled: dict[str, Job] = {}
        errors: list[SluiceError] = []
        for each, status in zip(wanted, found, strict=True):
            if isinstance(status, SluiceError):
                errors.append(status)
                continue
            job = polled[each.id] = self._not_found_for_good(status)
            if job.state.over:
                self._ended[each.id] = job
        if errors:
            raise min(errors, key=lambda error: error.retryable)
        jobs = tuple(self._ended.get(job_id) or polled[job_id] for job_id in self._ref.ids)
        return JobGroup(jobs, self._ref.ended)

    def _not_found_for_good(self, job: Job) -> Job:
        late = job.state is JobState.NOT_FOUND and self._age() >= VISIBILITY_GRACE_SECONDS
        return self._job_type.on_not_found(job) if late else job


def cancel(job_type: JobType, ref: JobRef) -> Flow[bool]:
    """Ask the service to cancel the jobs. False where it cannot."""
    if job_type.cancel is None:
        return False
    for job_id in ref.ids:
        yield from job_type.cancel(job_id, ref.locator)
    return True


def find_after_lost_response(
    find: Callable[[], Flow[T | None]], submitted_at: float, visible_after: float = VISIBILITY_GRACE_SECONDS
) -> Flow[T | None]:
    """Search for the effect of a submission whose outcome is unknown, until it is found, or until it would have to be
    visible; then the request had no effect.

    :param find: a flow that searches once; None if nothing was found
    :param visible_after: seconds after the submission when its effect must be visible
    """
    age = Elapsed(submitted_at)
    while True:
        late = age() >= visible_after
        found = yield from find()
        if found is not None or late:
            return found
        yield Sleep(min(10.0, max(1.0, visible_after - age())), "the effect of the submission is not visible yet")
