"""Many triggers that poll together: how many requests at once, in which order, and what one can do to the others."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from sluice_provider import shared_poller as module
from sluice_provider.apis.kaleidoscope.endpoints import JOB_TYPES
from sluice_provider.errors import (
    AuthenticationFailed,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerError,
    SluiceError,
    UnexpectedResponse,
    Unreachable,
)
from sluice_provider.hooks.kaleidoscope import KaleidoscopeHook
from sluice_provider.http.client_config import MAX_CONNECTIONS
from sluice_provider.jobs import Job, JobGroup, JobRef, JobState
from sluice_provider.jobs.execution import poll_job
from sluice_provider.jobs.polling import MIN_LISTED, JobPoller, JobType, wait_for_statuses
from sluice_provider.shared_poller import MAX_LISTING_FAILURES, NO_LISTING_SECONDS, SharedPoller, shared_poller
from tests.flows import FakeSleep, logged_requests

pytestmark = pytest.mark.usefixtures("sluice_connections")


ONE_BY_ONE = JOB_TYPES["import"]._replace(list_statuses=None)


clock: Any = SimpleNamespace(seconds=0.0, monotonic=lambda: clock.seconds)


def advance(seconds):
    """Move the poller's clock."""
    clock.seconds += seconds


@pytest.fixture(autouse=True)
def moved_clock(monkeypatch):
    """The poller's clock stands, but for the sleeps of a `Hook`."""
    clock.seconds = 1000.0
    monkeypatch.setattr(module, "time", clock)


class Hook(KaleidoscopeHook):
    """The real one, which counts what runs at the same time. A request whose path is in `gates` fails there."""

    def __init__(self):
        super().__init__()
        self.pauses = FakeSleep(advance)
        self.async_sleep = self.pauses.aio
        self.running = self.most = 0
        self.gates = {}

    async def arun(self, flow):
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0)
            return await super().arun(self.gated(flow))
        finally:
            self.running -= 1

    def gated(self, flow):
        answer = None
        while True:
            try:
                step = flow.throw(answer) if isinstance(answer, SluiceError) else flow.send(answer)
            except StopIteration as end:
                return end.value
            gate = self.gates.get(getattr(step, "path", "").rpartition("/")[2])
            if isinstance(gate, Exception):
                flow.throw(gate)
            try:
                answer = yield step
            except SluiceError as error:
                answer = error


def once(*ids, job_type=ONE_BY_ONE):
    """A flow that polls these imports once."""
    return JobPoller(job_type, JobRef("kaleidoscope", "import", ids), lambda: 0.0, wait_for_statuses).poll()


def until_over(*ids, submitted_at=0.0, job_type=JOB_TYPES["import"]):
    """A flow that polls these imports until they are over."""
    ref = JobRef("kaleidoscope", "import", ids)
    return poll_job(job_type, ref, submitted_at, None, 60.0, lambda _work: None, wait_for_statuses)


async def until(done):
    """Return once this is so."""
    while not done():  # noqa: ASYNC110 - of requests over a socket
        await asyncio.sleep(0.001)


def push(count):
    """So many imports."""
    hook = KaleidoscopeHook()
    ids = [hook.push_by_field_name(["symbol"], [{"symbol": f"X{number}"}]) for number in range(count)]
    hook.close()
    return ids


def test_triggers_that_start_together(sluice_sandbox):
    """Each gets the status of its own jobs, with no more requests at once than there are connections."""
    ids = push(60)
    sluice_sandbox.requests(clear=True)

    async def work(poller):
        return await asyncio.gather(*(poller.run(once(*pair)) for pair in zip(ids[::2], ids[1::2], strict=True)))

    hook = Hook()
    found = asyncio.run(work(SharedPoller(hook)))
    assert [job.id for group in found for job in group.jobs] == [
        each for pair in zip(ids[::2], ids[1::2], strict=True) for each in pair
    ]
    assert hook.most == MAX_CONNECTIONS
    assert len(logged_requests(sluice_sandbox, "imports/")) == 60


def test_a_failing_job_is_the_trouble_of_its_own_trigger():
    """All others get their status."""
    ids = push(3)
    hook = Hook()
    hook.gates[ids[1]] = Unreachable("gone")

    async def work(poller):
        return await asyncio.gather(*(poller.run(once(each)) for each in ids), return_exceptions=True)

    first, second, third = asyncio.run(work(SharedPoller(hook)))
    assert isinstance(second, Unreachable)
    assert {first.state, third.state} <= {JobState.RUNNING, JobState.SUCCEEDED}


def test_a_bug_is_the_trouble_of_its_own_trigger():
    """An error that is not of this package is raised there, too, and the poller continues."""
    ids = push(2)
    hook = Hook()
    hook.gates[ids[0]] = ZeroDivisionError()

    async def work(poller):
        return await asyncio.gather(*(poller.run(once(each)) for each in ids), return_exceptions=True)

    first, second = asyncio.run(work(SharedPoller(hook)))
    assert isinstance(first, ZeroDivisionError)
    assert second.jobs


def test_a_slow_response_delays_its_own_trigger_only():
    """The others are polled meanwhile, as often as they like."""
    ids = push(3)
    hook = Hook()

    async def work(poller):
        opened = asyncio.Event()
        original = hook.arun

        async def slow(flow):
            if "slow" in hook.gates:
                del hook.gates["slow"]
                await opened.wait()
            return await original(flow)

        hook.arun, hook.gates["slow"] = slow, None
        first = asyncio.ensure_future(poller.run(once(ids[0])))
        await asyncio.sleep(0)
        others = [await poller.run(once(each)) for each in [*ids[1:], *ids[1:]]]
        assert not first.done()
        opened.set()
        return [await first, *others]

    assert [group.jobs[0].id for group in asyncio.run(work(SharedPoller(hook)))] == [ids[0], *ids[1:], *ids[1:]]


def test_what_nobody_waits_for_is_not_requested(sluice_sandbox):
    """A trigger that was cancelled sends nothing more."""
    ids = push(MAX_CONNECTIONS + 5)
    sluice_sandbox.requests(clear=True)

    async def work(poller):
        triggers = [asyncio.ensure_future(poller.run(once(each))) for each in ids]
        await asyncio.sleep(0)
        for trigger in triggers[MAX_CONNECTIONS:]:
            trigger.cancel()
        return await asyncio.gather(*triggers, return_exceptions=True)

    found = asyncio.run(work(SharedPoller(Hook())))
    assert [isinstance(each, asyncio.CancelledError) for each in found].count(True) == 5
    assert len(logged_requests(sluice_sandbox, "imports/")) == MAX_CONNECTIONS


def test_a_status_check_is_one_attempt(sluice_sandbox):
    """The next one is the retry: while a service is away, nothing sleeps inside the few that run at once."""
    [import_id] = push(1)
    sluice_sandbox.faults([{"path": "imports/", "status": 503, "times": 2}])
    hook = Hook()

    async def work(poller):
        sluice_sandbox.advance(1000)
        return await poller.run(until_over(import_id, job_type=ONE_BY_ONE))

    assert asyncio.run(work(SharedPoller(hook))).state is JobState.SUCCEEDED
    assert len(hook.pauses) == 2, "those of the waiting flow"
    assert len(logged_requests(sluice_sandbox, "imports/")) == 3


def test_a_rate_limit_is_one_of_all_jobs(sluice_sandbox):
    """Nothing is requested before the service's time is over."""
    ids = push(2)
    sluice_sandbox.faults([{"path": "imports/", "status": 429, "headers": {"Retry-After": "7"}}])
    hook = Hook()

    async def work(poller):
        with pytest.raises(RateLimited):
            await poller.run(once(ids[0]))
        return await poller.run(once(ids[1]))

    assert asyncio.run(work(SharedPoller(hook))).jobs[0].id == ids[1]
    assert hook.pauses == [7.0]


def limited(retry_after):
    """A flow that is rate limited."""
    error = RateLimited("slow down", status=429, retry_after=retry_after)
    raise error
    yield


def test_a_later_rate_limit_does_not_shorten_the_pause():
    """Requests that were sent together may be told different times, or none."""

    hook = Hook()
    poller = SharedPoller(hook)

    async def work():
        await asyncio.gather(poller._send(limited(30.0)), poller._send(limited(None)))
        assert hook.pauses == []
        await poller._send(limited(None))

    asyncio.run(work())
    assert hook.pauses == [30.0]


def test_a_pause_that_becomes_longer():
    """Who sleeps because of a rate limit sleeps on, if another response has asked for more meanwhile."""
    hook = Hook()
    poller = SharedPoller(hook)
    poller._paused_until = clock.seconds + 5.0
    original = hook.async_sleep

    async def sleep(seconds):
        if not hook.pauses:
            poller._paused_until += 30.0
        await original(seconds)

    hook.async_sleep = sleep
    asyncio.run(poller._send(limited(None)))
    assert hook.pauses == [5.0, 30.0]


# --- by a listing


def test_many_jobs_are_listed(sluice_sandbox):
    """One page answers all but the first, of which each is alone; those that are not in it are requested."""
    ids = push(30)
    sluice_sandbox.requests(clear=True)

    async def work(poller):
        flows = [once(each, job_type=JOB_TYPES["import"]) for each in [*ids, "nobody"]]
        return await asyncio.gather(*(poller.run(flow) for flow in flows))

    *found, unknown = asyncio.run(work(SharedPoller(Hook())))
    assert [group.jobs[0].id for group in found] == ids
    assert unknown.state is JobState.NOT_FOUND
    assert len(logged_requests(sluice_sandbox)) <= 5 + MIN_LISTED


def test_a_listing_answers_also_those_that_are_due_later(sluice_sandbox):
    """So jobs of different ages cost one listing together, and each gets its own end."""
    sluice_sandbox.settings(job_seconds=100_000)
    old = push(20)
    hook = Hook()
    sluice_sandbox.requests(clear=True)
    naps = []

    async def sleep(seconds):
        """Old jobs sleep until the end of the test; the collecting of status checks takes no time."""
        if seconds > 10:
            naps.append(seconds)
            await asyncio.Event().wait()
        await asyncio.sleep(0)

    hook.async_sleep = sleep

    async def work(poller):
        waiting = [asyncio.ensure_future(poller.run(until_over(each))) for each in old]
        await until(lambda: len(naps) == len(old))
        assert len(logged_requests(sluice_sandbox)) <= 3 + MIN_LISTED
        sluice_sandbox.advance(200_000)
        # MIN_LISTED of them ask again, as they were cancelled and started anew: the others are answered, too
        for trigger in waiting[:MIN_LISTED]:
            trigger.cancel()
        again = [poller.run(once(each, job_type=JOB_TYPES["import"])) for each in old[:MIN_LISTED]]
        return await asyncio.gather(*again, *waiting[MIN_LISTED:])

    found = asyncio.run(work(SharedPoller(hook)))
    assert [group.jobs[0].id for group in found] == old
    assert {group.state for group in found} == {JobState.SUCCEEDED}
    assert len(logged_requests(sluice_sandbox)) <= 8 + MIN_LISTED


def test_jobs_that_become_due_during_a_listing_are_answered_by_it(sluice_sandbox):
    """It has them, as they were sleeping when it began."""
    sluice_sandbox.settings(job_seconds=100_000)
    ids = push(20)
    hook = Hook()
    woken, naps = asyncio.Event(), []

    async def sleep(seconds):
        if seconds > 10:
            naps.append(seconds)
            await (woken.wait() if len(naps) <= len(ids) else asyncio.Event().wait())
        await asyncio.sleep(0)

    hook.async_sleep = sleep
    original = hook.arun

    async def arun(flow):
        """The flows that sleep become due while the listing runs."""
        if len(naps) == len(ids):
            woken.set()
            await until(lambda: sum(map(len, poller._collected.values())) >= len(ids))
        return await original(flow)

    async def work():
        waiting = [asyncio.ensure_future(poller.run(until_over(each))) for each in ids]
        await until(lambda: len(naps) == len(ids))
        sluice_sandbox.requests(clear=True)
        hook.arun = arun
        await asyncio.gather(*(poller.run(once(each, job_type=JOB_TYPES["import"])) for each in ids[:MIN_LISTED]))
        await until(lambda: len(naps) == 2 * len(ids))
        for trigger in waiting:
            trigger.cancel()

    poller = SharedPoller(hook)
    asyncio.run(work())
    assert len(logged_requests(sluice_sandbox)) == 1


def test_a_failure_is_not_cut_short_by_a_listing(sluice_sandbox):
    """Who sleeps because of an error sleeps on: the service said when to come again, or needs the time."""
    ids = push(MIN_LISTED + 1)
    hook = Hook()
    naps = []

    async def sleep(seconds):
        naps.append(seconds)
        await (asyncio.Event().wait() if seconds > 600 else asyncio.sleep(0))

    hook.async_sleep = sleep
    hook.gates[ids[0]] = ServerError("come back later", status=503, retry_after=3000.0)

    async def work(poller):
        waiting = asyncio.ensure_future(poller.run(until_over(ids[0])))
        await until(lambda: any(nap > 600 for nap in naps))
        hook.gates.clear()
        await asyncio.gather(*(poller.run(once(each, job_type=JOB_TYPES["import"])) for each in ids[1:]))
        for _ in range(10):
            await asyncio.sleep(0)
        return waiting.done() or waiting.cancel()

    assert asyncio.run(work(SharedPoller(hook)))


class Listed:
    """Jobs of a service that lists them, unless `error` is set; it counts the requests of both kinds."""

    def __init__(self, error=None):
        self.error = error
        self.requests = Counter()
        self.job_type = JobType("import", self.get_status, list_statuses=self.list_statuses)

    def get_status(self, job_id, _locator):
        self.requests["alone"] += 1
        return Job(job_id, JobState.RUNNING)
        yield

    def list_statuses(self, wanted):
        self.requests["listings"] += 1
        if self.error:
            raise self.error
        return [Job(each.id, JobState.RUNNING) for each in wanted]
        yield

    async def poll(self, poller, count=20):
        """The results of so many triggers, and the requests that they cost; without the first ones, which are alone."""
        self.requests.clear()
        flows = [once(str(number), job_type=self.job_type) for number in range(count)]
        found = await asyncio.gather(*(poller.run(flow) for flow in flows), return_exceptions=True)
        self.requests["alone"] -= MIN_LISTED - 1
        return found[MIN_LISTED - 1 :], dict(self.requests)


@pytest.mark.parametrize(
    "error",
    [
        NotFound("no such endpoint", status=404),
        PermissionDenied("not for you", status=403),
        Unreachable("timed out", maybe_applied=True),
        UnexpectedResponse("not JSON"),
        ZeroDivisionError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_listing_that_is_of_no_use(error):
    """Each job is requested alone, as its own request may work, and the listing is not tried again for a while."""

    async def work(poller):
        service = Listed(error)
        for requests in ({"alone": 16, "listings": 1}, {"alone": 16}):
            found, sent = await service.poll(poller)
            assert [type(each) for each in found] == [JobGroup] * 16
            assert sent == requests
        advance(NO_LISTING_SECONDS)
        service.error = None
        assert (await service.poll(poller))[1] == {"alone": 0, "listings": 1}

    asyncio.run(work(SharedPoller(Hook())))


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationFailed("who are you?", status=401),
        RateLimited("slow down", status=429),
        Unreachable("connection refused", maybe_applied=False),
        ServerError("away", status=503),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_listing_that_meets_an_error_of_the_service(error):
    """Every job gets it, none is requested alone, and the next listing answers for all."""

    async def work(poller):
        service = Listed(error)
        for _ in range(MAX_LISTING_FAILURES - 1):
            found, sent = await service.poll(poller)
            assert found == [error] * 16
            assert sent == {"alone": 0, "listings": 1}
        service.error = None
        found, sent = await service.poll(poller)
        assert [type(each) for each in found] == [JobGroup] * 16
        assert sent == {"alone": 0, "listings": 1}
        service.error = error
        assert (await service.poll(poller))[1] == {"alone": 0, "listings": 1}, "they are counted in a row only"

    asyncio.run(work(SharedPoller(Hook())))


def test_a_listing_that_keeps_failing():
    """After several server errors in a row, the listing may be what does not work."""

    async def work(poller):
        service = Listed(ServerError("broken", status=500))
        sent = [(await service.poll(poller))[1] for _ in range(MAX_LISTING_FAILURES + 1)]
        assert sent == [{"alone": 0, "listings": 1}] * 2 + [{"alone": 16, "listings": 1}, {"alone": 16}]

    asyncio.run(work(SharedPoller(Hook())))


def test_a_listing_that_cannot_be_sent():
    """A bug below the flow, too, is met by the triggers whose own requests meet it."""
    hook = Hook()
    original = hook.arun
    sent = []

    async def arun(flow):
        sent.append(flow)
        if len(sent) == MIN_LISTED:  # after those that are alone comes the listing
            flow.close()
            raise ZeroDivisionError
        return await original(flow)

    async def work(poller):
        hook.arun = arun
        return await Listed().poll(poller)

    found, requests = asyncio.run(work(SharedPoller(hook)))
    assert [type(each) for each in found] == [JobGroup] * 16
    assert requests == {"alone": 16}


def test_a_real_listing_without_an_answer(sluice_sandbox):
    """The connection breaks after it was sent: all jobs are requested."""
    ids = push(20)
    sluice_sandbox.faults([{"path": "imports$", "drop": "after", "times": 9}])

    async def work(poller):
        flows = [once(each, job_type=JOB_TYPES["import"]) for each in ids]
        return await asyncio.gather(*(poller.run(flow) for flow in flows))

    assert [group.jobs[0].id for group in asyncio.run(work(SharedPoller(Hook())))] == ids


# --- all of them


def test_one_poller_for_each_connection():
    """And for each event loop."""

    async def pollers():
        return [shared_poller(KaleidoscopeHook(conn_id)) for conn_id in ("a", "b", "a")]

    first, other, again = asyncio.run(pollers())
    assert first is again
    assert first is not other
    assert asyncio.run(pollers())[0] is not first


def test_a_request_of_a_status_check_has_a_deadline_of_its_own(sluice_sandbox):
    """A response that drips holds one of the few connections for a minute, and not for as long as a job may take."""
    seen = []

    class Watched(Hook):
        def gated(self, flow):
            step = None
            try:
                answer = None
                while True:
                    step = flow.send(answer)
                    seen.append(step.max_duration)
                    answer = yield step
            except StopIteration as end:
                return end.value

    [job_id] = push(1)
    asyncio.run(SharedPoller(Watched()).run(once(job_id)))
    assert seen == [module.CHECK_SECONDS]
