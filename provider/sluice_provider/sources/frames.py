"""Records in frames: pandas, polars, and whatever offers the Arrow C stream or the dataframe interchange protocol.

Frames are in memory already; they are converted a few rows at a time. No library is imported for pandas and polars, as
it is imported where the frame was made; everything else is read through pyarrow (extra `parquet`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sluice_provider.errors import InvalidInput
from sluice_provider.sources.chunks import CHUNK_RECORDS, Chunk, table_chunks
from sluice_provider.sources.values import column_names, table_chunk

ARROW_PROTOCOLS = ("__arrow_c_stream__", "__arrow_c_array__", "__dataframe__")


class FrameSource:
    """
    :param read: makes chunks of the frame, from its first row on
    """

    sha256: str | None = None
    recognisable = False

    def __init__(self, frame: Any, read: Callable[[Any], Iterator[Chunk]]) -> None:
        self.name = f"the given {_library(frame)} {type(frame).__name__}"
        self._frame = frame
        self._read = read

    def chunks(self, skip: int = 0) -> Iterator[Chunk]:
        try:
            yield from table_chunks(self._read(self._frame), skip)
        except InvalidInput as error:
            raise InvalidInput(f"{self.name}: {error}") from None


def open_frame(records: Any) -> FrameSource | None:
    """None for what is not a frame."""
    library = _library(records)
    if library == "pandas" and hasattr(records, "itertuples"):
        return FrameSource(records, _pandas_chunks)
    if library == "polars" and hasattr(records, "collect_schema"):
        return FrameSource(records, _polars_chunks)
    if hasattr(records, "to_reader") and library == "pyarrow":
        return FrameSource(records, _arrow_chunks)
    if any(hasattr(records, name) for name in ARROW_PROTOCOLS):
        return FrameSource(records, _arrow_chunks)
    return None


def _library(frame: Any) -> str:
    return type(frame).__module__.partition(".")[0]


def _pandas_chunks(frame: Any) -> Iterator[Chunk]:
    """Levels of the index that have a name are columns, too."""
    named = [level for level in frame.index.names if level is not None]
    if named:
        frame = frame.reset_index(level=named)
    names = column_names(list(frame.columns))
    for start in range(0, len(frame), CHUNK_RECORDS):
        part = frame.iloc[start : start + CHUNK_RECORDS]
        yield table_chunk(start + 1, names, list(part.itertuples(index=False, name=None)))


def _polars_chunks(frame: Any) -> Iterator[Chunk]:
    """A lazy frame is computed here, in the worker."""
    frame = frame.collect() if hasattr(frame, "collect") else frame
    names = column_names(frame.columns)
    number = 1
    for part in frame.iter_slices(CHUNK_RECORDS):
        rows = part.rows()
        yield table_chunk(number, names, rows)
        number += len(rows)


def _arrow_chunks(frame: Any) -> Iterator[Chunk]:
    try:
        import pyarrow
    except ImportError:
        raise InvalidInput("this requires pyarrow: pip install 'airflow-provider-sluice[parquet]'") from None
    try:
        reader = _arrow_reader(frame, pyarrow)
        names, number = column_names(reader.schema.names), 1
        for batch in reader:
            for start in range(0, batch.num_rows, CHUNK_RECORDS):
                rows = arrow_rows(batch.slice(start, CHUNK_RECORDS))
                yield table_chunk(number, names, rows)
                number += len(rows)
    except (pyarrow.ArrowException, ValueError, RuntimeError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"cannot be read: {type(error).__name__}: {error}") from None


def _arrow_reader(frame: Any, pyarrow: Any) -> Any:
    if hasattr(frame, "__arrow_c_stream__"):
        return pyarrow.RecordBatchReader.from_stream(frame)
    if hasattr(frame, "__arrow_c_array__"):
        return pyarrow.Table.from_batches([pyarrow.record_batch(frame)]).to_reader()
    from pyarrow.interchange import from_dataframe

    return from_dataframe(frame).to_reader()


def arrow_rows(batch: Any) -> list[tuple[Any, ...]]:
    """The rows of a record batch."""
    columns = [column.to_pylist() for column in batch.columns]
    return list(zip(*columns, strict=True)) if columns else [()] * batch.num_rows
