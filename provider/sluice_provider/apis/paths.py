"""What all API modules share."""

from __future__ import annotations

from urllib.parse import quote

from sluice_provider.errors import InvalidInput


def segment(value: str, name: str) -> str:
    """An id as one segment of a path, quoted, so that it cannot name another endpoint.

    :raises InvalidInput: for an id that is empty or would change the path
    """
    if not isinstance(value, str) or not value.strip() or value in (".", ".."):
        raise InvalidInput(f"{name} must be a non-empty id, not {value!r}")
    if value == "None":
        raise InvalidInput(f"{name} is the text 'None': it was taken from an XCom or a parameter that is not there")
    return quote(value, safe="")
