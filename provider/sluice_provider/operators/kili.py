"""Tasks that bring cloud storage into Kili projects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from sluice_provider.apis.kili.add_connection_job import AddConnectionJob
from sluice_provider.apis.kili.sync_job import SyncJob
from sluice_provider.hooks.base import mask
from sluice_provider.lineage import Datasets, ServiceDataset
from sluice_provider.links import KiliLink
from sluice_provider.runtime.operator import RemoteJobOperator


class KiliAddCloudStorageConnectionOperator(RemoteJobOperator):
    """Use a cloud storage integration in a Kili project. Safe to run again.

    If a request gets no response, the project's connections are listed until it must have landed (two minutes); only if
    there is no new one then is the connection added again.

    Returns `{"service", "state", "connection_id", "project_id", "integration_id", "reused", "to_add", "to_remove",
    "total", "assets", "submitted_at", "ended_at", "seconds", "url"}`; the counts are missing when the differences were
    not computed, or not waited for.

    Rests on `add_cloud_storage_connection` of the vendor's client (kili `use_cases/cloud_storage/__init__.py`).

    :param project_id: the project (templated)
    :param cloud_storage_integration_id: the integration (templated)
    :param selected_folders: folders to use; None is all of them, an empty list none (templated)
    :param prefix: use only what lies below this one path, which ends in a slash (templated)
    :param include: patterns of what to use: a beginning, or a whole name with `*` for anything (templated)
    :param exclude: patterns of what not to use; wins over `include` (templated)
    :param is_json_processing_enabled: let Kili read JSON files as descriptions of assets
    :param if_exists: when the project has a connection of this integration with these very settings: `reuse` it,
        `fail`, or `add` another one
    :param compute_differences: compute what there is to add, and wait for it; nothing is added yet
    :param kili_conn_id: Airflow connection id
    :raises NotFound: the integration does not exist
    :raises Conflict: there is such a connection, and `if_exists` is `fail`
    """

    __supports_durable_execution = True

    service = "kili"
    operator_extra_links = (KiliLink(),)
    template_fields: Sequence[str] = (
        "project_id",
        "cloud_storage_integration_id",
        "selected_folders",
        "prefix",
        "include",
        "exclude",
        "kili_conn_id",
    )

    def __init__(
        self,
        *,
        project_id: str,
        cloud_storage_integration_id: str,
        selected_folders: Sequence[str] | None = None,
        prefix: str | None = None,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        is_json_processing_enabled: bool | None = None,
        if_exists: Literal["reuse", "fail", "add"] = "reuse",
        compute_differences: bool = True,
        kili_conn_id: str = "kili_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kili_conn_id = kili_conn_id
        self.project_id = project_id
        self.cloud_storage_integration_id = cloud_storage_integration_id
        self.selected_folders = selected_folders
        self.prefix = prefix
        self.include = include
        self.exclude = exclude
        self.is_json_processing_enabled = is_json_processing_enabled
        self.if_exists = if_exists
        self.compute_differences = compute_differences

    def job(self) -> AddConnectionJob:
        return AddConnectionJob(
            project_id=self.project_id,
            integration_id=self.cloud_storage_integration_id,
            settings={
                "selected_folders": self.selected_folders,
                "prefix": self.prefix,
                "include": self.include,
                "exclude": self.exclude,
                "is_json_processing_enabled": self.is_json_processing_enabled,
            },
            if_exists=self.if_exists,
            compute_differences=self.compute_differences,
            conceal=mask,
        )

    def datasets(self) -> Datasets:
        return Datasets(outputs=[ServiceDataset(("projects", self.result["project_id"]))])


class KiliSyncCloudStorageOperator(RemoteJobOperator):
    """Bring a Kili project in line with its bucket: add what is new and, if wanted, remove what is gone.

    Kili computes the differences, then applies additions, then removals. Each is a phase of its own, to which the next
    try reconnects, and which may take as long as `timeout`; progress is measured by the connection's own numbers. A
    task that is cleared before its end continues; one that is cleared after it computes the differences anew.

    Returns `{"service", "state", "connection_id", "project_id", "dry_run", "total", "to_add", "to_remove", "added",
    "removed", "left", "assets_before", "assets_after", "submitted_at", "ended_at", "seconds", "url"}`: `total`,
    `to_add` and `to_remove` are the differences found first, `left` is how many of them there still are at the end.

    Rests on `synchronize_cloud_storage_connection` of the vendor's client (kili `use_cases/cloud_storage/__init__.py`).

    :param cloud_storage_connection_id: the connection (templated)
    :param project_id: instead of the connection, its project ... (templated)
    :param cloud_storage_integration_id: ... and its integration (templated)
    :param delete_extraneous_files: also remove assets whose files are gone
    :param dry_run: compute and report the differences, and change nothing
    :param max_removed: remove at the most so many assets, or such a fraction of them (a float up to 1.0); if more files
        are gone, as when the bucket is empty or cannot be reached, the task fails before anything is changed
    :param verify: compute the differences once more at the end, so that `left` is what Kili found then
    :param kili_conn_id: Airflow connection id
    :raises SafetyLimitExceeded: more would be removed than `max_removed` allows
    :raises JobFailed: Kili has not applied all differences after three rounds
    """

    __supports_durable_execution = True

    service = "kili"
    operator_extra_links = (KiliLink(),)
    template_fields: Sequence[str] = (
        "cloud_storage_connection_id",
        "project_id",
        "cloud_storage_integration_id",
        "kili_conn_id",
    )

    def __init__(
        self,
        *,
        cloud_storage_connection_id: str | None = None,
        project_id: str | None = None,
        cloud_storage_integration_id: str | None = None,
        delete_extraneous_files: bool = False,
        dry_run: bool = False,
        max_removed: float | None = None,
        verify: bool = False,
        kili_conn_id: str = "kili_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kili_conn_id = kili_conn_id
        self.cloud_storage_connection_id = cloud_storage_connection_id
        self.project_id = project_id
        self.cloud_storage_integration_id = cloud_storage_integration_id
        self.delete_extraneous_files = delete_extraneous_files
        self._dry_run = dry_run  # `dry_run` itself is a method of all operators
        self.max_removed = max_removed
        self.verify = verify

    def job(self) -> SyncJob:
        return SyncJob(
            connection_id=self.cloud_storage_connection_id,
            project_id=self.project_id,
            integration_id=self.cloud_storage_integration_id,
            remove=self.delete_extraneous_files,
            dry_run=self._dry_run,
            max_removed=self.max_removed,
            verify=self.verify,
            conceal=mask,
        )

    def datasets(self) -> Datasets:
        return Datasets(outputs=[ServiceDataset(("projects", self.result["project_id"]))])
