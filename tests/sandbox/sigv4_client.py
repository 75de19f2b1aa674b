"""Requests to the mock FinSpace signed by botocore, without code of the provider."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from unittest import mock

import httpx
from botocore import auth as botocore_auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

if TYPE_CHECKING:
    from sluice_provider.testing import SandboxClient


def sign(
    sandbox: SandboxClient,
    method: str = "GET",
    path: str = "kx/environments",
    body: bytes = b"",
    moment: datetime | None = None,
    **keys: Any,
) -> dict[str, Any]:
    """A request signed by botocore."""
    known = {**sandbox.state()["credentials"]["finspace"], "token": None, "service": "finspace", **keys}
    headers = {"Content-Type": "application/json"} if body else {}
    signed = AWSRequest(method, f"{sandbox.url}/finspace/{path}", headers=headers, data=body)
    frozen = ReadOnlyCredentials(known["access_key"], known["secret_key"], known["token"])
    now = (moment or datetime.now(timezone.utc)).replace(tzinfo=None)
    with mock.patch.object(botocore_auth, "get_current_datetime", return_value=now):
        botocore_auth.SigV4Auth(frozen, known["service"], known["region"]).add_auth(signed)
    return {"method": method, "url": signed.url, "headers": dict(signed.headers.items()), "content": body}


class Client:
    """A plain HTTP client; errors are returned as responses."""

    def __init__(self, sandbox: SandboxClient) -> None:
        self._sandbox = sandbox
        self.environment = sandbox.state()["finspace"]["environment_id"]
        self.base = f"kx/environments/{self.environment}/databases"

    def get(self, path: str) -> httpx.Response:
        """GET."""
        return httpx.request(**sign(self._sandbox, "GET", path))

    def post(self, path: str, **content: Any) -> httpx.Response:
        """POST, as JSON."""
        return httpx.request(**sign(self._sandbox, "POST", path, json.dumps(content).encode()))

    def change(self, *requests: dict[str, str], token: str = "t1", database: str = "markets") -> httpx.Response:
        """CreateKxChangeset."""
        path = f"{self.base}/{database}/changesets"
        return self.post(path, changeRequests=list(requests), clientToken=token)

    def get_changeset(self, changeset_id: str, database: str = "markets") -> dict[str, Any]:
        """GetKxChangeset."""
        found: dict[str, Any] = self.get(f"{self.base}/{database}/changesets/{changeset_id}").json()
        return found

    def done(self, *requests: dict[str, str], token: str = "t1") -> dict[str, Any]:
        """Create a changeset and return its end; needs `job_seconds` 0."""
        return self.get_changeset(self.change(*requests, token=token).json()["changesetId"])
