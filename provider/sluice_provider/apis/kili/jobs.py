"""What the jobs for Kili share: computing the differences of a connection, and telling of it."""

from __future__ import annotations

from typing import Any

from sluice_provider.apis.kili import endpoints as api
from sluice_provider.errors import ClientError
from sluice_provider.http.flow import Flow
from sluice_provider.jobs.record import Intent, JobRecord, PhaseRecord, times
from sluice_provider.jobs.spec import JobSpec, Phase, Prepared, ReconcileResult, Unit, reconcile_by_search

Raw = dict[str, Any]

COMPUTE = "compute differences"


class KiliJob(JobSpec):
    """
    :param conceal: is told the bucket's credentials, should they be needed, before anything is done with them
    """

    service = "kili"

    def __init__(self, conceal: api.Conceal) -> None:
        self.conceal = conceal
        self.listing: Raw | None = None
        """Of an Azure bucket, between its making and its sending."""

    def connection_of(self, record: JobRecord) -> str:
        """The connection's id, once its phase has brought it."""
        raise NotImplementedError

    def project_of(self, record: JobRecord) -> str:
        raise NotImplementedError

    def computing(self, record: JobRecord, name: str, *, last: bool) -> Phase:
        return ComputeDifferences(self, name, self.connection_of(record), self.project_of(record), last=last)

    def common(self, record: JobRecord) -> Raw:
        """What the results of all jobs have."""
        over = bool(record.phases) and all(phase.outcome for phase in record.phases)
        return {
            "service": self.service,
            "state": "succeeded" if over else "running",
            "connection_id": self.connection_of(record),
            "project_id": self.project_of(record),
            **times(record.phases),
        }


class ComputeDifferences(Phase):
    """Kili compares bucket and project. Whether it has begun can be seen, and that it has is why it may refuse to begin
    once more."""

    prepare_again_on = (ClientError,)

    def __init__(self, spec: KiliJob, name: str, connection_id: str, project_id: str, *, last: bool) -> None:
        super().__init__(name, "computation", {"project_id": project_id}, last=last)
        self._spec = spec
        self._connection_id = connection_id

    def prepare(self, unit: Unit, record: PhaseRecord) -> Flow[Prepared]:
        """A computation that somebody else began may not see the latest files, so it is taken for ours only once Kili
        has refused to begin another one."""
        refused = "last_check" in record.locator
        # Before the intent: to list a large bucket may take longer than an intent is good for.
        self._spec.listing = yield from api.list_for_kili(self._connection_id, self._spec.conceal)
        look = yield from api.look_at(self._connection_id)
        known = {"last_check": look.last_check}
        if not (refused and look.checking):
            return Prepared(locator=known)
        self._spec.log.info("Kili is computing the differences of %s already", self._connection_id)
        return Prepared(found=self._connection_id, locator=known)

    def submit(self, unit: Unit, intent: Intent, record: PhaseRecord) -> Flow[str]:
        listing, self._spec.listing = self._spec.listing, None
        return (yield from api.begin_computation(self._connection_id, listing))

    def reconcile(self, intent: Intent, record: PhaseRecord) -> Flow[ReconcileResult]:
        return reconcile_by_search(lambda: self._begun_since(record), intent)

    def _begun_since(self, record: PhaseRecord) -> Flow[str | None]:
        look = yield from api.look_at(self._connection_id)
        begun = look.checking or look.last_check != record.locator.get("last_check")
        return self._connection_id if begun else None
