"""Asking Kaleidoscope whether a delivery is true, with one look for as many deliveries as it can serve.

A look may serve a delivery if it began after the delivery had arrived: then it sees what the sender had done before it
sent. So a delivery never joins a look that is under way, it joins the next one, with all others that wait for it. A
burst of a thousand deliveries for one operation costs a handful of looks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from sluice_provider.errors import SluiceError, Unreachable
from sluice_provider.hooks.kaleidoscope import KaleidoscopeHook
from sluice_provider.http.polling import sleep_budget
from sluice_provider.webhooks.kaleidoscope import Registered, registered_drafts, registered_files

T = TypeVar("T")

PATIENCE = 3.0
"""Seconds that a look may wait between its attempts, all in all: the sender waits, and tries again itself."""

LONGEST = 15.0
"""Seconds until a delivery is told to come back."""


class Place(NamedTuple):
    """Where one look goes.

    :param drafts: to the submissions of drafts, not to the files
    """

    conn_id: str
    operation_id: str
    drafts: bool


class Shared(Generic[T]):
    """Runs one look at a time for each place, and some at once for different ones."""

    def __init__(self, look: Callable[[Place], Awaitable[T]], at_once: int = 8) -> None:
        self._look = look
        self._at_once = asyncio.Semaphore(at_once)
        self._running: dict[Place, asyncio.Task[T | SluiceError]] = {}
        self._next: dict[Place, asyncio.Task[T | SluiceError]] = {}

    async def look(self, place: Place, timeout: float = LONGEST) -> T:
        """What a look sees that begins from now on.

        :raises SluiceError: the look's own
        """
        task = self._next.get(place)
        if task is None:
            task = self._next[place] = asyncio.ensure_future(self._after(place, self._running.get(place)))
        try:
            seen = await asyncio.wait_for(asyncio.shield(task), timeout)
        except (asyncio.TimeoutError, TimeoutError):
            raise Unreachable(f"Kaleidoscope was not heard of in {timeout:.0f} s") from None
        if isinstance(seen, SluiceError):
            raise seen
        return seen

    async def _after(self, place: Place, before: asyncio.Task[T | SluiceError] | None) -> T | SluiceError:
        if before is not None:
            await asyncio.wait({before})
        async with self._at_once:
            me = self._running[place] = self._next.pop(place)
            try:
                return await self._look(place)
            except SluiceError as error:
                return error  # nobody may be there any more to be told
            finally:
                if self._running.get(place) is me:
                    del self._running[place]


async def look(place: Place) -> list[Registered]:
    """Everything that is registered in an operation, by files or by drafts."""
    hook = KaleidoscopeHook(place.conn_id)
    if place.drafts:
        submissions = hook.get_registration_submissions.flow(place.operation_id)
        return registered_drafts(place.operation_id, await hook.arun(sleep_budget(submissions, PATIENCE)))
    files = hook.get_registration_files.flow(place.operation_id)
    return registered_files(place.operation_id, await hook.arun(sleep_budget(files, PATIENCE)))
