"""The SQL statement behind the Remote jobs page: counts of all jobs, and the jobs of one page.

It reads one short line for each record (`jobs.state_line`), so it is fast with a hundred thousand records. The state of
a job that has not ended depends on more than its record:

    its task is over             a running job is orphaned, and a submission has an unknown outcome
    its trigger wrote progress   the progress begins with a line of its own, which is newer than the record's

So only the records that have not ended are joined with task instances and XComs. PostgreSQL and SQLite need no other
index than those that Airflow makes: the store is scanned once, the rest is found by key.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Text, and_, case, cast, func, literal, null, or_, select, union_all
from sqlalchemy.orm import aliased

from sluice_provider.compat.server import TaskInstance, XComModel, task_state_store_model
from sluice_provider.jobs.state_line import ENDED_AT, SERVICE, STATE, STATE_WIDTH, TIME_WIDTH, UNFINISHED, time_column
from sluice_provider.jobs.storage import STATE_KEY
from sluice_provider.plugin.jobs_view import ORPHANED, STATES, Filters
from sluice_provider.progress import KEY as PROGRESS_KEY

if TYPE_CHECKING:
    from sqlalchemy import CTE, ColumnElement, CompoundSelect, Select, Subquery

COUNTS, LATEST, PAGE = "counts", "latest", "page"
"""The parts of the statement's result."""
UNREADABLE = ""
NOT_ENDED = time_column(0)
LAYOUT = f"{'_' * 13}.___ {'_' * 13}.___ {'_' * STATE_WIDTH} %"
"""Of a line, for LIKE. Digits are not checked: a regular expression takes as long as the rest of the statement."""
TASK_OVER = ("success", "failed", "skipped", "removed", "upstream_failed")


RECORD_KEY = ("dag_run_id", "task_id", "map_index")
"""The columns that identify a task instance in the task state store and in XComs."""


class RecordTable(NamedTuple):
    """The table that has the records: one row for each key of a task instance. Each one is an alias of its own.

    :param identity: the names of the columns that identify a row, if its key is known
    :param value: the JSON text
    """

    table: Any
    identity: tuple[str, ...]
    value: Any
    written_at: Any

    @property
    def identity_columns(self) -> list[Any]:
        return [getattr(self.table, name) for name in self.identity]


def record_table(*, use_store: bool | None = None) -> RecordTable:
    """
    :param use_store: whether records are in the task state store; default: if Airflow has one
    """
    model = task_state_store_model() if use_store is not False else None
    table = aliased(model if model is not None else XComModel)
    if model is not None:
        return RecordTable(table, ("id",), table.value, table.updated_at)
    return RecordTable(table, RECORD_KEY, cast(table.value, Text), table.timestamp)


def another(records: RecordTable) -> RecordTable:
    """The same table under another alias."""
    return record_table(use_store=records.identity == ("id",))


def page_query(records: RecordTable, dags: Iterable[str], filters: Filters, *, timeline: int) -> CompoundSelect[Any]:
    """Counts of all jobs of these DAGs that were active in the selected time, and the selected jobs, newest first.

    Rows of the part `counts`: of each DAG and state (with the service), how many jobs there are, when the last of them
    ended, and how many have not ended. Rows of the part `latest`: the latest jobs, at least `timeline`; they include
    the first page. Rows of the part `page`: those of a later page.
    """
    jobs = _jobs(records, select_records(records, dags, filters.since), filters.since)
    matching = _matching(jobs, filters)
    parts = [_counts(records, jobs), _newest(records, jobs, LATEST, matching, max(timeline, filters.size))]
    if filters.page > 1:
        parts.append(_newest(records, jobs, PAGE, matching, filters.size, (filters.page - 1) * filters.size))
    return union_all(*parts)


def task_query(records: RecordTable, dags: Iterable[str], key: tuple[str, str, str, int]) -> Select[Any]:
    """The job of one task instance, as a row of the part `latest`.

    :param key: DAG id, run id, task id, map index
    """
    table = records.table
    columns = (table.dag_id, table.run_id, table.task_id, table.map_index)
    lines = select_records(records, dags).where(*(column == value for column, value in zip(columns, key, strict=True)))
    return _newest(records, _jobs(records, lines), LATEST, (), 1)


def select_records(records: RecordTable, dags: Iterable[str], since: float = 0.0) -> Select[Any]:
    """The columns of each line; `state` is the rest of the line, from the state on, or `UNREADABLE`."""
    table, line = records.table, records.value
    first = 2  # a JSON text begins with a quotation mark
    ended_at = _part(line, first + ENDED_AT, TIME_WIDTH)
    readable = line.like(f'"{LAYOUT}')
    query = select(
        *records.identity_columns,
        table.dag_id,
        _part(line, first, TIME_WIDTH).label("submitted_at"),
        ended_at.label("ended_at"),
        case((readable, _part(line, first + STATE)), else_=UNREADABLE).label("state"),
    ).where(table.key == STATE_KEY, table.dag_id.in_(set(dags)))
    if since > 0:
        query = query.where(or_(ended_at >= time_column(since), ended_at == NOT_ENDED, ~readable))
    return query


def _jobs(records: RecordTable, lines: Select[Any], since: float = 0.0) -> Subquery:
    """All jobs with their present states. Those that have not ended have no `ended_at`; `task_ended_at` is set if
    nothing polls them any more."""
    lines_cte = lines.cte("lines").prefix_with("MATERIALIZED", dialect="postgresql")
    waiting = _waiting(records, lines_cte).cte("waiting").prefix_with("MATERIALIZED", dialect="postgresql")
    columns = lines_cte.c
    names = [*records.identity, "dag_id", "submitted_at", "state", "ended_at", "task_ended_at"]
    no_time = cast(null(), TaskInstance.end_date.type).label("task_ended_at")
    ended = select(*(columns[name] for name in names[:-1]), no_time).where(
        or_(columns.ended_at != NOT_ENDED, columns.state == UNREADABLE)
    )
    still_active = select(*(waiting.c[name] for name in names))
    if since > 0:
        last_seen = case(
            (waiting.c.ended_at.is_not(None), waiting.c.ended_at >= time_column(since)),
            else_=or_(waiting.c.task_ended_at.is_(None), waiting.c.task_ended_at >= _datetime(since)),
        )
        still_active = still_active.where(last_seen)
    return union_all(ended, still_active).subquery("jobs")


def _waiting(records: RecordTable, lines: CTE) -> Select[Any]:
    """The records that have not ended, with what their tasks and triggers know of them."""
    table, progress = records.table, aliased(XComModel)
    same_task = and_(
        *(getattr(TaskInstance, name) == getattr(table, name) for name in ("dag_id", "run_id", "task_id", "map_index"))
    )
    state, ended_at = _latest_state(lines.c.state, cast(progress.value, Text))
    over = or_(TaskInstance.id.is_(None), TaskInstance.state.in_(TASK_OVER))
    task_ended_at = case((over, func.coalesce(TaskInstance.end_date, records.written_at)))
    running, submitting, orphaned, unknown = _padded(("running", "submitting", ORPHANED, "outcome_unknown"))
    effective = case((and_(over, state == running), orphaned), (and_(over, state == submitting), unknown), else_=state)
    return (
        select(
            *(lines.c[name] for name in (*records.identity, "dag_id", "submitted_at")),
            effective.concat(_part(lines.c.state, STATE_WIDTH + 1)).label("state"),
            ended_at.label("ended_at"),
            task_ended_at.label("task_ended_at"),
        )
        .select_from(lines)
        .join(table, _same_row(records, lines))
        .outerjoin(TaskInstance, same_task)
        .outerjoin(progress, newer_progress(records, progress))
        .where(lines.c.ended_at == NOT_ENDED, lines.c.state != UNREADABLE)
    )


def newer_progress(records: RecordTable, progress: Any) -> ColumnElement[bool]:
    """The condition to join the XCom with what the trigger wrote since the state of the record was written.

    :param progress: an alias of the table of XComs
    """
    same = (getattr(progress, name) == getattr(records.table, name) for name in RECORD_KEY)
    return and_(*same, progress.key == PROGRESS_KEY, progress.timestamp >= records.written_at)


def _latest_state(recorded: Any, progress: Any) -> tuple[ColumnElement[str], ColumnElement[str | None]]:
    """The state, and when the job ended, if so: by what the trigger wrote, or by the record.

    :param progress: the JSON text of what the trigger wrote: a list that begins with a line
    """
    first = 3  # after the bracket and the quotation mark
    state = _part(progress, first + STATE, STATE_WIDTH)
    readable = progress.like(f'["{LAYOUT}')
    latest = case((readable, state), else_=_part(recorded, 1, STATE_WIDTH))
    ended = and_(readable, state.not_in(_padded(UNFINISHED)))
    return latest, case((ended, _part(progress, first + ENDED_AT, TIME_WIDTH)))


def _counts(records: RecordTable, jobs: Subquery) -> Select[Any]:
    columns = jobs.c
    not_ended = case((and_(columns.ended_at.is_(None), columns.task_ended_at.is_(None)), 1), else_=0)
    nothing = [cast(null(), column.type).label(column.key) for column in records.identity_columns]
    return select(
        literal(COUNTS).label("part"),
        *nothing,
        columns.dag_id,
        columns.state,
        func.max(columns.ended_at).label("ended_at"),
        func.max(columns.task_ended_at).label("task_ended_at"),
        cast(null(), Text).label("submitted_at"),
        func.count().label("jobs"),
        func.sum(not_ended).label("not_ended"),
    ).group_by(columns.dag_id, columns.state)


def _matching(jobs: Subquery, filters: Filters) -> list[ColumnElement[bool]]:
    columns = jobs.c
    conditions: list[Any] = [columns.state != UNREADABLE]
    if filters.dags:
        conditions.append(columns.dag_id.in_(filters.dags))
    if filters.states:
        state = _part(columns.state, 1, STATE_WIDTH)
        unknown = [state.not_in(_padded(STATES))] if "running" in filters.states else []
        conditions.append(or_(state.in_(_padded(filters.states)), *unknown))
    if filters.services:
        names = [f'{service}"' for service in filters.services]
        conditions.append(_part(columns.state, 1 + SERVICE - STATE).in_(names))
    return conditions


def _newest(
    records: RecordTable, jobs: Subquery, part: str, matching: Iterable[Any], limit: int, offset: int = 0
) -> Select[Any]:
    columns = jobs.c
    query = select(
        literal(part).label("part"),
        *(columns[name] for name in (*records.identity, "dag_id", "state", "ended_at", "task_ended_at")),
        columns.submitted_at,
        literal(1).label("jobs"),
        literal(0).label("not_ended"),
    )
    order = [columns.submitted_at.desc(), *(columns[name].desc() for name in records.identity)]
    query = query.where(*matching).order_by(*order).limit(limit).offset(offset)
    return select(query.subquery(part))


def _same_row(records: RecordTable, found: Any) -> ColumnElement[bool]:
    same = (column == found.c[column.key] for column in records.identity_columns)
    return and_(records.table.key == STATE_KEY, *same)


def _part(text: Any, start: int, length: int | None = None) -> Any:
    """A part of a text; positions are counted from 1."""
    return func.substr(text, start, *([] if length is None else [length]), type_=Text)


def _padded(states: Iterable[str]) -> list[str]:
    return [f"{state:{STATE_WIDTH}}" for state in states]


def _datetime(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
