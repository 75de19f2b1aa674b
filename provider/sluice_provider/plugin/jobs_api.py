"""Remote jobs as JSON, for the page and the tab. Airflow decides who may see them: users who may see the tasks."""

from __future__ import annotations

import re
import time
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Response

from sluice_provider.compat.server import (
    DagAccessEntity,
    ReadableTIFilterDep,
    SessionDep,
    requires_access_dag,
)
from sluice_provider.plugin import jobs_store
from sluice_provider.plugin.jobs_view import Filters, JobDetail, JobList, State, job_detail, job_list, no_job

SECONDS = {"m": 60, "h": 3600, "d": 86400}

router = APIRouter(
    prefix="/api",
    dependencies=[Depends(requires_access_dag(method="GET", access_entity=DagAccessEntity.TASK_INSTANCE))],
)


@router.get("/jobs", response_model=None)
def list_jobs(
    session: SessionDep,
    readable: ReadableTIFilterDep,
    response: Response,
    service: Annotated[list[str], Query()] = [],  # noqa: B006 - FastAPI makes a new one for each request
    state: Annotated[list[State], Query()] = [],  # noqa: B006
    dag: Annotated[list[str], Query()] = [],  # noqa: B006
    within: str = "7d",
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
    size: Annotated[int, Query(ge=1, le=200)] = 50,
) -> JobList:
    """One page of jobs, newest first, of the DAGs that the user may read, with the counts and names for the filters.

    `within` selects the jobs that were active in the last 90m, 24h, 7d, ..., or `all`.
    """
    now = time.time()
    since = _since(within, now)
    filters = Filters(frozenset(service), frozenset(state), frozenset(dag), since, page, size)
    overview = jobs_store.load_page(session, readable.value or (), filters)
    response.headers["Cache-Control"] = "no-store"
    return job_list(overview, filters, now)


@router.get("/job", response_model=None)
def get_job(
    session: SessionDep,
    readable: ReadableTIFilterDep,
    response: Response,
    dag_id: str,
    run_id: str,
    task_id: str,
    map_index: int = -1,
) -> JobDetail:
    """The job of one task instance with its history. `job` is null if there is none."""
    stored = jobs_store.load_job(session, readable.value or (), (dag_id, run_id, task_id, map_index))
    response.headers["Cache-Control"] = "no-store"
    return no_job(time.time()) if stored is None else job_detail(*stored, time.time())


def _since(within: str, now: float) -> float:
    if within == "all":
        return 0.0
    match = re.fullmatch(r"([1-9]\d{0,4})([mhd])", within)
    if match is None:
        raise HTTPException(422, "Invalid time range: within must be a duration like 90m, 24h or 7d, or all")
    return now - int(match[1]) * SECONDS[match[2]]
