"""Results of single records, as a registrar reports them: rows that are checked before any of them is sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sluice_provider.apis.checked_rows import InvalidRow, RowCheck, field_names
from sluice_provider.apis.payloads import JsonObject, drop_none
from sluice_provider.errors import InvalidInput
from sluice_provider.sources.chunks import Chunk

MEMBERS = ("record_id", "status", "data", "error_message")
"""Of a result in the API (kalbio `registration.py: RegistrationResultRecord`)."""


def result_record(record: Mapping[str, Any]) -> JsonObject:
    """A result for one record as the API wants it, from a row: fields that the API does not know become its `data`.

    :raises InvalidInput: with a message that follows the name of the record
    """
    result: JsonObject = {name: _required(record, name) for name in ("record_id", "status")}
    other = {name: value for name, value in record.items() if name not in MEMBERS}
    data = record.get("data")
    if data is None:
        data = other
    elif other:
        raise InvalidInput(
            f"has a field 'data' and other fields ({', '.join(map(str, other))}): put all values into 'data', or leave "
            "it out"
        )
    if not isinstance(data, Mapping) or not all(isinstance(name, str) and name for name in data):
        raise InvalidInput(f"has a field 'data' that is not an object of named values: {data!r:.60}")
    message = record.get("error_message")
    if message is not None and not isinstance(message, str):
        raise InvalidInput(f"has an error_message that is not a string: {message!r:.60}")
    return {**result, **drop_none(data=dict(data) or None, error_message=message or None)}


def _required(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name)
    if not isinstance(value, str) or not value.strip():
        raise InvalidInput(f"must have a {name} that is a string; it has {field_names(record)}")
    return value.strip()


def one_result_per_record() -> RowCheck:
    """Each row is a result, and no two are for the same record."""
    positions: dict[str, str] = {}

    def check(chunk: Chunk) -> list[JsonObject]:
        return [_result(index, record, chunk.position(index)) for index, record in enumerate(chunk.records)]

    def _result(index: int, record: Mapping[str, Any], position: str) -> JsonObject:
        try:
            result = result_record(_with_parsed_data(record))
        except InvalidInput as error:
            raise InvalidRow(index, str(error)) from None
        first = positions.setdefault(result["record_id"], position)
        if first != position:
            problem = f"and {first} are both for record {result['record_id']!r}: give one result per record"
            raise InvalidRow(index, problem)
        return result

    return check


def _with_parsed_data(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """In a CSV file, data may be a JSON object in a string."""
    data = record.get("data")
    if not isinstance(data, str):
        return record
    try:
        return {**record, "data": json.loads(data)}
    except ValueError:
        raise InvalidInput(f"has a field 'data' that is not a JSON object: {data!r:.60}") from None
