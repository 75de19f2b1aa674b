"""What the Remote jobs page shows, from what the tasks left in the database: pure functions of rows.

What tasks left is read with suspicion, since another version may have written it and people may edit the task state
store. What cannot be read is counted and breaks nothing. A journal is long and its card short, so the card comes first
in it, and of ten thousand journals only the beginning is read.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sluice_provider.systems import BY_NAME

UNWATCHED = "unwatched"
STATES = (
    *("running", "asking", "cancelling", "missing", "in_doubt", "failed"),
    *(UNWATCHED, "cancelled", "accepted", "succeeded"),
)
"""In the order in which somebody on call wants to know of them."""
GOING_ON = ("running", "asking", "missing")
WATCHED = ("running", "asking")
TASK_OVER = ("success", "failed", "skipped", "removed", "upstream_failed")
NEWS = ("at", "state", "word", "message", "counts", "done", "total", "ids")
"""What a trigger tells of a deferred task's job, which its journal knows only when the task has resumed."""

FIRST = '{"card": '
SETTLING = 30.0
"""So many seconds after a job seems to be over, there may be more news of it: a trigger that was asked to cancel it."""
LINES = 500
TIMELINE = 80

_DECODER = json.JSONDecoder()


class Row(NamedTuple):
    """A task instance that has a journal, as it is in the database.

    :param journal: its beginning, or all of it
    :param written: when the journal was written last
    :param progress: what the trigger wrote since then, if it did
    :param attempts: how many there may be
    :param mapped: what the author calls this one of the mapped task instances
    :param id: of the journal in its table
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    journal: str
    written: datetime
    progress: str | None = None
    task_state: str | None = None
    task_ended: datetime | None = None
    attempt: int = 0
    attempts: int = 1
    mapped: str | None = None
    id: int | None = None


class Wanted(NamedTuple):
    """What somebody asks to see. Nothing named means everything.

    :param since: jobs that were going on at this time or later
    """

    systems: frozenset[str] = frozenset()
    states: frozenset[str] = frozenset()
    dags: frozenset[str] = frozenset()
    since: float = 0.0
    page: int = 1
    size: int = 50


class Seen(NamedTuple):
    """A row that could be read: as much of it as is needed to count it and to choose. Times are in Unix seconds.

    The card is not kept: ten thousand of them would make Python look through all its memory for what nobody uses.
    """

    row: Row
    system: str
    state: str
    asked_at: float
    ended_at: float | None


# --- reading


def card_in(journal: str) -> dict[str, Any] | None:
    """The card of a journal, or None where this text shows none that can be read."""
    try:
        if journal.startswith(FIRST):
            card, _ = _DECODER.raw_decode(journal, len(FIRST))
        else:
            card = whole(journal).get("card")
    except (ValueError, RecursionError):
        return None
    return card if isinstance(card, dict) and card else None


def whole(text: str | None) -> dict[str, Any]:
    """A JSON object, which may have been written as JSON twice; empty where it is none."""
    try:
        data = json.loads(text or "null")
        data = json.loads(data) if isinstance(data, str) else data
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def look(row: Row) -> Seen | None:
    """None for a row that cannot be read."""
    card = latest(row)
    if card is None:
        return None
    state = state_of(card, row.task_state)
    ended_at = instant(card.get("ended_at"))
    if ended_at is None and state not in GOING_ON:
        ended_at = (row.task_ended or row.written).timestamp()
    asked_at = instant(card.get("asked_at")) or row.written.timestamp()
    return Seen(row, text(card.get("system"), 100), state, asked_at, ended_at)


def latest(row: Row) -> dict[str, Any] | None:
    """The card, with what the trigger has told since; None where it cannot be read."""
    card = card_in(row.journal)
    progress = news(card, row.progress) if card is not None and row.progress else {}
    if card is None or not progress:
        return card
    counts = [told["counts"] for told in (card, progress) if isinstance(told.get("counts"), dict)]
    told = {name: progress[name] for name in NEWS if name in progress}
    if told.get("state") == "running" and any(line["what"] == "cancel" for line in _lines(progress.get("history"))):
        told["state"] = "cancelling"
    return {**card, **told, "counts": {name: value for each in counts for name, value in each.items()}}


def news(card: Mapping[str, Any], progress: str | None) -> dict[str, Any]:
    """What the trigger wrote, if that is newer than the card."""
    told = whole(progress)
    return told if (instant(told.get("at")) or 0.0) > (instant(card.get("at")) or 0.0) else {}


def state_of(card: Mapping[str, Any], task_state: str | None) -> str:
    """An unknown state is running, like everywhere; and for a task that is over nobody watches a job that runs."""
    state = card.get("state")
    known = state if isinstance(state, str) and state in STATES else "running"
    return UNWATCHED if known in WATCHED and task_state in TASK_OVER else known


def text(value: Any, most: int) -> str:
    return value[:most] if isinstance(value, str) else ""


def number(value: Any) -> float | None:
    """A finite number; JSON as Python writes it has others, and none of them can be sent to a browser."""
    right = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return value if right else None


def instant(value: Any) -> float | None:
    """Unix seconds that a calendar knows."""
    found = number(value)
    return found if found is not None and 0 < found < 250_000_000_000 else None


def count(value: Any) -> int | None:
    found = number(value)
    return int(found) if found is not None and 0 <= found < 2**53 else None


def web(url: Any) -> str:
    """An address that a browser may follow in one click: `javascript:` is none."""
    try:
        parts = urlsplit(text(url, 4000))
        return parts.geturl() if parts.scheme in ("http", "https") and parts.hostname and not parts.username else ""
    except ValueError:
        return ""


# --- showing


def overview(rows: Iterable[Row], wanted: Wanted, now: float) -> dict[str, Any]:
    """The page: counts and names to choose from, the jobs of one page, and the last jobs as a timeline."""
    looked = [look(row) for row in rows]
    seen = [each for each in looked if each is not None and (each.ended_at or now) >= wanted.since]
    seen.sort(key=lambda each: (each.asked_at, each.row[:4]), reverse=True)
    of_dags = [each for each in seen if not wanted.dags or each.row.dag_id in wanted.dags]
    of_systems = [each for each in of_dags if not wanted.systems or each.system in wanted.systems]
    chosen = [each for each in of_systems if not wanted.states or each.state in wanted.states]
    start = (wanted.page - 1) * wanted.size
    found = Counter(each.system for each in of_dags)
    systems = {**dict.fromkeys(BY_NAME, 0), **found}
    counts = Counter(each.state for each in of_systems)
    return {
        "now": now,
        "total": len(chosen),
        "page": wanted.page,
        "size": wanted.size,
        "counts": {state: counts[state] for state in STATES},
        "systems": [{"name": name, "title": title(name), "count": systems[name]} for name in systems],
        "dags": sorted({each.row.dag_id for each in seen}),
        "going_on": any(goes_on(each, now) for each in of_systems),
        "unreadable": looked.count(None),
        "jobs": [job(each) for each in chosen[start : start + wanted.size]],
        "timeline": [_bar(each) for each in chosen[:TIMELINE]],
    }


def goes_on(seen: Seen, now: float) -> bool:
    """Whether it is worth while to look again soon."""
    return seen.state in GOING_ON or seen.ended_at is None or now - seen.ended_at < SETTLING


def detail(row: Row, now: float) -> dict[str, Any]:
    """One job with its history. Its row has the whole journal."""
    seen = look(row)
    if seen is None:
        return {"job": None, "unreadable": True, "history": []}
    journal = whole(row.journal)
    lines = _lines(journal.get("history")) + _lines(news(journal.get("card") or {}, row.progress).get("history"))
    lines.sort(key=lambda line: line["at"])
    card = latest(row) or {}
    shown = {**job(seen), "ids": _ids(card, 200), "conn_id": text(card.get("conn_id"), 250)}
    return {"job": shown, "unreadable": False, "history": lines[-LINES:], "going_on": goes_on(seen, now)}


def job(seen: Seen) -> dict[str, Any]:
    """One job, as the page gets it."""
    row, card = seen.row, latest(seen.row) or {}
    counts = card.get("counts")
    return {
        **_bar(seen),
        "title": title(seen.system),
        "noun": text(card.get("noun"), 100) or text(card.get("kind"), 100) or "job",
        "ids": _ids(card, 3),
        "id_count": len(_ids(card, 100_000)),
        "url": web(card.get("url")),
        "word": text(card.get("word"), 100),
        "message": text(card.get("message"), 2000),
        "counts": {
            text(name, 100): count(value)
            for name, value in (counts.items() if isinstance(counts, dict) else ())
            if count(value) is not None
        },
        "done": count(card.get("done")),
        "total": count(card.get("total")) or None,
        "at": instant(card.get("at")) or row.written.timestamp(),
        "rounds": count(card.get("rounds")) or 0,
        "attempt": row.attempt,
        "attempts": row.attempts,
        "mapped": row.mapped,
        "task_state": row.task_state,
    }


def _bar(seen: Seen) -> dict[str, Any]:
    row = seen.row
    return {
        "system": seen.system,
        "state": seen.state,
        "asked_at": seen.asked_at,
        "ended_at": seen.ended_at,
        "dag_id": row.dag_id,
        "run_id": row.run_id,
        "task_id": row.task_id,
        "map_index": row.map_index,
    }


def _ids(card: Mapping[str, Any], most: int) -> list[str]:
    ids = card.get("ids")
    return [text(each, 500) for each in ids[:most] if isinstance(each, str)] if isinstance(ids, list) else []


def _lines(history: Any) -> list[dict[str, Any]]:
    return [
        {"at": line[0], "what": text(line[1], 50), "text": text(line[2], 4000)}
        for line in (history if isinstance(history, list) else ())
        if isinstance(line, list) and len(line) == 3 and instant(line[0]) is not None
    ]


def title(system: str) -> str:
    """The remote's name for people."""
    return BY_NAME[system].title if system in BY_NAME else system
