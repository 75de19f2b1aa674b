"""Remote jobs as JSON, for the page and the tab. Airflow decides who may see them: whoever may see their tasks."""

from __future__ import annotations

import re
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Query, Response

from sluice_provider.compat.server import (
    DagAccessEntity,
    ReadableTIFilterDep,
    SessionDep,
    requires_access_dag,
)
from sluice_provider.plugin import jobs_store
from sluice_provider.plugin.jobs_view import Filters, detail, overview

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
SECONDS = {"m": 60, "h": 3600, "d": 86400}

router = APIRouter(
    prefix="/api",
    dependencies=[Depends(requires_access_dag(method="GET", access_entity=DagAccessEntity.TASK_INSTANCE))],
)


@router.get("/jobs")
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
) -> dict[str, Any]:
    """One page of jobs, newest first, of the DAGs that the user may read, with counts and names to choose from.

    `within` is a time like 90m, 24h or 7d, or `all`: jobs that were active in it.
    """
    now = time.time()
    since = _since(within, now)
    rows, truncated = jobs_store.load_jobs(session, readable.value or (), since)
    filters = Filters(frozenset(service), frozenset(state), frozenset(dag), since, page, size)
    response.headers["Cache-Control"] = "no-store"
    return {**overview(rows, filters, now), "truncated": truncated, "limit": jobs_store.MOST}


@router.get("/job")
def get_job(
    session: SessionDep,
    readable: ReadableTIFilterDep,
    response: Response,
    dag_id: str,
    run_id: str,
    task_id: str,
    map_index: int = -1,
) -> dict[str, Any]:
    """The job of one task instance with its history; without one, `job` is null."""
    row = jobs_store.load_job(session, readable.value or (), (dag_id, run_id, task_id, map_index))
    response.headers["Cache-Control"] = "no-store"
    now = time.time()
    found = {"job": None, "unreadable": False, "history": []} if row is None else detail(row, now)
    return {**found, "now": now}


def _since(within: str, now: float) -> float:
    if within == "all":
        return 0.0
    parts = re.fullmatch(r"([1-9]\d{0,4})([mhd])", within)
    if parts is None:
        raise HTTPException(422, "within must be a time like 90m, 24h or 7d, or all")
    return now - int(parts[1]) * SECONDS[parts[2]]
