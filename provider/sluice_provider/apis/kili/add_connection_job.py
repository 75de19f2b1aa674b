"""The job that adds a cloud storage connection to a Kili project.

Kili has no idempotency keys. If a request gets no response, the project's connections are listed: one with the same
settings that did not exist before the request is the result of that request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sluice_provider.apis.kili import endpoints as api
from sluice_provider.apis.kili.job_spec import COMPUTE, KiliJobSpec
from sluice_provider.apis.kili.model import Connection, ConnectionSettings, MaskSecret
from sluice_provider.apis.validation import check_choice, check_id
from sluice_provider.errors import Conflict, NotFound
from sluice_provider.http.flow import Flow
from sluice_provider.jobs.record import Intent, JobRecord, PhaseRecord
from sluice_provider.jobs.spec import Phase, Prepared, ReconcileResult, Unit, reconcile_by_search

ADD = "add connection"


class AddConnectionJob(KiliJobSpec):
    """
    :param if_exists: if the project has a connection with the same settings: `reuse` it, `fail`, or `add` another one
    """

    def __init__(
        self,
        *,
        project_id: str,
        integration_id: str,
        settings: ConnectionSettings,
        if_exists: str,
        compute_differences: bool,
        mask_secret: MaskSecret,
    ) -> None:
        super().__init__(mask_secret)
        self.project_id = project_id
        self.integration_id = integration_id
        self.settings = settings
        self.if_exists = if_exists
        self._compute_differences = compute_differences

    def validate(self) -> None:
        check_id("project_id", self.project_id)
        check_id("cloud_storage_integration_id", self.integration_id)
        self.settings.validate()
        check_choice("if_exists", self.if_exists, ("reuse", "fail", "add"))

    def fingerprint(self) -> Any:
        return ["add", self.project_id, self.integration_id, self.settings._asdict()]

    def preview(self) -> Flow[dict[str, Any]]:
        """Whether a connection with these settings is there already."""
        prepared = yield from _AddConnection(self, last=True).prepare(Unit(), PhaseRecord(ADD))
        reused = prepared.found is not None
        if not reused:
            self.log.info(
                "Would add a connection of integration %s to project %s", self.integration_id, self.project_id
            )
        return {"project_id": self.project_id, "integration_id": self.integration_id, "reused": reused}

    def next_phase(self, record: JobRecord) -> Phase | None:
        if not record.phase(ADD).outcome:
            return _AddConnection(self, last=not self._compute_differences)
        if self._compute_differences and not record.phase(COMPUTE).outcome:
            return self.computation_phase(record, COMPUTE, last=True)
        return None

    def connection_of(self, record: JobRecord) -> str:
        return record.phase(ADD).ids[0]

    def project_of(self, record: JobRecord) -> str:
        return self.project_id

    def manifest(self, record: JobRecord) -> dict[str, Any]:
        outcome = record.phase(COMPUTE).outcome
        return {
            **self.common_result(record),
            "integration_id": self.integration_id,
            "reused": bool(record.phase(ADD).facts.get("reused")),
            **(outcome["counts"] if outcome else {}),
        }


class _AddConnection(Phase):
    """The connection is added, or an existing one is reused."""

    def __init__(self, spec: AddConnectionJob, *, last: bool) -> None:
        super().__init__(ADD, "added_connection", {"project_id": spec.project_id}, last=last)
        self._spec = spec

    def prepare(self, unit: Unit, record: PhaseRecord) -> Flow[Prepared]:
        spec = self._spec
        existing = yield from self._list()
        same = self._with_same_settings(existing)
        if same and spec.if_exists == "fail":
            raise Conflict(
                f"Kili project {spec.project_id} already has the connection {same[0]} of integration "
                f"{spec.integration_id} with these settings, and if_exists is 'fail'. Nothing was added"
            )
        if same and spec.if_exists == "reuse":
            spec.log.info(
                "Kili project %s already has the connection %s of integration %s with these settings; reusing it",
                spec.project_id,
                same[0],
                spec.integration_id,
            )
            return Prepared(found=same[0], facts={"reused": True})
        yield from self._check_integration()
        return Prepared(facts={"before": [each["id"] for each in existing]})

    def submit(self, unit: Unit, intent: Intent, record: PhaseRecord) -> Flow[str]:
        return api.add_connection(self._spec.project_id, self._spec.integration_id, **self._spec.settings._asdict())

    def reconcile(self, intent: Intent, record: PhaseRecord) -> Flow[ReconcileResult]:
        return reconcile_by_search(lambda: self._find_new_connection(record), intent)

    def settled(self, record: PhaseRecord) -> PhaseRecord:
        """Keeps `reused` for the result."""
        return record._replace(facts={"reused": True} if record.facts.get("reused") else {})

    def _find_new_connection(self, record: PhaseRecord) -> Flow[str | None]:
        before = record.facts.get("before", ())
        candidates = self._with_same_settings((yield from self._list()))
        return next((each for each in candidates if each not in before), None)

    def _list(self) -> Flow[list[Connection]]:
        found = yield from api.list_connections(self._spec.project_id, self._spec.integration_id)
        return [each for each in found if each.get("projectId") == self._spec.project_id]

    def _with_same_settings(self, connections: Sequence[Connection]) -> list[str]:
        return [each["id"] for each in connections if self._spec.settings.match(each)]

    def _check_integration(self) -> Flow[None]:
        """:raises NotFound: naming the integrations that exist, as Kili's own error does not help"""
        try:
            found = yield from api.get_integration(self._spec.integration_id)
        except NotFound as error:
            existing = yield from api.list_integrations()
            visible = ", ".join(f"{each['id']} ({each['name']})" for each in existing[:10]) or "none"
            raise NotFound(f"{error}; visible are: {visible}") from None
        if found.get("status") != "CONNECTED":
            self._spec.log.warning(
                "Kili integration %s has the status %s, not CONNECTED; the connection is added anyway",
                found.get("name"),
                found.get("status"),
            )
