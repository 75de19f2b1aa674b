"""Records out of chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sluice_provider.sources.chunks import Chunk


def located(chunks: Iterable[Chunk]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each record with its position."""
    for chunk in chunks:
        for index, record in enumerate(chunk.records):
            yield chunk.position(index), record
