"""Amazon FinSpace's API for Managed kdb: changesets, and the databases and environments that they belong to.

Every fact rests on the service model of API version 2021-03-12, as botocore carried it up to 1.43.116, and on the API
reference (https://docs.aws.amazon.com/finspace/latest/management-api/). AWS ended the hosted service on 2026-10-07.
Answers are dicts in the API's own spelling, with their timestamps as datetimes.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, TypedDict

from sluice_provider.apis.finspace import validation as rules
from sluice_provider.apis.paths import segment
from sluice_provider.apis.payloads import drop_none, send_for_object
from sluice_provider.errors import (
    AuthenticationFailed,
    Conflict,
    NotFound,
    PermissionDenied,
    RateLimited,
    SluiceError,
    StatusError,
    UnexpectedResponse,
)
from sluice_provider.http.flow import Flow, Request, Response
from sluice_provider.http.pagination import token_pages
from sluice_provider.http.responses import ErrorFrom, error_from
from sluice_provider.http.retry import RetryPolicy
from sluice_provider.jobs import Job, JobState
from sluice_provider.jobs.polling import JobType, Locator

SERVICE = "finspace"
TOKEN_LIFE = 600.0
"""Seconds for which the service knows a client token again (API reference, CreateKxChangeset: 10 minutes)."""
LAST_REPEAT = TOKEN_LIFE - 90.0
"""Seconds after its first use at which a token is sent for the last time, as one attempt may take a minute and more."""
CLOCKS = 30.0
"""Seconds by which the service's clock and ours may differ, where changesets are told from older ones by their time."""

Raw = dict[str, Any]


class _Path(TypedDict):
    changeType: str
    dbPath: str


class ChangeRequest(_Path, total=False):
    """One change in the API's own spelling."""

    s3Path: str


def put(s3_path: str, db_path: str) -> ChangeRequest:
    """Add or update: all files of a folder in S3 (which ends with a slash), or one file, go into a folder of the
    database."""
    return {"changeType": "PUT", "s3Path": s3_path, "dbPath": db_path}


def delete(db_path: str) -> ChangeRequest:
    """Delete the files under a path of the database."""
    return {"changeType": "DELETE", "dbPath": db_path}


# --- changesets -----------------------------------------------------------------------------------------------------


def create_changeset(
    environment_id: str,
    database_name: str,
    change_requests: Sequence[Mapping[str, Any]],
    client_token: str | None = None,
    token_age: float = 0.0,
) -> Flow[Raw]:
    """Ask for up to 32 changes, to be made in order (CreateKxChangeset).

    Repeatable, but only as long as the service knows the token again: for ten minutes.

    :param client_token: the same for the same changeset; by default a new one
    :param token_age: seconds since the token was first used
    :raises RateLimited: also when too many changesets of the environment are under way
    :raises Conflict: also when the token was used for other changes before
    """
    rules.check_requests(change_requests, rules.MOST_REQUESTS)
    token = rules.CLIENT_TOKEN.check("client_token", client_token or str(uuid.uuid4()))
    path = f"{_database(environment_id, database_name)}/changesets"
    body = {"changeRequests": [dict(request) for request in change_requests], "clientToken": token}
    call = Request("POST", path, json=body, idempotent=True)
    answer = yield from _object(call, _verdict_on_changeset, RetryPolicy(within=LAST_REPEAT - token_age))
    _changeset_id(answer)
    return answer


def get_changeset(environment_id: str, database_name: str, changeset_id: str) -> Flow[Raw]:
    """One changeset, with its requests, and `errorInfo` if it failed (GetKxChangeset).

    :raises NotFound: there is none; right after its creation it may not be there yet
    """
    name = segment(rules.CHANGESET_ID.check("changeset_id", changeset_id), "changeset_id")
    answer = yield from _get(f"{_database(environment_id, database_name)}/changesets/{name}")
    _changeset_id(answer)
    if not isinstance(answer.get("status"), str):
        raise UnexpectedResponse(f"changeset {changeset_id} came back without a status: {answer!r:.200}")
    return answer


def list_changesets(environment_id: str, database_name: str, page_size: int | None = None) -> Flow[list[Raw]]:
    """All changesets of a database, without their requests and errors (ListKxChangesets)."""
    path = f"{_database(environment_id, database_name)}/changesets"
    return (yield from _list(path, "kxChangesets", page_size))


def find_changeset(
    environment_id: str, database_name: str, change_requests: Sequence[Mapping[str, Any]], since: float
) -> Flow[str | None]:
    """The id of the newest changeset with exactly these requests that was made since then and did not fail.

    :param since: seconds since 1970
    """
    wanted = [drop_none(**request) for request in change_requests]
    listed = yield from list_changesets(environment_id, database_name)
    made = [
        (each["createdTimestamp"].timestamp(), _changeset_id(each)) for each in listed if "createdTimestamp" in each
    ]
    for at, changeset_id in sorted(made, reverse=True):
        if at < since - CLOCKS:
            break
        found = yield from get_changeset(environment_id, database_name, changeset_id)
        same = [drop_none(**request) for request in found.get("changeRequests") or []] == wanted
        if same and found["status"] != "FAILED":
            return changeset_id
    return None


# --- databases and environments -------------------------------------------------------------------------------------


def create_database(
    environment_id: str,
    database_name: str,
    description: str | None = None,
    tags: Mapping[str, str] | None = None,
    client_token: str | None = None,
) -> Flow[Raw]:
    """Make a database (CreateKxDatabase).

    :raises Conflict: there is one of this name; its code is then ResourceAlreadyExistsException
    """
    rules.DATABASE_NAME.check("database_name", database_name)
    if description is not None:
        rules.DESCRIPTION.check("description", description)
    if tags is not None:
        rules.check_tags(tags)
    token = rules.CLIENT_TOKEN.check("client_token", client_token or str(uuid.uuid4()))
    body = drop_none(
        databaseName=database_name,
        description=description,
        tags=dict(tags) if tags is not None else None,
        clientToken=token,
    )
    call = Request("POST", f"{_environment(environment_id)}/databases", json=body, idempotent=True)
    return (yield from _object(call, _verdict, RetryPolicy(within=LAST_REPEAT)))


def get_database(environment_id: str, database_name: str) -> Flow[Raw]:
    """One database, with how many files, bytes and changesets it has (GetKxDatabase)."""
    return (yield from _get(_database(environment_id, database_name)))


def list_databases(environment_id: str, page_size: int | None = None) -> Flow[list[Raw]]:
    """All databases of an environment, by name (ListKxDatabases)."""
    return (yield from _list(f"{_environment(environment_id)}/databases", "kxDatabases", page_size))


def ensure_database(environment_id: str, database_name: str) -> Flow[bool]:
    """Make the database unless it is there; say whether it was made.

    :raises NotFound: there is no such environment
    """
    try:
        yield from get_database(environment_id, database_name)
    except NotFound:
        try:
            yield from create_database(environment_id, database_name)
        except Conflict as error:
            if error.code != "ResourceAlreadyExistsException":
                raise
            return False  # somebody else was quicker
        return True
    return False


def get_environment(environment_id: str) -> Flow[Raw]:
    """One kdb environment (GetKxEnvironment)."""
    rules.LISTED_ID.check("environment_id", environment_id)
    return (yield from _get(_environment(environment_id)))


def list_environments(page_size: int | None = None) -> Flow[list[Raw]]:
    """All kdb environments of the account in this region (ListKxEnvironments)."""
    return (yield from _list("kx/environments", "environments", page_size))


# --- a changeset as a job -------------------------------------------------------------------------------------------

STATES = {"COMPLETED": JobState.SUCCEEDED, "FAILED": JobState.FAILED}
"""Everything else is under way. The model has PENDING and PROCESSING; the service was seen to say IN_PROGRESS."""

CURES = {
    "The inputs to this request are invalid.": False,
    "Service limits have been exceeded.": False,
    "Missing required permission to perform this request.": False,
    "One or more inputs to this request were not found.": False,
    "A user recoverable error has occurred": False,
    "The system temporarily lacks sufficient resources to process the request.": True,
    "An internal error has occurred.": True,
    "Cancelled": True,
}
"""The model's ErrorDetails, which are whole sentences: whether a new changeset may cure it, or a person must."""


def changeset_job(raw: Raw) -> Job:
    """A changeset as a job; its counts are of the changes it consists of."""
    info = raw.get("errorInfo")
    info = info if isinstance(info, dict) else {}
    kind = str(info.get("errorType") or "")
    kinds = [request.get("changeType") for request in raw.get("changeRequests") or []]
    return Job(
        id=str(raw["changesetId"]),
        state=STATES.get(raw["status"], JobState.RUNNING),
        service_status=raw["status"],
        message=" ".join(str(text) for text in (kind, info.get("errorMessage")) if text),
        counts={"put": kinds.count("PUT"), "deleted": kinds.count("DELETE")},
        retryable=CURES.get(kind),
    )


def locator(environment_id: str, database_name: str, region_name: str | None = None) -> Locator:
    """What is needed beside its id to find a changeset again; the region if it is not the connection's."""
    found = {"environment_id": environment_id, "database_name": database_name}
    return {**found, "region_name": region_name} if region_name else found


def _get_status(changeset_id: str, place: Locator) -> Flow[Job]:
    raw = yield from get_changeset(place["environment_id"], place["database_name"], changeset_id)
    return changeset_job(raw)


JOB_TYPES: Mapping[str, JobType] = {"changeset": JobType("changeset", _get_status)}
"""A changeset cannot be cancelled: the API has no call for it."""


# --- what a reply means ---------------------------------------------------------------------------------------------

CODES: Mapping[str, type[StatusError]] = {
    "AccessDeniedException": PermissionDenied,
    **dict.fromkeys(
        (
            "ExpiredTokenException",
            "IncompleteSignatureException",
            "InvalidSignatureException",
            "MissingAuthenticationTokenException",
            "UnrecognizedClientException",
        ),
        AuthenticationFailed,
    ),
}
"""AWS answers all of these with 403, also where the credentials are none rather than not allowed to (Common Errors)."""


def _verdict(call: Request, reply: Response) -> SluiceError | None:
    return _told(call, reply, passing=("ThrottlingException",))


def _verdict_on_changeset(call: Request, reply: Response) -> SluiceError | None:
    """Here the limit is that of changesets under way, ten by default (AWS General Reference), which passes."""
    return _told(call, reply, passing=("ThrottlingException", "LimitExceededException"))


def _told(call: Request, reply: Response, passing: tuple[str, ...]) -> SluiceError | None:
    """The error by its own code, with what AWS's support would ask for.

    :param passing: codes of what only comes too early
    """
    error = error_from(call, reply)
    if not isinstance(error, StatusError):
        return error
    code = _code(reply) or error.code
    kind: type[StatusError] = RateLimited if code in passing else CODES.get(code or "", type(error))
    named = ", ".join(text for text in (code, error.request_id and f"request {error.request_id}") if text)
    return kind(
        f"{error} ({named})" if named else str(error),
        status=error.status,
        code=code,
        body=error.body,
        retry_after=error.retry_after,
        request_id=error.request_id,
    )


def _code(reply: Response) -> str:
    """The protocol (rest-json) has it in a header, before a colon; or in the body, after a hash."""
    header = reply.headers.get("x-amzn-errortype", "")
    if header:
        return header.partition(":")[0]
    try:
        body = reply.json()
    except UnexpectedResponse:
        return ""
    found = (body.get("code") or body.get("__type") or "") if isinstance(body, dict) else ""
    return str(found).rpartition("#")[2]


def moment(value: object) -> datetime:
    """The wire has seconds since 1970, the documentation says milliseconds, and botocore also reads ISO 8601.

    :raises UnexpectedResponse: it is none of these
    """
    try:
        if isinstance(value, str):
            found = datetime.fromisoformat(value.replace("Z", "+00:00"))
            return found if found.tzinfo else found.replace(tzinfo=timezone.utc)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000 if value > 1e11 else value, timezone.utc)
    except (ValueError, OverflowError, OSError):
        pass
    raise UnexpectedResponse(f"not a time: {value!r:.100}")


# --- shapes ---------------------------------------------------------------------------------------------------------


def _environment(environment_id: str) -> str:
    return f"kx/environments/{segment(rules.ENVIRONMENT_ID.check('environment_id', environment_id), 'environment_id')}"


def _database(environment_id: str, database_name: str) -> str:
    rules.DATABASE_NAME.check("database_name", database_name)
    return f"{_environment(environment_id)}/databases/{database_name}"


def _get(path: str) -> Flow[Raw]:
    return (yield from _object(Request("GET", path, idempotent=True), _verdict))


def _list(path: str, member: str, page_size: int | None) -> Flow[list[Raw]]:
    """By hand: botocore knows no paginator for most of these listings, and a page may be empty and not the last."""

    def page(token: str | None) -> Flow[tuple[list[Raw], str | None]]:
        params: dict[str, str | int] = {}
        if token is not None:
            params["nextToken"] = token
        if page_size is not None:
            params["maxResults"] = page_size
        answer = yield from _object(Request("GET", path, params, idempotent=True), _verdict)
        found = answer.get(member) or []
        if not isinstance(found, list):
            raise UnexpectedResponse(f"GET {path} answered without a list of {member}: {answer!r:.200}")
        return [_timed(each) for each in found], answer.get("nextToken")

    return (yield from token_pages(page))


def _object(request: Request, error_from: ErrorFrom, retry_policy: RetryPolicy | None = None) -> Flow[Raw]:
    return _timed((yield from send_for_object(request, retry_policy, error_from)))


def _timed(raw: Any) -> Raw:
    """With its times as times."""
    if not isinstance(raw, dict):
        raise UnexpectedResponse(f"a listing holds something that is not a JSON object: {raw!r:.200}")
    return {
        name: moment(value) if name.endswith("Timestamp") and value is not None else value
        for name, value in raw.items()
    }


def _changeset_id(raw: Raw) -> str:
    changeset_id = raw.get("changesetId")
    if not isinstance(changeset_id, str) or not changeset_id:
        raise UnexpectedResponse(f"a changeset came back without an id: {raw!r:.200}")
    return changeset_id
