"""Rows on their way to Kaleidoscope, in batches: what pushing records and staging drafts have in common."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sluice_provider.calls.body import encode
from sluice_provider.errors import InvalidInput
from sluice_provider.sources.batches import Batch, batches
from sluice_provider.sources.opening import Source

ENVELOPE = 4096
"""Bytes of a request that are kept free for everything but the rows."""


def check_sizes(batch_size: Any, max_bytes: Any) -> None:
    """:raises InvalidInput: no batch can be made by these limits"""
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise InvalidInput(f"batch_size must be a whole number above 0, not {batch_size!r}")
    if max_bytes <= 2 * ENVELOPE:
        raise InvalidInput(f"max_bytes must be above {2 * ENVELOPE}, not {max_bytes!r}")


def judged(source: Source, place: str, record: Mapping[str, Any], keys: Sequence[str], max_bytes: int) -> bytes:
    """The row as it will be sent.

    :raises InvalidInput: it cannot be, naming the row
    """
    where = f"{source.name}: {place}"
    missing = [name for name in keys if record.get(name) is None or record[name] == ""]
    if missing:
        there = ", ".join(map(str, list(record)[:10])) or "no fields at all"
        raise InvalidInput(f"{where} has no {', '.join(missing)}, a key field; it has {there}")
    if not all(isinstance(name, str) and name for name in record):
        raise InvalidInput(f"{where} has a field without a name")
    try:
        text = encode(record)
    except InvalidInput as error:
        raise InvalidInput(f"{where} {error}") from None
    if len(text) > max_bytes - ENVELOPE:
        raise InvalidInput(f"{where} takes {len(text)} bytes, more than max_bytes allows")
    return text


def in_batches(source: Source, batch_size: int, max_bytes: int, done: Collection[range]) -> Iterator[Batch]:
    """:param done: stretches of rows to leave out"""
    return batches(
        (record for _, record in source),
        rows=batch_size,
        size=max_bytes - ENVELOPE,
        measure=lambda record: len(encode(record)) + 1,
        done=done,
    )
