"""What a source of records is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from sluice_provider.sources.chunks import Chunk


class Source(Protocol):
    """
    :param name: for messages
    :param sha256: of the content, once all of it was read; None for a source that is no stream of bytes
    :param recognisable: whether a later try can see by the content alone that it is the same
    """

    @property
    def name(self) -> str: ...

    @property
    def sha256(self) -> str | None: ...

    @property
    def recognisable(self) -> bool: ...

    def chunks(self, skip: int = 0) -> Iterator[Chunk]:
        """Read it from the start.

        :param skip: how many of the first records to leave out
        :raises InvalidInput: it cannot be read
        """
