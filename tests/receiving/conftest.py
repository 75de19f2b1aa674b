"""An API server that receives webhooks from a sandbox."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from airflow_api_server import ApiServer
from tests.databases import postgres
from tests.receiving.server import DAGS, STARTED, connections


@pytest.fixture(scope="module")
def server(request, _sluice_server):
    """One API server for all of a module, over SQLite unless the module asks for PostgreSQL, too."""
    wanted = postgres() if getattr(request, "param", "sqlite") == "postgresql" else nullcontext()
    with wanted as database, ApiServer(DAGS, env=connections(_sluice_server), database=database) as server:
        server.airflow("dags", "unpause", "--treat-dag-id-as-regex", "--yes", ".*")
        yield server


@pytest.fixture
def sandbox(sluice_sandbox, server):
    """The sandbox as new, and no runs and events in Airflow's database."""
    for table in STARTED:
        server.rows(f"DELETE FROM {table}")
    return sluice_sandbox
