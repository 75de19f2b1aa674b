"""Pages and waiting: how often, how long, and what counts as a change. No client, no clock but a number."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sluice_provider.errors import NotFound, RateLimited, SluiceError, TimedOut, Unreachable
from sluice_provider.http import polling as module
from sluice_provider.http.flow import Request
from sluice_provider.http.pagination import pages
from sluice_provider.http.polling import Elapsed, PollSchedule, poll_until
from sluice_provider.http.retry import send
from tests.flows import response, run_flow


class Job:
    """A job that grows older by our pauses only, and is over at a certain age."""

    def __init__(self, over_at: float, born: float = 0.0) -> None:
        self.now = born
        self.over_at = over_at
        self.polls: list[float] = []
        self.troubles: dict[int, SluiceError] = {}

    def age(self) -> float:
        return self.now

    def poll(self):
        """Polls once, without a request; fails if the test says so."""
        self.polls.append(self.now)
        if error := self.troubles.get(len(self.polls)):
            raise error
        return "over" if self.now >= self.over_at else "running"
        yield

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds

    def wait(self, *, failing=(), **more):
        """Wait for it, with these polls failing."""
        self.troubles = dict(failing)
        return run_flow(poll_until(self.poll, lambda seen: seen == "over", elapsed=self.age, **more), sleep=self.sleep)


def test_a_final_status_ends_polling():
    """One poll, no sleep."""
    result = Job(over_at=0).wait()
    assert (result.value, result.pauses) == ("over", [])


def test_a_poll_is_a_flow():
    """Its requests and sleeps are those of `poll_until`."""

    def poll():
        answer = yield from send(Request("GET", "job", idempotent=True))
        return answer.json()

    flow = poll_until(poll, lambda result: result == ["done"], elapsed=lambda: 0.0)
    result = run_flow(flow, response(200, ["busy"]), response(503), response(200, ["done"]))
    assert (result.value, len(result.calls), len(result.pauses)) == (["done"], 3, 2)


def test_the_schedule_follows_the_age():
    """Soon at first, then less often: a status is never older than a tenth of the job's age, or the poll interval."""
    job = Job(over_at=3600)
    result = job.wait(schedule=PollSchedule(poll_interval=60))
    for age, pause in zip(job.polls, result.pauses, strict=False):
        wanted = min(60.0, max(1.0, age / 10))
        assert wanted * 0.9 <= pause <= min(60.0, wanted * 1.1)
    assert job.polls[-1] - 3600 <= 60
    assert 80 < len(job.polls) < 130


def test_two_days_of_polling():
    """Thousands of polls at the longest interval, without real sleeping."""
    job = Job(over_at=172_800)
    assert job.wait().value == "over"
    assert 2800 < len(job.polls) < 3100


def test_a_short_poll_interval_wins():
    """It bounds the delays from the first one on."""
    assert max(Job(over_at=20).wait(schedule=PollSchedule(poll_interval=0.5)).pauses) <= 0.5


# --- failing polls


def test_transient_failures_are_not_reported():
    """They are retried, with growing delays, without calling `on_poll`."""
    seen = []
    troubles = {n: Unreachable("gone") for n in (1, 2, 3)}
    result = Job(over_at=0).wait(failing=troubles, on_poll=seen.append)
    assert seen == ["over"]
    for number, pause in enumerate(result.pauses, 1):
        assert 2**number / 2 <= pause <= 2**number


def test_retry_after_sets_the_next_poll():
    """And a little later, so that not all come back at once. A day is shortened to an hour."""
    throttled = [RateLimited("", retry_after=seconds) for seconds in (17.0, 86_400.0)]
    result = Job(over_at=0).wait(failing=enumerate(throttled, 1))
    assert 17.0 <= result.pauses[0] <= 17.0 * 1.2
    assert result.pauses[1:] == [3600.0]


def test_failures_in_a_row_are_counted():
    """A successful poll resets the count; the last error is raised."""
    schedule = PollSchedule(max_failures=3)
    rows = {n: Unreachable(f"poll {n}") for n in (1, 2, 4, 5, 7, 8, 9)}
    job = Job(over_at=10**9)
    result = job.wait(failing=rows, schedule=schedule)
    assert str(result.error) == "poll 9"
    assert len(job.polls) == 9


def test_an_error_that_is_not_retryable_ends_polling():
    """Another poll would fail the same way."""
    job = Job(over_at=10)
    assert isinstance(job.wait(failing={2: NotFound("who?")}).error, NotFound)
    assert len(job.polls) == 2


# --- the deadline


def test_the_deadline():
    """The last poll is at the deadline, and the error has the last status."""
    job = Job(over_at=10**9)
    result = job.wait(timeout=100)
    assert isinstance(result.error, TimedOut)
    assert "the timeout is 100 s): running" in str(result.error)
    assert job.polls[-1] == pytest.approx(100)


def test_what_ends_at_the_deadline_is_a_success():
    """There is always one poll after it."""
    assert Job(over_at=100).wait(timeout=100).value == "over"


def test_a_deadline_in_the_past():
    """There is one poll all the same."""
    over, running = Job(over_at=500, born=1000), Job(over_at=5000, born=1000)
    assert over.wait(timeout=100).value == "over"
    assert isinstance(running.wait(timeout=100).error, TimedOut)
    assert len(running.polls) == 1


def test_no_sleep_exceeds_the_deadline():
    """Neither a scheduled one nor one after a failure."""
    troubles = {3: RateLimited("", retry_after=3000.0)}
    job = Job(over_at=10**9)
    assert isinstance(job.wait(failing=troubles, timeout=30).error, TimedOut)
    assert job.now == pytest.approx(30)


def test_the_last_poll_may_fail():
    """Then its own error is raised: it is unknown whether the job has ended."""
    job = Job(over_at=10**9, born=50)
    assert isinstance(job.wait(failing={1: Unreachable("gone")}, timeout=10).error, Unreachable)


def test_on_poll_gets_every_status():
    """Of each successful poll, in order, the last one included."""
    seen = []
    job = Job(over_at=3)
    job.wait(on_poll=seen.append)
    assert seen == ["running"] * (len(job.polls) - 1) + ["over"]


# --- age


class Clock(SimpleNamespace):
    """Wall clock and monotonic clock, set by hand."""

    wall = 1_000_000.0
    ticks = 50.0

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.ticks


@pytest.fixture
def clock(monkeypatch):
    """In the place of `time`."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_age_is_wall_clock_up_to_now(clock):
    """It continues correctly in another process, which has another monotonic clock."""
    assert Elapsed(submitted_at=clock.wall - 120)() == 120


def test_age_is_monotonic_from_now_on(clock):
    """A wall clock that is set back or forward meanwhile changes nothing."""
    age = Elapsed(submitted_at=clock.wall - 120)
    clock.wall += 86_400
    clock.ticks += 5
    assert age() == 125


def test_age_is_never_negative(clock):
    """If the submitting machine's clock is ahead of this one's."""
    assert Elapsed(submitted_at=clock.wall + 300)() == 0


# --- pages


@pytest.mark.parametrize(
    ("listing", "expected"),
    [([[]], [1]), ([[1]], [1]), ([[1, 2], []], [1, 2]), ([[1, 2], [3]], [1, 2]), ([[1, 2], [3, 4], [5]], [1, 2, 3])],
)
def test_pages(listing, expected):
    """All items in order; a page that is not full is the last."""
    numbers = []

    def page(number):
        numbers.append(number)
        return listing[number - 1]
        yield

    assert run_flow(pages(page, size=2)).value == [item for items in listing for item in items]
    assert numbers == expected
