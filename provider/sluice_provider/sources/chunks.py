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
    :param columns: of a table: the names of all fields, which a record may lack; empty where they are not known
    :param only_strings: all values are strings
    :param part: the name of the part of the source that they are from, if it has several
    """

    unit: str
    numbers: Sequence[int]
    records: Sequence[Mapping[str, Any]]
    columns: tuple[str, ...] = ()
    only_strings: bool = False
    part: str = ""

    def position(self, index: int) -> str:
        """Of one record, as in "line 17"."""
        position = f"{self.unit} {self.numbers[index]}"
        return f"{self.part}: {position}" if self.part else position

    def without_first(self, count: int) -> Chunk:
        """Without so many records."""
        return self._replace(numbers=self.numbers[count:], records=self.records[count:])


def chunks(unit: str, numbered: Iterable[tuple[int, Mapping[str, Any]]], skip: int = 0) -> Iterator[Chunk]:
    """
    :param numbered: each record with its position
    :param skip: how many of the first records to leave out
    """
    rest = islice(numbered, skip, None)
    while some := list(islice(rest, CHUNK_RECORDS)):
        yield Chunk(unit, [number for number, _ in some], [record for _, record in some])


def table_chunks(blocks: Iterable[Chunk], skip: int = 0) -> Iterator[Chunk]:
    """Chunks of a table that is read from its first row on, without the first rows.

    :param skip: how many of them to leave out
    """
    for chunk in blocks:
        count = len(chunk.records)
        if skip < count:
            yield chunk.without_first(skip) if skip else chunk
        skip = max(0, skip - count)
