"""Kaleidoscope's web interface, as far as a link from elsewhere needs somewhere to go. Anybody may look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from sluice_sandbox.kaleidoscope.reads import import_json
from sluice_sandbox.kaleidoscope.registrations import FILE, REGISTRATION, VALIDATION
from sluice_sandbox.kaleidoscope.store import OPERATION
from sluice_sandbox.service import JobRow
from sluice_sandbox.status_page import document, heading, link, moment, paragraph, table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.responses import HTMLResponse

    from sluice_sandbox.kaleidoscope.reads import import_json
    from sluice_sandbox.kaleidoscope.registrations import Registration
    from sluice_sandbox.kaleidoscope.store import Import, Record
    from sluice_sandbox.kaleidoscope.workspace import Workspace
from sluice_sandbox.status_page import Html

SHOWN = 200


def routes(workspace: Callable[[], Workspace]) -> list[Route]:
    """`workspace` gives the one there is now."""

    def route(path: str, show: Callable[[Workspace, str], HTMLResponse | None]) -> Route:
        async def endpoint(request: Request) -> HTMLResponse:
            here = workspace()
            here.settle()
            return show(here, request.path_params["id"]) or nothing_page()

        return Route(path, endpoint, methods=["GET"])

    return [
        route("/web/imports/{id}", import_page),
        route("/web/operations/{id}", operation_page),
        route("/web/registrations/{id}", registration_page),
    ]


def job_rows(here: Workspace, base: str) -> list[JobRow]:
    """Imports and what the registrar was asked, newest first."""
    rows = [
        JobRow(job.id, status(here, job), job.row_count, outcome(job), job.created_at, f"{base}/imports/{job.id}")
        for job in here.store.imports.values()
    ]
    rows += [registration_row(registration, here, base) for registration in here.registrations.by_id.values()]
    return sorted(rows, key=lambda row: row.created_at)[::-1]


def status(here: Workspace, job: Import) -> str:
    """The import's status as the API says it."""
    return str(import_json(job, here.context.clock.now(), here.context.settings.running_import_status)["import_status"])


def outcome(job: Import) -> str:
    """How an import ended, in a line."""
    if job.result is None:
        return ""
    counts = [f"{job.result[f'records_{what}']} {what}" for what in ("created", "updated", "skipped")]
    failed = job.result["validation_result"]["failed"]
    return ", ".join(counts + [f"{failed} refused"] * bool(failed))


def import_page(here: Workspace, import_id: str) -> HTMLResponse | None:
    """One import with its records; it looks again while the import runs."""
    job = here.store.imports.get(import_id)
    if job is None:
        return None
    parts = [
        paragraph(f"{status(here, job)}, {job.row_count} rows, asked for {moment(job.created_at)} UTC. {outcome(job)}"),
        *([paragraph(link(f"../operations/{job.operation_id}", "Its operation"))] if job.operation_id else []),
        heading("Records"),
        _records(job.records),
    ]
    if job.result and job.result["validation_result"]["errors"]:
        parts += [heading("Refused"), _errors(job.result["validation_result"]["errors"])]
    return document(f"Import {job.id}", parts, refresh=0 if job.done else 2)


def operation_page(here: Workspace, operation_id: str) -> HTMLResponse | None:
    """One operation with its imports, registrations, drafts and records."""
    if operation_id != OPERATION:
        return None
    imports = [
        (moment(job.created_at), link(f"../imports/{job.id}", job.id), status(here, job), outcome(job))
        for job in reversed(here.store.imports.values())
        if job.operation_id == operation_id
    ]
    registrations = [
        registration_row(registration, here, "..")
        for registration in here.registrations.of(operation_id, FILE, REGISTRATION, VALIDATION)
    ]
    asked = [
        (moment(each.created_at), link(each.href, each.job_id), each.status, each.outcome) for each in registrations
    ]
    drafts = [here.drafts.by_id[each].record for each in here.drafts.current(operation_id)]
    records = [each for each in here.store.records.values() if operation_id in each.operation_ids]
    head, other = (("Asked for", what, "State", "Outcome") for what in ("Import", "Registration"))
    parts = [heading("Imports"), table(head, imports[:SHOWN]), heading("Registrations"), table(other, asked[:SHOWN])]
    parts += [heading("Drafts"), _records(drafts), heading("Records"), _records(records)]
    return document(f"Operation {operation_id}", parts)


def registration_row(registration: Registration, here: Workspace, base: str) -> JobRow:
    """A registration or a submission as a job among others."""
    what = {FILE: "registration", REGISTRATION: "submission", VALIDATION: "validation"}[registration.kind]
    file = here.files.by_id.get(registration.file_id or "")
    words = [f"{what} of {file.name if file else 'drafts'}", registration.message or ""]
    told = ", ".join(word for word in words if word)
    return JobRow(
        registration.id,
        registration.status,
        len(registration.record_ids),
        told,
        registration.created_at,
        f"{base}/registrations/{registration.id}",
    )


def registration_page(here: Workspace, registration_id: str) -> HTMLResponse | None:
    """One registration or submission: what happened to it, and what the registrar said about its records."""
    registration = here.registrations.by_id.get(registration_id)
    if registration is None:
        return None
    row = registration_row(registration, here, "..")
    history = [(moment(at), word, message) for at, word, message in registration.history]
    results = [(each["record_id"], each["status"], each.get("error_message")) for each in registration.results.values()]
    parts = [
        paragraph(f"{row.status}, {row.outcome}, {row.rows} records, asked for {moment(row.created_at)} UTC"),
        paragraph(link(f"../operations/{registration.operation_id}", "Its operation")),
        heading("History"),
        table(("Time", "State", "Message"), history),
        heading("Results"),
        table(("Record", "Status", "Message"), results[:SHOWN]),
    ]
    return document(f"Registration {registration.id}", parts, refresh=0 if registration.over else 2)


def nothing_page() -> HTMLResponse:
    """There is no such thing."""
    response = document("Not found", [paragraph("There is nothing here. Was the sandbox started anew?")])
    response.status_code = 404
    return response


def _records(records: Sequence[Record]) -> Html:
    rows = ((record.identifier, record.pushes, _values(record.values)) for record in records[:SHOWN])
    return table((f"Key ({len(records)} in all)", "Pushed", "Values"), rows)


def _values(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in values.items() if value is not None)


def _errors(errors: Sequence[dict[str, Any]]) -> Html:
    names = ("incoming_record_identifier", "field_name", "conflict_type", "value")
    rows = ([each[name] for name in names] for each in errors[:SHOWN])
    return table(("Record", "Field", "Conflict", "Value"), rows)
