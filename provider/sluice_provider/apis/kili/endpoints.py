"""Kili's API, as far as cloud storage goes: integrations, connections, differences.

The operations, their names and their variables are those of the vendor's client (kili 26.2.4,
`adapters/kili_api_gateway/cloud_storage/operations.py`, `use_cases/cloud_storage/__init__.py`). An integration is a
bucket that an organization can reach; a connection is an integration used in a project. Kili gives out no job ids: its
work is judged by what the connection says of itself, and known by the connection's id.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sluice_provider.apis.kili import azure as kili_azure
from sluice_provider.apis.kili.graphql import mutate, query
from sluice_provider.apis.payloads import drop_none
from sluice_provider.apis.validation import check_id
from sluice_provider.errors import ClientError, InvalidInput, NotFound, OutcomeUnknown, StatusError, UnexpectedResponse
from sluice_provider.http.flow import Blocking, Flow
from sluice_provider.http.pagination import pages
from sluice_provider.jobs import Job, JobState
from sluice_provider.jobs.polling import JobType, Locator

DEFAULT_HOST = "https://cloud.kili-technology.com/api/label/v2/graphql"
PATH = "graphql"
PAGE = 100
"""Items of one page, as the vendor's client asks for them."""

INTEGRATION_FIELDS = ("id", "name", "platform", "status")
CONNECTION_FIELDS = (
    "id",
    "projectId",
    "numberOfAssets",
    "selectedFolders",
    "prefix",
    "include",
    "exclude",
    "isJsonProcessingEnabled",
    "dataIntegration { id }",
)
CREDENTIALS = "dataIntegration { id azureSASToken azureConnectionURL }"
SUMMARY = "dataDifferencesSummary { added removed total }"

OLD: Mapping[str, str] = {"lastCheck": "lastCheck: lastChecked", "isApplyingDataDifferences": ""}
"""What to ask a server that does not know a field: its older name, or nothing."""

UNKNOWN_FIELD = r"Cannot query field [\"'\\]*(\w+)"

Raw = dict[str, Any]
Conceal = Callable[[str], object]


# --- who and where --------------------------------------------------------------------------------------------------


def get_viewer() -> Flow[Raw]:
    """The user whom the API key belongs to (kili `adapters/authentification.py`)."""
    viewer: Raw | None = yield from query(PATH, "query viewer { data: viewer { id email } }", {})
    if not viewer:
        raise UnexpectedResponse("the API key is accepted and belongs to nobody")
    return viewer


def get_project(project_id: str) -> Flow[Raw]:
    """`id`, `title` and `inputType` of a project. :raises NotFound: or not visible with this API key"""
    document = """query projects($where: ProjectWhere!, $first: PageSize!, $skip: Int!) {
        data: projects(where: $where, first: $first, skip: $skip) { id title inputType }
    }"""
    where = {"id": check_id("project_id", project_id)}
    found: list[Raw] = yield from query(PATH, document, {"where": where, "first": 1, "skip": 0})
    if not found:
        raise NotFound(f"no project has the id {project_id!r}, or this API key may not see it")
    return found[0]


def count_assets(project_id: str) -> Flow[int]:
    """How many assets a project holds, wherever they came from."""
    document = "query countAssets($where: AssetWhere!) { data: countAssets(where: $where) }"
    where = {"project": {"id": check_id("project_id", project_id)}, "label": {}, "issue": {}}
    return int((yield from query(PATH, document, {"where": where})))


# --- integrations ---------------------------------------------------------------------------------------------------


def list_integrations(
    integration_id: str | None = None,
    name: str | None = None,
    platform: str | None = None,
    status: str | None = None,
    organization_id: str | None = None,
    fields: Sequence[str] = INTEGRATION_FIELDS,
) -> Flow[list[Raw]]:
    """All integrations that match. Other `fields` than the default may hold credentials of the bucket."""
    document = f"""query dataIntegrations($where: DataIntegrationWhere!, $first: PageSize!, $skip: Int!) {{
        data: dataIntegrations(where: $where, skip: $skip, first: $first) {{ {" ".join(fields)} }}
    }}"""
    where = drop_none(id=integration_id, name=name, platform=platform, status=status, organizationId=organization_id)
    return (yield from _all(document, where))


def count_integrations(
    integration_id: str | None = None,
    name: str | None = None,
    platform: str | None = None,
    status: str | None = None,
    organization_id: str | None = None,
) -> Flow[int]:
    """How many integrations match."""
    document = (
        "query countDataIntegrations($where: DataIntegrationWhere!) { data: countDataIntegrations(where: $where) }"
    )
    where = drop_none(id=integration_id, name=name, platform=platform, status=status, organizationId=organization_id)
    return int((yield from query(PATH, document, {"where": where})))


def get_integration(integration_id: str, fields: Sequence[str] = INTEGRATION_FIELDS) -> Flow[Raw]:
    """One integration. :raises NotFound: or not visible with this API key"""
    found = yield from list_integrations(check_id("cloud_storage_integration_id", integration_id), fields=fields)
    if not found:
        raise NotFound(f"no cloud storage integration has the id {integration_id!r}, or this API key may not see it")
    return found[0]


# --- connections ----------------------------------------------------------------------------------------------------


def list_connections(
    project_id: str | None = None, integration_id: str | None = None, fields: Sequence[str] = CONNECTION_FIELDS
) -> Flow[list[Raw]]:
    """The connections of a project, of an integration, or of both. Kili has no count of connections."""
    if project_id is None and integration_id is None:
        raise InvalidInput("connections are listed by project_id, by cloud_storage_integration_id, or by both")
    document = f"""query dataConnections($where: DataConnectionsWhere!, $first: PageSize!, $skip: Int!) {{
        data: dataConnections(where: $where, first: $first, skip: $skip) {{ {" ".join(fields)} }}
    }}"""
    return (yield from _all(document, drop_none(projectId=project_id, integrationId=integration_id)))


def get_connection(connection_id: str, fields: Sequence[str] = CONNECTION_FIELDS) -> Flow[Raw]:
    """One connection. Kili answers null for an id it does not know.

    :raises NotFound: or not visible with this API key
    """
    document = f"""query dataConnection($where: DataConnectionIdWhere!) {{
        data: dataConnection(where: $where) {{ {" ".join(fields)} }}
    }}"""
    where = {"id": check_id("cloud_storage_connection_id", connection_id)}
    found: Raw | None = yield from query(PATH, document, {"where": where})
    if found is None:
        raise NotFound(f"no cloud storage connection has the id {connection_id!r}, or this API key may not see it")
    return found


def add_connection(
    project_id: str,
    integration_id: str,
    selected_folders: Sequence[str] | None = None,
    prefix: str | None = None,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    is_json_processing_enabled: bool | None = None,
) -> Flow[str]:
    """Use an integration in a project, and return the connection's id. Submitted twice, it adds two.

    No folders means all of them, an empty list none; `prefix` is one path that ends in a slash; `include` and
    `exclude` are patterns, the latter wins (kili `cloud_storage/mappers.py`).
    """
    data = drop_none(
        projectId=check_id("project_id", project_id),
        integrationId=check_id("cloud_storage_integration_id", integration_id),
        selectedFolders=_list(selected_folders),
        prefix=prefix,
        include=_list(include),
        exclude=_list(exclude),
        isJsonProcessingEnabled=is_json_processing_enabled,
    )
    document = "mutation addDataConnection($data: DataConnectionInput!) { data: addDataConnection(data: $data) { id } }"
    return _id((yield from mutate(PATH, document, {"data": data})))


# --- what a connection says of itself -------------------------------------------------------------------------------


class Look(NamedTuple):
    """A connection at one moment.

    :param applying: None where the server does not tell
    :param last_check: when differences were computed last, in the server's words; "" when never
    """

    id: str
    project_id: str
    checking: bool
    applying: bool | None
    last_check: str
    assets: int
    to_add: int
    to_remove: int
    total: int

    @property
    def busy(self) -> str:
        return "computing differences" if self.checking else "applying differences" if self.applying else ""

    @property
    def counts(self) -> dict[str, int]:
        return {"assets": self.assets, "to_add": self.to_add, "to_remove": self.to_remove, "total": self.total}

    def job(self, state: JobState, word: str, message: str = "", **counts: int) -> Job:
        return Job(self.id, state, word, message, {**self.counts, **counts})


def look_at(connection_id: str) -> Flow[Look]:
    """What the connection says. The names of two fields differ between servers, and one may be missing."""
    fields = ["id", "projectId", "isChecking", "isApplyingDataDifferences", "lastCheck", "numberOfAssets", SUMMARY]
    while True:
        try:
            raw = yield from get_connection(connection_id, fields)
            return _look(raw)
        except StatusError as error:  # a server may call it its own failure
            unknown = set(re.findall(UNKNOWN_FIELD, f"{error} {error.body}")) & set(OLD) & set(fields)
            if not unknown:
                raise
            fields = [OLD[field] if field in unknown else field for field in fields]


def _look(raw: Raw) -> Look:
    summary = raw.get("dataDifferencesSummary") or {}
    applying = raw.get("isApplyingDataDifferences")
    return Look(
        id=str(raw["id"]),
        project_id=str(raw.get("projectId") or ""),
        checking=bool(raw.get("isChecking")),
        applying=None if applying is None else bool(applying),
        last_check=str(raw.get("lastCheck") or ""),
        assets=int(raw.get("numberOfAssets") or 0),
        to_add=int(summary.get("added") or 0),
        to_remove=int(summary.get("removed") or 0),
        total=int(summary.get("total") or 0),
    )


# --- differences ----------------------------------------------------------------------------------------------------


def compute_differences(connection_id: str, conceal: Conceal = lambda _secret: None) -> Flow[str]:
    """Let Kili compare the bucket with the project; returns the connection's id at once.

    For an Azure bucket behind service credentials Kili wants to be told what is in it, so it is listed from here.

    :param conceal: is told the bucket's credentials, should they be needed, before anything is done with them
    """
    listing = yield from list_for_kili(connection_id, conceal)
    return (yield from begin_computation(connection_id, listing))


def begin_computation(connection_id: str, listing: Raw | None) -> Flow[str]:
    """
    :param listing: what `list_for_kili` found, which may take its time
    """
    document = """mutation computeDifferences(
        $where: DataConnectionIdWhere!, $data: DataConnectionComputeDifferencesPayload
    ) { data: computeDifferences(where: $where, data: $data) { id } }"""
    variables = {"where": {"id": connection_id}, **({"data": listing} if listing is not None else {})}
    return _id((yield from mutate(PATH, document, variables)))


def validate_differences(connection_id: str, type: str) -> Flow[str]:  # noqa: A002 - Kili's word
    """Let Kili add what is new (ADD), or remove what is gone (REMOVE); returns the connection's id at once.

    It has no idempotency key: what is submitted twice may be done twice.
    """
    if type not in ("ADD", "REMOVE"):
        raise InvalidInput(f"the type of a difference is 'ADD' or 'REMOVE', not {type!r}")
    document = """mutation validateDataDifferences($where: ValidateDataDifferencesWhere!) {
        data: validateDataDifferences(where: $where) { id }
    }"""
    where = {"connectionId": check_id("cloud_storage_connection_id", connection_id), "type": type}
    return _id((yield from mutate(PATH, document, {"where": where})))


def list_for_kili(connection_id: str, conceal: Conceal = lambda _secret: None) -> Flow[Raw | None]:
    """What is in the bucket, where Kili cannot see for itself (kili `use_cases/cloud_storage/azure.py`); else None.

    :param conceal: as in `compute_differences`
    """
    about = "dataIntegration { id platform azureIsUsingServiceCredentials }"
    integration = (yield from get_connection(connection_id, (about,))).get("dataIntegration") or {}
    if integration.get("platform") != "Azure" or not integration.get("azureIsUsingServiceCredentials"):
        return None
    # The credentials are read only now that they are needed.
    fields = ("projectId", "selectedFolders", "prefix", "include", "exclude", CREDENTIALS)
    connection = yield from get_connection(connection_id, fields)
    project = yield from get_project(str(connection["projectId"]))
    listing: Raw = yield Blocking(lambda: kili_azure.payload(connection, str(project["inputType"]), conceal))
    return listing


# --- the types of job ------------------------------------------------------------------------------------------------


def _get_connection_status(connection_id: str, _locator: Locator) -> Flow[Job]:
    """Over when it is idle: it neither computes nor applies differences, whoever requested that."""
    look = yield from look_at(connection_id)
    return look.job(JobState.RUNNING, look.busy) if look.busy else look.job(JobState.SUCCEEDED, "idle")


def _get_computation_status(connection_id: str, locator: Locator) -> Flow[Job]:
    """Over when computed: `isChecking` is raised some time after the request, so its being down says nothing until
    `lastCheck` is another than it was before."""
    look = yield from look_at(connection_id)
    if look.checking:
        return look.job(JobState.RUNNING, look.busy)
    if look.last_check == locator["last_check"]:
        return look.job(JobState.NOT_FOUND, "not begun", "nothing was computed since it was requested")
    if look.total and not (look.to_add or look.to_remove):
        return look.job(JobState.NOT_FOUND, "unclear", f"{look.total} differences, of which 0 to add and 0 to remove")
    return look.job(JobState.SUCCEEDED, "computed")


def _get_application_status(connection_id: str, locator: Locator) -> Flow[Job]:
    """Over when applied, judged by the connection's own assets, as the project's may come and go for other reasons."""
    look = yield from look_at(connection_id)
    adding, expected = locator["type"] == "ADD", int(locator["expected"])
    moved = max(0, (look.assets - int(locator["assets"])) * (1 if adding else -1))
    left = look.to_add if adding else look.to_remove
    word, message = f"{moved} of {expected} {'added' if adding else 'removed'}", ""
    if look.busy:
        state = JobState.RUNNING
    elif moved >= expected or (look.applying is None and moved and not left):
        state = JobState.SUCCEEDED
    else:
        # Not begun yet, or over with less than was expected; a server that does not say which is still at it.
        state = JobState.RUNNING if look.applying is None else JobState.NOT_FOUND
    done = min(moved, expected)
    return look.job(state, word, message, applied=done, expected=expected)._replace(done=done, total=expected)


def _came_to_an_end(job: Job) -> Job:
    """Nobody applies anything any more: what was done is all that will be."""
    return job._replace(state=JobState.SUCCEEDED)


def _get_integration_status(integration_id: str, locator: Locator) -> Flow[Job]:
    found = yield from get_integration(integration_id)
    status = str(found.get("status"))
    return Job(integration_id, JobState.SUCCEEDED if status == locator["status"] else JobState.RUNNING, status)


def _get_added_status(connection_id: str, _locator: Locator) -> Flow[Job]:
    """A connection that is found is there."""
    look = yield from look_at(connection_id)
    return look.job(JobState.SUCCEEDED, "there")


def _get_difference_status(connection_id: str, locator: Locator, conceal: Conceal) -> Flow[Job]:
    """Enough that is new. Kili compares only when told to, so every status check that finds too little requests it.

    What was computed before the wait began does not count: it may be old. What was computed since does.
    """
    look = yield from look_at(connection_id)
    if look.busy:
        return look.job(JobState.RUNNING, look.busy)
    if look.last_check != locator["last_check"] and look.to_add >= int(locator["minimum"]):
        return look.job(JobState.SUCCEEDED, f"{look.to_add} new")
    try:
        yield from compute_differences(connection_id, conceal)
    except OutcomeUnknown:
        pass  # the next status check shows it, or requests it again
    except ClientError:
        if not (yield from look_at(connection_id)).checking:
            raise
    return look.job(JobState.RUNNING, f"{look.to_add} new")


def job_types(conceal: Conceal) -> dict[str, JobType]:
    """Nothing of this can be cancelled: the API has no call for it."""
    return {
        "added_connection": JobType("connection", _get_added_status),
        "connection": JobType("connection", _get_connection_status),
        "computation": JobType("computation of differences", _get_computation_status),
        "application": JobType("application of differences", _get_application_status, on_not_found=_came_to_an_end),
        "integration": JobType("integration", _get_integration_status),
        "difference": JobType(
            "difference", lambda each, locator: _get_difference_status(each, locator, conceal), fixed_interval=True
        ),
    }


# --- shapes ---------------------------------------------------------------------------------------------------------


def _list(value: Sequence[str] | None) -> list[str] | None:
    return None if value is None else list(value)


def _all(document: str, where: Raw) -> Flow[list[Raw]]:
    def page(number: int) -> Flow[list[Raw]]:
        found: list[Raw] = yield from query(PATH, document, {"where": where, "first": PAGE, "skip": number * PAGE})
        return found

    return (yield from pages(page, PAGE, first=0))


def _id(raw: Any) -> str:
    if not isinstance(raw, dict) or not raw.get("id"):
        raise UnexpectedResponse(f"answered without an id: {raw!r:.200}")
    return str(raw["id"])
