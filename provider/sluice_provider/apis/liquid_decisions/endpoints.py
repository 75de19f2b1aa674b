"""Liquid Decisions' batch API: import, export, status, cancel, and the token endpoints.

The sources are the vendor's wiki of LiquidAnalytics/ld-api-examples, pages "Batch Import and Export" and "Obtaining a
Token", and the scripts published beside it (`python/batchImport.py`, `batchExport.py`, `batchStatus.py`,
`batchCancel.py`). Where they contradict each other, requests follow the operation's own page, and responses are
accepted in every documented form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypedDict, cast

from sluice_provider.apis.liquid_decisions.job_status import JobStatus, job_from_status, read_job_status
from sluice_provider.apis.payloads import drop_none, send_for_object
from sluice_provider.apis.validation import check_id
from sluice_provider.errors import InvalidInput, JobFailed, OutcomeUnknown, UnexpectedResponse
from sluice_provider.http.bodies import AtomicFile, FilePart, Multipart
from sluice_provider.http.flow import Flow, Request
from sluice_provider.http.retry import send
from sluice_provider.jobs import Job, JobState

TOKEN_PATH = "ls/api/oauth2/token"  # noqa: S105 - a path
IMPORT_READ_TIMEOUT = 600.0
"""Seconds the service may take to store a file before it answers. A lost response leaves the outcome unknown, so this
is long."""

JSON, IMPORTED_TEXT, EXPORTED_TEXT = "application/json", "plain/text", "text/plain"
"""Content types as the wiki spells them; for text it has one for import and status, and another one for export."""

CONTENT_TYPE_ALIASES = {
    **dict.fromkeys(("json", JSON), "json"),
    **dict.fromkeys(("csv", "text", "text/csv", IMPORTED_TEXT, EXPORTED_TEXT), "csv"),
}


class TokenInfo(TypedDict, total=False):
    """Who owns a token (wiki "Obtaining a Token")."""

    userId: str
    authenticatedUserId: str
    community: str


# --- reads ----------------------------------------------------------------------------------------------------------


def validate_token() -> Flow[None]:
    """Check the token (wiki "Obtaining a Token"). :raises AuthenticationFailed: it is not valid"""
    yield from send(Request("GET", "ls/api/oauth2/validate", idempotent=True))


def get_token_info() -> Flow[TokenInfo]:
    """Who owns the token."""
    info = yield from send_for_object(Request("POST", "ls/api/oauth2/tokenInfo", form={}, idempotent=True))
    return cast("TokenInfo", info)


def get_job(job_id: str) -> Flow[JobStatus]:
    """A job's status, as the service returns it (wiki, "Batch Job Progress"; `batchStatus.py`).

    :raises NotFound: the service does not know the job
    """
    request = Request("POST", "ls/api/batch/status", form={"jobId": _id(job_id)}, idempotent=True)
    return read_job_status((yield from send(request)))


# --- submit and cancel ----------------------------------------------------------------------------------------------


def import_file(
    file: FilePart,
    item_type: str,
    job_name: str,
    content_type: str,
    template: FilePart | None = None,
    merge: bool | None = None,
    header_row: bool | None = None,
    notification_email: str | None = None,
) -> Flow[str]:
    """Import a file of items, and return the job's id (wiki, "Import"; `batchImport.py`, where `headerRow` is from).

    Arguments that are None are not sent. The request is not idempotent: submitted twice, it imports twice.

    :raises JobFailed: the file or a parameter was rejected immediately
    :raises OutcomeUnknown: no response came, or an unexpected one
    """
    fields = drop_none(
        jobName=job_name,
        itemType=item_type,
        contentType=content_type,
        merge=_bool_text(merge),
        headerRow=_bool_text(header_row),
        notificationEmail=notification_email,
    )
    body = Multipart(fields, [file] if template is None else [file, template])
    return (
        yield from _submit(
            Request("POST", "ls/api/batch/import", body=body, read_timeout=IMPORT_READ_TIMEOUT), job_name
        )
    )


def export(
    item_type: str,
    job_name: str,
    content_type: str,
    sql_query: str | None = None,
    filters: str | None = None,
    template: str | None = None,
    row_header: bool | None = None,
    notification_email: str | None = None,
) -> Flow[str]:
    """Export items, and return the job's id (wiki, "Export"; `batchExport.py`). Without query and filters: all items.

    Arguments that are None are not sent; the script's default for `filters`, the string `0`, is not copied.

    :raises JobFailed: a parameter was rejected immediately
    :raises OutcomeUnknown: no response came, or an unexpected one
    """
    form = drop_none(
        jobName=job_name,
        itemType=item_type,
        contentType=content_type,
        sqlQuery=sql_query,
        filters=filters,
        template=template,
        rowHeader=_bool_text(row_header),
        notificationEmail=notification_email,
    )
    return (yield from _submit(Request("POST", "ls/api/batch/export", form=form), job_name))


def _submit(request: Request, job_name: str) -> Flow[str]:
    """The service has neither a listing nor idempotency keys: if the response is lost, only the job's name identifies
    the job."""
    try:
        response = yield from send(request)
        job = job_from_status(read_job_status(response))
    except (OutcomeUnknown, UnexpectedResponse) as error:
        raise OutcomeUnknown(f"{error}. If Liquid Decisions accepted the job, its jobName is {job_name!r}") from None
    if job.state.over and job.state is not JobState.SUCCEEDED:
        raise _rejection(job, job_name)
    return job.id


def _rejection(job: Job, job_name: str) -> JobFailed:
    error = JobFailed(f"Liquid Decisions rejected {job_name!r}: {job}")
    error.retryable = job.retryable is not False
    raise error


def cancel_job(job_id: str) -> Flow[str]:
    """Request the cancellation of a job, and return its id. The service cancels the job "next time it is up for
    processing", unless it has ended by then (`batchCancel.py`)."""
    checked = _id(job_id)
    yield from send(Request("POST", "ls/api/batch/cancel", form={"jobId": checked}, idempotent=True))
    return checked


def fetch(link: str, into: AtomicFile) -> Flow[None]:
    """Download a file of an export's results. Credentials are sent only if the link is on the connection's own host."""
    name = "GET a result file"  # instead of the link, whose path may grant access
    yield from send(Request("GET", link, into=into, headers={"Accept": "*/*"}, idempotent=True, name=name))


# --- request values -------------------------------------------------------------------------------------------------


def content_type_of(word: str, *, text: str) -> str:
    """The documented content type for one of its aliases. Other media types are returned unchanged.

    :param text: the content type that this operation uses for text
    :raises InvalidInput: it is neither an alias nor a media type
    """
    kind = CONTENT_TYPE_ALIASES.get(word.strip().casefold())
    if kind is None and "/" not in word:
        raise InvalidInput(f"content_type must be 'csv', 'json' or a media type, not {word!r}")
    return {"json": JSON, "csv": text}.get(kind or "", word.strip())


def format_filters(filters: Mapping[str, Any] | str, *, python_style: bool = False) -> str:
    """Filters as a form field: as JSON, or as the published script writes them, which is Python's `str(dict)`."""
    if isinstance(filters, str):
        return filters
    return str(dict(filters)) if python_style else json.dumps(filters, ensure_ascii=False)


def _bool_text(value: bool | None) -> str | None:
    """`True` or `False`, as the published scripts send it."""
    return None if value is None else str(bool(value))


def _id(job_id: str) -> str:
    return check_id("job_id", job_id).strip()
