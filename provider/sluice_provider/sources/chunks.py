"""Records in chunks, each with its position in the source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

CHUNK_RECORDS = 500


class Chunk(NamedTuple):
    """Consecutive records of a source.

    :param unit: what `numbers` count: lines, records or rows
    :param numbers: the position of each record, for error messages
    :param columns: of a text table: the names of all fields; all values are strings then
    """

    unit: str
    numbers: Sequence[int]
    records: Sequence[Mapping[str, Any]]
    columns: tuple[str, ...] = ()

    def position(self, index: int) -> str:
        """Of one record, as in "line 17"."""
        return f"{self.unit} {self.numbers[index]}"


def chunks(unit: str, numbered: Iterable[tuple[int, Mapping[str, Any]]], skip: int = 0) -> Iterator[Chunk]:
    """
    :param numbered: each record with its position
    :param skip: how many of the first records to leave out
    """
    rest = islice(numbered, skip, None)
    while some := list(islice(rest, CHUNK_RECORDS)):
        yield Chunk(unit, [number for number, _ in some], [record for _, record in some])
