"""Records in a file, in any storage that Airflow's ObjectStoragePath supports.

A file can be read repeatedly, and is streamed instead of being read into memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from functools import partial
from gzip import BadGzipFile
from lzma import LZMAError
from pathlib import PurePath
from typing import IO, cast
from urllib.parse import urlsplit

from sluice_provider.errors import InvalidInput
from sluice_provider.records import Files
from sluice_provider.sources import parquet as columns
from sluice_provider.sources import text
from sluice_provider.sources.chunks import Chunk
from sluice_provider.sources.hashing import HashingReader
from sluice_provider.sources.rejected import without_rejection
from sluice_provider.sources.storage import cannot_be_read, redact_url, unsupported_storage

READERS: dict[str, Callable[[IO[bytes], int], Iterator[Chunk]]] = {
    ".csv": text.read_csv,
    ".tsv": text.read_tsv,
    ".json": text.read_json,
    ".jsonl": text.read_json_lines,
    ".ndjson": text.read_json_lines,
    ".parquet": columns.read_parquet,
}
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
WORKBOOKS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")
DEFAULTS = Files("")


class FileSource:
    """Records in a file at a path or URL. Its extension is its format: `.csv`, `.json`, `.csv.gz`, ...

    :param options: how it is written; the path in it is not used
    """

    def __init__(self, path: str, options: Files = DEFAULTS) -> None:
        self.path = path
        self.name = redact_url(path)
        extension, compressed = split_extension(path)
        self._compression = COMPRESSIONS.get(compressed)
        if options.format:
            extension = f".{options.format.lower().lstrip('.')}"
        if extension not in READERS:
            raise InvalidInput(f"records: {_unsupported(self.name, extension)}")
        self._read = _reader(extension, options)
        self._encoding = options.encoding
        self._sequential = extension != ".parquet"
        self.recognisable = self._sequential
        self.sha256: str | None = None

    def chunks(self, skip: int = 0) -> Iterator[Chunk]:
        self.sha256 = None
        try:
            with self._open() as stream:
                if not self._sequential:
                    yield from map(without_rejection, self._read(stream, skip))
                    return
                hashing = HashingReader(stream)
                yield from map(without_rejection, self._read(self._decoded(hashing.buffered), skip))
                self.sha256 = hashing.sha256
        except InvalidInput as error:
            raise InvalidInput(f"{self.name}: {error}") from None
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
            raise cannot_be_read(self.name, error) from None
        except (EOFError, OSError, LZMAError, zlib.error) as error:
            if not _is_corrupt(error):
                raise
            raise InvalidInput(f"{self.name}: corrupt, or not in the format of its extension: {error}") from None

    def _decoded(self, stream: IO[bytes]) -> IO[bytes]:
        return stream if self._encoding == DEFAULTS.encoding else text.transcoded(stream, self._encoding)

    def _open(self) -> IO[bytes]:
        from airflow.sdk import ObjectStoragePath

        try:
            return cast("IO[bytes]", ObjectStoragePath(self.path).open("rb", compression=self._compression))
        except (ValueError, ImportError) as error:
            raise InvalidInput(unsupported_storage(error, self.path)) from None


def split_extension(path: str) -> tuple[str, str]:
    """The extension of a file in lower case, and that of its compression, each with its dot or empty."""
    suffixes = [each.lower() for each in PurePath(urlsplit(path).path if "://" in path else path).suffixes]
    compressed = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSIONS else ""
    return (suffixes[-1] if suffixes else ""), compressed


def _unsupported(name: str, extension: str) -> str:
    problem = f"the unsupported file extension {extension!r}" if extension else "no file extension"
    supported = f"supported are {', '.join(READERS)}, each also compressed ({', '.join(COMPRESSIONS)})"
    way_out = "; Files(path, format='csv') reads a file whose extension says nothing"
    if extension in WORKBOOKS:
        way_out = "; save a workbook as CSV, or read it with pandas.read_excel in a @task and pass the frame"
    return f"{name!r} has {problem}; {supported}{way_out}"


def _reader(extension: str, options: Files) -> Callable[[IO[bytes], int], Iterator[Chunk]]:
    """The reader for files with this extension, with its options."""
    if extension not in (".csv", ".tsv"):
        return READERS[extension]
    base = text.CSV if extension == ".csv" else text.TSV
    names = tuple(options.column_names) if options.column_names else None
    nulls = frozenset({"", *options.null_values})
    made = text.CsvOptions(options.delimiter or base.delimiter, options.quote_char, names, nulls)
    return READERS[extension] if made == base else partial(text.read_csv, options=made)


def _is_corrupt(error: Exception) -> bool:
    """Whether reading failed because of the file's content. An OSError of the system or the network has an errno or is
    of a subclass."""
    return not isinstance(error, OSError) or type(error) is BadGzipFile or (type(error) is OSError and not error.errno)
