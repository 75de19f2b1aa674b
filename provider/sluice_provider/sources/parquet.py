"""Records in columnar files: Parquet, through pyarrow (extra `parquet`), one batch of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from sluice_provider.errors import InvalidInput
from sluice_provider.sources.chunks import CHUNK_RECORDS, Chunk, table_chunks
from sluice_provider.sources.frames import arrow_rows
from sluice_provider.sources.values import column_names, table_chunk


def read_parquet(stream: IO[bytes], skip: int = 0) -> Iterator[Chunk]:
    """Values as in any table: a null value is left out of its record."""
    return table_chunks(_chunks(stream), skip)


def _chunks(stream: IO[bytes]) -> Iterator[Chunk]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise InvalidInput("Parquet files require pyarrow: pip install 'airflow-provider-sluice[parquet]'") from None
    number = 0
    try:
        file = ParquetFile(stream)
        names = column_names(file.schema_arrow.names)
        for batch in file.iter_batches(batch_size=CHUNK_RECORDS):
            rows = arrow_rows(batch)
            yield table_chunk(number + 1, names, rows)
            number += len(rows)
    except InvalidInput:
        raise
    except (ArrowException, ValueError) as error:  # ValueError: a value that Python cannot represent
        raise InvalidInput(f"the Parquet file is not readable after row {number}: {error}") from None
