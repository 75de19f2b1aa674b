"""A whole Airflow for a while: scheduler, API server, DAG processor and triggerer, on loopback, gone afterwards.

    with Standalone(dags=Path("dags_examples"), env={"AIRFLOW_CONN_X": "..."}) as airflow:
        airflow.unpause("my_dag")
        run = airflow.wait_run("my_dag", airflow.trigger("my_dag"))

It asks for no login, so it listens on 127.0.0.1 only.
"""

from __future__ import annotations

import secrets
import shutil
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from processes import Program, clean_environment, free_ports
from retrying_client import RetryingClient

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

T = TypeVar("T")
Json = dict[str, Any]
OVER = ("success", "failed")
PATIENCE = 300.0  # seconds: only a failure takes so long, however busy the machine is


class StandaloneError(RuntimeError):
    """Airflow failed or took too long; the message says with what, and has the end of its output."""


class Standalone:
    """One `airflow standalone` with its own home, database and ports, and its REST API as methods."""

    def __init__(
        self, dags: Path, *, env: Mapping[str, str] | None = None, home: Path | None = None, start_seconds: float = 600
    ) -> None:
        self._temporary = None if home else Path(tempfile.mkdtemp(prefix="sluice-airflow-"))
        self.home = home or self._temporary or Path()
        self.dags = dags.resolve()
        self.start_seconds = start_seconds
        port, *log_ports = free_ports(3)
        self.url = f"http://127.0.0.1:{port}"
        self.env = clean_environment() | settings(self.home, self.dags, port, log_ports) | dict(env or {})
        self._program: Program | None = None
        self._client = RetryingClient("Airflow", f"{self.url}/api/v2/", gone=self._ended)

    def __enter__(self) -> Standalone:
        try:
            self.start()
            self.wait_healthy()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and return before it is ready."""
        self.home.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "airflow", "standalone"]
        self._program = Program(command, log=self.home / "standalone.log", env=self.env, cwd=self.home)

    def stop(self) -> None:
        """End every process of it and remove its home, if that was a temporary one."""
        self._client.close()
        if self._program is not None:
            self._program.stop()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def pids(self, component: str) -> list[int]:
        """Return the process ids of one component, such as the triggerer."""
        import psutil  # type: ignore[import-untyped]  # Airflow brings it

        family = psutil.Process(self._program.pid).children(recursive=True) if self._program else []
        living = [each for each in family if each.status() != psutil.STATUS_ZOMBIE]
        return [each.pid for each in living if component in " ".join(each.cmdline()).split()]

    def another(self, component: str) -> Program:
        """Start one more of a component, in place of one that died."""
        command = [sys.executable, "-m", "airflow", component]
        return Program(command, log=self.home / f"{component}.log", env=self.env, cwd=self.home)

    @property
    def running(self) -> bool:
        """Say whether Airflow is still there."""
        return self._program is not None and self._program.running

    def _ended(self) -> bool:
        return self._program is not None and not self._program.running

    def tail(self, lines: int = 30) -> str:
        """Return the last lines Airflow wrote."""
        return self._program.tail(lines) if self._program else ""

    # -- waiting

    def wait(self, what: str, poll: Callable[[], T | None], timeout: float = PATIENCE, every: float = 0.5) -> T:
        """Poll until the result is not None. Fail when that takes too long or Airflow has ended."""
        deadline = time.monotonic() + timeout
        while True:
            found = poll()
            if found is not None:
                return found
            if not self.running:
                raise StandaloneError(f"Airflow ended while waiting for {what}. The end of its output:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise StandaloneError(f"Waited {timeout:.0f} s for {what}. The end of its output:\n{self.tail()}")
            time.sleep(every)

    def wait_healthy(self) -> None:
        """Wait until every component says it is healthy."""
        self.wait("Airflow to be healthy", self._healthy, self.start_seconds)

    def wait_dags(self, timeout: float = PATIENCE) -> list[Json]:
        """Wait until every file of the DAGs folder has been read, and return the DAGs. A file with an error fails."""
        files = {str(path.relative_to(self.dags)) for path in self.dags.rglob("*.py") if "def " in path.read_text()}
        return self.wait(f"the DAGs of {self.dags}", lambda: self._parsed(files), timeout)

    def wait_run(self, dag_id: str, run_id: str, *, timeout: float = PATIENCE, states: Sequence[str] = OVER) -> Json:
        """Wait until a run is in one of the states, and return it."""

        def ended() -> Json | None:
            run = self.run(dag_id, run_id)
            return run if run["state"] in states else None

        return self.wait(f"run {run_id} of {dag_id} to be {' or '.join(states)}", ended, timeout)

    def _healthy(self) -> bool | None:
        health = self._client.probe("monitor/health")
        if health is None or not health.is_success:
            return None
        return all(part["status"] == "healthy" for part in health.json().values()) or None

    def _parsed(self, files: set[str]) -> list[Json] | None:
        if errors := self.get("importErrors")["import_errors"]:
            errors_text = "\n".join(f"{error['filename']}\n{error['stack_trace']}" for error in errors)
            raise StandaloneError(f"Airflow could not read a DAG file.\n{errors_text}")
        found = self.get("dags", limit=1000)["dags"]
        return found if files <= {dag["relative_fileloc"] for dag in found} else None

    # -- requests

    def get(self, path: str, **query: Any) -> Json:
        """GET below /api/v2."""
        return self._client.get(path, query)

    def post(self, path: str, body: Json) -> Json:
        """POST below /api/v2."""
        return self._client.post(path, body)

    def patch(self, path: str, body: Json) -> Json:
        """PATCH below /api/v2."""
        return self._client.patch(path, body)

    def unpause(self, dag_id: str) -> None:
        """Unpause a DAG."""
        self.patch(f"dags/{dag_id}", {"is_paused": False})

    def pause(self, dag_id: str) -> None:
        """Keep the scheduler from starting further runs of a DAG."""
        self.patch(f"dags/{dag_id}", {"is_paused": True})

    def trigger(self, dag_id: str, conf: Json | None = None, *, logical_date: datetime | None = None) -> str:
        """Start one run, and return its id. With a logical date, the run has the data interval that belongs to it.

        The id is chosen here: so the run can be looked for when Airflow's answer is lost, and is never started twice.
        """
        run_id = f"manual__{uuid.uuid4()}"
        date = logical_date.isoformat() if logical_date else None
        body: Json = {"dag_run_id": run_id, "logical_date": date, "conf": conf or {}}
        self._client.create(
            f"dags/{dag_id}/dagRuns", body, lambda: self._client.find(f"dags/{dag_id}/dagRuns/{run_id}")
        )
        return run_id

    def run(self, dag_id: str, run_id: str) -> Json:
        """Return one run."""
        return self.get(f"dags/{dag_id}/dagRuns/{run_id}")

    def runs(self, dag_id: str) -> list[Json]:
        """Return the runs of a DAG, oldest first."""
        found: list[Json] = self.get(f"dags/{dag_id}/dagRuns", limit=1000, order_by="run_after")["dag_runs"]
        return found

    def task_instances(self, dag_id: str, run_id: str) -> list[Json]:
        """Return the task instances of a run, mapped ones included."""
        found: list[Json] = self.get(f"dags/{dag_id}/dagRuns/{run_id}/taskInstances", limit=1000)["task_instances"]
        return found

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """Return what a task left under a key, or None."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        found = self._client.find(path, {"map_index": map_index, "deserialize": True})
        return found["value"] if found else None

    def xcoms(self, dag_id: str, run_id: str) -> list[tuple[str, Any]]:
        """Return everything the tasks of a run have left so far, as pairs of key and value."""
        listed = self.get(f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/~/xcomEntries", limit=1000)["xcom_entries"]
        return [(x["key"], self.xcom(dag_id, run_id, x["task_id"], x["key"], x["map_index"])) for x in listed]

    def logs(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """Return the log of one try, a line per event."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        events = self.get(path, map_index=map_index, full_content=True)["content"]
        return "\n".join(_log_line(event) for event in events)

    def clear(self, dag_id: str, run_id: str, task_ids: Sequence[str] = (), *, only_failed: bool = False) -> None:
        """Clear tasks of a run (all of them when none is named), so that they run again."""
        body: Json = {"dry_run": False, "dag_run_id": run_id, "only_failed": only_failed, "include_downstream": True}
        if task_ids:
            body["task_ids"] = list(task_ids)
        self.post(f"dags/{dag_id}/clearTaskInstances", body)


def settings(home: Path, dags: Path, port: int, log_ports: Sequence[int]) -> dict[str, str]:
    """Return the environment that makes Airflow small, quick, silent, and ours alone."""
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",  # as many idle workers are forked at start
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(48),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home.resolve()}/airflow.db",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(log_ports[0]),  # else two of us would fight for the default
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(log_ports[1]),
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        # A worker may notice the end of a task's process this much too late. With the default of 5 s, a task that is
        # deferred for a shorter time is queued again before, and the scheduler takes the late news for its failure.
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW__OPENLINEAGE__DISABLED": "True",
    }


def _log_line(event: Any) -> str:
    """Write one structured log event as text; the error's detail follows it."""
    if not isinstance(event, dict):
        return str(event)
    where = (event.get("timestamp") or "")[11:19]
    line = f"{where} {str(event.get('level') or '').upper():8}{event.get('event') or ''}".strip()
    errors = [f"  {detail.get('exc_type')}: {detail.get('exc_value')}" for detail in event.get("error_detail") or []]
    return "\n".join([line, *errors])
