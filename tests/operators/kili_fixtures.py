"""Fixtures for tests of Kili's operators: the bucket, the sandbox's state, and faults around mutations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import httpx
import pytest

from sluice_provider.operators.kili import KiliAddCloudStorageConnectionOperator, KiliSyncCloudStorageOperator
from tests.operators.airflow_harness import ProcessDied

if TYPE_CHECKING:
    from sluice_provider.testing import SandboxClient
    from tests.operators.airflow_harness import Airflow, TaskHarness

PICTURES = ["cats/one.png", "cats/two.png", "dogs/one.png"]
"""What the sandbox's bucket holds at first."""


class Kili:
    """The sandbox's Kili as tests see it."""

    def __init__(self, sandbox: SandboxClient) -> None:
        self._sandbox = sandbox
        self.settings, self.requests = sandbox.settings, sandbox.requests
        state = self.state
        self.me, self.project = state["ids"]["connection_id"], state["ids"]["project_id"]
        self.integration, self.azure = state["ids"]["integration_id"], state["ids"]["azure_id"]

    @property
    def state(self) -> dict[str, Any]:
        return self._sandbox.state()["kili"]

    def connection(self, connection_id: str = "") -> dict[str, Any]:
        """One connection, by default the first."""
        wanted = connection_id or self.me
        return next(each for each in self.state["connections"] if each["id"] == wanted)

    @property
    def assets(self) -> list[str]:
        """An asset that was added twice is listed twice."""
        return sorted(self.connection()["assets"])

    @property
    def operations(self) -> list[str]:
        """The operations that Kili has started: CHECK, ADD, REMOVE."""
        return self.connection()["tasks"]

    @property
    def mutations(self) -> list[str]:
        """Names of the mutations that were received, including those whose connection was dropped."""
        return [name for name in map(mutation_name, self.requests()) if name]

    @property
    def bucket(self) -> Path:
        """The directory of the bucket's files."""
        return Path(self.state["buckets"][self.integration])

    def put(self, *names: str) -> None:
        """Add files to the bucket."""
        for name in names:
            path = self.bucket / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"new")

    def empty(self) -> None:
        """Delete all files; a bucket that is not accessible looks the same."""
        for file in self.bucket.rglob("*.png"):
            file.unlink()

    def inject_fault(self, **fault: Any) -> None:
        """Let requests to the endpoint fail."""
        self._sandbox.faults([{"method": "POST", "path": "graphql", **fault}])

    def clear_faults(self) -> None:
        """Let requests succeed again."""
        self._sandbox.faults([])


def mutation_name(request: dict[str, Any]) -> str:
    """The name of the mutation that a request is, or ""."""
    words = ((request["json"] or {}).get("query") or "").replace("(", " ").split()
    return words[1] if words[:1] == ["mutation"] else ""


@contextmanager
def lost_response(kili: Kili, name: str, drop: str = "after", times: int = 1, **where: str) -> Iterator[None]:
    """The response to such mutations is lost ("after"), or the request is ("before")."""
    with fault_on(kili, name, times, where, drop=drop):
        yield


@contextmanager
def fault_on(kili: Kili, name: str, times: int = 1, where: Mapping[str, str] = {}, **fault: Any) -> Iterator[None]:
    """The sandbox's fault applies to such mutations."""
    original, left = httpx.Client.send, count(times, -1)

    def send(client: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        if is_mutation(request, name, **where) and next(left) > 0:
            kili.inject_fault(**fault)
        return original(client, request, **options)

    with mock.patch.object(httpx.Client, "send", send):
        yield


@contextmanager
def replaced_response(name: str, status: int, body: bytes = b"", **where: str) -> Iterator[None]:
    """The first such mutation is executed, but its response is replaced."""
    original, left = httpx.Client.send, [httpx.Response(status, content=body)]

    def send(client: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        if not left or not is_mutation(request, name, **where):
            return original(client, request, **options)
        original(client, request, **options).read()
        left[0].request = request
        return left.pop()

    with mock.patch.object(httpx.Client, "send", send):
        yield


@contextmanager
def process_death(task: TaskHarness, moment: str, name: str, **where: str) -> Iterator[None]:
    """The process dies immediately before, or after, such a mutation."""
    original = httpx.Client.send

    def send(client: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        fatal = is_mutation(request, name, **where)
        if fatal and moment == "before":
            raise ProcessDied(name)
        response = original(client, request, **options)
        if fatal:
            raise ProcessDied(name)
        return response

    with mock.patch.object(httpx.Client, "send", send):
        yield
    assert isinstance(task.error, ProcessDied), task.error


def is_mutation(request: httpx.Request, name: str, **where: str) -> bool:
    """Whether a request is this mutation with these variables."""
    text = request.content.decode(errors="replace")
    return f"mutation {name}" in text and all(f'"{key}":"{value}"' in text for key, value in where.items())


@pytest.fixture
def kili(sluice_sandbox: SandboxClient) -> Kili:
    """The sandbox's Kili."""
    return Kili(sluice_sandbox)


@pytest.fixture
def sync(airflow: Airflow, kili: Kili) -> Callable[..., TaskHarness]:
    """A synchronisation of the first connection, with three retries; arguments as for the operator."""

    def make_task(**args: Any) -> TaskHarness:
        if not {"project_id", "cloud_storage_connection_id"} & set(args):
            args["cloud_storage_connection_id"] = kili.me
        return airflow.task(KiliSyncCloudStorageOperator, task_id="sync", **{"retries": 3, **args})

    return make_task


@pytest.fixture
def add(airflow: Airflow, kili: Kili) -> Callable[..., TaskHarness]:
    """A connection of cats to the project, with three retries; arguments as for the operator."""

    def make_task(**args: Any) -> TaskHarness:
        ids = {"project_id": kili.project, "cloud_storage_integration_id": kili.integration, "prefix": "cats/"}
        return airflow.task(KiliAddCloudStorageConnectionOperator, task_id="add", **{"retries": 3, **ids, **args})

    return make_task
