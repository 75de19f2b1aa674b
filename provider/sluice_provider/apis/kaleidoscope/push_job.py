"""A push into Kaleidoscope as a job: one import for each batch.

Kaleidoscope identifies records by their key fields (`kalbio/imports.py`: fields "that serve as keys for the
records", and `records_updated` beside `records_created` in an import's result), so pushing the same rows again updates
the same records.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sluice_provider.apis.checked_rows import CheckedRows
from sluice_provider.apis.kaleidoscope import endpoints as api
from sluice_provider.apis.kaleidoscope.field_rules import FieldRules
from sluice_provider.apis.kaleidoscope.rejections import KeptRejections
from sluice_provider.apis.kaleidoscope.rows import FieldCheck, check_batching
from sluice_provider.apis.manifests import phase_manifest
from sluice_provider.apis.payloads import JsonObject
from sluice_provider.apis.validation import check_exactly_one, check_id, check_strings, check_text, check_whole_number
from sluice_provider.errors import InvalidInput
from sluice_provider.http.flow import Flow
from sluice_provider.jobs.model import JobGroup, check_rejections
from sluice_provider.jobs.record import Intent, JobRecord, PhaseRecord
from sluice_provider.jobs.spec import JobSpec, Phase, Prepared, ReconcileResult, RepeatRequest, Unit, id_members

DEFAULT_MAX_IN_FLIGHT = 16
MAX_IN_FLIGHT = 20
"""As many connections are kept open by the HTTP client."""


class Target(NamedTuple):
    """Where records go, and the fields that identify them: the arguments of the API's flows."""

    key_field_names: Sequence[str] | None
    key_field_ids: Sequence[str] | None
    source_id: str | None
    operation_id: str | None
    program_id: str | None
    record_view_id: str | None
    add_fields_to_record_view_ids: Sequence[str] | None
    record_view_ids: Sequence[str] | None
    set_name: str | None

    def validate(self) -> None:
        """:raises InvalidInput: one of them is wrong, or two contradict each other"""
        check_exactly_one(key_field_names=self.key_field_names or None, key_field_ids=self.key_field_ids or None)
        for name in ("key_field_names", "key_field_ids", "add_fields_to_record_view_ids", "record_view_ids"):
            check_strings(name, getattr(self, name), empty=True)
        for name in ("source_id", "operation_id", "program_id", "record_view_id"):
            check_id(name, getattr(self, name), optional=True)
        check_text("set_name", self.set_name, optional=True)
        for name in ("add_fields_to_record_view_ids", "record_view_id", "source_id"):
            if self.key_field_ids and getattr(self, name) is not None:
                raise InvalidInput(
                    f"{name} goes with key_field_names only: the API does not take it with key_field_ids"
                )
        if self.record_view_id is not None and self.operation_id is None:
            raise InvalidInput("record_view_id needs an operation_id: the view belongs to an operation")

    @property
    def keys(self) -> list[str]:
        return list(self.key_field_names or self.key_field_ids or ())

    @property
    def arguments(self) -> JsonObject:
        """Of the API's flow, beside the keys and the rows."""
        names = ["operation_id", "program_id", "record_view_ids", "set_name"]
        if self.key_field_names:
            names += ["source_id", "record_view_id", "add_fields_to_record_view_ids"]
        return {name: getattr(self, name) for name in names}


class PushJob(JobSpec):
    """
    :param records: a list of dicts, or the path or URL of a file
    :param on_rejected_rows: fail, warn or ignore
    :param batch_size: rows in one request at the most
    :param max_bytes: bytes of one request at the most
    :param max_in_flight: requests at the same time at the most
    :param rejected_to: path of a file for rejected rows, or None
    :param on_unknown_field: fail, create or drop; None where unknown fields are not looked for
    :param check_types: whether values must fit the types of Kaleidoscope's fields
    """

    service = "kaleidoscope"

    def __init__(
        self,
        records: Any,
        target: Target,
        *,
        on_rejected_rows: str,
        batch_size: int,
        max_bytes: int,
        max_in_flight: int = DEFAULT_MAX_IN_FLIGHT,
        rejected_to: Any = None,
        on_unknown_field: str | None = None,
        check_types: bool = False,
    ) -> None:
        by_id = not target.key_field_names
        self.rules = FieldRules(on_unknown_field, check_types=check_types, keys=target.keys, by_id=by_id)
        self.kept = KeptRejections(rejected_to)
        check = FieldCheck(target.keys, rules=self.rules)
        self.rows = CheckedRows(records, check, max_bytes, positions=bool(self.kept))
        self.target = target
        self.on_rejected_rows = on_rejected_rows
        self.batch_size = batch_size
        self.max_bytes = max_bytes
        self.max_in_flight = max_in_flight

    def validate(self) -> None:
        self.target.validate()
        check_batching(self.batch_size, self.max_bytes, self.on_rejected_rows)
        check_whole_number("max_in_flight", self.max_in_flight, 1, MAX_IN_FLIGHT)
        self.kept.validate()
        self.rules.validate()
        if self.target.record_view_ids and self.target.key_field_names:
            self.log.warning(
                "record_view_ids has no effect on current Kaleidoscope servers when fields are given by name: use "
                "record_view_id and operation_id"
            )

    def resume(self, record: JobRecord) -> None:
        phase = record.phase("push")
        self.rows.resume(phase.facts, [submission.rows for submission in phase.submissions])

    def fingerprint(self) -> Any:
        """Reads and checks all rows before anything is sent."""
        if not self.rows.total:
            raise InvalidInput(f"{self.rows.source_name} has no records to push")
        self.log.info("%s", self.rows.description)
        self.rules.describe(self.log)
        target = [self.target.keys, bool(self.target.key_field_names), self.target.arguments]
        return [*target, self.rows.digest, *self.rules.settings]

    def read_before_input(self) -> Flow[None] | None:
        return self.rules.read() if self.rules else None

    def preview(self) -> Flow[JsonObject]:
        requests = sum(1 for _ in self.rows.units(PhaseRecord("push"), self.batch_size, self.max_bytes))
        self.rows.log_first(self.log, f"push {self.rows.source_name} in {requests} requests")
        found = {"records": self.rows.total, "requests": requests}
        return {**found, "unknown_fields": sorted(self.rules.unknown)} if self.rules else found
        yield  # makes this a flow, though it sends nothing

    def next_phase(self, record: JobRecord) -> Phase | None:
        return None if record.phase("push").outcome else _PushPhase(self)

    def keep_rejections(self, phase: Phase, record: PhaseRecord, work: JobGroup) -> Flow[JsonObject]:
        yield from self.rules.read()  # a process that has not read the rows reads them now
        return (yield from self.kept.of_imports(record, self.rows, self.target.keys, work, self.log))

    def check_result(self, phase: Phase, work: JobGroup) -> None:
        check_rejections(work, self.on_rejected_rows, self.log, then=self.kept.then())

    def manifest(self, record: JobRecord) -> JsonObject:
        phase = record.phase("push")
        return phase_manifest(self, phase, **id_members("import_ids", phase.ids), pushed=phase.size)

    def close(self) -> None:
        self.rows.close()


class _PushPhase(Phase):
    """One import for each batch. A repeated request updates the same records, so the record is written in groups."""

    grouped = True
    items = "rows"

    def __init__(self, spec: PushJob) -> None:
        operation_id = spec.target.operation_id
        super().__init__("push", "import", {"operation_id": operation_id} if operation_id else {})
        self.max_in_flight = spec.max_in_flight
        self._spec = spec

    def units(self, record: PhaseRecord) -> Iterator[Unit]:
        if record.submissions:
            self._spec.log.info("Resuming: %d records were accepted before and are not sent again", record.size)
        return self._spec.rows.units(record, self._spec.batch_size, self._spec.max_bytes)

    def prepare(self, unit: Unit, record: PhaseRecord) -> Flow[Prepared]:
        return Prepared(facts=self._spec.rows.facts)
        yield  # makes this a flow, though it sends nothing

    def submit(self, unit: Unit, intent: Intent, record: PhaseRecord) -> Flow[str]:
        target = self._spec.target
        push = api.push_by_field_name if target.key_field_names else api.push_by_field_id
        return (yield from push(target.keys, unit.content, **target.arguments))

    def reconcile(self, intent: Intent, record: PhaseRecord) -> Flow[ReconcileResult]:
        return RepeatRequest("Kaleidoscope identifies records by their key fields, so the same records are updated")
        yield  # makes this a flow, though it sends nothing

    def settled(self, record: PhaseRecord) -> PhaseRecord:
        """The facts are kept: with them, a retry that only waits need not read the rows again."""
        return record
