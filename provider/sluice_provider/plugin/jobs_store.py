"""Reads from Airflow's database what tasks recorded about their jobs: two statements for a page, three for a job.

The first one counts and selects jobs by short lines (`jobs_query`). The second one reads the heads of the records of
one page, as a record begins with its summary. No JSON is parsed in SQL: a database aborts a statement at the first
value that is not valid JSON, and each has its own syntax.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Text, and_, cast, func, select, tuple_
from sqlalchemy.orm import aliased

from sluice_provider.compat.server import TaskInstance, XComModel
from sluice_provider.jobs.state_line import STATE_WIDTH
from sluice_provider.jobs.storage import HISTORY_KEY, KEY, MAX_HISTORY_PIECES, STATE_KEY
from sluice_provider.plugin.jobs_query import (
    COUNTS,
    LATEST,
    PAGE,
    RECORD_KEY,
    UNREADABLE,
    RecordTable,
    another,
    newer_progress,
    page_query,
    record_table,
    task_query,
)
from sluice_provider.plugin.jobs_view import (
    MAX_BARS,
    MAX_SECONDS,
    Details,
    Filters,
    JobCount,
    ListedJob,
    Overview,
    State,
    is_state,
)

if TYPE_CHECKING:
    from sqlalchemy.orm import Session
    from sqlalchemy.sql import Select

MAX_HEAD_LENGTH = 16_000
"""Characters of a head that are read. A task writes no longer ones."""


class StoredJob(NamedTuple):
    """A job, and what else is stored about it.

    :param job: None if its line cannot be read
    """

    job: ListedJob | None
    details: Details


def load_page(
    session: Session, dags: Iterable[str], filters: Filters, *, records: RecordTable | None = None
) -> Overview:
    """The counts of all jobs of these DAGs, and one page of them with its details."""
    records = records or record_table()
    rows = session.execute(page_query(records, dags, filters, timeline=MAX_BARS)).all()
    counts = [_to_count(row) for row in rows if row.part == COUNTS]
    stored = _load_stored(session, records, [row for row in rows if row.part != COUNTS])
    parts = {
        part: [(each.job, each.details) for row, each in stored if row.part == part and each.job is not None]
        for part in (LATEST, PAGE)
    }
    page = parts[PAGE] if filters.page > 1 else parts[LATEST][: filters.size]
    return Overview(counts, page, parts[LATEST][:MAX_BARS])


def load_job(
    session: Session,
    dags: Iterable[str],
    key: tuple[str, str, str, int],
    *,
    records: RecordTable | None = None,
) -> StoredJob | None:
    """The job of one task instance with its details; None without one, or if it is of another DAG.

    :param key: DAG id, run id, task id, map index
    """
    records = records or record_table()
    rows = session.execute(task_query(records, dags, key)).all()
    found = _load_stored(session, records, rows)
    if not found:
        return None
    stored = found[0][1]
    keys = [f"{HISTORY_KEY}_{n}" for n in range(MAX_HISTORY_PIECES)]
    columns = (records.table.dag_id, records.table.run_id, records.table.task_id, records.table.map_index)
    same_task = (column == value for column, value in zip(columns, key, strict=True))
    pieces = session.execute(select(records.value).where(*same_task, records.table.key.in_(keys)))
    return stored._replace(details=stored.details._replace(history=tuple(each[0] or "" for each in pieces)))


def _load_stored(session: Session, records: RecordTable, rows: Sequence[Any]) -> list[tuple[Any, StoredJob]]:
    """These rows with their jobs; without those that were deleted since."""
    identities = {_identity(records, row): row for row in rows}
    if not identities:
        return []
    details = session.execute(_details_query(records, list(identities)))
    found = {_identity(records, each): each for each in details}
    pairs = ((row, found.get(_identity(records, row))) for row in rows)
    return [(row, StoredJob(_to_job(row, each), _to_details(each))) for row, each in pairs if each is not None]


def _identity(records: RecordTable, row: Any) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in records.identity)


def _details_query(records: RecordTable, identities: Sequence[tuple[Any, ...]]) -> Select[Any]:
    """The key of each of these rows, the head of its record, its task, and the progress of its trigger."""
    table, task, heads, progress = records.table, TaskInstance, another(records), aliased(XComModel)
    task_key = ("dag_id", "run_id", "task_id", "map_index")
    columns = [getattr(table, name) for name in dict.fromkeys((*records.identity, "dag_run_id", *task_key))]
    columns += [records.written_at.label("written_at")]
    columns += [
        func.substr(heads.value, 1, MAX_HEAD_LENGTH).label("head"),
        cast(progress.value, Text).label("progress"),
    ]
    columns += [task.state.label("task_state"), task.try_number, task.max_tries, task.rendered_map_index]
    return (
        select(*columns)
        .select_from(table)
        .outerjoin(heads.table, and_(*_equal(heads.table, table, RECORD_KEY), heads.table.key == KEY))
        .outerjoin(task, and_(*_equal(task, table, task_key)))
        .outerjoin(progress, newer_progress(records, progress))
        .where(tuple_(*records.identity_columns).in_(identities), table.key == STATE_KEY)
    )


def _equal(one: Any, other: Any, names: Iterable[str]) -> list[Any]:
    return [getattr(one, name) == getattr(other, name) for name in names]


def _to_count(row: Any) -> JobCount:
    state, service = _state_and_service(row.state)
    times = [_to_seconds(row.ended_at), row.task_ended_at.timestamp() if row.task_ended_at else None]
    return JobCount(
        row.dag_id,
        service,
        None if row.state == UNREADABLE else state,
        jobs=row.jobs,
        not_ended=int(row.not_ended),
        last_ended_at=max((each for each in times if each is not None), default=None),
    )


def _to_job(row: Any, details: Any) -> ListedJob | None:
    """None for a line that cannot be read."""
    if row.state == UNREADABLE:
        return None
    state, service = _state_and_service(row.state)
    ended_at = _to_seconds(row.ended_at)
    if ended_at is None and row.task_ended_at is not None:
        ended_at = row.task_ended_at.timestamp()
    return ListedJob(
        details.dag_id,
        details.run_id,
        details.task_id,
        details.map_index,
        service,
        state,
        submitted_at=_to_seconds(row.submitted_at) or details.written_at.timestamp(),
        ended_at=ended_at,
        written_at=details.written_at.timestamp(),
    )


def _state_and_service(text: str) -> tuple[State, str]:
    """A state that this version does not know counts as running, like everywhere.

    :param text: what is left of a line, as JSON, from the state on
    """
    state = text[:STATE_WIDTH].rstrip()
    return state if is_state(state) else "running", text[STATE_WIDTH + 1 :].rstrip('"')


def _to_seconds(text: str | None) -> float | None:
    """A time of a line; None without one, or if it is not a time: a user may have edited it."""
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return seconds if 0 < seconds < MAX_SECONDS else None


def _to_details(row: Any) -> Details:
    return Details(
        head=row.head or "",
        progress=row.progress,
        task_state="removed" if row.try_number is None else (None if row.task_state is None else str(row.task_state)),
        try_number=row.try_number or 0,
        total_tries=(row.max_tries or 0) + 1,
        rendered_map_index=row.rendered_map_index,
    )
