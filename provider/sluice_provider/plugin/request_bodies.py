"""Bodies of webhook requests while they arrive: the sender is not authenticated before the end, and anybody can send
many slowly. So their number and their memory are limited, and the oldest ones make room: a real sender's is soon
complete.
"""

from __future__ import annotations

import asyncio

from fastapi import Request

from sluice_provider.errors import RateLimited, TooLarge, Unreachable

MAX_BODY_BYTES = 1024 * 1024
"""Of one body. Enough for the ids of some 25,000 records."""

MAX_BODIES = 500
"""At the same time, in one process of the API server."""

MAX_TOTAL_BYTES = 32 * 1024 * 1024
"""Of all bodies that are arriving, in one process of the API server."""

BODY_TIMEOUT = 10.0
"""Seconds for a whole body."""


class _Body:
    def __init__(self) -> None:
        self.content = bytearray()
        self.task: asyncio.Task[bytes] | None = None
        self.reason = ""
        """Why it is not read any further, if it was dropped."""


class RequestBodies:
    """The bodies that are arriving."""

    def __init__(self) -> None:
        self._arriving: dict[_Body, None] = {}
        self._size = 0

    async def read(self, request: Request) -> bytes:
        """The whole body.

        :raises TooLarge: it is longer than `MAX_BODY_BYTES`, whatever its Content-Length says
        :raises Unreachable: it did not arrive in time
        :raises RateLimited: too many were arriving, and this one for the longest time
        """
        if len(self._arriving) >= MAX_BODIES:
            self._drop_oldest(f"more than {MAX_BODIES} bodies were arriving at the same time")
        body = _Body()
        self._arriving[body] = None
        body.task = asyncio.ensure_future(self._collect(body, request))
        try:
            return await asyncio.wait_for(body.task, BODY_TIMEOUT)
        except (asyncio.TimeoutError, TimeoutError):
            raise Unreachable(f"the body did not arrive within {BODY_TIMEOUT:g} s") from None
        except asyncio.CancelledError:
            if not body.reason:
                raise
            raise RateLimited(f"{body.reason}, and this one for the longest time", status=503) from None
        finally:
            self._remove(body)

    async def _collect(self, body: _Body, request: Request) -> bytes:
        """Counts the bytes as they arrive."""
        async for chunk in request.stream():
            body.content += chunk
            self._size += len(chunk)
            if len(body.content) > MAX_BODY_BYTES:
                raise TooLarge(f"the body is longer than {MAX_BODY_BYTES} bytes")
            while self._size > MAX_TOTAL_BYTES:
                self._drop_oldest(f"more than {MAX_TOTAL_BYTES:,} bytes of bodies were arriving at the same time")
            if body.reason:
                raise asyncio.CancelledError
        return bytes(body.content)

    def _drop_oldest(self, reason: str) -> None:
        oldest = next(iter(self._arriving))
        oldest.reason = reason
        self._remove(oldest)
        if oldest.task is not None and oldest.task is not asyncio.current_task():
            oldest.task.cancel()

    def _remove(self, body: _Body) -> None:
        if body in self._arriving:
            del self._arriving[body]
            self._size -= len(body.content)
            body.content = bytearray()
