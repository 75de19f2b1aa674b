"""The sandbox on a real port for all tests here, and plain httpx clients that use no code of the provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sluice_provider.testing import _sluice_server, sluice_connections, sluice_sandbox  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sluice_provider.testing import SandboxClient


class KaleidoscopeClient:
    """A plain HTTP client of the mock Kaleidoscope."""

    def __init__(self, http: httpx.Client, credentials: dict[str, str]) -> None:
        self.http = http
        self.credentials = credentials
        self.pair = self.grant().json()

    def grant(self, **form: str) -> httpx.Response:
        """A token request; without a form, the client_credentials grant."""
        form = form or {"grant_type": "client_credentials", **self.credentials}
        return self.http.post("auth/oauth/token", data=form)

    def get(self, path: str, **params: Any) -> httpx.Response:
        """GET with the token."""
        return self.http.get(path, params=params, headers=self.headers())

    def post(self, path: str, content: Any) -> httpx.Response:
        """POST of JSON with the token."""
        return self.http.post(path, json=content, headers=self.headers())

    def headers(self) -> dict[str, str]:
        """The header that kalbio sends since 0.2.2."""
        return {"X-Kal-Authorization": f"Bearer {self.pair['access_token']}"}

    def push(self, *rows: dict[str, Any], keys: tuple[str, ...] = ("symbol",), **more: Any) -> httpx.Response:
        """Push by field name."""
        return self.post("push/imports", {"key_field_names": list(keys), "data": list(rows), **more})

    def result(self, *rows: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Push, and return the import; needs `job_seconds` 0."""
        found: dict[str, Any] = self.get(f"imports/{self.push(*rows, **more).json()['import_id']}").json()
        return found


@pytest.fixture
def kal(sluice_sandbox: SandboxClient) -> Iterator[KaleidoscopeClient]:  # noqa: F811
    """A client of a reset Kaleidoscope whose imports complete at once."""
    sluice_sandbox.settings(job_seconds=0)
    credentials = sluice_sandbox.state()["credentials"]["kaleidoscope"]
    with httpx.Client(base_url=f"{sluice_sandbox.url}/kaleidoscope/", trust_env=False) as http:
        yield KaleidoscopeClient(http, credentials)


class DraftRequests:
    """The requests of user and registrar to register drafts of the operation."""

    def __init__(self, kal: KaleidoscopeClient, sluice_sandbox: SandboxClient) -> None:  # noqa: F811
        self.kal = kal
        self._sandbox = sluice_sandbox
        self.ids = sluice_sandbox.state()["kaleidoscope"]["ids"]
        self.at = f"operations/{self.ids['operation_id']}"

    def create(self, *rows: dict[str, Any], **more: Any) -> httpx.Response:
        """The first step of staging, as kalbio sends it."""
        content = {"data_json": list(rows), "attrs": {}, "operation_id": self.ids["operation_id"], "is_draft": True}
        return self.kal.post("imports", {**content, "source_type": "http-post", **more})

    def run(self, import_id: str, *columns: str, **more: Any) -> httpx.Response:
        """The second step; `columns` are data fields of the same name."""
        fields = {each["field_name"]: each for each in self.kal.get("data_fields").json()}
        given = [
            {"name": name, "type": fields[name]["field_type"], "mapped_field_id": fields[name]["id"]}
            for name in columns
        ]
        config = {"key_field_configurations": [{"name": "name"}], "data_field_configurations": given}
        view = {"record_view_id": self.ids["staging_view_id"]}
        return self.kal.post(f"imports/{import_id}/run", {**config, **view, **more})

    def stage(self, *rows: dict[str, Any], **more: Any) -> list[str]:
        """Both steps; returns the ids of all current drafts, oldest first."""
        import_id = self.create(*rows).json()["id"]
        columns = sorted({name for row in rows for name in row} - {"name"})
        assert self.run(import_id, *columns, **more).status_code == 204
        return self.current()

    def current(self) -> list[str]:
        """Ids of the current drafts, from the activity."""
        drafts: list[str] = self.kal.get("activities").json()[0]["data_table_draft_record_ids"]
        return drafts

    def validate(self, *record_ids: str) -> httpx.Response:
        """Validate these drafts, all if none is given."""
        return self.kal.post(f"{self.at}/validate_drafts", {"record_ids": list(record_ids)} if record_ids else {})

    def submit(self, *record_ids: str) -> httpx.Response:
        """Submit these drafts, all if none is given."""
        content = {"record_ids": list(record_ids)} if record_ids else {}
        return self.kal.post(f"{self.at}/submit_drafts_for_registration", content)

    def answer(self, submission: dict[str, Any], status: str, *records: dict[str, Any], **more: Any) -> httpx.Response:
        """The registrar's results."""
        content = {"status": status, **({"records": list(records)} if records else {}), **more}
        return self.kal.post(f"{self.at}/registration_submissions/{submission['id']}/results", content)

    def push(self, submission: dict[str, Any], status: str, **more: Any) -> httpx.Response:
        """A status update of the registrar."""
        path = f"{self.at}/registration_submissions/{submission['id']}/status"
        return self.kal.post(path, {"status": status, **more})

    def clear(self, *record_ids: str) -> httpx.Response:
        """Clear drafts."""
        return self.kal.post(f"{self.at}/clear_draft_records", {"record_ids": list(record_ids)})

    def statuses(self) -> dict[str, tuple[str, str | None]]:
        """Status and message by draft."""
        found = self.kal.get(f"{self.at}/registration_draft_statuses").json()
        return {each["record_id"]: (each["status"], each["message"]) for each in found}

    def submissions(self) -> list[dict[str, Any]]:
        """The listed submissions."""
        found: list[dict[str, Any]] = self.kal.get(f"{self.at}/registration_submissions").json()
        return found

    def state(self, what: str) -> Any:
        """A member of the sandbox's state."""
        return self._sandbox.state()["kaleidoscope"][what]


@pytest.fixture
def drafts(kal: KaleidoscopeClient, sluice_sandbox: SandboxClient) -> DraftRequests:  # noqa: F811
    """The empty staging table; imports complete at once."""
    return DraftRequests(kal, sluice_sandbox)


def status_and_code(response: httpx.Response) -> tuple[int, str]:
    """HTTP status and error code of a response of Kaleidoscope."""
    return response.status_code, response.json()["code"]
