"""What the Remote jobs page shows, from what the tasks left in the database: pure functions of rows.

What tasks left is read with suspicion, since another version may have written it and people may edit the task state
store. What cannot be read is counted and breaks nothing. The summary comes first in the head of a record, so of ten
thousand heads only the beginning is read.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sluice_provider.services import BY_NAME

ORPHANED = "orphaned"
STATES = (
    *("running", "submitting", "cancelling", "not_found", "outcome_unknown", "failed"),
    *(ORPHANED, "cancelled", "submitted", "succeeded"),
)
"""In the order in which somebody on call wants to know of them."""
ACTIVE = ("running", "submitting", "not_found")
NEEDS_TASK = ("running", "submitting")
"""In these states a job whose task is over is polled by nobody."""
TASK_OVER = ("success", "failed", "skipped", "removed", "upstream_failed")
PROGRESS_FIELDS = ("updated_at", "state", "service_status", "message", "counts", "done", "total")
"""What a trigger writes of a deferred task's job, which the record has only once the task has resumed."""

FIRST = '{"summary": '
SETTLING = 30.0
"""So many seconds after a job seems to be over, it may change: a trigger that was asked to cancel it."""
MOST_EVENTS = 2000
"""More than the pieces of a history hold, unless somebody edited them."""
MOST_COUNTS = 30
TIMELINE = 80
LARGEST = 1e15

_DECODER = json.JSONDecoder()


class Row(NamedTuple):
    """A task instance that has a record, as it is in the database.

    :param head: of the record: its beginning, or all of it
    :param written: when the head was written last
    :param progress: what the trigger wrote since then, if it did
    :param tries: how many there may be
    :param id: of the head in its table
    :param history: the pieces of the record's history, where they were asked for
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    head: str
    written: datetime
    progress: str | None = None
    task_state: str | None = None
    task_ended: datetime | None = None
    try_number: int = 0
    tries: int = 1
    rendered_map_index: str | None = None
    id: int | None = None
    history: tuple[str, ...] = ()


class Filters(NamedTuple):
    """Which jobs somebody wants to see. An empty set means all.

    :param since: jobs that were active at this time or later
    """

    services: frozenset[str] = frozenset()
    states: frozenset[str] = frozenset()
    dags: frozenset[str] = frozenset()
    since: float = 0.0
    page: int = 1
    size: int = 50


class ListedJob(NamedTuple):
    """A row that could be read: as much of it as is needed to count it and to choose. Times are in Unix seconds.

    The summary is not kept: ten thousand of them would make Python search all its memory for what nobody uses.
    """

    row: Row
    service: str
    state: str
    submitted_at: float
    ended_at: float | None


# --- reading


def summary_in(head: str) -> dict[str, Any] | None:
    """The summary in the head of a record, or None where this text has none that can be read."""
    try:
        if head.startswith(FIRST):
            summary, _ = _DECODER.raw_decode(head, len(FIRST))
        else:
            summary = json_object(head).get("summary")
    except (ValueError, RecursionError):
        return None
    return summary if isinstance(summary, dict) and summary else None


def parsed(written: str | None) -> Any:
    """JSON, which may have been written as JSON twice; None where it is none."""
    try:
        data = json.loads(written or "null")
        return json.loads(data) if isinstance(data, str) else data
    except (ValueError, RecursionError):
        return None


def json_object(written: str | None) -> dict[str, Any]:
    data = parsed(written)
    return data if isinstance(data, dict) else {}


def listed(row: Row) -> ListedJob | None:
    """None for a row that cannot be read."""
    summary = current_summary(row)
    if summary is None:
        return None
    state = state_of(summary, row.task_state)
    ended_at = timestamp(summary.get("ended_at"))
    if ended_at is None and not _goes_on(state, row.task_state):
        ended_at = (row.task_ended or row.written).timestamp()
    submitted_at = timestamp(summary.get("submitted_at")) or row.written.timestamp()
    return ListedJob(row, text(summary.get("service"), 100), state, submitted_at, ended_at)


def current_summary(row: Row) -> dict[str, Any] | None:
    """The summary with what the trigger wrote since; None where it cannot be read."""
    summary = summary_in(row.head)
    progress = newer_progress(summary, row.progress) if summary is not None and row.progress else {}
    if summary is None or not progress:
        return summary
    counts = [each["counts"] for each in (summary, progress) if isinstance(each.get("counts"), dict)]
    newer = {name: progress[name] for name in PROGRESS_FIELDS if name in progress}
    if newer.get("state") == "running" and any(each["what"] == "cancel" for each in _events(progress.get("history"))):
        newer["state"] = "cancelling"
    return {**summary, **newer, "counts": {name: value for each in counts for name, value in each.items()}}


def newer_progress(summary: Mapping[str, Any], progress: str | None) -> dict[str, Any]:
    """What the trigger wrote, if that is newer than the summary."""
    found = json_object(progress)
    newer = (timestamp(found.get("updated_at")) or 0.0) > (timestamp(summary.get("updated_at")) or 0.0)
    return found if newer else {}


def state_of(summary: Mapping[str, Any], task_state: str | None) -> str:
    """An unknown state is running, like everywhere; when the task is over nobody polls a job that runs, and what became
    of a request that was not answered is not known."""
    state = summary.get("state")
    known = state if isinstance(state, str) and state in STATES else "running"
    if known == "submitting" and task_state in TASK_OVER:
        return "outcome_unknown"
    return ORPHANED if known in NEEDS_TASK and task_state in TASK_OVER else known


def _goes_on(state: str, task_state: str | None) -> bool:
    """Whether there will be more of a job. One that is being cancelled is waited for as long as its task lives."""
    return state in ACTIVE or (state == "cancelling" and task_state not in TASK_OVER)


def text(value: Any, most: int) -> str:
    """What UTF-8 can carry of a string: JSON can name half of a character, and that cannot be sent to a browser."""
    return value[:most].encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def number(value: Any) -> float | None:
    """A number that fits a float; JSON as Python reads it has others, and none of them can be sent to a browser."""
    right = isinstance(value, (int, float)) and not isinstance(value, bool) and -LARGEST < value < LARGEST
    return value if right else None


def timestamp(value: Any) -> float | None:
    """Unix seconds that a calendar knows."""
    found = number(value)
    return found if found is not None and 0 < found < 250_000_000_000 else None


def count(value: Any) -> int | None:
    found = number(value)
    return int(found) if found is not None and found >= 0 else None


def web_url(url: Any) -> str:
    """An address that a browser may follow in one click: `javascript:` is none."""
    try:
        parts = urlsplit(text(url, 4000))
        return parts.geturl() if parts.scheme in ("http", "https") and parts.hostname and not parts.username else ""
    except ValueError:
        return ""


# --- showing


def overview(rows: Iterable[Row], filters: Filters, now: float) -> dict[str, Any]:
    """The page: counts and names to choose from, the jobs of one page, and the latest jobs as a timeline."""
    found = [listed(row) for row in rows]
    recent = [each for each in found if each is not None and (each.ended_at or now) >= filters.since]
    recent.sort(key=lambda each: (each.submitted_at, each.row[:4]), reverse=True)
    of_dags = [each for each in recent if not filters.dags or each.row.dag_id in filters.dags]
    of_services = [each for each in of_dags if not filters.services or each.service in filters.services]
    chosen = [each for each in of_services if not filters.states or each.state in filters.states]
    start = (filters.page - 1) * filters.size
    counts = Counter(each.state for each in of_services)
    return {
        "now": now,
        "total": len(chosen),
        "page": filters.page,
        "size": filters.size,
        "counts": {state: counts[state] for state in STATES},
        "services": _services(of_dags),
        "dags": sorted({each.row.dag_id for each in recent}),
        "active": any(is_active(each, now) for each in of_services),
        "unreadable": found.count(None),
        "jobs": [job(each) for each in chosen[start : start + filters.size]],
        "timeline": [_bar(each) for each in chosen[:TIMELINE]],
    }


def _services(jobs: Iterable[ListedJob]) -> list[dict[str, Any]]:
    """Those that this version knows, then others that were found."""
    counts = {**dict.fromkeys(BY_NAME, 0), **Counter(each.service for each in jobs)}
    return [{"name": name, "title": title(name), "count": each} for name, each in counts.items()]


def is_active(job: ListedJob, now: float) -> bool:
    """Whether it is worth while to read it again soon."""
    return job.state in ACTIVE or job.ended_at is None or now - job.ended_at < SETTLING


def detail(row: Row, now: float) -> dict[str, Any]:
    """One job with its history. Its row has the whole head, and the pieces of the history."""
    found = listed(row)
    if found is None:
        return {"job": None, "unreadable": True, "history": []}
    summary = current_summary(row) or {}
    shown = {**job(found), "ids": _ids(summary, 20), "conn_id": text(summary.get("conn_id"), 250)}
    return {"job": shown, "unreadable": False, "history": history(row), "active": is_active(found, now)}


def history(row: Row) -> list[dict[str, Any]]:
    """By time. The same event may stand in the record and in what the trigger wrote."""
    progress = newer_progress(summary_in(row.head) or {}, row.progress)
    pieces = [*map(parsed, row.history), progress.get("history")]
    events = {tuple(event.values()): event for piece in pieces for event in _events(piece)}
    return sorted(events.values(), key=lambda event: event["at"])[-MOST_EVENTS:]


def job(found: ListedJob) -> dict[str, Any]:
    """One job, as the page gets it."""
    row, summary = found.row, current_summary(found.row) or {}
    ids = _ids(summary, 20)
    return {
        **_bar(found),
        "title": title(found.service),
        "noun": text(summary.get("noun"), 100) or text(summary.get("job_type"), 100) or "job",
        "ids": ids[:3],
        "id_count": max(len(ids), count(summary.get("id_count")) or 0),
        "url": web_url(summary.get("url")),
        "service_status": text(summary.get("service_status"), 100),
        "message": text(summary.get("message"), 2000),
        "counts": _counts(summary.get("counts")),
        "done": count(summary.get("done")),
        "total": count(summary.get("total")) or None,
        "updated_at": timestamp(summary.get("updated_at")) or row.written.timestamp(),
        "resubmissions": count(summary.get("resubmissions")) or 0,
        "try_number": row.try_number,
        "tries": row.tries,
        "rendered_map_index": row.rendered_map_index,
        "task_state": row.task_state,
    }


def _bar(found: ListedJob) -> dict[str, Any]:
    row = found.row
    return {
        "service": found.service,
        "state": found.state,
        "submitted_at": found.submitted_at,
        "ended_at": found.ended_at,
        "dag_id": row.dag_id,
        "run_id": row.run_id,
        "task_id": row.task_id,
        "map_index": row.map_index,
    }


def _ids(summary: Mapping[str, Any], most: int) -> list[str]:
    ids = summary.get("ids")
    return [text(each, 500) for each in ids[:most] if isinstance(each, str)] if isinstance(ids, list) else []


def _counts(value: Any) -> dict[str, int]:
    counts = ((name, count(each)) for name, each in (value.items() if isinstance(value, dict) else ()))
    known = [(text(name, 100), each) for name, each in counts if each is not None]
    return dict(known[:MOST_COUNTS])


def _events(history: Any) -> Iterator[dict[str, Any]]:
    for event in history if isinstance(history, list) else ():
        if isinstance(event, list) and len(event) == 3 and timestamp(event[0]) is not None:
            yield {"at": event[0], "what": text(event[1], 50), "text": text(event[2], 4000)}


def title(service: str) -> str:
    """The service's name for people."""
    return BY_NAME[service].title if service in BY_NAME else service
