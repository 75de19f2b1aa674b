"""The paths of files: how one is fetched, and the two ways in which kalbio uploads one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sluice_sandbox.kaleidoscope.files import file_response, read_upload
from sluice_sandbox.kaleidoscope.reads import property_json
from sluice_sandbox.kaleidoscope.store import OPERATION
from sluice_sandbox.kaleidoscope.validation import check_members, text, unknown
from sluice_sandbox.kaleidoscope.workspace import PROPERTY
from sluice_sandbox.settings import iso

if TYPE_CHECKING:
    from starlette.responses import Response

    from sluice_sandbox.kaleidoscope.files import File
    from sluice_sandbox.kaleidoscope.workspace import Ask, Workspace


def download(here: Workspace, ask: Ask) -> Response:
    """`GET /files/{file_id}`, and the same below an activity, which must be there then."""
    if ask.path.get("activity_id", OPERATION) != OPERATION:
        unknown("Activity", ask.path["activity_id"])
    return file_response(here.files.by_id.get(ask.path["file_id"]) or unknown("File", ask.path["file_id"]))


def upload_to_property(here: Workspace, ask: Ask) -> dict[str, Any]:
    """`POST /properties/{property_id}/file`. It registers nothing yet (kalbio: "Upload a file", then "Register it").
    That the property is the answer is a guess; kalbio says that there is a reference to the file in it."""
    if ask.path["property_id"] != PROPERTY:
        unknown("Property", ask.path["property_id"])
    here.property = _add(here, ask)[0]
    return property_json(here.property, here.store.since)


def upload_to_record(here: Workspace, ask: Ask) -> dict[str, Any]:
    """`POST /records/{record_id}/values/file`, whose part `body` says in which field. The field's name becomes the
    name of a value in `/control/state`; kalbio takes the answer for a RecordValue."""
    record = next((each for each in here.store.records.values() if each.id == ask.path["record_id"]), None)
    if record is None:
        unknown("Record", ask.path["record_id"])
    file, more = _add(here, ask)
    check_members(more, {"field_id": text, "operation_id": text, "record_view_id": text}, "field_id", at=["body"])
    name = here.store.fields.names(keys=False).get(more["field_id"]) or unknown("Field", more["field_id"])
    content = {"file_id": file.id, "file_name": file.name}
    record.values[name], record.updated_at = content, file.created_at
    own = {"id": f"{record.id}:{more['field_id']}", "content": content, "created_at": iso(file.created_at)}
    return {**own, "record_id": record.id, "operation_id": more.get("operation_id")}


def _add(here: Workspace, ask: Ask) -> tuple[File, dict[str, Any]]:
    upload = read_upload(ask.body, ask.content_type)
    return here.files.add(upload.name, upload.content, upload.content_type, here.context.clock.now()), upload.body
