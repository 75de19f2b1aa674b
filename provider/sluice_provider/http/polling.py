"""Status checks, repeated until a job has ended."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from sluice_provider.errors import RateLimited, SluiceError, TimedOut, Unreachable
from sluice_provider.http.flow import Flow, Request, Sleep

T = TypeVar("T")


class Elapsed:
    """Seconds since a submission: by the wall clock until this object was made, monotonic from then on.

    So waiting can continue in another process, and a wall clock that jumps meanwhile does not end it early.
    """

    def __init__(self, submitted_at: float) -> None:
        self._before = max(0.0, time.time() - submitted_at)
        self._start = time.monotonic()

    def __call__(self) -> float:
        return self._before + time.monotonic() - self._start


class PollSchedule(NamedTuple):
    """How often to poll: soon at first, less often as the job gets older, so that a status is never older than about a
    tenth of the job's age.

    :param poll_interval: maximum seconds between two polls
    :param min_interval: minimum seconds between two polls
    :param max_failures: transient failures in a row after which the last error is raised
    """

    poll_interval: float = 60.0
    min_interval: float = 1.0
    max_failures: int = 10

    def delay(self, elapsed: float) -> float:
        """With jitter, so that jobs that were submitted together are not polled together for ever."""
        delay = max(self.min_interval, elapsed / 10) * random.uniform(0.9, 1.1)  # noqa: S311 - jitter
        return delay if delay < self.poll_interval else self.poll_interval * random.uniform(0.95, 1.0)  # noqa: S311

    def delay_after_failure(self, failures: int, error: SluiceError) -> float:
        if error.retry_after is not None:
            return min(error.retry_after * random.uniform(1.0, 1.2), 3600.0)  # noqa: S311 - jitter
        return min(max(self.poll_interval, 60.0), 2.0**failures) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter


def poll_until(
    poll: Callable[[], Flow[T]],
    done: Callable[[T], bool],
    *,
    elapsed: Callable[[], float],
    timeout: float | None = None,
    schedule: PollSchedule | None = None,
    on_poll: Callable[[T], object] = lambda _status: None,
) -> Flow[T]:
    """Poll until the status is final, and return that status.

    A poll that fails with a retryable error is repeated. One that was rate limited does not count as a failure: the
    service works, and says when to come again. There is always one more poll after the deadline.

    :param poll: a flow that polls once
    :param done: whether a status is final
    :param elapsed: seconds since the submission
    :param timeout: value of `elapsed` after which waiting ends
    :param on_poll: called with the status after every successful poll
    :raises TimedOut: the status is not final after `timeout`
    """
    schedule = schedule or PollSchedule()
    failures = rate_limited = 0
    while True:
        last = timeout is not None and elapsed() >= timeout
        try:
            status = yield from poll()
        except SluiceError as error:
            failures += 1
            rate_limited += isinstance(error, RateLimited)
            if not error.retryable or last or failures - rate_limited >= schedule.max_failures:
                raise
            failed, why = True, f"status check failed ({failures}): {error}"
            delay = schedule.delay_after_failure(failures, error)
        else:
            failed, failures, rate_limited = False, 0, 0
            on_poll(status)
            if done(status):
                return status
            if last:
                raise TimedOut(
                    f"had not ended {elapsed():.0f} s after its submission (the timeout is {timeout:.0f} s): {status}"
                )
            delay, why = schedule.delay(elapsed()), f"not ended yet: {status}"
        if timeout is not None:
            delay = min(delay, max(0.0, timeout - elapsed()))
        yield Sleep(delay, why, may_end_early=not failed)


def one_attempt(flow: Flow[T]) -> Flow[T]:
    """The flow, which fails where it would sleep because of an error: the next poll repeats the whole status check.

    :raises SluiceError: the one because of which it would have slept
    """
    answer: Any = None
    while True:
        try:
            step = flow.throw(answer) if isinstance(answer, SluiceError) else flow.send(answer)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        if isinstance(step, Sleep) and step.cause is not None:
            flow.close()
            raise step.cause
        try:
            answer = yield step
        except SluiceError as error:
            answer = error


def min_duration(flow: Flow[T], seconds: float) -> Flow[T]:
    """The flow, which does not end, by its result or its error, earlier than so many seconds after its start."""
    started = time.monotonic()
    error: SluiceError | None = None
    try:
        result = yield from flow
    except SluiceError as raised:
        error = raised
    left = started + seconds - time.monotonic()
    if left > 0:
        yield Sleep(left, "the result is ready before Airflow can receive it")
    if error:
        raise error
    return result


def request_limit(flow: Flow[T], seconds: float) -> Flow[T]:
    """The flow, each of whose requests takes so many seconds at most in all."""
    answer: Any = None
    while True:
        try:
            step = flow.throw(answer) if isinstance(answer, SluiceError) else flow.send(answer)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        if isinstance(step, Request):
            step = step._replace(max_duration=min(step.max_duration, seconds))
        try:
            answer = yield step
        except SluiceError as error:
            answer = error


def sleep_budget(flow: Flow[T], seconds: float) -> Flow[T]:
    """The flow, which fails instead of sleeping for more than so many seconds in total.

    :raises Unreachable: naming the reason of the sleep that would have exceeded the budget
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
                raise Unreachable(f"gave up early: {step.why}", maybe_applied=False)
        try:
            answer = yield step
        except SluiceError as error:
            answer = error
