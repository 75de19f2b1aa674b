"""Kili, pretended: the GraphQL endpoint with its checks, buckets that are folders, and a page for a project.

What goes over the wire is from the vendor's client (kili 26.2.4); what it does not say is marked as a guess.
"""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

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
MISSING = "The pretended Kili needs graphql-core: pip install 'airflow-provider-sluice[sandbox]'"
SHOWN = 200


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
        """What it holds now; a reset makes another."""
        self._store.settle()
        return self._store

    def reset(self) -> None:
        """Full buckets, an empty project."""
        self._store.close()
        self._store = Store(self.context, self._make_bucket)
        self._resolvers = Resolvers(self.context, self._store, API_KEY, SAS)
        self.context.request_log.secrets |= {API_KEY, SAS, SIGNATURE}

    def credentials(self) -> dict[str, str]:
        """And where to use them."""
        return {"api_key": API_KEY, "project_id": PROJECT, "integration_id": INTEGRATION, "connection_id": CONNECTION}

    def connection(self, address: Address) -> tuple[str, dict[str, Any]]:
        """The endpoint goes into the host; the port is a field of its own."""
        host = f"http://{address.host}/{self.name}{API}/graphql"
        return "kili_default", {"conn_type": "kili", "host": host, "port": address.port, "password": API_KEY}

    def routes(self) -> list[Route]:
        """The endpoint, the version beside it, Azure's blobs, and the project's page."""
        return [
            Route(f"{API}/graphql", self._graphql, methods=["POST"]),
            Route(f"{API}/version", self._version, methods=["GET"]),
            Route("/azure/account/{container}", self._blobs, methods=["GET"]),
            Route("/label/projects/{project_id}/", self._project, methods=["GET"]),
            Route("/{rest:path}", self._nothing_here, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        ]

    def rate_limited_response(self, seconds: int) -> Response:
        """A plain 429 before anything was read."""
        return PlainTextResponse("Too many requests", 429, {"Retry-After": str(seconds)})

    def state(self, *, with_records: bool = True) -> dict[str, Any]:
        """What to use, where the buckets are, and what came of it."""
        return self._store.to_json(with_records=with_records)

    def jobs(self) -> list[JobRow]:
        """Everything that was asked of the connections."""
        self._store.settle()
        rows = [self._row(each, task) for each in self._store.connections.values() for task in each.history]
        return sorted(rows, key=lambda row: -row.created_at)

    def counts(self) -> dict[str, int]:
        """By kind."""
        self._store.settle()
        connections = self._store.connections
        return {"assets": self._store.count_assets(PROJECT), "connections": len(connections)}

    def _row(self, connection: Connection, task: Any) -> JobRow:
        status = "running" if task in connection.running else "over"
        href = f"/{self.name}/label/projects/{connection.project_id}/"
        return JobRow(connection.id, f"{task.kind.lower()} {status}", len(task.paths or ()), "", task.asked_at, href)

    # The endpoint

    async def _graphql(self, request: Request) -> Response:
        """A wrong key is refused before the question is read; how exactly is a guess."""
        if not _authorised(request):
            return _refusal(401, "UNAUTHENTICATED", "Unauthorized: invalid API key")
        try:
            body = await request.body()
            question = json.loads(gzip.decompress(body) if request.headers.get("content-encoding") == "gzip" else body)
        except (ValueError, OSError):
            return _refusal(400, "BAD_REQUEST", "The body is not JSON")
        resolvers = self._resolvers.by_name(f"{request.url.scheme}://{request.url.netloc}")
        try:
            status, answer = kili_schema.answer(question, resolvers, old=self.context.settings.legacy_schema)
        except ImportError:
            return PlainTextResponse(MISSING, 501)
        return Json(answer, status)

    async def _version(self, request: Request) -> Response:
        """Names the schema in the vendor's cache, so another schema has another version."""
        if not _authorised(request):
            return _refusal(401, "UNAUTHENTICATED", "Unauthorized: invalid API key")
        return Json({"version": VERSION + ("-old" if self.context.settings.legacy_schema else "")})

    async def _nothing_here(self, _request: Request) -> Response:
        return PlainTextResponse("Not Found", 404)

    # Beside it

    async def _blobs(self, request: Request) -> Response:
        container = self._store.integrations.get(request.path_params["container"])
        files = container.bucket.files() if container and container.id == AZURE else None
        return list_blobs(request.query_params, files, self.context.settings.page_size)

    async def _project(self, request: Request) -> Response:
        if request.path_params["project_id"] != PROJECT:
            return PlainTextResponse("There is no such project. Was the sandbox started anew?", 404)
        self._store.settle()
        now, parts = self._store.now, [paragraph(f"{self._store.count_assets(PROJECT)} assets")]
        for each in self._store.connections.values():
            parts += [
                heading(f"{each.integration.name}, connection {each.id}"),
                paragraph(f"{each.status(now)}, {len(each.to_add)} to add, {len(each.to_remove)} to remove"),
                table((f"Asset ({len(each.assets)} in all)",), ([path] for path in each.assets[:SHOWN])),
            ]
        return document("Project Pictures", parts, refresh=2)


def _authorised(request: Request) -> bool:
    """Literally so (kili: graphql_client.py)."""
    return request.headers.get("authorization") == f"X-API-Key: {API_KEY}"


def _refusal(status: int, code: str, message: str) -> Response:
    return Json({"errors": [{"message": message, "extensions": {"code": code}}], "data": None}, status)
