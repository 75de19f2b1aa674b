"""Values as JSON text."""

from __future__ import annotations

import json
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest

from sluice_provider.errors import InvalidInput
from sluice_provider.http.bodies import EncodedRows, encode, encode_rows


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, 2.5, None, True, "ü"]}, '{"a":[1,2.5,null,true,"ü"]}'),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc), '"2026-01-02T03:04:05+00:00"'),
        (datetime(2026, 1, 2), '"2026-01-02T00:00:00"'),
        (date(2026, 1, 2), '"2026-01-02"'),
        (time(3, 4), '"03:04:00"'),
        (UUID(int=7), '"00000000-0000-0000-0000-000000000007"'),
        (Decimal("1.50"), "1.5"),
        (Decimal("3.00"), "3"),
        (Decimal("1E+3"), "1000"),
        (Decimal("-0.1"), "-0.1"),
        (Decimal("0.1234567890123456789"), '"0.1234567890123456789"'),
        (Decimal(2**70), str(2**70)),
        ((1, 2), "[1,2]"),
    ],
    ids=str,
)
def test_values_that_json_can_hold(value, text):
    """Compact, as UTF-8; an exact decimal is never rounded."""
    assert encode(value).decode() == text
    json.loads(encode(value))


def _loop():
    loop = []
    loop.append(loop)
    return loop


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        b"bytes",
        {1, 2},
        object(),
        Decimal("NaN"),
        Decimal("Infinity"),
        timedelta(1),
        {("a",): 1},
        "\ud800",
        _loop(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_that_json_cannot_hold(value):
    """Raise InvalidInput before anything is sent."""
    with pytest.raises(InvalidInput, match="cannot be encoded as JSON"):
        encode({"field": value})


@pytest.mark.parametrize("count", range(3))
def test_rows_that_are_already_encoded(count):
    """Are sent unchanged; the body is the same as if they were not."""
    rows = [{"symbol": f"S{number}", "at": date(2024, 1, 1), "weight": Decimal("1.10")} for number in range(count)]
    body = {"key_field_names": ["symbol"], "data": rows, "set_name": "ü"}
    assert encode({**body, "data": EncodedRows(b",\n".join(map(encode, rows)))}).replace(b",\n", b",") == encode(body)


VALUES = [
    "text",
    'Ü\u2028\x7f\x00"\\/',
    "null",
    0,
    -1,
    2**64,
    10**400,
    1.5,
    1e300,
    5e-324,
    -0.0,
    True,
    None,
    Decimal("1.10"),
    date(2024, 1, 1),
    datetime(2024, 1, 1, tzinfo=timezone.utc),
    UUID(int=7),
    [1, "a"],
    {"a": None},
]


def test_many_rows_are_encoded_as_single_ones():
    """Whatever is in them, alone and beside each other."""
    for rows in [[{"a": value, "b": "x"}] for value in VALUES] + [[{"a": value} for value in VALUES]]:
        encoded = encode_rows(rows, b",\n").split(b",\n")
        assert encoded.pop() == b""
        assert [json.loads(row) for row in encoded] == [json.loads(encode(row)) for row in rows]
    assert encode_rows([], b",\n") == b""


@pytest.mark.parametrize("more", [{}, {"b": Decimal("1.5")}], ids=["fast", "slow"])
def test_a_line_break_in_a_value_separates_no_rows(more):
    """JSON writes it as two characters."""
    rows = [{"a": "x,\ny", **more}, {"a": "\r\n", **more}]
    assert [json.loads(row) for row in encode_rows(rows, b",\n").split(b",\n")[:-1]] == [
        {name: 1.5 if name == "b" else value for name, value in row.items()} for row in rows
    ]


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), b"bytes", {1, 2}, object(), Decimal("NaN"), "\ud800"])
def test_rows_that_json_cannot_hold(value):
    """Raise InvalidInput, also between rows that can be encoded: nothing becomes null, or text, by itself."""
    with pytest.raises(InvalidInput, match="cannot be encoded as JSON"):
        encode_rows([{"a": None}, {"a": value}, {"a": 1.5}], b",\n")
