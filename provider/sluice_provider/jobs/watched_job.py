"""A job that was submitted elsewhere, as a spec: what a sensor waits for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sluice_provider.jobs.record import NOTHING, Intent, JobRecord, PhaseRecord
from sluice_provider.jobs.spec import JobSpec, Phase, Prepared, Unit, id_members

if TYPE_CHECKING:
    from sluice_provider.http.flow import Flow
    from sluice_provider.jobs.model import JobGroup, JobRef

PHASE = "wait"


class WatchedJob(JobSpec):
    """A job that was submitted elsewhere. A subclass sets `service` and overrides `reference`; the rest is optional."""

    def reference(self) -> JobRef:
        """The jobs to wait for."""
        raise NotImplementedError

    def initial_locator(self) -> Flow[Mapping[str, str]]:
        """What must be read before the wait; called once, and part of the job's `locator` from then on."""
        return NOTHING
        yield  # makes it a flow, one without a request

    def fingerprint(self) -> Any:
        return self.reference().to_json()

    def next_phase(self, record: JobRecord) -> Phase | None:
        return None if record.phase(PHASE).outcome else _Watched(self)

    def result(self, work: JobGroup) -> dict[str, Any]:
        """What the sensor returns."""
        ids = self.reference().ids if work.ended.number else [job.id for job in work.jobs]
        return {**id_members("ids", ids), "state": work.state.value, **work.counts}

    def fetch_outputs(self, phase: Phase, work: JobGroup) -> Flow[dict[str, Any]]:
        del phase
        return self.result(work)
        yield  # makes it a flow, one without a request

    def manifest(self, record: JobRecord) -> dict[str, Any]:
        return dict((record.phase(PHASE).outcome or {}).get("outputs") or {})


class _Watched(Phase):
    """All of its ids are known already."""

    def __init__(self, spec: WatchedJob) -> None:
        self._spec = spec
        self._ref = spec.reference()
        super().__init__(PHASE, self._ref.job_type, self._ref.locator)

    def units(self, record: PhaseRecord) -> Iterator[Unit]:
        for job_id in self._ref.ids[len(record.submissions) :]:
            yield Unit(content=job_id)

    def prepare(self, unit: Unit, record: PhaseRecord) -> Flow[Prepared]:
        initial_locator = NOTHING if record.submissions else (yield from self._spec.initial_locator())
        return Prepared(found=unit.content, locator=initial_locator)

    def submit(self, unit: Unit, intent: Intent, record: PhaseRecord) -> Flow[str]:  # noqa: ARG002 - never called
        raise AssertionError("a sensor submits nothing")
