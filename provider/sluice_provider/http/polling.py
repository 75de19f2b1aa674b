"""Status checks, repeated until something is over."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from sluice_provider.errors import SluiceError, TimedOut, Unreachable
from sluice_provider.http.flow import Flow, Sleep

T = TypeVar("T")


class Elapsed:
    """Seconds since something was asked for: by the wall clock up to now, monotonic from here on.

    So a wait goes on correctly in another process, and a clock that jumps while we wait does not end it early.
    """

    def __init__(self, asked_at: float) -> None:
        self._before = max(0.0, time.time() - asked_at)
        self._start = time.monotonic()

    def __call__(self) -> float:
        return self._before + time.monotonic() - self._start


class PollSchedule(NamedTuple):
    """How often to look: soon at first, then more rarely as the job grows old, so that news is never older than about
    a tenth of the job's life.

    :param poll_interval: seconds between two looks at the most
    :param shortest: seconds between two looks at the least
    :param failures: so many looks in a row may fail for a passing reason before the last error is raised
    """

    poll_interval: float = 60.0
    shortest: float = 1.0
    failures: int = 10

    def pause(self, age: float) -> float:
        wanted = max(self.shortest, age / 10) * random.uniform(0.9, 1.1)  # noqa: S311 - jitter
        return min(self.poll_interval, wanted)

    def after_failure(self, failures: int, error: SluiceError) -> float:
        if error.retry_after is not None:
            return min(error.retry_after, 3600.0)
        return min(max(self.poll_interval, 60.0), 2.0**failures) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter


def wait(
    look: Callable[[], Flow[T]],
    over: Callable[[T], bool],
    *,
    age: Callable[[], float],
    timeout: float | None = None,
    cadence: PollSchedule | None = None,
    tell: Callable[[T], object] = lambda _news: None,
) -> Flow[T]:
    """Look until it is over, and return the last look.

    A look that fails for a passing reason is not news: it is taken again. There is always one look after the deadline.

    :param look: a flow that looks once
    :param over: tells from a look whether the wait is over
    :param age: seconds since the job was asked for
    :param timeout: seconds of age after which the wait ends
    :param tell: is told of every look that succeeded
    :raises TimedOut: when the job is older than `timeout` and not over
    """
    cadence = cadence or PollSchedule()
    failures = 0
    while True:
        late = timeout is not None and age() >= timeout
        try:
            news = yield from look()
        except SluiceError as error:
            failures += 1
            if error.hopeless or late or failures >= cadence.failures:
                raise
            pause, why = cadence.after_failure(failures, error), f"look {failures} failed: {error}"
        else:
            failures = 0
            tell(news)
            if over(news):
                return news
            if late:
                raise TimedOut(f"not over {age():.0f} s after it was submitted, the limit is {timeout:.0f} s: {news}")
            pause, why = cadence.pause(age()), f"not over yet: {news}"
        if timeout is not None:
            pause = min(pause, max(0.0, timeout - age()))
        yield Sleep(pause, why)


def min_duration(flow: Flow[T], seconds: float) -> Flow[T]:
    """The flow, whose end is not told before so many seconds have passed since its beginning."""
    begun = time.monotonic()
    error: SluiceError | None = None
    try:
        found = yield from flow
    except SluiceError as raised:
        error = raised
    left = begun + seconds - time.monotonic()
    if left > 0:
        yield Sleep(left, "nobody is ready to hear the end yet")
    if error:
        raise error
    return found


def sleep_budget(flow: Flow[T], seconds: float) -> Flow[T]:
    """The flow, which gives up instead of pausing for more than so many seconds all in all.

    :raises Unreachable: naming what it would have waited for
    """
    answer: Any = None
    while True:
        try:
            step = flow.throw(answer) if isinstance(answer, SluiceError) else flow.send(answer)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        if isinstance(step, Sleep):
            seconds -= step.seconds
            if seconds < 0:
                flow.close()
                raise Unreachable(f"gave up early: {step.why}", sent=False)
        try:
            answer = yield step
        except SluiceError as error:
            answer = error
