"""Test connection, for a connection without a port.

Airflow 3.3's list of connections asks for a test with port 0 where the connection has none. The API server compares it
with the port that is stored, finds another, and refuses with "host or port to test differs". No port and port 0 mean
the same for our connections, so they go on without it; everything else passes through untouched.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from sluice_provider.services import SERVICES

PATHS = ("/api/v2/connections/test", "/api/v2/connections/enqueue-test")
OURS = frozenset(service.conn_type for service in SERVICES if service.conn_type == service.name)
MOST = 1 << 20
"""A connection in more bytes than this is left to Airflow as it is."""

Receive = Callable[[], Awaitable[dict[str, Any]]]


class EmptyPort:
    """ASGI middleware around the whole API server."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Callable[..., Any]) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].endswith(PATHS):
            await self._app(scope, receive, send)
            return
        messages, body = await _read(receive)
        mended = without_port_0(body) if len(body) <= MOST else None
        if mended is not None:
            headers = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
            scope = {**scope, "headers": [*headers, (b"content-length", str(len(mended)).encode())]}
            messages = [{"type": "http.request", "body": mended, "more_body": False}]
        await self._app(scope, _again(messages, receive), send)


def without_port_0(body: bytes) -> bytes | None:
    """The body without the port 0 of a connection of ours, or None if that is not what it is."""
    try:
        connection = json.loads(body)
    except ValueError:
        return None
    if not isinstance(connection, dict) or connection.get("conn_type") not in OURS:
        return None
    if connection.get("port") != 0:
        return None
    return json.dumps({**connection, "port": None}).encode()


async def _read(receive: Receive) -> tuple[list[dict[str, Any]], bytes]:
    """What has come, until the body is there or too long or the client is gone."""
    messages: list[dict[str, Any]] = []
    size = 0
    while True:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body") or size > MOST:
            return messages, b"".join(each.get("body", b"") for each in messages)


def _again(messages: list[dict[str, Any]], receive: Receive) -> Receive:
    """The messages once more, then what comes."""
    left = iter(messages)

    async def again() -> dict[str, Any]:
        for message in left:
            return message
        return await receive()

    return again
