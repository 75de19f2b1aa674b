"""What all API modules share."""

from __future__ import annotations

from urllib.parse import quote

from sluice_provider.apis.validation import check_id
from sluice_provider.errors import InvalidInput


def segment(value: str, name: str) -> str:
    """An id as one segment of a path, quoted, so that it cannot name another endpoint.

    :raises InvalidInput: for an id that is empty or would change the path
    """
    if value in (".", ".."):
        raise InvalidInput(f"{name} must be a non-empty id, not {value!r}")
    return quote(check_id(name, value), safe="")
