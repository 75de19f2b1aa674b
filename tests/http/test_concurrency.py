"""Flows that run at the same time, in the worker and in the triggerer."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from sluice_provider.errors import InvalidInput, RateLimited
from sluice_provider.http import concurrency
from sluice_provider.http.concurrency import ConcurrencyLimit
from sluice_provider.http.drivers import adrive, drive
from sluice_provider.http.flow import Blocking, Gather, Request, Sleep
from sluice_provider.http.retry import send
from tests.flows import run_flow

WAIT = 60.0
"""Seconds after which a test fails in which flows wait for each other in vain."""


def gather(flows, maximum):
    """A flow that is nothing but this step."""
    return (yield Gather(flows, ConcurrencyLimit(maximum)))


def test_results_are_in_order(run):
    """An error is in place of the result of its flow, and the others continue. A flow that sleeps does not hold up the
    others, nor their order."""

    def flow(number):
        if number == 1:
            raise InvalidInput("the second")
        if number == 0:
            yield Sleep(1.0, "the first is the last to end")
        response = yield from send(Request("GET", "programs", idempotent=True))
        return number, response.status

    first, second, third = run(gather(map(flow, range(3)), 3))
    assert (first, str(second), third) == ((0, 200), "the second", (2, 200))


def test_no_flows(run):
    """Have no results."""
    assert run(gather([], 4)) == []


def test_flows_run_at_the_same_time(run):
    """Three wait for each other."""
    barrier = threading.Barrier(3, timeout=WAIT)

    def flow():
        return (yield Blocking(barrier.wait))

    assert sorted(run(gather([flow() for _ in range(3)], 3))) == [0, 1, 2]


def test_never_more_than_the_limit(run):
    """And a flow is taken only when it can start."""
    lock, running, most, taken, ended = threading.Lock(), 0, 0, 0, 0

    def begin():
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)

    def end():
        nonlocal running, ended
        with lock:
            running -= 1
            ended += 1

    def flow():
        yield Blocking(begin)
        yield from send(Request("GET", "programs", idempotent=True))
        yield Blocking(end)

    def flows():
        nonlocal taken
        for _ in range(20):
            assert taken - ended < 4
            taken += 1
            yield flow()

    run(gather(flows(), 4))
    assert most <= 4
    assert ended == 20


def test_a_flow_may_gather(run):
    """Within a flow that is gathered itself."""

    def flow(number):
        yield from ()
        return number

    def both(number):
        return gather([flow(number), flow(number + 1)], 2)

    assert run(gather([both(0), both(10)], 2)) == [[0, 1], [10, 11]]


def test_an_unforeseen_error_ends_all(run):
    """It is a bug, and not one flow's result."""

    def flow():
        yield Blocking(lambda: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        run(gather([flow(), flow()], 2))


def rate_limited(seconds):
    """A flow that the service rate limits once."""
    yield Sleep(seconds, "", RateLimited("too many requests", status=429))
    return "done"


def unlimited():
    """A flow that has no trouble."""
    yield from ()
    return "done"


def test_rate_limiting_lowers_the_limit(monkeypatch):
    """Once for flows that are limited at about the same time, and never to nothing."""
    now = 0.0
    monkeypatch.setattr(concurrency.time, "monotonic", lambda: now)
    limit = ConcurrencyLimit(8)
    seen = []
    for now in (0.0, 1.0, 4.9, 10.0, 20.0, 30.0):  # noqa: B007 - the clock reads it
        assert run_flow(limit.watch(rate_limited(5.0))).value == "done"
        seen.append(limit.current)
    assert seen == [4, 4, 4, 2, 1, 1]


def test_the_limit_is_raised_again():
    """By one, each time that as many flows as it allows have ended; never over the maximum."""
    limit = ConcurrencyLimit(3)
    run_flow(limit.watch(rate_limited(5.0)))
    seen = []
    for _ in range(6):
        run_flow(limit.watch(unlimited()))
        seen.append(limit.current)
    assert seen == [2, 2, 3, 3, 3, 3]


@pytest.mark.parametrize("name", ["worker", "triggerer"])
def test_rate_limited_flows_return_as_many_as_the_service_takes(name):
    """A service that takes one request in a time and says so: all of 16 go through, as they would one by one."""
    lock, now, free_at, sleepers = threading.Lock(), 0.0, 0.0, 0

    def take():
        nonlocal free_at
        with lock:
            if now < free_at:
                return False
            free_at = now + 1.0
            return True

    def pass_time(seconds):
        """Flows that sleep at the same time share it."""
        nonlocal now, sleepers
        with lock:
            sleepers += 1
        time.sleep(0.002)
        with lock:
            now += seconds / sleepers
            sleepers -= 1

    async def apass_time(seconds):
        await asyncio.to_thread(pass_time, seconds)

    def flow(number):
        for attempt in range(5):
            if (yield Blocking(take)):
                return number
            yield Sleep(1.0, f"attempt {attempt}", RateLimited("too many requests", status=429))
        raise InvalidInput("out of attempts")

    flows = gather(map(flow, range(16)), 16)
    found = drive(flows, None, pass_time) if name == "worker" else asyncio.run(adrive(flows, None, apass_time))
    assert found == list(range(16))


def test_other_sleeps_change_nothing():
    """A service that fails is not one that gets too many requests; errors reach the flow that waits."""
    limit = ConcurrencyLimit(4)

    def flow():
        yield Sleep(1.0, "it failed")
        try:
            yield Request("GET", "programs")
        except InvalidInput as error:
            return str(error)

    assert run_flow(limit.watch(flow()), InvalidInput("no")).value == "no"
    assert limit.current == 4
