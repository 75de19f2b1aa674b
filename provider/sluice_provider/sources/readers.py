"""Sources of records: a list, or a file in any storage that Airflow's ObjectStoragePath supports.

A source can be read repeatedly, and streams instead of reading everything into memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from gzip import BadGzipFile
from lzma import LZMAError
from os import PathLike
from pathlib import PurePath
from typing import IO, Any, Protocol, cast
from urllib.parse import urlsplit

from sluice_provider.errors import InvalidInput
from sluice_provider.sources import parquet as columns
from sluice_provider.sources import text
from sluice_provider.sources.chunks import Chunk, chunks
from sluice_provider.sources.hashing import HashingReader
from sluice_provider.sources.storage import MISSING_SOURCE, cannot_be_read, redact_url, unsupported_storage


class Source(Protocol):
    """
    :param name: for messages
    :param sha256: of the content, once all of it was read; None for a source that is no stream of bytes
    """

    name: str
    sha256: str | None

    def chunks(self, skip: int = 0) -> Iterator[Chunk]:
        """Read it from the start.

        :param skip: how many of the first records to leave out
        :raises InvalidInput: it cannot be read
        """


class ListSource:
    """Records in a list, for example the result of an upstream task."""

    name = "the given list"
    sha256: str | None = None

    def __init__(self, records: Sequence[Any]) -> None:
        self._records = records

    def chunks(self, skip: int = 0) -> Iterator[Chunk]:
        return chunks("record", self._numbered(), skip)

    def _numbered(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        for number, record in enumerate(self._records, 1):
            if not isinstance(record, Mapping):
                raise InvalidInput(f"record {number} is a {type(record).__name__}; every record must be a dict")
            yield number, record


READERS: dict[str, Callable[[IO[bytes], int], Iterator[Chunk]]] = {
    ".csv": text.read_csv,
    ".tsv": text.read_tsv,
    ".json": text.read_json,
    ".jsonl": text.read_json_lines,
    ".ndjson": text.read_json_lines,
    ".parquet": columns.read_parquet,
}
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}


class FileSource:
    """Records in a file at a path or URL. Its extension is its format: `.csv`, `.json`, `.csv.gz`, ..."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = redact_url(path)
        suffixes = [each.lower() for each in PurePath(urlsplit(path).path if "://" in path else path).suffixes]
        self._compression = COMPRESSIONS.get(suffixes[-1]) if suffixes else None
        if self._compression:
            suffixes.pop()
        extension = suffixes[-1] if suffixes else ""
        if extension not in READERS:
            problem = f"the unsupported file extension {extension!r}" if extension else "no file extension"
            raise InvalidInput(
                f"records: {self.name!r} has {problem}; supported are {', '.join(READERS)}, "
                f"each also compressed ({', '.join(COMPRESSIONS)})"
            )
        self._read = READERS[extension]
        self._sequential = extension != ".parquet"
        self.sha256: str | None = None

    def chunks(self, skip: int = 0) -> Iterator[Chunk]:
        self.sha256 = None
        try:
            with self._open() as stream:
                if not self._sequential:
                    yield from self._read(stream, skip)
                    return
                hashing = HashingReader(stream)
                yield from self._read(hashing.buffered, skip)
                self.sha256 = hashing.sha256
        except InvalidInput as error:
            raise InvalidInput(f"{self.name}: {error}") from None
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
            raise cannot_be_read(self.name, error) from None
        except (EOFError, OSError, LZMAError, zlib.error) as error:
            if not _is_corrupt(error):
                raise
            raise InvalidInput(f"{self.name}: corrupt, or not in the format of its extension: {error}") from None

    def _open(self) -> IO[bytes]:
        from airflow.sdk import ObjectStoragePath

        try:
            return cast("IO[bytes]", ObjectStoragePath(self.path).open("rb", compression=self._compression))
        except (ValueError, ImportError) as error:
            raise InvalidInput(unsupported_storage(error, self.path)) from None


def _is_corrupt(error: Exception) -> bool:
    """Whether reading failed because of the file's content. An OSError of the system or the network has an errno or is
    of a subclass."""
    return not isinstance(error, OSError) or type(error) is BadGzipFile or (type(error) is OSError and not error.errno)


def open_source(records: Any) -> Source:
    """The source for an operator's argument `records`.

    :param records: a sequence of dicts, or the path or URL of a file
    :raises InvalidInput: it is neither
    """
    if records is None or records == "None":
        raise InvalidInput(f"records is {records!r}{MISSING_SOURCE}")
    if isinstance(records, (str, PathLike)) or hasattr(records, "joinpath"):  # ObjectStoragePath is no PathLike
        path = str(records).strip()
        if path[:1] in ("[", "{"):
            raise InvalidInput(
                "records is a string that contains a list, not a list: pass the upstream task's output "
                "(records=upstream.output), or set render_template_as_native_obj=True on the DAG"
            )
        if not path:
            raise InvalidInput("records is empty: it must be a list of dicts, or the path or URL of a file")
        return FileSource(path)
    if isinstance(records, Mapping) or not isinstance(records, Sequence):
        raise InvalidInput(
            f"records must be a list of dicts, or the path or URL of a file, not a {type(records).__name__}"
        )
    return ListSource(records)
