"""Reads from Airflow's database what tasks recorded about their remote jobs: one statement for a page, two for a job.

The head of a record is a row of the task state store, or, before Airflow 3.3, an XCom; so are the segments of its
history. No JSON is parsed in SQL: a database aborts a statement at the first value that is not valid JSON, and each has
its own syntax. Only the beginning of each head is read, which holds its summary, so the statement is the same for all
databases.

The state of each record also has a key of its own (`storage.STATE_KEY`), by which a database can group jobs. The page
cannot use it for its counts: they are of jobs that were active since some time and maybe of one service, which only the
summary knows; and a trigger may have written a newer state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Text, and_, case, cast, func, null, or_, select
from sqlalchemy.orm import aliased

from sluice_provider.compat.server import TaskInstance, XComModel, task_state_store_model
from sluice_provider.jobs.storage import HISTORY_KEY, KEY, MAX_HISTORY_PIECES
from sluice_provider.plugin.jobs_view import TASK_OVER, Row, parse_summary
from sluice_provider.progress import KEY as PROGRESS_KEY

if TYPE_CHECKING:
    from sqlalchemy.orm import Session
    from sqlalchemy.sql import Select

HEAD_CHARS = 1500
"""How much of a head is read for the page. Few summaries are longer; those heads are read in full."""
MAX_JOBS = 10_000
"""How many jobs are read for one page: those whose task is not over, then those that were written last."""
BATCH = 500
"""How many heads are read in full with one statement."""


class RecordTable(NamedTuple):
    """The table with the records. `head` is the beginning of a value where the database can cut it, else all of it."""

    table: Any
    id: Any
    head: Any
    value: Any
    written_at: Any


def record_table(*, use_store: bool | None = None) -> RecordTable:
    """
    :param use_store: whether records are in the task state store; default: if Airflow has one
    """
    table = task_state_store_model() if use_store is not False else None
    if table is not None:
        return RecordTable(table, table.id, func.substr(table.value, 1, HEAD_CHARS), table.value, table.updated_at)
    table = aliased(XComModel)
    # PostgreSQL sorts the keys of a JSON object, so the summary may be anywhere in the value.
    return RecordTable(table, null().label("id"), cast(table.value, Text), cast(table.value, Text), table.timestamp)


def load_jobs(
    session: Session, dags: Iterable[str], since: float = 0.0, *, records: RecordTable | None = None
) -> tuple[list[Row], bool]:
    """The records of these DAGs that may belong to jobs active since then, and whether there are more than are read."""
    records = records or record_table()
    unfinished = or_(TaskInstance.state.is_(None), TaskInstance.state.not_in(TASK_OVER))
    query = _select(records, records.head).where(records.table.dag_id.in_(set(dags)))
    if since > 0:
        start = datetime.fromtimestamp(since, timezone.utc)
        query = query.where(or_(records.written_at >= start, unfinished, TaskInstance.end_date >= start))
    query = query.limit(MAX_JOBS + 1)
    rows = [_to_row(each) for each in session.execute(query)]
    if len(rows) > MAX_JOBS:  # the order matters only now: sorting takes a database as long as finding
        query = query.order_by(case((unfinished, 0), else_=1), records.written_at.desc())
        rows = [_to_row(each) for each in session.execute(query)]
    full = _full_heads(session, records, rows[:MAX_JOBS])
    return [row._replace(head=full.get(row.id, row.head)) for row in rows[:MAX_JOBS]], len(rows) > MAX_JOBS


def _full_heads(session: Session, records: RecordTable, rows: Iterable[Row]) -> dict[int | None, str]:
    """The full heads, by id, of rows whose summary is longer than what was read of it."""
    ids = [row.id for row in rows if len(row.head) == HEAD_CHARS and row.id and parse_summary(row.head) is None]
    full: dict[int | None, str] = {}
    for start in range(0, len(ids), BATCH):
        query = select(records.id, records.value).where(records.id.in_(ids[start : start + BATCH]))
        full.update((each[0], each[1]) for each in session.execute(query))
    return full


def load_job(
    session: Session,
    dags: Iterable[str],
    key: tuple[str, str, str, int],
    *,
    records: RecordTable | None = None,
) -> Row | None:
    """The record of one task instance with its history; None without one, or if it is of another DAG.

    :param key: DAG id, run id, task id, map index
    """
    records = records or record_table()
    dag_id, run_id, task_id, map_index = key
    table = records.table
    same_task = and_(
        table.dag_id.in_(set(dags)),
        table.dag_id == dag_id,
        table.run_id == run_id,
        table.task_id == task_id,
        table.map_index == map_index,
    )
    found = session.execute(_select(records, records.value).where(same_task)).first()
    if found is None:
        return None
    keys = [f"{HISTORY_KEY}_{n}" for n in range(MAX_HISTORY_PIECES)]
    segments = session.execute(select(records.value).where(same_task, table.key.in_(keys)))
    return _to_row(found)._replace(history=tuple(each[0] or "" for each in segments))


def _select(records: RecordTable, head: Any) -> Select[Any]:
    table, progress = records.table, aliased(XComModel)
    key = (table.dag_id, table.run_id, table.task_id, table.map_index)
    newer = and_(
        progress.dag_run_id == table.dag_run_id,
        progress.task_id == table.task_id,
        progress.map_index == table.map_index,
        progress.key == PROGRESS_KEY,
        progress.timestamp >= records.written_at,
    )
    task_key = (TaskInstance.dag_id, TaskInstance.run_id, TaskInstance.task_id, TaskInstance.map_index)
    same_task = and_(*(one == other for one, other in zip(task_key, key, strict=True)))
    columns: list[Any] = [
        records.id,
        *key,
        head.label("head"),
        records.written_at,
        cast(progress.value, Text).label("progress"),
    ]
    columns += [TaskInstance.state, TaskInstance.end_date, TaskInstance.try_number, TaskInstance.max_tries]
    columns += [TaskInstance.rendered_map_index]
    return (
        select(*columns)
        .select_from(table)
        .outerjoin(TaskInstance, same_task)
        .outerjoin(progress, newer)
        .where(table.key == KEY)
    )


def _to_row(found: Sequence[Any]) -> Row:
    """:param found: the columns of `_select`, in that order"""
    id_, dag_id, run_id, task_id, map_index, head, written_at, progress, *task = found
    state, ended_at, try_number, max_tries, rendered_map_index = task
    return Row(
        dag_id,
        run_id,
        task_id,
        map_index,
        head=head or "",
        written_at=written_at,
        progress=progress,
        task_state="removed" if try_number is None else (None if state is None else str(state)),
        task_ended_at=ended_at,
        try_number=try_number or 0,
        total_tries=(max_tries or 0) + 1,
        rendered_map_index=rendered_map_index,
        id=id_,
    )
