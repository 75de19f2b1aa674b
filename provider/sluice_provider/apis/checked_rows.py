"""The records of a task on their way to a service: read once, checked, encoded, and cut into requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from tempfile import gettempdir
from typing import Any, NamedTuple

from sluice_provider.apis.payloads import JsonObject
from sluice_provider.errors import InvalidInput
from sluice_provider.http.bodies import EncodedRows, encode, encode_rows
from sluice_provider.jobs.record import PhaseRecord
from sluice_provider.jobs.spec import Unit
from sluice_provider.sources.chunks import Chunk
from sluice_provider.sources.records import open_source
from sluice_provider.sources.source import Source
from sluice_provider.sources.spool import SEPARATOR, Batch, Positions, Spool, merge_ranges

ENVELOPE = 4096
"""Bytes of a request that are kept free for everything but the rows."""

PREVIEWED = 5
"""Rows that a dry run logs."""
MAX_PREVIEWED_CHARS = 1000
"""Of each of them."""

RowCheck = Callable[[Chunk], Sequence[Mapping[str, Any]]]
"""Makes the rows to send from records. An `InvalidRow` that it raises tells which record is wrong."""


class InvalidRow(InvalidInput):
    """A record that cannot be sent.

    :param index: in its chunk
    :param problem: what is wrong, to be put after its position
    """

    def __init__(self, index: int, problem: str) -> None:
        super().__init__(problem)
        self.index = index


class CheckedRows:
    """The rows of a source, which is read once, when a row or a property is first needed. Each row is checked and
    encoded when it is read, and what was checked is what is sent. If the source cannot be read, it is not read again.

    Every property and method but `close` and `resume` raises `InvalidInput` if the source cannot be read or a row
    cannot be sent.

    :param records: what `sources/records.py: open_source` takes
    :param check: of each chunk of records
    :param max_bytes: of a request; each row must fit into one
    :param positions: keep where each row was in the source
    """

    def __init__(self, records: Any, check: RowCheck, max_bytes: int | None = None, *, positions: bool = False) -> None:
        self._records = records
        self._check = check
        self._max_bytes = max_bytes
        self._keep_positions = positions
        self._earlier: _Earlier | None = None
        self._spooled: _SpooledRows | None = None
        self._error: InvalidInput | None = None

    @property
    def source_name(self) -> str:
        """For messages."""
        return self._read().source_name

    @property
    def description(self) -> str:
        """What was read, and where it is kept, for the log."""
        return str(self._read())

    @property
    def total(self) -> int:
        """How many there are."""
        return self._read().total

    @property
    def digest(self) -> str:
        """Of all rows."""
        return self._read().digest

    @property
    def facts(self) -> JsonObject:
        """For `resume` in another try, and for `slices`: what was read."""
        rows = self._read()
        found: JsonObject = {"digest": rows.digest, "count": rows.total}
        return {**found, "sha256": rows.sha256} if rows.sha256 else found

    def resume(self, facts: Mapping[str, Any], done: Collection[range]) -> None:
        """Called before the source is read: if its content is what an earlier try read, the first rows are neither
        checked nor encoded again unless they are needed after all.

        :param facts: what that try found; another version may have written it
        :param done: the rows that it has submitted
        """
        first = next(iter(merge_ranges(done)), range(0))
        types = {"sha256": str, "digest": str, "count": int}
        if first.start == 0 and first and all(isinstance(facts.get(name), kind) for name, kind in types.items()):
            self._earlier = _Earlier(facts["sha256"], facts["digest"], facts["count"], first.stop)

    def units(self, record: PhaseRecord, batch_size: int, max_bytes: int) -> Iterator[Unit]:
        """The rows that were not submitted yet, in batches."""
        done = [submission.rows for submission in record.submissions]
        rows = self._read_from(next((each.stop for each in merge_ranges(done) if each.start == 0), 0))
        return map(_unit, rows.spool.batches(rows=batch_size, size=max_bytes - ENVELOPE, done=done))

    def encoded(self) -> EncodedRows:
        """All rows, for one request."""
        return EncodedRows(self._read_from(0).spool.text)

    def first(self, count: int) -> list[JsonObject]:
        """The first rows as they would be sent, for a preview."""
        return [json.loads(line) for line in islice(self.lines(), count)]

    def log_first(self, log: Any, what: str) -> None:
        """For a dry run.

        :param what: would be done with them
        """
        log.info("Would %s; the first of %d records as they would be sent:", what, self.total)
        for row in self.first(PREVIEWED):
            log.info("  %s", json.dumps(row, ensure_ascii=False)[:MAX_PREVIEWED_CHARS])

    def lines(self) -> Iterator[bytes]:
        """All rows, one after the other, each as a JSON object."""
        return self._read_from(0).spool.lines()

    def slices(self, wanted: Iterable[range], digest: object) -> Iterator[list[LocatedRow]]:
        """The rows of each of these ranges, which must be in order, with their positions.

        :param digest: of the rows that were sent: the source may have changed since
        :raises InvalidInput: the rows cannot be read any more, or are others
        """
        rows = self._read_from(0)
        if digest not in (None, rows.digest):
            raise InvalidInput(f"{rows.source_name} has changed since its rows were sent")
        lines, number = rows.spool.lines(), 0
        for each in wanted:
            if each.start < number:  # of an import that was submitted again
                yield []
                continue
            encoded = list(islice(lines, each.start - number, each.stop - number))
            number = each.stop
            yield [
                LocatedRow(json.loads(line), *rows.located(each.start + index)) for index, line in enumerate(encoded)
            ]

    def close(self) -> None:
        """Delete the temporary files."""
        if self._spooled is not None:
            self._spooled.close()

    # --- reading

    def _read(self) -> _SpooledRows:
        if self._error is not None:
            raise self._error
        if self._spooled is None:
            try:
                self._spooled = self._spool_rest() or self._spool()
            except InvalidInput as error:
                self._error = error
                raise
        return self._spooled

    def _read_from(self, first: int) -> _SpooledRows:
        """At least the rows from this one on.

        :raises InvalidInput: the earlier rows were left out, and meanwhile the source has changed
        """
        rows = self._read()
        if rows.spool.start <= first:
            return rows
        rows.close()
        self._spooled, self._earlier = None, None
        again = self._read()
        same = again.sha256 == rows.sha256 if rows.sha256 else again.digest == rows.digest
        if not same:
            again.close()
            raise InvalidInput(f"{rows.source_name} has changed since this task began to read it; no more was sent")
        return again

    def _spool_rest(self) -> _SpooledRows | None:
        """What an earlier try did not submit; None if the source's content is not what that try read."""
        earlier = self._earlier
        if earlier is None or not self._source().recognisable:
            return None
        try:
            rows = self._spool(skip=earlier.submitted)
        except InvalidInput as error:
            if error.retryable:
                raise
            return None  # is read whole, for the error of the first invalid record
        if rows.sha256 == earlier.sha256 and rows.total == earlier.total:
            return rows._replace(digest=earlier.digest)
        rows.close()
        return None

    def _source(self) -> Source:
        return open_source(self._records)

    def _spool(self, skip: int = 0) -> _SpooledRows:
        source = self._source()
        spool, positions = Spool(skip), Positions(skip) if self._keep_positions else None
        try:
            for chunk in source.chunks(skip):
                spool.add(*self._encode(source, chunk))
                if positions is not None:
                    positions.add(chunk)
            return _SpooledRows(source.name, spool, spool.finish(), source.sha256, positions)
        except BaseException:
            spool.close()
            if positions is not None:
                positions.close()
            raise

    def _encode(self, source: Source, chunk: Chunk) -> tuple[bytes, int]:
        """The rows of a chunk, and how many they are."""
        try:
            rows = self._check(chunk)
            return self._encode_all(rows, only_strings=rows is chunk.records and chunk.only_strings), len(rows)
        except InvalidRow as error:
            raise InvalidInput(f"{source.name}: {chunk.position(error.index)} {error}") from None

    def _encode_all(self, rows: Sequence[Mapping[str, Any]], *, only_strings: bool) -> bytes:
        try:
            encoded = encode_rows(rows, SEPARATOR, only_strings=only_strings)
        except InvalidInput:
            _find_unencodable(rows)
            raise
        if self._max_bytes and len(encoded) > self._max_bytes - ENVELOPE:
            _check_sizes(encoded.split(SEPARATOR), self._max_bytes)
        return encoded


class LocatedRow(NamedTuple):
    """A row as it was sent, its position in the source, and the name of that."""

    fields: JsonObject
    position: str
    source: str


class _Earlier(NamedTuple):
    """What an earlier try read and submitted."""

    sha256: str
    digest: str
    total: int
    submitted: int


class _SpooledRows(NamedTuple):
    """What was read. The first rows may have been left out."""

    source_name: str
    spool: Spool
    digest: str
    sha256: str | None
    positions: Positions | None

    def located(self, number: int) -> tuple[str, str]:
        """The position of a row, and the name of what it was read from."""
        if self.positions is None:
            return "", self.source_name
        position, part = self.positions.find(number)
        return position, part or self.source_name

    def close(self) -> None:
        self.spool.close()
        if self.positions is not None:
            self.positions.close()

    @property
    def total(self) -> int:
        return self.spool.start + self.spool.count

    def __str__(self) -> str:
        left_out = f", the first {self.spool.start} of which were submitted before" if self.spool.start else ""
        size = f"{self.spool.size / 1e6:.1f} MB in a temporary file in {gettempdir()}"
        return f"Checked {self.total} records in {self.source_name}{left_out}: all are valid ({size})"


def _find_unencodable(rows: Sequence[Mapping[str, Any]]) -> None:
    """:raises InvalidRow: for the first row that cannot be encoded"""
    for index, row in enumerate(rows):
        try:
            encode(row)
        except InvalidInput as error:
            raise InvalidRow(index, str(error)) from None


def _check_sizes(rows: Sequence[bytes], max_bytes: int) -> None:
    """:raises InvalidRow: for the first row that does not fit into a request"""
    limit = max_bytes - ENVELOPE
    for index, row in enumerate(rows):
        if len(row) > limit:
            raise InvalidRow(
                index,
                f"has {len(row)} bytes as JSON, and max_bytes={max_bytes} allows {limit}: raise max_bytes or shorten "
                "the record",
            )


def _unit(batch: Batch) -> Unit:
    halve = (lambda: [_unit(half) for half in batch.halves()]) if batch.size > 1 else None
    return Unit(batch.start, batch.size, EncodedRows(batch.text), halve)


def field_names(record: Mapping[str, Any]) -> str:
    """The first of them, for an error message."""
    return ", ".join(map(str, list(record)[:10])) or "no fields"
