"""Frames of pandas, polars and Arrow, and whatever speaks their protocols: the same rows from each."""

from __future__ import annotations

import sys
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from sluice_provider.errors import InvalidInput
from sluice_provider.sources.chunks import CHUNK_RECORDS
from sluice_provider.sources.records import open_source
from sluice_provider.sources.values import plain_value
from tests.sources.chunked import located

pandas = pytest.importorskip("pandas", reason="pandas is not installed")
polars = pytest.importorskip("polars", reason="polars is not installed")
pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")

TIME = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
TABLE = {
    "symbol": ["H", "He", None],
    "number": [1, 2, 3],
    "weight": [1.008, float("nan"), 6.94],
    "day": [date(2026, 3, 1), None, date(2026, 3, 3)],
    "at": [TIME, TIME, None],
    "raw": [b"\x00\xff", None, b""],
    "tags": [["a", "b"], [], None],
}
ROWS = [
    {
        "symbol": "H",
        "number": 1,
        "weight": 1.008,
        "day": date(2026, 3, 1),
        "at": TIME,
        "raw": "AP8=",
        "tags": ["a", "b"],
    },
    {"symbol": "He", "number": 2, "at": TIME, "tags": []},
    {"number": 3, "weight": 6.94, "day": date(2026, 3, 3), "raw": ""},
]


class Stream:
    """Of a library that nobody has heard of."""

    def __init__(self, table: Any) -> None:
        self.__arrow_c_stream__ = table.__arrow_c_stream__


class Array:
    """A single batch, likewise."""

    def __init__(self, batch: Any) -> None:
        self.__arrow_c_array__ = batch.__arrow_c_array__


class Interchange:
    """An older protocol."""

    def __init__(self, frame: Any) -> None:
        self.__dataframe__ = frame.__dataframe__


FRAMES = {
    "pandas": lambda: pandas.DataFrame(TABLE),
    "pandas with Arrow types": lambda: pyarrow.table(TABLE).to_pandas(types_mapper=pandas.ArrowDtype),
    "polars": lambda: polars.DataFrame(TABLE),
    "polars, lazy": lambda: polars.DataFrame(TABLE).lazy(),
    "an Arrow table": lambda: pyarrow.table(TABLE),
    "an Arrow record batch": lambda: pyarrow.table(TABLE).to_batches()[0],
    "an Arrow reader": lambda: pyarrow.table(TABLE).to_reader(),
    "an Arrow stream": lambda: Stream(pyarrow.table(TABLE)),
    "an Arrow array": lambda: Array(pyarrow.table(TABLE).to_batches()[0]),
}


def rows(frame: Any, skip: int = 0) -> list[Any]:
    """What is in it."""
    return [record for _, record in located(open_source(frame).chunks(skip))]


@pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES)
def test_frames(make):
    """Missing values, NaN, NaT and NA are left out; bytes are base64; each row knows its number."""
    found = list(located(open_source(make()).chunks()))
    assert [position for position, _ in found] == ["row 1", "row 2", "row 3"]
    assert [record for _, record in found] == ROWS


def test_the_interchange_protocol():
    """For what has no Arrow."""
    table = {"symbol": ["H", "He"], "number": [1, 2]}
    frame = Interchange(pyarrow.table(table))
    assert rows(frame) == [{"symbol": "H", "number": 1}, {"symbol": "He", "number": 2}]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_no_pyarrow_for_pandas_and_polars(monkeypatch, library):
    """They are read by their own means."""
    frame = {"pandas": pandas, "polars": polars}[library].DataFrame({"a": [1, 2]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert rows(frame) == [{"a": 1}, {"a": 2}]
    with pytest.raises(InvalidInput, match=r"requires pyarrow: pip install 'airflow-provider-sluice\[parquet\]'"):
        rows(Stream(pyarrow.table({"a": [1]})))


def test_numbers_of_numpy():
    """In a column of objects, where each value has a type of its own; a duration is written as SQL does."""
    numpy = pytest.importorskip("numpy")
    values = [numpy.int64(1), numpy.float64("nan"), numpy.bool_(True), numpy.array([1, 2]), pandas.NA, pandas.NaT]
    found = rows(pandas.DataFrame({"n": range(6), "v": pandas.Series(values, dtype=object)}))
    assert found == [{"n": 0, "v": 1}, {"n": 1}, {"n": 2, "v": True}, {"n": 3, "v": [1, 2]}, {"n": 4}, {"n": 5}]
    assert [type(record.get("v")) for record in found[:4:2]] == [int, bool]
    durations = [timedelta(hours=26, minutes=30), -timedelta(seconds=1.5)]
    assert rows(polars.DataFrame({"d": durations})) == [{"d": "26:30:00"}, {"d": "-00:00:01.500000"}]
    assert rows(polars.DataFrame({"d": [Decimal("0.10")]})) == [{"d": Decimal("0.10")}]


def test_the_index_of_pandas():
    """Levels with a name are columns; a mere count of the rows is not."""
    frame = pandas.DataFrame({"id": ["a", "b"], "n": [1, 2]}, index=[7, 8])
    assert rows(frame) == [{"id": "a", "n": 1}, {"id": "b", "n": 2}]
    assert rows(frame.set_index("id")) == [{"id": "a", "n": 1}, {"id": "b", "n": 2}]


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_chunks_and_skipping(library):
    """A few rows at a time, over and over."""
    table = {"n": list(range(2 * CHUNK_RECORDS + 1))}
    frame = (
        pyarrow.table(table) if library == "pyarrow" else {"pandas": pandas, "polars": polars}[library].DataFrame(table)
    )
    source = open_source(frame)
    for _ in range(2):
        assert [len(chunk.records) for chunk in source.chunks()] == [CHUNK_RECORDS, CHUNK_RECORDS, 1]
    found = list(located(source.chunks(skip=CHUNK_RECORDS + 3)))
    assert found[0] == (f"row {CHUNK_RECORDS + 4}", {"n": CHUNK_RECORDS + 3})
    assert len(found) == CHUNK_RECORDS - 2


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (pandas.DataFrame([[1, 2]]), "the given pandas DataFrame: the column 0 has no name"),
        (pandas.DataFrame([[1, 2]], columns=["a", "a"]), "more than one column named 'a'"),
        (pyarrow.table([[1], [2]], names=["a", "a"]), "more than one column named 'a'"),
    ],
)
def test_columns_without_a_name(frame, words):
    """Nobody could tell which field is meant."""
    with pytest.raises(InvalidInput, match=words):
        rows(frame)


def test_times_of_numpy_are_sent_as_times_and_not_as_counts_of_nanoseconds():
    """What NumPy itself makes of times in nanoseconds are numbers."""
    numpy = pytest.importorskip("numpy")
    times = numpy.array(["2026-11-02T09:30", "NaT"], "datetime64[ns]")
    assert plain_value(times) == [datetime(2026, 11, 2, 9, 30), None]
    assert plain_value(times[0]) == datetime(2026, 11, 2, 9, 30)
    assert plain_value(times[1]) is None
    assert plain_value(numpy.timedelta64(5400, "s").astype("timedelta64[ns]")) == "01:30:00"
    finer = times[0] + numpy.timedelta64(1, "ns")
    assert plain_value(finer) is finer  # refused when it is encoded, as it cannot be sent without a loss


def test_a_set_is_sent_in_the_same_order_by_every_process():
    """A retry compares the rows with those that were sent before."""
    values = {f"value {number}" for number in range(50)}
    assert plain_value(values) == sorted(values)
    assert plain_value(frozenset(values)) == sorted(values)
