"""A sandbox on a real port for all tests here, and a bare client with a token: httpx, nothing of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sluice_provider.testing import _sluice_server, sluice_connections, sluice_sandbox  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sluice_provider.testing import SandboxClient


class Client:
    """Speaks to the pretended Kaleidoscope as any HTTP client would."""

    def __init__(self, http: httpx.Client, credentials: dict[str, str]) -> None:
        self.http = http
        self.credentials = credentials
        self.pair = self.grant().json()

    def grant(self, **form: str) -> httpx.Response:
        """A token request; without a form, the client_credentials grant."""
        form = form or {"grant_type": "client_credentials", **self.credentials}
        return self.http.post("auth/oauth/token", data=form)

    def get(self, path: str, **params: Any) -> httpx.Response:
        """With the token."""
        return self.http.get(path, params=params, headers=self.headers())

    def post(self, path: str, content: Any) -> httpx.Response:
        """JSON, with the token."""
        return self.http.post(path, json=content, headers=self.headers())

    def headers(self) -> dict[str, str]:
        """As kalbio sends it since 0.2.2."""
        return {"X-Kal-Authorization": f"Bearer {self.pair['access_token']}"}

    def push(self, *rows: dict[str, Any], keys: tuple[str, ...] = ("symbol",), **more: Any) -> httpx.Response:
        """By field name."""
        return self.post("push/imports", {"key_field_names": list(keys), "data": list(rows), **more})

    def result(self, *rows: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Push, and what became of it; needs `job_seconds` 0."""
        found: dict[str, Any] = self.get(f"imports/{self.push(*rows, **more).json()['import_id']}").json()
        return found


@pytest.fixture
def kal(sluice_sandbox: SandboxClient) -> Iterator[Client]:  # noqa: F811
    """A client of a fresh Kaleidoscope, whose imports are over at the first look."""
    sluice_sandbox.settings(job_seconds=0)
    credentials = sluice_sandbox.state()["credentials"]["kaleidoscope"]
    with httpx.Client(base_url=f"{sluice_sandbox.url}/kaleidoscope/", trust_env=False) as http:
        yield Client(http, credentials)
