"""What all hooks of one event loop share: clients, connections that were looked up, and which secrets are masked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sluice_provider.http.event_loop import PerLoop

if TYPE_CHECKING:
    import asyncio

    import httpx

    from sluice_provider.http.client_config import ConnectionFields

LOOKUP_SECONDS = 10.0
"""Seconds for which all tasks of an event loop use a connection that was looked up: each look-up is a round trip to the
triggerer's supervisor, which is one thread."""


class Lookup(NamedTuple):
    """A connection that was, or is being, looked up.

    :param expires_at: by the monotonic clock
    """

    fields: asyncio.Future[ConnectionFields]
    expires_at: float


class LoopState:
    """The values of one event loop."""

    def __init__(self) -> None:
        self.clients: dict[Any, asyncio.Future[httpx.AsyncClient]] = {}
        self.lookups: dict[Any, Lookup] = {}
        self.masked: set[bytes] = set()
        """Digests of the secrets that were masked: each is a round trip to the supervisor."""


loop_state = PerLoop(LoopState)
