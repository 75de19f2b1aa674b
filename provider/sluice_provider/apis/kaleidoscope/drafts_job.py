"""Staging drafts in Kaleidoscope as a job: imports in two steps, one for each batch.

The same rows staged twice are two drafts each. So an import is created first, which makes no drafts, and then run by
its id. If the response to running it is lost, the status of that import is read, and only that import is run again: a
request that arrives late can at worst be rejected, and never makes drafts beside those of another import.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sluice_provider.apis.checked_rows import CheckedRows
from sluice_provider.apis.kaleidoscope import drafts as api
from sluice_provider.apis.kaleidoscope.rejections import KeptRejections
from sluice_provider.apis.kaleidoscope.rows import FieldCheck, check_batching
from sluice_provider.apis.manifests import phase_manifest
from sluice_provider.apis.payloads import JsonObject
from sluice_provider.apis.validation import check_id, check_strings
from sluice_provider.errors import ClientError, InvalidInput, OutcomeUnknown
from sluice_provider.http.flow import Flow
from sluice_provider.jobs.model import JobGroup, check_rejections
from sluice_provider.jobs.record import Intent, JobRecord, PhaseRecord
from sluice_provider.jobs.spec import (
    JobSpec,
    NoEffect,
    Phase,
    Prepared,
    ReconcileResult,
    Unit,
    id_members,
    reconcile_by_search,
)

AFTER_REJECTED_ROWS = (
    "Rows that are staged again become second drafts: before you correct the rows and clear this task, clear the "
    "drafts in Kaleidoscope or set replace_existing=True; to accept rejected rows, set on_rejected_rows='warn'"
)

ALREADY_RUN = (400, 409, 422)
"""Kaleidoscope may reject with one of these an import that was run already; which one is not documented."""


class StageDraftsJob(JobSpec):
    """
    :param records: a list of dicts, or the path or URL of a file
    :param replace_existing: archive the drafts that were there before, once the first rows are staged
    :param on_rejected_rows: fail, warn or ignore
    :param batch_size: rows in one import at the most
    :param max_bytes: bytes of one request at the most
    :param rejected_to: path of a file for rejected rows, or None
    """

    service = "kaleidoscope"

    def __init__(
        self,
        records: Any,
        *,
        operation_id: str,
        key_field_names: Sequence[str],
        replace_existing: bool,
        on_rejected_rows: str,
        batch_size: int,
        max_bytes: int,
        rejected_to: Any = None,
    ) -> None:
        self._check = FieldCheck(key_field_names, collect=True)
        self.kept = KeptRejections(rejected_to)
        self.rows = CheckedRows(records, self._check, max_bytes, positions=bool(self.kept))
        self.operation_id = operation_id
        self.key_field_names = key_field_names
        self.replace_existing = replace_existing
        self.on_rejected_rows = on_rejected_rows
        self.batch_size = batch_size
        self.max_bytes = max_bytes
        self._staging: api.Staging | None = None
        self.not_run: dict[tuple[int, int], str] = {}
        """Ids of imports that turned out not to have been run, by the start and size of their batch: they are run
        again."""

    def validate(self) -> None:
        check_id("operation_id", self.operation_id)
        check_strings("key_field_names", self.key_field_names, optional=False)
        check_batching(self.batch_size, self.max_bytes, self.on_rejected_rows)
        self.kept.validate()

    def fingerprint(self) -> Any:
        """Reads and checks all rows before anything is sent."""
        if not self.rows.total:
            raise InvalidInput(f"{self.rows.source_name} has no records to stage")
        self.log.info("%s", self.rows.description)
        return [self.operation_id, list(self.key_field_names), bool(self.replace_existing), self.rows.digest]

    def preview(self) -> Flow[JsonObject]:
        """Reads the staging table, whose fields and drafts decide."""
        staging = yield from self.staging(refresh=True)
        requests = sum(1 for _ in self.rows.units(PhaseRecord("stage"), self.batch_size, self.max_bytes))
        replaced = len(staging.draft_ids) if self.replace_existing else 0
        what = f"stage {self.rows.source_name} on operation {self.operation_id} in {requests} imports"
        self.rows.log_first(self.log, f"{what}, and archive {replaced} of its {len(staging.draft_ids)} drafts")
        found = {"operation_id": self.operation_id, "records": self.rows.total, "requests": requests}
        return {**found, "replaced": replaced}

    def next_phase(self, record: JobRecord) -> Phase | None:
        return None if record.phase("stage").outcome else _StagePhase(self)

    # --- for the phase

    @property
    def columns(self) -> list[str]:
        """The fields of the rows, without the key fields."""
        return sorted(self._check.names - set(self.key_field_names)) if self.rows.total else []

    def staging(self, *, refresh: bool) -> Flow[api.Staging]:
        """The staging table, read once.

        :param refresh: read it again
        :raises InvalidInput: the rows have fields that the staging table does not have
        """
        if self._staging is None or refresh:
            staging = yield from api.get_staging(self.operation_id)
            unknown = [name for name in self.columns if name not in staging.fields]
            if unknown:
                raise InvalidInput(
                    f"{self.rows.source_name} has fields that are neither key_field_names nor data fields of the "
                    f"staging table of operation {self.operation_id}: {', '.join(map(repr, unknown))}; its data fields "
                    f"are {', '.join(sorted(staging.fields)) or 'none'}"
                )
            self._staging = staging
        return self._staging

    def run(self, import_id: str, replaced: Sequence[str]) -> Flow[str]:
        """Run an import.

        :raises OutcomeUnknown: it was rejected, perhaps because an earlier request has run it after all
        """
        staging = yield from self.staging(refresh=False)
        try:
            return (yield from api.run_draft_import(import_id, self.key_field_names, self.columns, staging, replaced))
        except ClientError as error:
            if error.status not in ALREADY_RUN or import_id not in self.not_run.values():
                raise
            raise OutcomeUnknown(
                f"{error}: perhaps because an earlier request, whose response was lost, has run import {import_id} "
                f"already. Check operation {self.operation_id} in Kaleidoscope: if its drafts are there, mark this "
                "task as success, else clear it"
            ) from None

    # --- the end

    def keep_rejections(self, phase: Phase, record: PhaseRecord, work: JobGroup) -> Flow[JsonObject]:
        return (yield from self.kept.of_imports(record, self.rows, self.key_field_names, work, self.log))

    def check_result(self, phase: Phase, work: JobGroup) -> None:
        check_rejections(work, self.on_rejected_rows, self.log, then=self.kept.then(AFTER_REJECTED_ROWS))

    def manifest(self, record: JobRecord) -> JsonObject:
        phase = record.phase("stage")
        return phase_manifest(
            self,
            phase,
            operation_id=self.operation_id,
            **id_members("import_ids", phase.ids),
            staged=phase.size,
            replaced=len(phase.facts.get("replaced") or ()),
        )

    def close(self) -> None:
        self.rows.close()


class _StagePhase(Phase):
    """One import for each batch. The key of an intent is the import's id."""

    items = "rows"

    def __init__(self, spec: StageDraftsJob) -> None:
        super().__init__("stage", "import", {"operation_id": spec.operation_id})
        self._spec = spec

    def units(self, record: PhaseRecord) -> Iterator[Unit]:
        if record.submissions:
            self._spec.log.info("Resuming: %d records were staged before and are not staged again", record.size)
        return self._spec.rows.units(record, self._spec.batch_size, self._spec.max_bytes)

    def prepare(self, unit: Unit, record: PhaseRecord) -> Flow[Prepared]:
        """Create the import, which does nothing until it is run."""
        # An earlier try that staged nothing may have seen other drafts: those that are there now are replaced.
        first = not record.submissions
        staging = yield from self._spec.staging(refresh=first)
        import_id = self._spec.not_run.get((unit.start, unit.size), "")
        if not import_id:
            import_id = yield from api.create_draft_import(self._spec.operation_id, unit.content)
        replaced = {"replaced": list(staging.draft_ids)} if first and self._spec.replace_existing else {}
        return Prepared(key=import_id, facts={"digest": self._spec.rows.digest, **replaced})

    def submit(self, unit: Unit, intent: Intent, record: PhaseRecord) -> Flow[str]:
        """The first batch replaces the old drafts, so that nothing is staged if that is rejected."""
        replaced = record.facts.get("replaced") or () if unit.start == 0 else ()
        yield from self._spec.run(intent.key, replaced)
        self._spec.log.info("Kaleidoscope accepted %d records for staging as import %s", unit.size, intent.key)
        return intent.key

    def reconcile(self, intent: Intent, record: PhaseRecord) -> Flow[ReconcileResult]:
        effect = yield from reconcile_by_search(lambda: api.find_run(intent.key), intent)
        if isinstance(effect, NoEffect):
            self._spec.not_run[intent.start, intent.size] = intent.key
        return effect

    def settled(self, record: PhaseRecord) -> PhaseRecord:
        """The facts are kept: the result counts replaced drafts, and a retry of the first batch needs them."""
        return record
