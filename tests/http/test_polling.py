"""Pages and waiting: how often, how long, and what counts as news. No client, no clock but a number."""

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


class Life:
    """A job that grows older by our pauses only, and is over at a certain age."""

    def __init__(self, over_at: float, born: float = 0.0) -> None:
        self.now = born
        self.over_at = over_at
        self.looks: list[float] = []
        self.troubles: dict[int, SluiceError] = {}

    def age(self) -> float:
        return self.now

    def look(self):
        """Looks once, without any call; fails where told to."""
        self.looks.append(self.now)
        if error := self.troubles.get(len(self.looks)):
            raise error
        return "over" if self.now >= self.over_at else "running"
        yield

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds

    def wait(self, *, failing=(), **more):
        """Wait for it, with these looks failing."""
        self.troubles = dict(failing)
        return run_flow(poll_until(self.look, lambda news: news == "over", elapsed=self.age, **more), sleep=self.sleep)


def test_what_is_over_is_not_waited_for():
    """One look, no pause."""
    played = Life(over_at=0).wait()
    assert (played.value, played.pauses) == ("over", [])


def test_looks_are_calls():
    """A look is a flow of its own, whose calls and pauses go out through the wait."""

    def look():
        answer = yield from send(Request("GET", "job", idempotent=True))
        return answer.json()

    flow = poll_until(look, lambda news: news == ["done"], elapsed=lambda: 0.0)
    played = run_flow(flow, response(200, ["busy"]), response(503), response(200, ["done"]))
    assert (played.value, len(played.calls), len(played.pauses)) == (["done"], 3, 2)


def test_the_cadence_follows_the_age():
    """Soon at first, then rarer: news is never older than about a tenth of the job's life, or the poll interval."""
    life = Life(over_at=3600)
    played = life.wait(schedule=PollSchedule(poll_interval=60))
    for age, pause in zip(life.looks, played.pauses, strict=False):
        wanted = min(60.0, max(1.0, age / 10))
        assert wanted * 0.9 <= pause <= min(60.0, wanted * 1.1)
    assert life.looks[-1] - 3600 <= 60
    assert 80 < len(life.looks) < 130


def test_two_days_take_no_time():
    """Thousands of looks at the longest interval, none of them needs a clock."""
    life = Life(over_at=172_800)
    assert life.wait().value == "over"
    assert 2800 < len(life.looks) < 3100


def test_a_short_poll_interval_wins():
    """It bounds the pauses from the first one on."""
    assert max(Life(over_at=20).wait(schedule=PollSchedule(poll_interval=0.5)).pauses) <= 0.5


# --- failing looks


def test_passing_failures_are_not_news():
    """They are waited out, longer each time, and nobody is told."""
    told = []
    troubles = {n: Unreachable("gone") for n in (1, 2, 3)}
    played = Life(over_at=0).wait(failing=troubles, on_poll=told.append)
    assert told == ["over"]
    for number, pause in enumerate(played.pauses, 1):
        assert 2**number / 2 <= pause <= 2**number


def test_retry_after_sets_the_next_look():
    """A remote that says when to come back is asked then; a day is shortened to an hour."""
    throttled = [RateLimited("", retry_after=seconds) for seconds in (17.0, 86_400.0)]
    played = Life(over_at=0).wait(failing=enumerate(throttled, 1))
    assert played.pauses == [17.0, 3600.0]


def test_the_budget_counts_failures_in_a_row():
    """A look that succeeds fills it up again; the last error is the one that is raised."""
    schedule = PollSchedule(max_failures=3)
    rows = {n: Unreachable(f"look {n}") for n in (1, 2, 4, 5, 7, 8, 9)}
    life = Life(over_at=10**9)
    played = life.wait(failing=rows, schedule=schedule)
    assert str(played.error) == "look 9"
    assert len(life.looks) == 9


def test_a_hopeless_failure_ends_the_wait():
    """Another look cannot cure it."""
    life = Life(over_at=10)
    assert isinstance(life.wait(failing={2: NotFound("who?")}).error, NotFound)
    assert len(life.looks) == 2


# --- the deadline


def test_the_deadline():
    """The last look is at the deadline, and the error says what was seen."""
    life = Life(over_at=10**9)
    played = life.wait(timeout=100)
    assert isinstance(played.error, TimedOut)
    assert "the timeout is 100 s): running" in str(played.error)
    assert life.looks[-1] == pytest.approx(100)


def test_what_ends_at_the_deadline_is_a_success():
    """There is always one look after it."""
    assert Life(over_at=100).wait(timeout=100).value == "over"


def test_a_deadline_long_gone():
    """Whoever comes late looks once all the same."""
    over, running = Life(over_at=500, born=1000), Life(over_at=5000, born=1000)
    assert over.wait(timeout=100).value == "over"
    assert isinstance(running.wait(timeout=100).error, TimedOut)
    assert len(running.looks) == 1


def test_no_pause_reaches_over_the_deadline():
    """Neither the usual one nor one after a failure."""
    troubles = {3: RateLimited("", retry_after=3000.0)}
    life = Life(over_at=10**9)
    assert isinstance(life.wait(failing=troubles, timeout=30).error, TimedOut)
    assert life.now == pytest.approx(30)


def test_the_last_look_may_fail():
    """Then its own error is raised: we do not know that the job is not over."""
    life = Life(over_at=10**9, born=50)
    assert isinstance(life.wait(failing={1: Unreachable("gone")}, timeout=10).error, Unreachable)


def test_everyone_is_told_everything():
    """Each look that succeeded, in order, the last one included."""
    told = []
    life = Life(over_at=3)
    life.wait(on_poll=told.append)
    assert told == ["running"] * (len(life.looks) - 1) + ["over"]


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
    """So that it goes on correctly in another process, whose monotonic clock is another."""
    assert Elapsed(submitted_at=clock.wall - 120)() == 120


def test_age_is_monotonic_from_now_on(clock):
    """A wall clock that is set back or forward while we wait changes nothing."""
    age = Elapsed(submitted_at=clock.wall - 120)
    clock.wall += 86_400
    clock.ticks += 5
    assert age() == 125


def test_age_is_never_negative(clock):
    """Asked by a machine whose clock is ahead of ours."""
    assert Elapsed(submitted_at=clock.wall + 300)() == 0


# --- pages


@pytest.mark.parametrize(
    ("listing", "asked"),
    [([[]], [1]), ([[1]], [1]), ([[1, 2], []], [1, 2]), ([[1, 2], [3]], [1, 2]), ([[1, 2], [3, 4], [5]], [1, 2, 3])],
)
def test_pages(listing, asked):
    """All items in order; a page that is not full is the last."""
    numbers = []

    def page(number):
        numbers.append(number)
        return listing[number - 1]
        yield

    assert run_flow(pages(page, size=2)).value == [item for items in listing for item in items]
    assert numbers == asked
