"""Liquid Decisions' batch API: import, export, status, cancel, and the reads that go with them.

Every fact rests on the vendor's wiki of LiquidAnalytics/ld-api-examples, pages "Batch Import and Export" and "Obtaining
a Token", or on the scripts published beside it (`python/batchImport.py`, `batchExport.py`, `batchStatus.py`,
`batchCancel.py`). Where they contradict each other, each operation gets what its own page says, and anything that any
of them says is understood.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn
from urllib.parse import urlsplit

from sluice_provider.apis.payloads import drop_none, send_for_object
from sluice_provider.apis.validation import check_id
from sluice_provider.errors import ClientError, InvalidInput, JobFailed, OutcomeUnknown, UnexpectedResponse
from sluice_provider.http.bodies import AtomicFile, FilePart, Multipart
from sluice_provider.http.flow import Flow, Request, Response
from sluice_provider.http.retry import send
from sluice_provider.jobs import Job, JobState
from sluice_provider.jobs.polling import JobType, Locator

log = logging.getLogger(__name__)

TOKEN_PATH = "ls/api/oauth2/token"  # noqa: S105 - a path
STORING = 600.0
"""Seconds the remote may take to store a file before it answers: not to wait for the answer leaves us in doubt."""

JSON, IMPORTED_TEXT, EXPORTED_TEXT = "application/json", "plain/text", "text/plain"
"""The wiki's own words; for text it has one for import and status, and another one for export."""

ALIASES = {
    **dict.fromkeys(("json", JSON), "json"),
    **dict.fromkeys(("csv", "text", "text/csv", IMPORTED_TEXT, EXPORTED_TEXT), "csv"),
}

Raw = dict[str, Any]


# --- reads ----------------------------------------------------------------------------------------------------------


def validate_token() -> Flow[None]:
    """Whether the token is good (wiki "Obtaining a Token"). :raises AuthenticationFailed: it is not"""
    yield from send(Request("GET", "ls/api/oauth2/validate", idempotent=True))


def get_token_info() -> Flow[Raw]:
    """Who the token belongs to: `userId`, `authenticatedUserId`, `community` (wiki "Obtaining a Token")."""
    return (yield from send_for_object(Request("POST", "ls/api/oauth2/tokenInfo", form={}, idempotent=True)))


def get_job(job_id: str) -> Flow[Raw]:
    """A job's status, as the API describes it (wiki, "Batch Job Progress"; `batchStatus.py`).

    :raises NotFound: no such job is known
    """
    call = Request("POST", "ls/api/batch/status", form={"jobId": _id(job_id)}, idempotent=True)
    return _status((yield from send(call)))


# --- asking ---------------------------------------------------------------------------------------------------------


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

    Only what is given is sent. To be asked twice is to import twice: the call is not repeatable.

    :raises JobFailed: the file or a parameter was rejected at once
    :raises OutcomeUnknown: no answer came, or none that can be understood
    """
    fields = drop_none(
        jobName=job_name,
        itemType=item_type,
        contentType=content_type,
        merge=_flag(merge),
        headerRow=_flag(header_row),
        notificationEmail=notification_email,
    )
    body = Multipart(fields, [file] if template is None else [file, template])
    return (yield from _ask(Request("POST", "ls/api/batch/import", body=body, read_timeout=STORING), job_name))


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
    """Export items, and return the job's id (wiki, "Export"; `batchExport.py`). Without a query and filters: all items.

    Only what is given is sent: the script's own default for `filters`, the text `0`, is not copied.

    :raises JobFailed: a parameter was rejected at once
    :raises OutcomeUnknown: no answer came, or none that can be understood
    """
    form = drop_none(
        jobName=job_name,
        itemType=item_type,
        contentType=content_type,
        sqlQuery=sql_query,
        filters=filters,
        template=template,
        rowHeader=_flag(row_header),
        notificationEmail=notification_email,
    )
    return (yield from _ask(Request("POST", "ls/api/batch/export", form=form), job_name))


def _ask(call: Request, job_name: str) -> Flow[str]:
    """The remote has no listing and no idempotency: when an answer is lost, the name is all there is."""
    try:
        reply = yield from send(call)
        job = job_of(_status(reply))
    except (OutcomeUnknown, UnexpectedResponse) as error:
        raise OutcomeUnknown(f"{error}. If the job was begun, its jobName is {job_name!r}") from None
    if job.state.over and job.state is not JobState.SUCCEEDED:
        _ended_at_once(job, job_name)
    return job.id


def _ended_at_once(job: Job, job_name: str) -> NoReturn:
    error = JobFailed(f"{job_name!r} was not taken on: {job}")
    error.retryable = job.retryable is not False
    raise error


def cancel_job(job_id: str) -> Flow[None]:
    """Ask to cancel a job (`batchCancel.py`), which happens "next time it is up for processing", if there is one."""
    yield from send(Request("POST", "ls/api/batch/cancel", form={"jobId": _id(job_id)}, idempotent=True))


def cancelled(job_id: str) -> Flow[str]:
    """`cancel_job`, for whoever then waits until the job is over."""
    yield from cancel_job(job_id)
    return job_id.strip()


def fetch(link: str, into: AtomicFile) -> Flow[None]:
    """Bring home what a link of an export leads to. Our credentials go along only to the connection's own host."""
    what = "GET a file of results"  # the link's path may let anybody in who has it
    yield from send(Request("GET", link, into=into, headers={"Accept": "*/*"}, idempotent=True, name=what))


# --- what is sent ---------------------------------------------------------------------------------------------------


def content_type_of(word: str, *, text: str) -> str:
    """The documented content type for one of its many names; a type that none of them is goes out as it is.

    :param text: what this operation calls text
    """
    kind = ALIASES.get(word.strip().casefold())
    if kind is None and "/" not in word:
        raise InvalidInput(f"content_type must be 'csv', 'json' or a media type, not {word!r}")
    return {"json": JSON, "csv": text}.get(kind or "", word.strip())


def filters_text(filters: Mapping[str, Any] | str, *, python_style: bool = False) -> str:
    """Filters as the form wants them: JSON; or as the published script writes them, which is Python's `str(dict)`."""
    if isinstance(filters, str):
        return filters
    return str(dict(filters)) if python_style else json.dumps(filters, ensure_ascii=False)


def _flag(value: bool | None) -> str | None:
    """As Python spells it, since the published scripts leave that to `str`."""
    return None if value is None else str(bool(value))


def _id(job_id: str) -> str:
    return check_id("job_id", job_id).strip()


# --- what comes back ------------------------------------------------------------------------------------------------

STATES = {
    "initialized": JobState.RUNNING,
    "accepted": JobState.RUNNING,
    "processing": JobState.RUNNING,
    "canceling": JobState.RUNNING,
    "completed": JobState.SUCCEEDED,
    "rejected": JobState.FAILED,
    "failed": JobState.FAILED,
    "canceled": JobState.CANCELLED,
}
"""The wiki's list, "Batch Job Status", and what each status means."""

LINK = r"https?://[^\s<>\"'\\]+"
ECHOED = ("jobId", "jobName", "itemType", "contentType", "notificationEmail", "submitTime", "status")
NUMBERS = {"recordsProcessed": "processed", "runTime": "milliseconds"}

_unknown_told: set[str] = set()


def job_of(raw: Raw) -> Job:
    """A status object as a job. Numbers may be texts; a status may be spelled in more than one way."""
    word = str(raw["status"])
    state = _state(word)
    return Job(
        id=str(raw["jobId"]),
        state=state,
        service_status=word,
        message=re.sub(LINK, _bare, str(raw.get("reason") or "")),
        counts={ours: number for name, ours in NUMBERS.items() if (number := _number(raw.get(name))) is not None},
        links=_links_of(raw) if state is JobState.SUCCEEDED else (),
        retryable=False if _plain(word) == "rejected" else None,
    )


def _status(reply: Response) -> Raw:
    """The wiki's "Batch Status Response", with all in it that we live by; what is rejected may have got no id."""
    answer = reply.json()
    if isinstance(answer, dict) and isinstance(answer.get("status"), str):
        if answer.get("jobId"):
            return answer
        if _plain(answer["status"]) == "rejected":
            return {**answer, "jobId": "(no id)"}
    raise UnexpectedResponse(f"answered {reply.status} without a jobId and a status: {reply.text!r:.200}")


def _state(word: str) -> JobState:
    state = STATES.get(_plain(word))
    if state is None and word not in _unknown_told:
        _unknown_told.add(word)
        log.warning("Liquid Decisions says %r of a job, which this version does not know: taken for still going", word)
    return state or JobState.RUNNING


def _plain(word: str) -> str:
    return word.strip().casefold().replace("cancell", "cancel")


def _number(value: Any) -> int | None:
    try:
        return int(str(value).strip())
    except ValueError:
        return None


def _links_of(raw: Raw) -> tuple[str, ...]:
    """Wherever they are: the wiki promises "one or more links", and not where. What we said ourselves is none."""
    return tuple(dict.fromkeys(_links({name: value for name, value in raw.items() if name not in ECHOED})))


def _links(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from (match.rstrip(".,;:!?)]}") for match in re.findall(LINK, value))
    elif isinstance(value, (list, dict)):
        parts: Iterable[Any] = value.values() if isinstance(value, dict) else value
        for part in parts:
            yield from _links(part)


def _bare(link: re.Match[str]) -> str:
    """A link as it may be shown: its host. Whoever has the rest of it may be let in."""
    parts = urlsplit(link[0])
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/..."


# --- kinds ----------------------------------------------------------------------------------------------------------


def _get_status(job_id: str, _locator: Locator) -> Flow[Job]:
    return job_of((yield from get_job(job_id)))


def _cancel(job_id: str, _locator: Locator) -> Flow[None]:
    """A job that is over already, or not known any more, needs no cancelling."""
    try:
        yield from cancel_job(job_id)
    except ClientError as error:
        if error.status not in (404, 409):
            raise


JOB_TYPES: Mapping[str, JobType] = {name: JobType(name, _get_status, _cancel) for name in ("import", "export", "job")}
