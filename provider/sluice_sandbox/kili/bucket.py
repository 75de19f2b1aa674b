"""Buckets that are folders, and which of their files a connection is for."""

from __future__ import annotations

import re
import struct
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

STARTERS = ("cats/one.png", "cats/two.png", "dogs/one.png")
"""What a new bucket holds."""


class Bucket:
    """A folder of its own, made when somebody first looks, and gone with the process."""

    def __init__(self, starters: Sequence[str] = STARTERS) -> None:
        self._starters = starters
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def path(self) -> Path:
        """Where it is; whoever can write there can fill the bucket."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="sluice-bucket-", ignore_cleanup_errors=True)
            for number, name in enumerate(self._starters):
                file = Path(self._folder.name, name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(square(number))
        return Path(self._folder.name)

    def files(self) -> list[str]:
        """As a cloud lists them: paths with slashes, sorted. A file that is still being written has another name."""
        found = (each.relative_to(self.path).as_posix() for each in self.path.rglob("*") if each.is_file())
        return sorted(name for name in found if not name.endswith((".part", ".tmp")))

    def close(self) -> None:
        """Away with it."""
        if self._folder is not None:
            self._folder.cleanup()


class Filter(NamedTuple):
    """What of a bucket a connection is for: no folders means all of them, an empty list none."""

    selected_folders: Sequence[str] | None = None
    prefix: str | None = None
    include: Sequence[str] | None = None
    exclude: Sequence[str] | None = None

    def choose(self, files: Iterable[str]) -> list[str]:
        """The prefix comes first and makes folders irrelevant; then include; exclude wins."""
        return [name for name in files if self._meant(name)]

    def _meant(self, name: str) -> bool:
        if self.prefix is not None:
            if not name.startswith(self.prefix):
                return False
        elif self.selected_folders is not None and not name.startswith(tuple(self.selected_folders)):
            return False
        if self.include and not any(_fits(pattern, name) for pattern in self.include):
            return False
        return not any(_fits(pattern, name) for pattern in self.exclude or ())


def _fits(pattern: str, name: str) -> bool:
    """Plain text is a beginning; with a star, the pattern is the whole name and the star one character or more."""
    if "*" not in pattern:
        return name.startswith(pattern)
    return re.fullmatch(".+".join(re.escape(part) for part in pattern.split("*")), name) is not None


def square(number: int, size: int = 16) -> bytes:
    """A small PNG in a colour of its own."""
    colour = bytes((number * 67 % 256, number * 131 % 256, 160))
    rows = (b"\0" + colour * size) * size
    head = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
