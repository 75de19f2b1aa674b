"""An API server of Airflow alone, with a database that outlives it: it can be killed and started again.

    with ApiServer(dags=Path("dags"), env={"AIRFLOW_CONN_X": "..."}) as server:
        server.kill()
        server.start()
        server.rows("SELECT run_id FROM dag_run")

The DAGs are read once, before it starts; no scheduler runs them. It asks for a login, as a server does.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from airflow_standalone import StandaloneError, settings
from processes import Program, clean_environment, free_ports

if TYPE_CHECKING:
    from collections.abc import Mapping


class ApiServer:
    """One `airflow api-server` with its own home and database.

    :param database: SQLAlchemy URL of an empty database, or None for SQLite
    :param workers: processes of the server
    """

    def __init__(
        self, dags: Path, *, env: Mapping[str, str] | None = None, database: str | None = None, workers: int = 1
    ) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="sluice-api-server-"))
        self.port, *log_ports = free_ports(3)
        self.url = f"http://127.0.0.1:{self.port}"
        self.workers = workers
        self.env = clean_environment() | settings(self.home, dags.resolve(), self.port, log_ports)
        self.env["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS"] = "False"
        if database:
            self.env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = database
        self.env |= dict(env or {})
        self._database = database or f"sqlite:///{self.home}/airflow.db"
        self._program: Program | None = None
        self._starts = 0

    def __enter__(self) -> ApiServer:
        try:
            self.airflow("db", "migrate")
            self.airflow("dags", "reserialize")
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def airflow(self, *command: str) -> str:
        """Run a command of Airflow's, and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *command], env=self.env, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise StandaloneError(f"airflow {' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def start(self, seconds: float = 90) -> None:
        """Start it, and wait until it answers."""
        self._starts += 1
        command = [sys.executable, "-m", "airflow", "api-server", "--workers", str(self.workers)]
        self._program = Program(command, log=self.home / f"api-server-{self._starts}.log", env=self.env, cwd=self.home)
        deadline = time.monotonic() + seconds
        while not self._answers():
            if time.monotonic() > deadline or not self._program.running:
                raise StandaloneError(f"The API server did not start. It wrote:\n{self._program.tail()}")
            time.sleep(0.2)

    def kill(self) -> None:
        """As by kill -9."""
        if self._program is not None:
            self._program.kill()

    def stop(self) -> None:
        """End it, and remove its home."""
        if self._program is not None:
            self._program.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def log(self) -> str:
        """Return everything that it has written since its first start."""
        return "".join(path.read_text(errors="replace") for path in sorted(self.home.glob("api-server-*.log")))

    def rows(self, query: str, **values: Any) -> list[Any]:
        """Ask its database."""
        from sqlalchemy import create_engine, text

        engine = create_engine(self._database)
        try:
            with engine.begin() as connection:
                found = connection.execute(text(query), values)
                return list(found) if found.returns_rows else []
        finally:
            engine.dispose()

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/api/v2/version", timeout=2, trust_env=False).is_success
        except httpx.TransportError:
            return False
