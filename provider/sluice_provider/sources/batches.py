"""Records in batches, bounded by rows and by bytes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple


class Batch(NamedTuple):
    """Consecutive records. `start` counts records of the whole source from 0."""

    start: int
    records: tuple[Mapping[str, Any], ...]

    def halves(self) -> tuple[Batch, Batch]:
        middle = len(self.records) // 2
        return Batch(self.start, self.records[:middle]), Batch(self.start + middle, self.records[middle:])


def batches(
    records: Iterable[Mapping[str, Any]],
    *,
    rows: int,
    size: int,
    measure: Callable[[Mapping[str, Any]], int],
    done: Collection[range] = (),
) -> Iterator[Batch]:
    """
    :param rows: records in a batch at the most
    :param size: bytes in a batch at the most, as `measure` counts them
    :param done: stretches of records to leave out; no batch reaches over one
    """
    taken: list[Mapping[str, Any]] = []
    start = weight = 0
    for number, record in enumerate(records):
        skip = any(number in stretch for stretch in done)
        bytes_ = 0 if skip else measure(record)
        if taken and (skip or len(taken) == rows or weight + bytes_ > size):
            yield Batch(start, tuple(taken))
            taken, weight = [], 0
        if skip:
            continue
        if not taken:
            start = number
        taken.append(record)
        weight += bytes_
    if taken:
        yield Batch(start, tuple(taken))


def joined(stretches: Iterable[range]) -> list[range]:
    """Stretches in order, those that touch as one."""
    found: list[range] = []
    for stretch in sorted(stretches, key=lambda one: one.start):
        if found and stretch.start <= found[-1].stop:
            found[-1] = range(found[-1].start, max(found[-1].stop, stretch.stop))
        elif stretch:
            found.append(stretch)
    return found
