"""A small HTTP server on this machine, for what the sandbox is not: a proxy, a TLS server, Google's metadata server."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Request(NamedTuple):
    method: str
    target: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes = b""


class Answer(NamedTuple):
    status: int = 200
    body: Any = None
    """Text as it is, anything else as JSON."""
    headers: tuple[tuple[str, str], ...] = ()


class Loopback:
    """Its address, and the requests that it received, oldest first."""

    def __init__(self, scheme: str, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self.url = f"{scheme}://{self.address}"
        self.seen: list[Request] = []


@contextmanager
def serve(answer: Callable[[Request], Answer], tls: ssl.SSLContext | None = None) -> Iterator[Loopback]:
    """Serve from a thread until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, body)
            loopback.seen.append(request)
            status, content, more = answer(request)
            plain = isinstance(content, str)
            content = (content if plain else json.dumps(content)).encode()
            self.send_response(status)
            kind = ("Content-Type", "text/plain" if plain else "application/json")
            for name, value in (*more, kind, ("Content-Length", str(len(content)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_CONNECT = _answer  # noqa: N815 - the library's names

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that disconnects is not an error
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    loopback = Loopback("https" if tls else "http", server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield loopback
    finally:
        server.shutdown()
        server.server_close()


def kaleidoscope(request: Request) -> Answer:
    """A minimal Kaleidoscope: any token request succeeds, anything else returns an empty object."""
    if request.target.endswith("auth/oauth/token"):
        return Answer(200, {"access_token": "loopback-access-token", "expires_in": 3600})
    return Answer(200, {})
