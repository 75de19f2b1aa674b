"""Polling several jobs together."""

from __future__ import annotations

import pytest

from sluice_provider.apis.kaleidoscope.endpoints import JOB_TYPES, push_by_field_name
from sluice_provider.errors import (
    AuthenticationFailed,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerError,
    UnexpectedResponse,
    Unreachable,
)
from sluice_provider.http.polling import poll_until
from sluice_provider.jobs import Job, JobRef, JobState
from sluice_provider.jobs.polling import VISIBILITY_GRACE_SECONDS, JobPoller, JobType, Wanted, cancel, get_statuses
from tests.flows import run_flow

REF = JobRef("test", "import", ("a", "b"), {"project": "p"})


class Service:
    """Jobs in the states that a test sets; it records the requests."""

    def __init__(self, **jobs):
        self.jobs = jobs
        self.polled = []
        self.cancelled = []
        self.job_type = JobType("import", self.get_status, self.cancel)

    def get_status(self, job_id, locator):
        self.polled.append((job_id, locator["project"]))
        state = self.jobs[job_id]
        if isinstance(state, Exception):
            raise state
        return Job(job_id, state)
        yield

    def cancel(self, job_id, locator):
        self.cancelled.append((job_id, locator["project"]))
        return
        yield

    def poller(self, age=0.0):
        return JobPoller(self.job_type, REF, lambda: age)


def test_all_jobs_are_polled():
    """In order, each with its locator."""
    service = Service(a=JobState.SUCCEEDED, b=JobState.RUNNING)
    work = run_flow(service.poller().poll()).value
    assert [job.id for job in work.jobs] == ["a", "b"]
    assert service.polled == [("a", "p"), ("b", "p")]
    assert not work.over


def test_a_job_that_has_ended_is_not_polled_again():
    """It can no longer change."""
    service = Service(a=JobState.FAILED, b=JobState.RUNNING)
    poller = service.poller()
    run_flow(poller.poll())
    service.jobs["b"] = JobState.SUCCEEDED
    assert run_flow(poller.poll()).value.over
    assert [job_id for job_id, _ in service.polled] == ["a", "b", "b"]


@pytest.mark.parametrize(
    ("age", "state"),
    [
        (0.0, JobState.NOT_FOUND),
        (VISIBILITY_GRACE_SECONDS - 1, JobState.NOT_FOUND),
        (VISIBILITY_GRACE_SECONDS, JobState.FAILED),
    ],
)
def test_an_unknown_id(age, state):
    """It may become visible for two minutes; afterwards it counts as failed."""
    work = run_flow(Service(a=NotFound("no such id"), b=JobState.SUCCEEDED).poller(age).poll()).value
    assert work.jobs[0].state is state
    assert work.over == (state is JobState.FAILED)


def test_other_errors_are_raised():
    """To the caller."""
    assert isinstance(
        run_flow(Service(a=PermissionDenied("no"), b=JobState.RUNNING).poller().poll()).error, PermissionDenied
    )


def statuses_of(listing_error, **jobs):
    """What a worker reads of these jobs if their listing fails like this, and which were requested alone."""

    def listing(_wanted):
        raise listing_error
        yield

    service = Service(**jobs)
    job_type = service.job_type._replace(list_statuses=listing)
    found = run_flow(get_statuses(job_type, [Wanted(each, {"project": "p"}) for each in jobs])).value
    return found, [job_id for job_id, _ in service.polled]


@pytest.mark.parametrize(
    "error",
    [
        NotFound("no such endpoint"),
        Unreachable("timed out", maybe_applied=True),
        ServerError("broken"),
        UnexpectedResponse("not JSON"),
        ZeroDivisionError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_listing_that_is_of_no_use(error):
    """Each job is requested alone."""
    found, requested = statuses_of(error, **dict.fromkeys("abcdefg", JobState.RUNNING))
    assert [job.id for job in found] == requested == list("abcdefg")


@pytest.mark.parametrize(
    "error",
    [AuthenticationFailed("who are you?"), RateLimited("slow down"), Unreachable("refused", maybe_applied=False)],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_the_service(error):
    """Every job has it: nothing more is requested, neither after a listing nor after a request for one job."""
    running = dict.fromkeys("cdefg", JobState.RUNNING)
    assert statuses_of(error, a=JobState.RUNNING, **running) == ([error] * 6, [])
    found, requested = statuses_of(NotFound("no listing"), a=JobState.RUNNING, b=error, **running)
    assert found[0].state is JobState.RUNNING
    assert found[1:] == [error] * 6
    assert requested == ["a", "b"]


def test_an_error_of_one_job():
    """The others are requested nevertheless."""
    found, requested = statuses_of(NotFound("no listing"), a=Unreachable("timed out"), b=JobState.RUNNING)
    assert isinstance(found[0], Unreachable)
    assert found[1].state is JobState.RUNNING
    assert requested == ["a", "b"]


def test_an_import_that_is_lost(run, sluice_sandbox):
    """After `VISIBILITY_GRACE_SECONDS` it has failed, with the service's message."""
    import_id = run(push_by_field_name(["symbol"], [{"symbol": "H"}]))
    sluice_sandbox.settings(imports_not_found=True)
    age = lambda: sum(run.pauses)  # noqa: E731 - no other time passes
    poller = JobPoller(JOB_TYPES["import"], JobRef("kaleidoscope", "import", (import_id,)), age)
    work = run(poll_until(poller.poll, lambda work: work.over, elapsed=age))
    assert work.state is JobState.FAILED
    assert "lost" in str(work)
    assert "returned 404" in work.jobs[0].message
    assert sum(run.pauses) >= VISIBILITY_GRACE_SECONDS


def test_an_import_is_waited_for(run, sluice_sandbox):
    """From created to completed on the service's clock, which our sleeps advance."""
    sluice_sandbox.settings(job_seconds=90)
    import_ids = tuple(run(push_by_field_name(["symbol"], [{"symbol": symbol}])) for symbol in ("H", "He"))
    age = lambda: sum(run.pauses)  # noqa: E731
    poller = JobPoller(JOB_TYPES["import"], JobRef("kaleidoscope", "import", import_ids), age)
    polls = []
    work = run(poll_until(poller.poll, lambda work: work.over, elapsed=age, on_poll=polls.append))
    assert work.counts["created"] == 2
    assert 60 <= sum(run.pauses) <= 90 * 1.15  # less than 90, as real time passes too
    assert {job.service_status for poll in polls for job in poll.jobs} == {"created", "processing", "completed"}


def test_cancelling():
    """Every job, where the service supports it."""
    service = Service()
    assert run_flow(cancel(service.job_type, REF)).value is True
    assert service.cancelled == [("a", "p"), ("b", "p")]


def test_cancelling_where_it_cannot():
    """It returns False, and sends no request."""
    assert run_flow(cancel(JOB_TYPES["import"], REF)).value is False
