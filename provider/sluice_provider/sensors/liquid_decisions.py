"""The sensor for jobs in Liquid Decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sluice_provider.runtime.sensor import RemoteJobSensor

if TYPE_CHECKING:
    from sluice_provider.jobs.watched_job import WatchedJob


class LiquidDecisionsJobSensor(RemoteJobSensor):
    """Wait until an import or export in Liquid Decisions has ended.

    Returns `{"ids", "state", "processed", "milliseconds"}`: the job's id, and the service's counts. Results of an
    export are not downloaded.

    Based on the wiki page "Batch Import and Export" of LiquidAnalytics/ld-api-examples, "Batch Job Progress".

    :param job_id: the job's id (templated)
    :param liquid_decisions_conn_id: Airflow connection id
    """

    __supports_durable_execution = True

    service = "liquid_decisions"
    template_fields: Sequence[str] = ("job_id", "liquid_decisions_conn_id")

    def __init__(
        self, *, job_id: str, liquid_decisions_conn_id: str = "liquid_decisions_default", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.liquid_decisions_conn_id = liquid_decisions_conn_id
        self.job_id = job_id

    def job(self) -> WatchedJob:
        from sluice_provider.apis.liquid_decisions.watched_jobs import WatchedBatchJob

        return WatchedBatchJob(self.job_id)
