"""What the sensor for Liquid Decisions waits for."""

from __future__ import annotations

from sluice_provider.jobs import JobRef
from sluice_provider.jobs.watched_job import WatchedJob


class WatchedBatchJob(WatchedJob):
    """An import or export."""

    service = "liquid_decisions"

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id

    def reference(self) -> JobRef:
        return JobRef(self.service, "job", (self._job_id,))
