"""Kaleidoscope behind an Airflow connection of type `kaleidoscope`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import quote

from sluice_provider.compat.lazy import LazyModule
from sluice_provider.connection_fields import KALEIDOSCOPE
from sluice_provider.hooks.base import Endpoint, SluiceHook, mask

if TYPE_CHECKING:
    import httpx

    from sluice_provider.apis.kaleidoscope import drafts as kaleidoscope_drafts
    from sluice_provider.apis.kaleidoscope import endpoints as kaleidoscope
    from sluice_provider.apis.kaleidoscope import files as kaleidoscope_files
    from sluice_provider.apis.kaleidoscope import registration as kaleidoscope_registration
    from sluice_provider.http.client_config import ClientConfig, ConnectionFields
    from sluice_provider.http.flow import Flow
    from sluice_provider.jobs.polling import JobType, Locator
else:
    kaleidoscope = LazyModule("sluice_provider.apis.kaleidoscope.endpoints")
    kaleidoscope_drafts = LazyModule("sluice_provider.apis.kaleidoscope.drafts")
    kaleidoscope_files = LazyModule("sluice_provider.apis.kaleidoscope.files")
    kaleidoscope_registration = LazyModule("sluice_provider.apis.kaleidoscope.registration")


class KaleidoscopeHook(SluiceHook):
    """Kaleidoscope's API. Every endpoint blocks when called; `await hook.get_import.aio(id)` is the same for triggers.

    Connection type `kaleidoscope`; its fields are described in docs/connections.md.

    Endpoints, and the vendor's code or documentation that they follow:

    - workspace, programs, activities, fields, views, pushing records, imports: kalpy 0.2.0 and kalbio 0.2.0 to 0.7.0
      (`imports.py`, `client.py`), https://api.docs.kaleidoscope.bio
    - registrations of files and drafts: kalbio 0.2.4 to 0.7.0 (`registration.py`)
    - drafts and staging tables: kalbio 0.7.0 (`registration.py`, `activities.py`, `record_views.py`)
    - file downloads and exports of records: kalbio (`files.py`, `exports.py`),
      https://kaleidoscope.readme.io/reference/get_records-export-csv

    :param kaleidoscope_conn_id: Airflow connection id
    """

    conn_name_attr = "kaleidoscope_conn_id"
    default_conn_name = "kaleidoscope_default"
    conn_type = "kaleidoscope"
    hook_name = "Kaleidoscope"

    service = "kaleidoscope"
    default_host = "https://api.kaleidoscope.bio"

    def __init__(self, kaleidoscope_conn_id: str = default_conn_name) -> None:
        super().__init__(kaleidoscope_conn_id)

    @cached_property
    def job_types(self) -> Mapping[str, JobType]:
        return {
            **kaleidoscope.JOB_TYPES,
            **kaleidoscope_registration.JOB_TYPES,
            **kaleidoscope_drafts.JOB_TYPES,
        }

    get_active_workspace = Endpoint(lambda: kaleidoscope.get_active_workspace)
    get_programs = Endpoint(lambda: kaleidoscope.get_programs)
    get_activities = Endpoint(lambda: kaleidoscope.get_activities)
    get_entity_slices = Endpoint(lambda: kaleidoscope.get_entity_slices)
    get_key_fields = Endpoint(lambda: kaleidoscope.get_key_fields)
    get_data_fields = Endpoint(lambda: kaleidoscope.get_data_fields)
    get_record_views = Endpoint(lambda: kaleidoscope.get_record_views)
    push_by_field_name = Endpoint(lambda: kaleidoscope.push_by_field_name)
    push_by_field_id = Endpoint(lambda: kaleidoscope.push_by_field_id)
    get_import = Endpoint(lambda: kaleidoscope.get_import)
    get_imports = Endpoint(lambda: kaleidoscope.get_imports)

    register_file = Endpoint(lambda: kaleidoscope_registration.register_file)
    get_registration_files = Endpoint(lambda: kaleidoscope_registration.get_registration_files)
    get_registration = Endpoint(lambda: kaleidoscope_registration.get_registration)
    push_status = Endpoint(lambda: kaleidoscope_registration.push_status)
    submit_results = Endpoint(lambda: kaleidoscope_registration.submit_results)
    validate_drafts = Endpoint(lambda: kaleidoscope_registration.validate_drafts)
    submit_drafts = Endpoint(lambda: kaleidoscope_registration.submit_drafts)
    get_registration_submissions = Endpoint(lambda: kaleidoscope_registration.get_registration_submissions)
    get_draft_statuses = Endpoint(lambda: kaleidoscope_registration.get_draft_statuses)
    push_submission_status = Endpoint(lambda: kaleidoscope_registration.push_submission_status)
    submit_submission_results = Endpoint(lambda: kaleidoscope_registration.submit_submission_results)

    get_operation = Endpoint(lambda: kaleidoscope_drafts.get_operation)
    get_draft_ids = Endpoint(lambda: kaleidoscope_drafts.get_draft_ids)
    get_staging = Endpoint(lambda: kaleidoscope_drafts.get_staging)
    create_draft_import = Endpoint(lambda: kaleidoscope_drafts.create_draft_import)
    run_draft_import = Endpoint(lambda: kaleidoscope_drafts.run_draft_import)
    clear_drafts = Endpoint(lambda: kaleidoscope_drafts.clear_drafts)

    download_file = Endpoint(lambda: kaleidoscope_files.download_file)
    export_records = Endpoint(lambda: kaleidoscope_files.export_records)

    def auth(self, fields: ConnectionFields, config: ClientConfig) -> httpx.Auth:
        from sluice_provider.http.auth import Bearer, Iap, TokenEndpoint

        audience = fields.text("iap_audience")
        grant = TokenEndpoint(
            config.base_url + kaleidoscope.TOKEN_PATH,
            {
                "grant_type": "client_credentials",
                "client_id": fields.required(KALEIDOSCOPE["login"]),
                "client_secret": fields.required(KALEIDOSCOPE["password"]),
            },
            config.headers,
        )
        return Bearer(grant, _apply_token, Iap(audience) if audience else None, mask)

    def ping(self) -> Flow[str]:
        workspace = yield from kaleidoscope.get_active_workspace()
        return f"Connected to workspace {workspace.get('workspace_name')!r} ({workspace.get('id')})."

    def job_url(self, job_type: str, job_id: str, locator: Locator, fields: ConnectionFields) -> str:
        """The operation's page if there is one, else the import's. `web_url` is needed, as the API does not
        tell it."""
        base = fields.text("web_url").rstrip("/")
        if not base:
            return ""
        operation = locator.get("operation_id")
        return (
            f"{base}/operations/{quote(operation, safe='')}"
            if operation
            else f"{base}/{job_type}s/{quote(job_id, safe='')}"
        )


def _apply_token(headers: httpx.Headers, token: str, behind_iap: bool) -> None:
    """Since kalbio 0.2.2 the token has a header of its own; older servers read Authorization, which IAP uses, too."""
    headers["X-Kal-Authorization"] = f"Bearer {token}"
    if not behind_iap:
        headers["Authorization"] = f"Bearer {token}"
