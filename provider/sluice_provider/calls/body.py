"""Request bodies: values as JSON text, the same bytes when measured and when sent."""

from __future__ import annotations

import json
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from sluice_provider.errors import BadInput


def encode(value: Any) -> bytes:
    """JSON as UTF-8, compact. Dates and times become ISO 8601, UUIDs text, exact decimals numbers.

    :raises BadInput: for a value that has no JSON form (NaN, bytes, an object)
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BadInput(f"has no JSON form: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Decimal):
        return _number(value)
    raise TypeError(f"{type(value).__name__} {value!r:.60}")


def _number(value: Decimal) -> int | float | str:
    """A number where a float holds it exactly as written, else its digits as text: a rounded value is a wrong value."""
    if not value.is_finite():
        raise ValueError(f"{value} is not a finite number")
    if value == value.to_integral_value():
        return int(value)
    return float(value) if Decimal(repr(float(value))) == value else str(value)
