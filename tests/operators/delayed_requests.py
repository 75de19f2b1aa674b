"""Requests that land late, and processes that stand still: what makes one answer after another one unreliable."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import httpx

from tests.operators.airflow_harness import ProcessDied, _has_intent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.operators.airflow_harness import Clock, TaskHarness


@contextmanager
def delayed(task: TaskHarness, clock: Clock, seconds: float, meant: Callable[[httpx.Request], bool]) -> Iterator[None]:
    """The process dies while it sends such a request, which lands so many seconds later."""
    original, lands_at = httpx.Client.send, clock.ahead + seconds
    under_way: list[Any] = []

    def send(client: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        if not meant(request):
            return original(client, request, **options)
        under_way.append(lambda: original(client, request, **options))
        raise ProcessDied("its request is under way")

    def land() -> None:
        if clock.ahead >= lands_at and under_way:
            under_way.pop()()

    with mock.patch.object(httpx.Client, "send", send):
        yield
    assert isinstance(task.error, ProcessDied), task.error
    clock.on_sleep = land


@contextmanager
def suspended(clock: Clock, seconds: float) -> Iterator[None]:
    """The process stands still for so long, once, after it wrote an intent down and before it sends the request."""
    from airflow.sdk.execution_time.context import TaskStateStoreAccessor

    original = TaskStateStoreAccessor.set
    left = [seconds]

    def write(self: Any, *args: Any, **kwargs: Any) -> Any:
        outcome = original(self, *args, **kwargs)
        if left and _has_intent(*args, *kwargs.values()):
            clock.move(left.pop())
        return outcome

    with mock.patch.object(TaskStateStoreAccessor, "set", write):
        yield
    assert not left, "no intent was written"
