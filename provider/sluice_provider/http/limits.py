"""How long a request may take in all, and how much of a response is read: whatever a service sends, a call ends, and
its response fits into memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    import httpx

    from sluice_provider.http.flow import Request

MEGABYTE = 1_000_000

MAX_HEADER_BYTES = 65_536
"""Of the headers of one response. httpcore reads no more than about 100 KiB of them."""

MAX_TOKEN_BYTES = MEGABYTE
"""Of the response of a token endpoint, and of one that rejects a token."""


class Limits(NamedTuple):
    """Of the requests of one connection.

    :param max_response_bytes: of a response that is read into memory, decompressed
    :param request_timeout: seconds from opening the connection, or getting a token, to the end of the response
    :param transfer_timeout: the same for requests that send or receive a file
    """

    max_response_bytes: int = 64 * MEGABYTE
    request_timeout: float = 300.0
    transfer_timeout: float = 21600.0

    def timeout(self, request: Request) -> tuple[float, str]:
        """Seconds that this request may take in all, and the connection field that says so, or ""."""
        if request.body is not None or request.into is not None:
            seconds, field = self.transfer_timeout, "transfer_timeout"
        else:
            seconds, field = self.request_timeout, "request_timeout"
        seconds = max(seconds, request.read_timeout)
        return (request.max_duration, "") if request.max_duration < seconds else (seconds, field)


_limits_by_client: WeakKeyDictionary[httpx.Client | httpx.AsyncClient, Limits] = WeakKeyDictionary()


def set_limits(client: httpx.Client | httpx.AsyncClient, limits: Limits) -> None:
    """Use these limits instead of the default ones for all requests of a client."""
    _limits_by_client[client] = limits


def limits_of(client: httpx.Client | httpx.AsyncClient) -> Limits:
    return _limits_by_client.get(client) or Limits()
