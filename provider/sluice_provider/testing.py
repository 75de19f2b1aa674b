"""Fixtures for the tests of DAGs that use Sluice: `pytest_plugins = ["sluice_provider.testing"]` in a conftest.

`sluice_sandbox` serves the mock services on a free port, as new for each test, with a clock that a test can advance.
`sluice_connections` points Airflow's connections at it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sluice_sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SandboxClient", "sluice_connections", "sluice_sandbox"]


class SandboxClient:
    """The control interface of a running sandbox."""

    def __init__(self, sandbox: Sandbox, http: httpx.Client) -> None:
        self._sandbox = sandbox
        self._http = http

    @property
    def url(self) -> str:
        """Where it is; a service's base URL is this and its name, as in `/kaleidoscope`."""
        return self._sandbox.url

    def connections(self) -> dict[str, str]:
        """Airflow connections that lead to it, as JSON by connection id."""
        return self._sandbox.connections()

    def reset(self) -> None:
        """Back to the start: records, jobs, tokens, settings, clock, faults, requests."""
        self._control("POST", "reset")

    def faults(self, faults: list[dict[str, Any]]) -> None:
        """Exactly these faults from now on; an empty list clears."""
        self._control("POST", "faults", json=faults)

    def settings(self, **settings: Any) -> dict[str, Any]:
        """Change some settings; returns all of them."""
        changed: dict[str, Any] = self._control("POST", "settings", json=settings)
        return changed

    def advance(self, seconds: float) -> None:
        """Move the sandbox's clock on."""
        self.settings(clock_advance=seconds)

    def requests(self, *, clear: bool = False) -> list[dict[str, Any]]:
        """All requests to the services, oldest first, without secrets."""
        seen: list[dict[str, Any]] = self._control("GET", "requests", params={"clear": int(clear)})
        return seen

    def state(self, *, records: bool = True) -> dict[str, Any]:
        """What the services hold, and under `credentials` how to log in."""
        state: dict[str, Any] = self._control("GET", "state", params={"records": int(records)})
        return state

    def register_file(self, file_name: str, content: str, **more: Any) -> dict[str, Any]:
        """Somebody uploads a file to Kaleidoscope and registers it; returns `file_id` and `registration`.

        :param more: `record_ids`, `content_type`, or `register=False`, which only uploads it.
        """
        asked = {"file_name": file_name, "content": content, **more}
        told: dict[str, Any] = self._control("POST", "kaleidoscope/registrations", json=asked)
        return told

    def stage_drafts(self, *rows: dict[str, Any], submit: str = "") -> dict[str, Any]:
        """Somebody stages drafts in Kaleidoscope, each with a `name`; returns `record_ids` and `submission`.

        :param submit: `registration` or `validation`, which submits them at once.
        """
        asked = {"rows": list(rows), **({"submit": submit} if submit else {})}
        told: dict[str, Any] = self._control("POST", "kaleidoscope/drafts", json=asked)
        return told

    def burst(self, files: int, concurrency: int) -> list[str]:
        """So many files are registered at once, their webhooks sent by so many senders; returns the files' ids."""
        asked = {"files": files, "concurrency": concurrency}
        told: list[str] = self._control("POST", "kaleidoscope/burst", json=asked)["file_ids"]
        return told

    def _control(self, method: str, path: str, **options: Any) -> Any:
        response = self._http.request(method, f"{self.url}/control/{path}", **options)
        if response.status_code == 400:
            raise ValueError(response.json()["error"])
        return response.raise_for_status().json()


@pytest.fixture(scope="session")
def _sluice_server() -> Iterator[SandboxClient]:
    # No proxy from the environment: the sandbox is on this machine.
    with Sandbox() as sandbox, httpx.Client(trust_env=False, timeout=30) as http:
        yield SandboxClient(sandbox, http)


@pytest.fixture
def sluice_sandbox(_sluice_server: SandboxClient) -> SandboxClient:
    """One sandbox for the whole session, as new for each test."""
    _sluice_server.reset()
    return _sluice_server


@pytest.fixture
def sluice_connections(sluice_sandbox: SandboxClient, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Airflow's default connections lead to the sandbox; gives them as JSON by connection id."""
    connections = sluice_sandbox.connections()
    for conn_id, connection in connections.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", connection)
    return connections
