"""`GET /records/export/csv`: records as CSV in a streamed response.

The path, the names of the parameters and the comma-separated ids are from kalbio. The names of columns, the choice of
columns without a view (all fields that have a value), and the form of filters and sorts are guesses.
"""

from __future__ import annotations

import csv
import io
import json
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.responses import StreamingResponse

from sluice_sandbox.kaleidoscope.drafts import STAGING_VIEW
from sluice_sandbox.kaleidoscope.files import TYPES, attachment
from sluice_sandbox.kaleidoscope.store import OPERATION, PROGRAM, RECORD_VIEW
from sluice_sandbox.kaleidoscope.validation import abort, not_found

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from starlette.responses import Response

    from sluice_sandbox.kaleidoscope.fields import Field
    from sluice_sandbox.kaleidoscope.store import Record
    from sluice_sandbox.kaleidoscope.workspace import ApiRequest, Workspace

ROWS = 500  # in one chunk of the response
PARAMETERS = (
    "filename",
    "entity_slice_id",
    "record_view_id",
    "view_field_ids",
    "identifier_ids",
    "record_set_ids",
    "program_id",
    "operation_id",
    "view_field_filters",
    "view_field_sorts",
    "entity_field_filters",
    "entity_field_sorts",
    "search_text",
    "record_set_id",  # used by the oldest clients, like the next
    "record_set_filters",
)


def export(workspace: Workspace, request: ApiRequest) -> Response:
    """Key fields first, then data fields; the file name is in Content-Disposition."""
    query = request.query
    _check(workspace, query)
    slice_id = query["entity_slice_id"]
    records = [
        each for each in workspace.store.records.values() if each.entity_slice_id == slice_id and _selected(each, query)
    ]
    columns = _columns(workspace, query, records)
    records = _filtered(workspace, query, records)
    headers = {"content-type": TYPES[".csv"], "content-disposition": attachment(query["filename"])}
    return StreamingResponse(_lines(columns, records), headers=headers)


def _check(workspace: Workspace, query: Mapping[str, str]) -> None:
    for name in ("filename", "entity_slice_id"):
        if not query.get(name):
            abort(400, "FST_ERR_VALIDATION", f"querystring/{name} Required")
    for name in query:
        if name not in PARAMETERS:
            abort(400, "FST_ERR_VALIDATION", f"querystring/{name} Unrecognized key")
    views = (RECORD_VIEW, STAGING_VIEW) if workspace.staging else (RECORD_VIEW,)
    slices = [slice_id for slice_id, _ in workspace.store.slices.values()]
    known: dict[str, Sequence[str]] = {
        "entity_slice_id": slices,
        "operation_id": (OPERATION,),
        "program_id": (PROGRAM,),
    }
    # The workspace has no record sets and no identifiers, so every filter by them is an error.
    known |= {"record_view_id": views, "record_set_ids": (), "record_set_id": (), "identifier_ids": ()}
    known["record_set_filters"] = ()
    for name, ids in known.items():
        if query.get(name) and query[name] not in ids:
            not_found(name.removesuffix("s").removesuffix("_id").replace("_", " ").capitalize(), query[name])


def _selected(record: Record, query: Mapping[str, str]) -> bool:
    """Whether the record matches operation_id and search_text."""
    operation_id = query.get("operation_id")
    matches = query.get("search_text", "").lower() in record.identifier.lower()
    return matches and (not operation_id or operation_id in record.operation_ids)


def _columns(workspace: Workspace, query: Mapping[str, str], records: Sequence[Record]) -> list[Field]:
    """The key fields of the entity, then the requested data fields, those of the view, or those that have a value."""
    fields, data = workspace.store.fields, workspace.store.fields.data
    names = next(
        names for names, (slice_id, _) in workspace.store.slices.items() if slice_id == query["entity_slice_id"]
    )
    keys = [fields.keys[name] for name in fields.keys if name in names]
    if query.get("view_field_ids"):
        by_id = {each.id: each for each in data.values()}
        return keys + [by_id.get(each) or not_found("Field", each) for each in query["view_field_ids"].split(",")]
    if query.get("record_view_id"):
        return keys + list(data.values())
    used = {name for record in records for name, value in record.values.items() if value is not None}
    return keys + [each for name, each in data.items() if name in used]


def _filtered(workspace: Workspace, query: Mapping[str, str], records: list[Record]) -> list[Record]:
    """The records that match all filters, sorted; the first sort is the primary one."""
    fields = {each.id: each for each in (*workspace.store.fields.keys.values(), *workspace.store.fields.data.values())}

    def given(*names: str) -> list[tuple[Field, dict[str, Any]]]:
        found = [each for name in names for each in _objects(name, query.get(name) or "[]")]
        ids = [str(each.get("field_id")) for each in found]
        return [(fields.get(each) or not_found("Field", each), rule) for each, rule in zip(ids, found, strict=True)]

    for field, rule in given("view_field_filters", "entity_field_filters"):
        matches = _FILTERS.get(str(rule.get("filter_type"))) or _unknown_filter(rule)
        records = [each for each in records if matches(_value(each, field), rule.get("filter_prop"))]
    for field, rule in reversed(given("view_field_sorts", "entity_field_sorts")):
        records = sorted(records, key=partial(_sort_key, field), reverse=rule.get("descending") is True)
    return records


def _objects(name: str, text: str) -> list[dict[str, Any]]:
    """The objects of a parameter: a JSON list, or a single object."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    found = [found] if isinstance(found, dict) else found
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        abort(400, "FST_ERR_VALIDATION", f"querystring/{name} Invalid input: expected JSON text of objects")
    return found


def _unknown_filter(rule: Mapping[str, Any]) -> Any:
    abort(400, "FST_ERR_VALIDATION", f"Unknown filter_type {rule.get('filter_type')}; known: {', '.join(_FILTERS)}")


def _value(record: Record, field: Field) -> Any:
    return (record.key if field.is_key else record.values).get(field.field_name)


def _sort_key(field: Field, record: Record) -> tuple[bool, bool, Any]:
    """Order: no value, then numbers, then strings."""
    value = _value(record, field)
    number = isinstance(value, (int, float))
    return value is not None, not number, (value if number else str(value or ""))


def _compare(value: Any, other: Any) -> int:
    """-1, 0 or 1; 0 if the values cannot be compared."""
    try:
        return int(value > other) - int(value < other)
    except TypeError:
        return 0


# A selection of kalbio's FilterRuleType.
_FILTERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "is_set": lambda value, _: value is not None,
    "is_empty": lambda value, _: value is None,
    "is_equal": lambda value, other: value == other,
    "is_not_equal": lambda value, other: value != other,
    "includes": lambda value, other: str(other) in str(value or ""),
    "starts_with": lambda value, other: str(value or "").startswith(str(other)),
    "ends_with": lambda value, other: str(value or "").endswith(str(other)),
    "is_less_than": lambda value, other: _compare(value, other) < 0,
    "is_greater_than": lambda value, other: _compare(value, other) > 0,
}


async def _lines(columns: Sequence[Field], records: Sequence[Record]) -> AsyncIterator[bytes]:
    yield _csv([[each.field_name for each in columns]])
    for start in range(0, len(records), ROWS):
        yield _csv([[_cell(_value(record, field)) for field in columns] for record in records[start : start + ROWS]])


def _cell(value: Any) -> Any:
    """Booleans as in JavaScript; a file by its name."""
    if isinstance(value, bool):
        return str(value).lower()
    return value["file_name"] if isinstance(value, dict) else value


def _csv(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode(errors="surrogatepass")
