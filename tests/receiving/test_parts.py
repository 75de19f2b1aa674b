"""The receiver's parts that need no server: whom a connection lets in, how looks are shared, who is slowed down."""

from __future__ import annotations

import asyncio
import json
import time
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI

from sluice_provider.errors import InvalidConnection, ServerError, Unreachable
from sluice_provider.http.client_config import ConnectionFields
from sluice_provider.plugin import webhook_config as doors
from sluice_provider.plugin import webhook_receiver as receiving
from sluice_provider.plugin.single_flight import Place, Shared
from sluice_provider.plugin.webhook_config import Bucket, Doors, Limits, door

SECRET = "the-secret-of-the-webhook"
HERE, THERE = Place("k", "op-1", False), Place("k", "op-2", False)


def fields(**extra):
    """A connection with this extra."""
    return ConnectionFields("k", extra={"webhook_secret": SECRET, **extra})


# --- what a connection says


def test_one_dag_for_all_events_or_one_for_each():
    """As text, or as a JSON object, also in a text field of the form."""
    assert door(fields(webhook_dag_id="all")).dag_for("registration_submitted") == "all"
    each = '{"registration_submitted": "files", "*": "rest"}'
    for given in (each, {"registration_submitted": "files", "*": "rest"}):
        found = door(fields(webhook_dag_id=given))
        assert found.dag_for("registration_submitted") == "files"
        assert found.dag_for("registration_drafts_submitted") == "rest"
    only = door(fields(webhook_dag_id='{"registration_submitted": "files"}'))
    assert only.dag_for("registration_drafts_submitted") == ""


@pytest.mark.parametrize("empty", [None, "", {}])
def test_without_a_secret_nothing_is_received(empty):
    """Whatever else is there; the form leaves null and empty texts."""
    assert door(ConnectionFields("k", extra={"webhook_secret": empty or "", "webhook_dag_id": "files"})) is None


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({}, "webhook_dag_id"),
        ({"webhook_dag_id": " "}, "webhook_dag_id"),
        ({"webhook_dag_id": "files", "webhook_asset": "a"}, "one of them"),
        ({"webhook_dag_id": '{"record_deleted": "files"}'}, "record_deleted"),
        ({"webhook_dag_id": "{broken"}, "JSON object"),
        ({"webhook_dag_id": ["files"]}, "JSON object"),
        ({"webhook_asset": 7}, "webhook_asset"),
        ({"webhook_dag_id": "files", "webhook_signing": "rsa"}, "webhook_signing"),
    ],
)
def test_a_wrong_field_is_named_without_its_value(extra, words):
    """For the log of the API server."""
    with pytest.raises(InvalidConnection, match=words) as told:
        door(fields(**extra))
    assert SECRET not in str(told.value)


# --- looking connections up


def test_a_flood_of_names_keeps_nobody_out(monkeypatch):
    """A door that somebody came through is found again at once, while strange names wait for each other."""
    monkeypatch.setattr(doors, "MANY", 50)

    def look_up(conn_id):
        if conn_id != "k":
            time.sleep(0.02)
        return door(fields(webhook_dag_id="files")) if conn_id == "k" else None

    monkeypatch.setattr(doors, "_look_up", look_up)

    async def scenario():
        found = Doors(remembered=0.0)
        assert await found.find("k") is not None
        found.prove("k")
        flood = [asyncio.create_task(found.find(f"name-{number}")) for number in range(200)]
        await asyncio.sleep(0.05)
        started = time.monotonic()
        assert await found.find("k") is not None
        waited = time.monotonic() - started
        assert not all(each.done() for each in flood)
        assert await asyncio.gather(*flood) == [None] * 200
        return waited, len(found._known)

    waited, remembered = asyncio.run(scenario())
    assert waited < 0.3
    assert remembered <= 51


def test_the_ways_to_write_a_name_do_not_fill_the_memory(monkeypatch):
    """All of them are found in the environment; and strangers at one are strangers at all."""
    monkeypatch.setattr(doors, "MANY", 50)
    monkeypatch.setattr(doors, "_look_up", lambda conn_id: door(fields(webhook_dag_id="files")))

    async def scenario():
        found = Doors()
        for number in range(300):
            name = "".join(c.upper() if number >> at & 1 else c for at, c in enumerate("kaleidosco"))
            assert await found.find(name) is not None
        return len(found._known)

    assert asyncio.run(scenario()) <= 50
    limits = Limits(strangers=(1.0, 1.0))
    assert limits.take("signed", known=False) == 0.0
    assert limits.take("SIGNED", known=False) > 0


# --- sharing looks


def test_a_look_serves_only_those_who_came_before_it_began():
    """Who comes while one is under way gets the next, with all others who wait for that."""
    begun = []

    async def look(place):
        begun.append(place)
        await asyncio.sleep(0.05)
        return len(begun)

    async def scenario():
        shared = Shared(look)
        early = [asyncio.create_task(shared.look(HERE)) for _ in range(5)]
        await asyncio.sleep(0.01)
        late = [asyncio.create_task(shared.look(HERE)) for _ in range(5)]
        elsewhere = asyncio.create_task(shared.look(THERE))
        await asyncio.gather(*early, *late, elsewhere)
        return [task.result() for task in early], [task.result() for task in late]

    early, late = asyncio.run(scenario())
    assert early == [1] * 5 or early == [2] * 5
    assert len(set(late)) == 1
    assert late != early
    assert begun.count(HERE) == 2
    assert begun.count(THERE) == 1


def test_a_bad_look_is_told_to_all_and_not_to_the_next():
    """A look that failed is over."""
    answers = [ServerError("500", status=500), "well"]

    async def look(place):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def scenario():
        shared = Shared(look)
        first = await asyncio.gather(shared.look(HERE), shared.look(HERE), return_exceptions=True)
        return first, await shared.look(HERE)

    first, second = asyncio.run(scenario())
    assert [type(each) for each in first] == [ServerError, ServerError]
    assert second == "well"


def test_nobody_waits_for_ever():
    """The sender is told to come back; the look goes on for whoever comes then."""

    async def look(place):
        await asyncio.sleep(0.3)

    async def scenario():
        shared = Shared(look)
        with pytest.raises(Unreachable, match="not heard of"):
            await shared.look(HERE, timeout=0.05)
        await shared.look(HERE)

    asyncio.run(scenario())


# --- how often


def test_a_bucket_fills_again(monkeypatch):
    """So many at once, then so many a second; and it says when."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    bucket = Bucket(rate=2.0, burst=3.0)
    assert [bucket.take() for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    now[0] += 0.5
    assert [bucket.take(), bucket.take()] == [0.0, 0.5]
    now[0] += 3600
    assert [bucket.take() for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


def test_strangers_do_not_use_up_what_the_sender_has():
    """Each connection has two buckets."""
    limits = Limits(known=(1.0, 1.0), strangers=(1.0, 2.0))
    assert [limits.take("k", known=False) > 0 for _ in range(4)] == [False, False, True, True]
    assert limits.take("k", known=True) == 0.0
    assert limits.take("k", known=True) > 0
    assert limits.take("other", known=False) == 0.0


SENDER, STRANGER = SECRET, "wrong-but-long-enough"


@pytest.fixture
def clock(monkeypatch):
    """What the rate limiter takes for the time. It stands still unless a test moves it."""
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(doors, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


@pytest.fixture
def receiver(monkeypatch):
    """The receiver's routes. Connection k receives, and Kaleidoscope lists nothing: what is taken ends in 409."""

    async def look(_place):
        return []

    monkeypatch.setattr(doors, "_look_up", lambda conn_id: door(fields(webhook_dag_id="files")))
    monkeypatch.setattr(receiving, "look", look)
    app = FastAPI()
    app.include_router(receiving.create_router())
    return app


def knock(app, secret, times):
    """Deliver something so often. Return the statuses, and how long those who came too often are to wait."""
    event = {"event": "registration_submitted", "operation_id": "op-1", "file_id": "f-1", "file_name": "plate.csv"}
    headers = {"Content-Type": "application/json", "X-Sluice-Secret": secret}

    async def scenario():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://airflow") as client:
            posts = (
                client.post("/webhooks/kaleidoscope/k", content=json.dumps(event), headers=headers)
                for _ in range(times)
            )
            return [await each for each in posts]

    answers = asyncio.run(scenario())
    statuses = [answer.status_code for answer in answers]
    return statuses, {answer.headers.get("Retry-After") for answer in answers if answer.status_code == 429}


@pytest.mark.parametrize(("secret", "status", "burst", "rate"), [(SENDER, 409, 300, 100), (STRANGER, 401, 20, 5)])
def test_a_sender_gone_wild_is_slowed_down(receiver, clock, secret, status, burst, rate):
    """And told when to come back; what it was told 429 for is taken then."""
    assert knock(receiver, secret, burst + 7) == ([status] * burst + [429] * 7, {"1"})
    clock.seconds += 1.0
    assert knock(receiver, secret, rate + 7) == ([status] * rate + [429] * 7, {"1"})
    clock.seconds += 3600.0
    assert knock(receiver, secret, burst + 1)[0] == [status] * burst + [429]


def test_a_sender_does_not_wait_for_strangers(receiver, clock):
    """However many of these have come too often at the same moment."""
    assert knock(receiver, STRANGER, 100)[0] == [401] * 20 + [429] * 80
    assert knock(receiver, SENDER, 1)[0] == [409]
