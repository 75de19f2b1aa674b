"""The receiver's parts that need no server: connection fields, lookups, single flight, rate limits."""

from __future__ import annotations

import asyncio
import json
import threading
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI

from sluice_provider.errors import InvalidConnection, ServerError, Unreachable
from sluice_provider.http.client_config import ConnectionFields
from sluice_provider.plugin import rate_limit, webhook_config, webhook_receiver
from sluice_provider.plugin.rate_limit import Rate, RateLimiter, TokenBucket
from sluice_provider.plugin.single_flight import SingleFlight
from sluice_provider.plugin.webhook_config import WebhookConfig, WebhookConfigCache
from tests.webhook_receiver.server import SECRET, another_secret, signed_headers


def fields(**extra):
    """The fields of a connection with these extra fields."""
    return ConnectionFields("k", extra={"webhook_secret": SECRET, **extra})


def config(**extra):
    """The webhook configuration of such a connection."""
    return WebhookConfig.from_fields(fields(**extra))


# --- connection fields


def test_one_dag_for_all_events_or_one_for_each():
    """As a string, or as a JSON object, which may be a string, too."""
    assert config(webhook_dag_id="all").dag_for("registration_submitted") == "all"
    by_event = '{"registration_submitted": "files", "*": "rest"}'
    for value in (by_event, json.loads(by_event)):
        found = config(webhook_dag_id=value)
        assert found.dag_for("registration_submitted") == "files"
        assert found.dag_for("registration_drafts_submitted") == "rest"
    only = config(webhook_dag_id='{"registration_submitted": "files"}')
    assert only.dag_for("registration_drafts_submitted") == ""


@pytest.mark.parametrize("empty", [None, "", {}])
def test_a_connection_without_a_secret_receives_nothing(empty):
    """Whatever else is set. The form stores empty fields as null or ""."""
    extra = {"webhook_secret": empty or "", "webhook_dag_id": "files"}
    assert WebhookConfig.from_fields(ConnectionFields("k", extra=extra)) is None


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({}, "webhook_dag_id or webhook_asset must be set"),
        ({"webhook_dag_id": " "}, "webhook_dag_id or webhook_asset must be set"),
        ({"webhook_dag_id": "files", "webhook_asset": "a"}, "and not both"),
        ({"webhook_dag_id": '{"record_deleted": "files"}'}, "unknown events record_deleted; known events"),
        ({"webhook_dag_id": "{broken"}, "JSON object"),
        ({"webhook_dag_id": ["files"]}, "JSON object"),
        ({"webhook_asset": 7}, "webhook_asset"),
        ({"webhook_dag_id": "files", "webhook_format": "rsa"}, "webhook_format"),
    ],
)
def test_an_invalid_field_is_named_without_its_value(extra, message):
    """For the log of the API server."""
    with pytest.raises(InvalidConnection, match=message) as caught:
        config(**extra)
    assert SECRET not in str(caught.value)


# --- looking up connections


def test_unverified_lookups_do_not_delay_verified_ones(monkeypatch):
    """While all slots for unverified ids are blocked, a verified connection is still loaded."""
    monkeypatch.setattr(webhook_config, "MAX_UNVERIFIED", 50)
    blocked = threading.Event()

    def load(conn_id):
        if conn_id == "k":
            return config(webhook_dag_id="files")
        blocked.wait(30)
        return None

    monkeypatch.setattr(webhook_config, "load_webhook_config", load)

    async def scenario():
        cache = WebhookConfigCache(cache_seconds=0.0)
        try:
            assert await cache.get("k") is not None
            cache.mark_verified("k")
            flood = [asyncio.create_task(cache.get(f"name-{number}")) for number in range(200)]
            await asyncio.sleep(0)
            assert await asyncio.wait_for(cache.get("k"), 20) is not None
            assert not any(each.done() for each in flood)
        finally:
            blocked.set()
        assert await asyncio.gather(*flood) == [None] * 200
        return len(cache._lookups)

    assert asyncio.run(scenario()) <= 51


def test_spellings_of_an_id_do_not_fill_the_memory(monkeypatch):
    """All of them are found in the environment. The limit of unauthenticated requests is the same for all."""
    monkeypatch.setattr(webhook_config, "MAX_UNVERIFIED", 50)
    monkeypatch.setattr(webhook_config, "load_webhook_config", lambda conn_id: config(webhook_dag_id="files"))

    async def scenario():
        cache = WebhookConfigCache()
        for number in range(300):
            spelling = "".join(c.upper() if number >> at & 1 else c for at, c in enumerate("kaleidosco"))
            assert await cache.get(spelling) is not None
        return len(cache._lookups)

    assert asyncio.run(scenario()) <= 50
    limits = RateLimiter(unauthenticated=Rate(1.0, 1.0))
    assert limits.take("signed", authenticated=False) == 0.0
    assert limits.take("SIGNED", authenticated=False) > 0


# --- single flight


def test_a_call_serves_only_requests_from_before_it_began():
    """A request during a call gets the next one, with all others that wait for it."""

    async def scenario():
        begun, gate = [], asyncio.Event()
        started = {"a": asyncio.Event(), "b": asyncio.Event()}

        async def fetch(key):
            begun.append(key)
            number = begun.count(key)
            started[key].set()
            await gate.wait()
            return number

        flight = SingleFlight(fetch)
        early = [asyncio.create_task(flight.get("a")) for _ in range(5)]
        await started["a"].wait()
        late = [asyncio.create_task(flight.get("a")) for _ in range(5)]
        other = asyncio.create_task(flight.get("b"))
        await started["b"].wait()
        gate.set()
        results = await asyncio.gather(*early), await asyncio.gather(*late), await other
        return results, begun

    (early, late, other), begun = asyncio.run(scenario())
    assert (early, late, other) == ([1] * 5, [2] * 5, 1)
    assert sorted(begun) == ["a", "a", "b"]


def test_an_error_is_raised_for_all_who_wait_and_not_later():
    """A call that failed is over."""
    results = [ServerError("500", status=500), "ok"]

    async def fetch(key):
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    async def scenario():
        flight = SingleFlight(fetch)
        first = await asyncio.gather(flight.get("a"), flight.get("a"), return_exceptions=True)
        return first, await flight.get("a")

    first, second = asyncio.run(scenario())
    assert [type(each) for each in first] == [ServerError, ServerError]
    assert second == "ok"


def test_waiting_has_a_timeout():
    """A call for which nobody waits any more is cancelled: those after it do not wait for it."""

    async def scenario():
        gates = [asyncio.Event(), asyncio.Event()]
        gates[1].set()
        cancelled = []

        async def fetch(key):
            try:
                await gates.pop(0).wait()
            except asyncio.CancelledError:
                cancelled.append(key)
                raise
            return "ok"

        flight = SingleFlight(fetch)
        with pytest.raises(Unreachable, match=r"no response within 0\.01 s"):
            await flight.get("a", timeout=0.01)
        result = await flight.get("a")
        return result, cancelled, len(flight._running) + len(flight._next) + len(flight._waiting)

    assert asyncio.run(scenario()) == ("ok", ["a"], 0)


def test_calls_that_nobody_waits_for_do_not_begin():
    """A service that never responds occupies the calls; those that waited for one of them have left."""

    async def scenario():
        begun = []

        async def fetch(key):
            begun.append(key)
            await asyncio.Event().wait()

        flight = SingleFlight(fetch, max_concurrent=1)
        first = asyncio.create_task(flight.get("a", timeout=0.05))
        second = [asyncio.create_task(flight.get(key, timeout=0.01)) for key in ("b", "c")]
        results = await asyncio.gather(first, *second, return_exceptions=True)
        await asyncio.sleep(0)
        return begun, [type(each) for each in results], len(flight._running) + len(flight._next)

    assert asyncio.run(scenario()) == (["a"], [Unreachable] * 3, 0)


# --- rate limits


@pytest.fixture
def clock(monkeypatch):
    """The time as the rate limiter reads it. It stands still unless a test advances it."""
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(rate_limit, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def test_a_bucket_fills_again(clock):
    """A burst, then a rate; and it says when there is a token."""
    bucket = TokenBucket(Rate(per_second=2.0, burst=3.0))
    assert [bucket.take() for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    clock.seconds += 0.5
    assert [bucket.take(), bucket.take()] == [0.0, 0.5]
    clock.seconds += 3600
    assert [bucket.take() for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


def test_unauthenticated_requests_have_a_bucket_of_their_own(clock):
    """Each connection has two buckets."""
    limits = RateLimiter(authenticated=Rate(1.0, 1.0), unauthenticated=Rate(1.0, 2.0))
    assert [limits.take("k", authenticated=False) > 0 for _ in range(4)] == [False, False, True, True]
    assert limits.take("k", authenticated=True) == 0.0
    assert limits.take("k", authenticated=True) > 0
    assert limits.take("other", authenticated=False) == 0.0


RIGHT, WRONG = SECRET, another_secret()


@pytest.fixture
def receiver(monkeypatch):
    """The receiver's routes. Connection k receives, and Kaleidoscope lists nothing, so valid deliveries get a 409."""

    async def list_nothing(_key):
        return []

    monkeypatch.setattr(webhook_config, "load_webhook_config", lambda conn_id: config(webhook_dag_id="files"))
    monkeypatch.setattr(webhook_receiver, "list_registrations", list_nothing)
    app = FastAPI()
    app.include_router(webhook_receiver.create_router())
    return app


def deliver(app, secret, times):
    """Deliver the same event so often. Return the statuses, and all Retry-After headers of 429 responses."""
    event = {"event": "registration_submitted", "operation_id": "op-1", "file_id": "f-1", "file_name": "plate.csv"}
    content = json.dumps(event).encode()
    headers = {"Content-Type": "application/json", **signed_headers(content, secret)}

    async def scenario():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://airflow") as client:
            posts = (client.post("/webhooks/kaleidoscope/k", content=content, headers=headers) for _ in range(times))
            return [await each for each in posts]

    responses = asyncio.run(scenario())
    statuses = [response.status_code for response in responses]
    return statuses, {response.headers.get("Retry-After") for response in responses if response.status_code == 429}


@pytest.mark.parametrize(("secret", "status", "burst", "rate"), [(RIGHT, 409, 300, 100), (WRONG, 401, 20, 5)])
def test_senders_are_rate_limited(receiver, clock, secret, status, burst, rate):
    """Retry-After is honest: a request that comes then is processed."""
    assert deliver(receiver, secret, burst + 7) == ([status] * burst + [429] * 7, {"1"})
    clock.seconds += 1.0
    assert deliver(receiver, secret, rate + 7) == ([status] * rate + [429] * 7, {"1"})
    clock.seconds += 3600.0
    assert deliver(receiver, secret, burst + 1)[0] == [status] * burst + [429]


def test_unauthenticated_requests_do_not_slow_down_the_sender(receiver, clock):
    """However many of them are rejected at the same moment."""
    assert deliver(receiver, WRONG, 100)[0] == [401] * 20 + [429] * 80
    assert deliver(receiver, RIGHT, 1)[0] == [409]


# --- the log


REJECTED = "Webhook 'msg_1' for connection 'k' from 127.0.0.1 rejected with "
NOT_CONFIRMED = (
    "409 Conflict: not confirmed: Kaleidoscope does not list registration_submitted of file f-1 in operation op-1 "
    "(nothing was started; the sender was asked to retry in 5 s)"
)
NOT_AUTHENTICATED = "401 Unauthorized: wrong signature in header webhook-signature"


@pytest.mark.parametrize(("secret", "reason"), [(RIGHT, NOT_CONFIRMED), (WRONG, NOT_AUTHENTICATED)])
def test_a_rejection_is_one_line_in_the_log(receiver, clock, caplog, secret, reason):
    """With the connection, the sender, the reason, and what happens next."""
    deliver(receiver, secret, 1)
    lines = [each.getMessage() for each in caplog.records if each.name == webhook_receiver.__name__]
    assert lines == [REJECTED + reason]
