"""Endpoints to validate and submit drafts (user), and to return results (registrar); kalbio 0.7.0: registration.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from sluice_sandbox.kaleidoscope.drafts import SUBMISSION_KINDS
from sluice_sandbox.kaleidoscope.registration_endpoints import take_results, take_status
from sluice_sandbox.kaleidoscope.registrations import REGISTRATION, VALIDATION, Registration
from sluice_sandbox.kaleidoscope.staging import check_drafts, check_idle, check_staging
from sluice_sandbox.kaleidoscope.validation import abort, check_members, not_found, texts

if TYPE_CHECKING:
    from sluice_sandbox.kaleidoscope.workspace import ApiRequest, Workspace


def validate(workspace: Workspace, request: ApiRequest) -> dict[str, Any]:
    """`POST /operations/{operation_id}/validate_drafts`: a dry run."""
    return _submit(workspace, request, VALIDATION)


def submit(workspace: Workspace, request: ApiRequest) -> dict[str, Any]:
    """`POST /operations/{operation_id}/submit_drafts_for_registration`."""
    return _submit(workspace, request, REGISTRATION)


def _submit(workspace: Workspace, request: ApiRequest, kind: str) -> dict[str, Any]:
    """Submit the drafts in `record_ids`, all if it is missing.

    Drafts in progress are accepted again, as the vendor's list of errors (no staging table, no drafts, not a draft)
    does not contain that case. So a repeated request creates a second submission.
    """
    operation_id, content = workspace.operation(request), request.json()
    check_members(content, {"record_ids": texts})
    check_staging(workspace)
    current = workspace.drafts.current(operation_id)
    record_ids = list(dict.fromkeys(content.get("record_ids", current)))
    if not current or not record_ids:
        abort(422, "NO_DRAFTS", "The operation has no drafts, or none was named")
    check_drafts(workspace, operation_id, record_ids)
    return open_submission(workspace, operation_id, record_ids, kind).to_json()


def open_submission(workspace: Workspace, operation_id: str, record_ids: list[str], kind: str) -> Registration:
    """Open a submission and notify the registrar by webhook."""
    status, event = _INITIAL_STATUS_AND_EVENT[kind]
    now, new_id = workspace.context.clock.now(), workspace.context.ids.uuid()
    registration = workspace.registrations.open(Registration(kind, operation_id, record_ids, now, status, id=new_id))
    workspace.webhooks.send(
        event, {"operation_id": operation_id, "submission_id": registration.id, "record_ids": record_ids}
    )
    return registration


_INITIAL_STATUS_AND_EVENT = {
    VALIDATION: ("pending", "registration_drafts_validation_requested"),
    REGISTRATION: ("submitted", "registration_drafts_submitted"),
}


def statuses(workspace: Workspace, request: ApiRequest) -> list[dict[str, Any]]:
    """`GET /operations/{operation_id}/registration_draft_statuses`."""
    workspace.on_poll()
    operation_id = workspace.operation(request)
    return workspace.drafts.statuses(operation_id, workspace.registrations.of(operation_id, *SUBMISSION_KINDS))


def submissions(workspace: Workspace, request: ApiRequest) -> list[dict[str, Any]]:
    """`GET /operations/{operation_id}/registration_submissions`: newest first. No endpoint returns a single one."""
    workspace.on_poll()
    found = workspace.registrations.of(workspace.operation(request), *SUBMISSION_KINDS)
    return [{**registration.to_json(), "record_errors": registration.errors()} for registration in found]


def clear(workspace: Workspace, request: ApiRequest) -> Response:
    """`POST /operations/{operation_id}/clear_draft_records`: remove drafts from the staging table."""
    operation_id, content = workspace.operation(request), request.json()
    check_members(content, {"record_ids": texts}, "record_ids")
    check_staging(workspace)
    check_drafts(workspace, operation_id, content["record_ids"])
    check_idle(workspace, operation_id, content["record_ids"])
    workspace.drafts.archive(content["record_ids"], "cleared")
    return Response(status_code=204)


def push_status(workspace: Workspace, request: ApiRequest) -> Response:
    """`POST /operations/{operation_id}/registration_submissions/{submission_id}/status`: by the registrar."""
    return take_status(workspace, _submission(workspace, request), request.json())


def results(workspace: Workspace, request: ApiRequest) -> Response:
    """`POST /operations/{operation_id}/registration_submissions/{submission_id}/results`: by the registrar."""
    return take_results(workspace, _submission(workspace, request), request.json())


def _submission(workspace: Workspace, request: ApiRequest) -> Registration:
    operation_id, submission_id = workspace.operation(request), request.path["submission_id"]
    found = (
        registration
        for registration in workspace.registrations.of(operation_id, *SUBMISSION_KINDS)
        if registration.id == submission_id
    )
    return next(found, None) or not_found("Submission", submission_id)
