"""Tasks that stage drafts in Kaleidoscope: rows on an operation's staging table, which wait to be registered."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from sluice_provider.apis import kaleidoscope_drafts as api
from sluice_provider.apis.base import trace
from sluice_provider.apis.kaleidoscope_rules import POLICIES, check_choice, check_ids, check_lists
from sluice_provider.errors import InvalidInput, OutcomeUnknown, TooLarge, Unreachable
from sluice_provider.jobs import judge_rejections
from sluice_provider.journal import digest
from sluice_provider.lineage import Name, file_dataset
from sluice_provider.operators.kaleidoscope_once import ASKINGS, OperationOperator
from sluice_provider.operators.kaleidoscope_rows import check_sizes, in_batches, judged
from sluice_provider.sources.batches import Batch, joined
from sluice_provider.sources.opening import File, Source, open_source

if TYPE_CHECKING:
    from sluice_provider.jobs import Work
    from sluice_provider.journal import Entry, Intent
    from sluice_provider.operators.asking import Asking, Phase


CURE = (
    "Staged again, they would be two drafts each: clear them there or set replace_existing=True, before you mend the "
    "rows and clear this task; or let on_rejected_rows be 'warn'"
)
"""What to do about rejected rows."""


class KaleidoscopeStageDraftsOperator(OperationOperator):
    """Stage rows as drafts on an operation in Kaleidoscope, wait until they are imported, and return what became of
    them.

    The same rows staged twice are two drafts each, so nothing is ever staged again that may have been: rows are handed
    over first, which makes no drafts, and then run by the id that the remote gave them. When the answer to the running
    is lost, that import is looked at, and run only if nothing has come of it.

    Returns `{"system", "state", "operation_id", "import_ids", "staged", "replaced", "created", "updated", "skipped",
    "rejected", "asked_at", "ended_at", "seconds", "url"}`; with `wait_for_completion=False` the counts of the
    remote are missing. Outlets get the same as their event's extra.

    Rests on `stage_drafts` of the vendor's client (kalbio `registration.py`, since 0.7.0).

    :param operation_id: the experiment or cycle; its activity definition must have table-based registration (templated)
    :param records: a list of dicts, or the path or URL of a CSV, TSV, JSON, JSON Lines or Parquet file, also
        compressed, which is read in batches and never whole (templated)
    :param key_field_names: names of the staging table's key fields in the records, without the one that the remote
        manages itself; all other fields must be data fields of the staging table (templated)
    :param replace_existing: archive the drafts that are there before, once the first rows are in
    :param on_rejected_rows: what to do when the remote turned rows away: fail (without a retry), warn or ignore
    :param batch_size: records in one import at the most
    :param max_bytes: bytes of one request at the most; a remote that refuses it as too large gets half of it
    :param kaleidoscope_conn_id: Airflow connection id
    :raises InvalidInput: before anything is sent, naming the record or the line
    :raises RowsRejected: the remote turned rows away
    :raises JobFailed: an import failed
    """

    phase = "stage"
    kind = "import"
    template_fields: Sequence[str] = ("operation_id", "records", "key_field_names", "kaleidoscope_conn_id")
    template_fields_renderers = {"records": "json"}

    def __init__(
        self,
        *,
        operation_id: str,
        records: Any,
        key_field_names: Sequence[str],
        replace_existing: bool = False,
        on_rejected_rows: Literal["fail", "warn", "ignore"] = "fail",
        batch_size: int = 1000,
        max_bytes: int = 900 * 1024,
        kaleidoscope_conn_id: str = "kaleidoscope_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kaleidoscope_conn_id = kaleidoscope_conn_id
        self.operation_id = operation_id
        self.records = records
        self.key_field_names = key_field_names
        self.replace_existing = replace_existing
        self.on_rejected_rows = on_rejected_rows
        self.batch_size = batch_size
        self.max_bytes = max_bytes

    # --- before anything is sent

    def check(self) -> None:
        check_ids(self, "operation_id")
        if self.key_field_names is None:
            raise InvalidInput("key_field_names must name the key fields in the records")
        check_lists(self, "key_field_names")
        check_choice(self, "on_rejected_rows", POLICIES)
        check_sizes(self.batch_size, self.max_bytes)

    def told(self) -> dict[str, Any]:
        return {"operation_id": self.operation_id}

    @cached_property
    def _source(self) -> Source:
        return open_source(self.records)

    def fingerprint(self) -> str:
        """Reads all records once, so that nothing is sent when one of them is wrong."""
        keys = [super().fingerprint(), list(self.key_field_names), bool(self.replace_existing)]
        return digest([*keys, self._read[0]])

    @cached_property
    def _read(self) -> tuple[str, list[str]]:
        """A digest of all records, and the fields in them that are no keys."""
        content = hashlib.sha256()
        fields: set[str] = set()
        for place, record in self._source:
            content.update(judged(self._source, place, record, self.key_field_names, self.max_bytes) + b"\n")
            fields.update(record)
        if not fields:
            raise InvalidInput(f"{self._source.name}: there are no records to stage")
        return content.hexdigest(), sorted(fields - set(self.key_field_names))

    def _staging(self, asking: Asking) -> api.Staging:
        """:raises InvalidInput: the records have fields that the staging table has not"""
        staging = asking.run(api.get_staging(self.operation_id))
        unknown = [name for name in self._read[1] if name not in staging.fields]
        if unknown:
            raise InvalidInput(
                f"{self._source.name}: {', '.join(map(repr, unknown))}: neither key fields nor data fields of the "
                f"staging table, which has {', '.join(sorted(staging.fields)) or 'none'}"
            )
        return staging

    # --- asking

    def ask(self, asking: Asking) -> None:
        staging = self._staging(asking)
        if self.replace_existing and not asking.entry.parts:
            # Not what an earlier try saw, of which nothing came: drafts may have come and gone since.
            asking.note(replaced=" ".join(staging.draft_ids))
        done = joined(part.stretch for part in asking.entry.parts)
        if done:
            self.log.info("Not staging again what was staged before: %d records", sum(map(len, done)))
        for batch in in_batches(self._source, self.batch_size, self.max_bytes, done):
            self._stage(asking, staging, batch)

    def _stage(self, asking: Asking, staging: api.Staging, batch: Batch) -> None:
        try:
            import_id = asking.run(api.create_draft_import(self.operation_id, batch.records))
        except TooLarge as error:
            if len(batch.records) == 1:
                raise
            self.log.warning("%s; staging these %d records in two halves", error, len(batch.records))
            for half in batch.halves():
                self._stage(asking, staging, half)
        else:
            self._run(asking, staging, import_id, batch.start, len(batch.records))
            self.log.info("Kaleidoscope stages %d records as import %s", len(batch.records), import_id)

    def _run(self, asking: Asking, staging: api.Staging, import_id: str, start: int, size: int) -> None:
        """The first rows replace what was there, so that a remote that refuses to has got no rows at all."""
        replaced = asking.entry.note.get("replaced", "").split() if start == 0 else []
        for _ in range(ASKINGS):
            flow = api.run_draft_import(import_id, self.key_field_names, self._read[1], staging, replaced)
            try:
                asking.send(flow, start, size, key=import_id)
            except OutcomeUnknown as error:
                self.log.warning("%s; looking what became of it", error)
                if self._was_run(asking):
                    return
            else:
                return
        raise Unreachable(f"import {import_id} was to be run {ASKINGS} times, and nothing came of it")

    def doubt(self, asking: Asking, intent: Intent) -> None:
        """The key of the intent is the import's id."""
        self.log.warning("An earlier try ran import %s and did not learn of the answer; looking at it", intent.key)
        if not self._was_run(asking):
            self._run(asking, self._staging(asking), intent.key, intent.start, intent.size)

    def _was_run(self, asking: Asking) -> bool:
        intent = asking.entry.intent
        assert intent is not None  # noqa: S101 - nothing else is looked at
        if asking.run(trace(lambda: api.was_run(intent.key), intent.at)):
            self.log.warning("It was run: going on with import %s", intent.key)
            asking.found(intent.key, intent.start, intent.size)
            return True
        self.log.warning("Nothing came of it, so it is run now")
        asking.not_found()
        return False

    # --- the end

    def judge(self, phase: Phase, work: Work) -> None:
        del phase
        judge_rejections(work, self.on_rejected_rows, self.log, then=CURE)

    def bring(self, phase: Phase, work: Work) -> dict[str, Any]:
        del phase, work
        return {}

    def ids(self, entry: Entry) -> dict[str, Any]:
        replaced = entry.note.get("replaced", "").split()
        return {"import_ids": list(entry.ids), "staged": entry.size, "replaced": len(replaced)}

    def asked(self) -> list[str]:
        return list(self.result.get("import_ids", ()))

    def datasets(self, operation: Name) -> tuple[list[Name], list[Name]]:
        return [file_dataset(self._source.name)] if isinstance(self._source, File) else [], [operation]
