"""GraphQL over HTTP: one operation is one request; its response is a value or a typed error.

Retries follow the vendor's client (kili 26.2.4, `core/graphql/retry.py`). A query is retried a few times, fewer if each
attempt makes an overloaded server do the work again. A mutation is retried only if it certainly was not executed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sluice_provider.errors import (
    CLIENT_ERRORS,
    AuthenticationFailed,
    ClientError,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerError,
    SluiceError,
    StatusError,
    UnexpectedResponse,
    Unreachable,
)
from sluice_provider.http.flow import Flow, Request, Response
from sluice_provider.http.responses import error_from, retry_after
from sluice_provider.http.retry import RetryPolicy, send
from sluice_provider.redaction import excerpt

NOT_FORWARDED = r"no healthy upstream|reset reason: (?:overflow|(?:remote )?connection failure)"
"""Envoy's words in a 503 response if it could not forward the request. Unless it says "retried", nothing was
executed."""

TRANSIENT = r"Failed to fetch data connection|Invalid request made to Flagsmith API"
"""Transient errors of Kili's backend. The operation may have been executed in part."""

ERRORS_BY_CODE: Mapping[str, type[StatusError]] = {
    "UNAUTHENTICATED": AuthenticationFailed,
    "FORBIDDEN": PermissionDenied,
    "NOT_FOUND": NotFound,
    "INTERNAL_SERVER_ERROR": ServerError,
    **dict.fromkeys(("GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED", "BAD_USER_INPUT"), ClientError),
    **dict.fromkeys(("OPERATION_RESOLUTION_FAILURE", "BAD_REQUEST"), ClientError),
}
"""`extensions.code` as Apollo Server writes it. It takes precedence over the status: an invalid query may be answered
with status 500. With another code, or without one, the status decides."""


class GraphQLRetryPolicy(RetryPolicy):
    """The number of attempts depends on the error: a request that was not executed is retried for two minutes, one that
    exhausted the server is not retried."""

    __slots__ = ()

    def delay(self, error: SluiceError, attempt: int, elapsed: float = 0.0) -> float | None:
        return None if attempt >= _max_attempts(error) else super().delay(error, attempt, elapsed)


def _max_attempts(error: SluiceError) -> int:
    if isinstance(error, RateLimited) or not error.maybe_applied:
        return 8
    if isinstance(error, ServerError) and (error.status == 500 or error.code == "INTERNAL_SERVER_ERROR"):
        return 1
    if (isinstance(error, ServerError) and error.status in (504, 524)) or _timed_out(error):
        return 2
    return 5


def _timed_out(error: SluiceError) -> bool:
    return isinstance(error, Unreachable) and "ReadTimeout" in str(error)


RETRY_POLICY = GraphQLRetryPolicy(attempts=8)


def query(path: str, document: str, variables: Mapping[str, Any]) -> Flow[Any]:
    """Run a query, and return the value of its root field, which must have the alias `data`."""
    return (yield from _operation(path, document, variables, idempotent=True))


def mutate(path: str, document: str, variables: Mapping[str, Any]) -> Flow[Any]:
    """Run a mutation, and return the value of its root field. It is not retried once it may have been executed.

    :raises OutcomeUnknown: it may have been executed, and no usable response came
    """
    return (yield from _operation(path, document, variables, idempotent=False))


def _operation(path: str, document: str, variables: Mapping[str, Any], *, idempotent: bool) -> Flow[Any]:
    body = {"query": document, "variables": dict(variables)}
    request = Request("POST", path, json=body, idempotent=idempotent, name=operation_name(document))
    response = yield from send(request, RETRY_POLICY, graphql_error_from)
    return response.json()["data"]["data"]


def operation_name(document: str) -> str:
    """`query dataConnection($where: ...) {` is "query dataConnection"."""
    return document.strip().partition("(")[0].partition("{")[0].strip()


def graphql_error_from(request: Request, response: Response) -> SluiceError | None:
    """A body with `errors` or `data` is a GraphQL response, whatever its status; otherwise the status decides."""
    body = _graphql_body(response)
    if body is None:
        return _error_from_status(request, response)
    if body.get("errors"):
        return _error_from_body(request, response, body["errors"])
    data = body.get("data")
    if not isinstance(data, dict) or "data" not in data:
        return ServerError(f"{request} was answered without `data`", status=response.status, body=response.text[:2000])
    return None


def _graphql_body(response: Response) -> dict[str, Any] | None:
    try:
        body = response.json()
    except UnexpectedResponse:
        return None
    return body if isinstance(body, dict) and ("errors" in body or "data" in body) else None


def _error_from_status(request: Request, response: Response) -> SluiceError:
    """A proxy in front of the API answered, or a server that is not the API."""
    if response.status < 300:
        return ServerError(
            f"{request} was answered with status {response.status} and a body that is not GraphQL. Check that the Host "
            f"of the connection is the URL of the GraphQL endpoint. The body begins: {response.text!r:.120}",
            status=response.status,
        )
    error = error_from(request, response)
    assert error is not None  # noqa: S101 - every status from 300 on is an error
    if isinstance(error, ServerError) and (
        response.status == 521 or (response.status == 503 and _not_forwarded(response.text))
    ):
        error.maybe_applied = False
    return error


def _not_forwarded(text: str) -> bool:
    return "retried" not in text and re.search(NOT_FORWARDED, text) is not None


def _error_from_body(request: Request, response: Response, errors: Any) -> SluiceError:
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {"message": errors}
    extensions = first.get("extensions")
    code = str(extensions.get("code") or "") if isinstance(extensions, dict) else ""
    message, path = str(first.get("message") or "no reason given"), _field_path(first.get("path"))
    error_type = (
        ServerError if re.search(TRANSIENT, message) else ERRORS_BY_CODE.get(code, _type_by_status(response.status))
    )
    return error_type(
        f"{request} failed: {excerpt(message, 500)}" + _details(code, path, errors),
        status=response.status,
        code=code or None,
        path=path,
        body=response.text[:2000],
        retry_after=retry_after(response.headers),
    )


def _type_by_status(status: int) -> type[StatusError]:
    return ServerError if status >= 500 else CLIENT_ERRORS.get(status, ClientError)


def _details(code: str, path: str, errors: Any) -> str:
    more = len(errors) - 1 if isinstance(errors, list) else 0
    facts = [code, path and f"at {path}", f"and {more} more" if more > 0 else ""]
    return f" ({', '.join(filter(None, facts))})" if any(facts) else ""


def _field_path(path: Any) -> str:
    return ".".join(map(str, path)) if isinstance(path, list) else ""
