"""Files as they are, byte by byte, wherever Airflow's ObjectStoragePath reaches: to be sent, and to be brought home."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit
from uuid import uuid4

from sluice_provider.errors import InvalidInput
from sluice_provider.sources.readers import redact_url

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

PIECE = 1 << 20
LOCAL = ("", "file", "local")
"""Protocols of paths on this machine."""
CHECKSUMS = ("ETag", "etag", "md5Hash", "content_md5", "crc32c", "checksum")
"""Under one of these names an object store keeps what changes with the content of a file."""


class InputFile:
    """A file at a path or URL.

    :param path: of the file
    :param argument: what the author calls it, for errors
    """

    def __init__(self, path: Any, argument: str) -> None:
        if (not isinstance(path, (str, PathLike)) and not hasattr(path, "fs")) or not str(path).strip():
            raise InvalidInput(f"{argument} must be the path or URL of a file, not {path!r}")
        self._path = str(path).strip()
        self._argument = argument
        self.name = redact_url(self._path)

    @property
    def filename(self) -> str:
        """The last part of its path."""
        path = urlsplit(self._path).path if "://" in self._path else self._path
        return PurePosixPath(path).name

    @property
    def suffix(self) -> str:
        """As in `.csv`, in lower case."""
        return PurePosixPath(self.filename).suffix.lower()

    @cached_property
    def size(self) -> int | None:
        """Bytes, or None where the storage does not tell.

        :raises InvalidInput: there is no such file, or it is empty
        """
        with self._judged():
            if self._there.is_dir():
                raise InvalidInput(f"{self._argument}: {self.name} is a directory")
            size = self._there.size()
        if size == 0:
            raise InvalidInput(f"{self._argument}: {self.name} is empty")
        return None if size is None else int(size)

    def open(self) -> IO[bytes]:
        """For reading, from the start."""
        return cast("IO[bytes]", self._there.open("rb"))

    def open_unchanged(self) -> IO[bytes]:
        """For reading, from the start. What is read to the end is what `fingerprint` saw: else the last `read` fails.

        :raises InvalidInput: while reading: the file was changed after it was fingerprinted
        """
        return cast("IO[bytes]", _UnchangedFile(self))

    @property
    def local(self) -> Path | None:
        """Where it is on this machine; None where it is far away.

        :raises InvalidInput: there is no such file
        """
        if self._there.protocol not in LOCAL:
            return None
        path = Path(self._there.path)
        if path.is_dir():
            raise InvalidInput(f"{self._argument}: {self.name} is a directory")
        if not path.is_file():
            raise InvalidInput(f"{self._argument}: {self.name}: there is no such file, seen from this worker")
        return path

    def fetch(self, into: Path) -> tuple[int, str]:
        """Copy it to this machine, and tell its size and its SHA-256.

        :raises InvalidInput: it cannot be read
        """
        with self._judged(), self.open() as stream, HashingWriter(into.open("wb")) as copy:
            while piece := stream.read(PIECE):
                copy.write(piece)
        return copy.size, copy.sha256

    def text(self) -> str:
        """All of a small file.

        :raises InvalidInput: it cannot be read, or is not text
        """
        with self._judged(), self.open() as stream:
            try:
                return stream.read().decode("utf-8-sig")
            except UnicodeDecodeError as error:
                raise InvalidInput(f"{self._argument}: {self.name} is not UTF-8 text ({error.reason})") from None

    @cached_property
    def fingerprint(self) -> str:
        """What changes when the content does: the store's own checksum, or one that is made by reading it all.

        :raises InvalidInput: there is no such file, or it is empty
        """
        size = self.size
        with self._judged():
            return f"{size} {self.checksum() or self._read_through()}"

    def checksum(self) -> str | None:
        """The store's own, as it is now, if it keeps one."""
        info = self._there.fs.info(self._there.path)
        return next((str(info[name]) for name in CHECKSUMS if info.get(name)), None)

    def changed(self) -> InvalidInput:
        """The error for it."""
        return InvalidInput(
            f"{self._argument}: {self.name} was changed while it was being sent, so it was not sent as a whole: "
            "run the task again, and write the file under another name before it gets this one"
        )

    def sha256(self) -> str:
        """:raises InvalidInput: it cannot be read"""
        with self._judged():
            return self._read_through()

    def _read_through(self) -> str:
        content = hashlib.sha256()
        with self.open() as stream:
            while piece := stream.read(PIECE):
                content.update(piece)
        return content.hexdigest()

    @cached_property
    def _there(self) -> ObjectStoragePath:
        return storage_path(self._path, self._argument)

    @contextmanager
    def _judged(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise InvalidInput(f"{self._argument}: {self.name}: there is no such file, seen from this worker") from None
        except (IsADirectoryError, NotADirectoryError, PermissionError) as error:
            raise InvalidInput(f"{self._argument}: {self.name}: cannot be read: {type(error).__name__}") from None


class _UnchangedFile:
    """Reads a file, and compares it with its fingerprint before the end of it is given out."""

    def __init__(self, blob: InputFile) -> None:
        self._blob = blob
        self._expected = blob.fingerprint.partition(" ")[2]
        self._stream = blob.open()
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self._stream.read(size)
        self._digest.update(piece)
        if not piece and self._expected not in (self._digest.hexdigest(), self._blob.checksum()):
            raise self._blob.changed()
        return piece

    def close(self) -> None:
        self._stream.close()


class HashingWriter:
    """A file that is written, and that knows how much was written, and its SHA-256."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, piece: bytes) -> int:
        self._digest.update(piece)
        self.size += len(piece)
        return self._stream.write(piece)

    def close(self) -> None:
        self._stream.close()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def __enter__(self) -> HashingWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AtomicFile:
    """A file that is there whole or not at all: written under a temporary name beside it, renamed at the end.

    :param directory: path or URL of the folder; it is made if it is not there
    :param filename: of the file in it; without separators, or it would lead out of the folder
    :param argument: what the author calls the folder, for errors
    """

    def __init__(self, directory: str, filename: str, argument: str = "destination") -> None:
        if not filename or filename in (".", "..") or "/" in filename or "\\" in filename:
            raise InvalidInput(f"{argument}: {filename!r} is not the name of a file in a folder")
        self._argument = argument
        self._there = storage_path(directory, argument) / filename
        if self._there.protocol not in LOCAL and any(each in self._there.path for each in "*?["):
            raise InvalidInput(f"{argument}: a path there cannot hold '*', '?' or '[', which stand for any name")
        # A name of its own: what a zombie or a second run writes at the same time must not get into this one's file.
        self._temporary = self._there.parent / f".{filename}.{uuid4().hex[:8]}.part"
        self._writer: HashingWriter | None = None

    @property
    def size(self) -> int:
        """Bytes that were written."""
        return self._writer.size if self._writer else 0

    @property
    def sha256(self) -> str:
        """Of what was written."""
        return self._writer.sha256 if self._writer else ""

    @property
    def path(self) -> str:
        """Where it will be."""
        return str(self._there)

    def begin(self) -> IO[bytes]:
        """:raises InvalidInput: nothing can be written there"""
        try:
            if not self._there.parent.exists():
                self._there.parent.mkdir(parents=True, exist_ok=True)
            self._writer = HashingWriter(cast("IO[bytes]", self._temporary.open("wb")))
        except (FileExistsError, NotADirectoryError, PermissionError) as error:
            shown = redact_url(str(self._there.parent))
            raise InvalidInput(f"{self._argument}: {shown}: cannot be written to: {type(error).__name__}") from None
        return cast("IO[bytes]", self._writer)

    def commit(self) -> None:
        """Under its own name, in place of what may be there from an earlier try."""
        self._there.fs.mv(self._temporary.path, self._there.path)

    def rollback(self) -> None:
        """As if nothing had been begun."""
        with suppress(OSError):
            self._temporary.unlink(missing_ok=True)


def split_file_path(path: Any, argument: str) -> tuple[str, str]:
    """The folder and the name of a file that is to be written.

    :raises InvalidInput: it is no path of a file
    """
    text = str(path).strip() if isinstance(path, (str, PathLike)) or hasattr(path, "fs") else ""
    folder, slash, name = text.rpartition("/")
    if not name or name in (".", "..") or folder.endswith(":/"):
        raise InvalidInput(f"{argument} must be the path or URL of a file to write, not {path!r}")
    return (folder or slash or "."), name


def storage_path(path: str, argument: str) -> ObjectStoragePath:
    """:raises InvalidInput: no storage that this worker knows is meant"""
    from airflow.sdk import ObjectStoragePath

    try:
        there = ObjectStoragePath(path)
        _ = there.fs
    except (ValueError, ImportError) as error:
        words = str(error).replace(path, redact_url(path))
        raise InvalidInput(
            f"{argument}: cannot be reached on this worker, is a library for it installed? {words}"
        ) from None
    return there
