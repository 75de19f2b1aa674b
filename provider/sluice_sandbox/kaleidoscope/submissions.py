"""Registering drafts: validated or submitted by the user, answered by the registrar (kalbio 0.7.0: registration.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from sluice_sandbox.kaleidoscope.drafts import TABLE
from sluice_sandbox.kaleidoscope.registration_endpoints import take_results, take_status
from sluice_sandbox.kaleidoscope.registrations import REGISTRATION, VALIDATION, Registration
from sluice_sandbox.kaleidoscope.staging import check_drafts, check_idle, check_staging
from sluice_sandbox.kaleidoscope.validation import check_members, refuse, texts, unknown

if TYPE_CHECKING:
    from sluice_sandbox.kaleidoscope.workspace import Ask, Workspace


def validate(here: Workspace, ask: Ask) -> dict[str, Any]:
    """`POST /operations/{operation_id}/validate_drafts`: a dry run."""
    return _asked(here, ask, VALIDATION)


def submit(here: Workspace, ask: Ask) -> dict[str, Any]:
    """`POST /operations/{operation_id}/submit_drafts_for_registration`."""
    return _asked(here, ask, REGISTRATION)


def _asked(here: Workspace, ask: Ask, kind: str) -> dict[str, Any]:
    """Without record_ids all drafts. Drafts that are under way already are not refused: the vendor's list of what is
    (no staging table, no drafts, not a draft there) does not have it, so who asks twice has two submissions."""
    operation_id, content = here.operation(ask), ask.json()
    check_members(content, {"record_ids": texts})
    check_staging(here)
    current = here.drafts.current(operation_id)
    record_ids = list(dict.fromkeys(content.get("record_ids", current)))
    if not current or not record_ids:
        refuse(422, "NO_DRAFTS", "The operation has no drafts, or none was named")
    check_drafts(here, operation_id, record_ids)
    return open_submission(here, operation_id, record_ids, kind).to_json()


def open_submission(here: Workspace, operation_id: str, record_ids: list[str], kind: str) -> Registration:
    """A submission begins, and the registrar is told."""
    status, event = _BEGINNINGS[kind]
    now, new_id = here.context.clock.now(), here.context.ids.uuid()
    registration = here.registrations.open(Registration(kind, operation_id, record_ids, now, status, id=new_id))
    here.webhooks.send(
        event, {"operation_id": operation_id, "submission_id": registration.id, "record_ids": record_ids}
    )
    return registration


_BEGINNINGS = {
    VALIDATION: ("pending", "registration_drafts_validation_requested"),
    REGISTRATION: ("submitted", "registration_drafts_submitted"),
}


def statuses(here: Workspace, ask: Ask) -> list[dict[str, Any]]:
    """`GET /operations/{operation_id}/registration_draft_statuses`."""
    here.look()
    operation_id = here.operation(ask)
    return here.drafts.statuses(operation_id, here.registrations.of(operation_id, *TABLE))


def submissions(here: Workspace, ask: Ask) -> list[dict[str, Any]]:
    """`GET /operations/{operation_id}/registration_submissions`: newest first; there is no way to get only one."""
    here.look()
    found = here.registrations.of(here.operation(ask), *TABLE)
    return [{**registration.to_json(), "record_errors": registration.errors()} for registration in found]


def clear(here: Workspace, ask: Ask) -> Response:
    """`POST /operations/{operation_id}/clear_draft_records`: out of the staging table."""
    operation_id, content = here.operation(ask), ask.json()
    check_members(content, {"record_ids": texts}, "record_ids")
    check_staging(here)
    check_drafts(here, operation_id, content["record_ids"])
    check_idle(here, operation_id, content["record_ids"])
    here.drafts.archive(content["record_ids"], "cleared")
    return Response(status_code=204)


def push_status(here: Workspace, ask: Ask) -> Response:
    """`POST /operations/{operation_id}/registration_submissions/{submission_id}/status`: by the registrar."""
    return take_status(here, _submission(here, ask), ask.json())


def results(here: Workspace, ask: Ask) -> Response:
    """`POST /operations/{operation_id}/registration_submissions/{submission_id}/results`: by the registrar."""
    return take_results(here, _submission(here, ask), ask.json())


def _submission(here: Workspace, ask: Ask) -> Registration:
    operation_id, submission_id = here.operation(ask), ask.path["submission_id"]
    found = (
        registration for registration in here.registrations.of(operation_id, *TABLE) if registration.id == submission_id
    )
    return next(found, None) or unknown("Submission", submission_id)
