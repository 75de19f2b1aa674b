"""Rate limits of webhook requests by connection, in the memory of one process of the API server."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import NamedTuple

MAX_CONNECTIONS = 1000
"""Connection ids that are tracked; then the one that was used longest ago is forgotten."""


class Rate(NamedTuple):
    """
    :param per_second: requests a second on average
    :param burst: requests at once
    """

    per_second: float
    burst: float


AUTHENTICATED = Rate(100.0, 300.0)
UNAUTHENTICATED = Rate(5.0, 20.0)


class TokenBucket:
    """A token bucket, full at the beginning."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._tokens, self._updated = rate.burst, time.monotonic()

    def take(self) -> float:
        """Take a token: 0.0, or the seconds until there is one."""
        now = time.monotonic()
        self._tokens = min(self._rate.burst, self._tokens + (now - self._updated) * self._rate.per_second)
        self._updated = now
        if self._tokens < 1.0:
            return (1.0 - self._tokens) / self._rate.per_second
        self._tokens -= 1.0
        return 0.0


class RateLimiter:
    """Two buckets for each connection: one for authenticated requests, one for all others.

    So unauthenticated requests, however many, never slow down the real sender. Only requests whose secret was found
    wrong, which is cheap, count as unauthenticated.
    """

    def __init__(self, authenticated: Rate = AUTHENTICATED, unauthenticated: Rate = UNAUTHENTICATED) -> None:
        self._rates = {True: authenticated, False: unauthenticated}
        self._buckets: OrderedDict[tuple[str, bool], TokenBucket] = OrderedDict()

    def take(self, conn_id: str, *, authenticated: bool) -> float:
        """Count a request: 0.0, or the seconds after which to retry."""
        key = (conn_id.casefold(), authenticated)
        bucket = self._buckets.setdefault(key, TokenBucket(self._rates[authenticated]))
        self._buckets.move_to_end(key)
        while len(self._buckets) > 2 * MAX_CONNECTIONS:
            self._buckets.popitem(last=False)
        return bucket.take()
