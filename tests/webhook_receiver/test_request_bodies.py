"""Bodies of webhooks while they arrive: how many, and how much memory they may take, whoever sends them."""

from __future__ import annotations

import asyncio

import pytest
from fastapi import Request

from sluice_provider.errors import RateLimited, TooLarge, Unreachable
from sluice_provider.plugin import request_bodies
from sluice_provider.plugin.request_bodies import RequestBodies


class Sender:
    """A request whose body is sent in pieces, and whose end a test decides."""

    def __init__(self, *pieces: bytes) -> None:
        self.request = Request({"type": "http", "method": "POST", "path": "/", "headers": []}, self._receive)
        self._pieces = list(pieces)
        self.end = asyncio.Event()

    async def _receive(self):
        if self._pieces:
            return {"type": "http.request", "body": self._pieces.pop(0), "more_body": True}
        await self.end.wait()
        return {"type": "http.request", "body": b"", "more_body": False}


async def until_idle():
    """Everything that can go on without another event has gone on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def send(bodies, *senders):
    """Tasks that read these bodies, which have begun one after the other."""
    tasks = []
    for sender in senders:
        tasks.append(asyncio.create_task(bodies.read(sender.request)))
        await until_idle()
    return tasks


def test_a_body_that_arrives_in_pieces():
    """Nothing of it is kept."""

    async def scenario():
        bodies, sender = RequestBodies(), Sender(b"12", b"345")
        [task] = await send(bodies, sender)
        sender.end.set()
        return await task, bodies._size, len(bodies._arriving)

    assert asyncio.run(scenario()) == (b"12345", 0, 0)


def test_the_oldest_of_too_many_is_dropped(monkeypatch):
    """Strangers with half-sent bodies keep nobody else's from arriving."""
    monkeypatch.setattr(request_bodies, "MAX_BODIES", 3)

    async def scenario():
        bodies, senders = RequestBodies(), [Sender(b"x") for _ in range(4)]
        tasks = await send(bodies, *senders)
        senders[3].end.set()
        with pytest.raises(RateLimited, match="more than 3 bodies"):
            await tasks[0]
        result = await tasks[3]
        left = [task.done() for task in tasks[1:3]]
        for sender in senders:
            sender.end.set()
        await asyncio.gather(*tasks[1:3])
        return result, left, bodies._size, len(bodies._arriving)

    assert asyncio.run(scenario()) == (b"x", [False, False], 0, 0)


def test_the_memory_of_all_bodies_is_limited(monkeypatch):
    """Again the oldest make room, as many as are needed."""
    monkeypatch.setattr(request_bodies, "MAX_TOTAL_BYTES", 100)

    async def scenario():
        bodies, senders = RequestBodies(), [Sender(bytes(40)), Sender(bytes(40)), Sender(bytes(90))]
        tasks = await send(bodies, *senders)
        senders[2].end.set()
        errors = await asyncio.gather(*tasks[:2], return_exceptions=True)
        return [type(each) for each in errors], len(await tasks[2]), bodies._size

    assert asyncio.run(scenario()) == ([RateLimited, RateLimited], 90, 0)


def test_one_body_that_is_more_than_all_may_be(monkeypatch):
    """It is the oldest itself."""
    monkeypatch.setattr(request_bodies, "MAX_TOTAL_BYTES", 100)

    async def scenario():
        bodies = RequestBodies()
        with pytest.raises(RateLimited, match="more than 100 bytes"):
            await bodies.read(Sender(bytes(101)).request)
        return bodies._size

    assert asyncio.run(scenario()) == 0


def test_a_long_body(monkeypatch):
    """Counted as it arrives."""
    monkeypatch.setattr(request_bodies, "MAX_BODY_BYTES", 100)

    async def scenario():
        bodies = RequestBodies()
        with pytest.raises(TooLarge, match="longer than 100 bytes"):
            await bodies.read(Sender(bytes(60), bytes(60)).request)
        return bodies._size

    assert asyncio.run(scenario()) == 0


def test_a_slow_body(monkeypatch):
    """It is not waited for."""
    monkeypatch.setattr(request_bodies, "BODY_TIMEOUT", 0.01)

    async def scenario():
        bodies = RequestBodies()
        with pytest.raises(Unreachable, match="within 0"):
            await bodies.read(Sender(b"x").request)
        return bodies._size, len(bodies._arriving)

    assert asyncio.run(scenario()) == (0, 0)


def test_a_receiver_that_is_stopped():
    """A request that is cancelled is no dropped one."""

    async def scenario():
        bodies = RequestBodies()
        [task] = await send(bodies, Sender(b"x"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return bodies._size, len(bodies._arriving)

    assert asyncio.run(scenario()) == (0, 0)
