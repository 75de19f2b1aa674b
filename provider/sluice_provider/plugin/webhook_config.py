"""Which connections receive webhooks, and how often somebody may knock.

A connection is looked up in a thread and remembered for a few seconds, also when it receives nothing: so a new secret
is good, and an old one bad, `REMEMBERED` seconds after it was changed. All of this is in the memory of one process of
the API server: it saves work, and nothing depends on it.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

from sluice_provider.compat.server import secrets_backends
from sluice_provider.errors import InvalidConnection
from sluice_provider.hooks.base import fields_of, mask
from sluice_provider.hooks.kaleidoscope import KaleidoscopeHook
from sluice_provider.http.client_config import ConnectionFields
from sluice_provider.webhooks.kaleidoscope import EVENTS
from sluice_provider.webhooks.verify import Seal, seal

log = logging.getLogger(__name__)

REMEMBERED = 10.0
"""Seconds."""

MANY = 1000
"""So many names that nobody has proved to belong to are remembered."""

CONN_ID = r"[\w.\-]{1,250}"


class Door(NamedTuple):
    """What a connection says about receiving webhooks.

    :param dags: which DAG gets a run for an event; "*" stands for all other events
    :param asset: name or URI of the asset that gets an event instead, or ""
    """

    conn_id: str
    seal: Seal
    dags: Mapping[str, str]
    asset: str = ""

    def dag_for(self, event: str) -> str:
        return self.dags.get(event) or self.dags.get("*", "")


def door(fields: ConnectionFields) -> Door | None:
    """None for a connection that receives nothing.

    :raises InvalidConnection: naming the field that cannot be used
    """
    secret = fields.text("webhook_secret")
    if not secret:
        return None
    conn_id, dags, asset = fields.conn_id, _dags(fields), fields.text("webhook_asset")
    if bool(dags) == bool(asset):
        raise fields.invalid("webhook_dag_id", "or webhook_asset must say what an event starts: one of them, not both")
    return Door(
        conn_id, seal(conn_id, secret, fields.text("webhook_signing"), fields.text("webhook_header")), dags, asset
    )


def _dags(fields: ConnectionFields) -> Mapping[str, str]:
    """One DAG for all events, or a JSON object with one for each."""
    given = fields.extra.get("webhook_dag_id")
    if isinstance(given, str) and not given.lstrip().startswith("{"):
        return {"*": given.strip()} if given.strip() else {}
    dags = fields.mapping("webhook_dag_id")
    if strange := set(dags) - {*EVENTS, "*"}:
        raise fields.invalid(
            "webhook_dag_id", f"has {', '.join(sorted(strange))}; events are {', '.join(EVENTS)} and *"
        )
    return dags


class Doors:
    """The doors by connection id, as they are now or were a moment ago.

    Names that nobody has proved to belong to are looked up a few at a time. The others do not wait behind them, and
    are not forgotten for them: trying names in vain, however many, keeps nobody out. It is not enough to have found a
    door: one in the environment is found whatever the case of its name, and there are a million ways to write it.
    """

    def __init__(self, remembered: float = REMEMBERED, at_once: int = 4) -> None:
        self._remembered = remembered
        self._known: OrderedDict[str, tuple[float, asyncio.Task[Door | None]]] = OrderedDict()
        self._proven: set[str] = set()
        self._strange = asyncio.Semaphore(at_once)

    def prove(self, conn_id: str) -> None:
        """Somebody who knows its secret came through this door."""
        self._proven.add(conn_id)

    async def find(self, conn_id: str) -> Door | None:
        """None for a connection that is unknown or receives nothing."""
        if not re.fullmatch(CONN_ID, conn_id, re.ASCII):
            return None
        until, looked = self._known.get(conn_id, (0.0, None))
        if looked is None or until <= time.monotonic():
            looked = asyncio.ensure_future(self._look(conn_id))
            self._known[conn_id] = (time.monotonic() + self._remembered, looked)
            self._known.move_to_end(conn_id)
            self._forget()
        try:
            return await asyncio.shield(looked)
        except Exception:
            self._known.pop(conn_id, None)
            raise

    async def _look(self, conn_id: str) -> Door | None:
        if conn_id in self._proven:
            return await asyncio.to_thread(_look_up, conn_id)
        async with self._strange:
            return await asyncio.to_thread(_look_up, conn_id)

    def _forget(self) -> None:
        """The oldest of those that nobody has proved to belong to."""
        while len(self._known) - len(self._proven) > MANY:
            del self._known[next(conn_id for conn_id in self._known if conn_id not in self._proven)]


def _look_up(conn_id: str) -> Door | None:
    """:raises Exception: whatever a place to look in raised: then nobody knows whether there is such a connection"""
    conn = _search(conn_id)
    if conn is None or conn.conn_type != KaleidoscopeHook.conn_type:
        return None
    try:
        fields = fields_of(conn)
        for secret in fields.secrets():
            mask(secret)
        return door(fields)
    except InvalidConnection as error:
        log.error("No webhooks are received: %s", error)
        return None


def _search(conn_id: str) -> Any:
    """Airflow's own search takes a place that cannot be asked for one that has no such connection."""
    for place in secrets_backends():
        if conn := place.get_connection(conn_id=conn_id):
            return conn
    return None


class Bucket:
    """So many a second on average, and `burst` at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._left, self._at = burst, time.monotonic()

    def take(self) -> float:
        """Take one: 0.0, or how many seconds it takes until there is one."""
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1.0:
            return (1.0 - self._left) / self._rate
        self._left -= 1.0
        return 0.0


class Limits:
    """How often each connection may be asked: the sender who knows the secret, and everybody else, apart.

    Whoever does not know the secret has a bucket of their own, so that knocking in vain, however often, never makes the
    genuine sender wait. It is only looked into after the secret was found wrong, which costs next to nothing.
    """

    def __init__(
        self, known: tuple[float, float] = (100.0, 300.0), strangers: tuple[float, float] = (5.0, 20.0)
    ) -> None:
        self._rates = {True: known, False: strangers}
        self._buckets: OrderedDict[tuple[str, bool], Bucket] = OrderedDict()

    def take(self, conn_id: str, *, known: bool) -> float:
        """Count one: 0.0, or after how many seconds to come back."""
        key = (conn_id.casefold(), known)
        bucket = self._buckets.setdefault(key, Bucket(*self._rates[known]))
        self._buckets.move_to_end(key)
        while len(self._buckets) > 2 * MANY:
            self._buckets.popitem(last=False)
        return bucket.take()
