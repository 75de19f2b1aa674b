"""The ASGI application: control API, status page and all services, behind a middleware that logs requests, injects
faults and applies the rate limit."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.routing import Mount

from sluice_sandbox import control, status_page
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


def create_app(context: Context, services: Sequence[MockService], close_connection: Callable[[Scope], None]) -> ASGIApp:
    """
    :param close_connection: closes the connection of a request, which ASGI has no message for
    """
    routes = [
        *control.routes(context, services),
        status_page.route(context, services),
        *(Mount(f"/{service.path}", routes=list(service.routes())) for service in services),
    ]
    app = Starlette(routes=routes, exception_handlers={ErrorResponse: _error_response})
    return ServiceMiddleware(app, context, services, close_connection)


async def _error_response(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ErrorResponse)  # noqa: S101 - Starlette passes what the handler is registered for
    return error.response


@dataclass
class Exchange:
    """One request to a service, with its body already read, and the channel for the response."""

    service: MockService
    scope: Scope
    body: bytes | None
    receive: Receive
    send: Send
    logged: LoggedRequest

    async def replay(self) -> Message:
        """ASGI's receive for the application: the body again, then further messages of the connection."""
        if self.body is None:
            return await self.receive()
        body, self.body = self.body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def respond(self, message: Message) -> None:
        """ASGI's send for the application; logs the status."""
        if message["type"] == "http.response.start":
            self.logged.status = message["status"]
        await self.send(message)

    async def wait_for_disconnect(self) -> None:
        """Wait until the client has disconnected."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def sleep(self, seconds: float) -> None:
        """Wait, but not longer than the client does."""
        disconnected = asyncio.ensure_future(self.wait_for_disconnect())
        await asyncio.wait({disconnected}, timeout=seconds)
        disconnected.cancel()


class ServiceMiddleware:
    """Logs each request to a service, applies a pending fault or the rate limit, and passes it on."""

    def __init__(
        self,
        app: ASGIApp,
        context: Context,
        services: Sequence[MockService],
        close_connection: Callable[[Scope], None],
    ) -> None:
        self._app = app
        self._context = context
        self._services = {service.path: service for service in services}
        self._close_connection = close_connection

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. Requests to the control API and the status page are passed on unchanged."""
        service = self._services.get(scope["path"].lstrip("/").split("/")[0])
        if service is None:
            await self._app(scope, receive, send)
            return
        body = await _read_body(receive)
        if body is None:
            return
        logged = self._context.request_log.add(scope, body, self._context.clock.now())
        exchange = Exchange(service, scope, body, receive, send, logged)
        fault = self._context.faults.take(scope["method"], scope["path"])
        await (self._inject(fault, exchange) if fault else self._pass_on(exchange, exchange.respond))

    async def _pass_on(self, exchange: Exchange, send: Send) -> None:
        seconds = self._context.rate_limiter.retry_after()
        app = exchange.service.rate_limited_response(math.ceil(seconds)) if seconds else self._app
        await app(exchange.scope, exchange.replay, send)

    async def _inject(self, fault: Fault, exchange: Exchange) -> None:
        exchange.logged.fault = str(fault)
        if fault.delay:
            # The request is handled even if the client disconnects meanwhile, as after a client's timeout.
            await exchange.sleep(fault.delay)
        if fault.status:
            await fault.response()(exchange.scope, exchange.replay, exchange.respond)
        elif fault.drop:
            if fault.drop != "before":
                send = TruncatedSend(exchange.respond) if fault.drop == "middle" else _discard
                await self._pass_on(exchange, send)
            self._close_connection(exchange.scope)
            await exchange.wait_for_disconnect()
        else:
            await self._pass_on(exchange, exchange.respond)


class TruncatedSend:
    """ASGI's send that passes the headers and half of the first chunk of the body, and discards the rest."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._truncated = False

    async def __call__(self, message: Message) -> None:
        """ASGI's send."""
        if message["type"] != "http.response.body":
            await self._send(message)
        elif body := b"" if self._truncated else message.get("body", b""):
            self._truncated = True
            await self._send({**message, "body": body[: len(body) // 2], "more_body": True})


async def _discard(_message: Message) -> None:
    """ASGI's send that sends nothing."""


async def _read_body(receive: Receive) -> bytes | None:
    """The whole body, or None if the client disconnected before its end."""
    parts, more = [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)
