"""Makes *Test connection* work for connections without a port, and keeps what the user typed for the hook.

Airflow 3.3's list of connections sends port 0 in a test of a connection that has no port. The API server compares it
with the stored port, and refuses with "host or port to test differs". For our connections, port 0 means no port, so it
is removed from the request; everything else passes through unchanged. The hook must know which secrets the user typed
and which Airflow filled in (`connection_form`).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sluice_provider.services import SERVICES

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATHS = ("/api/v2/connections/test", "/api/v2/connections/enqueue-test")
CONN_TYPES = tuple(service.conn_type for service in SERVICES if service.conn_type == service.name)
MAX_BYTES = 1 << 20
"""A longer request is passed to Airflow unchanged."""


class ConnectionTestMiddleware:
    """ASGI middleware around the whole API server."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].endswith(PATHS):
            await self._app(scope, receive, send)
            return
        from sluice_provider.hooks.connection_form import POSTED_FORM

        messages, body = await _read(receive)
        form = _form(body) if len(body) <= MAX_BYTES else {}
        changed = without_port_0(form)
        if changed is not None:
            headers = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
            scope = {**scope, "headers": [*headers, (b"content-length", str(len(changed)).encode())]}
            messages = [{"type": "http.request", "body": changed, "more_body": False}]
        posted = POSTED_FORM.set(form)
        try:
            await self._app(scope, _replay(messages, receive), send)
        finally:
            POSTED_FORM.reset(posted)


def _form(body: bytes) -> dict[str, Any]:
    """Empty if it is none."""
    try:
        form = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return form if isinstance(form, dict) else {}


def without_port_0(form: dict[str, Any]) -> bytes | None:
    """The body without the port, or None if it is not a connection of ours with port 0."""
    if form.get("port") != 0 or form.get("conn_type") not in CONN_TYPES:
        return None
    try:
        return json.dumps({**form, "port": None}).encode()
    except (ValueError, RecursionError):  # nested as deeply as can be read, but not written
        return None


async def _read(receive: Receive) -> tuple[list[Message], bytes]:
    """The messages until the body is complete or too long, or the client is gone; and the body."""
    messages: list[Message] = []
    size = 0
    while True:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body") or size > MAX_BYTES:
            return messages, b"".join(each.get("body", b"") for each in messages)


def _replay(messages: list[Message], receive: Receive) -> Receive:
    """Receives these messages first, then those that follow."""
    left = iter(messages)

    async def replay() -> Message:
        for message in left:
            return message
        return await receive()

    return replay
