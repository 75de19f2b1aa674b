"""Kaleidoscope's web interface, as far as a link from elsewhere needs somewhere to go. Anybody may look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sluice_provider.sandbox.page import document, heading, link, moment, paragraph, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import HTMLResponse

    from sluice_provider.sandbox.kaleidoscope_store import Import, Record
    from sluice_provider.sandbox.page import Html

SHOWN = 200


def outcome(job: Import) -> str:
    """How an import ended, in a line."""
    if job.result is None:
        return ""
    counts = [f"{job.result[f'records_{what}']} {what}" for what in ("created", "updated", "skipped")]
    failed = job.result["validation_result"]["failed"]
    return ", ".join(counts + [f"{failed} refused"] * bool(failed))


def import_page(job: Import, status: str) -> HTMLResponse:
    """One import with its records; it looks again while the import runs."""
    parts = [
        paragraph(f"{status}, {job.row_count} rows, asked for {moment(job.created_at)} UTC. {outcome(job)}"),
        *([paragraph(link(f"../operations/{job.operation_id}", "Its operation"))] if job.operation_id else []),
        heading("Records"),
        _records(job.records),
    ]
    if job.result and job.result["validation_result"]["errors"]:
        parts += [heading("Refused"), _errors(job.result["validation_result"]["errors"])]
    return document(f"Import {job.id}", parts, refresh=0 if job.done else 2)


def operation_page(operation_id: str, jobs: Sequence[tuple[Import, str]], records: Sequence[Record]) -> HTMLResponse:
    """One operation with its imports and records."""
    rows = [
        (moment(job.created_at), link(f"../imports/{job.id}", job.id), status, outcome(job)) for job, status in jobs
    ]
    imports = table(("Asked for", "Import", "State", "Outcome"), rows)
    parts = [heading("Imports"), imports, heading("Records"), _records(records)]
    return document(f"Operation {operation_id}", parts)


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
