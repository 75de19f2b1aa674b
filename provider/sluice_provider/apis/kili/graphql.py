"""GraphQL over HTTP: one operation as a call, and its answer as a value or a typed error.

What is tried again follows the vendor's own judgement (kili 26.2.4, `core/graphql/retry.py`): a query is, a few times,
unless that makes a server which is busy already do the work again; a mutation only when it certainly was not run.
"""

from __future__ import annotations

import json
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
    Unreachable,
)
from sluice_provider.http.flow import Flow, Request, Response
from sluice_provider.http.responses import error_from, retry_after
from sluice_provider.http.retry import RetryPolicy, send

UNFORWARDED = r"no healthy upstream|reset reason: (?:overflow|(?:remote )?connection failure)"
"""Envoy's words in a 503 for a request that it could not hand on; without "retried", nothing was run."""

PASSING = r"Failed to fetch data connection|Invalid request made to Flagsmith API"
"""Errors of Kili's backend that go away by themselves. Something was run before they came."""

CODES: Mapping[str, type[StatusError]] = {
    "UNAUTHENTICATED": AuthenticationFailed,
    "FORBIDDEN": PermissionDenied,
    "NOT_FOUND": NotFound,
    "INTERNAL_SERVER_ERROR": ServerError,
    **dict.fromkeys(("GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED", "BAD_USER_INPUT"), ClientError),
    **dict.fromkeys(("OPERATION_RESOLUTION_FAILURE", "BAD_REQUEST"), ClientError),
}
"""`extensions.code` as Apollo Server writes it, which counts more than the status: invalid queries may be answered 500.
By any other code, and by none, the status decides."""


class Tries(RetryPolicy):
    """How often by the kind of the failure: what was not run is tried for two minutes, an exhausted server once."""

    __slots__ = ()

    def delay(self, error: SluiceError, attempt: int, elapsed: float = 0.0) -> float | None:
        return None if attempt >= _tries(error) else super().delay(error, attempt, elapsed)


def _tries(error: SluiceError) -> int:
    if isinstance(error, RateLimited) or not error.maybe_applied:
        return 8
    if isinstance(error, ServerError) and (error.status == 500 or error.code == "INTERNAL_SERVER_ERROR"):
        return 1
    if (isinstance(error, ServerError) and error.status in (504, 524)) or _too_slow(error):
        return 2
    return 5


def _too_slow(error: SluiceError) -> bool:
    return isinstance(error, Unreachable) and "ReadTimeout" in str(error)


TRIES = Tries(attempts=8)


def query(path: str, document: str, variables: Mapping[str, Any]) -> Flow[Any]:
    """Ask. The answer is what the document's root field, which must have the alias `data`, holds."""
    return (yield from _operation(path, document, variables, idempotent=True))


def mutate(path: str, document: str, variables: Mapping[str, Any]) -> Flow[Any]:
    """Change. Never sent again once it may have been run.

    :raises OutcomeUnknown: it may have been run, and nobody said so
    """
    return (yield from _operation(path, document, variables, idempotent=False))


def _operation(path: str, document: str, variables: Mapping[str, Any], *, idempotent: bool) -> Flow[Any]:
    body = {"query": document, "variables": dict(variables)}
    call = Request("POST", path, json=body, idempotent=idempotent, name=name_of(document))
    reply = yield from send(call, TRIES, verdict)
    return reply.json()["data"]["data"]


def name_of(document: str) -> str:
    """`query dataConnection($where: ...) {` is "query dataConnection"."""
    return document.strip().partition("(")[0].partition("{")[0].strip()


def verdict(call: Request, reply: Response) -> SluiceError | None:
    """A body with `errors` or `data` is an answer of GraphQL, whatever the status; else the status decides."""
    answer = _answer(reply)
    if answer is None:
        return _plain(call, reply)
    if answer.get("errors"):
        return _error(call, reply, answer["errors"])
    data = answer.get("data")
    if not isinstance(data, dict) or "data" not in data:
        return ServerError(f"{call} was answered without data", status=reply.status, body=reply.text[:2000])
    return None


def _answer(reply: Response) -> dict[str, Any] | None:
    try:
        answer = json.loads(reply.body)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) and ("errors" in answer or "data" in answer) else None


def _plain(call: Request, reply: Response) -> SluiceError:
    """Something before the API answered, or another server than the API."""
    if reply.status < 300:
        return ServerError(
            f"{call} was answered {reply.status} with something that is not GraphQL; does the connection's host name "
            f"the GraphQL endpoint? It begins: {reply.text!r:.120}",
            status=reply.status,
        )
    error = error_from(call, reply)
    assert error is not None  # noqa: S101 - 300 and above always is one
    if isinstance(error, ServerError) and (reply.status == 521 or (reply.status == 503 and _unforwarded(reply.text))):
        error.maybe_applied = False
    return error


def _unforwarded(text: str) -> bool:
    return "retried" not in text and re.search(UNFORWARDED, text) is not None


def _error(call: Request, reply: Response, errors: Any) -> SluiceError:
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {"message": errors}
    extensions = first.get("extensions")
    code = str(extensions.get("code") or "") if isinstance(extensions, dict) else ""
    message, path = str(first.get("message") or "no reason given"), _path(first.get("path"))
    kind = ServerError if re.search(PASSING, message) else CODES.get(code, _by_status(reply.status))
    return kind(
        f"{call} was refused: {message[:500]}" + _aside(code, path, errors),
        status=reply.status,
        code=code or None,
        path=path,
        body=reply.text[:2000],
        retry_after=retry_after(reply.headers),
    )


def _by_status(status: int) -> type[StatusError]:
    return ServerError if status >= 500 else CLIENT_ERRORS.get(status, ClientError)


def _aside(code: str, path: str, errors: Any) -> str:
    more = len(errors) - 1 if isinstance(errors, list) else 0
    facts = [code, path and f"at {path}", f"and {more} more" if more > 0 else ""]
    return f" ({', '.join(filter(None, facts))})" if any(facts) else ""


def _path(path: Any) -> str:
    return ".".join(map(str, path)) if isinstance(path, list) else ""
