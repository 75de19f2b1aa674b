"""The web application below `/sluice`, which only the API server builds."""

from __future__ import annotations

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.common.dagbag import create_dag_bag
from fastapi import FastAPI

from sluice_provider.plugin import receiving


def create_app() -> FastAPI:
    """All routes. A mounted application has a state of its own, in which Airflow's dependencies look for these two."""
    app = FastAPI(title="Sluice", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.auth_manager = get_auth_manager()
    app.state.dag_bag = create_dag_bag()
    app.include_router(receiving.create_router())
    return app
