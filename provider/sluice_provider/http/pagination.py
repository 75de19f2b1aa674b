"""Listings that come in pages, read whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sluice_provider.errors import UnexpectedResponse
from sluice_provider.http.flow import Flow

T = TypeVar("T")


def pages(page: Callable[[int], Flow[list[T]]], size: int, first: int = 1) -> Flow[list[T]]:
    """All items of a numbered listing, page by page until one comes back short."""
    items: list[T] = []
    number = first
    while True:
        found = yield from page(number)
        items += found
        if len(found) < size:
            return items
        number += 1


def token_pages(page: Callable[[str | None], Flow[tuple[list[T], str | None]]]) -> Flow[list[T]]:
    """All items of a listing whose pages name the next one by a token; an empty page is not the last.

    :raises UnexpectedResponse: a token came twice, so that this would never end
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
            raise UnexpectedResponse("the listing leads back to a page that was read before")
        seen.add(token)
