"""Encoded rows in a temporary file: read once from their source, and sent from here, if necessary repeatedly.

So every row that is sent was validated, even if the source changes, and memory use is constant. On POSIX the file has
no name, so nothing is left behind however the process ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from tempfile import TemporaryFile, gettempdir

from sluice_provider.errors import InvalidInput
from sluice_provider.sources.batches import Batch, batches

BUFFER = 1 << 20


class Spool:
    """One encoded row per line: first filled, then sealed, then read."""

    def __init__(self) -> None:
        """:raises InvalidInput: no temporary file can be created"""
        self.count = 0
        self._hash = hashlib.sha256()
        try:
            self._file = TemporaryFile(prefix="sluice-", buffering=BUFFER)  # noqa: SIM115 - closed by `close`
        except OSError as error:
            raise _disk_error(error) from error

    def add(self, row: bytes) -> None:
        """
        :param row: without a line break
        :raises InvalidInput: the disk is full
        """
        line = row + b"\n"
        try:
            self._file.write(line)
        except OSError as error:
            raise _disk_error(error) from error
        self._hash.update(line)
        self.count += 1

    def finish(self) -> str:
        """Finish writing, and return the digest of all rows.

        :raises InvalidInput: the disk is full
        """
        try:
            self._file.flush()
        except OSError as error:
            raise _disk_error(error) from error
        return self._hash.hexdigest()

    def __iter__(self) -> Iterator[bytes]:
        position = 0
        for _ in range(self.count):
            self._file.seek(position)  # another iteration may have moved the position
            line = self._file.readline()
            position += len(line)
            yield line[:-1]

    def batches(self, *, rows: int, size: int, done: Collection[range] = ()) -> Iterator[Batch]:
        """See `sources.batches.batches`."""
        return batches(self, rows=rows, size=size, done=done)

    def close(self) -> None:
        """Delete the file."""
        try:
            self._file.close()
        except OSError:  # closing flushes again what could not be written before
            return


def _disk_error(error: OSError) -> InvalidInput:
    """Retryable: the next try may find free space, or run on another worker."""
    found = InvalidInput(
        f"the rows could not be copied to a temporary file in {gettempdir()}, which is done before any is sent: "
        f"{error.strerror or error}. Nothing was sent. Free some space, or set TMPDIR to a directory with enough space"
    )
    found.retryable = True
    return found
