"""`POST /sluice/webhooks/kaleidoscope/{conn_id}`: takes Kaleidoscope's webhooks and starts what the connection says.

A delivery is judged in this order, and nothing is started before all of it is well. A refusal is one line in the log.

    404  the connection is unknown, or receives nothing: nobody can tell which
    400  it is not whole
    401  it brings no secret or signature, or a wrong one, or its timestamp is too old
    429  too many; Retry-After says when to come back. Strangers are counted apart from the sender
    413  the body is longer than `LARGEST`, whatever its Content-Length says
    408  the body did not come in time
    415  it is not called JSON
    400  it is not JSON, or no object
    422  the event is unknown; an id is missing or malformed
    409  Kaleidoscope's API does not list what it announces: it is not true, or not yet
    503  Kaleidoscope's API cannot be asked, or Airflow cannot take the event (no such DAG, database busy), or nobody
         has foreseen what went wrong: come back
    200  started, and committed; or it was started before; or it needs no start, as the API says that it is over, or as
         the connection names no DAG for such events

Everything but 200 is to be delivered again, which is harmless whenever it happens: a redelivery finds the run that it
started before, in the database, whichever process of the API server gets it. If somebody has deleted that run, it is
started anew if the registration still waits for results, and not otherwise.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
import traceback
from collections.abc import Coroutine
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from sluice_provider.errors import (
    AuthenticationFailed,
    Conflict,
    InvalidInput,
    NotFound,
    SluiceError,
    TooLarge,
    UnexpectedResponse,
)
from sluice_provider.plugin.dispatch import Done, NotReady, act
from sluice_provider.plugin.single_flight import Place, Shared, look
from sluice_provider.plugin.webhook_config import Door, Doors, Limits
from sluice_provider.webhooks.kaleidoscope import SUBMITTED, Announcement, Registered, announced, confirmed
from sluice_provider.webhooks.verify import glance, verify

T = TypeVar("T")

log = logging.getLogger(__name__)

LARGEST = 1024 * 1024
"""Bytes of a body: ids of some 25,000 records."""

BODY_SECONDS = DATABASE_SECONDS = 10.0

SOON, LATER = 5.0, 30.0
"""Seconds after which to come back: for what passes by itself, and for what somebody must do something about."""

OVER = "over"


class Answer(NamedTuple):
    """What a delivery is answered.

    :param why: for the log, and for a sender who has proved to be one
    """

    status: HTTPStatus
    why: str
    retry_after: float = 0.0
    done: tuple[Done, ...] = ()
    secret: bool = False
    """The sender is not told why."""

    def response(self) -> JSONResponse:
        content: dict[str, Any] = {"status": self.status.phrase if self.secret else self.why}
        if self.done:
            content["events"] = [{"outcome": each.outcome, "what": each.what} for each in self.done]
        headers = {"Retry-After": str(math.ceil(self.retry_after))} if self.retry_after else None
        return JSONResponse(content, self.status.value, headers)


class Refused(Exception):
    """A delivery goes no further."""

    def __init__(self, status: HTTPStatus, why: str, retry_after: float = 0.0, *, secret: bool = False) -> None:
        super().__init__(why)
        self.answer = Answer(status, why, retry_after, secret=secret)


class Receiver:
    """Takes deliveries, in one process of the API server."""

    def __init__(self) -> None:
        self._doors = Doors()
        self._limits = Limits()
        self._looks: Shared[list[Registered]] = Shared(look)

    async def receive(self, conn_id: str, request: Request) -> Answer:
        """Judge one delivery, and act on it."""
        try:
            door = await self._door(conn_id)
            said = _read(request, await self._checked(door, request))
            wanted = await self._confirmed(door, said)
            return await self._acted(door, said, wanted)
        except Refused as refused:
            return refused.answer
        except Exception as error:  # noqa: BLE001 - nothing was started that a second delivery would start twice
            why = f"nobody has foreseen this: {type(error).__name__}"  # its text may hold a secret
            answer = self._turned_away(HTTPStatus.SERVICE_UNAVAILABLE, why, retry_after=LATER).answer
            if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
                log.error("Where it happened:\n%s", "".join(traceback.format_tb(error.__traceback__)))
            return answer

    def _turned_away(self, status: HTTPStatus, why: str, conn_id: str = "", retry_after: float = 0.0) -> Refused:
        """A stranger is not told why, and slowed down; all who try names that are no doors as if they were one."""
        if wait := self._limits.take(conn_id, known=False):
            return Refused(HTTPStatus.TOO_MANY_REQUESTS, f"{why}, too often", wait, secret=True)
        return Refused(status, why, retry_after, secret=True)

    async def _door(self, conn_id: str) -> Door:
        try:
            door = await _in_time(self._doors.find(conn_id))
        except Exception as error:  # noqa: BLE001 - of whatever keeps connections for this Airflow
            why = f"it could not be looked up: {type(error).__name__}"
            raise self._turned_away(HTTPStatus.SERVICE_UNAVAILABLE, why, retry_after=LATER) from None
        if door is None:
            raise self._turned_away(HTTPStatus.NOT_FOUND, "no such connection, or it receives nothing")
        return door

    async def _checked(self, door: Door, request: Request) -> bytes:
        """The body, from a sender who knows the secret."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            glance(door.seal, headers, time.time())
            body = await _body(request)
            verify(door.seal, headers, body, time.time())
        except AuthenticationFailed as error:
            raise self._turned_away(HTTPStatus.UNAUTHORIZED, str(error), door.conn_id) from None
        except ClientDisconnect:
            raise self._turned_away(HTTPStatus.BAD_REQUEST, "its sender hung up", door.conn_id) from None
        self._doors.prove(door.conn_id)
        if wait := self._limits.take(door.conn_id, known=True):
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, "too many deliveries", wait)
        return body

    async def _confirmed(self, door: Door, said: Announcement) -> list[Registered]:
        """What the API knows of it."""
        place = Place(door.conn_id, said.operation_id, said.event != SUBMITTED)
        try:
            return confirmed(said, await self._looks.look(place))
        except (Conflict, NotFound) as error:
            raise Refused(HTTPStatus.CONFLICT, str(error), SOON) from None
        except SluiceError as error:
            why = f"Kaleidoscope's API could not be asked: {type(error).__name__}: {error}"
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, why, max(SOON, error.retry_after or 0.0)) from None

    async def _acted(self, door: Door, said: Announcement, wanted: list[Registered]) -> Answer:
        at = datetime.now(timezone.utc).isoformat(timespec="seconds")
        waiting = [each for each in wanted if not each.over]
        if not waiting:
            return Answer(HTTPStatus.OK, f"{said} is over", done=(Done(OVER, wanted[0].status),))
        events = [
            each.to_event(door.conn_id, at, file_name=said.file_name, records=said.record_ids) for each in waiting
        ]
        try:
            done = [await _in_time(asyncio.to_thread(act, door, event)) for event in events]
        except NotReady as error:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, f"Airflow is not ready for it: {error}", LATER) from None
        return Answer(HTTPStatus.OK, str(said), done=tuple(done))


async def _in_time(work: Coroutine[Any, Any, T]) -> T:
    """What it gives, unless Airflow's database is late: then it goes on, and a redelivery finds what it did."""
    try:
        return await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(work)), DATABASE_SECONDS)
    except (asyncio.TimeoutError, TimeoutError):
        raise NotReady(f"its database was not heard of in {DATABASE_SECONDS:.0f} s") from None


async def _body(request: Request) -> bytes:
    """What came, counted while it comes."""
    try:
        return await asyncio.wait_for(_collected(request), BODY_SECONDS)
    except TooLarge as error:
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(error)) from None
    except (asyncio.TimeoutError, TimeoutError):
        raise Refused(HTTPStatus.REQUEST_TIMEOUT, f"its body did not come in {BODY_SECONDS:.0f} s") from None


async def _collected(request: Request) -> bytes:
    pieces = bytearray()
    async for piece in request.stream():
        pieces += piece
        if len(pieces) > LARGEST:
            raise TooLarge(f"its body is longer than {LARGEST} bytes")
    return bytes(pieces)


def _read(request: Request, body: bytes) -> Announcement:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "its Content-Type is not application/json")
    try:
        return announced(body)
    except UnexpectedResponse as error:
        raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from None
    except InvalidInput as error:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None


def create_router() -> APIRouter:
    """The route, with a receiver of its own."""
    router, receiver = APIRouter(), Receiver()

    @router.post("/webhooks/kaleidoscope/{conn_id}")
    @router.post("/webhooks/kaleidoscope/{conn_id}/")  # else it would be a redirect, maybe to http, with the secret
    async def receive(conn_id: str, request: Request) -> JSONResponse:
        answer = await receiver.receive(conn_id, request)
        _note(conn_id, request, answer)
        return answer.response()

    return router


def _note(conn_id: str, request: Request, answer: Answer) -> None:
    """One line. Floods are not worth one each, and nobody chooses what it looks like."""
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        level = logging.DEBUG
    elif answer.status == HTTPStatus.OK:
        level = logging.INFO
    else:
        level = logging.ERROR if answer.status == HTTPStatus.SERVICE_UNAVAILABLE else logging.WARNING
    came = request.client.host if request.client else "?"
    done = "; ".join(f"{each.outcome}: {each.what}" for each in answer.done)
    words = (f"{conn_id!r:.100}", came, answer.status.value, answer.why, f": {done}" if done else "")
    log.log(level, "Webhook for %s from %s: %s, %s%s", *words)
