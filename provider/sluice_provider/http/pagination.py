"""Paginated listings, read to their end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sluice_provider.errors import ResponseTooLarge, SluiceError, UnexpectedResponse
from sluice_provider.http.flow import Flow, Response

T = TypeVar("T")

MAX_PAGES = 10_000
"""Of one listing."""

MAX_LISTING_BYTES = 512_000_000
"""Of the pages of one listing together, whose items are in memory."""


def bounded_listing(flow: Flow[T]) -> Flow[T]:
    """A flow that reads a listing, up to a number of pages and bytes: a service could add another page without end.

    :raises ResponseTooLarge: it is longer
    """
    answer: Any = None
    number = size = 0
    while True:
        try:
            step = flow.throw(answer) if isinstance(answer, SluiceError) else flow.send(answer)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        if number >= MAX_PAGES or size > MAX_LISTING_BYTES:
            flow.close()
            raise ResponseTooLarge(
                f"the listing has more than {number:,} pages with {size:,} bytes, and at most {MAX_PAGES:,} pages with "
                f"{MAX_LISTING_BYTES:,} bytes are read ({step})"
            )
        try:
            answer = yield step
        except SluiceError as error:
            answer = error
        if isinstance(answer, Response):
            number, size = number + 1, size + len(answer.body)


def pages(page: Callable[[int], Flow[list[T]]], size: int, first: int = 1) -> Flow[list[T]]:
    """All items of a listing with numbered pages: it ends with the first page that is not full."""
    return (yield from bounded_listing(_pages(page, size, first)))


def _pages(page: Callable[[int], Flow[list[T]]], size: int, number: int) -> Flow[list[T]]:
    items: list[T] = []
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
    return (yield from bounded_listing(_token_pages(page)))


def _token_pages(page: Callable[[str | None], Flow[tuple[list[T], str | None]]]) -> Flow[list[T]]:
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
