"""A server that sends whatever a test wants, piece by piece, and reads no more than it wants."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress


def _read_request(connection: socket.socket) -> str:
    """Its first line. All of it is read: bytes that nobody has read would reset the connection when it is closed."""
    request = connection.makefile("rb")
    head = [request.readline()]
    while head[-1] not in (b"\r\n", b""):
        head.append(request.readline())
    for line in head:
        if line.lower().startswith(b"content-length:"):
            request.read(int(line.partition(b":")[2]))
    return head[0].decode()


@contextmanager
def serve_pieces(answer: Callable[[str], Iterable[bytes]], *, reads: bool = True) -> Iterator[str]:
    """Serve until the block ends; the value is the URL.

    :param answer: from the first line of a request, what is sent; the connection is closed afterwards
    :param reads: without it, a request is never read
    """
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def converse(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if not reads:
                ended.wait()
                return
            line = _read_request(connection)
            if not line:
                return
            for piece in answer(line):
                if ended.is_set():
                    return
                connection.sendall(piece)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=converse, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
