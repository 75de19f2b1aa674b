"""The records of a task on their way to Kaleidoscope: read once, checked, encoded, and cut into requests."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sluice_provider.apis.validation import check_choice, check_whole_number
from sluice_provider.errors import InvalidInput
from sluice_provider.http.bodies import EncodedRows, encode
from sluice_provider.jobs.record import PhaseRecord
from sluice_provider.jobs.spec import Unit
from sluice_provider.sources.batches import Batch
from sluice_provider.sources.readers import open_source
from sluice_provider.sources.spool import Spool

ENVELOPE = 4096
"""Bytes of a request that are kept free for everything but the rows."""

REJECTION_POLICIES = ("fail", "warn", "ignore")
"""What `on_rejected_rows` may be."""

RowCheck = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
"""Makes the row to send from a record and its position in the source ("line 17"). The message of the `InvalidInput`
that it raises is put after the position."""


def check_batching(batch_size: object, max_bytes: object, on_rejected_rows: object) -> None:
    """:raises InvalidInput: one of the arguments that all tasks with batches have is wrong"""
    check_whole_number("batch_size", batch_size, 1)
    check_whole_number("max_bytes", max_bytes, 2 * ENVELOPE + 1)
    check_choice("on_rejected_rows", on_rejected_rows, REJECTION_POLICIES)


class CheckedRows:
    """The rows of a source, which is read once, when a row or a property is first needed. Each row is checked and
    encoded when it is read, and what was checked is what is sent. If the source cannot be read, it is not read again.

    Every property and method but `close` raises `InvalidInput` if the source cannot be read or a row cannot be sent.

    :param records: a sequence of dicts, or the path or URL of a file
    :param check: of each row
    :param max_bytes: of a request; each row must fit into one
    """

    def __init__(self, records: Any, check: RowCheck, max_bytes: int | None = None) -> None:
        self._records = records
        self._check = check
        self._max_bytes = max_bytes
        self._spooled: _SpooledRows | None = None
        self._error: InvalidInput | None = None

    @property
    def source_name(self) -> str:
        """For messages."""
        return self._read().source_name

    @property
    def count(self) -> int:
        return self._read().spool.count

    @property
    def digest(self) -> str:
        """Of all rows."""
        return self._read().digest

    @property
    def fields(self) -> Collection[str]:
        """The names of all fields that any row has."""
        return self._read().fields

    def units(self, record: PhaseRecord, batch_size: int, max_bytes: int) -> Iterator[Unit]:
        """The rows that were not submitted yet, in batches."""
        done = [submission.rows for submission in record.submissions]
        spool = self._read().spool
        return map(_unit, spool.batches(rows=batch_size, size=max_bytes - ENVELOPE, done=done))

    def encoded(self) -> EncodedRows:
        """All rows, for one request."""
        return EncodedRows(tuple(self._read().spool))

    def close(self) -> None:
        """Delete the temporary file."""
        if self._spooled is not None:
            self._spooled.spool.close()

    def _read(self) -> _SpooledRows:
        if self._error is not None:
            raise self._error
        if self._spooled is None:
            try:
                self._spooled = self._spool()
            except InvalidInput as error:
                self._error = error
                raise
        return self._spooled

    def _spool(self) -> _SpooledRows:
        source = open_source(self._records)
        spool, fields = Spool(), set[str]()
        try:
            for position, record in source:
                spool.add(self._encode(source.name, position, record))
                fields.update(record)
            return _SpooledRows(source.name, spool, spool.finish(), frozenset(fields))
        except BaseException:
            spool.close()
            raise

    def _encode(self, source_name: str, position: str, record: Mapping[str, Any]) -> bytes:
        try:
            row = encode(self._check(position, record))
        except InvalidInput as error:
            raise InvalidInput(f"{source_name}: {position} {error}") from None
        if self._max_bytes is not None and len(row) > self._max_bytes - ENVELOPE:
            raise InvalidInput(
                f"{source_name}: {position} has {len(row)} bytes as JSON, and max_bytes={self._max_bytes} allows "
                f"{self._max_bytes - ENVELOPE}: raise max_bytes or shorten the record"
            )
        return row


class _SpooledRows(NamedTuple):
    """What was read."""

    source_name: str
    spool: Spool
    digest: str
    fields: frozenset[str]


def _unit(batch: Batch) -> Unit:
    size = len(batch.rows)
    halve = (lambda: [_unit(half) for half in batch.halves()]) if size > 1 else None
    return Unit(batch.start, size, EncodedRows(batch.rows), halve)


def require_fields(names: Sequence[str] | None) -> RowCheck:
    """Each row must have a value for these fields, and names for all of its fields."""

    def check(_position: str, record: Mapping[str, Any]) -> Mapping[str, Any]:
        missing = [name for name in names or () if record.get(name) is None or record[name] == ""]
        if missing:
            raise InvalidInput(f"has no value for the key field {', '.join(missing)}; it has {field_names(record)}")
        if not all(isinstance(name, str) and name for name in record):
            raise InvalidInput("has a field without a name")
        return record

    return check


def field_names(record: Mapping[str, Any]) -> str:
    """The first of them, for an error message."""
    return ", ".join(map(str, list(record)[:10])) or "no fields"
