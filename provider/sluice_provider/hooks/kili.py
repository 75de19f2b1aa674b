"""Kili behind an Airflow connection of type `kili`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

from sluice_provider.compat.lazy import LazyModule
from sluice_provider.connection_fields import KILI
from sluice_provider.hooks.base import Endpoint, SluiceHook, mask

if TYPE_CHECKING:
    import httpx

    from sluice_provider.apis.kili import azure as kili_azure
    from sluice_provider.apis.kili import endpoints as kili
    from sluice_provider.http.client_config import ClientConfig, ConnectionFields
    from sluice_provider.http.flow import Flow
    from sluice_provider.jobs.polling import JobType, Locator
else:
    kili = LazyModule("sluice_provider.apis.kili.endpoints")
    kili_azure = LazyModule("sluice_provider.apis.kili.azure")

API = "/api/label/v2"
"""The path below which the vendor's endpoints are (kili `client.py`)."""


def compute_differences(cloud_storage_connection_id: str) -> Flow[str]:
    """Let Kili compare the bucket with the project; returns the connection's id without waiting for the result.

    An Azure bucket with service credentials is listed by this process (package extra `azure`).
    """
    return kili.compute_differences(cloud_storage_connection_id, mask)


class KiliHook(SluiceHook):
    """Kili's API for cloud storage. Every endpoint blocks when called; `await hook.get_project.aio(id)` is the same for
    triggers.

    Connection type `kili`; its fields are described in docs/connections.md.

    The endpoints follow the vendor's client, kili 26.2.4 (`adapters/kili_api_gateway/cloud_storage/operations.py`,
    `use_cases/cloud_storage/__init__.py`, `adapters/authentification.py`).

    :param kili_conn_id: Airflow connection id
    """

    conn_name_attr = "kili_conn_id"
    default_conn_name = "kili_default"
    conn_type = "kili"
    hook_name = "Kili"

    service = "kili"
    default_host = "https://cloud.kili-technology.com/api/label/v2/graphql"

    credential_fields = ("password",)

    def __init__(self, kili_conn_id: str = default_conn_name) -> None:
        super().__init__(kili_conn_id)

    @cached_property
    def job_types(self) -> Mapping[str, JobType]:
        from sluice_provider.apis.kili.job_types import job_types

        return job_types(mask)

    get_viewer = Endpoint(lambda: kili.get_viewer)
    get_project = Endpoint(lambda: kili.get_project)
    count_assets = Endpoint(lambda: kili.count_assets)
    list_cloud_storage_integrations = Endpoint(lambda: kili.list_integrations)
    count_cloud_storage_integrations = Endpoint(lambda: kili.count_integrations)
    get_cloud_storage_integration = Endpoint(lambda: kili.get_integration)
    list_cloud_storage_connections = Endpoint(lambda: kili.list_connections)
    get_cloud_storage_connection = Endpoint(lambda: kili.get_connection)
    add_cloud_storage_connection = Endpoint(lambda: kili.add_connection)
    get_cloud_storage_connection_status = Endpoint(lambda: kili.get_connection_status)
    compute_differences = Endpoint(lambda: compute_differences)
    validate_differences = Endpoint(lambda: kili.validate_differences)

    def auth(self, fields: ConnectionFields, config: ClientConfig) -> httpx.Auth:
        from sluice_provider.http.auth import ApiKey, fits_header

        del config
        key = fields.required(KILI["password"])
        if not fits_header(key):
            raise fields.invalid(
                "password", "is not an API key: it contains a space, a line break or a character that is not ASCII"
            )
        return ApiKey("X-API-Key:", key)

    def client_config(self, fields: ConnectionFields) -> ClientConfig:
        """With the URL of the folder that contains the endpoint: the flows add the endpoint itself. Azure's hosts are
        permitted, as containers are listed from here."""
        from sluice_provider.http.result_hosts import ResultHosts

        config = super().client_config(fields)
        scheme, netloc, path, *_ = urlsplit(config.base_url)
        path = path.rstrip("/").removesuffix(f"/{kili.PATH}") or API
        base_url = urlunsplit((scheme, netloc, f"{path}/", "", ""))
        listed = f"{kili_azure.RESULT_HOSTS}, {fields.text('result_hosts')}"
        return config._replace(base_url=base_url, result_hosts=ResultHosts.parse(base_url, listed))

    def ping(self) -> Flow[str]:
        viewer = yield from kili.get_viewer()
        return f"Connected as {viewer.get('email')} ({viewer.get('id')})."

    def job_url(self, job_type: str, job_id: str, locator: Locator, fields: ConnectionFields) -> str:
        """The project (kili `entrypoints/queries/project/helpers.py: get_project_url`), once it is known."""
        del job_type, job_id
        project_id = locator.get("project_id")
        base = fields.text("web_url").rstrip("/") or self.client_config(fields).base_url.rstrip("/").removesuffix(API)
        return f"{base}/label/projects/{quote(project_id, safe='')}/" if project_id else ""
