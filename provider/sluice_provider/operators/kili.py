"""Operators for cloud storage in Kili projects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from sluice_provider.compat import mask_secret
from sluice_provider.links import KiliLink
from sluice_provider.runtime.operator import RemoteJobOperator

if TYPE_CHECKING:
    from sluice_provider.apis.kili.add_connection_job import AddConnectionJob
    from sluice_provider.apis.kili.sync_job import SyncJob
    from sluice_provider.lineage import Datasets


class KiliAddCloudStorageConnectionOperator(RemoteJobOperator):
    """Add a connection of a cloud storage integration to a Kili project. Safe to run again.

    If a request gets no response, the project's connections are listed for two minutes, after which the request cannot
    take effect any more. The connection is added again only if no new one has appeared by then.

    Returns `{"service", "state", "connection_id", "project_id", "integration_id", "reused", "to_add", "to_remove",
    "total", "assets", "submitted_at", "ended_at", "seconds", "url"}`; the counts are missing if the differences were
    not computed, or not waited for.

    Based on `add_cloud_storage_connection` of the vendor's client (kili `use_cases/cloud_storage/__init__.py`).

    :param project_id: the project (templated)
    :param cloud_storage_integration_id: the integration (templated)
    :param selected_folders: folders to use; None is all of them, an empty list none (templated)
    :param prefix: use only files below this path, which must end with a slash (templated)
    :param include: patterns of files to use: a prefix, or a whole name with `*` for one or more characters (templated)
    :param exclude: patterns of files not to use; takes precedence over `include` (templated)
    :param is_json_processing_enabled: let Kili read JSON files as descriptions of assets
    :param if_exists: if the project already has a connection of this integration with the same settings: `reuse` it,
        `fail`, or `add` another one
    :param compute_differences: compute the differences between bucket and project, and wait for them; no assets are
        added or removed
    :param kili_conn_id: Airflow connection id
    :raises NotFound: the integration does not exist
    :raises Conflict: such a connection exists, and `if_exists` is `fail`
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
        from sluice_provider.apis.kili.add_connection_job import AddConnectionJob
        from sluice_provider.apis.kili.model import ConnectionSettings

        return AddConnectionJob(
            project_id=self.project_id,
            integration_id=self.cloud_storage_integration_id,
            settings=ConnectionSettings(
                self.selected_folders, self.prefix, self.include, self.exclude, self.is_json_processing_enabled
            ),
            if_exists=self.if_exists,
            compute_differences=self.compute_differences,
            mask_secret=mask_secret,
        )

    def datasets(self) -> Datasets:
        from sluice_provider.lineage import Datasets, ServiceDataset

        return Datasets(outputs=[ServiceDataset(("projects", self.result["project_id"]))])


class KiliSyncCloudStorageOperator(RemoteJobOperator):
    """Synchronize a Kili project with its bucket: add assets for new files and, if wanted, remove those of deleted
    files.

    Kili computes the differences, then applies the additions, then the removals. A retry reconnects to the phase that
    is running; each phase may take as long as `timeout`. Progress is measured by the connection's number of assets. A
    task that is cleared before it has ended continues; one that is cleared afterwards computes the differences again.

    Returns `{"service", "state", "connection_id", "project_id", "dry_run", "total", "to_add", "to_remove", "added",
    "removed", "left", "assets_before", "assets_after", "submitted_at", "ended_at", "seconds", "url"}`: `total`,
    `to_add` and `to_remove` are the first computed differences, `left` is how many of them remain at the end.

    Based on `synchronize_cloud_storage_connection` of the vendor's client (kili `use_cases/cloud_storage/__init__.py`).

    :param cloud_storage_connection_id: the connection (templated)
    :param project_id: instead of the connection, its project ... (templated)
    :param cloud_storage_integration_id: ... and its integration (templated)
    :param delete_extraneous_files: also remove assets whose files were deleted
    :param dry_run: let Kili compute the differences, return them, and apply none of them
    :param max_removed: the maximum number of assets to remove, or the maximum fraction of them (a float up to 1.0). If
        more files are missing, for example because the bucket is empty or not accessible, the task fails before
        anything is changed
    :param verify: compute the differences again at the end, so that `left` is what Kili found then
    :param kili_conn_id: Airflow connection id
    :raises SafetyLimitExceeded: more assets would be removed than `max_removed` allows
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
        self.max_removed = max_removed
        self.verify = verify

    def job(self) -> SyncJob:
        from sluice_provider.apis.kili.sync_job import SyncJob

        return SyncJob(
            connection_id=self.cloud_storage_connection_id,
            project_id=self.project_id,
            integration_id=self.cloud_storage_integration_id,
            remove=self.delete_extraneous_files,
            dry_run=self._dry_run,
            max_removed=self.max_removed,
            verify=self.verify,
            mask_secret=mask_secret,
        )

    def datasets(self) -> Datasets:
        from sluice_provider.lineage import Datasets, ServiceDataset

        return Datasets(outputs=[ServiceDataset(("projects", self.result["project_id"]))])
