"""Mock of Kili: the GraphQL endpoint for cloud storage, buckets that are folders, and a web page of the project.

The wire format follows the vendor's client (kili 26.2.4); what it does not show is marked as a guess.
"""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sluice_sandbox import INSTALL
from sluice_sandbox.kili import schema as kili_schema
from sluice_sandbox.kili.azure import SAS, SIGNATURE, list_blobs
from sluice_sandbox.kili.bucket import Bucket
from sluice_sandbox.kili.resolvers import Resolvers
from sluice_sandbox.kili.store import AZURE, CONNECTION, INTEGRATION, PROJECT, Connection, Store
from sluice_sandbox.service import JobRow, Json, MockService
from sluice_sandbox.status_page import document, heading, paragraph, table

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from sluice_sandbox.context import Context
    from sluice_sandbox.service import Address

API_KEY = "kili-sandbox-api-key-0123456789"
API = "/api/label/v2"
VERSION = "26.2.0"
MISSING = f"The Kili mock needs graphql-core: {INSTALL}"
MAX_ROWS = 200


class Kili(MockService):
    """One organization, one project, and two integrations, the first of them connected to the project."""

    name = "kili"
    title = "Kili"

    def __init__(self, context: Context, make_bucket: Callable[[], Bucket] = Bucket) -> None:
        self._make_bucket = make_bucket
        self._store = Store(context, make_bucket)
        super().__init__(context)

    @property
    def store(self) -> Store:
        """The current data; a reset replaces the store."""
        self._store.process_due()
        return self._store

    def reset(self) -> None:
        """Buckets with sample files, and an empty project."""
        self._store.close()
        self._store = Store(self.context, self._make_bucket)
        self._resolvers = Resolvers(self.context, self._store, API_KEY, SAS)
        self.context.request_log.secrets |= {API_KEY, SAS, SIGNATURE}

    def credentials(self) -> dict[str, str]:
        """The API key, and the ids to use it with."""
        return {"api_key": API_KEY, "project_id": PROJECT, "integration_id": INTEGRATION, "connection_id": CONNECTION}

    def connection(self, address: Address) -> tuple[str, dict[str, Any]]:
        """The host contains the path of the endpoint; the port is a separate field."""
        host = f"http://{address.host}/{self.name}{API}/graphql"
        return "kili_default", {"conn_type": "kili", "host": host, "port": address.port, "password": API_KEY}

    def routes(self) -> list[Route]:
        """The GraphQL endpoint, the version, Azure's List Blobs, and the project's web page."""
        return [
            Route(f"{API}/graphql", self._graphql, methods=["POST"]),
            Route(f"{API}/version", self._version, methods=["GET"]),
            Route("/azure/account/{container}", self._blobs, methods=["GET"]),
            Route("/label/projects/{project_id}/", self._project, methods=["GET"]),
            Route("/{rest:path}", self._not_found, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        ]

    def rate_limited_response(self, seconds: int) -> Response:
        """A plain 429; whether Kili's has a body is not documented."""
        return PlainTextResponse("Too many requests", 429, {"Retry-After": str(seconds)})

    def state(self, *, with_records: bool = True) -> dict[str, Any]:
        """Ids, folders of the buckets, connections and their assets."""
        return self._store.to_json(with_records=with_records)

    def jobs(self) -> list[JobRow]:
        """All checks and validations of the connections."""
        self._store.process_due()
        rows = [self._row(each, task) for each in self._store.connections.values() for task in each.history]
        return sorted(rows, key=lambda row: -row.created_at)

    def counts(self) -> dict[str, int]:
        """Assets and connections."""
        self._store.process_due()
        connections = self._store.connections
        return {"assets": self._store.count_assets(PROJECT), "connections": len(connections)}

    def _row(self, connection: Connection, task: Any) -> JobRow:
        status = "running" if task in connection.running else "finished"
        href = f"/{self.name}/label/projects/{connection.project_id}/"
        return JobRow(
            connection.id, f"{task.kind.lower()} {status}", len(task.paths or ()), "", task.requested_at, href
        )

    # The endpoint

    async def _graphql(self, request: Request) -> Response:
        """A wrong key is rejected before the query is read; the form of that error is a guess."""
        if not _authorised(request):
            return _error_response(401, "UNAUTHENTICATED", "Unauthorized: invalid API key")
        try:
            body = await request.body()
            query = json.loads(gzip.decompress(body) if request.headers.get("content-encoding") == "gzip" else body)
        except (ValueError, OSError):
            return _error_response(400, "BAD_REQUEST", "The body is not JSON")
        resolvers = self._resolvers.by_name(f"{request.url.scheme}://{request.url.netloc}")
        try:
            status, content = kili_schema.execute(query, resolvers, legacy=self.context.settings.legacy_schema)
        except ImportError:
            return PlainTextResponse(MISSING, 501)
        return Json(content, status)

    async def _version(self, request: Request) -> Response:
        """The vendor's client caches the schema by version, so the legacy schema has another version."""
        if not _authorised(request):
            return _error_response(401, "UNAUTHENTICATED", "Unauthorized: invalid API key")
        return Json({"version": VERSION + ("-old" if self.context.settings.legacy_schema else "")})

    async def _not_found(self, _request: Request) -> Response:
        return PlainTextResponse("Not Found", 404)

    # Other endpoints

    async def _blobs(self, request: Request) -> Response:
        container = self._store.integrations.get(request.path_params["container"])
        files = container.bucket.files() if container and container.id == AZURE else None
        return list_blobs(request.query_params, files, self.context.settings.page_size)

    async def _project(self, request: Request) -> Response:
        if request.path_params["project_id"] != PROJECT:
            return PlainTextResponse("Project not found. A restart of the sandbox removes all data.", 404)
        self._store.process_due()
        now, parts = self._store.now, [paragraph(f"{self._store.count_assets(PROJECT)} assets")]
        for each in self._store.connections.values():
            parts += [
                heading(f"{each.integration.name}, connection {each.id}"),
                paragraph(f"{each.status(now)}, {len(each.to_add)} to add, {len(each.to_remove)} to remove"),
                table((f"Asset ({len(each.assets)} in all)",), ([path] for path in each.assets[:MAX_ROWS])),
            ]
        return document("Project Pictures", parts, refresh=2)


def _authorised(request: Request) -> bool:
    """The literal header that the client sends (kili: graphql_client.py)."""
    return request.headers.get("authorization") == f"X-API-Key: {API_KEY}"


def _error_response(status: int, code: str, message: str) -> Response:
    return Json({"errors": [{"message": message, "extensions": {"code": code}}], "data": None}, status)
