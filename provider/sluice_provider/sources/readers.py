"""Records from wherever the author has them: a list, or a file that Airflow's ObjectStoragePath opens.

A source can be iterated over more than once, reads in batches and never whole, and yields each record with the place
it comes from ("line 17"), so that whatever is wrong with it can be said in a way that helps.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from gzip import BadGzipFile
from lzma import LZMAError
from os import PathLike
from pathlib import PurePath
from typing import IO, Any, Protocol, cast
from urllib.parse import urlsplit, urlunsplit

from sluice_provider.errors import InvalidInput
from sluice_provider.sources import parquet as columns
from sluice_provider.sources import text

LocatedRecord = tuple[str, Mapping[str, Any]]
"""Where a record stands, and the record."""


class Source(Protocol):
    name: str

    def __iter__(self) -> Iterator[LocatedRecord]: ...


class ListSource:
    """Records that are at hand: a list, or what an upstream task returned."""

    name = "the given list"

    def __init__(self, records: Sequence[Any]) -> None:
        self._records = records

    def __iter__(self) -> Iterator[LocatedRecord]:
        for number, record in enumerate(self._records, 1):
            if not isinstance(record, Mapping):
                raise InvalidInput(f"record {number} is a {type(record).__name__}; every record must be a dict")
            yield f"record {number}", record


READERS: dict[str, Callable[[IO[bytes]], Iterator[LocatedRecord]]] = {
    ".csv": text.read_csv,
    ".tsv": text.read_tsv,
    ".json": text.read_json,
    ".jsonl": text.read_json_lines,
    ".ndjson": text.read_json_lines,
    ".parquet": columns.read_parquet,
}
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}


class FileSource:
    """Records in a file at a path or URL. Its name says what it is: `.csv`, `.json`, `.csv.gz`, ..."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = redact_url(path)
        suffixes = [suffix.lower() for suffix in PurePath(urlsplit(path).path if "://" in path else path).suffixes]
        self._compression = COMPRESSIONS.get(suffixes[-1]) if suffixes else None
        kind = (suffixes[:-1] if self._compression else suffixes)[-1:]
        if not kind or kind[0] not in READERS:
            raise InvalidInput(
                f"{self.name!r} has an unsupported file extension; supported are {', '.join(READERS)}, "
                f"each also compressed ({', '.join(COMPRESSIONS)})"
            )
        self._read = READERS[kind[0]]

    def __iter__(self) -> Iterator[LocatedRecord]:
        try:
            with self._open() as stream:
                yield from self._read(stream)
        except InvalidInput as error:
            raise InvalidInput(f"{self.name}: {error}") from None
        except FileNotFoundError:
            raise InvalidInput(f"{self.name}: there is no such file, seen from this worker") from None
        except (IsADirectoryError, NotADirectoryError, PermissionError) as error:
            raise InvalidInput(f"{self.name}: cannot be read: {type(error).__name__}") from None
        except (EOFError, OSError, LZMAError, zlib.error) as error:
            if not _damaged(error):
                raise
            raise InvalidInput(f"{self.name}: is damaged, or not what its name says: {error}") from None

    def _open(self) -> IO[bytes]:
        from airflow.sdk import ObjectStoragePath

        try:
            return cast("IO[bytes]", ObjectStoragePath(self.path).open("rb", compression=self._compression))
        except (ValueError, ImportError) as error:
            words = str(error).replace(self.path, self.name)
            raise InvalidInput(f"cannot be opened on this worker, is a library for it installed? {words}") from None


def _damaged(error: Exception) -> bool:
    """Whether reading failed for what is in the file. The system, or a network, gives an OSError a number or a type."""
    return not isinstance(error, OSError) or type(error) is BadGzipFile or (type(error) is OSError and not error.errno)


def redact_url(path: str) -> str:
    """A URL without user, password and query, which is where presigned ones keep their signature."""
    if "://" not in path:
        return path
    parts = urlsplit(path)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def open_source(records: Any) -> Source:
    """
    :param records: a sequence of dicts, or the path or URL of a file
    :raises InvalidInput: for anything else
    """
    if isinstance(records, (str, PathLike)) or hasattr(records, "joinpath"):  # Airflow's ObjectStoragePath is neither
        path = str(records).strip()
        if path[:1] in ("[", "{"):
            raise InvalidInput(
                "records is the text of a list, not a list: hand over the task's output itself "
                "(records=upstream.output) or set render_template_as_native_obj=True on the DAG"
            )
        if not path:
            raise InvalidInput("records is empty: give a list of dicts, or the path or URL of a file")
        return FileSource(path)
    if isinstance(records, Mapping) or not isinstance(records, Sequence):
        raise InvalidInput(f"records must be a list of dicts, or a path or URL, not a {type(records).__name__}")
    return ListSource(records)
