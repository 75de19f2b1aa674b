"""Sensors for Kili."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sluice_provider.apis.kili import given, look_at
from sluice_provider.errors import InvalidInput
from sluice_provider.jobs import JobRef
from sluice_provider.links import KiliLink
from sluice_provider.sensors.base import JobSensor
from sluice_provider.waiting import fail_for_good

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

STATUSES = ("CONNECTED", "DISCONNECTED", "CHECKING")


class KiliCloudStorageIntegrationSensor(JobSensor):
    """Wait until a cloud storage integration has a status.

    Rests on `cloud_storage_integrations` of the vendor's client (kili `presentation/client/cloud_storage.py`).

    :param cloud_storage_integration_id: the integration's id (templated)
    :param status: CONNECTED, DISCONNECTED or CHECKING
    :param kili_conn_id: Airflow connection id
    """

    system = "kili"
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

    def check(self) -> None:
        given(self.cloud_storage_integration_id, "cloud_storage_integration_id")
        if self.status not in STATUSES:
            raise InvalidInput(f"status must be one of {', '.join(STATUSES)}, not {self.status!r}")

    def reference(self) -> JobRef:
        return JobRef(self.system, "integration", (self.cloud_storage_integration_id,), {"status": self.status})


class KiliCloudStorageConnectionSensor(JobSensor):
    """Wait until nothing is going on at a cloud storage connection: neither checking nor applying.

    :param cloud_storage_connection_id: the connection's id (templated)
    :param kili_conn_id: Airflow connection id
    """

    system = "kili"
    kind = "idle"
    template_fields: Sequence[str] = ("cloud_storage_connection_id", "kili_conn_id")
    operator_extra_links = (KiliLink(),)

    def __init__(self, *, cloud_storage_connection_id: str, kili_conn_id: str = "kili_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kili_conn_id = kili_conn_id
        self.cloud_storage_connection_id = cloud_storage_connection_id

    def check(self) -> None:
        given(self.cloud_storage_connection_id, "cloud_storage_connection_id")

    def note(self) -> dict[str, str]:
        """The project, for the link, and when differences were computed last before the wait."""
        look = self.hook.run(look_at(self.cloud_storage_connection_id))
        return {"project_id": look.project_id, "last_check": look.last_check}

    def reference(self) -> JobRef:
        return JobRef(self.system, self.kind, (self.cloud_storage_connection_id,))


class KiliCloudStorageDifferenceSensor(KiliCloudStorageConnectionSensor):
    """Wait until the bucket holds something that the project does not, for DAGs that label what arrives.

    Kili compares bucket and project only when asked to, so each look that finds too little asks it to, unless it is at
    it already; `poll_interval` (deferrable) or `poke_interval` is how often at the most. Nothing is added.

    `mode="reschedule"` needs Airflow 3.3: only in its task state store is it remembered from one look to the next which
    differences are older than the wait. Before, use `deferrable=True` or `mode="poke"`.

    :param cloud_storage_connection_id: the connection's id (templated)
    :param minimum: so many new files at the least
    :param kili_conn_id: Airflow connection id
    :raises InvalidInput: `mode="reschedule"` on an Airflow without a task state store
    """

    kind = "difference"

    def __init__(self, *, minimum: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.minimum = minimum

    def check(self) -> None:
        super().check()
        if isinstance(self.minimum, bool) or not isinstance(self.minimum, int) or self.minimum < 1:
            raise InvalidInput(f"minimum must be a whole number above 0, not {self.minimum!r}")

    def execute(self, context: Context) -> Any:
        if self.mode == "reschedule" and not self.deferrable and context.get("task_state_store") is None:
            with fail_for_good(True):
                raise InvalidInput(
                    "mode='reschedule' would never end here, as this Airflow has no task state store (3.3 has) and "
                    "forgets at each reschedule when the wait began: use deferrable=True or mode='poke'"
                )
        return super().execute(context)

    def reference(self) -> JobRef:
        return super().reference()._replace(where={"minimum": str(self.minimum)})
