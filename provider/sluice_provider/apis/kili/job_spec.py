"""What all of Kili's job specs share: the phase that computes differences, and part of the result."""

from __future__ import annotations

from typing import Any

from sluice_provider.apis.kili import azure as kili_azure
from sluice_provider.apis.kili import endpoints as api
from sluice_provider.apis.kili.model import MaskSecret
from sluice_provider.errors import ClientError
from sluice_provider.http.flow import Flow
from sluice_provider.jobs.record import Intent, JobRecord, PhaseRecord, times
from sluice_provider.jobs.spec import JobSpec, Phase, Prepared, ReconcileResult, Unit, reconcile_by_search

COMPUTE = "compute differences"


class KiliJobSpec(JobSpec):
    """
    :param mask_secret: called with the bucket's credentials, if they are needed, before they are used
    """

    service = "kili"

    def __init__(self, mask_secret: MaskSecret) -> None:
        self.mask_secret = mask_secret
        self.azure_listing: kili_azure.Listing | None = None
        """Set while a computation is prepared, used when it is submitted. The lifecycle makes a new phase for each."""

    def connection_of(self, record: JobRecord) -> str:
        """The connection's id, once the phase that finds or adds it has ended."""
        raise NotImplementedError

    def project_of(self, record: JobRecord) -> str:
        """The project's id, likewise."""
        raise NotImplementedError

    def computation_phase(self, record: JobRecord, name: str, *, last: bool) -> Phase:
        return ComputeDifferences(self, name, self.connection_of(record), self.project_of(record), last=last)

    def common_result(self, record: JobRecord) -> dict[str, Any]:
        """The part of the result that all of Kili's jobs have."""
        ended = bool(record.phases) and all(phase.outcome for phase in record.phases)
        return {
            "service": self.service,
            "state": "succeeded" if ended else "running",
            "connection_id": self.connection_of(record),
            "project_id": self.project_of(record),
            **times(record.phases),
        }


class ComputeDifferences(Phase):
    """Kili compares bucket and project. It may refuse to start a computation while one is running, which the
    connection's status shows."""

    prepare_again_on = (ClientError,)

    def __init__(self, spec: KiliJobSpec, name: str, connection_id: str, project_id: str, *, last: bool) -> None:
        super().__init__(name, "computation", {"project_id": project_id}, last=last)
        self._spec = spec
        self._connection_id = connection_id

    def prepare(self, unit: Unit, record: PhaseRecord) -> Flow[Prepared]:
        """A running computation that another client started may miss the latest files, so it is adopted only after Kili
        has refused to start another one."""
        refused = "last_check" in record.locator
        # Before the intent is written: listing a large container may take longer than the intent may be used.
        self._spec.azure_listing = yield from api.list_azure_container(self._connection_id, self._spec.mask_secret)
        status = yield from api.get_connection_status(self._connection_id)
        locator = {"last_check": status.last_check}
        if not (refused and status.checking):
            return Prepared(locator=locator)
        self._spec.log.info(
            "Kili is already computing the differences of connection %s; waiting for that computation",
            self._connection_id,
        )
        return Prepared(found=self._connection_id, locator=locator)

    def submit(self, unit: Unit, intent: Intent, record: PhaseRecord) -> Flow[str]:
        listing, self._spec.azure_listing = self._spec.azure_listing, None
        return (yield from api.start_computation(self._connection_id, listing))

    def reconcile(self, intent: Intent, record: PhaseRecord) -> Flow[ReconcileResult]:
        return reconcile_by_search(lambda: self._computed_since(record), intent)

    def _computed_since(self, record: PhaseRecord) -> Flow[str | None]:
        status = yield from api.get_connection_status(self._connection_id)
        started = status.checking or status.last_check != record.locator.get("last_check")
        return self._connection_id if started else None
