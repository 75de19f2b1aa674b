"""Flows that run at the same time: how many, and fewer of them while the service is rate limiting."""

from __future__ import annotations

import time
from typing import Any, TypeVar

from sluice_provider.errors import RateLimited, SluiceError
from sluice_provider.http.flow import Flow, Sleep

T = TypeVar("T")


class ConcurrencyLimit:
    """How many flows may run at the same time. Halved when the service rate limits one of them, and raised by one each
    time that as many flows have ended without that.

    :param maximum: never more than this
    """

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.current = maximum
        self._ended = 0
        self._limited_until = 0.0

    def watch(self, flow: Flow[T]) -> Flow[T]:
        """The same flow; the limit learns from what it does."""
        limited, answer = False, None
        while True:
            try:
                step = flow.throw(answer) if isinstance(answer, SluiceError) else flow.send(answer)
            except StopIteration as end:
                if not limited:
                    self._raise()
                return end.value  # type: ignore[no-any-return]
            if isinstance(step, Sleep) and isinstance(step.cause, RateLimited):
                limited = True
                self._lower(step.seconds)
            answer = yield from _answered(step)

    def _lower(self, seconds: float) -> None:
        """Once for all flows that are rate limited at about the same time."""
        now = time.monotonic()
        if now >= self._limited_until:
            self.current = max(1, self.current // 2)
            self._ended = 0
        self._limited_until = max(self._limited_until, now + seconds)

    def _raise(self) -> None:
        self._ended += 1
        if self._ended >= self.current:
            self.current = min(self.maximum, self.current + 1)
            self._ended = 0


def _answered(step: Any) -> Flow[Any]:
    """The answer to a step; an error is returned, to be thrown into the flow that waits for it."""
    try:
        return (yield step)
    except SluiceError as error:
        return error
