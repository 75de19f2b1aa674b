"""A server that sends whatever a test wants, piece by piece, and reads no more than it wants."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress


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
            head = b""
            while b"\r\n\r\n" not in head:
                received = connection.recv(65536)
                if not received:
                    return
                head += received
            for piece in answer(head.partition(b"\r\n")[0].decode()):
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
