"""The content of the Remote jobs page, computed from the database rows of tasks: pure functions.

The rows are not trusted, since another version may have written them and users can edit the task state store. What
cannot be parsed is counted and breaks nothing. The summary comes first in the head of a record, so that of ten thousand
heads only the beginning has to be read.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypedDict, get_args
from urllib.parse import urlsplit

from sluice_provider.services import BY_NAME

State = Literal[
    "running",
    "submitting",
    "cancelling",
    "not_found",
    "outcome_unknown",
    "failed",
    "orphaned",
    "cancelled",
    "submitted",
    "succeeded",
]
STATES: tuple[State, ...] = get_args(State)
"""In the order in which the page lists them: what may need action comes first."""
ORPHANED: State = "orphaned"
ACTIVE = ("running", "submitting", "not_found")
NEEDS_TASK = ("running", "submitting")
"""In these states, a job whose task is over is no longer polled."""
TASK_OVER = ("success", "failed", "skipped", "removed", "upstream_failed")
PROGRESS_FIELDS = ("updated_at", "state", "service_status", "message", "counts", "done", "total")
"""What a trigger writes about a deferred task's job; the record has it only when the task has resumed."""

SUMMARY_PREFIX = '{"summary": '
SETTLING_SECONDS = 30.0
"""How long a finished job may still change: a trigger that was asked to cancel it may still write."""
MAX_EVENTS = 2000
"""More than the segments of a history hold, unless they were edited by hand."""
MAX_COUNTS = 30
MAX_IDS = 20
MAX_LISTED_IDS = 3
MAX_BARS = 80
MAX_NUMBER = 1e15

Json = dict[str, Any]
_DECODER = json.JSONDecoder()


class Row(NamedTuple):
    """A task instance that has a record, as read from the database.

    :param head: of the record: its beginning, or all of it
    :param written_at: when the head was written last
    :param progress: what the trigger has written since, if anything
    :param total_tries: retries included
    :param id: of the head in its table
    :param history: the segments of the record's history, if they were read
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    head: str
    written_at: datetime
    progress: str | None = None
    task_state: str | None = None
    task_ended_at: datetime | None = None
    try_number: int = 0
    total_tries: int = 1
    rendered_map_index: str | None = None
    id: int | None = None
    history: tuple[str, ...] = ()


class Filters(NamedTuple):
    """Which jobs the user wants to see. An empty set means all.

    :param since: jobs that were active at this time or later, in Unix seconds
    """

    services: frozenset[str] = frozenset()
    states: frozenset[str] = frozenset()
    dags: frozenset[str] = frozenset()
    since: float = 0.0
    page: int = 1
    size: int = 50


class ListedJob(NamedTuple):
    """A row that could be parsed: what is needed to count, filter and sort it. Times are in Unix seconds.

    The summary is not kept: ten thousand of them would slow down Python's garbage collector.
    """

    row: Row
    service: str
    state: State
    submitted_at: float
    ended_at: float | None


# --- what the page receives; times are in Unix seconds


class TimelineBar(TypedDict):
    """A job in the timeline."""

    service: str
    state: State
    submitted_at: float
    ended_at: float | None
    dag_id: str
    run_id: str
    task_id: str
    map_index: int


class JobItem(TimelineBar):
    """A job in the list. `ids` are the first of `id_count`."""

    title: str
    noun: str
    conn_id: str
    ids: list[str]
    id_count: int
    url: str
    service_status: str
    message: str
    counts: dict[str, int]
    done: int | None
    total: int | None
    updated_at: float
    resubmissions: int
    try_number: int
    total_tries: int
    rendered_map_index: str | None
    task_state: str | None


class ServiceItem(TypedDict):
    """A service to filter by, with the number of its jobs."""

    name: str
    title: str
    count: int


class JobList(TypedDict):
    """The page. `limit` is set if there are more jobs than that and only the latest were read."""

    now: float
    total: int
    page: int
    size: int
    counts: dict[State, int]
    services: list[ServiceItem]
    dags: list[str]
    active: bool
    unreadable: int
    limit: int | None
    jobs: list[JobItem]
    timeline: list[TimelineBar]


class EventItem(TypedDict):
    """An event of a job's history."""

    at: float
    type: str
    text: str


class JobDetail(TypedDict):
    """The tab. `job` is null for a task without a job, or with a record that cannot be parsed."""

    now: float
    job: JobItem | None
    unreadable: bool
    history: list[EventItem]
    active: bool


# --- parsing


def parse_summary(head: str) -> Json | None:
    """The summary in the head of a record, or None if there is none, or not all of it."""
    try:
        if head.startswith(SUMMARY_PREFIX):
            summary, _ = _DECODER.raw_decode(head, len(SUMMARY_PREFIX))
        else:
            summary = parse_object(head).get("summary")
    except (ValueError, RecursionError):
        return None
    return summary if isinstance(summary, dict) and summary else None


def parse_json(value: str | None) -> Any:
    """JSON, which may be encoded twice; None if it is invalid."""
    try:
        data = json.loads(value or "null")
        return json.loads(data) if isinstance(data, str) else data
    except (ValueError, RecursionError):
        return None


def parse_object(value: str | None) -> Json:
    data = parse_json(value)
    return data if isinstance(data, dict) else {}


def parse_row(row: Row) -> ListedJob | None:
    """None for a row whose record cannot be parsed."""
    summary = current_summary(row)
    if summary is None:
        return None
    state = effective_state(summary, row.task_state)
    ended_at = to_timestamp(summary.get("ended_at"))
    if ended_at is None and not _is_unfinished(state, row.task_state):
        ended_at = (row.task_ended_at or row.written_at).timestamp()
    submitted_at = to_timestamp(summary.get("submitted_at")) or row.written_at.timestamp()
    return ListedJob(row, to_text(summary.get("service"), 100), state, submitted_at, ended_at)


def current_summary(row: Row) -> Json | None:
    """The summary, updated with what the trigger has written since; None if it cannot be parsed."""
    summary = parse_summary(row.head)
    progress = newer_progress(summary, row.progress) if summary is not None and row.progress else {}
    if summary is None or not progress:
        return summary
    counts = [each["counts"] for each in (summary, progress) if isinstance(each.get("counts"), dict)]
    newer = {name: progress[name] for name in PROGRESS_FIELDS if name in progress}
    if newer.get("state") == "running" and any(each["type"] == "cancel" for each in _events(progress.get("history"))):
        newer["state"] = "cancelling"
    return {**summary, **newer, "counts": {name: value for each in counts for name, value in each.items()}}


def newer_progress(summary: Mapping[str, Any], progress: str | None) -> Json:
    """What the trigger wrote, if it is newer than the summary."""
    found = parse_object(progress)
    newer = (to_timestamp(found.get("updated_at")) or 0.0) > (to_timestamp(summary.get("updated_at")) or 0.0)
    return found if newer else {}


def effective_state(summary: Mapping[str, Any], task_state: str | None) -> State:
    """The state of a job, given the state of its task.

    An unknown state counts as running, like everywhere. If the task is over, a running job is orphaned, and the outcome
    of a request without a response is unknown.
    """
    recorded = summary.get("state")
    state: State = recorded if isinstance(recorded, str) and recorded in STATES else "running"
    if state == "submitting" and task_state in TASK_OVER:
        return "outcome_unknown"
    return ORPHANED if state in NEEDS_TASK and task_state in TASK_OVER else state


def _is_unfinished(state: State, task_state: str | None) -> bool:
    """Whether the job may still change. One that is being cancelled is polled until its task is over."""
    return state in ACTIVE or (state == "cancelling" and task_state not in TASK_OVER)


def to_text(value: Any, max_length: int) -> str:
    """A string that can be encoded in UTF-8: JSON can contain half of a surrogate pair. Else ""."""
    return value[:max_length].encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def to_number(value: Any) -> float | None:
    """A number of limited size: Python parses larger ones from JSON, but cannot send them to a browser."""
    valid = isinstance(value, (int, float)) and not isinstance(value, bool) and -MAX_NUMBER < value < MAX_NUMBER
    return value if valid else None


def to_timestamp(value: Any) -> float | None:
    """Unix seconds that a calendar can show."""
    number = to_number(value)
    return number if number is not None and 0 < number < 250_000_000_000 else None


def to_count(value: Any) -> int | None:
    number = to_number(value)
    return int(number) if number is not None and number >= 0 else None


def to_web_url(url: Any) -> str:
    """A URL that is safe to link to, so not `javascript:`; else ""."""
    try:
        parts = urlsplit(to_text(url, 4000))
        return parts.geturl() if parts.scheme in ("http", "https") and parts.hostname and not parts.username else ""
    except ValueError:
        return ""


# --- showing


def job_list(rows: Iterable[Row], filters: Filters, now: float, *, limit: int | None = None) -> JobList:
    """The page: counts and names to filter by, the jobs of one page, and the latest jobs for the timeline."""
    parsed = [parse_row(row) for row in rows]
    recent = [each for each in parsed if each is not None and (each.ended_at or now) >= filters.since]
    recent.sort(key=lambda each: (each.submitted_at, each.row[:4]), reverse=True)
    of_dags = [each for each in recent if not filters.dags or each.row.dag_id in filters.dags]
    of_services = [each for each in of_dags if not filters.services or each.service in filters.services]
    selected = [each for each in of_services if not filters.states or each.state in filters.states]
    start = (filters.page - 1) * filters.size
    counts = Counter(each.state for each in of_services)
    return {
        "now": now,
        "total": len(selected),
        "page": filters.page,
        "size": filters.size,
        "counts": {state: counts[state] for state in STATES},
        "services": _service_items(of_dags),
        "dags": sorted({each.row.dag_id for each in recent}),
        "active": any(is_active(each, now) for each in of_services),
        "unreadable": parsed.count(None),
        "limit": limit,
        "jobs": [_job_item(each) for each in selected[start : start + filters.size]],
        "timeline": [_timeline_bar(each) for each in selected[:MAX_BARS]],
    }


def _service_items(jobs: Iterable[ListedJob]) -> list[ServiceItem]:
    """The services that this version knows, then others that were found."""
    counts = {**dict.fromkeys(BY_NAME, 0), **Counter(each.service for each in jobs)}
    return [{"name": name, "title": service_title(name), "count": each} for name, each in counts.items()]


def is_active(job: ListedJob, now: float) -> bool:
    """Whether it may change soon, so the page should refresh."""
    return job.state in ACTIVE or job.ended_at is None or now - job.ended_at < SETTLING_SECONDS


def job_detail(row: Row | None, now: float) -> JobDetail:
    """One job with its history.

    :param row: with the whole head, and the segments of the history; None for a task without a record
    """
    listed = parse_row(row) if row is not None else None
    if row is None or listed is None:
        return {"now": now, "job": None, "unreadable": row is not None, "history": [], "active": False}
    job = _job_item(listed, max_ids=MAX_IDS)
    return {"now": now, "job": job, "unreadable": False, "history": history(row), "active": is_active(listed, now)}


def history(row: Row) -> list[EventItem]:
    """Events by time, each once: the record and the trigger's progress may contain the same event."""
    progress = newer_progress(parse_summary(row.head) or {}, row.progress)
    segments = [*map(parse_json, row.history), progress.get("history")]
    events = {tuple(event.values()): event for segment in segments for event in _events(segment)}
    return sorted(events.values(), key=lambda event: event["at"])[-MAX_EVENTS:]


def _job_item(listed: ListedJob, max_ids: int = MAX_LISTED_IDS) -> JobItem:
    row, summary = listed.row, current_summary(listed.row) or {}
    ids = _ids(summary)
    return {
        **_timeline_bar(listed),
        "title": service_title(listed.service),
        "noun": to_text(summary.get("noun"), 100) or to_text(summary.get("job_type"), 100) or "job",
        "conn_id": to_text(summary.get("conn_id"), 250),
        "ids": ids[:max_ids],
        "id_count": max(len(ids), to_count(summary.get("id_count")) or 0),
        "url": to_web_url(summary.get("url")),
        "service_status": to_text(summary.get("service_status"), 100),
        "message": to_text(summary.get("message"), 2000),
        "counts": _counts(summary.get("counts")),
        "done": to_count(summary.get("done")),
        "total": to_count(summary.get("total")) or None,
        "updated_at": to_timestamp(summary.get("updated_at")) or row.written_at.timestamp(),
        "resubmissions": to_count(summary.get("resubmissions")) or 0,
        "try_number": row.try_number,
        "total_tries": row.total_tries,
        "rendered_map_index": row.rendered_map_index,
        "task_state": row.task_state,
    }


def _timeline_bar(listed: ListedJob) -> TimelineBar:
    row = listed.row
    return {
        "service": listed.service,
        "state": listed.state,
        "submitted_at": listed.submitted_at,
        "ended_at": listed.ended_at,
        "dag_id": row.dag_id,
        "run_id": row.run_id,
        "task_id": row.task_id,
        "map_index": row.map_index,
    }


def _ids(summary: Mapping[str, Any]) -> list[str]:
    ids = summary.get("ids")
    return [to_text(each, 500) for each in ids[:MAX_IDS] if isinstance(each, str)] if isinstance(ids, list) else []


def _counts(value: Any) -> dict[str, int]:
    counts = ((name, to_count(each)) for name, each in (value.items() if isinstance(value, dict) else ()))
    valid = [(to_text(name, 100), each) for name, each in counts if each is not None]
    return dict(valid[:MAX_COUNTS])


def _events(history: Any) -> Iterator[EventItem]:
    for event in history if isinstance(history, list) else ():
        if isinstance(event, list) and len(event) == 3 and to_timestamp(event[0]) is not None:
            yield {"at": event[0], "type": to_text(event[1], 50), "text": to_text(event[2], 4000)}


def service_title(service: str) -> str:
    """The service's name as people write it."""
    return BY_NAME[service].title if service in BY_NAME else service
