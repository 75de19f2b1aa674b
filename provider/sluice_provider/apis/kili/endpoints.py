"""Kili's API for cloud storage: integrations, connections, differences.

The operations, their names and their variables are those of the vendor's client (kili 26.2.4,
`adapters/kili_api_gateway/cloud_storage/operations.py`, `use_cases/cloud_storage/__init__.py`). An integration is a
bucket that an organization can access; a connection is an integration used in a project. Kili has no job ids: a job is
identified by its connection's id, and its state is derived from the connection's status.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from sluice_provider.apis.kili import azure as kili_azure
from sluice_provider.apis.kili.graphql import mutate, query
from sluice_provider.apis.kili.model import (
    Connection,
    ConnectionStatus,
    Integration,
    MaskSecret,
    Project,
    Viewer,
)
from sluice_provider.apis.payloads import drop_none
from sluice_provider.apis.validation import check_id
from sluice_provider.errors import InvalidInput, NotFound, StatusError, UnexpectedResponse
from sluice_provider.http.flow import Blocking, Flow
from sluice_provider.http.pagination import pages
from sluice_provider.jobs.model import count_or_zero
from sluice_provider.redaction import excerpt

PATH = "graphql"
PAGE = 100
"""Items per page; the same as in the vendor's client."""

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

FIELD_FALLBACKS: Mapping[str, str] = {"lastCheck": "lastCheck: lastChecked", "isApplyingDataDifferences": ""}
"""What to request from a server that does not know a field: its older name, or nothing."""

UNKNOWN_FIELD = r"Cannot query field [\"'\\]*(\w+)"

# --- users and projects ---------------------------------------------------------------------------------------------


def get_viewer() -> Flow[Viewer]:
    """The user who owns the API key (kili `adapters/authentification.py`)."""
    viewer = yield from query(PATH, "query viewer { data: viewer { id email } }", {})
    if not isinstance(viewer, dict) or not viewer.get("id"):
        raise UnexpectedResponse("Kili accepted the API key but returned no user for it")
    return cast("Viewer", viewer)


def get_project(project_id: str) -> Flow[Project]:
    """One project. :raises NotFound: it does not exist, or is not visible with this API key"""
    document = """query projects($where: ProjectWhere!, $first: PageSize!, $skip: Int!) {
        data: projects(where: $where, first: $first, skip: $skip) { id title inputType }
    }"""
    where = {"id": check_id("project_id", project_id)}
    found = _objects((yield from query(PATH, document, {"where": where, "first": 1, "skip": 0})))
    if not found:
        raise NotFound(f"Kili project {project_id!r} does not exist or is not visible with this API key")
    return cast("Project", found[0])


def count_assets(project_id: str) -> Flow[int]:
    """The number of assets in a project, from all sources."""
    document = "query countAssets($where: AssetWhere!) { data: countAssets(where: $where) }"
    where = {"project": {"id": check_id("project_id", project_id)}, "label": {}, "issue": {}}
    return _count((yield from query(PATH, document, {"where": where})))


# --- integrations ---------------------------------------------------------------------------------------------------


def list_integrations(
    integration_id: str | None = None,
    name: str | None = None,
    platform: str | None = None,
    status: str | None = None,
    organization_id: str | None = None,
    fields: Sequence[str] = INTEGRATION_FIELDS,
) -> Flow[list[Integration]]:
    """All integrations that match.

    :param fields: fields other than the default may contain the bucket's credentials
    """
    document = f"""query dataIntegrations($where: DataIntegrationWhere!, $first: PageSize!, $skip: Int!) {{
        data: dataIntegrations(where: $where, skip: $skip, first: $first) {{ {" ".join(fields)} }}
    }}"""
    where = drop_none(id=integration_id, name=name, platform=platform, status=status, organizationId=organization_id)
    return (yield from _list_all(document, where))


def count_integrations(
    integration_id: str | None = None,
    name: str | None = None,
    platform: str | None = None,
    status: str | None = None,
    organization_id: str | None = None,
) -> Flow[int]:
    """The number of integrations that match."""
    document = (
        "query countDataIntegrations($where: DataIntegrationWhere!) { data: countDataIntegrations(where: $where) }"
    )
    where = drop_none(id=integration_id, name=name, platform=platform, status=status, organizationId=organization_id)
    return _count((yield from query(PATH, document, {"where": where})))


def get_integration(integration_id: str, fields: Sequence[str] = INTEGRATION_FIELDS) -> Flow[Integration]:
    """One integration. :raises NotFound: it does not exist, or is not visible with this API key"""
    found = yield from list_integrations(check_id("cloud_storage_integration_id", integration_id), fields=fields)
    if not found:
        raise NotFound(
            f"Kili cloud storage integration {integration_id!r} does not exist or is not visible with this API key"
        )
    return found[0]


# --- connections ----------------------------------------------------------------------------------------------------


def list_connections(
    project_id: str | None = None, integration_id: str | None = None, fields: Sequence[str] = CONNECTION_FIELDS
) -> Flow[list[Connection]]:
    """The connections of a project, of an integration, or of both. Kili's API cannot count connections.

    :raises InvalidInput: neither is given
    """
    if project_id is None and integration_id is None:
        raise InvalidInput("project_id, cloud_storage_integration_id, or both are required to list connections")
    document = f"""query dataConnections($where: DataConnectionsWhere!, $first: PageSize!, $skip: Int!) {{
        data: dataConnections(where: $where, first: $first, skip: $skip) {{ {" ".join(fields)} }}
    }}"""
    return (yield from _list_all(document, drop_none(projectId=project_id, integrationId=integration_id)))


def get_connection(connection_id: str, fields: Sequence[str] = CONNECTION_FIELDS) -> Flow[Connection]:
    """One connection. Kili answers `null` for an unknown id.

    :raises NotFound: it does not exist, or is not visible with this API key
    """
    document = f"""query dataConnection($where: DataConnectionIdWhere!) {{
        data: dataConnection(where: $where) {{ {" ".join(fields)} }}
    }}"""
    where = {"id": check_id("cloud_storage_connection_id", connection_id)}
    found = yield from query(PATH, document, {"where": where})
    if found is None:
        raise NotFound(
            f"Kili cloud storage connection {connection_id!r} does not exist or is not visible with this API key"
        )
    return cast("Connection", _objects([found])[0])


def add_connection(
    project_id: str,
    integration_id: str,
    selected_folders: Sequence[str] | None = None,
    prefix: str | None = None,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    is_json_processing_enabled: bool | None = None,
) -> Flow[str]:
    """Use an integration in a project, and return the connection's id. Submitted twice, it adds two connections.

    The settings are described in `ConnectionSettings`.
    """
    data = drop_none(
        projectId=check_id("project_id", project_id),
        integrationId=check_id("cloud_storage_integration_id", integration_id),
        selectedFolders=_optional_list(selected_folders),
        prefix=prefix,
        include=_optional_list(include),
        exclude=_optional_list(exclude),
        isJsonProcessingEnabled=is_json_processing_enabled,
    )
    document = "mutation addDataConnection($data: DataConnectionInput!) { data: addDataConnection(data: $data) { id } }"
    return _id_of((yield from mutate(PATH, document, {"data": data})))


# --- status of a connection -----------------------------------------------------------------------------------------


def get_connection_status(connection_id: str) -> Flow[ConnectionStatus]:
    """The status of a connection. The names of two fields differ between server versions, and one may be missing."""
    fields = ["id", "projectId", "isChecking", "isApplyingDataDifferences", "lastCheck", "numberOfAssets", SUMMARY]
    while True:
        try:
            raw = yield from get_connection(connection_id, fields)
            return _connection_status(raw)
        except StatusError as error:  # a server may report an unknown field as an internal error
            unknown = set(re.findall(UNKNOWN_FIELD, f"{error} {error.body}")) & set(FIELD_FALLBACKS) & set(fields)
            if not unknown:
                raise
            fields = [FIELD_FALLBACKS[field] if field in unknown else field for field in fields]


def _connection_status(raw: Connection) -> ConnectionStatus:
    found: object = raw.get("dataDifferencesSummary") or {}
    summary: Mapping[str, Any] = found if isinstance(found, dict) else {}
    if not raw.get("id"):
        raise UnexpectedResponse(f"Kili returned a connection without an id: {excerpt(raw, 200)}")
    applying = raw.get("isApplyingDataDifferences")
    return ConnectionStatus(
        id=str(raw["id"]),
        project_id=str(raw.get("projectId") or ""),
        checking=bool(raw.get("isChecking")),
        applying=None if applying is None else bool(applying),
        last_check=str(raw.get("lastCheck") or ""),
        assets=count_or_zero(raw.get("numberOfAssets")),
        to_add=count_or_zero(summary.get("added")),
        to_remove=count_or_zero(summary.get("removed")),
        total=count_or_zero(summary.get("total")),
    )


# --- differences ----------------------------------------------------------------------------------------------------


def compute_differences(connection_id: str, mask_secret: MaskSecret = lambda _secret: None) -> Flow[str]:
    """Start the comparison of bucket and project, and return the connection's id without waiting.

    Kili cannot list an Azure container that uses service credentials, so it is listed from here.

    :param mask_secret: called with the bucket's credentials before they are used
    """
    listing = yield from list_azure_container(connection_id, mask_secret)
    return (yield from start_computation(connection_id, listing))


def start_computation(connection_id: str, listing: kili_azure.Listing | None) -> Flow[str]:
    """Start the comparison of bucket and project, and return the connection's id without waiting.

    :param listing: the result of `list_azure_container`, which may take long
    """
    document = """mutation computeDifferences(
        $where: DataConnectionIdWhere!, $data: DataConnectionComputeDifferencesPayload
    ) { data: computeDifferences(where: $where, data: $data) { id } }"""
    variables = {"where": {"id": connection_id}, **({"data": listing} if listing is not None else {})}
    return _id_of((yield from mutate(PATH, document, variables)))


def validate_differences(connection_id: str, type: str) -> Flow[str]:  # noqa: A002 - Kili's word
    """Start applying the additions (ADD) or the removals (REMOVE), and return the connection's id without waiting.

    There is no idempotency key: submitted twice, it may be applied twice.
    """
    if type not in ("ADD", "REMOVE"):
        raise InvalidInput(f"type must be 'ADD' or 'REMOVE', not {type!r}")
    document = """mutation validateDataDifferences($where: ValidateDataDifferencesWhere!) {
        data: validateDataDifferences(where: $where) { id }
    }"""
    where = {"connectionId": check_id("cloud_storage_connection_id", connection_id), "type": type}
    return _id_of((yield from mutate(PATH, document, {"where": where})))


def list_azure_container(
    connection_id: str, mask_secret: MaskSecret = lambda _secret: None
) -> Flow[kili_azure.Listing | None]:
    """The files of an Azure container that Kili cannot list itself (kili `use_cases/cloud_storage/azure.py`); None for
    any other bucket.

    :param mask_secret: as in `compute_differences`
    """
    platform = "dataIntegration { id platform azureIsUsingServiceCredentials }"
    integration = _integration_of((yield from get_connection(connection_id, (platform,))))
    if integration.get("platform") != "Azure" or not integration.get("azureIsUsingServiceCredentials"):
        return None
    # The credentials are requested only if they are needed.
    fields = ("projectId", "selectedFolders", "prefix", "include", "exclude", CREDENTIALS)
    connection = yield from get_connection(connection_id, fields)
    project = yield from get_project(str(connection.get("projectId") or ""))
    listing: kili_azure.Listing = yield Blocking(
        lambda: kili_azure.list_container(connection, str(project.get("inputType") or ""), mask_secret),
        url=str(_integration_of(connection).get("azureConnectionURL") or ""),
    )
    return listing


# --- helpers --------------------------------------------------------------------------------------------------------


def _integration_of(connection: Connection) -> Integration:
    found: object = connection.get("dataIntegration")
    return cast("Integration", found) if isinstance(found, dict) else Integration()


def _optional_list(value: Sequence[str] | None) -> list[str] | None:
    return None if value is None else list(value)


def _list_all(document: str, where: Mapping[str, Any]) -> Flow[list[Any]]:
    def page(number: int) -> Flow[list[Any]]:
        variables = {"where": where, "first": PAGE, "skip": number * PAGE}
        return _objects((yield from query(PATH, document, variables)))

    return (yield from pages(page, PAGE, first=0))


def _objects(raw: Any) -> list[dict[str, Any]]:
    """:raises UnexpectedResponse: it is no list of objects"""
    if not isinstance(raw, list) or not all(isinstance(each, dict) for each in raw):
        raise UnexpectedResponse(f"Kili returned something that is not a list of objects: {excerpt(raw, 200)}")
    return raw


def _count(raw: Any) -> int:
    """:raises UnexpectedResponse: it is no count"""
    if isinstance(raw, bool) or not isinstance(raw, int) or raw < 0:
        raise UnexpectedResponse(f"Kili returned something that is not a number of items: {excerpt(raw, 200)}")
    return raw


def _id_of(raw: Any) -> str:
    if not isinstance(raw, dict) or not raw.get("id"):
        raise UnexpectedResponse(f"Kili's response contains no id: {excerpt(raw, 200)}")
    return str(raw["id"])
