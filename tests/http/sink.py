"""A server that takes uploads of any size block by block, hangs up on request, and serves files that break off."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BLOCK = 1 << 16


class Sink:
    """What arrived, oldest first, and what to do with the next requests."""

    def __init__(self) -> None:
        self.url = ""
        self.arrived: list[dict[str, Any]] = []
        self.hang_up_after: list[Any] = []
        """Bytes of each of the next bodies after which the connection is closed: None at the end, ... never."""
        self.statuses: list[int] = []
        self.answer: Callable[[str], tuple[int, dict[str, str], bytes]] = lambda _path: (200, {}, b"{}")


class Handler(BaseHTTPRequestHandler):
    """One connection; `state` is whose."""

    protocol_version = "HTTP/1.1"
    state: Sink

    def do_POST(self) -> None:
        limit = self.state.hang_up_after.pop(0) if self.state.hang_up_after else ...
        count, digest, head = 0, hashlib.sha256(), b""
        for block in self._blocks():
            count += len(block)
            digest.update(block)
            head = head if len(head) > 4096 else head + block
            if isinstance(limit, int) and count >= limit:
                break
        self.state.arrived.append({"headers": self._headers, "size": count, "sha256": digest.hexdigest(), "body": head})
        if limit is ...:
            self._reply(self.state.statuses.pop(0) if self.state.statuses else 200, {}, b'{"ok": true}')
        else:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_GET(self) -> None:
        self.state.arrived.append({"headers": self._headers, "path": self.path})
        self._reply(*self.state.answer(self.path))

    @property
    def _headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}

    def _blocks(self) -> Iterator[bytes]:
        if "content-length" in self.headers:
            left = int(self.headers["content-length"])
            while left and (block := self.rfile.read(min(BLOCK, left))):
                left -= len(block)
                yield block
            return
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        if int(headers.get("Content-Length", len(body))) != len(body):
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def sink() -> Iterator[Sink]:
    """Serve from a thread until the block ends."""
    state = Sink()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"state": state}))
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hangs up is expected
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
