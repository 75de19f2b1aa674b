"""The deadline of a request: httpx's timeouts begin anew with each piece that is sent or received, so a service that
sends a byte now and then is waited for without end.

The driver sets a deadline for everything that it does for one request, token requests included. These streams of
httpcore give each operation the time that is left, blocking and awaiting alike.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

import httpcore
import httpx

if TYPE_CHECKING:
    from collections.abc import Iterable


class Deadline(NamedTuple):
    """
    :param at: by the monotonic clock
    :param seconds: of the whole request
    :param field: of the connection, that says so; or ""
    """

    at: float
    seconds: float
    field: str

    def __str__(self) -> str:
        where = f", which is {self.field} of the connection" if self.field else ""
        return f"the request took longer than {self.seconds:g} s in all{where}"


_deadline: ContextVar[Deadline | None] = ContextVar("sluice_request_deadline", default=None)


@contextmanager
def deadline(seconds: float, field: str) -> Iterator[None]:
    """All that this thread or task sends and receives in the block takes so many seconds at most."""
    token = _deadline.set(Deadline(time.monotonic() + seconds, seconds, field))
    try:
        yield
    finally:
        _deadline.reset(token)


def seconds_left() -> float | None:
    """Until the deadline of the request that this thread or task is sending; None without one."""
    current = _deadline.get()
    return None if current is None else current.at - time.monotonic()


class _Limited:
    """One operation with the time that is left for it.

    :param timeout: seconds that it may take by itself
    :param error_class: what httpx raises if that is too short
    """

    def __init__(self, timeout: float | None, error_class: type[httpx.TimeoutException]) -> None:
        self._error_class = error_class
        self._deadline = _deadline.get()
        left = seconds_left()
        self._ends_request = left is not None and (timeout is None or left < timeout)
        self.timeout = left if self._ends_request else timeout

    def __enter__(self) -> float | None:
        if self._ends_request and self.timeout is not None and self.timeout <= 0:
            raise self._error_class(str(self._deadline))
        return self.timeout

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if self._ends_request and isinstance(error, httpcore.TimeoutException):
            raise self._error_class(str(self._deadline)) from None


class DeadlineStream(httpcore.NetworkStream):
    """Blocking."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _Limited(timeout, httpx.ReadTimeout) as limited:
            return self._stream.read(max_bytes, limited)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """httpcore's own would begin anew with the timeout whenever the other side has read a little."""
        sock = self._socket()
        if sock is None:
            with _Limited(timeout, httpx.WriteTimeout) as limited:
                return self._stream.write(buffer, limited)
        view = memoryview(buffer)
        while view:
            with _Limited(timeout, httpx.WriteTimeout) as limited:
                view = view[_send(sock, view, limited) :]
        return None

    def _socket(self) -> socket.socket | None:
        """What the bytes are written to; None within TLS to a proxy, where they are encrypted before."""
        sock = self.get_extra_info("socket")
        encrypted = self.get_extra_info("ssl_object") is not None and not isinstance(sock, ssl.SSLSocket)
        return None if encrypted or not isinstance(sock, socket.socket) else sock

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        with _Limited(timeout, httpx.ConnectTimeout) as limited:
            return DeadlineStream(self._stream.start_tls(ssl_context, server_hostname, limited))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _send(sock: socket.socket, view: memoryview, timeout: float | None) -> int:
    try:
        sock.settimeout(timeout)
        return sock.send(view)
    except TimeoutError as error:
        raise httpcore.WriteTimeout(str(error)) from None
    except OSError as error:
        raise httpcore.WriteError(str(error)) from None


class AsyncDeadlineStream(httpcore.AsyncNetworkStream):
    """Awaiting."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _Limited(timeout, httpx.ReadTimeout) as limited:
            return await self._stream.read(max_bytes, limited)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with _Limited(timeout, httpx.WriteTimeout) as limited:
            await self._stream.write(buffer, limited)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        with _Limited(timeout, httpx.ConnectTimeout) as limited:
            return AsyncDeadlineStream(await self._stream.start_tls(ssl_context, server_hostname, limited))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class DeadlineBackend(httpcore.NetworkBackend):
    """Opens connections, blocking.

    :param backend: opens them without regard to the deadline
    """

    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        with _Limited(timeout, httpx.ConnectTimeout) as limited:
            return DeadlineStream(self._backend.connect_tcp(host, port, limited, local_address, socket_options))


class AsyncDeadlineBackend(httpcore.AsyncNetworkBackend):
    """Opens connections, awaiting. The parameter is that of `DeadlineBackend`."""

    def __init__(self, backend: httpcore.AsyncNetworkBackend) -> None:
        self._backend = backend

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        with _Limited(timeout, httpx.ConnectTimeout) as limited:
            stream = await self._backend.connect_tcp(host, port, limited, local_address, socket_options)
            return AsyncDeadlineStream(stream)
