"""Endpoints to download a file, and the two with which kalbio uploads one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sluice_sandbox.kaleidoscope.files import file_response, read_upload
from sluice_sandbox.kaleidoscope.reads import property_json
from sluice_sandbox.kaleidoscope.store import OPERATION
from sluice_sandbox.kaleidoscope.validation import check_members, not_found, text
from sluice_sandbox.kaleidoscope.workspace import PROPERTY
from sluice_sandbox.settings import iso

if TYPE_CHECKING:
    from starlette.responses import Response

    from sluice_sandbox.kaleidoscope.files import File
    from sluice_sandbox.kaleidoscope.workspace import ApiRequest, Workspace


def download(workspace: Workspace, request: ApiRequest) -> Response:
    """`GET /files/{file_id}`, also below an activity, which must exist."""
    if request.path.get("activity_id", OPERATION) != OPERATION:
        not_found("Activity", request.path["activity_id"])
    return file_response(
        workspace.files.by_id.get(request.path["file_id"]) or not_found("File", request.path["file_id"])
    )


def upload_to_property(workspace: Workspace, request: ApiRequest) -> dict[str, Any]:
    """`POST /properties/{property_id}/file`: without registration (kalbio: "Upload a file", "Register it").

    That the response is the property is a guess; by kalbio it contains a reference to the file.
    """
    if request.path["property_id"] != PROPERTY:
        not_found("Property", request.path["property_id"])
    workspace.property = _add(workspace, request)[0]
    return property_json(workspace.property, workspace.store.since)


def upload_to_record(workspace: Workspace, request: ApiRequest) -> dict[str, Any]:
    """`POST /records/{record_id}/values/file`: upload to the field that the part `body` names.

    kalbio parses the response as a RecordValue.
    """
    record = next((each for each in workspace.store.records.values() if each.id == request.path["record_id"]), None)
    if record is None:
        not_found("Record", request.path["record_id"])
    file, more = _add(workspace, request)
    check_members(more, {"field_id": text, "operation_id": text, "record_view_id": text}, "field_id", at=["body"])
    name = workspace.store.fields.names(keys=False).get(more["field_id"]) or not_found("Field", more["field_id"])
    content = {"file_id": file.id, "file_name": file.name}
    record.values[name], record.updated_at = content, file.created_at
    own = {"id": f"{record.id}:{more['field_id']}", "content": content, "created_at": iso(file.created_at)}
    return {**own, "record_id": record.id, "operation_id": more.get("operation_id")}


def _add(workspace: Workspace, request: ApiRequest) -> tuple[File, dict[str, Any]]:
    upload = read_upload(request.body, request.content_type)
    return workspace.files.add(
        upload.name, upload.content, upload.content_type, workspace.context.clock.now()
    ), upload.body
