"""`POST /sluice/webhooks/kaleidoscope/{conn_id}`: receives Kaleidoscope's webhooks and starts what is configured.

The checks of a delivery, in this order; nothing is started unless all of them pass. A rejection is one line in the log.

    404  the connection does not exist, or receives no webhooks; the response is the same for both
    400  the request is truncated
    401  secret or signature is missing or wrong, or the timestamp is too old
    429  too many requests; Retry-After says when to retry. Unauthenticated requests have a limit of their own
    413  the body is longer than `MAX_BODY_BYTES`, whatever its Content-Length says
    408  the body did not arrive in time
    415  the content type is not JSON
    400  the body is not JSON, or not an object
    422  the event is unknown; an id is missing or malformed
    409  Kaleidoscope's API does not list the registration: it does not exist, or not yet
    503  too many bodies were arriving, and this one for the longest time; Kaleidoscope's API is unreachable; Airflow
         cannot take the event (no such DAG, database busy); or an unexpected error: retry later
    200  started, and committed; or started before; or there is nothing to start, as the registration has its results or
         the connection has no DAG for such events

The sender is expected to deliver everything but 200 again. That is always safe: a repeated delivery finds in the
database the run that was started before, whichever process of the API server receives it. If that run was deleted, it
is started again if the registration still waits for results, and not otherwise.
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
    RateLimited,
    SluiceError,
    TooLarge,
    UnexpectedResponse,
    Unreachable,
)
from sluice_provider.hooks.kaleidoscope import KaleidoscopeHook
from sluice_provider.http.polling import sleep_budget
from sluice_provider.plugin.dispatch import AirflowNotReady, DispatchResult, Outcome, dispatch
from sluice_provider.plugin.rate_limit import RateLimiter
from sluice_provider.plugin.request_bodies import RequestBodies
from sluice_provider.plugin.single_flight import SingleFlight
from sluice_provider.plugin.webhook_config import WebhookConfig, WebhookConfigCache
from sluice_provider.webhooks.kaleidoscope import (
    SUBMITTED,
    Registration,
    RegistrationList,
    WebhookPayload,
    matching_registrations,
    parse_payload,
)
from sluice_provider.webhooks.verify import ID_HEADER, check_headers, verify

T = TypeVar("T")

log = logging.getLogger(__name__)

DATABASE_TIMEOUT = 10.0
"""Seconds."""

RETRY_SOON, RETRY_LATER = 5.0, 30.0
"""Retry-After in seconds: for transient problems, and for those that need a person."""

SLEEP_BUDGET = 3.0
"""Seconds in all between the attempts of a request to Kaleidoscope: the sender is waiting, and retries itself."""


class WebhookResponse(NamedTuple):
    """The response to a delivery.

    :param detail: for the log, and for an authenticated sender
    :param retry_after: seconds
    :param confidential: the sender is not authenticated and is not told the detail
    """

    status: HTTPStatus
    detail: str
    retry_after: float = 0.0
    results: tuple[DispatchResult, ...] = ()
    confidential: bool = False

    def to_json_response(self) -> JSONResponse:
        content: dict[str, Any] = {"detail": self.status.phrase if self.confidential else self.detail}
        if self.results:
            content["events"] = [{"outcome": each.outcome.value, "detail": each.detail} for each in self.results]
        headers = {"Retry-After": str(math.ceil(self.retry_after))} if self.retry_after else None
        return JSONResponse(content, self.status.value, headers)


class Rejected(Exception):
    """A delivery is not processed any further."""

    def __init__(
        self, status: HTTPStatus, detail: str, retry_after: float = 0.0, *, confidential: bool = False
    ) -> None:
        super().__init__(detail)
        self.response = WebhookResponse(status, detail, retry_after, confidential=confidential)


class ListKey(NamedTuple):
    """A list of the API, and the connection to read it with."""

    conn_id: str
    list: RegistrationList


async def list_registrations(key: ListKey) -> list[Registration]:
    """The registrations of an operation, by file or by drafts."""
    hook = KaleidoscopeHook(key.conn_id)
    endpoint = hook.get_registration_submissions if key.list.drafts else hook.get_registration_files
    return key.list.parse(await hook.arun(sleep_budget(endpoint.flow(key.list.operation_id), SLEEP_BUDGET)))


class WebhookReceiver:
    """Processes deliveries, in one process of the API server."""

    def __init__(self) -> None:
        self._configs = WebhookConfigCache()
        self._limits = RateLimiter()
        self._bodies = RequestBodies()
        self._registrations: SingleFlight[ListKey, list[Registration]] = SingleFlight(list_registrations)

    async def receive(self, conn_id: str, request: Request) -> WebhookResponse:
        """Check one delivery, and start what it is for."""
        try:
            config = await self._config(conn_id)
            payload = _parse(request, await self._authenticated_body(config, request))
            registrations = await self._confirm(config, payload)
            return await self._dispatch(config, payload, registrations)
        except Rejected as rejected:
            return rejected.response
        except Exception as error:  # noqa: BLE001 - nothing was started that a repeated delivery would start twice
            # The text of the error may hold a secret.
            detail = f"unexpected {type(error).__name__}, a bug in the provider; the API server's log has the traceback"
            response = self._reject_unauthenticated(
                HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after=RETRY_LATER
            ).response
            if response.status == HTTPStatus.SERVICE_UNAVAILABLE:
                frames = "".join(traceback.format_tb(error.__traceback__))
                log.error("Unexpected %s in the webhook receiver:\n%s", type(error).__name__, frames)
            return response

    def _reject_unauthenticated(
        self, status: HTTPStatus, detail: str, conn_id: str = "", retry_after: float = 0.0
    ) -> Rejected:
        """Unauthenticated senders are not told why, and are rate limited.

        :param conn_id: a connection that receives webhooks; all other ids share one limit
        """
        if wait := self._limits.take(conn_id, authenticated=False):
            detail = f"too many unauthenticated requests; the last one: {detail}"
            return Rejected(HTTPStatus.TOO_MANY_REQUESTS, detail, wait, confidential=True)
        return Rejected(status, detail, retry_after, confidential=True)

    async def _config(self, conn_id: str) -> WebhookConfig:
        try:
            config = await _within_timeout(self._configs.get(conn_id))
        except Exception as error:  # noqa: BLE001 - of any secrets backend
            # The text of an unknown error may hold a secret.
            reason = str(error) if isinstance(error, AirflowNotReady) else type(error).__name__
            detail = f"the connection could not be loaded, check it and the secrets backends: {reason}"
            raise self._reject_unauthenticated(
                HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after=RETRY_LATER
            ) from None
        if config is None:
            detail = "no Kaleidoscope connection with this id receives webhooks; set its webhook_secret to enable them"
            raise self._reject_unauthenticated(HTTPStatus.NOT_FOUND, detail)
        return config

    async def _authenticated_body(self, config: WebhookConfig, request: Request) -> bytes:
        """The body of a delivery by a sender that knows the secret."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            check_headers(config.secret, headers, time.time())
            body = await self._bodies.read(request)
            verify(config.secret, headers, body, time.time())
        except AuthenticationFailed as error:
            raise self._reject_unauthenticated(HTTPStatus.UNAUTHORIZED, str(error), config.conn_id) from None
        except ClientDisconnect:
            detail = "the sender disconnected before the end of the body"
            raise self._reject_unauthenticated(HTTPStatus.BAD_REQUEST, detail, config.conn_id) from None
        except TooLarge as error:
            raise Rejected(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(error)) from None
        except Unreachable as error:
            raise Rejected(HTTPStatus.REQUEST_TIMEOUT, str(error)) from None
        except RateLimited as error:
            raise self._reject_unauthenticated(
                HTTPStatus.SERVICE_UNAVAILABLE, str(error), config.conn_id, RETRY_SOON
            ) from None
        self._configs.mark_verified(config.conn_id)
        if wait := self._limits.take(config.conn_id, authenticated=True):
            raise Rejected(HTTPStatus.TOO_MANY_REQUESTS, "too many requests", wait)
        return body

    async def _confirm(self, config: WebhookConfig, payload: WebhookPayload) -> list[Registration]:
        """The registrations that the API lists for a delivery."""
        key = ListKey(config.conn_id, RegistrationList(payload.operation_id, payload.event != SUBMITTED))
        try:
            return matching_registrations(payload, await self._registrations.get(key))
        except (Conflict, NotFound) as error:
            raise Rejected(HTTPStatus.CONFLICT, f"not confirmed: {error}", RETRY_SOON) from None
        except SluiceError as error:
            detail = f"could not confirm {payload} with Kaleidoscope: {type(error).__name__}: {error}"
            retry_after = max(RETRY_SOON, error.retry_after or 0.0)
            raise Rejected(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after) from None

    async def _dispatch(
        self, config: WebhookConfig, payload: WebhookPayload, registrations: list[Registration]
    ) -> WebhookResponse:
        received_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
        unfinished = [each for each in registrations if not each.finished]
        if not unfinished:
            finished = DispatchResult(Outcome.FINISHED, f"its status is {registrations[0].status}")
            return WebhookResponse(HTTPStatus.OK, str(payload), results=(finished,))
        events = [
            each.to_event(config.conn_id, received_at, file_name=payload.file_name, record_ids=payload.record_ids)
            for each in unfinished
        ]
        try:
            results = [await _within_timeout(asyncio.to_thread(dispatch, config, event)) for event in events]
        except AirflowNotReady as error:
            raise Rejected(HTTPStatus.SERVICE_UNAVAILABLE, f"{payload}: {error}", RETRY_LATER) from None
        return WebhookResponse(HTTPStatus.OK, str(payload), results=tuple(results))


async def _within_timeout(work: Coroutine[Any, Any, T]) -> T:
    """Its result, unless Airflow's database is slow: then it goes on, and a repeated delivery finds what it did."""
    try:
        return await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(work)), DATABASE_TIMEOUT)
    except (asyncio.TimeoutError, TimeoutError):
        raise AirflowNotReady(f"Airflow's database did not respond within {DATABASE_TIMEOUT:g} s") from None


def _parse(request: Request, body: bytes) -> WebhookPayload:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise Rejected(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the Content-Type is not application/json")
    try:
        return parse_payload(body)
    except UnexpectedResponse as error:
        raise Rejected(HTTPStatus.BAD_REQUEST, str(error)) from None
    except InvalidInput as error:
        raise Rejected(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None


def create_router() -> APIRouter:
    """The route, with a receiver of its own."""
    router, receiver = APIRouter(), WebhookReceiver()

    @router.post("/webhooks/kaleidoscope/{conn_id}")
    @router.post("/webhooks/kaleidoscope/{conn_id}/")  # else it would be a redirect, maybe to http, with the secret
    async def receive(conn_id: str, request: Request) -> JSONResponse:
        response = await receiver.receive(conn_id, request)
        _log_delivery(conn_id, request, response)
        return response.to_json_response()

    return router


def _log_delivery(conn_id: str, request: Request, response: WebhookResponse) -> None:
    """One line, in which nothing can be forged. Rate-limited requests are logged at DEBUG level only."""
    status, webhook_id = response.status, request.headers.get(ID_HEADER)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        level = logging.DEBUG
    elif status == HTTPStatus.OK:
        level = logging.INFO
    else:
        level = logging.ERROR if status == HTTPStatus.SERVICE_UNAVAILABLE else logging.WARNING
    acceptance = "accepted" if status == HTTPStatus.OK else "rejected"
    client = request.client.host if request.client else "unknown address"
    outcome = "; ".join(f"{each.outcome.value}, {each.detail}" for each in response.results)
    if response.retry_after:
        outcome = f"nothing was started; the sender was asked to retry in {math.ceil(response.retry_after)} s"
    log.log(
        level,
        "Webhook%s for connection %s from %s %s with %d %s: %s%s",
        f" {webhook_id!r:.100}" if webhook_id else "",
        f"{conn_id!r:.100}",
        client,
        acceptance,
        status.value,
        status.phrase,
        response.detail,
        f": {outcome}" if response.results else f" ({outcome})" if outcome else "",
    )
