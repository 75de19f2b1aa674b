"""Rows on their way to Kaleidoscope, in batches: what pushing records and staging drafts have in common."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

from sluice_provider.apis.validation import check_choice, check_whole_number
from sluice_provider.http.bodies import EncodedRows
from sluice_provider.jobs.record import PhaseRecord
from sluice_provider.jobs.spec import Unit

ENVELOPE = 4096
"""Bytes of a request that are kept free for everything but the rows."""


REJECTION_POLICIES = ("fail", "warn", "ignore")
"""What `on_rejected_rows` may be."""


class Batch(Protocol):
    """Consecutive encoded rows. `start` counts rows of the whole source from 0."""

    @property
    def start(self) -> int: ...
    @property
    def rows(self) -> Sequence[bytes]: ...
    def halves(self) -> Sequence[Batch]: ...


class CheckedRows(Protocol):
    """Rows that were read once, checked and encoded; read when first asked for.

    Each property and method :raises InvalidInput: they cannot be read, or one of them cannot be sent
    """

    @property
    def name(self) -> str:
        """Of the source."""

    @property
    def count(self) -> int: ...
    @property
    def digest(self) -> str: ...
    @property
    def fields(self) -> Collection[str]:
        """All that any of them has."""

    def batches(self, *, rows: int, size: int, done: Collection[range]) -> Iterator[Batch]: ...
    def all(self) -> Sequence[bytes]: ...
    def close(self) -> None: ...


def check_batches(batch_size: object, max_bytes: object, on_rejected_rows: object) -> None:
    """:raises InvalidInput: no batch can be made by these limits, or there is no such policy"""
    check_whole_number("batch_size", batch_size, 1)
    check_whole_number("max_bytes", max_bytes, 2 * ENVELOPE + 1)
    check_choice("on_rejected_rows", on_rejected_rows, REJECTION_POLICIES)


def units(rows: CheckedRows, record: PhaseRecord, batch_size: int, max_bytes: int) -> Iterator[Unit]:
    """What was not submitted before, cut into batches."""
    done = [submission.rows for submission in record.submissions]
    return map(_unit, rows.batches(rows=batch_size, size=max_bytes - ENVELOPE, done=done))


def _unit(batch: Batch) -> Unit:
    size = len(batch.rows)
    halve = (lambda: [_unit(half) for half in batch.halves()]) if size > 1 else None
    return Unit(batch.start, size, EncodedRows(batch.rows), halve)
