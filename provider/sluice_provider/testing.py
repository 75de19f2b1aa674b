"""pytest fixtures for tests of DAGs that use Sluice: `pytest_plugins = ["sluice_provider.testing"]` in conftest.py.

`sluice_sandbox` runs the mock services on a free port, reset for each test, with a clock that a test can advance.
`sluice_connections` sets Airflow's connections to it. Both need pytest and the extra `sandbox`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sluice_sandbox import Sandbox

try:
    import pytest
except ModuleNotFoundError as error:
    raise ImportError("sluice_provider.testing needs pytest: pip install pytest", name="pytest") from error

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SandboxClient", "sluice_connections", "sluice_sandbox"]


class SandboxClient:
    """The control API of a sandbox that runs in this process."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    @property
    def url(self) -> str:
        """Base URL of the sandbox; the services are below it, as `/kaleidoscope`."""
        return self._sandbox.url

    def connections(self) -> dict[str, str]:
        """Airflow connections to the services, as JSON by connection id."""
        return self._sandbox.connections()

    def reset(self) -> None:
        """Restore the initial state: data, jobs, tokens, settings, clock, faults and the request log."""
        self._control("POST", "reset")

    def faults(self, faults: list[dict[str, Any]]) -> None:
        """Replace the pending faults; an empty list removes all. `sluice_sandbox.faults.Fault` has the members."""
        self._control("POST", "faults", content=faults)

    def settings(self, **settings: Any) -> dict[str, Any]:
        """Change some settings; returns all of them. `python -m sluice_sandbox --list-settings` lists them."""
        changed: dict[str, Any] = self._control("POST", "settings", content=settings)
        return changed

    def advance(self, seconds: float) -> None:
        """Advance the sandbox's clock."""
        self.settings(clock_advance=seconds)

    def requests(self, *, clear: bool = False) -> list[dict[str, Any]]:
        """The logged requests to the services, oldest first, secrets masked; `clear` clears the log."""
        logged: list[dict[str, Any]] = self._control("POST" if clear else "GET", "requests")
        return logged

    def state(self, *, records: bool = True) -> dict[str, Any]:
        """All data of the services, and their `credentials`; `records=False` leaves out the records."""
        state: dict[str, Any] = self._control("GET", "state", params={"records": int(records)})
        return state

    def register_file(self, file_name: str, content: str, **more: Any) -> dict[str, Any]:
        """Upload a file to Kaleidoscope and register it; returns `file_id` and `registration`.

        :param more: `record_ids`, `content_type`, or `register=False` to only upload it
        """
        body = {"file_name": file_name, "content": content, **more}
        response: dict[str, Any] = self._control("POST", "kaleidoscope/registrations", content=body)
        return response

    def stage_drafts(self, *rows: dict[str, Any], submit: str = "") -> dict[str, Any]:
        """Stage drafts in Kaleidoscope, each with a `name`; returns `record_ids` and `submission`.

        :param submit: `registration` or `validation` also submits them
        """
        body = {"rows": list(rows), **({"submit": submit} if submit else {})}
        response: dict[str, Any] = self._control("POST", "kaleidoscope/drafts", content=body)
        return response

    def burst(self, files: int, concurrency: int) -> list[str]:
        """Register `files` files with at most `concurrency` webhooks at the same time; returns the file ids."""
        body = {"files": files, "concurrency": concurrency}
        response: list[str] = self._control("POST", "kaleidoscope/burst", content=body)["file_ids"]
        return response

    def _control(self, method: str, path: str, **options: Any) -> Any:
        status, content = self._sandbox.control(method, path, **options)
        if status == 400:
            raise ValueError(content["error"])
        return content


@pytest.fixture(scope="session")
def _sluice_server() -> Iterator[SandboxClient]:
    with Sandbox() as sandbox:
        yield SandboxClient(sandbox)


@pytest.fixture
def sluice_sandbox(_sluice_server: SandboxClient) -> SandboxClient:
    """One sandbox for the whole session, reset for each test."""
    _sluice_server.reset()
    return _sluice_server


@pytest.fixture
def sluice_connections(sluice_sandbox: SandboxClient, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Set Airflow's default connections to the sandbox; returns them as JSON by connection id."""
    connections = sluice_sandbox.connections()
    for conn_id, connection in connections.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", connection)
    return connections
