"""Sensors for Kili."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sluice_provider.errors import InvalidInput
from sluice_provider.links import KiliLink
from sluice_provider.runtime.sensor import RemoteJobSensor
from sluice_provider.runtime.task import fail_for_good

if TYPE_CHECKING:
    from airflow.sdk import Context

    from sluice_provider.jobs.watched_job import WatchedJob


class KiliCloudStorageIntegrationSensor(RemoteJobSensor):
    """Wait until a cloud storage integration has the given status.

    Returns `{"ids", "state"}`: the integration's id.

    Based on `cloud_storage_integrations` of the vendor's client (kili `presentation/client/cloud_storage.py`).

    :param cloud_storage_integration_id: the integration's id (templated)
    :param status: CONNECTED, DISCONNECTED or CHECKING
    :param kili_conn_id: Airflow connection id
    """

    __supports_durable_execution = True

    service = "kili"
    template_fields: Sequence[str] = ("cloud_storage_integration_id", "kili_conn_id")

    def __init__(
        self,
        *,
        cloud_storage_integration_id: str,
        status: str = "CONNECTED",
        kili_conn_id: str = "kili_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kili_conn_id = kili_conn_id
        self.cloud_storage_integration_id = cloud_storage_integration_id
        self.status = status

    def job(self) -> WatchedJob:
        from sluice_provider.apis.kili.watched_jobs import WatchedIntegration

        return WatchedIntegration(self.cloud_storage_integration_id, self.status)


class KiliCloudStorageConnectionSensor(RemoteJobSensor):
    """Wait until a cloud storage connection is idle: Kili neither computes nor applies its differences.

    Returns `{"ids", "state", "assets", "to_add", "to_remove", "total"}`: the connection's id, its number of assets, and
    the differences that were last computed.

    Based on `cloud_storage_connections` of the vendor's client (kili `presentation/client/cloud_storage.py`).

    :param cloud_storage_connection_id: the connection's id (templated)
    :param kili_conn_id: Airflow connection id
    """

    __supports_durable_execution = True

    service = "kili"
    template_fields: Sequence[str] = ("cloud_storage_connection_id", "kili_conn_id")
    operator_extra_links = (KiliLink(),)

    def __init__(self, *, cloud_storage_connection_id: str, kili_conn_id: str = "kili_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kili_conn_id = kili_conn_id
        self.cloud_storage_connection_id = cloud_storage_connection_id

    def job(self) -> WatchedJob:
        from sluice_provider.apis.kili.watched_jobs import WatchedConnection

        return WatchedConnection(self.cloud_storage_connection_id)


class KiliCloudStorageDifferenceSensor(KiliCloudStorageConnectionSensor):
    """Wait until the bucket has files that the project does not, for DAGs that label new files.

    Kili compares bucket and project only on request. Each status check that finds too few new files requests it, unless
    a comparison is running; `poll_interval` (deferrable) or `poke_interval` limits how often. No assets are added.

    `mode="reschedule"` requires Airflow 3.3: its task state store keeps, from one status check to the next, which
    differences are older than the wait. On earlier versions use `deferrable=True` or `mode="poke"`.

    Returns the same as `KiliCloudStorageConnectionSensor`.

    :param cloud_storage_connection_id: the connection's id (templated)
    :param minimum: the number of new files to wait for
    :param kili_conn_id: Airflow connection id
    :raises InvalidInput: `mode="reschedule"` on an Airflow without a task state store
    """

    __supports_durable_execution = True

    def __init__(self, *, minimum: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.minimum = minimum

    def execute(self, context: Context) -> dict[str, Any]:
        """:raises InvalidInput: the wait would never end"""
        if self.mode == "reschedule" and not self.deferrable and context.get("task_state_store") is None:
            with fail_for_good(True):
                raise InvalidInput(
                    "mode='reschedule' requires the task state store of Airflow 3.3: each reschedule otherwise forgets "
                    "when the wait began and the wait would never end. Use deferrable=True or mode='poke'"
                )
        return super().execute(context)

    def job(self) -> WatchedJob:
        from sluice_provider.apis.kili.watched_jobs import WatchedDifference

        return WatchedDifference(self.cloud_storage_connection_id, self.minimum)
