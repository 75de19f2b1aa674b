"""The status of a job in Liquid Decisions, as the service returns it and as a job of this package."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypedDict, cast
from urllib.parse import urlsplit

from sluice_provider.errors import UnexpectedResponse
from sluice_provider.http.flow import Response
from sluice_provider.jobs import Job, JobState
from sluice_provider.redaction import excerpt

log = logging.getLogger(__name__)


class JobStatus(TypedDict, total=False):
    """The wiki's "Batch Status Response". `jobId` and `status` are always there; numbers may be strings. Links to the
    results may be in any field."""

    jobId: str
    jobName: str
    itemType: str
    contentType: str
    notificationEmail: str
    submitTime: str
    status: str
    reason: str
    recordsProcessed: int | str
    runTime: int | str


JOB_STATES = {
    "initialized": JobState.RUNNING,
    "accepted": JobState.RUNNING,
    "processing": JobState.RUNNING,
    "canceling": JobState.RUNNING,
    "completed": JobState.SUCCEEDED,
    "rejected": JobState.FAILED,
    "failed": JobState.FAILED,
    "canceled": JobState.CANCELLED,
}
"""The statuses in the wiki's list, "Batch Job Status"."""

LINK = r"https?://[^\s<>\"'\\]+"
REQUEST_FIELDS = ("jobId", "jobName", "itemType", "contentType", "notificationEmail", "submitTime", "status")
COUNT_FIELDS = {"recordsProcessed": "processed", "runTime": "milliseconds"}

_logged_unknown_statuses: set[str] = set()


def job_from_status(status: JobStatus) -> Job:
    """A status object as a job. Numbers may be strings; a status may be spelled in more than one way."""
    raw: Mapping[str, Any] = status
    word = str(raw["status"])
    state = _job_state(word)
    return Job(
        id=str(raw["jobId"]),
        state=state,
        service_status=word,
        message=re.sub(LINK, _redact_link, str(raw.get("reason") or "")),
        counts={
            ours: number for name, ours in COUNT_FIELDS.items() if (number := _int_or_none(raw.get(name))) is not None
        },
        links=_result_links(raw) if state is JobState.SUCCEEDED else (),
        retryable=False if _normalize(word) == "rejected" else None,
        name=str(raw.get("jobName") or ""),
    )


def read_job_status(response: Response) -> JobStatus:
    """:raises UnexpectedResponse: the status, or the id of a job that was not rejected, is missing"""
    answer = response.json()
    if isinstance(answer, dict) and isinstance(answer.get("status"), str):
        if answer.get("jobId"):
            return cast("JobStatus", answer)
        if _normalize(answer["status"]) == "rejected":
            return cast("JobStatus", {**answer, "jobId": "(no id)"})
    raise UnexpectedResponse(
        f"Liquid Decisions' response has no jobId or no status (status code {response.status}): {response.text!r:.200}"
    )


def _job_state(word: str) -> JobState:
    state = JOB_STATES.get(_normalize(word))
    if state is None and word not in _logged_unknown_statuses:
        _logged_unknown_statuses.add(word)
        log.warning(
            "Liquid Decisions returned the unknown job status %r; the job is treated as running", excerpt(word, 200)
        )
    return state or JobState.RUNNING


def _normalize(word: str) -> str:
    return word.strip().casefold().replace("cancell", "cancel")


def _int_or_none(value: Any) -> int | None:
    """A plausible count, as a number or as its text."""
    try:
        number = int(str(value).strip())
    except ValueError:
        return None
    return number if 0 <= number < 10**15 else None


def _result_links(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """All links in the status, as the wiki promises "one or more links" but not in which field. Fields that repeat the
    request's values are left out."""
    return tuple(dict.fromkeys(_find_links({name: value for name, value in raw.items() if name not in REQUEST_FIELDS})))


def _find_links(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from (match.rstrip(".,;:!?)]}") for match in re.findall(LINK, value))
    elif isinstance(value, (list, dict)):
        parts: Iterable[Any] = value.values() if isinstance(value, dict) else value
        for part in parts:
            yield from _find_links(part)


def _redact_link(link: re.Match[str]) -> str:
    """Only the host of a link: its path and query may grant access."""
    try:
        parts = urlsplit(link[0])
    except ValueError:
        return "<a link that is not a valid URL>"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/..."
