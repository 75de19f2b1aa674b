"""The shapes of what services are sent and what they answer, for all API modules."""

from __future__ import annotations

from typing import Any, TypeVar

from sluice_provider.errors import UnexpectedResponse
from sluice_provider.http.flow import Flow, Request
from sluice_provider.http.responses import ErrorFrom, error_from
from sluice_provider.http.retry import RetryPolicy, send

JsonObject = dict[str, Any]
"""A JSON object as a service sent it, or as it is sent to one: its members are checked where they are read."""

Value = TypeVar("Value")


def drop_none(**members: Value | None) -> dict[str, Value]:
    """Only the members that have a value: nothing is sent as null."""
    return {name: value for name, value in members.items() if value is not None}


def send_for_object(
    request: Request, retry_policy: RetryPolicy | None = None, error_from: ErrorFrom = error_from
) -> Flow[JsonObject]:
    """`send`, for a response that is a JSON object.

    :raises UnexpectedResponse: the response is no JSON object
    """
    response = yield from send(request, retry_policy, error_from)
    body = response.json()
    if not isinstance(body, dict):
        raise UnexpectedResponse(f"{request} answered {response.status} without a JSON object: {response.text!r:.200}")
    return body
