"""What a page of the Remote jobs page costs with many jobs, requested from the web application as a browser does.

    python tools/bench_jobs_page.py                          10,000 jobs in SQLite
    python tools/bench_jobs_page.py postgresql+psycopg2://postgres@127.0.0.1/bench --jobs 10000

The database must be empty or made by this program, which fills it. Printed is the median of several requests with the
number of statements that each took; the first request of each kind is not counted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

QUERIES = {
    "a page": "within=all",
    "the last week": "within=7d",
    "failed": "within=all&state=failed&state=outcome_unknown",
    "one service": "within=all&service=kili",
    "one DAG, page 3": "within=all&dag=liquid_roundtrip&page=3",
    "the last hour": "within=1h",
}
TURNS = 9


def measure(url: str, jobs: int) -> None:
    """Fill the database if it is empty, send the requests, and print."""
    import httpx
    from airflow import settings
    from airflow.utils.db import initdb
    from sqlalchemy import event, func, select, text

    from seeded_jobs import seed
    from sluice_provider.jobs.storage import KEY

    assert settings.engine is not None
    assert settings.Session is not None
    initdb()
    from airflow.models.task_state_store import TaskStateStoreModel

    with settings.Session() as session:
        if not session.scalar(select(func.count()).select_from(TaskStateStoreModel)):
            seed(session, jobs)
            session.execute(text("ANALYZE"))  # as the database does by itself after a while
            session.commit()
        held = session.scalar(select(func.count()).select_from(TaskStateStoreModel))
        jobs = session.scalar(select(func.count()).where(TaskStateStoreModel.key == KEY)) or 0
        size = session.scalar(select(func.sum(func.length(TaskStateStoreModel.value))))
    statements: list[str] = []
    event.listen(settings.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    print(f"{url.partition(':')[0]}: {jobs} jobs, {held} values, {(size or 0) / 1e6:.0f} MB")

    from fastapi.testclient import TestClient

    with TestClient(_app()) as client:
        for name, query in QUERIES.items():
            seconds, reply = [], httpx.Response(500)
            for _ in range(TURNS):
                statements.clear()
                start = time.perf_counter()
                reply = client.get(f"/sluice/api/jobs?{query}")
                seconds.append(time.perf_counter() - start)
            found = reply.raise_for_status().json()
            took = f"{1000 * statistics.median(seconds[1:]):6.0f} ms (worst {1000 * max(seconds[1:]):.0f})"
            more = f"{len(statements)} statements, {len(reply.content) // 1024} kB, {found['total']} jobs"
            print(f"  {name:18} {took}  {more}")


def _app() -> Any:
    """Airflow's own API server, whose every visitor is an admin."""
    from airflow.api_fastapi.app import create_app

    return create_app(apps="core")


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Measure the Remote jobs page.")
    parser.add_argument("url", nargs="?", default="", help="of the database; a new SQLite file when left out")
    parser.add_argument("--jobs", type=int, default=10_000)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as home:
        url = args.url or f"sqlite:///{Path(home).resolve()}/airflow.db"
        os.environ |= {
            "AIRFLOW_HOME": home,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__API_AUTH__JWT_SECRET": "bench" * 13,
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        }
        measure(url, args.jobs)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
