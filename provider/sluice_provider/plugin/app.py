"""The web application below `/sluice`. Only the API server builds it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI, Response
from fastapi.staticfiles import StaticFiles

from sluice_provider.compat.server import create_dag_bag, get_auth_manager
from sluice_provider.plugin import jobs_api, webhook_receiver

if TYPE_CHECKING:
    from starlette.types import Scope

STATIC = Path(__file__).parent / "static"


def create_app() -> FastAPI:
    """All routes. A mounted application has its own state, in which Airflow's dependencies look for these two."""
    app = FastAPI(title="Sluice", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.auth_manager = get_auth_manager()
    app.state.dag_bag = create_dag_bag()
    app.include_router(webhook_receiver.create_router())
    app.include_router(jobs_api.router)
    app.mount("/static", RevalidatedStaticFiles(directory=STATIC), name="static")
    return app


class RevalidatedStaticFiles(StaticFiles):
    """A browser checks whether a script has changed before it uses its copy: after an upgrade it has."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response
