"""The shapes of Kaleidoscope's requests and responses, for all of its API modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sluice_provider.apis.payloads import JsonObject
from sluice_provider.errors import UnexpectedResponse
from sluice_provider.http.bodies import EncodedRows
from sluice_provider.http.flow import Flow, Request
from sluice_provider.http.retry import send

SHOWN = 100
"""How many rejected rows of one job are kept. All are counted."""

Rows = Sequence[Mapping[str, Any]] | EncodedRows
"""Rows to send, perhaps encoded already."""


def rows_of(data: Rows) -> Any:
    """Rows as a member of a JSON body."""
    return data if isinstance(data, EncodedRows) else list(data)


def part(raw: JsonObject, name: str) -> JsonObject:
    """A member that is an object; empty if there is none."""
    found = raw.get(name)
    return found if isinstance(found, dict) else {}


def get_list(path: str, params: Mapping[str, str | int] | None = None) -> Flow[list[JsonObject]]:
    """:raises UnexpectedResponse: the response is no list of JSON objects"""
    reply = yield from send(Request("GET", path, params=params or {}, idempotent=True))
    answer = reply.json()
    if not isinstance(answer, list) or not all(isinstance(each, dict) for each in answer):
        raise UnexpectedResponse(
            f"GET {path} answered with something that is not a list of JSON objects: {reply.text!r:.200}"
        )
    return answer
