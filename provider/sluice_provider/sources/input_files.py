"""Files that are sent unchanged, from any storage that ObjectStoragePath supports."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from sluice_provider.errors import InvalidInput
from sluice_provider.sources.hashing import HashingWriter
from sluice_provider.sources.storage import LOCAL, MISSING_SOURCE, cannot_be_read, redact_url, storage_path

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

CHUNK = 1 << 20
CHECKSUMS = ("ETag", "etag", "md5Hash", "content_md5", "crc32c", "checksum")
"""The names under which object storages report a checksum of a file."""


class InputFile:
    """A file at a path or URL.

    :param path: a string, a path, or an ObjectStoragePath
    :param argument: the name of the argument that holds it, for error messages
    """

    def __init__(self, path: Any, argument: str) -> None:
        if (not isinstance(path, (str, PathLike)) and not hasattr(path, "fs")) or not str(path).strip():
            raise InvalidInput(f"{argument} must be the path or URL of a file, not {path!r}")
        if path == "None":
            raise InvalidInput(f"{argument} is the string 'None'{MISSING_SOURCE}")
        self._path = str(path).strip()
        self._argument = argument
        self.name = redact_url(self._path)

    @property
    def filename(self) -> str:
        """The last part of the path."""
        path = urlsplit(self._path).path if "://" in self._path else self._path
        return PurePosixPath(path).name

    @property
    def extension(self) -> str:
        """The file extension in lower case, with its dot, like `.csv`; "" if there is none."""
        return PurePosixPath(self.filename).suffix.lower()

    @cached_property
    def size(self) -> int | None:
        """Bytes, or None if the storage does not report the size.

        :raises InvalidInput: the file does not exist or is empty
        """
        with self._errors_as_invalid_input():
            if self._storage_path.is_dir():
                raise InvalidInput(f"{self._argument}: {self.name} is a directory")
            size = self._storage_path.size()
        if size == 0:
            raise InvalidInput(f"{self._argument}: {self.name} is empty")
        return None if size is None else int(size)

    def open(self) -> IO[bytes]:
        """Open it for reading."""
        return cast("IO[bytes]", self._storage_path.open("rb"))

    def open_unchanged(self) -> IO[bytes]:
        """Open it for reading; the last `read` fails if the content is not the one that `fingerprint` was made of.

        :raises InvalidInput: while reading: the file was changed after it was fingerprinted
        """
        return cast("IO[bytes]", _UnchangedFile(self))

    @property
    def local(self) -> Path | None:
        """The path on this machine; None if the file is in another storage.

        :raises InvalidInput: the file does not exist
        """
        if self._storage_path.protocol not in LOCAL:
            return None
        path = Path(self._storage_path.path)
        if path.is_dir():
            raise InvalidInput(f"{self._argument}: {self.name} is a directory")
        if not path.is_file():
            raise InvalidInput(f"{self._argument}: {self.name}: no such file, or it is not accessible from this worker")
        return path

    def fetch(self, into: Path) -> tuple[int, str]:
        """Copy it to a local file, and return its size and its SHA-256.

        :raises InvalidInput: it cannot be read
        """
        with self._errors_as_invalid_input(), self.open() as stream, HashingWriter(into.open("wb")) as copy:
            while chunk := stream.read(CHUNK):
                copy.write(chunk)
        return copy.size, copy.sha256

    def text(self) -> str:
        """The content of a small text file.

        :raises InvalidInput: it cannot be read, or is not UTF-8
        """
        with self._errors_as_invalid_input(), self.open() as stream:
            try:
                return stream.read().decode("utf-8-sig")
            except UnicodeDecodeError as error:
                raise InvalidInput(f"{self._argument}: {self.name} is not UTF-8 text ({error.reason})") from None

    @cached_property
    def fingerprint(self) -> str:
        """Changes whenever the content does.

        :raises InvalidInput: the file does not exist or is empty
        """
        return f"{self.size} {self.content_checksum}"

    @cached_property
    def content_checksum(self) -> str:
        """The storage's checksum, or the SHA-256, for which the file is read."""
        with self._errors_as_invalid_input():
            return self.storage_checksum() or self._compute_sha256()

    def storage_checksum(self) -> str | None:
        """The current checksum as the storage reports it, or None."""
        info = self._storage_path.fs.info(self._storage_path.path)
        return next((str(info[name]) for name in CHECKSUMS if info.get(name)), None)

    def changed(self) -> InvalidInput:
        """The error for a file that was changed during the upload."""
        return InvalidInput(
            f"{self._argument}: {self.name} was changed during the upload, so the upload was aborted. Run the task "
            "again when the file is complete; its writer should write to another name first and then rename it"
        )

    def sha256(self) -> str:
        """Of the content. :raises InvalidInput: it cannot be read"""
        with self._errors_as_invalid_input():
            return self._compute_sha256()

    def _compute_sha256(self) -> str:
        content = hashlib.sha256()
        with self.open() as stream:
            while chunk := stream.read(CHUNK):
                content.update(chunk)
        return content.hexdigest()

    @cached_property
    def _storage_path(self) -> ObjectStoragePath:
        return storage_path(self._path, self._argument)

    @contextmanager
    def _errors_as_invalid_input(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
            raise cannot_be_read(f"{self._argument}: {self.name}", error) from None


class _UnchangedFile:
    """Reads a file, and compares its checksum with the expected one when the end is reached."""

    def __init__(self, file: InputFile) -> None:
        self._file = file
        self._expected = file.content_checksum
        self._stream = file.open()
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        chunk = self._stream.read(size)
        self._digest.update(chunk)
        if not chunk and self._expected not in (self._digest.hexdigest(), self._file.storage_checksum()):
            raise self._file.changed()
        return chunk

    def close(self) -> None:
        self._stream.close()
