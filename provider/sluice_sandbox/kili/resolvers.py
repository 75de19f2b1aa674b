"""Resolvers of the root fields of Kili's schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sluice_sandbox.kili.bucket import Bucket, Filter
from sluice_sandbox.kili.schema import graphql_error
from sluice_sandbox.kili.store import (
    ORGANIZATION,
    PROJECT,
    USER,
    Connection,
    Integration,
    Store,
    page,
    set_members,
)
from sluice_sandbox.settings import iso

if TYPE_CHECKING:
    from collections.abc import Callable

    from sluice_sandbox.context import Context

EMAIL = "sandbox@example.com"
YEAR = 365 * 86400.0

Raw = dict[str, Any]


class Resolvers:
    """One method per root field. `url` is the base URL of the sandbox, for the links in responses."""

    def __init__(self, context: Context, store: Store, api_key: str, sas: str) -> None:
        self._context = context
        self._store = store
        self._api_key = api_key
        self._sas = sas

    def by_name(self, url: str) -> dict[str, Callable[..., Any]]:
        """The resolvers by field name, with the signature that graphql-core expects."""
        return {
            "viewer": lambda _info: {"id": USER, "email": EMAIL},
            "apiKeys": lambda _info, where, **_: self._api_keys(where),
            "projects": lambda _info, where, skip, first: page(self._projects(where), skip, first),
            "countAssets": lambda _info, where: self._count_assets(where),
            "dataIntegrations": lambda _info, where, skip, first: [
                self._integration(each, url) for each in page(self._integrations(where), skip, first)
            ],
            "countDataIntegrations": lambda _info, where: len(self._integrations(where)),
            "dataConnections": lambda _info, where, first, skip: [
                self._connection(each, url) for each in page(self._connections(where), skip, first)
            ],
            "dataConnection": lambda _info, where: self._poll_connection(where["id"], url),
            "addDataConnection": lambda _info, data: self._connection(self._add(data), url),
            "computeDifferences": lambda _info, where, data=None: self._compute(where["id"], data, url),
            "validateDataDifferences": lambda _info, where, **_: self._validate(where, url),
            "createDataIntegration": lambda _info, data: self._integration(self._create(data), url),
            "updatePropertiesInDataIntegration": lambda _info, data, where: self._integration(
                self._update(where, data), url
            ),
            "deleteDataIntegration": lambda _info, where: self._store.integrations.pop(where["id"]).id,
        }

    # User and project

    def _api_keys(self, where: Raw) -> list[Raw]:
        expiry = iso(self._store.now + YEAR)
        return [{"id": "sandbox", "expiryDate": expiry}] if where.get("key") == self._api_key else []

    def _projects(self, where: Raw) -> list[Raw]:
        refs = [{"id": each.id} for each in self._store.connections.values()]
        project = {"id": PROJECT, "title": "Pictures", "inputType": "IMAGE", "dataConnections": refs}
        return [project] if where.get("id") in (None, PROJECT) else []

    def _count_assets(self, where: Raw) -> int:
        """Counts as a status poll. Unrelated assets may be added at each count (setting `other_assets_per_count`)."""
        self._context.clock.on_poll()
        self._store.process_due()
        self._context.settings.other_assets += self._context.settings.other_assets_per_count
        return self._store.count_assets((where.get("project") or {}).get("id", ""))

    # Integrations

    def _integrations(self, where: Raw) -> list[Integration]:
        """Filters that only connections have are ignored."""
        wanted = set_members(where, "id", "name", "platform")
        status = where.get("status")
        return [
            each
            for each in self._store.integrations.values()
            if all(getattr(each, name) == value for name, value in wanted.items())
            and status in (None, self._status(each))
            and where.get("organizationId") in (None, ORGANIZATION)
        ]

    def _status(self, integration: Integration) -> str:
        return self._context.settings.integration_status or integration.status

    def _integration(self, each: Integration, url: str) -> Raw:
        """Of type CustomS3 a bucket is a folder, whose path is given as S3 endpoint and bucket name."""
        azure = {"azureSASToken": self._sas, "azureConnectionURL": f"{url}/kili/azure/account/{each.id}"}
        folder = each.bucket.path
        custom = {"s3Endpoint": folder.parent.as_uri(), "s3BucketName": folder.name}
        location = azure if each.platform == "Azure" else custom if each.platform == "CustomS3" else {}
        common = {"id": each.id, "name": each.name, "platform": each.platform, "status": self._status(each)}
        return {**common, "organizationId": ORGANIZATION, **location, **each.more}

    def _create(self, data: Raw) -> Integration:
        more = {name: value for name, value in data.items() if name not in ("name", "platform", "status")}
        values = (data.get("name", ""), data.get("platform", "AWS"), Bucket(()), data.get("status", "CHECKING"))
        created = Integration(*values, more=more, id=self._store.new_id())
        self._store.integrations[created.id] = created
        return created

    def _update(self, where: Raw, data: Raw) -> Integration:
        integration = self._store.integrations[where["id"]]
        for name in ("name", "platform", "status"):
            setattr(integration, name, data.pop(name, None) or getattr(integration, name))
        integration.more.update(data)
        return integration

    # Connections

    def _connections(self, where: Raw) -> list[Connection]:
        project, integration = where.get("projectId"), where.get("integrationId")
        return [
            each
            for each in self._store.connections.values()
            if project in (None, each.project_id) and integration in (None, each.integration.id)
        ]

    def _poll_connection(self, connection_id: str, url: str) -> Raw | None:
        """A status poll: the clock advances by `advance_per_poll`. An unknown id gives null, not an error."""
        self._context.clock.on_poll()
        self._store.process_due()
        found = self._store.connections.get(connection_id)
        return self._connection(found, url) if found else None

    def _connection(self, each: Connection, url: str) -> Raw:
        now, extra = self._store.now, self._context.settings.extra_total_differences
        added, removed = len(each.to_add), len(each.to_remove)
        summary = {"added": added, "removed": removed, "total": added + removed + extra}
        folders, prefix, include, exclude = each.filter
        return {
            "id": each.id,
            "projectId": each.project_id,
            "dataIntegrationId": each.integration.id,
            "dataIntegration": lambda _info: self._integration(each.integration, url),
            "numberOfAssets": len(each.assets),
            "isChecking": each.is_busy(now, checking=True),
            "isApplyingDataDifferences": each.is_busy(now, checking=False),
            "lastCheck": iso(each.last_check),
            "lastChecked": iso(each.last_check),
            "dataDifferencesSummary": summary,
            "selectedFolders": folders,
            "prefix": prefix,
            "include": include,
            "exclude": exclude,
            "isJsonProcessingEnabled": each.is_json_processing_enabled,
        }

    def _add(self, data: Raw) -> Connection:
        integration = self._store.integrations.get(data["integrationId"])
        if data["projectId"] != PROJECT or integration is None:
            raise graphql_error("NOT_FOUND", "Project or data integration not found")
        selection = Filter(*(data.get(name) for name in ("selectedFolders", "prefix", "include", "exclude")))
        is_json = data.get("isJsonProcessingEnabled")
        created = Connection(PROJECT, integration, selection, is_json, id=self._store.new_id())
        self._store.connections[created.id] = created
        return created

    def _existing(self, connection_id: str) -> Connection:
        self._store.process_due()
        found = self._store.connections.get(connection_id)
        if found is None:
            raise graphql_error("NOT_FOUND", f"Failed to find data connection {connection_id}")
        return found

    def _compute(self, connection_id: str, data: Raw | None, url: str) -> Raw:
        connection = self._existing(connection_id)
        if connection.integration.listed_by_client and data is None:
            raise graphql_error("BAD_USER_INPUT", "blobPaths are needed for an Azure bucket behind service credentials")
        if self._context.settings.reject_concurrent_checks and connection.is_busy(self._store.now, checking=True):
            raise graphql_error("BAD_USER_INPUT", "Data connection is already currently checking")
        paths = list(data["blobPaths"]) if data and connection.integration.listed_by_client else None
        self._store.start(connection, "CHECK", paths)
        return self._connection(connection, url)

    def _validate(self, where: Raw, url: str) -> Raw:
        connection = self._existing(where["connectionId"])
        self._store.start(connection, where["type"])
        return self._connection(connection, url)
