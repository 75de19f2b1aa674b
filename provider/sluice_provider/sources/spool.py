"""Encoded rows in a temporary file: read once from their source, sent from here as often as it takes.

A source that changes between two readings cannot get rows past the checks this way, and memory stays flat. The file has
no name while it is open (on POSIX), so that nothing is left behind, however the process ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from tempfile import TemporaryFile, gettempdir

from sluice_provider.errors import InvalidInput
from sluice_provider.sources.batches import Batch, batches

BUFFER = 1 << 20


class Spool:
    """One encoded row a line. First it is filled, then sealed, then read."""

    def __init__(self) -> None:
        """:raises InvalidInput: there is no place for temporary files"""
        self.count = 0
        self._hash = hashlib.sha256()
        try:
            self._file = TemporaryFile(prefix="sluice-", buffering=BUFFER)  # noqa: SIM115 - open for as long as this is
        except OSError as error:
            raise _no_room(error) from error

    def add(self, row: bytes) -> None:
        """
        :param row: without a line break
        :raises InvalidInput: the disk is full
        """
        line = row + b"\n"
        try:
            self._file.write(line)
        except OSError as error:
            raise _no_room(error) from error
        self._hash.update(line)
        self.count += 1

    def seal(self) -> str:
        """No more rows come: the digest of all of them.

        :raises InvalidInput: the disk is full
        """
        try:
            self._file.flush()
        except OSError as error:
            raise _no_room(error) from error
        return self._hash.hexdigest()

    def __iter__(self) -> Iterator[bytes]:
        at = 0
        for _ in range(self.count):
            self._file.seek(at)  # somebody else may have read between two rows
            line = self._file.readline()
            at += len(line)
            yield line[:-1]

    def batches(self, *, rows: int, size: int, done: Collection[range] = ()) -> Iterator[Batch]:
        """As `sources.batches.batches`."""
        return batches(self, rows=rows, size=size, done=done)

    def close(self) -> None:
        """The file is gone."""
        try:
            self._file.close()
        except OSError:  # what could not be written before is written again on closing, and still cannot
            return


def _no_room(error: OSError) -> InvalidInput:
    """Another try may find room, or run on another worker."""
    found = InvalidInput(
        f"the rows are copied to a temporary file before any of them is sent, and that failed ({gettempdir()}: "
        f"{error.strerror or error}). Nothing was sent. Free some space there, or let TMPDIR name a directory with room"
    )
    found.retryable = True
    return found
