"""Rows, each as a JSON object, written as CSV or Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import IO, Any

from sluice_provider.errors import InvalidInput

PARQUET_ROWS = 5000
"""In memory at a time, and in a row group."""


def csv_blocks(names: Sequence[str], lines: Iterable[bytes]) -> Iterator[bytes]:
    """CSV with a header. Text is written as it is, a missing value as an empty cell, everything else as in JSON."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    for line in lines:
        row = json.loads(line)
        writer.writerow([_cell(row.get(name)) for name in names])
        yield buffer.getvalue().encode()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue().encode()


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def write_parquet(stream: IO[bytes], lines: Callable[[], Iterable[bytes]]) -> None:
    """
    :param lines: gives all rows, three times: first for the types of the columns, then whether all values fit these. A
        column of different types becomes text
    :raises InvalidInput: pyarrow is not installed
    """
    try:
        import pyarrow
        from pyarrow.parquet import ParquetWriter
    except ImportError:
        raise InvalidInput("Parquet files require pyarrow: pip install 'airflow-provider-sluice[parquet]'") from None
    types: dict[str, Any] = {}
    for rows in _some(lines()):
        for name in dict.fromkeys(name for row in rows for name in row):
            types[name] = _common_type(pyarrow, types.get(name), [row.get(name) for row in rows])
    for rows in _some(lines()):
        for name, kind in types.items():
            if not _fit(pyarrow, [row.get(name) for row in rows], kind):
                types[name] = pyarrow.string()
    schema = pyarrow.schema(list(types.items()))
    with ParquetWriter(_Sink(stream), schema) as writer:
        for rows in _some(lines()):
            typed = [{name: _typed(pyarrow, row.get(name), types[name]) for name in types} for row in rows]
            writer.write_table(pyarrow.Table.from_pylist(typed, schema))


class _Sink(io.RawIOBase):
    """A stream as pyarrow wants it, which stays open."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__()
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, block: Any) -> int:
        return self._stream.write(bytes(block))


def _some(lines: Iterable[bytes]) -> Iterator[list[dict[str, Any]]]:
    rest = iter(lines)
    while rows := [json.loads(line) for line in islice(rest, PARQUET_ROWS)]:
        yield rows


def _common_type(pyarrow: Any, known: Any, values: list[Any]) -> Any:
    """Of a column, as far as it was seen: one that holds all values, else text."""
    try:
        found = pyarrow.infer_type(values)
        if known is None or pyarrow.types.is_null(known) or pyarrow.types.is_null(found) or known == found:
            return found if known is None or pyarrow.types.is_null(known) else known
        numbers = all(pyarrow.types.is_integer(each) or pyarrow.types.is_floating(each) for each in (known, found))
        return pyarrow.float64() if numbers else pyarrow.string()
    except (pyarrow.ArrowException, OverflowError):
        return pyarrow.string()


def _fit(pyarrow: Any, values: list[Any], kind: Any) -> bool:
    """Whether a column of this type holds these values without a loss. The type that pyarrow infers may not."""
    if "struct<>" in str(kind):  # objects without members: Parquet has no type for them
        return False
    try:
        pyarrow.array([_typed(pyarrow, value, kind) for value in values], kind)
    except (pyarrow.ArrowException, OverflowError):
        return False
    return True


def _typed(pyarrow: Any, value: Any, kind: Any) -> Any:
    return _cell(value) if pyarrow.types.is_string(kind) else value
