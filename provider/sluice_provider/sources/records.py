"""What an operator's argument `records` may be, and the source that reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any

from sluice_provider.errors import InvalidInput
from sluice_provider.records import Files, FromFunction, Mapped, SqlQuery
from sluice_provider.sources.chunks import Chunk, chunks
from sluice_provider.sources.databases import SqlSource
from sluice_provider.sources.file_sets import FileSetSource, is_file_set
from sluice_provider.sources.frames import open_frame
from sluice_provider.sources.mapping import MappedSource
from sluice_provider.sources.readers import FileSource
from sluice_provider.sources.source import Source
from sluice_provider.sources.storage import MISSING_SOURCE, redact_url

ACCEPTED = (
    "a list of dicts, a path or URL, Files(...), SqlQuery(...), a frame or Arrow table, or a function that returns or "
    "yields any of these"
)


class ListSource:
    """Records in a list, for example the result of an upstream task. They are sent as they are."""

    name = "the given list"
    sha256: str | None = None
    recognisable = False

    def __init__(self, records: Iterable[Any]) -> None:
        self._records = records

    def chunks(self, skip: int = 0) -> Iterator[Chunk]:
        return chunks("record", self._numbered(), skip)

    def _numbered(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        for number, record in enumerate(self._records, 1):
            if not isinstance(record, Mapping):
                raise InvalidInput(f"record {number} is a {type(record).__name__}; every record must be a dict")
            yield number, record


class IteratorSource(ListSource):
    """Records that are made while they are read, once."""

    name = "the given iterator"

    def __init__(self, records: Iterator[Any]) -> None:
        super().__init__(records)
        self._read = False

    def chunks(self, skip: int = 0) -> Iterator[Chunk]:
        if self._read:
            raise InvalidInput(
                f"{self.name} can be read only once: pass the function that makes it, without calling it"
            )
        self._read = True
        return super().chunks(skip)


class FunctionSource:
    """What a function returns or yields. Each reading calls it again."""

    sha256: str | None = None
    recognisable = False

    def __init__(self, records: FromFunction) -> None:
        self._function = records.function
        self.name = f"the function {getattr(self._function, '__name__', type(self._function).__name__)}"

    def chunks(self, skip: int = 0) -> Iterator[Chunk]:
        try:
            source = open_source(self._function())
        except InvalidInput as error:
            raise InvalidInput(f"{self.name} returned something else than records: {error}") from None
        try:
            yield from source.chunks(skip)
        except InvalidInput as error:
            raise InvalidInput(f"{self.name}: {error}") from None


class JoinedSource:
    """Several sources of records, read one after the other, as the results of a mapped task."""

    sha256: str | None = None
    recognisable = False

    def __init__(self, sources: Sequence[Any]) -> None:
        self._sources = sources
        self.name = f"the {len(sources)} given sources"

    def chunks(self, skip: int = 0) -> Iterator[Chunk]:
        for number, each in enumerate(self._sources, 1):
            source = open_source(each)
            part = f"number {number} ({source.name})"
            for chunk in source.chunks():
                count = len(chunk.records)
                if skip < count:
                    rest = chunk.without_first(skip)
                    yield rest._replace(part=f"{part}: {rest.part}" if rest.part else part)
                skip = max(0, skip - count)


def open_source(records: Any) -> Source:
    """The source for an operator's argument `records`.

    :param records: what `ACCEPTED` says
    :raises InvalidInput: it is nothing of that
    """
    if records is None or (isinstance(records, str) and records == "None"):
        raise InvalidInput(f"records is {records!r}{MISSING_SOURCE}")
    if isinstance(records, Mapped):
        return MappedSource(open_source(records.records), records.columns, records.constants)
    if isinstance(records, SqlQuery):
        return SqlSource(records)
    if isinstance(records, Files):
        return FileSetSource(records)
    if isinstance(records, FromFunction):
        return FunctionSource(records)
    if isinstance(records, (str, PathLike)) or hasattr(records, "joinpath"):  # ObjectStoragePath is no PathLike
        return _open_path(records)
    return open_frame(records) or _open_iterable(records)


def paths_of(records: Any) -> list[str]:
    """The files that records are read from, without secrets; none if they are not in files."""
    source = None if records is None else open_source(records)
    if isinstance(source, FileSetSource):
        return [redact_url(path) for path in source.find_paths()]
    return [source.name] if isinstance(source, FileSource) else []


def _open_path(given: Any) -> Source:
    if hasattr(given, "uri"):  # an Asset
        return FileSetSource(Files(given))
    path = str(given).strip()
    if path[:1] in ("[", "{") and not path.endswith((".csv", ".json")):
        raise InvalidInput(
            "records is a string that contains a list, not a list: pass the upstream task's output "
            "(records=upstream.output), or set render_template_as_native_obj=True on the DAG"
        )
    if path[:7].casefold().strip() in ("select", "with"):
        raise InvalidInput("records is a SQL statement: use records=SqlQuery(sql, conn_id=...)")
    if not path:
        raise InvalidInput("records is empty: it must be a list of dicts, or the path or URL of a file")
    return FileSetSource(Files(path)) if is_file_set(path) else FileSource(path)


def _open_iterable(records: Any) -> Source:
    if callable(records):
        return FunctionSource(FromFunction(records))
    if isinstance(records, Mapping):
        raise InvalidInput(f"records must be {ACCEPTED}, not a dict: put a single record into a list")
    if isinstance(records, Iterator):
        return IteratorSource(records)
    if not isinstance(records, Sequence) or isinstance(records, (bytes, bytearray)):
        raise InvalidInput(f"records must be {ACCEPTED}, not a {type(records).__name__}")
    first = records[0] if len(records) else {}
    if isinstance(first, (str, PathLike)) or hasattr(first, "joinpath"):
        return FileSetSource(Files(records))
    if isinstance(first, (list, SqlQuery, Files)) or open_frame(first):
        return JoinedSource(records)
    return ListSource(records)
