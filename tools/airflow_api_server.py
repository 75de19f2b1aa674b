"""Airflow's API server alone, with real users, over a database that is filled before it starts. Nothing runs in it.

with ApiServer(fill=lambda session: seed(session, 10), path="/airflow") as server:
    page = server.log_in("vera").get("sluice/api/jobs")
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
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from airflow_standalone import StandaloneError, settings
from processes import Program, clean_environment, free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

USERS = {"ada": "admin", "vera": "viewer"}


class ApiServer:
    """
    :param fill: puts into the database what is to be seen
    :param path: the base path of its address, as of an Airflow that shares its host with others
    :param users: names with their roles
    """

    def __init__(
        self,
        fill: Callable[[Session], Any],
        *,
        path: str = "",
        users: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="sluice-api-server-"))
        port, *others = free_ports(3)
        self.url = f"http://127.0.0.1:{port}{path}/"
        self.users = {name: secrets.token_urlsafe(12) for name in users or USERS}
        roles = ",".join(f"{name}:{role}" for name, role in (users or USERS).items())
        self.env = clean_environment() | settings(self.home, self.home / "dags", port, others)
        self.env |= {
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": roles,
            **(env or {}),
        }
        self._fill = fill
        self._program: Program | None = None

    def __enter__(self) -> ApiServer:
        try:
            self._prepare()
            command = [
                sys.executable,
                "-m",
                "airflow",
                "api-server",
                "--port",
                httpx.URL(self.url).netloc.decode().split(":")[1],
            ]
            self._program = Program(command, log=self.home / "server.log", env=self.env, cwd=self.home)
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._program is not None:
            self._program.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def client(self) -> httpx.Client:
        """Nobody in particular."""
        return httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def log_in(self, name: str) -> httpx.Client:
        """Ask as this user."""
        body = {"username": name, "password": self.users[name]}
        with self.client() as nobody:
            token = nobody.post("auth/token", json=body).raise_for_status().json()["access_token"]
        client = self.client()
        client.headers["Authorization"] = f"Bearer {token}"
        return client

    def _prepare(self) -> None:
        (self.home / "dags").mkdir()
        passwords = self.home / "simple_auth_manager_passwords.json.generated"
        passwords.write_text(json.dumps(self.users))
        migrate = [sys.executable, "-m", "airflow", "db", "migrate"]
        done = subprocess.run(migrate, env=self.env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StandaloneError(f"The database was not made:\n{done.stderr[-2000:]}")
        engine = create_engine(self.env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
        with Session(engine) as session:
            self._fill(session)
            session.commit()
        engine.dispose()

    def _wait(self, seconds: float = 90) -> None:
        assert self._program is not None
        deadline = time.monotonic() + seconds
        with self.client() as client:
            while True:
                try:
                    if client.get("api/v2/version").is_success:
                        return
                except httpx.TransportError:
                    pass
                if time.monotonic() > deadline or not self._program.running:
                    raise StandaloneError(f"The API server did not start. It wrote last:\n{self._program.tail()}")
                time.sleep(0.3)
