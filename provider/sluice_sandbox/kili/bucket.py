"""Buckets, which are folders on disk, and the filter of a connection."""

from __future__ import annotations

import re
import struct
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SAMPLE_FILES = ("cats/one.png", "cats/two.png", "dogs/one.png")
"""The files of a new bucket."""


class Bucket:
    """A temporary folder, created at first use and removed at exit."""

    def __init__(self, files_at_start: Sequence[str] = SAMPLE_FILES) -> None:
        self._files_at_start = files_at_start
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def path(self) -> Path:
        """The folder. Files that are written to it are in the bucket."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="sluice-bucket-", ignore_cleanup_errors=True)
            for number, name in enumerate(self._files_at_start):
                file = Path(self._folder.name, name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(png_square(number))
        return Path(self._folder.name)

    def files(self) -> list[str]:
        """Paths with slashes, sorted, as cloud storage lists them. Unfinished files (`.part`, `.tmp`) are left out."""
        found = (each.relative_to(self.path).as_posix() for each in self.path.rglob("*") if each.is_file())
        return sorted(name for name in found if not name.endswith((".part", ".tmp")))

    def close(self) -> None:
        """Remove the folder."""
        if self._folder is not None:
            self._folder.cleanup()


class Filter(NamedTuple):
    """Selects files of a bucket. `selected_folders` None selects all folders, an empty list none."""

    selected_folders: Sequence[str] | None = None
    prefix: str | None = None
    include: Sequence[str] | None = None
    exclude: Sequence[str] | None = None

    def select(self, files: Iterable[str]) -> list[str]:
        """The selected files. With a prefix folders are ignored; `exclude` takes precedence over `include`."""
        return [name for name in files if self._selects(name)]

    def _selects(self, name: str) -> bool:
        if self.prefix is not None:
            if not name.startswith(self.prefix):
                return False
        elif self.selected_folders is not None and not name.startswith(tuple(self.selected_folders)):
            return False
        if self.include and not any(_matches(pattern, name) for pattern in self.include):
            return False
        return not any(_matches(pattern, name) for pattern in self.exclude or ())


def _matches(pattern: str, name: str) -> bool:
    """Without `*` the pattern is a prefix; with it, it matches the whole name and `*` one or more characters."""
    if "*" not in pattern:
        return name.startswith(pattern)
    return re.fullmatch(".+".join(re.escape(part) for part in pattern.split("*")), name) is not None


def png_square(number: int, size: int = 16) -> bytes:
    """A small PNG whose colour depends on `number`."""
    colour = bytes((number * 67 % 256, number * 131 % 256, 160))
    rows = (b"\0" + colour * size) * size
    head = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
