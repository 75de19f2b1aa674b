"""Listings that a service would continue without end."""

from __future__ import annotations

from itertools import count

import pytest

from sluice_provider.errors import ResponseTooLarge
from sluice_provider.http import pagination
from sluice_provider.http.flow import Request
from sluice_provider.http.pagination import pages, token_pages
from tests.flows import response, run_flow


def numbered(number):
    """A page that is always full."""
    answer = yield Request("GET", f"list?page={number}")
    return [answer.json()]


def by_token(token):
    """A page that always names another one."""
    answer = yield Request("GET", f"list?after={token}")
    return [answer.json()], str(next(TOKENS))


TOKENS = count()


@pytest.mark.parametrize("listing", [lambda: pages(numbered, 1), lambda: token_pages(by_token)])
def test_an_endless_listing(listing, monkeypatch):
    """It ends after a number of pages, or of bytes, which the error names."""
    monkeypatch.setattr(pagination, "MAX_PAGES", 5)
    found = run_flow(listing(), *[response(body=["x"])] * 6)
    assert isinstance(found.error, ResponseTooLarge)
    assert "at most 5 pages" in str(found.error)
    assert len(found.calls) == 5
    monkeypatch.setattr(pagination, "MAX_PAGES", 100)
    monkeypatch.setattr(pagination, "MAX_LISTING_BYTES", 1000)
    found = run_flow(listing(), *[response(body=["x" * 396])] * 6)
    assert isinstance(found.error, ResponseTooLarge)
    assert "with 1,200 bytes" in str(found.error)
    assert len(found.calls) == 3
