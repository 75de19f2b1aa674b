"""Records as the file that an import of Liquid Decisions takes: CSV with a header, or a JSON list of objects."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from tempfile import TemporaryFile
from typing import IO, Any, cast

from sluice_provider.apis.checked_rows import CheckedRows, InvalidRow
from sluice_provider.errors import InvalidInput
from sluice_provider.http.bodies import FilePart
from sluice_provider.sources.chunks import Chunk
from sluice_provider.sources.spool import disk_error
from sluice_provider.sources.tables import csv_blocks

FORMATS = ("csv", "json")


class RowsFile:
    """Records in a temporary file, in the service's format. They are read once, when they are first needed.

    :param records: what `sources/records.py: open_source` takes
    :param file_format: one of `FORMATS`
    """

    def __init__(self, records: Any, file_format: str) -> None:
        self._names: dict[str, None] = {}
        self.rows = CheckedRows(records, self._check)
        self._format = file_format
        self._file: IO[bytes] | None = None

    @property
    def fingerprint(self) -> list[Any]:
        """Of all records. :raises InvalidInput: they cannot be read or sent, or there are none"""
        if not self.rows.total:
            raise InvalidInput(f"{self.rows.source_name} has no records to import")
        return [self._format, list(self._names), self.rows.digest]

    def part(self, content_type: str, headers: Mapping[str, str]) -> FilePart:
        """The file as a part of a form."""
        if self._file is None:
            self._file = self._write()
        size = os.fstat(self._file.fileno()).st_size
        label = f"the records of {self.rows.source_name}"
        return FilePart("file", f"records.{self._format}", content_type, self._open, size, label, headers)

    def close(self) -> None:
        """Delete the temporary files."""
        self.rows.close()
        if self._file is not None:
            self._file.close()

    def _check(self, chunk: Chunk) -> Sequence[Mapping[str, Any]]:
        for index, record in enumerate(chunk.records):
            if not all(isinstance(name, str) and name for name in record):
                raise InvalidRow(index, "has a field without a name")
        for names in (chunk.columns, *chunk.records):
            self._names.update(dict.fromkeys(names))
        return chunk.records

    def _open(self) -> IO[bytes]:
        assert self._file is not None  # noqa: S101 - written before
        return cast("IO[bytes]", _View(self._file.fileno()))

    def _write(self) -> IO[bytes]:
        """:raises InvalidInput: the disk is full; retryable"""
        try:
            file = TemporaryFile(prefix="sluice-")  # noqa: SIM115 - closed by `close`
            for block in self._json() if self._format == "json" else csv_blocks(list(self._names), self.rows.lines()):
                file.write(block)
            file.flush()
        except OSError as error:
            raise disk_error(error) from error
        return cast("IO[bytes]", file)

    def _json(self) -> Iterator[bytes]:
        start = b"["
        for line in self.rows.lines():
            yield start + line
            start = b",\n"
        yield b"]"


class _View(io.RawIOBase):
    """Reads an open file from its start, without moving the position of others."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        block = os.pread(self._descriptor, len(buffer), self._position)
        buffer[: len(block)] = block
        self._position += len(block)
        return len(block)
