"""Encoded rows in batches, bounded by rows and by bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple


class Batch(NamedTuple):
    """Consecutive rows. `start` counts rows of the whole source from 0."""

    start: int
    rows: tuple[bytes, ...]

    def halves(self) -> tuple[Batch, Batch]:
        middle = len(self.rows) // 2
        return Batch(self.start, self.rows[:middle]), Batch(self.start + middle, self.rows[middle:])


def batches(source: Iterable[bytes], *, rows: int, size: int, done: Collection[range] = ()) -> Iterator[Batch]:
    """
    :param rows: rows in a batch at the most
    :param size: bytes in a batch at the most, with one more for each row
    :param done: ranges of rows to leave out; no batch reaches over one
    """
    left_out = deque(merge_ranges(done))
    taken: list[bytes] = []
    start = weight = 0
    for number, row in enumerate(source):
        while left_out and number >= left_out[0].stop:
            left_out.popleft()
        skip = bool(left_out) and number in left_out[0]
        if taken and (skip or len(taken) == rows or weight + len(row) + 1 > size):
            yield Batch(start, tuple(taken))
            taken, weight = [], 0
        if skip:
            continue
        if not taken:
            start = number
        taken.append(row)
        weight += len(row) + 1
    if taken:
        yield Batch(start, tuple(taken))


def merge_ranges(ranges: Iterable[range]) -> list[range]:
    """Ranges in order, those that touch as one."""
    found: list[range] = []
    for each in sorted(ranges, key=lambda one: one.start):
        if found and each.start <= found[-1].stop:
            found[-1] = range(found[-1].start, max(found[-1].stop, each.stop))
        elif each:
            found.append(each)
    return found
