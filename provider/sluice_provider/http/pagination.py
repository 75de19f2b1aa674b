"""Paginated listings, read to their end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sluice_provider.errors import UnexpectedResponse
from sluice_provider.http.flow import Flow

T = TypeVar("T")


def pages(page: Callable[[int], Flow[list[T]]], size: int, first: int = 1) -> Flow[list[T]]:
    """All items of a listing with numbered pages: it ends with the first page that is not full."""
    items: list[T] = []
    number = first
    while True:
        found = yield from page(number)
        items += found
        if len(found) < size:
            return items
        number += 1


def token_pages(page: Callable[[str | None], Flow[tuple[list[T], str | None]]]) -> Flow[list[T]]:
    """All items of a listing whose pages name the next one by a token. An empty page is not necessarily the last.

    :raises UnexpectedResponse: a token was repeated, so the listing would never end
    """
    items: list[T] = []
    seen: set[str] = set()
    token: str | None = None
    while True:
        found, token = yield from page(token)
        items += found
        if not token:
            return items
        if token in seen:
            raise UnexpectedResponse("the listing repeats a page token, so it would never end")
        seen.add(token)
