"""Connections to other hosts than the connection's own: the address that was checked is the one connected to.

Between a check of a name and a connection by name, the name could get another address. So these network backends of
httpcore resolve a name themselves. The name stays that of the Host header and of the TLS certificate. Through a proxy,
it is the proxy that resolves names and connects, and only names are checked here.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import httpcore
import httpx

from sluice_provider.http.deadline import AsyncDeadlineBackend, DeadlineBackend
from sluice_provider.http.limits import Limits, set_limits
from sluice_provider.http.result_hosts import ResultHosts

_hosts_by_client: WeakKeyDictionary[httpx.Client | httpx.AsyncClient, ResultHosts] = WeakKeyDictionary()


def configure_client(
    client: httpx.Client | httpx.AsyncClient, hosts: ResultHosts | None = None, limits: Limits | None = None
) -> None:
    """Give a new client what httpx has no argument for: deadlines, limits, and the hosts that may be requested.

    httpx has no argument for a network backend, and with a transport of one's own it ignores the proxies of the
    environment. In front of a proxy, only names are checked.

    :param hosts: None: only the host of its base URL
    :param limits: None: the default ones
    """
    if hosts is not None:
        _hosts_by_client[client] = hosts
    if limits is not None:
        set_limits(client, limits)
    hosts = result_hosts_of(client)
    for transport in (client._transport, *client._mounts.values()):
        proxied = transport is not client._transport
        if isinstance(transport, httpx.HTTPTransport):
            backend = httpcore.SyncBackend() if proxied else CheckedBackend(hosts)
            _replace_backend(transport._pool, DeadlineBackend(backend))
        elif isinstance(transport, httpx.AsyncHTTPTransport):
            abackend = httpcore.AnyIOBackend() if proxied else AsyncCheckedBackend(hosts)
            _replace_backend(transport._pool, AsyncDeadlineBackend(abackend))


def _replace_backend(pool: Any, backend: DeadlineBackend | AsyncDeadlineBackend) -> None:
    if not hasattr(pool, "_network_backend"):
        raise RuntimeError(
            "this version of httpcore takes no network backend, so requests could have no deadline: "
            "pip install 'httpcore>=1.0'"
        )
    pool._network_backend = backend


def result_hosts_of(client: httpx.Client | httpx.AsyncClient) -> ResultHosts:
    return _hosts_by_client.get(client) or ResultHosts(client.base_url)


class CheckedBackend(httpcore.NetworkBackend):
    """Blocking."""

    def __init__(self, hosts: ResultHosts) -> None:
        self._hosts = hosts
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """:raises AddressRefused: the host has no permitted address"""
        left = _countdown(timeout)
        with _resolving():
            addresses = _addresses(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        if not self._hosts.is_own(host, port):
            addresses = self._hosts.permitted(host, addresses)
        failure: Exception | None = None
        for address in addresses:
            try:
                return self._backend.connect_tcp(address, port, left(), local_address, socket_options)
            except UNREACHABLE as error:
                failure = failure or error
        raise failure or httpcore.ConnectError(NO_ADDRESS)


class AsyncCheckedBackend(httpcore.AsyncNetworkBackend):
    """Awaiting."""

    def __init__(self, hosts: ResultHosts) -> None:
        self._hosts = hosts
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """:raises AddressRefused: the host has no permitted address"""
        left, addresses = _countdown(timeout), [host]
        if not self._hosts.is_own(host, port):
            resolving = asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
            with _resolving():
                found = await asyncio.wait_for(resolving, left())
            addresses = self._hosts.permitted(host, _addresses(found))
        failure: Exception | None = None
        for address in addresses:
            try:
                return await self._backend.connect_tcp(address, port, left(), local_address, socket_options)
            except UNREACHABLE as error:
                failure = failure or error
        raise failure or httpcore.ConnectError(NO_ADDRESS)


UNREACHABLE = (httpcore.ConnectError, httpcore.ConnectTimeout)
"""One address of a host may not be reachable and the next one may be, as with IPv6 in a network without it."""

NO_ADDRESS = "the name has no address"


def _countdown(timeout: float | None) -> Callable[[], float | None]:
    """What is left of the time for all addresses together, and at least a moment."""
    deadline = None if timeout is None else time.monotonic() + timeout
    return lambda: None if deadline is None else max(0.001, deadline - time.monotonic())


def _addresses(found: Sequence[Any]) -> list[str]:
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


@contextmanager
def _resolving() -> Iterator[None]:
    try:
        yield
    except asyncio.TimeoutError:  # before OSError, which it is from Python 3.11 on
        raise httpcore.ConnectTimeout("the name was not resolved in time") from None
    except (OSError, UnicodeError) as error:  # UnicodeError: a part of the name has more than 63 characters
        raise httpcore.ConnectError(str(error)) from None
