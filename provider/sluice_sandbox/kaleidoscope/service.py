"""Mock of Kaleidoscope: tokens, pushes, imports, registration, and the listings that clients need for them.

The wire format follows the kalbio package (0.2.0 to 0.7.0); what it does not show is marked as a guess.
"""

from __future__ import annotations

from dataclasses import asdict
from hmac import compare_digest
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from starlette.responses import Response
from starlette.routing import Route

from sluice_sandbox.kaleidoscope import control, web
from sluice_sandbox.kaleidoscope.files import file_response
from sluice_sandbox.kaleidoscope.paths import PATHS, UPLOADS
from sluice_sandbox.kaleidoscope.reads import Reads, import_json, state_of, submitted_json
from sluice_sandbox.kaleidoscope.store import OPERATION, PROGRAM, RECORD_VIEW, SOURCE, Import
from sluice_sandbox.kaleidoscope.validation import abort, check_push, check_size, error, not_found
from sluice_sandbox.kaleidoscope.workspace import ApiRequest, Workspace
from sluice_sandbox.oauth import Tokens
from sluice_sandbox.service import JobRow, Json, MockService

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request

    from sluice_sandbox.context import Context
    from sluice_sandbox.oauth import TokenPair
    from sluice_sandbox.service import Address

CLIENT_ID = "sluice-sandbox"
CLIENT_SECRET = "kaleidoscope-sandbox-secret"


class Kaleidoscope(MockService):
    """One workspace with one program, operation, source and record view."""

    name = "kaleidoscope"
    title = "Kaleidoscope"

    def __init__(self, context: Context) -> None:
        self._workspace = Workspace(context)
        super().__init__(context)

    @property
    def workspace(self) -> Workspace:
        """The current workspace; a reset replaces it."""
        self._workspace.process_due()
        return self._workspace

    def reset(self) -> None:
        """A new workspace; all tokens become invalid, pending webhooks are cancelled."""
        self._workspace.webhooks.close()
        self._tokens = Tokens(self.context)
        self._workspace = Workspace(self.context)
        self._store = self._workspace.store
        self._reads = Reads(self._workspace)

    def credentials(self) -> dict[str, str]:
        """For the client_credentials grant."""
        return {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}

    def connection(self, address: Address) -> tuple[str, dict[str, Any]]:
        """The host contains the path of the base URL; the port is a separate field."""
        return "kaleidoscope_default", {
            "conn_type": "kaleidoscope",
            "host": f"http://{address.host}/{self.name}",
            "port": address.port,
            "login": CLIENT_ID,
            "password": CLIENT_SECRET,
            "extra": {"web_url": f"{address.url}/{self.name}/web"},
        }

    def routes(self) -> list[Route]:
        """The order matters: by-field-id is not the id of a source."""
        return [
            Route("/auth/oauth/token", self._token, methods=["POST"]),
            self._route("POST", "/push/imports", self._push),
            self._route("POST", "/push/imports/by-field-id", self._push_by_field_id),
            self._route("POST", "/push/imports/{source_id}", self._push),
            self._route("GET", "/imports", self._imports),
            self._route("GET", "/imports/{import_id}", self._one_import),
            *(self._route("GET", path, self._listing(path)) for path in self._reads.listings),
            *(self._route(method, path, self._with_workspace(handler)) for method, path, handler in PATHS),
            self._route("GET", "/records/{record_id}", self._one_record),
            Route("/download/{file_id}", self._download, methods=["GET"]),
            *web.routes(lambda: self._workspace),
            Route("/{rest:path}", self._not_found, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        ]

    def control_routes(self) -> list[Route]:
        """Actions of a user in the web interface."""
        return control.routes(lambda: self._workspace, self.name)

    def rate_limited_response(self, seconds: int) -> Response:
        """The response of @fastify/rate-limit; whether Kaleidoscope has a rate limit is not documented."""
        response = error(429, "FST_ERR_RATE_LIMIT", f"Rate limit exceeded, retry in {seconds} seconds")
        response.headers["Retry-After"] = str(seconds)
        return response

    def state(self, *, with_records: bool = True) -> dict[str, Any]:
        """Ids, fields, imports, records, files, drafts, registrations and webhooks."""
        self._workspace.process_due()
        imports = ({**self._import_json(job), **submitted_json(job)} for job in self._store.imports.values())
        return {**state_of(self._store, imports, with_records=with_records), **self._workspace.state()}

    def jobs(self) -> list[JobRow]:
        """Imports, registrations and submissions."""
        self._workspace.process_due()
        return web.job_rows(self._workspace, f"/{self.name}/web")

    def counts(self) -> dict[str, int]:
        """Records by entity, and the other objects."""
        self._workspace.process_due()
        return self._reads.counts()

    # Authentication

    async def _token(self, request: Request) -> Response:
        """Form-encoded, as kalbio sends it; client id and secret come with the first grant only (kalbio: client.py)."""
        if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            abort(415, "FST_ERR_CTP_INVALID_MEDIA_TYPE", "Unsupported Media Type")
        form = dict(parse_qsl((await request.body()).decode(errors="replace"), keep_blank_values=True))
        grants = {"client_credentials": self._client_credentials, "refresh_token": self._refresh_token}
        if form.get("grant_type") not in grants:
            abort(400, "unsupported_grant_type", "grant_type must be client_credentials or refresh_token")
        return Json(asdict(grants[form["grant_type"]](form)))

    def _client_credentials(self, form: Mapping[str, str]) -> TokenPair:
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            abort(401, "invalid_client", "Client authentication failed")
        return self._tokens.grant()

    def _refresh_token(self, form: Mapping[str, str]) -> TokenPair:
        """A refresh token that is used twice revokes its family (kalbio 0.7.0: its refresh lock and test)."""
        pair = self._tokens.refresh(form.get("refresh_token", ""))
        return pair or abort(401, "invalid_grant", "Refresh token is invalid, expired or revoked")

    def _authorise(self, request: Request) -> None:
        """X-Kal-Authorization since kalbio 0.2.2, when Authorization became Google IAP's; before, Authorization."""
        header = request.headers.get("x-kal-authorization") or request.headers.get("authorization", "")
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not self._tokens.is_valid(token):
            abort(401, "UNAUTHORIZED", "Access token is missing, invalid or expired")

    def _route(self, method: str, path: str, handler: Callable[[ApiRequest], Any]) -> Route:
        """A route that needs a token; the size of the body is checked first."""

        async def endpoint(request: Request) -> Response:
            body = await request.body()
            if path not in UPLOADS:
                check_size(body, self.context.settings.max_body_bytes)
            self._authorise(request)
            self._workspace.process_due()
            root = f"{request.base_url}{self.name}"
            content_type = request.headers.get("content-type", "")
            content = handler(ApiRequest(request.path_params, request.query_params, content_type, body, root))
            return content if isinstance(content, Response) else Json(content)

        return Route(path, endpoint, methods=[method])

    def _with_workspace(self, handler: Callable[[Workspace, ApiRequest], Any]) -> Callable[[ApiRequest], Any]:
        # Looked up at each request, as a reset replaces the workspace.
        return lambda request: handler(self._workspace, request)

    async def _download(self, request: Request) -> Response:
        """Download by link, without a token, as from the links in webhooks."""
        file = self._workspace.files.by_id.get(request.path_params["file_id"])
        if file is None or not compare_digest(request.query_params.get("signature", ""), file.signature):
            abort(403, "FORBIDDEN", "Invalid link")
        return file_response(file)

    async def _not_found(self, request: Request) -> Response:
        """Fastify's 404, which it also returns for a wrong method."""
        return error(404, "FST_ERR_NOT_FOUND", f"Route {request.method}:/{request.path_params['rest']} not found")

    # Push

    def _push(self, request: ApiRequest) -> dict[str, str]:
        """Push by field name. record_view_ids, which the oldest clients always send, is ignored, as by the server."""
        content = request.json()
        check_push(content, by_field_id=False)
        source_id = request.path.get("source_id")
        if source_id not in (None, SOURCE) and not self.context.settings.accept_any_source:
            not_found("Source", source_id)
        self._check_keys(content["key_field_names"])
        views = [content["record_view_id"]] if "record_view_id" in content else []
        self._check_views(content.get("add_fields_to_record_view_ids", []))
        return self._start_import(content, content["key_field_names"], content["data"], views, source_id=source_id)

    def _push_by_field_id(self, request: ApiRequest) -> dict[str, str]:
        """Push by field id. Here record_view_ids is used (kalbio 0.7.0: imports.py)."""
        content = request.json()
        check_push(content, by_field_id=True)
        keys = self._store.fields.names(keys=True)
        for field_id in content["key_field_ids"]:
            if field_id not in keys:
                abort(422, "UNKNOWN_KEY_FIELD", f"Unknown key field: {field_id}")
        names = {**self._store.fields.names(keys=False), **{each: keys[each] for each in content["key_field_ids"]}}
        rows = [_by_field_name(row, names) for row in content["data"]]
        key_fields = [keys[field_id] for field_id in content["key_field_ids"]]
        return self._start_import(content, key_fields, rows, content.get("record_view_ids", []), by_field_id=True)

    def _start_import(
        self,
        content: Mapping[str, Any],
        key_fields: list[str],
        rows: list[dict[str, Any]],
        views: list[str],
        **more: Any,
    ) -> dict[str, str]:
        for name, known in (("program_id", PROGRAM), ("operation_id", OPERATION)):
            if content.get(name, known) != known:
                not_found(name.removesuffix("_id").capitalize(), content[name])
        self._check_views(views)
        given: dict[str, Any] = {name: content.get(name) for name in ("program_id", "operation_id", "set_name")}
        now, seconds = self.context.clock.now(), self.context.settings.job_seconds
        job = Import(key_fields, rows, now, seconds, record_view_ids=views, id=self.context.ids.uuid(), **given, **more)
        return {"import_id": self._store.start(job).id}

    def _check_keys(self, names: list[str]) -> None:
        for name in names:
            if self.context.settings.create_unknown_key_fields:
                self._store.fields.add_key(name, self.context.clock.now())
            elif name not in self._store.fields.keys:
                abort(422, "UNKNOWN_KEY_FIELD", f"Unknown key field: {name}")

    def _check_views(self, views: list[str]) -> None:
        for view in views:
            if view != RECORD_VIEW:
                not_found("Record view", view)

    # Reads

    def _imports(self, request: ApiRequest) -> list[dict[str, Any]]:
        """A JSON list, newest first. The first page number and the page size are not documented: settings."""
        settings = self.context.settings
        page = _int_parameter(request.query, "page", settings.first_page_number, minimum=settings.first_page_number)
        size = min(_int_parameter(request.query, "page_size", settings.page_size, minimum=1), settings.page_size)
        complete = _FLAGS.get(request.query.get("is_complete", ""))
        if complete is None and "is_complete" in request.query:
            abort(400, "FST_ERR_VALIDATION", "querystring/is_complete Invalid input: expected 0 or 1")
        found = [job for job in reversed(self._store.imports.values()) if complete in (None, job.done)]
        start = (page - settings.first_page_number) * size
        return [self._import_json(job) for job in found[start : start + size]]

    def _one_import(self, request: ApiRequest) -> dict[str, Any]:
        """A status poll: the clock advances by `advance_per_poll`."""
        self._workspace.on_poll()
        job = self._store.imports.get(request.path["import_id"])
        if job is None or self.context.settings.imports_not_found:
            not_found("Import", request.path["import_id"])
        return self._import_json(job)

    def _one_record(self, request: ApiRequest) -> dict[str, Any]:
        return self._reads.record(request.path["record_id"]) or not_found("Record", request.path["record_id"])

    def _listing(self, path: str) -> Callable[[ApiRequest], Any]:
        # Looked up at each request, as a reset replaces it.
        return lambda request: self._reads.listings[path](request.query)

    def _import_json(self, job: Import) -> dict[str, Any]:
        return import_json(job, self.context.clock.now(), self.context.settings.running_import_status)


_FLAGS = {"0": False, "1": True}  # as kalbio sends is_complete


def _int_parameter(query: Mapping[str, str], name: str, default: int, *, minimum: int) -> int:
    text = query.get(name, str(default))
    if not text.isascii() or not text.isdigit() or int(text) < minimum:
        abort(400, "FST_ERR_VALIDATION", f"querystring/{name} Invalid input: expected a whole number from {minimum}")
    return int(text)


def _by_field_name(row: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    unknown = next((field_id for field_id in row if field_id not in names), None)
    if unknown is not None:
        abort(422, "UNKNOWN_FIELD", f"Unknown field: {unknown}")
    return {names[field_id]: value for field_id, value in row.items()}
