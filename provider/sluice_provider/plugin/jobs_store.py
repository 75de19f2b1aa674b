"""Where the Remote jobs page finds what tasks wrote down: one statement for a page, one for a job.

A journal is a row of the task state store, or, before Airflow 3.3, an XCom. No JSON is taken apart in SQL: a database
stops a statement at the first text that it cannot read, and each has its own way to say it. What is asked for is the
beginning of each journal, where its card is, so the statement is the same for all databases.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Text, and_, case, cast, func, null, or_, select
from sqlalchemy.orm import aliased

from sluice_provider.journal import KEY
from sluice_provider.plugin.jobs_view import TASK_OVER, Row, card_in
from sluice_provider.progress import KEY as PROGRESS_KEY
from sluice_provider.runtime.compat.server import TaskInstance, XComModel, task_state_store_model

if TYPE_CHECKING:
    from sqlalchemy.orm import Session
    from sqlalchemy.sql import Select

HEAD = 900
"""So many characters of a journal are read for the page. Few cards are longer; those journals are read whole."""
MOST = 10_000
"""So many jobs are looked at for one page: those that go on, then those with the latest news."""
CHUNK = 500
"""So many journals are read whole with one statement."""


class Place(NamedTuple):
    """Where journals are. `head` is the beginning of one where the database can cut it off, else all of it."""

    table: Any
    id: Any
    head: Any
    whole: Any
    written: Any


def place(*, store: bool | None = None) -> Place:
    """
    :param store: journals are in the task state store; found out when not given
    """
    table = task_state_store_model() if store is not False else None
    if table is not None:
        return Place(table, table.id, func.substr(table.value, 1, HEAD), table.value, table.updated_at)
    table = aliased(XComModel)
    # PostgreSQL sorts the names in it, so the card may be anywhere.
    return Place(table, null().label("id"), cast(table.value, Text), cast(table.value, Text), table.timestamp)


def newest(
    session: Session, dags: Iterable[str], since: float = 0.0, *, where: Place | None = None
) -> tuple[list[Row], bool]:
    """The journals of these DAGs that may belong to jobs since then, and whether there are more than are looked at."""
    where = where or place()
    going_on = or_(TaskInstance.state.is_(None), TaskInstance.state.not_in(TASK_OVER))
    asked = _select(where, where.head).where(where.table.dag_id.in_(set(dags)))
    if since > 0:
        then = datetime.fromtimestamp(since, timezone.utc)
        asked = asked.where(or_(where.written >= then, going_on, TaskInstance.end_date >= then))
    asked = asked.limit(MOST + 1)
    rows = [_row(each) for each in session.execute(asked)]
    if len(rows) > MOST:  # only then it matters which: a database takes as long to sort them as to find them
        asked = asked.order_by(case((going_on, 0), else_=1), where.written.desc())
        rows = [_row(each) for each in session.execute(asked)]
    long = _long_ones(session, where, rows[:MOST])
    return [row._replace(journal=long[row.id]) if row.id in long else row for row in rows[:MOST]], len(rows) > MOST


def _long_ones(session: Session, where: Place, rows: Iterable[Row]) -> dict[int | None, str]:
    """The journals whose card did not show in their beginning, whole, by their id in the database."""
    ids = [row.id for row in rows if len(row.journal) == HEAD and row.id and card_in(row.journal) is None]
    whole: dict[int | None, str] = {}
    for start in range(0, len(ids), CHUNK):
        asked = select(where.id, where.whole).where(where.id.in_(ids[start : start + CHUNK]))
        whole.update((each[0], each[1]) for each in session.execute(asked))
    return whole


def one(
    session: Session,
    dags: Iterable[str],
    key: tuple[str, str, str, int],
    *,
    where: Place | None = None,
) -> Row | None:
    """The whole journal of one task instance, if it has one and is of these DAGs."""
    where = where or place()
    table, (dag_id, run_id, task_id, map_index) = where.table, key
    asked = _select(where, where.whole).where(
        table.dag_id.in_(set(dags)),
        table.dag_id == dag_id,
        table.run_id == run_id,
        table.task_id == task_id,
        table.map_index == map_index,
    )
    found = session.execute(asked).first()
    return None if found is None else _row(found)


def _select(where: Place, journal: Any) -> Select[Any]:
    table, progress = where.table, aliased(XComModel)
    same = (table.dag_id, table.run_id, table.task_id, table.map_index)
    news = and_(
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
        journal.label("journal"),
        where.written,
        cast(progress.value, Text).label("progress"),
    ]
    columns += [TaskInstance.state, TaskInstance.end_date, TaskInstance.try_number, TaskInstance.max_tries]
    columns += [TaskInstance.rendered_map_index]
    return (
        select(*columns)
        .select_from(table)
        .outerjoin(TaskInstance, task)
        .outerjoin(progress, news)
        .where(table.key == KEY)
    )


def _row(found: Any) -> Row:
    id_, dag_id, run_id, task_id, map_index, journal, written, progress, state, ended, attempt, tries, mapped = found
    return Row(
        dag_id,
        run_id,
        task_id,
        map_index,
        journal=journal or "",
        written=written,
        progress=progress,
        task_state="removed" if attempt is None else (None if state is None else str(state)),
        task_ended=ended,
        attempt=attempt or 0,
        attempts=(tries or 0) + 1,
        mapped=mapped,
        id=id_,
    )
