"""The job that cancels another job in Liquid Decisions. It ends when that job has ended."""

from __future__ import annotations

from typing import Any

from sluice_provider.apis.liquid_decisions import endpoints as api
from sluice_provider.apis.liquid_decisions.job_status import job_from_status
from sluice_provider.apis.manifests import phase_manifest
from sluice_provider.apis.payloads import JsonObject
from sluice_provider.http.flow import Flow
from sluice_provider.jobs.model import JobGroup, JobState
from sluice_provider.jobs.record import Intent, JobRecord, PhaseRecord
from sluice_provider.jobs.spec import JobSpec, Phase, ReconcileResult, RepeatRequest, Unit

CANCEL = "cancel"


class _RequestCancellation(Phase):
    """Idempotent, so the request may be sent at any time."""

    send_window = float("inf")

    def __init__(self, job_id: str) -> None:
        super().__init__(CANCEL, "job")
        self._job_id = job_id

    def submit(self, unit: Unit, intent: Intent, record: PhaseRecord) -> Flow[str]:
        return api.cancel_job(self._job_id)

    def reconcile(self, intent: Intent, record: PhaseRecord) -> Flow[ReconcileResult]:
        return RepeatRequest("a repeated cancellation has no further effect")
        yield  # makes this a generator


class CancelJob(JobSpec):
    """Cancels a job, and waits until it has ended, in whatever state."""

    service = "liquid_decisions"
    success_states = frozenset({JobState.SUCCEEDED, JobState.CANCELLED, JobState.FAILED})

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id

    def fingerprint(self) -> Any:
        return [self._job_id]

    def preview(self) -> Flow[JsonObject]:
        """The job's status now."""
        job = job_from_status((yield from api.get_job(self._job_id)))
        over = ", which is over already" if job.state.over else ""
        self.log.info("Would cancel job %s%s", job, over)
        return {"job_id": self._job_id, "status": job.service_status}

    def next_phase(self, record: JobRecord) -> Phase | None:
        return None if record.phase(CANCEL).outcome else _RequestCancellation(self._job_id)

    def fetch_outputs(self, phase: Phase, work: JobGroup) -> Flow[JsonObject]:
        job = work.jobs[0]
        cancelled = job.state is JobState.CANCELLED
        if not cancelled:
            self.log.warning("Liquid Decisions' job had ended before it could be cancelled: %s", job)
        return {"cancelled": cancelled, "status": job.service_status, "reason": job.message}
        yield  # makes this a generator

    def manifest(self, record: JobRecord) -> JsonObject:
        phase = record.phase(CANCEL)
        return phase_manifest(self, phase, job_id=phase.ids[0])
