"""A file of the rows that a service rejected, with the reasons. Once they are corrected, it can be pushed as it is:
the fields that describe the rejection are left out when it is read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sluice_provider.errors import InvalidInput
from sluice_provider.sources.chunks import Chunk
from sluice_provider.sources.output_files import AtomicFile, split_file_path
from sluice_provider.sources.spool import SEPARATOR, Spool
from sluice_provider.sources.tables import csv_blocks, write_parquet

PREFIX = "_rejected_"
REASON, KEY, POSITION, SOURCE = (f"{PREFIX}{name}" for name in ("reason", "key", "position", "source"))
FORMATS = (".csv", ".jsonl", ".ndjson", ".parquet")


class RejectedRowsFile:
    """Collects rows in a temporary file; the file itself appears when it is complete.

    :param path: path or URL; its extension is the format
    :raises InvalidInput: nothing can be written there
    """

    def __init__(self, path: Any) -> None:
        folder, name = split_file_path(path, "rejected_to")
        self._format = next((each for each in FORMATS if name.lower().endswith(each)), "")
        if not self._format:
            raise InvalidInput(f"rejected_to must end in one of {', '.join(FORMATS)}; it is {name!r}")
        self._target = AtomicFile(folder, name, "rejected_to")
        self._names: dict[str, None] = {}
        self._spool: Spool | None = None

    @property
    def path(self) -> str:
        return self._target.path

    @property
    def count(self) -> int:
        """Of rows so far."""
        return self._spool.count if self._spool else 0

    def add(self, fields: Mapping[str, Any], *, reason: str, key: str, position: str = "", source: str = "") -> None:
        """
        :param fields: of the row, as they were sent, as far as they are known
        :param reason: why it was rejected, in the service's words
        :param key: by which the service names it
        :param position: in the source, as "line 17"
        """
        row = {**fields, REASON: reason, KEY: key, POSITION: position, SOURCE: source}
        self._names.update(dict.fromkeys(fields))
        self._spool = self._spool or Spool()
        self._spool.add(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + SEPARATOR, 1)

    def write(self) -> None:
        """Write the file, replacing one of an earlier try."""
        if self._spool is None:
            return
        self._spool.finish()
        try:
            stream = self._target.begin()
            try:
                self._write_to(stream, self._spool)
            finally:
                stream.close()
            self._target.commit()
        except BaseException:
            self._target.rollback()
            raise
        finally:
            self._spool.close()

    def _write_to(self, stream: Any, spool: Spool) -> None:
        if self._format == ".parquet":
            write_parquet(stream, spool.lines)
            return
        names = [*self._names, REASON, KEY, POSITION, SOURCE]
        lines: Iterator[bytes] = spool.lines()
        blocks = csv_blocks(names, lines) if self._format == ".csv" else (line + b"\n" for line in lines)
        for block in blocks:
            stream.write(block)


def without_rejection(chunk: Chunk) -> Chunk:
    """Records of such a file without what describes the rejection."""
    if chunk.columns and REASON not in chunk.columns:
        return chunk
    if not chunk.columns and not any(REASON in record for record in chunk.records):
        return chunk
    records = [{name: value for name, value in row.items() if not name.startswith(PREFIX)} for row in chunk.records]
    columns = tuple(name for name in chunk.columns if not name.startswith(PREFIX))
    return chunk._replace(records=records, columns=columns)
