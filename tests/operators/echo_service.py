"""A fifth service, whose jobs can be cancelled: what a contributor would write, in one file, and a mock service.

The service has only jobs: `POST /jobs` creates one, `GET /jobs/<id>` returns its state, `DELETE /jobs/<id>` cancels
it. It is not idempotent: two requests create two jobs.
"""

from __future__ import annotations

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar

import httpx

from sluice_provider.hooks.base import Endpoint, SluiceHook
from sluice_provider.http.flow import Flow, Request
from sluice_provider.http.retry import send
from sluice_provider.jobs import Job, JobState
from sluice_provider.jobs.polling import JobType, Locator
from sluice_provider.jobs.spec import JobSpec, Phase, unknown_outcome
from sluice_provider.runtime.operator import RemoteJobOperator
from sluice_provider.services import Service

if TYPE_CHECKING:
    from sluice_provider.http.client_config import ClientConfig, ConnectionFields

SERVICE = Service("echo", "Echo", "EchoHook", "echo", "echo_default")


# --- what goes into apis/echo.py


def start(words: str, key: str) -> Flow[str]:
    """Create a job."""
    reply = yield from send(Request("POST", "jobs", json={"words": words, "key": key}))
    return str(reply.json()["id"])


def get_status(job_id: str, _locator: Locator) -> Flow[Job]:
    """Get a job."""
    reply = yield from send(Request("GET", f"jobs/{job_id}", idempotent=True))
    state, message = (str(reply.json().get(name, "")) for name in ("state", "message"))
    return Job(job_id, JobState(state), state, message)


def stop(job_id: str, _locator: Locator) -> Flow[None]:
    """Cancel a job."""
    yield from send(Request("DELETE", f"jobs/{job_id}", idempotent=True))


# --- what goes into hooks/echo.py


class EchoHook(SluiceHook):
    """Echo behind an Airflow connection."""

    conn_name_attr, default_conn_name, conn_type, hook_name = "echo_conn_id", "echo_default", "echo", "Echo"
    service = "echo"
    job_types: ClassVar[dict[str, JobType]] = {"echo": JobType("echo", get_status, stop)}
    start = Endpoint(lambda: start)

    def auth(self, fields: ConnectionFields, config: ClientConfig) -> httpx.Auth:
        return httpx.Auth()

    def ping(self) -> Flow[str]:
        yield from send(Request("GET", "jobs", idempotent=True))
        return "Hello."


# --- what goes into apis/echo_jobs.py


class OneEcho(Phase):
    """One request, whose outcome cannot be looked up."""

    def __init__(self, words: str) -> None:
        super().__init__("echo", "echo")
        self._words = words

    def submit(self, unit: Any, intent: Any, record: Any) -> Flow[str]:
        return start(self._words, intent.key)

    def reconcile(self, intent: Any, record: Any) -> Flow[Any]:
        return unknown_outcome("Echo", "an echo", f"a job with the key {intent.key}", intent)
        yield


class EchoJob(JobSpec):
    """Words that are echoed."""

    service = "echo"

    def __init__(self, words: str) -> None:
        self._words = words

    def fingerprint(self) -> Any:
        return [self._words]

    def next_phase(self, record: Any) -> Phase | None:
        return None if record.phase("echo").outcome else OneEcho(self._words)

    def manifest(self, record: Any) -> dict[str, Any]:
        return {"ids": list(record.phase("echo").ids)}


# --- what goes into operators/echo.py


class EchoOperator(RemoteJobOperator):
    """Submits words to be echoed."""

    service = "echo"
    template_fields = ("words", "echo_conn_id")

    def __init__(self, *, words: str, echo_conn_id: str = "echo_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.words = words
        self.echo_conn_id = echo_conn_id

    def job(self) -> EchoJob:
        return EchoJob(self.words)


# --- the mock service


class Echo:
    """The mock service, in a thread: `jobs` by id, each with its state and its request."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.mute = False
        self.slow = 0.0
        self._numbers = count(1)
        service = self

        class Handler(BaseHTTPRequestHandler):
            """One request."""

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                job_id = str(next(service._numbers))
                service.jobs[job_id] = {"id": job_id, "state": "running", **body}
                if service.mute:
                    self.close_connection = True
                else:
                    self._answer(service.jobs[job_id])

            def do_GET(self) -> None:
                self._answer(service.jobs[self.path.rpartition("/")[2]])

            def do_DELETE(self) -> None:
                time.sleep(service.slow)
                job = service.jobs[self.path.rpartition("/")[2]]
                job["state"] = "cancelled"
                self._answer(job)

            def _answer(self, content: Any) -> None:
                body = json.dumps(content).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def connection(self) -> str:
        """An Airflow connection that leads here."""
        return json.dumps({"conn_type": "echo", "host": "http://127.0.0.1", "port": self.server.server_port})

    @property
    def states(self) -> list[str]:
        """Of all jobs, oldest first."""
        return [job["state"] for job in self.jobs.values()]
