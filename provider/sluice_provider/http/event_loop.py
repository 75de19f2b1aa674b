"""What the triggers of one event loop share: state, and tasks in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


class PerLoop(Generic[T]):
    """One value for each event loop: `PerLoop(make)()` is the running loop's.

    Those of closed loops are dropped: connections in them would keep the loop alive.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self.values: WeakKeyDictionary[asyncio.AbstractEventLoop, T] = WeakKeyDictionary()

    def __call__(self) -> T:
        for loop in [loop for loop in self.values if loop.is_closed()]:
            self.values.pop(loop, None)
        loop = asyncio.get_running_loop()
        if loop not in self.values:
            self.values[loop] = self._make()
        return self.values[loop]


def shared_task(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task for many triggers, in a context of its own: Airflow routes log lines and traces by the context, so they
    would all go to the trigger that happened to start it. Keep a reference: the loop has only a weak one."""
    task = Context().run(asyncio.get_running_loop().create_task, coroutine)
    task.add_done_callback(_retrieve_error)
    return task


def _retrieve_error(task: asyncio.Task[Any]) -> None:
    """Otherwise asyncio logs "exception was never retrieved" if all tasks that waited for it were cancelled."""
    if not task.cancelled():
        task.exception()
