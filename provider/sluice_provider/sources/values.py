"""Values of databases and frames as values that can be sent. The rules are in docs/records.md."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sluice_provider.errors import InvalidInput
from sluice_provider.sources.chunks import Chunk

UNCHANGED = frozenset({str, int, bool, date, datetime, time, UUID})
"""Types of values that are encoded as they are, and are never missing."""
PLAIN = UNCHANGED | {float, type(None)}
"""Types of values that are encoded as they are, or are missing."""


def table_chunk(first: int, names: tuple[str, ...], rows: Sequence[Sequence[Any]], unit: str = "row") -> Chunk:
    """Rows of a table as records. A missing value is left out of its record, like an empty cell of a CSV file.

    :param first: the number of the first row
    """
    types = set[type]().union(*(map(type, row) for row in rows))
    if types <= UNCHANGED:
        records = [dict(zip(names, row, strict=True)) for row in rows]
    elif types <= PLAIN:  # most tables, so without a call for each value; NaN alone is not equal to itself
        records = [
            {name: value for name, value in zip(names, row, strict=True) if value is not None and value == value}
            for row in rows
        ]
    else:
        records = [
            {name: value for name, raw in zip(names, row, strict=True) if (value := plain_value(raw)) is not None}
            for row in rows
        ]
    return Chunk(unit, range(first, first + len(rows)), records, names)


def column_names(names: Sequence[Any]) -> tuple[str, ...]:
    """:raises InvalidInput: a column has no name, or two have the same"""
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise InvalidInput(f"the column {name!r} has no name: give every column a name that is a string")
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        found = ", ".join(map(repr, duplicates))
        raise InvalidInput(f"there is more than one column named {found}: give each a name of its own")
    return tuple(names)


def plain_value(value: Any) -> Any:
    """A value that JSON can represent as `http/bodies.py` encodes it, or None for a missing one: None, NaN, NaT, NA.
    What is of no known type is returned unchanged, and refused when it is encoded."""
    if value is None or type(value) in UNCHANGED:
        return value
    if isinstance(value, (float, Decimal, datetime)):
        return _number_or_time(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return b64encode(value).decode()
    if isinstance(value, timedelta):
        return _duration(value)
    if isinstance(value, Mapping):
        return {str(name): plain_value(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_value(item) for item in value]
    if isinstance(value, (set, frozenset)):  # each process has an order of its own, and a retry compares rows
        return [plain_value(item) for item in sorted(value, key=repr)]
    if type(value).__name__ == "NAType":
        return None
    if hasattr(value, "dtype") and hasattr(value, "tolist"):  # of numpy
        return _of_numpy(value)
    return value


def _of_numpy(value: Any) -> Any:
    """Times in nanoseconds, as pandas has them, would become whole numbers by `tolist`."""
    if value.dtype.kind not in "mM" or not value.dtype.name.endswith("[ns]"):
        return plain_value(value.tolist())
    if getattr(value, "shape", ()):
        return [plain_value(item) for item in value]
    if value != value:
        return None
    rounded = value.astype(value.dtype.name.replace("[ns]", "[us]"))
    return plain_value(rounded.tolist()) if rounded == value else value


def _number_or_time(value: float | Decimal | datetime) -> float | Decimal | datetime | None:
    if isinstance(value, Decimal):
        return None if value.is_nan() else value
    if isinstance(value, float):
        return None if value != value else float(value)
    return None if value != value else value


def _duration(value: timedelta) -> str:
    """As SQL writes a time: `-1:30:00` is an hour and a half before, `36:00:00` a day and a half."""
    seconds, sign = abs(value), "-" if value < timedelta(0) else ""
    minutes, rest = divmod(seconds, timedelta(minutes=1))
    fraction = f".{rest.microseconds:06}" if rest.microseconds else ""
    return f"{sign}{minutes // 60:02}:{minutes % 60:02}:{rest.seconds:02}{fraction}"
