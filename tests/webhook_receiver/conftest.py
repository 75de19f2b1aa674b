"""An API server that receives webhooks from the sandbox."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from airflow_api_server import ApiServer
from tests.databases import postgres
from tests.webhook_receiver.server import CREATED_TABLES, DAGS, connection_variables


@pytest.fixture(scope="module")
def server(request, _sluice_server):
    """One API server for a module; with SQLite unless the module parametrizes it with PostgreSQL, too."""
    database_context = postgres() if getattr(request, "param", "sqlite") == "postgresql" else nullcontext()
    with (
        database_context as database,
        ApiServer(DAGS, env=connection_variables(_sluice_server), database=database) as server,
    ):
        server.airflow("dags", "unpause", "--treat-dag-id-as-regex", "--yes", ".*")
        yield server


@pytest.fixture
def sandbox(sluice_sandbox, server):
    """The sandbox in its initial state, and no runs or events in Airflow's database."""
    for table in CREATED_TABLES:
        server.rows(f"DELETE FROM {table}")
    return sluice_sandbox
