"""Files that are written, in any storage that ObjectStoragePath supports."""

from __future__ import annotations

from contextlib import suppress
from os import PathLike
from typing import IO, Any, cast
from uuid import uuid4

from sluice_provider.errors import InvalidInput
from sluice_provider.sources.hashing import HashingWriter
from sluice_provider.sources.storage import LOCAL, redact_url, storage_path


class AtomicFile:
    """A file that appears only when it is complete: written under a temporary name beside it, and renamed at the end.

    :param directory: path or URL of the directory; it is created if it does not exist
    :param filename: the file's name in it, without separators
    :param argument: the name of the argument that holds the directory, for error messages
    """

    def __init__(self, directory: str, filename: str, argument: str = "destination") -> None:
        if not filename or filename in (".", "..") or "/" in filename or "\\" in filename:
            raise InvalidInput(f"{argument}: {filename!r} is not a valid file name: it must not contain a path")
        self._argument = argument
        self._target = storage_path(directory, argument) / filename
        if self._target.protocol not in LOCAL and any(each in self._target.path for each in "*?["):
            raise InvalidInput(
                f"{argument}: {redact_url(str(self._target))} must not contain '*', '?' or '[', which are wildcards in "
                "object storage"
            )
        # A unique name: another try or run may be writing the same file at the same time.
        self._temporary = self._target.parent / f".{filename}.{uuid4().hex[:8]}.part"
        self._writer: HashingWriter | None = None

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._writer.size if self._writer else 0

    @property
    def sha256(self) -> str:
        """Of the bytes written so far."""
        return self._writer.sha256 if self._writer else ""

    @property
    def path(self) -> str:
        """The final path."""
        return str(self._target)

    def begin(self) -> IO[bytes]:
        """Create the temporary file. :raises InvalidInput: the directory is not writable"""
        try:
            if not self._target.parent.exists():
                self._target.parent.mkdir(parents=True, exist_ok=True)
            self._writer = HashingWriter(cast("IO[bytes]", self._temporary.open("wb")))
        except (FileExistsError, NotADirectoryError, PermissionError) as error:
            shown = redact_url(str(self._target.parent))
            raise InvalidInput(f"{self._argument}: {shown}: cannot be written to ({type(error).__name__})") from None
        return cast("IO[bytes]", self._writer)

    def commit(self) -> None:
        """Rename it to its final name, replacing a file of an earlier try."""
        self._target.fs.mv(self._temporary.path, self._target.path)

    def rollback(self) -> None:
        """Delete the temporary file."""
        with suppress(OSError):
            self._temporary.unlink(missing_ok=True)


def split_file_path(path: Any, argument: str) -> tuple[str, str]:
    """The directory and the name of a file to write.

    :raises InvalidInput: it is not the path of a file
    """
    text = str(path).strip() if isinstance(path, (str, PathLike)) or hasattr(path, "fs") else ""
    folder, slash, name = text.rpartition("/")
    if not name or name in (".", "..") or folder.endswith(":/"):
        raise InvalidInput(f"{argument} must be the path or URL of a file to write, not {path!r}")
    return (folder or slash or "."), name
