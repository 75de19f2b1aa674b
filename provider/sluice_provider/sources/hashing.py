"""Streams that compute the SHA-256 of what passes through them."""

from __future__ import annotations

import hashlib
import io
from typing import IO, cast

BUFFER = 1 << 20


class HashingReader(io.RawIOBase):
    """Reads from a stream, in large blocks."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__()
        self._stream = stream
        self._digest = hashlib.sha256()
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        block = self._stream.read(len(buffer))
        buffer[: len(block)] = block
        self._digest.update(block)
        self._ended = not block
        return len(block)

    @property
    def buffered(self) -> IO[bytes]:
        """To read from, once."""
        return cast("IO[bytes]", io.BufferedReader(self, BUFFER))

    @property
    def sha256(self) -> str | None:
        """Of the whole stream; None before its end was reached."""
        return self._digest.hexdigest() if self._ended else None


class HashingWriter:
    """Writes to a stream, counts the bytes, and computes their SHA-256."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, chunk: bytes) -> int:
        self._digest.update(chunk)
        self.size += len(chunk)
        return self._stream.write(chunk)

    def close(self) -> None:
        self._stream.close()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def __enter__(self) -> HashingWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
