"""Many files that are read as one: patterns, folders, lists, and files that an asset names."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from os import PathLike
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sluice_provider.errors import InvalidInput
from sluice_provider.records import Files
from sluice_provider.sources.chunks import Chunk
from sluice_provider.sources.input_files import InputFile
from sluice_provider.sources.readers import READERS, FileSource, split_extension
from sluice_provider.sources.storage import MISSING_SOURCE, cannot_be_read, redact_url, storage_path

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

WILDCARDS = "*?["
PATH_EXTRAS = ("path", "paths", "file", "files")
"""Members of an asset event's extra that name files, in the results of this provider's operators among others."""


class FileSetSource:
    """Files, read one after the other. Which they are is found out when they are read."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._check_options()
        self.paths: Sequence[str] = ()
        self.sha256: str | None = None
        self.recognisable = True

    @property
    def name(self) -> str:
        if len(self.paths) == 1:
            return redact_url(self.paths[0])
        return f"the {len(self.paths)} files" if self.paths else "the given files"

    def chunks(self, skip: int = 0) -> Iterator[Chunk]:
        self.sha256 = None
        self.paths = self.find_paths()
        digests = []
        for path in self.paths:
            source = FileSource(path, self._files)
            for chunk in source.chunks():
                count = len(chunk.records)
                if skip < count:
                    yield self._located(chunk.without_first(skip), source)
                skip = max(0, skip - count)
            digests.append(source.sha256)
        if all(digests):
            self.sha256 = sha256(repr([*zip(self.paths, digests, strict=True), self._files[1:]]).encode()).hexdigest()

    def find_paths(self) -> list[str]:
        """The path of every file, as of now. :raises InvalidInput: there is none"""
        return list(file_paths(self._files.path))

    def _located(self, chunk: Chunk, source: FileSource) -> Chunk:
        column = self._files.file_name_column
        if column:
            name = InputFile(source.path, "records").filename
            if column in chunk.columns or any(column in record for record in chunk.records):
                raise InvalidInput(f"{source.name} has a field {column!r} itself: choose another file_name_column")
            records = [{**record, column: name} for record in chunk.records]
            columns = (*chunk.columns, column) if chunk.columns else ()
            chunk = chunk._replace(records=records, columns=columns)
        return chunk._replace(part=source.name) if len(self.paths) > 1 else chunk

    def _check_options(self) -> None:
        files = self._files
        for name in ("delimiter", "quote_char"):
            value = getattr(files, name)
            if value is not None and (not isinstance(value, str) or len(value.encode()) != 1):
                raise InvalidInput(f"records: {name} of Files must be one character, not {value!r:.60}")
        for name in ("column_names", "null_values"):
            value = getattr(files, name)
            if value is not None and (isinstance(value, str) or not all(isinstance(each, str) for each in value)):
                raise InvalidInput(f"records: {name} of Files must be a list of strings, not {value!r:.60}")
        if files.column_names and len(set(files.column_names)) < len(files.column_names):
            raise InvalidInput("records: column_names of Files has the same name more than once")
        if files.format and f".{files.format.lower().lstrip('.')}" not in READERS:
            formats = ", ".join(each[1:] for each in READERS)
            raise InvalidInput(f"records: format of Files must be one of {formats}, not {files.format!r}")
        try:
            codecs.lookup(files.encoding)
        except (LookupError, TypeError):
            raise InvalidInput(f"records: encoding of Files: Python knows no encoding {files.encoding!r}") from None


def is_file_set(path: str) -> bool:
    """Whether a string names several files, by a pattern or as a folder."""
    return _is_pattern(path) or path.endswith("/") or not any(split_extension(path))


def file_paths(given: Any) -> Iterator[str]:
    """The path of every file.

    :param given: as `Files.path`
    :raises InvalidInput: there is no such file
    """
    if given is None or given == "None":
        raise InvalidInput(f"records: the path is {given!r}{MISSING_SOURCE}")
    if hasattr(given, "uri") and hasattr(given, "watchers"):
        for path in _asset_paths(given):
            yield from file_paths(path)
        return
    if isinstance(given, (str, PathLike)) or hasattr(given, "joinpath"):  # ObjectStoragePath is no PathLike
        yield from _expanded(str(given).strip())
        return
    if isinstance(given, Mapping) or not isinstance(given, Sequence):
        raise InvalidInput(f"records: a path must be a string, not a {type(given).__name__}")
    if not given:
        raise InvalidInput("records: the list of files is empty")
    for each in given:
        yield from file_paths(each)


def _asset_paths(asset: Any) -> list[Any]:
    """The files that the asset events name which started this run, or its own URI."""
    from airflow.sdk import get_current_context

    events = get_current_context().get("triggering_asset_events") or {}
    found: list[Any] = []
    for event in _events_of(asset, events):
        extra = getattr(event, "extra", None) or {}
        found += [extra[name] for name in PATH_EXTRAS if extra.get(name)][:1]
    if not found and urlsplit(asset.uri).scheme in ("", "asset"):
        raise InvalidInput(
            f"records: no event of asset {asset.name!r} that started this run names a file in its extra "
            f"({', '.join(PATH_EXTRAS)}), and its URI {asset.uri!r} is not the path of one"
        )
    return found or [asset.uri]


def _events_of(asset: Any, events: Any) -> Sequence[Any]:
    try:
        return list(events[asset])
    except KeyError:
        return []


def _expanded(path: str) -> Iterator[str]:
    if not path:
        raise InvalidInput("records is empty: it must be a list of dicts, or the path or URL of a file")
    if _is_pattern(path):
        yield from _matching(path)
    elif _may_be_folder(path):
        storage = storage_path(path, "records")
        yield from (_files_in(storage, path) if _is_folder(storage, path) else [path])
    else:
        yield path


def _is_pattern(path: str) -> bool:
    """A URL may have a query, which begins with a question mark."""
    return urlsplit(path).scheme not in ("http", "https") and any(each in path for each in WILDCARDS)


def _may_be_folder(path: str) -> bool:
    return urlsplit(path).scheme not in ("http", "https") and (path.endswith("/") or not any(split_extension(path)))


def _is_folder(storage: ObjectStoragePath, path: str) -> bool:
    try:
        return bool(storage.is_dir())
    except OSError as error:
        raise cannot_be_read(redact_url(path), error) from None


def _matching(pattern: str) -> list[str]:
    """The files that match, by name. A file whose name is the pattern itself is that file."""
    first = min(pattern.index(each) for each in WILDCARDS if each in pattern)
    base = pattern[: pattern.rfind("/", 0, first) + 1]
    root = storage_path(base or ".", "records")
    rest = pattern[len(base) :]
    try:
        if (root / rest).is_file():
            return [pattern]
        prefix = root.path.rstrip("/")
        found = root.fs.glob(f"{prefix}/{rest}", detail=True)
    except OSError as error:
        raise cannot_be_read(redact_url(pattern), error) from None
    names = sorted(name for name, info in found.items() if info.get("type") != "directory")
    if not names:
        raise InvalidInput(f"records: no file matches {redact_url(pattern)}, as this worker sees it")
    stripped = root.fs._strip_protocol(prefix).rstrip("/")
    return [f"{base}{name.removeprefix(stripped).lstrip('/')}" for name in names]


def _files_in(folder: ObjectStoragePath, path: str) -> list[str]:
    files = [each for each in folder.iterdir() if not each.name.startswith((".", "_")) and each.is_file()]
    if not files:
        raise InvalidInput(f"records: the folder {redact_url(path)} has no files, as this worker sees it")
    return [f"{path.rstrip('/')}/{each.name}" for each in sorted(files, key=lambda each: str(each.name))]
