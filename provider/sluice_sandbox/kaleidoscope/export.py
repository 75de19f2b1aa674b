"""`GET /records/export/csv`: records as CSV in the answer itself, row by row.

kalbio gives the path, the names of the parameters and that ids come comma-separated. How columns are called, that
without a view all fields are columns which have a value somewhere, and the form of filters and sorts are guesses.
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
from sluice_sandbox.kaleidoscope.validation import refuse, unknown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from starlette.responses import Response

    from sluice_sandbox.kaleidoscope.fields import Field
    from sluice_sandbox.kaleidoscope.store import Record
    from sluice_sandbox.kaleidoscope.workspace import Ask, Workspace

ROWS = 500  # in one part of the answer
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
    "record_set_id",  # of the oldest clients, as the next
    "record_set_filters",
)


def export(here: Workspace, ask: Ask) -> Response:
    """Key fields first, then data fields; the file's name is in the header, as a browser would save it."""
    query = ask.query
    _check(here, query)
    slice_id = query["entity_slice_id"]
    records = [
        each for each in here.store.records.values() if each.entity_slice_id == slice_id and _wanted(each, query)
    ]
    columns = _columns(here, query, records)
    records = _filtered(here, query, records)
    headers = {"content-type": TYPES[".csv"], "content-disposition": attachment(query["filename"])}
    return StreamingResponse(_lines(columns, records), headers=headers)


def _check(here: Workspace, query: Mapping[str, str]) -> None:
    for name in ("filename", "entity_slice_id"):
        if not query.get(name):
            refuse(400, "FST_ERR_VALIDATION", f"querystring/{name} Required")
    for name in query:
        if name not in PARAMETERS:
            refuse(400, "FST_ERR_VALIDATION", f"querystring/{name} Unrecognized key")
    views = (RECORD_VIEW, STAGING_VIEW) if here.staging else (RECORD_VIEW,)
    slices = [slice_id for slice_id, _ in here.store.slices.values()]
    known: dict[str, Sequence[str]] = {
        "entity_slice_id": slices,
        "operation_id": (OPERATION,),
        "program_id": (PROGRAM,),
    }
    # Of record sets and identifiers this workspace has none, and so no filter can be right that is about them.
    known |= {"record_view_id": views, "record_set_ids": (), "record_set_id": (), "identifier_ids": ()}
    known["record_set_filters"] = ()
    for name, ids in known.items():
        if query.get(name) and query[name] not in ids:
            unknown(name.removesuffix("s").removesuffix("_id").replace("_", " ").capitalize(), query[name])


def _wanted(record: Record, query: Mapping[str, str]) -> bool:
    """By operation, and by what is in the name that a person reads."""
    operation_id = query.get("operation_id")
    found = query.get("search_text", "").lower() in record.identifier.lower()
    return found and (not operation_id or operation_id in record.operation_ids)


def _columns(here: Workspace, query: Mapping[str, str], records: Sequence[Record]) -> list[Field]:
    """The keys of the entity; of the data fields those asked for, those of the view, or those with a value."""
    fields, data = here.store.fields, here.store.fields.data
    names = next(names for names, (slice_id, _) in here.store.slices.items() if slice_id == query["entity_slice_id"])
    keys = [fields.keys[name] for name in fields.keys if name in names]
    if query.get("view_field_ids"):
        by_id = {each.id: each for each in data.values()}
        return keys + [by_id.get(each) or unknown("Field", each) for each in query["view_field_ids"].split(",")]
    if query.get("record_view_id"):
        return keys + list(data.values())
    used = {name for record in records for name, value in record.values.items() if value is not None}
    return keys + [each for name, each in data.items() if name in used]


def _filtered(here: Workspace, query: Mapping[str, str], records: list[Record]) -> list[Record]:
    """All filters hold; the first sort counts most."""
    fields = {each.id: each for each in (*here.store.fields.keys.values(), *here.store.fields.data.values())}

    def given(*names: str) -> list[tuple[Field, dict[str, Any]]]:
        found = [each for name in names for each in _objects(name, query.get(name) or "[]")]
        ids = [str(each.get("field_id")) for each in found]
        return [(fields.get(each) or unknown("Field", each), rule) for each, rule in zip(ids, found, strict=True)]

    for field, rule in given("view_field_filters", "entity_field_filters"):
        holds = _RULES.get(str(rule.get("filter_type"))) or _no_rule(rule)
        records = [each for each in records if holds(_value(each, field), rule.get("filter_prop"))]
    for field, rule in reversed(given("view_field_sorts", "entity_field_sorts")):
        records = sorted(records, key=partial(_sortable, field), reverse=rule.get("descending") is True)
    return records


def _objects(name: str, text: str) -> list[dict[str, Any]]:
    """A list of objects, or only one."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    found = [found] if isinstance(found, dict) else found
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        refuse(400, "FST_ERR_VALIDATION", f"querystring/{name} Invalid input: expected JSON text of objects")
    return found


def _no_rule(rule: Mapping[str, Any]) -> Any:
    refuse(400, "FST_ERR_VALIDATION", f"Unknown filter_type {rule.get('filter_type')}: here are {', '.join(_RULES)}")


def _value(record: Record, field: Field) -> Any:
    return (record.key if field.is_key else record.values).get(field.field_name)


def _sortable(field: Field, record: Record) -> tuple[bool, bool, Any]:
    """Nothing first, then numbers, then texts."""
    value = _value(record, field)
    number = isinstance(value, (int, float))
    return value is not None, not number, (value if number else str(value or ""))


def _compared(value: Any, other: Any) -> int:
    """-1, 0 or 1; what cannot be compared is neither."""
    try:
        return int(value > other) - int(value < other)
    except TypeError:
        return 0


# Of kalbio's FilterRuleType those that a test may want.
_RULES: Mapping[str, Callable[[Any, Any], bool]] = {
    "is_set": lambda value, _: value is not None,
    "is_empty": lambda value, _: value is None,
    "is_equal": lambda value, other: value == other,
    "is_not_equal": lambda value, other: value != other,
    "includes": lambda value, other: str(other) in str(value or ""),
    "starts_with": lambda value, other: str(value or "").startswith(str(other)),
    "ends_with": lambda value, other: str(value or "").endswith(str(other)),
    "is_less_than": lambda value, other: _compared(value, other) < 0,
    "is_greater_than": lambda value, other: _compared(value, other) > 0,
}


async def _lines(columns: Sequence[Field], records: Sequence[Record]) -> AsyncIterator[bytes]:
    yield _csv([[each.field_name for each in columns]])
    for start in range(0, len(records), ROWS):
        yield _csv([[_cell(_value(record, field)) for field in columns] for record in records[start : start + ROWS]])


def _cell(value: Any) -> Any:
    """Truths as JavaScript writes them; a file by its name."""
    if isinstance(value, bool):
        return str(value).lower()
    return value["file_name"] if isinstance(value, dict) else value


def _csv(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode(errors="surrogatepass")
