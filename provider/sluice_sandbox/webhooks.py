"""Webhooks over HTTP: signed, retried until they are accepted, and duplicated if a setting says so.

How Kaleidoscope signs, numbers or retries its webhooks is not documented. They are signed here as Standard Webhooks
(https://www.standardwebhooks.com): `webhook-id`, `webhook-timestamp` (seconds since 1970, of the real clock) and
`webhook-signature: v1,<base64>`, an HMAC-SHA256 over the three of id, timestamp and body with full stops between them.
With `webhook_format` "plain" there is only `X-Sluice-Secret` with the secret itself.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import ssl
import time
from collections import deque
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import httpx

from sluice_sandbox.loopback import is_loopback
from sluice_sandbox.settings import InvalidControlInput

if TYPE_CHECKING:
    from sluice_sandbox.ids import Ids
    from sluice_sandbox.settings import Settings

TIMEOUT = 10.0  # seconds of one attempt
MAX_RETRY_DELAY = 30.0  # seconds


@dataclass(slots=True)
class Delivery:
    """One webhook. Its content stays the same in all attempts; each attempt has a new signature."""

    event: str
    url: str
    content: dict[str, Any]
    attempts: int = 0
    last_status: int | None = None  # None: no response
    last_error: str | None = None
    delivered: bool = False
    finished: bool = False
    id: str = field(kw_only=True)

    def to_json(self) -> dict[str, Any]:
        """For `/control/state`, without the query and the file's link, which may contain secrets."""
        return {
            "id": self.id,
            "event": self.event,
            "url": self.url.partition("?")[0],
            "attempts": self.attempts,
            "last_status": self.last_status,
            "last_error": self.last_error,
            "delivered": self.delivered,
            "finished": self.finished,
            "content": {name: value for name, value in self.content.items() if name != "file_url"},
        }


def authentication_headers(settings: Settings, webhook_id: str, body: bytes, now: float) -> dict[str, str]:
    """The headers that authenticate a webhook; none without a secret.

    :raises ValueError: the secret is not base64
    """
    if not settings.webhook_secret:
        return {}
    if settings.webhook_format == "plain":
        return {"X-Sluice-Secret": settings.webhook_secret}
    key = base64.b64decode(settings.webhook_secret.removeprefix("whsec_"), validate=True)
    timestamp = str(int(now))
    digest = hmac.digest(key, b".".join([webhook_id.encode(), timestamp.encode(), body]), "sha256")
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": webhook_id, "webhook-timestamp": timestamp, "webhook-signature": signature}


def check_webhook_url(url: object) -> None:
    """A webhook contains a link to a file, and could be sent to any host that the sandbox reaches.

    :raises InvalidControlInput: the URL's host is not this machine
    """
    try:
        host = httpx.URL(url).host if isinstance(url, str) else ""
    except httpx.InvalidURL:
        host = ""
    if host and not is_loopback(host):
        raise InvalidControlInput(
            f"webhook_url leads to {host}, and webhooks are sent to this machine only (127.0.0.1, localhost, ::1); "
            "start the sandbox with --webhooks-anywhere for other hosts"
        )


class Webhooks:
    """All deliveries, and the tasks on the sandbox's event loop that send them."""

    def __init__(self, settings: Settings, ids: Ids) -> None:
        self._settings = settings
        self._ids = ids
        self._all: list[Delivery] = []
        self._waiting: deque[Delivery] = deque()
        self._senders: set[asyncio.Task[None]] = set()
        self._closed = False

    def send(self, event: str, content: dict[str, Any]) -> None:
        """Send to the current `webhook_url`, if there is one, with duplicates if set. Does not wait."""
        url = self._settings.webhook_url
        if url:
            copies = range(1 + self._settings.webhook_duplicates)
            new = [Delivery(event, url, {"event": event, **content}, id=self._ids.uuid()) for _ in copies]
            self._all += new
            for delivery in new:
                self._enqueue(delivery)

    def close(self) -> None:
        """Cancel pending deliveries and send nothing more."""
        self._closed = True
        self._waiting.clear()
        for sender in self._senders:
            sender.cancel()

    def to_json(self) -> list[dict[str, Any]]:
        """All deliveries, oldest first."""
        return [delivery.to_json() for delivery in self._all]

    def _enqueue(self, delivery: Delivery) -> None:
        if self._closed:
            return
        self._waiting.append(delivery)
        self._start()

    def _start(self, done: asyncio.Task[None] | None = None) -> None:
        """Start one more sender if deliveries wait; also after a sender ended, which may have missed one."""
        if done is not None:
            self._senders.discard(done)
            self._closed = self._closed or done.cancelled()  # cancelled when the server stops
        if not self._closed and self._waiting and len(self._senders) < max(1, self._settings.webhook_concurrency):
            sender = asyncio.get_running_loop().create_task(self._send_waiting())
            self._senders.add(sender)
            sender.add_done_callback(self._start)

    async def _send_waiting(self) -> None:
        """Send until no delivery waits. Proxies from the environment are ignored, as the URL is the receiver's own."""
        async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT, verify=_ssl_context()) as client:
            while self._waiting:
                delivery = self._waiting.popleft()
                await self._attempt(client, delivery)
                if not delivery.finished:
                    # Other deliveries can be sent meanwhile.
                    asyncio.get_running_loop().call_later(self._retry_delay(delivery), self._enqueue, delivery)

    async def _attempt(self, client: httpx.AsyncClient, delivery: Delivery) -> None:
        body = json.dumps(delivery.content).encode()
        delivery.attempts += 1
        delivery.last_status = delivery.last_error = None
        try:
            proof = authentication_headers(self._settings, f"msg_{delivery.id}", body, time.time())
            headers = {"Content-Type": "application/json", **proof}
            response = await client.post(delivery.url, content=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:  # ValueError: the secret is not valid
            delivery.last_error = type(error).__name__
        else:
            delivery.last_status, delivery.delivered = response.status_code, response.is_success
        delivery.finished = delivery.delivered or delivery.attempts > self._settings.webhook_retries

    def _retry_delay(self, delivery: Delivery) -> float:
        return min(MAX_RETRY_DELAY, self._settings.webhook_retry_delay * 2.0 ** min(delivery.attempts - 1, 20))


@cache
def _ssl_context() -> ssl.SSLContext:
    """Cached, as loading the CA certificates is slow."""
    return ssl.create_default_context()
