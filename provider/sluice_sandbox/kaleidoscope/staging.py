"""The import in two steps (rows, then their mapping to fields), with which kalbio 0.7.0 stages drafts."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from sluice_sandbox.kaleidoscope.drafts import STAGING_KEYS, STAGING_VIEW, SUBMISSION_KINDS
from sluice_sandbox.kaleidoscope.reads import import_json
from sluice_sandbox.kaleidoscope.store import OPERATION, RECORD_VIEW, Import
from sluice_sandbox.kaleidoscope.validation import (
    abort,
    boolean,
    check_members,
    check_rows,
    not_found,
    objects,
    some_objects,
    text,
    texts,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sluice_sandbox.kaleidoscope.workspace import ApiRequest, Workspace


def create(workspace: Workspace, request: ApiRequest) -> dict[str, Any]:
    """`POST /imports`: store the rows. kalbio reads the `id` of the response; the rest of it is a guess."""
    content = request.json()
    check_members(content, _CREATE, "data_json")
    operation_id = content.get("operation_id")
    if operation_id not in (None, OPERATION):
        not_found("Operation", operation_id)
    now, new_id = workspace.context.clock.now(), workspace.context.ids.uuid()
    job = Import([], content["data_json"], now, math.inf, operation_id=operation_id, id=new_id)
    if content.get("is_draft"):
        if operation_id is None:
            abort(400, "FST_ERR_VALIDATION", "body/operation_id Required: drafts are staged on an operation")
        check_staging(workspace)
        job.write = workspace.drafts.write
    workspace.store.add_import(job)
    return import_json(job, job.created_at, workspace.context.settings.running_import_status)


def run(workspace: Workspace, request: ApiRequest) -> Response:
    """`POST /imports/{import_id}/run`: map columns to key fields and data fields, and start the import."""
    job = workspace.store.imports.get(request.path["import_id"]) or not_found("Import", request.path["import_id"])
    content = request.json()
    check_members(content, _RUN, "key_field_configurations", "data_field_configurations", "record_view_id")
    if not math.isinf(job.seconds):
        abort(409, "IMPORT_ALREADY_RUN", f"Import {job.id} has already been run")
    _check_view(job, content["record_view_id"])
    keys, columns = _keys(workspace, job, content), _columns(workspace, content)
    replaces = content.get("replace_draft_record_ids", [])
    _check_replaced(workspace, job, replaces)
    job.rows = [_row(row, keys, columns) for row in job.rows]
    check_rows(job.rows, keys, at="data_json")
    if job.write:
        job.write = partial(workspace.drafts.write, replaces=replaces)
    job.key_fields, job.record_view_ids = keys, [content["record_view_id"]]
    job.run_at, job.seconds = workspace.context.clock.now(), workspace.context.settings.job_seconds
    workspace.store.start(job)
    return Response(status_code=204)


def check_staging(workspace: Workspace) -> None:
    """kalbio documents this error (validate_drafts, submit_drafts); its message is a guess."""
    if not workspace.staging:
        abort(422, "NO_STAGING_TABLE", "The operation has no registration staging table")


def check_drafts(workspace: Workspace, operation_id: str, record_ids: Sequence[str]) -> None:
    """All of these must be current drafts."""
    current = set(workspace.drafts.current(operation_id))
    for record_id in record_ids:
        if record_id not in current:
            abort(422, "NOT_A_DRAFT", f"Record {record_id} is not a draft on this operation")


def check_idle(workspace: Workspace, operation_id: str, record_ids: Sequence[str]) -> None:
    """None of these drafts may be in progress (kalbio: "e.g. a draft is pending or submitted")."""
    for registration in workspace.registrations.of(operation_id, *SUBMISSION_KINDS):
        draft_id = next((each for each in record_ids if registration.busy and each in registration.record_ids), None)
        if draft_id:
            abort(409, "DRAFT_IN_PROGRESS", f"Draft {draft_id} is {registration.status}")


def _check_view(job: Import, view_id: str) -> None:
    if view_id != (STAGING_VIEW if job.write else RECORD_VIEW):
        not_found("Staging table" if job.write else "Record view", view_id)


def _check_replaced(workspace: Workspace, job: Import, record_ids: Sequence[str]) -> None:
    if record_ids and not job.write:
        abort(422, "NOT_A_DRAFT", "Only an import of drafts replaces drafts")
    check_drafts(workspace, OPERATION, record_ids)
    check_idle(workspace, OPERATION, record_ids)


def _keys(workspace: Workspace, job: Import, content: Mapping[str, Any]) -> list[str]:
    """Key fields; for drafts only those of the staging table, which is a guess."""
    names = []
    known = STAGING_KEYS if job.write else tuple(workspace.store.fields.keys)
    for number, each in enumerate(content["key_field_configurations"]):
        check_members(each, {"name": text}, "name", at=["key_field_configurations", number])
        if each["name"] not in known:
            abort(422, "UNKNOWN_KEY_FIELD", f"Unknown key field: {each['name']}; known: {', '.join(known)}")
        names.append(each["name"])
    return names


def _columns(workspace: Workspace, content: Mapping[str, Any]) -> dict[str, str]:
    """Field names by column name. That the type must be the field's is a guess."""
    fields = {each.id: each for each in workspace.store.fields.data.values()}
    found = {}
    for number, each in enumerate(content["data_field_configurations"]):
        check_members(each, _COLUMN, *_COLUMN, at=["data_field_configurations", number])
        field = fields.get(each["mapped_field_id"])
        if field is None:
            abort(422, "UNKNOWN_FIELD", f"Unknown field: {each['mapped_field_id']}")
        if field.field_type != each["type"]:
            abort(422, "WRONG_FIELD_TYPE", f"Field {field.field_name} is of type {field.field_type}")
        found[each["name"]] = field.field_name
    return found


def _row(row: Mapping[str, Any], keys: Sequence[str], columns: Mapping[str, str]) -> dict[str, Any]:
    """The row by field name. That unmapped columns are ignored is a guess."""
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
