"""Where the Remote jobs page finds what tasks wrote down: one statement for a page, two for a job.

The head of a record is a row of the task state store, or, before Airflow 3.3, an XCom; so are the pieces of its
history. No JSON is taken apart in SQL: a database stops a statement at the first text that it cannot read, and each
has its own way to say it. What is read is the beginning of each head, where its summary is, so the statement is the
same for all databases.

The state of each record has a key of its own (`storage.STATE_KEY`), by which a database can group jobs. The page
cannot use it for its counts: they are of jobs that were active since some time and, if chosen, of one service, which
only the summary knows; and a trigger may have written a newer state.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Text, and_, case, cast, func, null, or_, select
from sqlalchemy.orm import aliased

from sluice_provider.compat.server import TaskInstance, XComModel, task_state_store_model
from sluice_provider.jobs.storage import HISTORY_KEY, HISTORY_PIECES, KEY
from sluice_provider.plugin.jobs_view import TASK_OVER, Row, summary_in
from sluice_provider.progress import KEY as PROGRESS_KEY

if TYPE_CHECKING:
    from sqlalchemy.orm import Session
    from sqlalchemy.sql import Select

HEAD = 1500
"""So many characters of a head are read for the page. Few summaries are longer; those heads are read whole."""
MOST = 10_000
"""So many jobs are read for one page: those whose task is not over, then those that were written last."""
CHUNK = 500
"""So many heads are read whole with one statement."""


class Records(NamedTuple):
    """Where records are. `head` is the beginning of a value where the database can cut it off, else all of it."""

    table: Any
    id: Any
    head: Any
    whole: Any
    written: Any


def records(*, store: bool | None = None) -> Records:
    """
    :param store: records are in the task state store; found out when not given
    """
    table = task_state_store_model() if store is not False else None
    if table is not None:
        return Records(table, table.id, func.substr(table.value, 1, HEAD), table.value, table.updated_at)
    table = aliased(XComModel)
    # PostgreSQL sorts the names in it, so the summary may be anywhere.
    return Records(table, null().label("id"), cast(table.value, Text), cast(table.value, Text), table.timestamp)


def load_jobs(
    session: Session, dags: Iterable[str], since: float = 0.0, *, where: Records | None = None
) -> tuple[list[Row], bool]:
    """The records of these DAGs that may belong to jobs since then, and whether there are more than are read."""
    where = where or records()
    unfinished = or_(TaskInstance.state.is_(None), TaskInstance.state.not_in(TASK_OVER))
    query = _select(where, where.head).where(where.table.dag_id.in_(set(dags)))
    if since > 0:
        then = datetime.fromtimestamp(since, timezone.utc)
        query = query.where(or_(where.written >= then, unfinished, TaskInstance.end_date >= then))
    query = query.limit(MOST + 1)
    rows = [_row(each) for each in session.execute(query)]
    if len(rows) > MOST:  # only then it matters which: a database takes as long to sort them as to find them
        query = query.order_by(case((unfinished, 0), else_=1), where.written.desc())
        rows = [_row(each) for each in session.execute(query)]
    long = _long_heads(session, where, rows[:MOST])
    return [row._replace(head=long[row.id]) if row.id in long else row for row in rows[:MOST]], len(rows) > MOST


def _long_heads(session: Session, where: Records, rows: Iterable[Row]) -> dict[int | None, str]:
    """The heads whose summary is longer than their beginning, whole, by their id in the database."""
    ids = [row.id for row in rows if len(row.head) == HEAD and row.id and summary_in(row.head) is None]
    whole: dict[int | None, str] = {}
    for start in range(0, len(ids), CHUNK):
        query = select(where.id, where.whole).where(where.id.in_(ids[start : start + CHUNK]))
        whole.update((each[0], each[1]) for each in session.execute(query))
    return whole


def load_job(
    session: Session,
    dags: Iterable[str],
    key: tuple[str, str, str, int],
    *,
    where: Records | None = None,
) -> Row | None:
    """The record of one task instance with its history, if it has one and is of these DAGs."""
    where = where or records()
    dag_id, run_id, task_id, map_index = key
    table = where.table
    mine = and_(
        table.dag_id.in_(set(dags)),
        table.dag_id == dag_id,
        table.run_id == run_id,
        table.task_id == task_id,
        table.map_index == map_index,
    )
    found = session.execute(_select(where, where.whole).where(mine)).first()
    if found is None:
        return None
    keys = [f"{HISTORY_KEY}_{n}" for n in range(HISTORY_PIECES)]
    pieces = session.execute(select(where.whole).where(mine, table.key.in_(keys)))
    return _row(found)._replace(history=tuple(each[0] or "" for each in pieces))


def _select(where: Records, head: Any) -> Select[Any]:
    table, progress = where.table, aliased(XComModel)
    same = (table.dag_id, table.run_id, table.task_id, table.map_index)
    newer = and_(
        progress.dag_run_id == table.dag_run_id,
        progress.task_id == table.task_id,
        progress.map_index == table.map_index,
        progress.key == PROGRESS_KEY,
        progress.timestamp >= where.written,
    )
    key = (TaskInstance.dag_id, TaskInstance.run_id, TaskInstance.task_id, TaskInstance.map_index)
    task = and_(*(mine == theirs for mine, theirs in zip(key, same, strict=True)))
    columns: list[Any] = [
        where.id,
        *same,
        head.label("head"),
        where.written,
        cast(progress.value, Text).label("progress"),
    ]
    columns += [TaskInstance.state, TaskInstance.end_date, TaskInstance.try_number, TaskInstance.max_tries]
    columns += [TaskInstance.rendered_map_index]
    return (
        select(*columns)
        .select_from(table)
        .outerjoin(TaskInstance, task)
        .outerjoin(progress, newer)
        .where(table.key == KEY)
    )


def _row(found: Any) -> Row:
    id_, dag_id, run_id, task_id, map_index, head, written, progress, state, ended, number, retries, mapped = found
    return Row(
        dag_id,
        run_id,
        task_id,
        map_index,
        head=head or "",
        written=written,
        progress=progress,
        task_state="removed" if number is None else (None if state is None else str(state)),
        task_ended=ended,
        try_number=number or 0,
        tries=(retries or 0) + 1,
        rendered_map_index=mapped,
        id=id_,
    )
