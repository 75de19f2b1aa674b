"""Web pages of Kaleidoscope, as targets of links to imports, operations and registrations. No login."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from sluice_sandbox.kaleidoscope.reads import import_json
from sluice_sandbox.kaleidoscope.registrations import FILE, REGISTRATION, VALIDATION
from sluice_sandbox.kaleidoscope.store import OPERATION
from sluice_sandbox.service import JobRow
from sluice_sandbox.status_page import document, format_time, heading, link, paragraph, table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.responses import HTMLResponse

    from sluice_sandbox.kaleidoscope.reads import import_json
    from sluice_sandbox.kaleidoscope.registrations import Registration
    from sluice_sandbox.kaleidoscope.store import Import, Record
    from sluice_sandbox.kaleidoscope.workspace import Workspace
from sluice_sandbox.status_page import Html

MAX_ROWS = 200


def routes(get_workspace: Callable[[], Workspace]) -> list[Route]:
    """`get_workspace` returns the current one, as a reset replaces it."""

    def route(path: str, show: Callable[[Workspace, str], HTMLResponse | None]) -> Route:
        async def endpoint(request: Request) -> HTMLResponse:
            workspace = get_workspace()
            workspace.process_due()
            return show(workspace, request.path_params["id"]) or not_found_page()

        return Route(path, endpoint, methods=["GET"])

    return [
        route("/web/imports/{id}", import_page),
        route("/web/operations/{id}", operation_page),
        route("/web/registrations/{id}", registration_page),
    ]


def job_rows(workspace: Workspace, base: str) -> list[JobRow]:
    """Imports, registrations and submissions, newest first."""
    rows = [
        JobRow(job.id, status(workspace, job), job.row_count, outcome(job), job.created_at, f"{base}/imports/{job.id}")
        for job in workspace.store.imports.values()
    ]
    rows += [registration_row(registration, workspace, base) for registration in workspace.registrations.by_id.values()]
    return sorted(rows, key=lambda row: row.created_at)[::-1]


def status(workspace: Workspace, job: Import) -> str:
    """The import's status as the API returns it."""
    return str(
        import_json(job, workspace.context.clock.now(), workspace.context.settings.running_import_status)[
            "import_status"
        ]
    )


def outcome(job: Import) -> str:
    """The counts of a finished import in one line."""
    if job.result is None:
        return ""
    counts = [f"{job.result[f'records_{what}']} {what}" for what in ("created", "updated", "skipped")]
    failed = job.result["validation_result"]["failed"]
    return ", ".join(counts + [f"{failed} rejected"] * bool(failed))


def import_page(workspace: Workspace, import_id: str) -> HTMLResponse | None:
    """One import with its records; the page reloads while it runs."""
    job = workspace.store.imports.get(import_id)
    if job is None:
        return None
    created_at = format_time(job.created_at)
    parts = [
        paragraph(f"{status(workspace, job)}, {job.row_count} rows, submitted {created_at} UTC. {outcome(job)}"),
        *([paragraph(link(f"../operations/{job.operation_id}", "Operation"))] if job.operation_id else []),
        heading("Records"),
        _records(job.records),
    ]
    if job.result and job.result["validation_result"]["errors"]:
        parts += [heading("Rejected rows"), _errors(job.result["validation_result"]["errors"])]
    return document(f"Import {job.id}", parts, refresh=0 if job.done else 2)


def operation_page(workspace: Workspace, operation_id: str) -> HTMLResponse | None:
    """One operation with its imports, registrations, drafts and records."""
    if operation_id != OPERATION:
        return None
    imports = [
        (format_time(job.created_at), link(f"../imports/{job.id}", job.id), status(workspace, job), outcome(job))
        for job in reversed(workspace.store.imports.values())
        if job.operation_id == operation_id
    ]
    registrations = [
        registration_row(registration, workspace, "..")
        for registration in workspace.registrations.of(operation_id, FILE, REGISTRATION, VALIDATION)
    ]
    rows = [
        (format_time(each.created_at), link(each.href, each.job_id), each.status, each.outcome)
        for each in registrations
    ]
    drafts = [workspace.drafts.by_id[each].record for each in workspace.drafts.current(operation_id)]
    records = [each for each in workspace.store.records.values() if operation_id in each.operation_ids]
    head, other = (("Submitted", what, "Status", "Details") for what in ("Import", "Registration"))
    parts = [
        heading("Imports"),
        table(head, imports[:MAX_ROWS]),
        heading("Registrations"),
        table(other, rows[:MAX_ROWS]),
    ]
    parts += [heading("Drafts"), _records(drafts), heading("Records"), _records(records)]
    return document(f"Operation {operation_id}", parts)


def registration_row(registration: Registration, workspace: Workspace, base: str) -> JobRow:
    """A registration or submission as a row in the list of jobs."""
    what = {FILE: "registration", REGISTRATION: "submission", VALIDATION: "validation"}[registration.kind]
    file = workspace.files.by_id.get(registration.file_id or "")
    details = [f"{what} of {file.name if file else 'drafts'}", registration.message or ""]
    outcome = ", ".join(each for each in details if each)
    return JobRow(
        registration.id,
        registration.status,
        len(registration.record_ids),
        outcome,
        registration.created_at,
        f"{base}/registrations/{registration.id}",
    )


def registration_page(workspace: Workspace, registration_id: str) -> HTMLResponse | None:
    """One registration or submission with its history and the results of its records."""
    registration = workspace.registrations.by_id.get(registration_id)
    if registration is None:
        return None
    row = registration_row(registration, workspace, "..")
    history = [(format_time(at), status, message) for at, status, message in registration.history]
    results = [(each["record_id"], each["status"], each.get("error_message")) for each in registration.results.values()]
    parts = [
        paragraph(f"{row.status}, {row.outcome}, {row.rows} records, submitted {format_time(row.created_at)} UTC"),
        paragraph(link(f"../operations/{registration.operation_id}", "Operation")),
        heading("History"),
        table(("Time", "Status", "Message"), history),
        heading("Results"),
        table(("Record", "Status", "Message"), results[:MAX_ROWS]),
    ]
    return document(f"Registration {registration.id}", parts, refresh=0 if registration.over else 2)


def not_found_page() -> HTMLResponse:
    """There is no such thing."""
    response = document("Not found", [paragraph("Not found. A restart of the sandbox removes all data.")])
    response.status_code = 404
    return response


def _records(records: Sequence[Record]) -> Html:
    rows = ((record.identifier, record.pushes, _values(record.values)) for record in records[:MAX_ROWS])
    return table((f"Key ({len(records)} in total)", "Pushed", "Values"), rows)


def _values(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in values.items() if value is not None)


def _errors(errors: Sequence[dict[str, Any]]) -> Html:
    names = ("incoming_record_identifier", "field_name", "conflict_type", "value")
    rows = ([each[name] for name in names] for each in errors[:MAX_ROWS])
    return table(("Record", "Field", "Conflict", "Value"), rows)
