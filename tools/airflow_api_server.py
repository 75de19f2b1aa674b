"""Airflow's API server alone, with real users, over a database that outlives it: it can be killed and started again.

    with ApiServer(Path("dags"), env={"AIRFLOW_CONN_X": "..."}) as server:
        page = server.log_in("vera").get("sluice/api/jobs")
        server.kill()
        server.start()
        server.rows("SELECT run_id FROM dag_run")

The DAGs are read once, before it starts; no scheduler runs them.
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from airflow_standalone import StandaloneError, settings
from processes import Program, clean_environment, free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

USERS = {"ada": "admin", "vera": "viewer"}


class ApiServer:
    """One `airflow api-server` with its own home and database. It asks for a login, as a server does.

    :param dags: folder of the DAGs that it knows
    :param fill: puts into the database what is to be seen
    :param path: the base path of its address, as of an Airflow that shares its host with others
    :param users: names with their roles
    :param database: SQLAlchemy URL of an empty database, or None for SQLite
    :param workers: processes of the server
    """

    def __init__(
        self,
        dags: Path | None = None,
        *,
        fill: Callable[[Session], Any] | None = None,
        path: str = "",
        users: Mapping[str, str] = USERS,
        env: Mapping[str, str] | None = None,
        database: str | None = None,
        workers: int = 1,
    ) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="sluice-api-server-"))
        self.port, *log_ports = free_ports(3)
        self.url = f"http://127.0.0.1:{self.port}{path}"
        self.users = {name: secrets.token_urlsafe(12) for name in users}
        self.workers = workers
        self.env = clean_environment() | settings(
            self.home, (dags or self.home / "dags").resolve(), self.port, log_ports
        )
        self.env |= {
            "AIRFLOW__API__BASE_URL": f"{self.url}/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in users.items()),
        }
        if database:
            self.env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = database
        self.env |= dict(env or {})
        self._dags, self._fill = dags, fill
        self._program: Program | None = None
        self._starts = 0

    def __enter__(self) -> ApiServer:
        try:
            self._prepare()
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _prepare(self) -> None:
        (self.home / "dags").mkdir()
        (self.home / "simple_auth_manager_passwords.json.generated").write_text(json.dumps(self.users))
        self.airflow("db", "migrate")
        if self._dags is not None:
            self.airflow("dags", "reserialize")
        if self._fill is not None:
            engine = self._engine()
            with Session(engine) as session:
                self._fill(session)
                session.commit()
            engine.dispose()

    def airflow(self, *command: str) -> str:
        """Run a command of Airflow's, and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *command], env=self.env, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise StandaloneError(f"airflow {' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def start(self, seconds: float = 300) -> None:
        """Start it, and wait until it answers."""
        self._starts += 1
        command = [sys.executable, "-m", "airflow", "api-server", "--workers", str(self.workers)]
        self._program = Program(command, log=self.home / f"api-server-{self._starts}.log", env=self.env, cwd=self.home)
        deadline = time.monotonic() + seconds
        while not self._answers():
            if time.monotonic() > deadline or not self._program.running:
                raise StandaloneError(f"The API server did not start. Its output ends with:\n{self._program.tail()}")
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

    # -- asking

    def client(self) -> httpx.Client:
        """Nobody in particular. Paths are below the server's base path."""
        return httpx.Client(base_url=f"{self.url}/", timeout=30, trust_env=False)

    def log_in(self, name: str) -> httpx.Client:
        """Ask as this user."""
        body = {"username": name, "password": self.users[name]}
        with self.client() as nobody:
            token = nobody.post("auth/token", json=body).raise_for_status().json()["access_token"]
        client = self.client()
        client.headers["Authorization"] = f"Bearer {token}"
        return client

    def log(self) -> str:
        """Return everything that it has written since its first start."""
        return "".join(path.read_text(errors="replace") for path in sorted(self.home.glob("api-server-*.log")))

    def rows(self, query: str, **values: Any) -> list[Any]:
        """Ask its database."""
        engine = self._engine()
        try:
            with engine.begin() as connection:
                found = connection.execute(text(query), values)
                return list(found) if found.returns_rows else []
        finally:
            engine.dispose()

    def _engine(self) -> Any:
        return create_engine(self.env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return client.get("api/v2/version", timeout=2).is_success
        except httpx.TransportError:
            return False
