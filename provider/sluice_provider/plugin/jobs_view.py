"""The content of the Remote jobs page, computed from what the database returned: pure functions.

What tasks recorded is not trusted, since another version may have written it and users can edit the task state store.
What cannot be parsed is counted or said, and breaks nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, TypedDict, TypeGuard, get_args
from urllib.parse import urlsplit

from sluice_provider.jobs.state_line import UNFINISHED
from sluice_provider.progress import progress_of
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
PROGRESS_FIELDS = ("updated_at", "service_status", "message", "counts", "done", "total")
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
MAX_SECONDS = 250_000_000_000
"""Unix seconds that a calendar can show are less."""
UNREADABLE_HEAD = (
    "The record of this job cannot be read: it was written by a newer version of the provider, or edited. "
    "Its state is that of the last update."
)

Json = dict[str, Any]
_DECODER = json.JSONDecoder()


class Details(NamedTuple):
    """What is stored about a task instance and its job.

    :param head: of the record
    :param progress: what the trigger has written since, if anything
    :param total_tries: retries included
    :param history: the segments of the record's history, if they were read
    """

    head: str = ""
    progress: str | None = None
    task_state: str | None = None
    try_number: int = 0
    total_tries: int = 1
    rendered_map_index: str | None = None
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
    """A job with its present state. Times are in Unix seconds.

    :param submitted_at: or when its task failed, if nothing was submitted
    :param ended_at: None while something polls it
    :param written_at: when its state was written last
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    service: str
    state: State
    submitted_at: float
    ended_at: float | None
    written_at: float = 0.0


class JobCount(NamedTuple):
    """How many jobs of a DAG and a service are in a state.

    :param state: None for records that cannot be read
    :param not_ended: how many of them are still polled
    :param last_ended_at: when the last of the others ended, in Unix seconds
    """

    dag_id: str
    service: str
    state: State | None
    jobs: int
    not_ended: int = 0
    last_ended_at: float | None = None


class Overview(NamedTuple):
    """
    :param counts: of all jobs in the selected time, whatever the other filters are
    :param page: the jobs of the page, newest first
    :param latest: the latest of the selected jobs, for the timeline
    """

    counts: list[JobCount]
    page: list[tuple[ListedJob, Details]]
    latest: list[tuple[ListedJob, Details]]


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


class JobItem(TypedDict):
    """A job in the list. `ids` are the first of `id_count`; `submitted_at` is null if nothing was submitted."""

    service: str
    state: State
    submitted_at: float | None
    ended_at: float | None
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
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
    """The page. `counts` and `services` are exact."""

    now: float
    total: int
    page: int
    size: int
    counts: dict[State, int]
    services: list[ServiceItem]
    dags: list[str]
    active: bool
    unreadable: int
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


def is_state(text: str) -> TypeGuard[State]:
    return text in STATES


def current_summary(details: Details) -> Json | None:
    """The summary, updated with what the trigger has written since; None if it cannot be parsed."""
    summary = parse_summary(details.head)
    progress = newer_progress(summary, details.progress)
    if summary is None or not progress:
        return summary
    counts = [each["counts"] for each in (summary, progress) if isinstance(each.get("counts"), dict)]
    newer = {name: progress[name] for name in PROGRESS_FIELDS if name in progress}
    return {**summary, **newer, "counts": {name: value for each in counts for name, value in each.items()}}


def newer_progress(summary: Mapping[str, Any] | None, progress: str | None) -> Mapping[str, Any]:
    """What the trigger wrote, if the record has not ended: then it is newer."""
    state = summary.get("state") if summary is not None else None
    return progress_of(parse_json(progress)) if progress and state in UNFINISHED else {}


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
    return number if number is not None and 0 < number < MAX_SECONDS else None


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


def job_list(overview: Overview, filters: Filters, now: float) -> JobList:
    """The page: counts and names to filter by, the jobs of one page, and the latest jobs for the timeline."""
    readable = [each for each in overview.counts if each.state is not None]
    of_dags = [each for each in readable if not filters.dags or each.dag_id in filters.dags]
    of_services = [each for each in of_dags if not filters.services or each.service in filters.services]
    counts = _sums((str(each.state), each.jobs) for each in of_services)
    return {
        "now": now,
        "total": sum(count for state, count in counts.items() if not filters.states or state in filters.states),
        "page": filters.page,
        "size": filters.size,
        "counts": {state: counts.get(state, 0) for state in STATES},
        "services": _service_items(_sums((each.service, each.jobs) for each in of_dags)),
        "dags": sorted({each.dag_id for each in readable}),
        "active": any(each.not_ended or _just_ended(each.last_ended_at, now) for each in of_services),
        "unreadable": sum(each.jobs for each in overview.counts if each.state is None),
        "jobs": [_job_item(job, details) for job, details in overview.page],
        "timeline": [_timeline_bar(job) for job, details in overview.latest if _submitted_at(job, details)],
    }


def _sums(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for name, count in counts:
        sums[name] = sums.get(name, 0) + count
    return sums


def _service_items(counts: Mapping[str, int]) -> list[ServiceItem]:
    """The services that this version knows, then others that were found."""
    counts = {**dict.fromkeys(BY_NAME, 0), **counts}
    return [{"name": name, "title": service_title(name), "count": each} for name, each in counts.items()]


def _just_ended(ended_at: float | None, now: float) -> bool:
    return ended_at is not None and now - ended_at < SETTLING_SECONDS


def job_detail(job: ListedJob | None, details: Details, now: float) -> JobDetail:
    """One job with its history.

    :param job: None if its state cannot be read
    """
    if job is None or parse_summary(details.head) is None:
        return {"now": now, "job": None, "unreadable": True, "history": [], "active": False}
    item = _job_item(job, details, max_ids=MAX_IDS)
    active = job.ended_at is None or _just_ended(job.ended_at, now)
    return {"now": now, "job": item, "unreadable": False, "history": history(details), "active": active}


def no_job(now: float) -> JobDetail:
    """The tab of a task without a record."""
    return {"now": now, "job": None, "unreadable": False, "history": [], "active": False}


def history(details: Details) -> list[EventItem]:
    """Events by time, each once: the record and the trigger's progress may contain the same event."""
    progress = newer_progress(parse_summary(details.head), details.progress)
    segments = [*map(parse_json, details.history), progress.get("history")]
    events = {tuple(event.values()): event for segment in segments for event in _events(segment)}
    return sorted(events.values(), key=lambda event: event["at"])[-MAX_EVENTS:]


def _job_item(job: ListedJob, details: Details, max_ids: int = MAX_LISTED_IDS) -> JobItem:
    summary = current_summary(details) or {"message": UNREADABLE_HEAD}
    ids = _ids(summary)
    return {
        **_timeline_bar(job),
        "submitted_at": _submitted_at(job, details),
        "title": service_title(job.service),
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
        "updated_at": to_timestamp(summary.get("updated_at")) or job.written_at,
        "resubmissions": to_count(summary.get("resubmissions")) or 0,
        "try_number": details.try_number,
        "total_tries": details.total_tries,
        "rendered_map_index": details.rendered_map_index,
        "task_state": details.task_state,
    }


def _submitted_at(job: ListedJob, details: Details) -> float | None:
    """None if nothing was submitted; jobs are then sorted by when the task failed."""
    summary = parse_summary(details.head)
    return job.submitted_at if summary is None or to_timestamp(summary.get("submitted_at")) else None


def _timeline_bar(job: ListedJob) -> TimelineBar:
    return {
        "service": job.service,
        "state": job.state,
        "submitted_at": job.submitted_at,
        "ended_at": job.ended_at,
        "dag_id": job.dag_id,
        "run_id": job.run_id,
        "task_id": job.task_id,
        "map_index": job.map_index,
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
