"""Records in columnar files: Parquet, through pyarrow (extra `parquet`), one batch of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

from sluice_provider.errors import InvalidInput
from sluice_provider.sources.chunks import CHUNK_RECORDS, Chunk, chunks


def read_parquet(stream: IO[bytes], skip: int = 0) -> Iterator[Chunk]:
    """Null values are left out of their record, like empty cells of a CSV file."""
    return chunks("row", _rows(stream), skip)


def _rows(stream: IO[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise InvalidInput("Parquet files require pyarrow: pip install 'airflow-provider-sluice[parquet]'") from None
    number = 0
    try:
        for batch in ParquetFile(stream).iter_batches(batch_size=CHUNK_RECORDS):
            for row in batch.to_pylist():
                number += 1
                yield number, {name: value for name, value in row.items() if value is not None}
    except (ArrowException, ValueError) as error:  # ValueError: a value that Python cannot represent
        raise InvalidInput(f"the Parquet file is not readable after row {number}: {error}") from None
