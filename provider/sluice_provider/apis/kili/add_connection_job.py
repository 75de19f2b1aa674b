"""What it is to use a cloud storage integration in a Kili project, as a job.

Kili has no idempotency keys, so what became of a request without an answer is found out by a listing: a connection with
our settings that was not there before the request is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sluice_provider.apis.kili import endpoints as api
from sluice_provider.apis.kili.jobs import COMPUTE, KiliJob
from sluice_provider.apis.validation import check_choice, check_id, check_strings
from sluice_provider.errors import Conflict, InvalidInput, NotFound
from sluice_provider.http.flow import Flow
from sluice_provider.jobs.record import Intent, JobRecord, PhaseRecord
from sluice_provider.jobs.spec import Phase, Prepared, ReconcileResult, Unit, reconcile_by_search

Raw = dict[str, Any]

ADD = "add connection"


class AddConnectionJob(KiliJob):
    """
    :param settings: what the connection is to be like, by the names of `add_connection`
    :param if_exists: when there is one like it: `reuse` it, `fail`, or `add` another one
    """

    def __init__(
        self,
        *,
        project_id: str,
        integration_id: str,
        settings: Mapping[str, Any],
        if_exists: str,
        compute_differences: bool,
        conceal: api.Conceal,
    ) -> None:
        super().__init__(conceal)
        self.project_id = project_id
        self.integration_id = integration_id
        self.settings = settings
        self.if_exists = if_exists
        self._compute_differences = compute_differences

    def validate(self) -> None:
        check_id("project_id", self.project_id)
        check_id("cloud_storage_integration_id", self.integration_id)
        for name in ("selected_folders", "include", "exclude"):
            check_strings(name, self.settings[name], empty=True)
        prefix = self.settings["prefix"]
        if prefix is not None and (not prefix.endswith("/") or "*" in prefix):
            raise InvalidInput(f"prefix must be one path that ends in a slash, without a star, not {prefix!r}")
        check_choice("if_exists", self.if_exists, ("reuse", "fail", "add"))

    def fingerprint(self) -> Any:
        return ["add", self.project_id, self.integration_id, self.settings]

    def next_phase(self, record: JobRecord) -> Phase | None:
        if not record.phase(ADD).outcome:
            return _AddConnection(self, last=not self._compute_differences)
        if self._compute_differences and not record.phase(COMPUTE).outcome:
            return self.computing(record, COMPUTE, last=True)
        return None

    def connection_of(self, record: JobRecord) -> str:
        return record.phase(ADD).ids[0]

    def project_of(self, record: JobRecord) -> str:
        return self.project_id

    def manifest(self, record: JobRecord) -> Raw:
        outcome = record.phase(COMPUTE).outcome
        return {
            **self.common(record),
            "integration_id": self.integration_id,
            "reused": bool(record.phase(ADD).facts.get("reused")),
            **(outcome["counts"] if outcome else {}),
        }


class _AddConnection(Phase):
    """One connection, found or added."""

    def __init__(self, spec: AddConnectionJob, *, last: bool) -> None:
        super().__init__(ADD, "added_connection", {"project_id": spec.project_id}, last=last)
        self._spec = spec

    def prepare(self, unit: Unit, record: PhaseRecord) -> Flow[Prepared]:
        spec = self._spec
        there = yield from self._list()
        same = [str(each["id"]) for each in there if alike(each, spec.settings)]
        if same and spec.if_exists == "fail":
            raise Conflict(f"project {spec.project_id} has the connection {same[0]} of this integration with these "
                           "settings, and if_exists is 'fail'")  # fmt: skip
        if same and spec.if_exists == "reuse":
            spec.log.info("The project has such a connection already: %s", same[0])
            return Prepared(found=same[0], facts={"reused": True})
        yield from self._check_integration()
        return Prepared(facts={"before": [str(each["id"]) for each in there]})

    def submit(self, unit: Unit, intent: Intent, record: PhaseRecord) -> Flow[str]:
        return api.add_connection(self._spec.project_id, self._spec.integration_id, **self._spec.settings)

    def reconcile(self, intent: Intent, record: PhaseRecord) -> Flow[ReconcileResult]:
        return reconcile_by_search(lambda: self._find_added(record), intent)

    def settled(self, record: PhaseRecord) -> PhaseRecord:
        """The result tells whether it was reused."""
        return record._replace(facts={"reused": True} if record.facts.get("reused") else {})

    def _find_added(self, record: PhaseRecord) -> Flow[str | None]:
        before = record.facts.get("before", ())
        there = yield from self._list()
        added = (str(each["id"]) for each in there if alike(each, self._spec.settings))
        return next((each for each in added if each not in before), None)

    def _list(self) -> Flow[list[Raw]]:
        found = yield from api.list_connections(self._spec.project_id, self._spec.integration_id)
        return [each for each in found if each.get("projectId") == self._spec.project_id]

    def _check_integration(self) -> Flow[None]:
        """:raises NotFound: in words that help, as Kili itself has none"""
        try:
            found = yield from api.get_integration(self._spec.integration_id)
        except NotFound as error:
            there = yield from api.list_integrations()
            known = ", ".join(f"{each['id']} ({each['name']})" for each in there[:10]) or "none"
            raise NotFound(f"{error}; those it may see: {known}") from None
        if found.get("status") != "CONNECTED":
            self._spec.log.warning("The integration %s is %s", found.get("name"), found.get("status"))


def alike(connection: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether a connection is as these settings say; Kili may write "not given" as null or as an empty list."""
    folders = settings["selected_folders"]
    if (None if folders is None else list(folders)) != connection.get("selectedFolders"):
        return False
    wanted = settings["is_json_processing_enabled"]
    if wanted is not None and wanted != bool(connection.get("isJsonProcessingEnabled")):
        return False
    return (settings["prefix"] or None) == (connection.get("prefix") or None) and all(
        sorted(settings[name] or ()) == sorted(connection.get(name) or ()) for name in ("include", "exclude")
    )
