"""Encoded rows in batches of limited rows and bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple


class Batch(NamedTuple):
    """Consecutive rows; `start` is the index of the first one in the whole source."""

    start: int
    rows: tuple[bytes, ...]

    def halves(self) -> tuple[Batch, Batch]:
        middle = len(self.rows) // 2
        return Batch(self.start, self.rows[:middle]), Batch(self.start + middle, self.rows[middle:])


def batches(source: Iterable[bytes], *, rows: int, size: int, done: Collection[range] = ()) -> Iterator[Batch]:
    """
    :param rows: the maximum number of rows in a batch
    :param size: the maximum size of a batch in bytes, with one more for each row
    :param done: ranges of rows to leave out; no batch spans one
    """
    skipped = deque(merge_ranges(done))
    batch_rows: list[bytes] = []
    start = batch_size = 0
    for number, row in enumerate(source):
        while skipped and number >= skipped[0].stop:
            skipped.popleft()
        skip = bool(skipped) and number in skipped[0]
        if batch_rows and (skip or len(batch_rows) == rows or batch_size + len(row) + 1 > size):
            yield Batch(start, tuple(batch_rows))
            batch_rows, batch_size = [], 0
        if skip:
            continue
        if not batch_rows:
            start = number
        batch_rows.append(row)
        batch_size += len(row) + 1
    if batch_rows:
        yield Batch(start, tuple(batch_rows))


def merge_ranges(ranges: Iterable[range]) -> list[range]:
    """The ranges in order; adjacent and overlapping ones are merged."""
    merged: list[range] = []
    for each in sorted(ranges, key=lambda one: one.start):
        if merged and each.start <= merged[-1].stop:
            merged[-1] = range(merged[-1].start, max(merged[-1].stop, each.stop))
        elif each:
            merged.append(each)
    return merged
