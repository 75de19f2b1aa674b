"""Mock of Liquid Decisions: tokens, batch import, export, status and cancel, and downloads of exported files.

The wire format follows the wiki of LiquidAnalytics/ld-api-examples (pages "Batch Import and Export", "Obtaining a
Token", "Upsert API") and its scripts; what they do not document is marked as a guess.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import parse_qsl

from starlette.datastructures import UploadFile
from starlette.responses import Response
from starlette.routing import Route

from sluice_sandbox.liquid_decisions.files import InvalidFile, query, read_csv, read_filters, read_json
from sluice_sandbox.liquid_decisions.store import Job, Store, flag
from sluice_sandbox.oauth import Tokens
from sluice_sandbox.service import ErrorResponse, JobRow, Json, MockService

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.datastructures import FormData
    from starlette.requests import Request

    from sluice_sandbox.service import Address

CREDENTIALS = {
    "client_id": "sluice-sandbox",
    "client_secret": "liquid-decisions-client-secret",
    "username": "sluice@example.com",
    "password": "liquid-decisions-sandbox-password",
    "community": "Sluice",
}
TEXT = ("plain/text", "text/plain", "text/csv")
JSON = "application/json"


class LiquidDecisions(MockService):
    """One community with two accounts."""

    name = "liquid_decisions"
    title = "Liquid Decisions"

    @property
    def store(self) -> Store:
        """The current data; a reset replaces the store."""
        self._store.process_due()
        return self._store

    def reset(self) -> None:
        """The initial items; all tokens become invalid."""
        self._tokens = Tokens(self.context)
        self._store = Store(self.context)

    def credentials(self) -> dict[str, str]:
        """For the password grant."""
        return dict(CREDENTIALS)

    def connection(self, address: Address) -> tuple[str, dict[str, Any]]:
        """The host contains the path of the base URL; the port is a separate field. Links to results lead to the other
        name of the sandbox with the setting `export_links` as `other_host`."""
        extra = {name: CREDENTIALS[name] for name in ("community", "client_id", "client_secret")}
        extra["result_hosts"] = "localhost, 127.0.0.1"
        return "liquid_decisions_default", {
            "conn_type": "liquid_decisions",
            "host": f"http://{address.host}/{self.path}",
            "port": address.port,
            "login": CREDENTIALS["username"],
            "password": CREDENTIALS["password"],
            "extra": extra,
        }

    def routes(self) -> list[Route]:
        """The last one answers 404 in JSON. The bodies of all errors are guesses."""
        return [
            Route("/ls/api/oauth2/token", self._token, methods=["POST"]),
            self._route("GET", "/ls/api/oauth2/validate", self._validate),
            self._route("POST", "/ls/api/oauth2/tokenInfo", self._token_info),
            self._route("POST", "/ls/api/batch/import", self._import),
            self._route("POST", "/ls/api/batch/export", self._export),
            self._route("POST", "/ls/api/batch/status", self._status),
            self._route("POST", "/ls/api/batch/cancel", self._cancel),
            self._route("GET", "/ls/api/batch/download/{token}/{name}", self._download),
            Route("/storage/{token}/{name}", self._storage, methods=["GET"]),
            Route("/{rest:path}", self._not_found, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        ]

    def rate_limited_response(self, seconds: int) -> Response:
        """A guess: no rate limit is documented."""
        return _error_response(429, "too_many_requests", "Too many requests", {"Retry-After": str(seconds)})

    def state(self, *, with_records: bool = True) -> dict[str, Any]:
        """Jobs with their form fields and current status, items, and notification e-mails (not sent)."""
        self._store.process_due()
        state: dict[str, Any] = {
            "jobs": [self._job_state(job) for job in self._store.jobs.values()],
            "emails": self._store.emails,
            "items_count": {kind: len(items) for kind, items in self._store.items.items()},
        }
        if with_records:
            state["items"] = {
                kind: [{**item.data, "__arrivals": item.arrivals} for item in items.values()]
                for kind, items in self._store.items.items()
            }
        return state

    def jobs(self) -> list[JobRow]:
        """Imports and exports."""
        self._store.process_due()
        now = self.context.clock.now()
        return [
            JobRow(
                job.id, job.status(now), job.processed(now), f"{job.kind} {job.fields.get('jobName')}", job.created_at
            )
            for job in reversed(self._store.jobs.values())
        ]

    def counts(self) -> dict[str, int]:
        """Items by type."""
        self._store.process_due()
        return {f"items of type {kind}": len(items) for kind, items in self._store.items.items()}

    def _job_state(self, job: Job) -> dict[str, Any]:
        response = self._store.status_json(job)
        return {
            "id": job.id,
            "kind": job.kind,
            "status": response["status"],
            "fields": job.fields,
            "files": job.files,
            "response": response,
        }

    # Authentication

    async def _token(self, request: Request) -> Response:
        """The wiki's password grant. Client id and secret are optional, as the wiki's Java example omits them."""
        form = dict(parse_qsl((await request.body()).decode(errors="replace"), keep_blank_values=True))
        if form.get("grant_type") != "password":
            return _error_response(400, "unsupported_grant_type", "grant_type must be password")
        for name in ("client_id", "client_secret"):
            if form.get(name, CREDENTIALS[name]) != CREDENTIALS[name]:
                return _error_response(401, "invalid_client", "Client authentication failed")
        if any(form.get(name) != CREDENTIALS[name] for name in ("username", "password")):
            return _error_response(400, "invalid_grant", "The user id or password is wrong")
        scope = dict(part.partition("=")[::2] for part in form.get("scope", "").split())
        if scope.get("community") != CREDENTIALS["community"]:
            return _error_response(400, "invalid_scope", "The scope does not contain a community of this user")
        return Json({"access_token": self._tokens.grant().access_token, "token_type": "bearer"})

    def _route(self, method: str, path: str, handler: Callable[[Request, FormData], Any]) -> Route:
        """A route that needs a token; the handler returns a response, or content that is sent as JSON."""

        async def endpoint(request: Request) -> Response:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not self._tokens.is_valid(token):
                return _error_response(401, "invalid_token", "The access token is missing, invalid or expired")
            if int(request.headers.get("content-length", 0)) > self.context.settings.max_upload_bytes:
                return _error_response(413, "too_large", "The request is over the size limit")
            self._store.process_due()
            async with request.form() as form:
                content = handler(request, form)
            return content if isinstance(content, Response) else Json(content)

        return Route(path, endpoint, methods=[method])

    async def _not_found(self, request: Request) -> Response:
        return _error_response(404, "not_found", f"There is no {request.url.path}")

    def _validate(self, _request: Request, _form: FormData) -> Any:
        """The token was already checked."""
        return {"valid": True}

    def _token_info(self, _request: Request, _form: FormData) -> Any:
        user = CREDENTIALS["username"]
        return {"userId": user, "authenticatedUserId": user, "community": CREDENTIALS["community"]}

    # Import and export

    def _import(self, request: Request, form: FormData) -> Any:
        """multipart/form-data. An invalid file is found at once, and the job is rejected."""
        job = self._job("import", request, form, "jobName", "itemType", "contentType")
        file, template = form.get("file"), form.get("template")
        if not isinstance(file, UploadFile):
            _abort("file is missing")
        job.files = {name: _part_json(part) for name, part in form.items() if isinstance(part, UploadFile)}
        try:
            job.rows = _rows(job, file.file.read(), _template_content(template))
        except InvalidFile as error:
            job.rejected = str(error)
        return self._store.status_json(self._store.start(job))

    def _export(self, request: Request, form: FormData) -> Any:
        """Form-encoded. The query is run once for validation, so that an invalid one is rejected at once."""
        job = self._job("export", request, form, "jobName", "itemType", "contentType")
        try:
            if job.item_type not in self._store.items:
                raise InvalidFile(f"There is no item type {job.item_type}")
            if job.fields["contentType"] not in (JSON, *TEXT):
                raise InvalidFile(f"The content type {job.fields['contentType']} is not known")
            job.files = {"filters": read_filters(job.fields.get("filters", ""))}
            if job.fields.get("sqlQuery"):
                query(
                    job.fields["sqlQuery"],
                    job.item_type,
                    [item.data for item in self._store.items[job.item_type].values()],
                )
        except InvalidFile as error:
            job.rejected = str(error)
        return self._store.status_json(self._store.start(job))

    def _job(self, kind: str, request: Request, form: FormData, *required: str) -> Job:
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        for name in required:
            if not fields.get(name):
                _abort(f"{name} is missing")
        settings = self.context.settings
        home = f"{request.url.scheme}://{request.url.netloc}/{self.path}"
        other = (
            home.replace("127.0.0.1", "localhost") if "127.0.0.1" in home else home.replace("localhost", "127.0.0.1")
        )
        base, new_id = (home, other), self.context.ids.uuid()
        return Job(kind, fields, self.context.clock.now(), settings.job_seconds, base=base, id=new_id)

    # Status and cancelling

    def _status(self, _request: Request, form: FormData) -> Any:
        """A status poll: the clock advances by `advance_per_poll`."""
        self.context.clock.on_poll()
        self._store.process_due()
        return self._store.status_json(self._find_job(form))

    def _cancel(self, _request: Request, form: FormData) -> Any:
        """No effect on a finished job. The response is a guess: the status."""
        job, now = self._find_job(form), self.context.clock.now()
        if now < job.ends_at and job.cancel_requested_at is None:
            job.cancel_requested_at = now
        return self._store.status_json(job)

    def _find_job(self, form: FormData) -> Job:
        job = self._store.jobs.get(str(form.get("jobId", "")))
        if job is None:
            raise ErrorResponse(_error_response(404, "not_found", "There is no such job"))
        return job

    # Downloads

    def _download(self, request: Request, _form: FormData) -> Any:
        return self._file_response(request, signature=None)

    async def _storage(self, request: Request) -> Response:
        """Like an object store: authorised by the signature in the link, and no other authorisation is accepted."""
        if "authorization" in request.headers:
            return _error_response(400, "InvalidArgument", "Only one auth mechanism allowed")
        return self._file_response(request, signature=request.query_params.get("signature", ""))

    def _file_response(self, request: Request, signature: str | None) -> Response:
        stored = self._store.files.get(request.path_params["token"])
        if stored is None or (signature is not None and signature != stored.signature):
            return _error_response(403, "AccessDenied", "Access denied")
        if self.context.clock.now() >= stored.expires_at:
            return _error_response(410, "expired", "This link has expired")
        return Response(stored.content, media_type=JSON if stored.kind == "json" else "text/csv")


def _rows(job: Job, content: bytes, template: bytes | None) -> list[tuple[str, dict[str, Any]]]:
    if not content:
        raise InvalidFile("The file is empty")
    kind = job.fields["contentType"]
    if kind == JSON:
        return read_json(content, job.item_type)
    if kind not in TEXT:
        raise InvalidFile(f"The content type {kind} is not known")
    return read_csv(content, template, header_row=flag(job.fields, "headerRow", "rowHeader"))


def _template_content(part: object) -> bytes | None:
    """The template is a file in the published script, and a plain field in the wiki's table."""
    if isinstance(part, UploadFile):
        return part.file.read()
    return part.encode() if isinstance(part, str) and part else None


def _part_json(part: UploadFile) -> dict[str, Any]:
    headers: Mapping[str, str] = part.headers
    return {"filename": part.filename, "size": part.size, "headers": dict(headers)}


def _error_response(status: int, code: str, description: str, headers: dict[str, str] | None = None) -> Response:
    """An error in the format of the token endpoint (RFC 6749, section 5.2)."""
    return Json({"error": code, "error_description": description}, status, headers)


def _abort(description: str) -> NoReturn:
    raise ErrorResponse(_error_response(400, "invalid_request", description))
