"""The one web application: the control paths, the page, and each remote below its name, behind a front that
writes requests down and makes trouble when told to."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.routing import Mount

from sluice_sandbox import control
from sluice_sandbox import status_page as page
from sluice_sandbox.service import ErrorResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from sluice_sandbox.context import Context
    from sluice_sandbox.faults import Fault
    from sluice_sandbox.request_log import LoggedRequest
    from sluice_sandbox.service import MockService


def create_app(context: Context, remotes: Sequence[MockService], hang_up: Callable[[Scope], None]) -> ASGIApp:
    """`hang_up` closes the connection of a request; only the server knows how."""
    routes = [
        *control.routes(context, remotes),
        page.route(context, remotes),
        *(Mount(f"/{remote.path}", routes=list(remote.routes())) for remote in remotes),
    ]
    app = Starlette(routes=routes, exception_handlers={ErrorResponse: _refused})
    return Front(app, context, remotes, hang_up)


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ErrorResponse)  # noqa: S101 - Starlette hands over what the handler is registered for
    return error.response


@dataclass
class Exchange:
    """One request to a remote, its body read already, and the way to answer it."""

    remote: MockService
    scope: Scope
    body: bytes | None
    receive: Receive
    send: Send
    seen: LoggedRequest

    async def read(self) -> Message:
        """For the application: the body once more, then whatever the connection brings."""
        if self.body is None:
            return await self.receive()
        body, self.body = self.body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def answer(self, message: Message) -> None:
        """For the application: send, and remember the status."""
        if message["type"] == "http.response.start":
            self.seen.status = message["status"]
        await self.send(message)

    async def gone(self) -> None:
        """Wait until the client is gone."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def linger(self, seconds: float) -> None:
        """Wait, but no longer than the client does."""
        gone = asyncio.ensure_future(self.gone())
        await asyncio.wait({gone}, timeout=seconds)
        gone.cancel()


class Front:
    """Stands before the remotes: writes the request down, lets faults and the rate limit have it, passes it on."""

    def __init__(
        self, app: ASGIApp, context: Context, remotes: Sequence[MockService], hang_up: Callable[[Scope], None]
    ) -> None:
        self._app = app
        self._context = context
        self._remotes = {remote.path: remote for remote in remotes}
        self._hang_up = hang_up

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI; what is not for a remote goes straight through."""
        remote = self._remotes.get(scope["path"].lstrip("/").split("/")[0])
        if remote is None:
            await self._app(scope, receive, send)
            return
        body = await _body(receive)
        if body is None:
            return
        seen = self._context.request_log.note(scope, body, self._context.clock.now())
        exchange = Exchange(remote, scope, body, receive, send, seen)
        fault = self._context.faults.take(scope["method"], scope["path"])
        await (self._trouble(fault, exchange) if fault else self._pass(exchange, exchange.answer))

    async def _pass(self, exchange: Exchange, send: Send) -> None:
        wait = self._context.throttle.wait()
        app = exchange.remote.rate_limited_response(math.ceil(wait)) if wait else self._app
        await app(exchange.scope, exchange.read, send)

    async def _trouble(self, fault: Fault, exchange: Exchange) -> None:
        exchange.seen.fault = str(fault)
        if fault.delay:
            # The work is done all the same when the client has gone meanwhile: that is what a timeout is like.
            await exchange.linger(fault.delay)
        if fault.status:
            await fault.response()(exchange.scope, exchange.read, exchange.answer)
        elif fault.drop:
            if fault.drop != "before":
                await self._pass(exchange, Half(exchange.answer) if fault.drop == "middle" else _nowhere)
            self._hang_up(exchange.scope)
            await exchange.gone()
        else:
            await self._pass(exchange, exchange.answer)


class Half:
    """Sends the beginning of an answer and half of what would have come first of its body; the rest is lost."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._broken = False

    async def __call__(self, message: Message) -> None:
        """ASGI's send."""
        if message["type"] != "http.response.body":
            await self._send(message)
        elif body := b"" if self._broken else message.get("body", b""):
            self._broken = True
            await self._send({**message, "body": body[: len(body) // 2], "more_body": True})


async def _nowhere(_message: Message) -> None:
    """An answer that is lost."""


async def _body(receive: Receive) -> bytes | None:
    """The whole body, or None if the client went away in the middle of it."""
    parts, more = [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)
