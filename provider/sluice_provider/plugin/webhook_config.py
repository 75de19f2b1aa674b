"""Which connections receive webhooks, and what their events start.

A connection is looked up in a thread and cached for a few seconds, also if it receives no webhooks: a changed secret is
in force `CACHE_SECONDS` later. The cache is in the memory of one process of the API server, and only saves work.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from sluice_provider.compat.server import secrets_backends
from sluice_provider.errors import InvalidConnection
from sluice_provider.hooks.base import fields_of, mask
from sluice_provider.hooks.kaleidoscope import KaleidoscopeHook
from sluice_provider.http.client_config import ConnectionFields
from sluice_provider.webhooks.kaleidoscope import EVENTS
from sluice_provider.webhooks.verify import WebhookSecret

if TYPE_CHECKING:
    from airflow.sdk import Connection

log = logging.getLogger(__name__)

CACHE_SECONDS = 10.0

MAX_UNVERIFIED = 1000
"""Ids without an authenticated request that are cached."""

CONN_ID = r"[\w.\-]{1,250}"
ANY_EVENT = "*"


class WebhookConfig(NamedTuple):
    """How a connection receives webhooks.

    :param dags: which DAG gets a run, by event; "*" stands for all other events
    :param asset: name or URI of the asset that gets an event instead, or ""
    """

    conn_id: str
    secret: WebhookSecret
    dags: Mapping[str, str]
    asset: str = ""

    @classmethod
    def from_fields(cls, fields: ConnectionFields) -> WebhookConfig | None:
        """None for a connection that receives no webhooks.

        :raises InvalidConnection: naming the field that is wrong
        """
        secret = fields.text("webhook_secret")
        if not secret:
            return None
        dags, asset = _dags(fields), fields.text("webhook_asset")
        if bool(dags) == bool(asset):
            raise fields.invalid("webhook_dag_id", "or webhook_asset must be set, and not both: what an event starts")
        format_, header = fields.text("webhook_format"), fields.text("webhook_header")
        return cls(fields.conn_id, WebhookSecret.validated(fields.conn_id, secret, format_, header), dags, asset)

    def dag_for(self, event: str) -> str:
        return self.dags.get(event) or self.dags.get(ANY_EVENT, "")


def _dags(fields: ConnectionFields) -> Mapping[str, str]:
    """One DAG for all events, or a JSON object with one for each."""
    value = fields.extra.get("webhook_dag_id")
    if isinstance(value, str) and not value.lstrip().startswith("{"):
        return {ANY_EVENT: value.strip()} if value.strip() else {}
    dags = fields.mapping("webhook_dag_id")
    if unknown := set(dags) - {*EVENTS, ANY_EVENT}:
        raise fields.invalid(
            "webhook_dag_id",
            f"has unknown events {', '.join(sorted(unknown))}; known events: {', '.join(EVENTS)}, {ANY_EVENT}",
        )
    return dags


class WebhookConfigCache:
    """Webhook configurations by connection id.

    Ids without an authenticated request ("unverified") are looked up a few at a time. Verified ones do not wait behind
    them and are not evicted for them, so many guessed ids block no sender. An id that was merely found is not
    verified: Airflow finds a connection from the environment in any spelling of upper and lower case, of which there
    are very many.
    """

    def __init__(self, cache_seconds: float = CACHE_SECONDS, max_concurrent: int = 4) -> None:
        self._cache_seconds = cache_seconds
        self._lookups: OrderedDict[str, tuple[float, asyncio.Task[WebhookConfig | None]]] = OrderedDict()
        self._verified: set[str] = set()
        self._unverified_slots = asyncio.Semaphore(max_concurrent)

    def mark_verified(self, conn_id: str) -> None:
        """A request proved that it knows the secret of this connection."""
        self._verified.add(conn_id)

    async def get(self, conn_id: str) -> WebhookConfig | None:
        """None for a connection that does not exist or receives no webhooks."""
        if not re.fullmatch(CONN_ID, conn_id, re.ASCII):
            return None
        expires, lookup = self._lookups.get(conn_id, (0.0, None))
        if lookup is None or expires <= time.monotonic():
            lookup = asyncio.ensure_future(self._look_up(conn_id))
            self._lookups[conn_id] = (time.monotonic() + self._cache_seconds, lookup)
            self._lookups.move_to_end(conn_id)
            self._evict()
        try:
            return await asyncio.shield(lookup)
        except Exception:
            self._lookups.pop(conn_id, None)
            raise

    async def _look_up(self, conn_id: str) -> WebhookConfig | None:
        if conn_id in self._verified:
            return await asyncio.to_thread(load_webhook_config, conn_id)
        async with self._unverified_slots:
            return await asyncio.to_thread(load_webhook_config, conn_id)

    def _evict(self) -> None:
        while len(self._lookups) - len(self._verified) > MAX_UNVERIFIED:
            del self._lookups[next(conn_id for conn_id in self._lookups if conn_id not in self._verified)]


def load_webhook_config(conn_id: str) -> WebhookConfig | None:
    """:raises Exception: whatever a secrets backend raised: then it is unknown whether the connection exists"""
    conn = _find_connection(conn_id)
    if conn is None or conn.conn_type != KaleidoscopeHook.conn_type:
        return None
    try:
        fields = fields_of(conn)
        for secret in fields.secrets():
            mask(secret)
        return WebhookConfig.from_fields(fields)
    except InvalidConnection as error:
        log.error("Connection %r receives no webhooks until it is corrected: %s", conn_id, error)
        return None


def _find_connection(conn_id: str) -> Connection | None:
    """Airflow's own search treats a secrets backend that fails as one that does not have the connection."""
    for backend in secrets_backends():
        if conn := backend.get_connection(conn_id=conn_id):
            found: Connection = conn
            return found
    return None
