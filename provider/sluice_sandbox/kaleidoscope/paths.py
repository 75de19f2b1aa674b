"""Routes of files, exports, drafts and registration, with their handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sluice_sandbox.kaleidoscope import export as exports
from sluice_sandbox.kaleidoscope import registration_endpoints as registration
from sluice_sandbox.kaleidoscope import staging, submissions, uploads

if TYPE_CHECKING:
    from collections.abc import Callable

    from sluice_sandbox.kaleidoscope.workspace import ApiRequest, Workspace

_OPERATION = "/operations/{operation_id}"
_SUBMISSION = f"{_OPERATION}/registration_submissions/{{submission_id}}"
UPLOADS = ("/properties/{property_id}/file", "/records/{record_id}/values/file")
"""Paths without Fastify's limit of the body size."""

PATHS: tuple[tuple[str, str, Callable[[Workspace, ApiRequest], Any]], ...] = (
    ("GET", "/files/{file_id}", uploads.download),
    ("GET", "/activities/{activity_id}/file/{file_id}", uploads.download),
    ("POST", "/properties/{property_id}/file", uploads.upload_to_property),
    ("POST", "/records/{record_id}/values/file", uploads.upload_to_record),
    ("POST", f"{_OPERATION}/register/{{file_id}}", registration.register),
    ("GET", f"{_OPERATION}/registrations", registration.registrations),
    # The paths of status and results differ: they do in the vendor's API (kalbio 0.7.0: registration.py).
    ("POST", f"{_OPERATION}/registration_files/{{file_id}}/status", registration.push_status),
    ("POST", f"{_OPERATION}/register/{{file_id}}/results", registration.results),
    ("GET", "/records/export/csv", exports.export),
    ("POST", "/imports", staging.create),
    ("POST", "/imports/{import_id}/run", staging.run),
    ("POST", f"{_OPERATION}/validate_drafts", submissions.validate),
    ("POST", f"{_OPERATION}/submit_drafts_for_registration", submissions.submit),
    ("GET", f"{_OPERATION}/registration_draft_statuses", submissions.statuses),
    ("GET", f"{_OPERATION}/registration_submissions", submissions.submissions),
    ("POST", f"{_OPERATION}/clear_draft_records", submissions.clear),
    ("POST", f"{_SUBMISSION}/status", submissions.push_status),
    ("POST", f"{_SUBMISSION}/results", submissions.results),
)
