"""Checks of the records that are pushed into Kaleidoscope or staged there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sluice_provider.apis.checked_rows import ENVELOPE, InvalidRow, field_names
from sluice_provider.apis.kaleidoscope.field_rules import FieldRules
from sluice_provider.apis.validation import check_choice, check_whole_number
from sluice_provider.sources.chunks import Chunk

REJECTION_POLICIES = ("fail", "warn", "ignore")
"""What `on_rejected_rows` may be."""


def check_batching(batch_size: object, max_bytes: object, on_rejected_rows: object) -> None:
    """:raises InvalidInput: one of the arguments that all tasks with batches have is wrong"""
    check_whole_number("batch_size", batch_size, 1)
    check_whole_number("max_bytes", max_bytes, 2 * ENVELOPE + 1)
    check_choice("on_rejected_rows", on_rejected_rows, REJECTION_POLICIES)


class FieldCheck:
    """Each row must have a value for the key fields, and names for all of its fields.

    :param keys: names of the key fields
    :param collect: `names` are those of all fields that any row has; else also those of empty columns
    :param rules: applied to the rows as well
    """

    def __init__(self, keys: Sequence[str] | None, *, collect: bool = False, rules: FieldRules | None = None) -> None:
        self._keys = keys or ()
        self._rules = rules
        self._collect = collect
        self.names: set[str] = set()

    def __call__(self, chunk: Chunk) -> Sequence[Mapping[str, Any]]:
        for key in self._keys:
            values = [record.get(key) for record in chunk.records]
            if None in values or "" in values:
                _check_keys(self._keys, chunk.records)
        columns = chunk.columns if all(chunk.columns) and not self._collect else ()
        names = columns or set().union(*chunk.records)
        if not self.names.issuperset(names):
            _check_names(chunk.records)
            self.names.update(names)
        return self._rules.apply(chunk.records) if self._rules else chunk.records


def _check_keys(names: Sequence[str], records: Sequence[Mapping[str, Any]]) -> None:
    for index, record in enumerate(records):
        missing = [name for name in names if record.get(name) is None or record[name] == ""]
        if missing:
            fields = ", ".join(missing)
            raise InvalidRow(index, f"has no value for the key field {fields}; it has {field_names(record)}")


def _check_names(records: Sequence[Mapping[str, Any]]) -> None:
    for index, record in enumerate(records):
        if not all(isinstance(name, str) and name for name in record):
            raise InvalidRow(index, "has a field without a name")
