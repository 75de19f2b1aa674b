"""Fields of records: selected, renamed, and completed by constants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

from sluice_provider.errors import InvalidInput
from sluice_provider.sources.chunks import Chunk
from sluice_provider.sources.source import Source

REST = "*"
"""In `columns`: all columns that are not named, under their own names."""


class MappedSource:
    """
    :param columns: the columns to take: their names, or a dict from each name to the field's; None for all
    :param constants: fields that all records get
    """

    def __init__(self, source: Source, columns: Any, constants: Any) -> None:
        self._source = source
        self._constants = _checked_constants(constants)
        self._fields = _checked_columns(columns)
        self._rest = not self._fields or self._fields.pop(REST, None) is not None
        twice = sorted(set(self._fields.values()) & set(self._constants))
        if twice:
            raise InvalidInput(f"columns and constants both give the field {twice[0]!r}: leave it out of one of them")

    @property
    def name(self) -> str:
        return self._source.name

    @property
    def recognisable(self) -> bool:
        return self._source.recognisable

    @property
    def sha256(self) -> str | None:
        digest = self._source.sha256
        settings = [digest, list(self._fields.items()), self._rest, list(self._constants.items())]
        return digest and sha256(repr(settings).encode()).hexdigest()

    def chunks(self, skip: int = 0) -> Iterator[Chunk]:
        for chunk in self._source.chunks(skip):
            missing = [name for name in self._fields if chunk.columns and name not in chunk.columns]
            if missing:
                raise InvalidInput(
                    f"{self.name}: there is no column {missing[0]!r}, which the argument columns names; the columns "
                    f"are {', '.join(map(repr, chunk.columns))}"
                )
            records = [self._mapped(record, chunk, index) for index, record in enumerate(chunk.records)]
            columns = tuple(self._mapped(dict.fromkeys(chunk.columns), chunk, 0)) if chunk.columns else ()
            only_strings = chunk.only_strings and all(isinstance(each, str) for each in self._constants.values())
            yield chunk._replace(records=records, columns=columns, only_strings=only_strings)

    def _mapped(self, record: Mapping[str, Any], chunk: Chunk, index: int) -> dict[str, Any]:
        found = {field: record[name] for name, field in self._fields.items() if name in record}
        rest = {name: value for name, value in record.items() if name not in self._fields} if self._rest else {}
        clash = found.keys() & rest.keys() or (found.keys() | rest.keys()) & self._constants.keys()
        if clash:
            raise InvalidInput(
                f"{self.name}: {chunk.position(index)} has a field {min(clash)!r} itself, which columns or "
                "constants give as well: name the columns to take"
            )
        return {**found, **rest, **self._constants}


def _checked_columns(columns: Any) -> dict[str, str]:
    if columns is None:
        return {}
    if isinstance(columns, Mapping):
        fields = dict(columns)
    elif isinstance(columns, Sequence) and not isinstance(columns, (str, bytes)):
        fields = {name: name for name in columns}
    else:
        raise InvalidInput(
            f"columns must be a list of column names, or a dict from column names to field names, not {columns!r:.100}"
        )
    for name in (*fields, *fields.values()):
        if not isinstance(name, str) or not name.strip():
            raise InvalidInput(f"columns must have names that are non-empty strings, not {name!r:.100}")
    if fields.get(REST, REST) != REST:
        raise InvalidInput("columns: '*' stands for all other columns under their own names: write {'*': '*'}")
    if len(set(fields.values())) < len(fields):
        raise InvalidInput("columns gives two columns the same field name")
    return fields


def _checked_constants(constants: Any) -> dict[str, Any]:
    if constants is None:
        return {}
    if not isinstance(constants, Mapping) or not all(isinstance(name, str) and name for name in constants):
        raise InvalidInput(f"constants must be a dict from field names to values, not {constants!r:.100}")
    return dict(constants)
