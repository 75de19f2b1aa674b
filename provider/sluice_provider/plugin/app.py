"""The web application below `/sluice`, which only the API server builds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.common.dagbag import create_dag_bag
from fastapi import FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles

from sluice_provider.plugin import receiving
from sluice_provider.plugin.jobs_api import router as jobs

STATIC = Path(__file__).parent / "static"


def create_app() -> FastAPI:
    """All routes. A mounted application has a state of its own, in which Airflow's dependencies look for these two."""
    app = FastAPI(title="Sluice", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.auth_manager = get_auth_manager()
    app.state.dag_bag = create_dag_bag()
    app.include_router(receiving.create_router())
    app.include_router(jobs)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.middleware("http")(_ask_again)
    return app


async def _ask_again(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """A browser asks whether a script has changed before it uses the one it has: after an upgrade it has."""
    response = await call_next(request)
    response.headers.setdefault("Cache-Control", "no-cache")
    return response
