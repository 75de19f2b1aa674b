"""A service of the sandbox in this process: its own routes and handlers, and the provider's own client, no sockets.

What is left out between the two: the server, the event loop, Starlette's middleware, and httpx's connection pool. The
handlers are coroutines that wait for nothing, so one step runs each to its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import unquote

import httpx
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from sluice_sandbox.service import ErrorResponse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from starlette.responses import Response

    from sluice_sandbox.service import MockService

    Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Arrival(NamedTuple):
    """A request as a service receives it."""

    method: str
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Answer(NamedTuple):
    """What a service answers."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Service:
    """One service of the sandbox. A request goes to the route that Starlette's router would choose."""

    def __init__(self, mock_service: MockService) -> None:
        self.mock_service = mock_service
        self._prefix = f"/{mock_service.path}"
        routes = [cast(Route, route) for route in mock_service.routes()]
        self._routes = [(route.methods or (), route.path_regex.match, route) for route in routes]
        self._address: tuple[str, int] = ("127.0.0.1", 80)

    def answer(self, arrival: Arrival) -> Answer:
        """Do the work now."""
        path, _, query = arrival.target.partition(b"?")
        whole = unquote(path.decode("ascii"))
        endpoint, params = self._find(arrival.method, whole.removeprefix(self._prefix))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": arrival.method,
            "scheme": "http",
            "path": whole,
            "raw_path": path,
            "root_path": self._prefix,
            "app_root_path": "",
            "query_string": query,
            "headers": arrival.headers,
            "server": self._address,
            "client": None,
            "path_params": params,
        }
        try:
            response = finish(endpoint(_Received(scope, arrival.body)))
        except ErrorResponse as no:
            response = no.response
        except HTTPException as no:
            response = PlainTextResponse(no.detail, no.status_code)
        return answer_of(response, scope)

    def _find(self, method: str, path: str) -> tuple[Handler, dict[str, Any]]:
        for methods, match, route in self._routes:
            if method in methods and (found := match(path)):
                convertors, params = route.param_convertors, found.groupdict()
                return route.endpoint, {name: convertors[name].convert(text) for name, text in params.items()}
        raise AssertionError(f"no route for {method} {path}")


class _Received(Request):
    """A request whose body is here already."""

    def __init__(self, scope: dict[str, Any], content: bytes) -> None:
        super().__init__(scope)
        self._content = content

    async def body(self) -> bytes:
        return self._content

    async def stream(self) -> AsyncGenerator[bytes, None]:
        yield self._content
        yield b""


def finish(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The outcome of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise RuntimeError("a handler of the sandbox waits for something, which takes an event loop")


def answer_of(response: Response, scope: dict[str, Any]) -> Answer:
    """What a response sends; most have their body at hand."""
    body = getattr(response, "body", None)
    if body is None:
        parts: list[bytes] = []

        async def send(message: Any) -> None:
            parts.append(message.get("body", b""))

        finish(response(scope, _no_more, send))
        body = b"".join(parts)
    return Answer(response.status_code, response.raw_headers, bytes(body))


async def _no_more() -> dict[str, str]:
    return {"type": "http.disconnect"}


class Client(httpx.Client):
    """The provider's client: its requests and its authentication are real, and `exchange` stands for the network."""

    def __init__(self, exchange: Callable[[httpx.Request], httpx.Response], options: dict[str, Any]) -> None:
        super().__init__(**{**options, "transport": httpx.MockTransport(exchange), "trust_env": False})
        self._exchange = exchange
        self._urls: dict[str, httpx.URL] = {}

    def _merge_url(self, url: httpx.URL | str) -> httpx.URL:
        """A URL does not change, so each text is read once."""
        text = str(url)
        found = self._urls.get(text)
        if found is None:
            if len(self._urls) > 10_000:
                self._urls.clear()
            found = self._urls[text] = super()._merge_url(url)
        return found

    def send(self, request: httpx.Request, *, auth: Any = None, **_options: Any) -> httpx.Response:
        """As httpx does it, but for redirects, cookies and hooks, of which the provider uses none."""
        scheme = self.auth if auth is httpx.USE_CLIENT_DEFAULT else auth
        flow = (scheme or httpx.Auth()).sync_auth_flow(request)
        try:
            request = next(flow)
            while True:
                response = self._exchange(request)
                response.request = request
                try:
                    request = flow.send(response)
                except StopIteration:
                    return response
        finally:
            flow.close()


def arrival_of(request: httpx.Request) -> Arrival:
    """Reads the body, which is how a streamed one is sent."""
    body = b"".join(request.stream)  # type: ignore[arg-type]
    return Arrival(request.method, request.url.raw_path, _lowered(request.headers.raw), body)


def _lowered(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower(), value) for name, value in headers]
