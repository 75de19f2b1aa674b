"""The web application below `/sluice`, which only the API server builds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response
from fastapi.staticfiles import StaticFiles

from sluice_provider.compat.server import create_dag_bag, get_auth_manager
from sluice_provider.plugin import jobs_api
from sluice_provider.plugin import webhook_receiver as receiving

STATIC = Path(__file__).parent / "static"


def create_app() -> FastAPI:
    """All routes. A mounted application has a state of its own, in which Airflow's dependencies look for these two."""
    app = FastAPI(title="Sluice", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.auth_manager = get_auth_manager()
    app.state.dag_bag = create_dag_bag()
    app.include_router(receiving.create_router())
    app.include_router(jobs_api.router)
    app.mount("/static", Scripts(directory=STATIC), name="static")
    return app


class Scripts(StaticFiles):
    """A browser asks whether a script has changed before it uses the one it has: after an upgrade it has."""

    async def get_response(self, path: str, scope: Any) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response
