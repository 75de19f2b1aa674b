"""What a page of Remote jobs costs with many jobs, beside Airflow's own list of task instances of the same database.

    python tools/bench_jobs_page.py                          1,000, 10,000 and 100,000 jobs, in SQLite and PostgreSQL
    python tools/bench_jobs_page.py --jobs 10000 --database sqlite

Both are requested in turn from the web application, in this process. Printed is the time from the request to the whole
response: median and range of several requests, the number of SQL statements with those by which Airflow checks
permissions, and the size of the response. The first request of each kind is not counted. PostgreSQL is the server that
SLUICE_TEST_POSTGRES names, or a local one; it is left out if there is none. Other load adds to the times.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import httpx

POSTGRES = os.environ.get("SLUICE_TEST_POSTGRES", "postgresql+psycopg2://postgres@127.0.0.1:5432/postgres")
PEER = "Airflow: 50 task instances"
OURS = "first page"
REQUESTS = {
    PEER: "/api/v2/dags/~/dagRuns/~/taskInstances?limit=50&order_by=-start_date",
    OURS: "/sluice/api/jobs",
    "all time": "/sluice/api/jobs?within=all",
    "the last hour": "/sluice/api/jobs?within=1h",
    "failed": "/sluice/api/jobs?within=all&state=failed&state=outcome_unknown",
    "one service": "/sluice/api/jobs?within=all&service=kili",
    "one DAG": "/sluice/api/jobs?within=all&dag=liquid_roundtrip",
    "the middle page": "/sluice/api/jobs?within=all&page={middle}",
}
ROUNDS = 8


def measure(jobs: int) -> None:
    """Fill the database that Airflow's settings name, send the requests, and print."""
    from airflow import settings
    from airflow.utils.db import initdb
    from fastapi.testclient import TestClient
    from sqlalchemy import event

    assert settings.engine is not None
    initdb()
    seconds = fill(jobs)
    statements: list[str] = []
    event.listen(settings.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"{settings.engine.name}: {jobs:,} jobs, {described()}, seeded in {seconds:.0f} s; load {load}", flush=True)
    results: dict[str, list[tuple[float, int, int]]] = {name: [] for name in REQUESTS}
    with TestClient(_app()) as client:
        for _ in range(ROUNDS + 1):
            for name, path in REQUESTS.items():
                statements.clear()
                start = time.perf_counter()
                response = client.get(path.format(middle=max(1, jobs // 100)))
                elapsed = time.perf_counter() - start
                results[name].append((elapsed, len(statements), size_of(response)))
    medians = {name: statistics.median(each[0] for each in found[1:]) for name, found in results.items()}
    for name, found in results.items():
        times, (_, number, size) = [1000 * each[0] for each in found[1:]], found[-1]
        took = f"{1000 * medians[name]:6.0f} ms ({min(times):.0f} to {max(times):.0f})"
        print(f"  {name:28} {took}, {number} statements, {size / 1000:.0f} kB")
    print(f"  {OURS} / {PEER}: {medians[OURS] / medians[PEER]:.2f}", flush=True)


def fill(jobs: int) -> float:
    """Seed the database, and let it collect statistics, as it does by itself after a while. Seconds for seeding."""
    from airflow import settings
    from sqlalchemy import text
    from sqlalchemy.orm import Session

    from seeded_jobs import seed

    assert settings.engine is not None
    start = time.monotonic()
    with Session(settings.engine) as session:
        seed(session, jobs)
    seconds = time.monotonic() - start
    with settings.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE" if settings.engine.name == "sqlite" else "VACUUM ANALYZE"))
    return seconds


def described() -> str:
    """What is in the task state store."""
    from airflow import settings
    from airflow.models.task_state_store import TaskStateStoreModel
    from sqlalchemy import func, select
    from sqlalchemy.orm import Session

    with Session(settings.engine) as session:
        count, size = session.execute(select(func.count(), func.sum(func.length(TaskStateStoreModel.value)))).one()
    return f"{count:,} values of {size / 1e6:.0f} MB"


def size_of(response: httpx.Response) -> int:
    return len(response.raise_for_status().content)


def _app() -> Any:
    """Airflow's own API server, whose every visitor is an admin."""
    from airflow.api_fastapi.app import create_app

    return create_app()


@contextmanager
def database(name: str, home: Path) -> Iterator[str | None]:
    """The URL of a new, empty database; None if there is no such server."""
    if name == "sqlite":
        yield f"sqlite:///{home.resolve()}/airflow.db"
        return
    from sqlalchemy import create_engine, make_url, text
    from sqlalchemy.exc import OperationalError

    own = f"sluice_bench_{uuid.uuid4().hex[:12]}"
    server = create_engine(POSTGRES, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 3})
    try:
        with server.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {own}"))
    except OperationalError as error:
        print(f"No PostgreSQL (SLUICE_TEST_POSTGRES can name one): {str(error.orig).strip()}")
        yield None
        return
    try:
        yield make_url(POSTGRES).set(database=own).render_as_string(hide_password=False)
    finally:
        with server.connect() as connection:
            connection.execute(text(f"DROP DATABASE {own} WITH (FORCE)"))
        server.dispose()


def measure_in_a_process(name: str, jobs: int) -> int:
    """Airflow's settings belong to a process, so each database gets one of its own."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as home, database(name, Path(home)) as url:
        if url is None:
            return 0
        env = {
            "AIRFLOW_HOME": home,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__API_AUTH__JWT_SECRET": "bench" * 13,
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        }
        command = [sys.executable, __file__, "--jobs", str(jobs), "--in-this-process"]
        return subprocess.run(command, env={**os.environ, **env}, check=False).returncode


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Measure the Remote jobs page.")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    parser.add_argument("--jobs", type=int, action="append")
    parser.add_argument("--in-this-process", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    sizes = args.jobs or [1_000, 10_000, 100_000]
    if args.in_this_process:
        measure(sizes[0])
        return 0
    names = args.database or ["sqlite", "postgresql"]
    return max(measure_in_a_process(name, jobs) for name in names for jobs in sizes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
