"""Webhooks that are really sent: signed, tried again until somebody takes them, and sent twice when told to.

How Kaleidoscope signs, numbers or repeats its webhooks is documented nowhere. The two headers here are Sluice's own:
`X-Sluice-Secret` with the secret itself, or `X-Sluice-Timestamp` (seconds since 1970, of the real clock) together with
`X-Sluice-Signature: v1=<hex>`, an HMAC-SHA256 with the secret over the timestamp, a full stop and the body.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import ssl
import time
from collections import deque
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from sluice_sandbox.ids import Ids
    from sluice_sandbox.settings import Settings

TIMEOUT = 10.0  # seconds for one try
LONGEST_DELAY = 30.0


@dataclass(slots=True)
class Delivery:
    """One webhook on its way. What it says stays the same over all tries; its signature is made anew."""

    event: str
    url: str
    content: dict[str, Any]
    attempts: int = 0
    last_status: int | None = None  # None: no answer
    last_error: str | None = None
    delivered: bool = False
    finished: bool = False
    id: str = field(kw_only=True)

    def to_json(self) -> dict[str, Any]:
        """For `/control/state`; a query could hold a secret, and so could a file's link."""
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


def signed(settings: Settings, body: bytes, now: float) -> dict[str, str]:
    """The headers that prove where a webhook comes from; none without a secret."""
    secret = settings.webhook_secret.encode()
    if not secret:
        return {}
    if settings.webhook_signing == "plain":
        return {"X-Sluice-Secret": settings.webhook_secret}
    timestamp = str(int(now))
    digest = hmac.new(secret, timestamp.encode() + b"." + body, "sha256").hexdigest()
    return {"X-Sluice-Timestamp": timestamp, "X-Sluice-Signature": f"v1={digest}"}


class Webhooks:
    """All deliveries, and the senders that carry them out on the event loop of the sandbox."""

    def __init__(self, settings: Settings, ids: Ids) -> None:
        self._settings = settings
        self._ids = ids
        self._all: list[Delivery] = []
        self._waiting: deque[Delivery] = deque()
        self._senders: set[asyncio.Task[None]] = set()
        self._ended = False

    def send(self, event: str, content: dict[str, Any]) -> None:
        """To the address there is now, if there is one, as often as the settings say. Does not wait."""
        url = self._settings.webhook_url
        if url:
            copies = range(1 + self._settings.webhook_duplicates)
            new = [Delivery(event, url, {"event": event, **content}, id=self._ids.uuid()) for _ in copies]
            self._all += new
            for delivery in new:
                self._enqueue(delivery)

    def end(self) -> None:
        """Nothing is sent from now on, also not what is on its way."""
        self._ended = True
        self._waiting.clear()
        for sender in self._senders:
            sender.cancel()

    def to_json(self) -> list[dict[str, Any]]:
        """All of them, oldest first."""
        return [delivery.to_json() for delivery in self._all]

    def _enqueue(self, delivery: Delivery) -> None:
        if self._ended:
            return
        self._waiting.append(delivery)
        self._start()

    def _start(self, done: asyncio.Task[None] | None = None) -> None:
        """One more sender, if there is something for it; also when one has just gone, which may have missed it."""
        if done is not None:
            self._senders.discard(done)
            self._ended = self._ended or done.cancelled()  # as all are when the server stops
        if not self._ended and self._waiting and len(self._senders) < max(1, self._settings.webhook_concurrency):
            sender = asyncio.get_running_loop().create_task(self._send_waiting())
            self._senders.add(sender)
            sender.add_done_callback(self._start)

    async def _send_waiting(self) -> None:
        """One sender: it goes on until nothing waits. No proxy: the receiver is named by its own address."""
        async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT, verify=_trust()) as client:
            while self._waiting:
                delivery = self._waiting.popleft()
                await self._try(client, delivery)
                if not delivery.finished:
                    # The sender is free for others meanwhile.
                    asyncio.get_running_loop().call_later(self._delay(delivery), self._enqueue, delivery)

    async def _try(self, client: httpx.AsyncClient, delivery: Delivery) -> None:
        body = json.dumps(delivery.content).encode()
        headers = {"Content-Type": "application/json", **signed(self._settings, body, time.time())}
        delivery.attempts += 1
        delivery.last_status = delivery.last_error = None
        try:
            response = await client.post(delivery.url, content=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:  # ValueError: a secret that no header can hold
            delivery.last_error = type(error).__name__
        else:
            delivery.last_status, delivery.delivered = response.status_code, response.is_success
        delivery.finished = delivery.delivered or delivery.attempts > self._settings.webhook_retries

    def _delay(self, delivery: Delivery) -> float:
        return min(LONGEST_DELAY, self._settings.webhook_retry_delay * 2.0 ** min(delivery.attempts - 1, 20))


@cache
def _trust() -> ssl.SSLContext:
    """The authorities are loaded once."""
    return ssl.create_default_context()
