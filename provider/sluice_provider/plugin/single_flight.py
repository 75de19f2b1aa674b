"""Single flight: concurrent requests for the same thing share one call.

A call may serve a request only if it began after the request arrived: then it sees everything that happened before the
request. So a request never joins a call that is already running; it joins the next one, with all others that wait for
it. A burst of a thousand requests for one key costs a handful of calls.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from sluice_provider.errors import SluiceError, Unreachable

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

TIMEOUT = 15.0
"""Seconds."""


class SingleFlight(Generic[K, T]):
    """Runs one call at a time for each key, and a limited number at once for different keys."""

    def __init__(self, fetch: Callable[[K], Awaitable[T]], max_concurrent: int = 8) -> None:
        self._fetch = fetch
        self._slots = asyncio.Semaphore(max_concurrent)
        self._running: dict[K, asyncio.Task[T | SluiceError]] = {}
        self._next: dict[K, asyncio.Task[T | SluiceError]] = {}
        self._waiting: Counter[asyncio.Task[T | SluiceError]] = Counter()

    async def get(self, key: K, timeout: float = TIMEOUT) -> T:
        """The result of a call that begins after now.

        :raises SluiceError: the call's own
        :raises Unreachable: no result within `timeout` seconds. A call that no caller waits for any more is cancelled,
            so one that never ends does not keep those after it from running
        """
        task = self._next.get(key)
        if task is None:
            task = self._next[key] = asyncio.ensure_future(self._run_after(key, self._running.get(key)))
        self._waiting[task] += 1
        try:
            result = await asyncio.wait_for(asyncio.shield(task), timeout)
        except (asyncio.TimeoutError, TimeoutError):
            raise Unreachable(f"no response within {timeout:g} s") from None
        finally:
            self._stop_waiting(key, task)
        if isinstance(result, SluiceError):
            raise result
        return result

    def _stop_waiting(self, key: K, task: asyncio.Task[T | SluiceError]) -> None:
        self._waiting[task] -= 1
        if self._waiting[task]:
            return
        del self._waiting[task]
        if self._next.get(key) is task:  # not begun
            del self._next[key]
        task.cancel()

    async def _run_after(self, key: K, previous: asyncio.Task[T | SluiceError] | None) -> T | SluiceError:
        if previous is not None:
            await asyncio.wait({previous})
        async with self._slots:
            this = self._running[key] = self._next.pop(key)
            try:
                return await self._fetch(key)
            except SluiceError as error:
                return error  # all who wait may be gone, and an exception that is never retrieved is logged
            finally:
                if self._running.get(key) is this:
                    del self._running[key]
