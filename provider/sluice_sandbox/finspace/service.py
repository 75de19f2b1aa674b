"""Mock of Amazon FinSpace's kdb changesets: eight operations with Signature Version 4, over folders on disk.

The wire format follows the service model of API version 2021-03-12, as in botocore up to 1.43.116, and the API
reference; what they do not document is marked as a guess. AWS ended the hosted service on 2026-10-07.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from starlette.routing import Route

from sluice_sandbox.finspace import validation as rules
from sluice_sandbox.finspace.files import BUCKET, Folders
from sluice_sandbox.finspace.signature import Key, SignatureError, SignedRequest, verify
from sluice_sandbox.finspace.store import ACCOUNT, COMPLETED, ENVIRONMENT, FAILED, RUNNING, Store
from sluice_sandbox.finspace.validation import abort, check_text, error
from sluice_sandbox.service import ErrorResponse, JobRow, Json, MockService

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from sluice_sandbox.context import Context
    from sluice_sandbox.finspace.store import Changeset, Database
    from sluice_sandbox.service import Address

REGION = "eu-west-1"
ACCESS_KEY = "AKIASLUICESANDBOX001"
SECRET_KEY = "finspace-sandbox-secret-key"
SESSION_KEY = "ASIASLUICESANDBOX002"
SESSION_SECRET = "finspace-sandbox-session-secret"
SESSION = "sluice-session-"  # followed by the time it was issued, in seconds; it is valid for `token_lifetime`
DATABASE = "markets"
PENDING = "PENDING"


class ApiRequest(NamedTuple):
    """An authenticated request, as handlers need it."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes


class FinSpace(MockService):
    """One environment with an empty database, and one bucket with sample data."""

    name = "finspace"
    title = "Amazon FinSpace"

    def __init__(self, context: Context, folders: Folders | None = None) -> None:
        self._folders = folders or Folders()
        super().__init__(context)

    @property
    def store(self) -> Store:
        """The current data; a reset replaces the store."""
        self._store.process_due()
        return self._store

    def reset(self) -> None:
        """An empty database, and the bucket with its sample data."""
        self._folders.clear()
        self._store = Store(self.context, self._folders)
        self._store.add_database(DATABASE)

    def credentials(self) -> dict[str, str]:
        """An access key, and the region of its signatures."""
        return {"region": REGION, "access_key": ACCESS_KEY, "secret_key": SECRET_KEY}

    def connection(self, address: Address) -> tuple[str, dict[str, Any]]:
        """A connection of Airflow's type `aws`, with the endpoint in `service_config`."""
        service_config = {"finspace": {"endpoint_url": f"{address.url}/{self.name}"}}
        return "aws_default", {
            "conn_type": "aws",
            "login": ACCESS_KEY,
            "password": SECRET_KEY,
            "extra": {"region_name": REGION, "service_config": service_config},
        }

    def routes(self) -> list[Route]:
        """The paths of the service model."""
        environment = "/kx/environments/{environmentId}"
        database = environment + "/databases/{databaseName}"
        return [
            self._route("GET", "/kx/environments", self._environments),
            self._route("GET", environment, self._one_environment),
            self._route("GET", environment + "/databases", self._databases),
            self._route("POST", environment + "/databases", self._create_database),
            self._route("GET", database, self._one_database),
            self._route("GET", database + "/changesets", self._changesets),
            self._route("POST", database + "/changesets", self._create_changeset),
            self._route("GET", database + "/changesets/{changesetId}", self._one_changeset),
            Route("/{rest:path}", self._not_found, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        ]

    def rate_limited_response(self, seconds: int) -> Response:
        """With Retry-After, which the service itself does not send but a gateway may."""
        response = error(429, "ThrottlingException", "Rate exceeded")
        response.headers["Retry-After"] = str(seconds)
        return self._with_request_id(response)

    def state(self, *, with_records: bool = True) -> dict[str, Any]:
        """The databases with their files, and all changesets, oldest first."""
        self._store.process_due()
        return {
            "environment_id": ENVIRONMENT,
            "bucket": BUCKET,
            "session": {"access_key": SESSION_KEY, "secret_key": SESSION_SECRET, "token": SESSION},
            "folder": str(self._store.folders.root),
            "databases": [
                {"name": each.name, "tree": self._files(each) if with_records else {}}
                for each in self._store.databases.values()
            ],
            "changesets": [
                {"id": each.id, "status": self._status(each), **self._changeset_json(each)}
                for each in self._store.changesets
            ],
        }

    def jobs(self) -> list[JobRow]:
        """The changesets."""
        self._store.process_due()
        return [
            JobRow(each.id, self._status(each), len(each.requests), _outcome(each), each.created)
            for each in reversed(self._store.changesets)
        ]

    def counts(self) -> dict[str, int]:
        """Databases, and files in all of them."""
        databases = self._store.databases.values()
        files = sum(len(self._files(each)) for each in databases)
        return {"environment": 1, "databases": len(databases), "files": files}

    # Authentication

    def _route(self, method: str, path: str, handler: Callable[[ApiRequest], Any]) -> Route:
        async def endpoint(request: Request) -> Response:
            body = await request.body()
            try:
                self._authorise(request, body)
                self._store.process_due()
                return self._with_request_id(Json(handler(ApiRequest(request.path_params, request.query_params, body))))
            except ErrorResponse as refused:
                return self._with_request_id(refused.response)

        return Route(path, endpoint, methods=[method])

    def _with_request_id(self, response: Response) -> Response:
        """Every response has a request id."""
        response.headers["x-amzn-requestid"] = self.context.ids.uuid()
        return response

    def _authorise(self, request: Request, body: bytes) -> None:
        """Checked against real time, with which clients sign; `clock_advance` does not apply."""
        scope = request.scope
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        query = scope["query_string"].decode("latin-1")
        signed_request = SignedRequest(request.method, scope["raw_path"].decode("latin-1"), query, headers, body)
        try:
            now = self.context.clock.source() + self.context.settings.signature_clock_skew
            verify(signed_request, self._find_key, REGION, "finspace", now)
        except SignatureError as invalid:
            abort(403, invalid.error_type, invalid.message)

    def _find_key(self, access_key: str, token: str) -> Key | None:
        if access_key == ACCESS_KEY and not token:
            return Key(ACCESS_KEY, SECRET_KEY)
        issued = token.removeprefix(SESSION)
        if access_key != SESSION_KEY or not token.startswith(SESSION) or not issued.isdigit():
            return None
        expired = self.context.clock.now() >= int(issued) + self.context.settings.token_lifetime
        return Key(SESSION_KEY, SESSION_SECRET, token, expired)

    async def _not_found(self, request: Request) -> Response:
        """AWS's response to a path without an operation."""
        del request
        return self._with_request_id(error(404, "UnknownOperationException", ""))

    # Environments

    def _environments(self, request: ApiRequest) -> dict[str, Any]:
        size = rules.page_size(request.query, self.context.settings.page_size, limit=None)
        page, following = _page([self._environment_json()], request.query, size)
        return {"environments": page, **following}

    def _one_environment(self, request: ApiRequest) -> dict[str, Any]:
        check_text(request.path["environmentId"], "environmentId", rules.ID)
        self._environment(request)
        return self._environment_json()

    def _environment(self, request: ApiRequest) -> str:
        given = check_text(request.path["environmentId"], "environmentId", rules.ENVIRONMENT)
        return ENVIRONMENT if given == ENVIRONMENT else _not_found_error("environment", given)

    def _environment_json(self) -> dict[str, Any]:
        created = _timestamp(self._store.created)
        return {
            "name": "sluice-sandbox",
            "environmentId": ENVIRONMENT,
            "awsAccountId": ACCOUNT,
            "status": "CREATED",
            "tgwStatus": "NONE",
            "dnsStatus": "NONE",
            "environmentArn": f"arn:aws:finspace:{REGION}:{ACCOUNT}:kxEnvironment/{ENVIRONMENT}",
            "kmsKeyId": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/00000000-0000-4000-8000-000000000000",
            "creationTimestamp": created,
            "updateTimestamp": created,
            "availabilityZoneIds": ["euw1-az1"],
        }

    # Databases

    def _database(self, request: ApiRequest) -> Database:
        self._environment(request)
        name = check_text(request.path["databaseName"], "databaseName", rules.DATABASE)
        return self._store.databases.get(name) or _not_found_error("database", name)

    def _databases(self, request: ApiRequest) -> dict[str, Any]:
        self._environment(request)
        listed = [self._database_json(each, brief=True) for each in self._store.databases.values()]
        page, following = _page(listed, request.query, rules.page_size(request.query, self.context.settings.page_size))
        return {"kxDatabases": page, **following}

    def _one_database(self, request: ApiRequest) -> dict[str, Any]:
        database = self._database(request)
        files = self._files(database)
        done = [each.id for each in database.changesets.values() if each.state == COMPLETED]
        more = {"numBytes": sum(files.values()), "numFiles": len(files), "numChangesets": len(database.changesets)}
        last = {"lastCompletedChangesetId": done[-1]} if done else {}
        return {**self._database_json(database), **more, **last}

    def _create_database(self, request: ApiRequest) -> dict[str, Any]:
        self._environment(request)
        body = rules.read_body(request.body)
        name = check_text(body.get("databaseName"), "databaseName", rules.DATABASE)
        token = check_text(body.get("clientToken"), "clientToken", rules.TOKEN)
        if body.get("description") is not None:
            check_text(body["description"], "description", rules.DESCRIPTION)
        if body.get("tags") is not None:
            rules.check_tags(body["tags"])
        if self._id_of_token("database", token, body) is None:
            if name in self._store.databases:
                abort(409, "ResourceAlreadyExistsException", f"KX database {name} already exists")
            self._store.add_database(name, description=body.get("description"), tags=body.get("tags"))
            self._store.tokens.remember("database", token, body, name)
        return self._database_json(self._store.databases[name])

    def _database_json(self, database: Database, *, brief: bool = False) -> dict[str, Any]:
        changed = max([each.modified for each in database.changesets.values()], default=database.created)
        listed = {
            "databaseName": database.name,
            "createdTimestamp": _timestamp(database.created),
            "lastModifiedTimestamp": _timestamp(changed),
        }
        if brief:
            return listed
        arn = f"arn:aws:finspace:{REGION}:{ACCOUNT}:kxEnvironment/{ENVIRONMENT}/kxDatabase/{database.name}"
        described = {"description": database.description} if database.description else {}
        return {**listed, "databaseArn": arn, "environmentId": ENVIRONMENT, **described}

    def _files(self, database: Database) -> dict[str, int]:
        return self._store.folders.files(database.environment, database.name)

    # Changesets

    def _create_changeset(self, request: ApiRequest) -> dict[str, Any]:
        body = rules.read_body(request.body)
        requests = rules.check_requests(body.get("changeRequests"))
        token = check_text(body.get("clientToken"), "clientToken", rules.TOKEN)
        database = self._database(request)
        content = {"database": database.name, **body}
        known = self._id_of_token("changeset", token, content)
        if known is None:
            if self._store.running() >= self.context.settings.max_running_changesets:
                abort(400, "LimitExceededException", "Too many changesets are being processed in this environment")
            made = self._store.add_changeset(database, requests, token)
            self._store.tokens.remember("changeset", token, content, made.id)
            return {**self._changeset_json(made, detail=True), "status": PENDING}
        return self._changeset_json(database.changesets[known], detail=True)

    def _id_of_token(self, operation: str, token: str, content: Mapping[str, Any]) -> str | None:
        """The id that the same request created before. The error for another request with the same token is a guess."""
        known = self._store.tokens.used(operation, token, content)
        if known is None:
            return None
        same, outcome = known
        if not same:
            message = "The client token was used before in a request with other parameters"
            abort(409, "ConflictException", message, reason="IdempotentParameterMismatch")
        return outcome

    def _one_changeset(self, request: ApiRequest) -> dict[str, Any]:
        """A status poll: the clock advances by `advance_per_poll`."""
        database = self._database(request)
        given = check_text(request.path["changesetId"], "changesetId", rules.CHANGESET)
        changeset = database.changesets.get(given) or _not_found_error("changeset", given)
        self.context.clock.on_poll()
        self._store.process_due()
        if changeset.not_found_polls:
            changeset.not_found_polls -= 1
            _not_found_error("changeset", given)
        return self._changeset_json(changeset, detail=True)

    def _changesets(self, request: ApiRequest) -> dict[str, Any]:
        """Newest first; the order is a guess."""
        listed = [self._changeset_json(each) for each in reversed(self._database(request).changesets.values())]
        page, following = _page(listed, request.query, rules.page_size(request.query, self.context.settings.page_size))
        return {"kxChangesets": page, **following}

    def _changeset_json(self, changeset: Changeset, *, detail: bool = False) -> dict[str, Any]:
        """A listing has neither the change requests nor the error."""
        listed = {
            "changesetId": changeset.id,
            "createdTimestamp": _timestamp(changeset.created),
            "lastModifiedTimestamp": _timestamp(changeset.modified),
            "status": self._status(changeset),
        }
        if changeset.state == COMPLETED:
            listed["activeFromTimestamp"] = _timestamp(changeset.modified)
        if not detail:
            return listed
        failed = {"errorInfo": changeset.error} if changeset.error else {}
        where = {"environmentId": changeset.environment, "databaseName": changeset.database}
        return {**listed, **where, "changeRequests": changeset.requests, **failed}

    def _status(self, changeset: Changeset) -> str:
        """PENDING at first; then the service sends IN_PROGRESS, its model says PROCESSING: hence a setting."""
        if changeset.state != RUNNING:
            return changeset.state
        started = self.context.clock.now() - changeset.created >= (changeset.ends - changeset.created) / 4
        return self.context.settings.running_changeset_status if started else PENDING


def _outcome(changeset: Changeset) -> str:
    if changeset.state == FAILED and changeset.error:
        return f"{changeset.error['errorType']} {changeset.error['errorMessage']}"
    paths = ", ".join(f"{each['changeType']} {each['dbPath']}" for each in changeset.requests[:5])
    return paths + (" ..." if len(changeset.requests) > 5 else "")


def _not_found_error(what: str, which: str) -> NoReturn:
    abort(404, "ResourceNotFoundException", f"KX {what} {which} not found")


def _timestamp(seconds: float) -> float:
    """Rounded to milliseconds, as in recorded responses of the real service."""
    return round(seconds, 3)


def _page(
    listed: Sequence[dict[str, Any]], query: Mapping[str, str], size: int
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """A page, and the token of the next one if there is one. It contains characters that must be percent-encoded."""
    start = _start(query["nextToken"]) if "nextToken" in query else 0
    end = start + size
    following = {"nextToken": "p/" + base64.b64encode(f" +{end}~".encode()).decode() + " +="} if listed[end:] else {}
    return list(listed[start:end]), following


def _start(token: str) -> int:
    try:
        start = int(base64.b64decode(token.removeprefix("p/").removesuffix(" +="), validate=True)[2:-1])
    except ValueError:
        rules.invalid("The pagination token is not valid")
    return start
