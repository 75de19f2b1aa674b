"""The import in two steps, rows first and then what they mean, by which kalbio 0.7.0 stages drafts."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from sluice_sandbox.kaleidoscope.drafts import STAGING_KEYS, STAGING_VIEW, TABLE
from sluice_sandbox.kaleidoscope.reads import import_json
from sluice_sandbox.kaleidoscope.store import OPERATION, RECORD_VIEW, Import
from sluice_sandbox.kaleidoscope.validation import (
    boolean,
    check_members,
    check_rows,
    objects,
    refuse,
    some_objects,
    text,
    texts,
    unknown,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sluice_sandbox.kaleidoscope.workspace import Ask, Workspace


def create(here: Workspace, ask: Ask) -> dict[str, Any]:
    """`POST /imports`: the rows, and nothing happens yet. kalbio reads the `id` of the answer; the rest is a guess."""
    content = ask.json()
    check_members(content, _CREATE, "data_json")
    operation_id = content.get("operation_id")
    if operation_id not in (None, OPERATION):
        unknown("Operation", operation_id)
    now, new_id = here.context.clock.now(), here.context.ids.uuid()
    job = Import([], content["data_json"], now, math.inf, operation_id=operation_id, id=new_id)
    if content.get("is_draft"):
        if operation_id is None:
            refuse(400, "FST_ERR_VALIDATION", "body/operation_id Required: drafts are staged on an operation")
        check_staging(here)
        job.write = here.drafts.write
    here.store.note(job)
    return import_json(job, job.created_at, here.context.settings.running_import_status)


def run(here: Workspace, ask: Ask) -> Response:
    """`POST /imports/{import_id}/run`: which columns are keys, which fields the others go to, and where to."""
    job = here.store.imports.get(ask.path["import_id"]) or unknown("Import", ask.path["import_id"])
    content = ask.json()
    check_members(content, _RUN, "key_field_configurations", "data_field_configurations", "record_view_id")
    if not math.isinf(job.seconds):
        refuse(409, "IMPORT_ALREADY_RUN", f"Import {job.id} was told to run already")
    _check_view(job, content["record_view_id"])
    keys, columns = _keys(here, job, content), _columns(here, content)
    replaces = content.get("replace_draft_record_ids", [])
    _check_replaced(here, job, replaces)
    job.rows = [_row(row, keys, columns) for row in job.rows]
    check_rows(job.rows, keys, at="data_json")
    if job.write:
        job.write = partial(here.drafts.write, replaces=replaces)
    job.key_fields, job.record_view_ids = keys, [content["record_view_id"]]
    job.run_at, job.seconds = here.context.clock.now(), here.context.settings.job_seconds
    here.store.take_on(job)
    return Response(status_code=204)


def check_staging(here: Workspace) -> None:
    """kalbio names the refusal (validate_drafts, submit_drafts); its words are a guess."""
    if not here.staging:
        refuse(422, "NO_STAGING_TABLE", "The operation has no registration staging table")


def check_drafts(here: Workspace, operation_id: str, record_ids: Sequence[str]) -> None:
    """Only what is staged there now."""
    current = set(here.drafts.current(operation_id))
    for record_id in record_ids:
        if record_id not in current:
            refuse(422, "NOT_A_DRAFT", f"Record {record_id} is not a draft on this operation")


def check_idle(here: Workspace, operation_id: str, record_ids: Sequence[str]) -> None:
    """A draft that somebody is working on cannot be taken away (kalbio: "e.g. a draft is pending or submitted")."""
    for registration in here.registrations.of(operation_id, *TABLE):
        held = next((each for each in record_ids if registration.busy and each in registration.record_ids), None)
        if held:
            refuse(409, "DRAFT_IN_PROGRESS", f"Draft {held} is {registration.status}")


def _check_view(job: Import, view_id: str) -> None:
    if view_id != (STAGING_VIEW if job.write else RECORD_VIEW):
        unknown("Staging table" if job.write else "Record view", view_id)


def _check_replaced(here: Workspace, job: Import, record_ids: Sequence[str]) -> None:
    if record_ids and not job.write:
        refuse(422, "NOT_A_DRAFT", "Only an import of drafts replaces drafts")
    check_drafts(here, OPERATION, record_ids)
    check_idle(here, OPERATION, record_ids)


def _keys(here: Workspace, job: Import, content: Mapping[str, Any]) -> list[str]:
    """Of the staging table only its own; that others are refused is a guess."""
    names = []
    known = STAGING_KEYS if job.write else tuple(here.store.fields.keys)
    for number, each in enumerate(content["key_field_configurations"]):
        check_members(each, {"name": text}, "name", at=["key_field_configurations", number])
        if each["name"] not in known:
            refuse(422, "UNKNOWN_KEY_FIELD", f"Unknown key field: {each['name']}; there is {', '.join(known)}")
        names.append(each["name"])
    return names


def _columns(here: Workspace, content: Mapping[str, Any]) -> dict[str, str]:
    """Names of fields by the columns that go to them; the type must be the field's, which is a guess."""
    fields = {each.id: each for each in here.store.fields.data.values()}
    found = {}
    for number, each in enumerate(content["data_field_configurations"]):
        check_members(each, _COLUMN, *_COLUMN, at=["data_field_configurations", number])
        field = fields.get(each["mapped_field_id"])
        if field is None:
            refuse(422, "UNKNOWN_FIELD", f"Unknown field: {each['mapped_field_id']}")
        if field.field_type != each["type"]:
            refuse(422, "WRONG_FIELD_TYPE", f"Field {field.field_name} is of type {field.field_type}")
        found[each["name"]] = field.field_name
    return found


def _row(row: Mapping[str, Any], keys: Sequence[str], columns: Mapping[str, str]) -> dict[str, Any]:
    """By the names of fields. Columns that nobody spoke of are left out: a guess."""
    named = {columns[name]: value for name, value in row.items() if name in columns}
    return {**named, **{name: row[name] for name in keys if name in row}}


_CREATE = {
    "data_json": some_objects,
    "attrs": lambda value: "" if isinstance(value, dict) else "Invalid input: expected object",
    "operation_id": text,
    "is_draft": boolean,
    "source_type": text,
}
_RUN = {
    "key_field_configurations": some_objects,
    "data_field_configurations": objects,
    "record_view_id": text,
    "replace_draft_record_ids": texts,
}
_COLUMN = {"name": text, "type": text, "mapped_field_id": text}
