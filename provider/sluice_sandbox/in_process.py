"""Requests to an ASGI application from its own process, without a connection."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message


async def request(
    app: ASGIApp,
    server: tuple[str, int],
    method: str,
    path: str,
    params: Mapping[str, Any] | None = None,
    content: Any = None,
) -> tuple[int, bytes]:
    """The status and the body of the response.

    :param server: host and port, for links in the response
    :param params: query
    :param content: sent as JSON; None sends no body
    """
    host = f"[{server[0]}]" if ":" in server[0] else server[0]
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": urlencode(params or {}).encode(),
        "root_path": "",
        "headers": [(b"host", f"{host}:{server[1]}".encode()), (b"content-type", b"application/json")],
        "client": None,
        "server": server,
    }
    status, parts = 0, []

    async def receive() -> Message:
        body = b"" if content is None else json.dumps(content).encode()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)
        parts.append(message.get("body", b""))

    await app(scope, receive, send)
    return status, b"".join(parts)
