"""Ids as segments of URL paths."""

from __future__ import annotations

from urllib.parse import quote

from sluice_provider.apis.validation import check_id
from sluice_provider.errors import InvalidInput


def segment(value: str, name: str) -> str:
    """An id as one percent-encoded path segment, so that it cannot change the endpoint.

    :raises InvalidInput: the id is empty, or `.` or `..`
    """
    if value in (".", ".."):
        raise InvalidInput(f"{name} must be a non-empty id, not {value!r}")
    return quote(check_id(name, value), safe="")
