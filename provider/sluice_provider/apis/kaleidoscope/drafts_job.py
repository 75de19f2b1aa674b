"""What staging drafts in Kaleidoscope is, as a job: imports in two steps, one for each batch.

The same rows staged twice are two drafts each. So rows are handed over first, which makes no drafts, and then run by
the import's id. Where the answer to running is lost, that very import is looked at, and only that one is run again: a
request that lands late can at worst be refused, and never make drafts beside those of another import.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sluice_provider.apis.kaleidoscope import drafts as api
from sluice_provider.apis.kaleidoscope.rows import CheckedRows, check_batches, units
from sluice_provider.apis.validation import check_id, check_strings
from sluice_provider.errors import ClientError, InvalidInput, OutcomeUnknown
from sluice_provider.http.flow import Flow
from sluice_provider.jobs.model import JobGroup, check_rejections
from sluice_provider.jobs.record import Intent, JobRecord, PhaseRecord, times
from sluice_provider.jobs.spec import JobSpec, NoEffect, Phase, Prepared, ReconcileResult, Unit, reconcile_by_search

Raw = dict[str, Any]

FIX = (
    "Staged again, they would be two drafts each: clear them there or set replace_existing=True, before you fix the "
    "rows and clear this task; or let on_rejected_rows be 'warn'"
)
"""What to do about rejected rows."""

REFUSED = (400, 409, 422)
"""With one of these an import that was run already may be refused; which one, nobody has written down."""


class StageDraftsJob(JobSpec):
    """
    :param rows: what is staged
    :param replace_existing: archive the drafts that are there before, once the first rows are in
    :param on_rejected_rows: fail, warn or ignore
    :param batch_size: rows in one import at the most
    :param max_bytes: bytes of one request at the most
    """

    service = "kaleidoscope"

    def __init__(
        self,
        rows: CheckedRows,
        *,
        operation_id: str,
        key_field_names: Sequence[str],
        replace_existing: bool,
        on_rejected_rows: str,
        batch_size: int,
        max_bytes: int,
    ) -> None:
        self.rows = rows
        self.operation_id = operation_id
        self.key_field_names = key_field_names
        self.replace_existing = replace_existing
        self.on_rejected_rows = on_rejected_rows
        self.batch_size = batch_size
        self.max_bytes = max_bytes
        self._staging: api.Staging | None = None
        self.not_run: dict[tuple[int, int], str] = {}
        """Imports of which it was found out that they were not run, by the rows in them: they are run once more."""

    def validate(self) -> None:
        check_id("operation_id", self.operation_id)
        check_strings("key_field_names", self.key_field_names, optional=False)
        check_batches(self.batch_size, self.max_bytes, self.on_rejected_rows)

    def fingerprint(self) -> Any:
        """Reads all rows, so that nothing is sent when one of them is wrong."""
        if not self.rows.count:
            raise InvalidInput(f"{self.rows.name}: there are no records to stage")
        self.log.info("%d records in %s are valid", self.rows.count, self.rows.name)
        return [self.operation_id, list(self.key_field_names), bool(self.replace_existing), self.rows.digest]

    def next_phase(self, record: JobRecord) -> Phase | None:
        return None if record.phase("stage").outcome else _Stage(self)

    # --- for the phase

    @property
    def columns(self) -> list[str]:
        """The fields of the rows that are no keys."""
        return sorted(set(self.rows.fields) - set(self.key_field_names))

    def staging(self, *, anew: bool) -> Flow[api.Staging]:
        """The staging table, asked for once.

        :param anew: as it is now
        :raises InvalidInput: the rows have fields that the staging table has not
        """
        if self._staging is None or anew:
            staging = yield from api.get_staging(self.operation_id)
            unknown = [name for name in self.columns if name not in staging.fields]
            if unknown:
                raise InvalidInput(
                    f"{self.rows.name}: {', '.join(map(repr, unknown))}: neither key fields nor data fields of the "
                    f"staging table, which has {', '.join(sorted(staging.fields)) or 'none'}"
                )
            self._staging = staging
        return self._staging

    def run(self, import_id: str, replaced: Sequence[str]) -> Flow[str]:
        """Run an import that was handed over.

        :raises OutcomeUnknown: it was refused, and perhaps because an earlier request has landed after all
        """
        staging = yield from self.staging(anew=False)
        try:
            return (yield from api.run_draft_import(import_id, self.key_field_names, self.columns, staging, replaced))
        except ClientError as error:
            if error.status not in REFUSED or import_id not in self.not_run.values():
                raise
            raise OutcomeUnknown(f"{error}: perhaps for what an earlier request, without an answer, has done") from None

    # --- the end

    def check_result(self, phase: Phase, work: JobGroup) -> None:
        check_rejections(work, self.on_rejected_rows, self.log, then=FIX)

    def manifest(self, record: JobRecord) -> Raw:
        phase = record.phase("stage")
        outcome = phase.outcome or {"state": "running", "counts": {}}
        return {
            "service": self.service,
            "state": outcome["state"],
            "operation_id": self.operation_id,
            "import_ids": list(phase.ids),
            "staged": phase.size,
            "replaced": len(phase.facts.get("replaced") or ()),
            **outcome["counts"],
            **times([phase]),
        }

    def close(self) -> None:
        self.rows.close()


class _Stage(Phase):
    """One import a unit. The key of an intent is the import's id."""

    def __init__(self, spec: StageDraftsJob) -> None:
        super().__init__("stage", "import", {"operation_id": spec.operation_id})
        self._spec = spec

    def units(self, record: PhaseRecord) -> Iterator[Unit]:
        if record.submissions:
            self._spec.log.info("Not staging again what was staged before: %d records", record.size)
        return units(self._spec.rows, record, self._spec.batch_size, self._spec.max_bytes)

    def prepare(self, unit: Unit, record: PhaseRecord) -> Flow[Prepared]:
        """Hand the rows over: an import that is never run does nothing."""
        # What is replaced is not what an earlier try saw that staged nothing: drafts may have come and gone since.
        first = not record.submissions
        staging = yield from self._spec.staging(anew=first)
        import_id = self._spec.not_run.get((unit.start, unit.size), "")
        if not import_id:
            import_id = yield from api.create_draft_import(self._spec.operation_id, unit.content)
        facts = {"replaced": list(staging.draft_ids)} if first and self._spec.replace_existing else {}
        return Prepared(key=import_id, facts=facts)

    def submit(self, unit: Unit, intent: Intent, record: PhaseRecord) -> Flow[str]:
        """The first rows replace what was there, so that where this is refused no rows are staged at all."""
        replaced = record.facts.get("replaced") or () if unit.start == 0 else ()
        yield from self._spec.run(intent.key, replaced)
        self._spec.log.info("Kaleidoscope stages %d records as import %s", unit.size, intent.key)
        return intent.key

    def reconcile(self, intent: Intent, record: PhaseRecord) -> Flow[ReconcileResult]:
        effect = yield from reconcile_by_search(lambda: _when_run(intent.key), intent)
        if isinstance(effect, NoEffect):
            self._spec.not_run[intent.start, intent.size] = intent.key
        return effect

    def settled(self, record: PhaseRecord) -> PhaseRecord:
        """What was replaced is in the result; and if the first rows fail, they replace the same drafts once more."""
        return record


def _when_run(import_id: str) -> Flow[str | None]:
    return import_id if (yield from api.was_run(import_id)) else None
