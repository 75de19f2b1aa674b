"""Rows of the author's, from wherever they are, checked for Kaleidoscope."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sluice_provider.apis.kaleidoscope.rows import ENVELOPE
from sluice_provider.errors import InvalidInput
from sluice_provider.http.bodies import encode
from sluice_provider.sources.batches import Batch
from sluice_provider.sources.readers import open_source
from sluice_provider.sources.spool import Spool

Check = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
"""Of one row, by the place where it stands: what is to be sent of it. :raises InvalidInput: it cannot be, in words that
follow the place"""


class _Read(NamedTuple):
    name: str
    spool: Spool
    digest: str
    fields: frozenset[str]


class RowsOnce:
    """The rows of a source, which is read once: each is checked and encoded when it is read, and what was checked is
    what is sent. Where the source cannot be read, that stays so for this process.

    :param records: a sequence of dicts, or the path or URL of a file
    :param max_bytes: of a request; a row must fit into it
    """

    def __init__(self, records: Any, check: Check, max_bytes: int | None = None) -> None:
        self._records = records
        self._check = check
        self._max_bytes = max_bytes
        self._read: _Read | None = None
        self._error: InvalidInput | None = None

    @property
    def name(self) -> str:
        return self._rows.name

    @property
    def count(self) -> int:
        return self._rows.spool.count

    @property
    def digest(self) -> str:
        return self._rows.digest

    @property
    def fields(self) -> Collection[str]:
        return self._rows.fields

    def batches(self, *, rows: int, size: int, done: Collection[range]) -> Iterator[Batch]:
        return self._rows.spool.batches(rows=rows, size=size, done=done)

    def all(self) -> Sequence[bytes]:
        return tuple(self._rows.spool)

    def close(self) -> None:
        if self._read is not None:
            self._read.spool.close()

    @property
    def _rows(self) -> _Read:
        if self._error is not None:
            raise self._error
        if self._read is None:
            try:
                self._read = self._read_all()
            except InvalidInput as error:
                self._error = error
                raise
        return self._read

    def _read_all(self) -> _Read:
        source = open_source(self._records)
        spool, fields = Spool(), set[str]()
        try:
            for place, record in source:
                spool.add(self._encoded(f"{source.name}: {place}", place, record))
                fields.update(record)
            return _Read(source.name, spool, spool.seal(), frozenset(fields))
        except BaseException:
            spool.close()
            raise

    def _encoded(self, where: str, place: str, record: Mapping[str, Any]) -> bytes:
        try:
            row = encode(self._check(place, record))
        except InvalidInput as error:
            raise InvalidInput(f"{where} {error}") from None
        if self._max_bytes is not None and len(row) > self._max_bytes - ENVELOPE:
            raise InvalidInput(f"{where} takes {len(row)} bytes, more than max_bytes allows")
        return row


def with_keys(keys: Sequence[str] | None) -> Check:
    """Each row must have the key fields."""

    def check(_place: str, record: Mapping[str, Any]) -> Mapping[str, Any]:
        missing = [name for name in keys or () if record.get(name) is None or record[name] == ""]
        if missing:
            there = ", ".join(map(str, list(record)[:10])) or "no fields at all"
            raise InvalidInput(f"has no {', '.join(missing)}, a key field; it has {there}")
        if not all(isinstance(name, str) and name for name in record):
            raise InvalidInput("has a field without a name")
        return record

    return check
