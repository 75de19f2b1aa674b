"""Flows that run at the same time: how many, and fewer of them while the service is rate limiting."""

from __future__ import annotations

import threading
import time
from typing import Any, TypeVar

from sluice_provider.errors import RateLimited, SluiceError
from sluice_provider.http.flow import Flow, Sleep

T = TypeVar("T")


class ConcurrencyLimit:
    """How many flows may run at the same time. Halved when the service rate limits one of them, and raised by one each
    time that as many flows have ended without that. Of the flows that were rate limited, no more than that continue at
    the same time, so that they do not all return to a service that can take one of them.

    :param maximum: never more than this
    """

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.current = maximum
        self._ended = 0
        self._limited_until = 0.0
        self._returned = 0  # flows that continue after they were rate limited
        self._lock = threading.Lock()

    def watch(self, flow: Flow[T]) -> Flow[T]:
        """The same flow; the limit learns from what it does."""
        limited, returned, answer = False, False, None
        try:
            while True:
                try:
                    step = flow.throw(answer) if isinstance(answer, SluiceError) else flow.send(answer)
                except StopIteration as end:
                    if not limited:
                        self._raise()
                    return end.value  # type: ignore[no-any-return]
                if isinstance(step, Sleep) and isinstance(step.cause, RateLimited):
                    limited, returned = True, self._lower(step.seconds, returned=returned)
                    yield step
                    while not returned and not (returned := self._return()):
                        yield Sleep(step.seconds, "other requests that were rate limited are sent first")
                    answer = None
                else:
                    answer = yield from _answered(step)
        finally:
            with self._lock:
                self._returned -= returned

    def _return(self) -> bool:
        """Whether a flow that was rate limited may continue."""
        with self._lock:
            may = self._returned < self.current
            self._returned += may
        return may

    def _lower(self, seconds: float, *, returned: bool) -> bool:
        """Once for all flows that are rate limited at about the same time; to one at a time if a flow that has returned
        is rate limited again. Of those, one keeps its place, which is returned."""
        with self._lock:
            now = time.monotonic()
            if returned or now >= self._limited_until:
                self.current = 1 if returned else max(1, self.current // 2)
                self._ended = 0
            self._limited_until = max(self._limited_until, now + seconds)
            leaves = returned and self._returned > self.current
            self._returned -= leaves
            return returned and not leaves

    def _raise(self) -> None:
        with self._lock:
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
