"""Amazon FinSpace's API for Managed kdb: changesets, and the databases and environments that they belong to.

The sources are the service model of API version 2021-03-12, which botocore contained up to 1.43.116, and the API
reference (https://docs.aws.amazon.com/finspace/latest/management-api/). AWS ended the hosted service on 2026-10-07.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence, Set
from typing import Any, cast

from sluice_provider.apis.finspace import validation as rules
from sluice_provider.apis.finspace.change_requests import MAX_REQUESTS
from sluice_provider.apis.finspace.model import Changeset, Database, Environment
from sluice_provider.apis.finspace.responses import (
    changeset_error_from_response,
    error_from_response,
    with_timestamps,
)
from sluice_provider.apis.paths import segment
from sluice_provider.apis.payloads import JsonObject, drop_none, send_for_object
from sluice_provider.errors import Conflict, NotFound, UnexpectedResponse
from sluice_provider.http.flow import Flow, Request
from sluice_provider.http.pagination import bounded_listing, token_pages
from sluice_provider.http.retry import RetryPolicy
from sluice_provider.redaction import excerpt

SERVICE = "finspace"
CLIENT_TOKEN_LIFETIME = 600.0
"""Seconds for which the service remembers a client token (API reference, CreateKxChangeset: 10 minutes)."""
MAX_TOKEN_AGE = CLIENT_TOKEN_LIFETIME - 90.0
"""Seconds after its first use until which a token is sent again. One attempt may take more than a minute."""
MAX_CLOCK_SKEW = 30.0
"""Seconds by which the service's clock and the local clock may differ, for comparing creation times of changesets."""

# --- changesets -----------------------------------------------------------------------------------------------------


def create_changeset(
    environment_id: str,
    database_name: str,
    change_requests: Sequence[Mapping[str, Any]],
    client_token: str | None = None,
    token_age: float = 0.0,
) -> Flow[Changeset]:
    """Create a changeset of up to 32 changes, which are applied in order (CreateKxChangeset).

    Idempotent while the service remembers the token, which is for ten minutes.

    :param client_token: identifies the changeset when the request is repeated; by default a new one
    :param token_age: seconds since the token was first used
    :raises RateLimited: also if too many changesets of the environment are in progress
    :raises Conflict: also if the token was used for other changes
    """
    rules.check_requests(change_requests, MAX_REQUESTS)
    token = rules.CLIENT_TOKEN.check("client_token", client_token or str(uuid.uuid4()))
    path = f"{_database(environment_id, database_name)}/changesets"
    body = {"changeRequests": [dict(request) for request in change_requests], "clientToken": token}
    request = Request("POST", path, json=body, idempotent=True)
    policy = RetryPolicy(within=MAX_TOKEN_AGE - token_age)
    changeset = with_timestamps((yield from send_for_object(request, policy, changeset_error_from_response)))
    return _checked_changeset(changeset)


def get_changeset(environment_id: str, database_name: str, changeset_id: str) -> Flow[Changeset]:
    """One changeset, with its requests, and `errorInfo` if it failed (GetKxChangeset).

    :raises NotFound: it does not exist; right after its creation it may not be visible yet
    """
    name = segment(rules.CHANGESET_ID.check("changeset_id", changeset_id), "changeset_id")
    changeset = yield from _get(f"{_database(environment_id, database_name)}/changesets/{name}")
    if not isinstance(changeset.get("status"), str):
        raise UnexpectedResponse(
            f"FinSpace returned changeset {changeset_id} without a status: {excerpt(changeset, 200)}"
        )
    return _checked_changeset(changeset)


def list_changesets(environment_id: str, database_name: str, page_size: int | None = None) -> Flow[list[Changeset]]:
    """All changesets of a database, without their requests and errors (ListKxChangesets)."""
    path = f"{_database(environment_id, database_name)}/changesets"
    return cast("list[Changeset]", (yield from _list(path, "kxChangesets", page_size)))


def find_changesets(environment_id: str, database_name: str, wanted: Set[str]) -> Flow[list[Changeset]]:
    """Those of the wanted changesets that the listing has, as far as each page has at least one of them: its order is
    not documented."""
    return (yield from bounded_listing(_find_changesets(environment_id, database_name, wanted)))


def _find_changesets(environment_id: str, database_name: str, wanted: Set[str]) -> Flow[list[Changeset]]:
    path = f"{_database(environment_id, database_name)}/changesets"
    found: dict[str, Changeset] = {}
    seen: set[str] = set()
    token: str | None = None
    while True:
        page, following = yield from _page(path, "kxChangesets", None, token)
        readable = [_checked_changeset(each) for each in page if isinstance(each.get("status"), str)]
        here = {each["changesetId"]: each for each in readable if each["changesetId"] in wanted}
        found.update(here)
        if not following or following in seen or len(found) == len(wanted) or (page and not here):
            return list(found.values())
        seen.add(following)
        token = following


def find_changeset(
    environment_id: str, database_name: str, change_requests: Sequence[Mapping[str, Any]], since: float
) -> Flow[str | None]:
    """The id of the newest changeset with exactly these requests that was created since then and has not failed.

    :param since: seconds since 1970
    """
    wanted = [drop_none(**request) for request in change_requests]
    listed = yield from list_changesets(environment_id, database_name)
    created = [
        (each["createdTimestamp"].timestamp(), _checked_changeset(each)["changesetId"])
        for each in listed
        if each.get("createdTimestamp") is not None
    ]
    for created_at, changeset_id in sorted(created, reverse=True):
        if created_at < since - MAX_CLOCK_SKEW:
            break
        found = yield from get_changeset(environment_id, database_name, changeset_id)
        requests: list[Any] = _requests_of(found)
        if requests == wanted and found["status"] != "FAILED":
            return changeset_id
    return None


# --- databases and environments -------------------------------------------------------------------------------------


def create_database(
    environment_id: str,
    database_name: str,
    description: str | None = None,
    tags: Mapping[str, str] | None = None,
    client_token: str | None = None,
) -> Flow[Database]:
    """Create a database (CreateKxDatabase).

    :raises Conflict: a database with this name exists; its code is then ResourceAlreadyExistsException
    """
    rules.DATABASE_NAME.check("database_name", database_name)
    if description is not None:
        rules.DESCRIPTION.check("description", description)
    if tags is not None:
        rules.check_tags(tags)
    token = rules.CLIENT_TOKEN.check("client_token", client_token or str(uuid.uuid4()))
    body: JsonObject = drop_none(
        databaseName=database_name,
        description=description,
        tags=dict(tags) if tags is not None else None,
        clientToken=token,
    )
    request = Request("POST", f"{_environment(environment_id)}/databases", json=body, idempotent=True)
    database = yield from send_for_object(request, RetryPolicy(within=MAX_TOKEN_AGE), error_from_response)
    return cast("Database", with_timestamps(database))


def get_database(environment_id: str, database_name: str) -> Flow[Database]:
    """One database, with its number of files, bytes and changesets (GetKxDatabase)."""
    return cast("Database", (yield from _get(_database(environment_id, database_name))))


def list_databases(environment_id: str, page_size: int | None = None) -> Flow[list[Database]]:
    """All databases of an environment, by name (ListKxDatabases)."""
    databases = yield from _list(f"{_environment(environment_id)}/databases", "kxDatabases", page_size)
    return cast("list[Database]", databases)


def ensure_database(environment_id: str, database_name: str) -> Flow[bool]:
    """Create the database unless it exists; returns whether it was created.

    :raises NotFound: the environment does not exist
    """
    try:
        yield from get_database(environment_id, database_name)
    except NotFound:
        try:
            yield from create_database(environment_id, database_name)
        except Conflict as error:
            if error.code != "ResourceAlreadyExistsException":
                raise
            return False  # another client has created it in the meantime
        return True
    return False


def get_environment(environment_id: str) -> Flow[Environment]:
    """One kdb environment (GetKxEnvironment)."""
    rules.LISTED_ID.check("environment_id", environment_id)
    return cast("Environment", (yield from _get(_environment(environment_id))))


def list_environments(page_size: int | None = None) -> Flow[list[Environment]]:
    """All kdb environments of the account in this region (ListKxEnvironments)."""
    return cast("list[Environment]", (yield from _list("kx/environments", "environments", page_size)))


# --- helpers --------------------------------------------------------------------------------------------------------


def _environment(environment_id: str) -> str:
    return f"kx/environments/{segment(rules.ENVIRONMENT_ID.check('environment_id', environment_id), 'environment_id')}"


def _database(environment_id: str, database_name: str) -> str:
    rules.DATABASE_NAME.check("database_name", database_name)
    return f"{_environment(environment_id)}/databases/{database_name}"


def _get(path: str) -> Flow[JsonObject]:
    request = Request("GET", path, idempotent=True)
    return with_timestamps((yield from send_for_object(request, error_from=error_from_response)))


def _list(path: str, member: str, page_size: int | None) -> Flow[list[JsonObject]]:
    """All pages. A page may be empty without being the last one."""
    return (yield from token_pages(lambda token: _page(path, member, page_size, token)))


def _page(
    path: str, member: str, page_size: int | None, token: str | None
) -> Flow[tuple[list[JsonObject], str | None]]:
    """One page, and the token of the next one."""
    params: dict[str, str | int] = {}
    if token is not None:
        params["nextToken"] = token
    if page_size is not None:
        params["maxResults"] = page_size
    request = Request("GET", path, params, idempotent=True)
    body = yield from send_for_object(request, error_from=error_from_response)
    items = body.get(member) or []
    if not isinstance(items, list):
        raise UnexpectedResponse(f"FinSpace's response to GET {path} has no list {member!r}: {excerpt(body, 200)}")
    following = body.get("nextToken")
    if following is not None and not isinstance(following, str):
        raise UnexpectedResponse(
            f"FinSpace's response to GET {path} has a nextToken that is no text: {excerpt(following, 100)}"
        )
    return [with_timestamps(each) for each in items], following


def _requests_of(changeset: Changeset) -> list[Any]:
    """Without members that are null; odd ones as they are, so that they equal nothing that was sent."""
    found: object = changeset.get("changeRequests")
    return [
        {name: value for name, value in each.items() if value is not None} if isinstance(each, dict) else each
        for each in (found if isinstance(found, list) else [])
    ]


def _checked_changeset(raw: Mapping[str, Any]) -> Changeset:
    """:raises UnexpectedResponse: it has no id"""
    changeset_id = raw.get("changesetId")
    if not isinstance(changeset_id, str) or not changeset_id:
        raise UnexpectedResponse(f"FinSpace returned a changeset without an id: {excerpt(raw, 200)}")
    return cast("Changeset", raw)
