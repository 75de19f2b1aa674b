"""Kaleidoscope, pretended: tokens, pushes, imports, registration, and enough of the rest for a client to look around.

Everything about the wire is from the kalbio package (0.2.0 to 0.7.0); what it does not say is marked as a guess.
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
from sluice_sandbox.kaleidoscope.reads import Reads, asked_json, import_json, state_of
from sluice_sandbox.kaleidoscope.store import OPERATION, PROGRAM, RECORD_VIEW, SOURCE, Import
from sluice_sandbox.kaleidoscope.validation import check_push, check_size, error, refuse, unknown
from sluice_sandbox.kaleidoscope.workspace import Ask, Workspace
from sluice_sandbox.oauth import Tokens
from sluice_sandbox.service import JobRow, Json, MockService

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request

    from sluice_sandbox.context import Context
    from sluice_sandbox.oauth import Pair
    from sluice_sandbox.service import Address

CLIENT_ID = "sluice-sandbox"
CLIENT_SECRET = "kaleidoscope-sandbox-secret"


class Kaleidoscope(MockService):
    """One workspace with one program, operation, source and record view."""

    name = "kaleidoscope"
    title = "Kaleidoscope"

    def __init__(self, context: Context) -> None:
        self._here = Workspace(context)
        super().__init__(context)

    @property
    def workspace(self) -> Workspace:
        """What it holds now; a reset makes another."""
        self._here.settle()
        return self._here

    def reset(self) -> None:
        """A new workspace, and no token is good any more; of the old one nothing is sent from now on."""
        self._here.webhooks.end()
        self._tokens = Tokens(self.context)
        self._here = Workspace(self.context)
        self._store = self._here.store
        self._look = Reads(self._here)

    def credentials(self) -> dict[str, str]:
        """For the client_credentials grant."""
        return {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}

    def connection(self, address: Address) -> tuple[str, dict[str, Any]]:
        """The base URL has a path, which goes into the host; the port is a field of its own."""
        return "kaleidoscope_default", {
            "conn_type": "kaleidoscope",
            "host": f"http://{address.host}/{self.name}",
            "port": address.port,
            "login": CLIENT_ID,
            "password": CLIENT_SECRET,
            "extra": {"web_url": f"{address.url}/{self.name}/web"},
        }

    def routes(self) -> list[Route]:
        """In this order: by-field-id is not the id of a source."""
        return [
            Route("/auth/oauth/token", self._token, methods=["POST"]),
            self._route("POST", "/push/imports", self._push),
            self._route("POST", "/push/imports/by-field-id", self._push_by_field_id),
            self._route("POST", "/push/imports/{source_id}", self._push),
            self._route("GET", "/imports", self._imports),
            self._route("GET", "/imports/{import_id}", self._one_import),
            *(self._route("GET", path, self._listing(path)) for path in self._look.listings),
            *(self._route(method, path, self._at(handler)) for method, path, handler in PATHS),
            self._route("GET", "/records/{record_id}", self._one_record),
            Route("/download/{file_id}", self._download, methods=["GET"]),
            *web.routes(lambda: self._here),
            Route("/{rest:path}", self._nothing_here, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        ]

    def control_routes(self) -> list[Route]:
        """Ways to make things happen that in the real one a person does."""
        return control.routes(lambda: self._here, self.name)

    def rate_limited_response(self, seconds: int) -> Response:
        """As @fastify/rate-limit says it; whether Kaleidoscope limits at all is not documented."""
        response = error(429, "FST_ERR_RATE_LIMIT", f"Rate limit exceeded, retry in {seconds} seconds")
        response.headers["Retry-After"] = str(seconds)
        return response

    def state(self, *, with_records: bool = True) -> dict[str, Any]:
        """Ids to push to, and all that was pushed."""
        self._here.settle()
        imports = ({**self._json(job), **asked_json(job)} for job in self._store.imports.values())
        return {**state_of(self._store, imports, with_records=with_records), **self._here.state()}

    def jobs(self) -> list[JobRow]:
        """The imports, and what the registrar is asked for."""
        self._here.settle()
        return web.job_rows(self._here, f"/{self.name}/web")

    def counts(self) -> dict[str, int]:
        """By entity."""
        self._here.settle()
        return self._look.counts()

    # Getting in

    async def _token(self, request: Request) -> Response:
        """Form-encoded, as kalbio sends it; client id and secret come with the first grant only (kalbio: client.py)."""
        if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            refuse(415, "FST_ERR_CTP_INVALID_MEDIA_TYPE", "Unsupported Media Type")
        form = dict(parse_qsl((await request.body()).decode(errors="replace"), keep_blank_values=True))
        grants = {"client_credentials": self._first, "refresh_token": self._next}
        if form.get("grant_type") not in grants:
            refuse(400, "unsupported_grant_type", "grant_type must be client_credentials or refresh_token")
        return Json(asdict(grants[form["grant_type"]](form)))

    def _first(self, form: Mapping[str, str]) -> Pair:
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            refuse(401, "invalid_client", "Client authentication failed")
        return self._tokens.grant()

    def _next(self, form: Mapping[str, str]) -> Pair:
        """A refresh token seen twice revokes its family (kalbio 0.7.0: comment and test of the refresh lock)."""
        pair = self._tokens.refresh(form.get("refresh_token", ""))
        return pair or refuse(401, "invalid_grant", "Refresh token is invalid, expired or revoked")

    def _authorise(self, request: Request) -> None:
        """X-Kal-Authorization since kalbio 0.2.2, when Authorization became Google IAP's; before, Authorization."""
        header = request.headers.get("x-kal-authorization") or request.headers.get("authorization", "")
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not self._tokens.good(token):
            refuse(401, "UNAUTHORIZED", "Access token is missing, invalid or expired")

    def _route(self, method: str, path: str, handler: Callable[[Ask], Any]) -> Route:
        """A path behind the token; a body too large is refused before anybody looks at it."""

        async def endpoint(request: Request) -> Response:
            body = await request.body()
            if path not in UPLOADS:
                check_size(body, self.context.settings.max_body_bytes)
            self._authorise(request)
            self._here.settle()
            root = f"{request.base_url}{self.name}"
            ask = Ask(request.path_params, request.query_params, request.headers.get("content-type", ""), body, root)
            answer = handler(ask)
            return answer if isinstance(answer, Response) else Json(answer)

        return Route(path, endpoint, methods=[method])

    def _at(self, handler: Callable[[Workspace, Ask], Any]) -> Callable[[Ask], Any]:
        # Looked up when asked: a reset makes a new workspace.
        return lambda ask: handler(self._here, ask)

    async def _download(self, request: Request) -> Response:
        """Whoever has the link gets the file, without a token: so it is with links that are sent out in webhooks."""
        file = self._here.files.by_id.get(request.path_params["file_id"])
        if file is None or not compare_digest(request.query_params.get("signature", ""), file.signature):
            refuse(403, "FORBIDDEN", "The link is not good")
        return file_response(file)

    async def _nothing_here(self, request: Request) -> Response:
        """Fastify's own 404, which it also gives for a wrong method."""
        return error(404, "FST_ERR_NOT_FOUND", f"Route {request.method}:/{request.path_params['rest']} not found")

    # Pushing

    def _push(self, ask: Ask) -> dict[str, str]:
        """By field name. record_view_ids, which the oldest clients always send, is ignored, as the server does."""
        content = ask.json()
        check_push(content, by_field_id=False)
        source_id = ask.path.get("source_id")
        if source_id not in (None, SOURCE) and not self.context.settings.accept_any_source:
            unknown("Source", source_id)
        self._check_keys(content["key_field_names"])
        views = [content["record_view_id"]] if "record_view_id" in content else []
        self._check_views(content.get("add_fields_to_record_view_ids", []))
        return self._take_on(content, content["key_field_names"], content["data"], views, source_id=source_id)

    def _push_by_field_id(self, ask: Ask) -> dict[str, str]:
        """By field id. Here record_view_ids counts (kalbio 0.7.0: imports.py)."""
        content = ask.json()
        check_push(content, by_field_id=True)
        keys = self._store.fields.names(keys=True)
        for field_id in content["key_field_ids"]:
            if field_id not in keys:
                refuse(422, "UNKNOWN_KEY_FIELD", f"Unknown key field: {field_id}")
        names = {**self._store.fields.names(keys=False), **{each: keys[each] for each in content["key_field_ids"]}}
        rows = [_named(row, names) for row in content["data"]]
        key_fields = [keys[field_id] for field_id in content["key_field_ids"]]
        return self._take_on(content, key_fields, rows, content.get("record_view_ids", []), by_field_id=True)

    def _take_on(
        self,
        content: Mapping[str, Any],
        key_fields: list[str],
        rows: list[dict[str, Any]],
        views: list[str],
        **more: Any,
    ) -> dict[str, str]:
        for name, known in (("program_id", PROGRAM), ("operation_id", OPERATION)):
            if content.get(name, known) != known:
                unknown(name.removesuffix("_id").capitalize(), content[name])
        self._check_views(views)
        given: dict[str, Any] = {name: content.get(name) for name in ("program_id", "operation_id", "set_name")}
        now, seconds = self.context.clock.now(), self.context.settings.job_seconds
        job = Import(key_fields, rows, now, seconds, record_view_ids=views, id=self.context.ids.uuid(), **given, **more)
        return {"import_id": self._store.take_on(job).id}

    def _check_keys(self, names: list[str]) -> None:
        for name in names:
            if self.context.settings.create_unknown_key_fields:
                self._store.fields.add_key(name, self.context.clock.now())
            elif name not in self._store.fields.keys:
                refuse(422, "UNKNOWN_KEY_FIELD", f"Unknown key field: {name}")

    def _check_views(self, views: list[str]) -> None:
        for view in views:
            if view != RECORD_VIEW:
                unknown("Record view", view)

    # Looking

    def _imports(self, ask: Ask) -> list[dict[str, Any]]:
        """A bare list, newest first. Where pages start and how long they may be is not documented: settings."""
        settings = self.context.settings
        page = _number(ask.query, "page", settings.first_page_number, least=settings.first_page_number)
        size = min(_number(ask.query, "page_size", settings.page_size, least=1), settings.page_size)
        complete = _FLAGS.get(ask.query.get("is_complete", ""))
        if complete is None and "is_complete" in ask.query:
            refuse(400, "FST_ERR_VALIDATION", "querystring/is_complete Invalid input: expected 0 or 1")
        found = [job for job in reversed(self._store.imports.values()) if complete in (None, job.done)]
        start = (page - settings.first_page_number) * size
        return [self._json(job) for job in found[start : start + size]]

    def _one_import(self, ask: Ask) -> dict[str, Any]:
        """One look at one job: the clock may be set to move on at each."""
        self._here.look()
        job = self._store.imports.get(ask.path["import_id"])
        if job is None or self.context.settings.imports_not_found:
            unknown("Import", ask.path["import_id"])
        return self._json(job)

    def _one_record(self, ask: Ask) -> dict[str, Any]:
        return self._look.record(ask.path["record_id"]) or unknown("Record", ask.path["record_id"])

    def _listing(self, path: str) -> Callable[[Ask], Any]:
        # Looked up when asked: a reset makes a new Look.
        return lambda ask: self._look.listings[path](ask.query)

    def _json(self, job: Import) -> dict[str, Any]:
        return import_json(job, self.context.clock.now(), self.context.settings.running_import_status)


_FLAGS = {"0": False, "1": True}  # as kalbio sends is_complete


def _number(query: Mapping[str, str], name: str, default: int, *, least: int) -> int:
    text = query.get(name, str(default))
    if not text.isascii() or not text.isdigit() or int(text) < least:
        refuse(400, "FST_ERR_VALIDATION", f"querystring/{name} Invalid input: expected a whole number from {least}")
    return int(text)


def _named(row: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    unknown = next((field_id for field_id in row if field_id not in names), None)
    if unknown is not None:
        refuse(422, "UNKNOWN_FIELD", f"Unknown field: {unknown}")
    return {names[field_id]: value for field_id, value in row.items()}
