"""Encoded rows in a temporary file: read once from their source, and sent from here, if necessary repeatedly.

So every row that is sent was validated, even if the source changes, and memory use is constant. On POSIX the file has
no name, so nothing is left behind however the process ends.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from tempfile import TemporaryFile, gettempdir
from typing import NamedTuple

from sluice_provider.errors import InvalidInput
from sluice_provider.sources.chunks import Chunk

BUFFER = 1 << 20
LINES_AT_ONCE = 1000

SEPARATOR = b",\n"
"""Between two rows, and after the last one. JSON text has no line break within a row."""


class Batch(NamedTuple):
    """Consecutive rows.

    :param start: the number of the first one in the whole source
    :param size: how many there are
    :param text: they as the items of a JSON array, without its brackets
    """

    start: int
    size: int
    text: bytes

    def halves(self) -> tuple[Batch, Batch]:
        rows = self.text.split(SEPARATOR)
        middle = len(rows) // 2
        first, second = rows[:middle], rows[middle:]
        return (
            Batch(self.start, len(first), SEPARATOR.join(first)),
            Batch(self.start + middle, len(second), SEPARATOR.join(second)),
        )


class Spool:
    """One encoded row per line: first filled, then finished, then read.

    :param start: the number of the first row in the whole source
    """

    def __init__(self, start: int = 0) -> None:
        """:raises InvalidInput: no temporary file can be created"""
        self.start = start
        self.count = 0
        self.size = 0
        """Bytes."""
        self._hash = hashlib.sha256()
        try:
            self._file = TemporaryFile(prefix="sluice-", buffering=BUFFER)  # noqa: SIM115 - closed by `close`
        except OSError as error:
            raise disk_error(error) from error

    def add(self, rows: bytes, count: int) -> None:
        """
        :param rows: each with `SEPARATOR` after it
        :raises InvalidInput: the disk is full
        """
        try:
            self._file.write(rows)
        except OSError as error:
            raise disk_error(error) from error
        self._hash.update(rows)
        self.count += count
        self.size += len(rows)

    def finish(self) -> str:
        """Finish writing, and return the digest of all rows.

        :raises InvalidInput: the disk is full
        """
        try:
            self._file.flush()
        except OSError as error:
            raise disk_error(error) from error
        return self._hash.hexdigest()

    @property
    def text(self) -> bytes:
        """All rows, as the items of a JSON array."""
        self._file.seek(0)
        whole: bytes = self._file.read()
        return whole[: -len(SEPARATOR)]

    def lines(self) -> Iterator[bytes]:
        """The rows, one after the other."""
        position = 0
        while block := self._lines(position, LINES_AT_ONCE, BUFFER):
            for line in block:
                yield line.removesuffix(SEPARATOR)
            position += sum(map(len, block))

    def batches(self, *, rows: int, size: int, done: Collection[range] = ()) -> Iterator[Batch]:
        """
        :param rows: the maximum number of rows in a batch
        :param size: the maximum size of a batch in bytes, a separator for each row included
        :param done: numbers of rows to leave out; no batch spans any of them
        """
        number, position = self.start, 0
        for wanted in subtract_ranges(range(self.start, self.start + self.count), done):
            position += self._size_of(position, wanted.start - number)
            number = wanted.start
            while number < wanted.stop:
                lines = self._lines(position, min(rows, wanted.stop - number), size)
                text = b"".join(lines)
                yield Batch(number, len(lines), text[: -len(SEPARATOR)])
                number, position = number + len(lines), position + len(text)

    def _lines(self, position: int, count: int, size: int) -> list[bytes]:
        """So many lines from this position, or as many as fit into this size; at least one."""
        self._file.seek(position)  # another iteration may have moved the position
        lines: list[bytes] = []
        for line in islice(self._file, count):
            size -= len(line)
            if size < 0 and lines:
                break
            lines.append(line)
        return lines

    def _size_of(self, position: int, count: int) -> int:
        self._file.seek(position)
        return sum(map(len, islice(self._file, count)))

    def close(self) -> None:
        """Delete the file."""
        try:
            self._file.close()
        except OSError:  # closing flushes again what could not be written before
            return


class Positions:
    """Where each row was in its source, in a temporary file of 8 bytes a row.

    :param start: the number of the first row in the whole source
    """

    def __init__(self, start: int = 0) -> None:
        self._start = start
        self._count = 0
        self._parts: list[tuple[int, str, str]] = []
        try:
            self._file = TemporaryFile(prefix="sluice-", buffering=BUFFER)  # noqa: SIM115 - closed by `close`
        except OSError as error:
            raise disk_error(error) from error

    def add(self, chunk: Chunk) -> None:
        """:raises InvalidInput: the disk is full"""
        if not self._parts or self._parts[-1][1:] != (chunk.unit, chunk.part):
            self._parts.append((self._count, chunk.unit, chunk.part))
        try:
            self._file.write(array("q", chunk.numbers).tobytes())
        except OSError as error:
            raise disk_error(error) from error
        self._count += len(chunk.numbers)

    def find(self, number: int) -> tuple[str, str]:
        """The position of a row, as "line 17", and the part of the source, if it has several."""
        index = number - self._start
        self._file.seek(8 * index)
        (position,) = array("q", self._file.read(8))
        part = self._parts[bisect_right(self._parts, index, key=lambda each: each[0]) - 1]
        return f"{part[1]} {position}", part[2]

    def close(self) -> None:
        self._file.close()


def disk_error(error: OSError) -> InvalidInput:
    """Retryable: the next try may find free space, or run on another worker."""
    found = InvalidInput(
        f"the rows could not be copied to a temporary file in {gettempdir()}, which is done before any is sent: "
        f"{error.strerror or error}. Nothing was sent. Free some space, or set TMPDIR to a directory with enough space"
    )
    found.retryable = True
    return found


# --- ranges of row numbers --------------------------------------------------------------------------------------------


def subtract_ranges(whole: range, done: Iterable[range]) -> Iterator[range]:
    """What is left of the whole range, in order."""
    start = whole.start
    for each in merge_ranges(done):
        if each.start > start:
            yield range(start, min(each.start, whole.stop))
        start = max(start, each.stop)
        if start >= whole.stop:
            return
    yield range(start, whole.stop)


def merge_ranges(ranges: Iterable[range]) -> list[range]:
    """The ranges in order; adjacent and overlapping ones are merged."""
    merged: list[range] = []
    for each in sorted(ranges, key=lambda one: one.start):
        if merged and each.start <= merged[-1].stop:
            merged[-1] = range(merged[-1].start, max(merged[-1].stop, each.stop))
        elif each:
            merged.append(each)
    return merged
