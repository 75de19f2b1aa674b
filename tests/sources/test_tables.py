"""Rejected rows as a Parquet file, whatever is in them."""

from __future__ import annotations

import io
import json

import pytest

from sluice_provider.sources.tables import write_parquet

parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2], [1, 2]),
        ([1, "a"], ["1", "a"]),
        ([{}, []], ["{}", "[]"]),
        ([{}, {}], ["{}", "{}"]),
        ([2**70, 1], [str(2**70), "1"]),
        ([2**60 + 1] * 5000 + [1.5], [str(2**60 + 1)] * 5000 + ["1.5"]),
    ],
    ids=["numbers", "text", "objects and lists", "empty objects", "large", "whole and not"],
)
def test_a_column_holds_every_value(values, expected):
    """A column of different types, or of a type that cannot hold all of them, is text."""
    lines = [json.dumps({"value": value}).encode() for value in values]
    file = io.BytesIO()
    write_parquet(file, lambda: iter(lines))
    table = parquet.read_table(io.BytesIO(file.getvalue()))
    assert table.column("value").to_pylist() == expected
