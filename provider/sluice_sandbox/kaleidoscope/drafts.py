"""Drafts: rows in the staging table of an operation, which are records of their own until they are archived."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sluice_sandbox.kaleidoscope.fields import stable_id
from sluice_sandbox.kaleidoscope.registrations import REGISTRATION, VALIDATION, latest_for
from sluice_sandbox.kaleidoscope.store import Import, Record, converted_values, row_errors, validation_result
from sluice_sandbox.settings import iso

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sluice_sandbox.ids import Ids
    from sluice_sandbox.kaleidoscope.registrations import Registration
    from sluice_sandbox.kaleidoscope.store import Store

STAGING_VIEW = stable_id("record_view", "registration_staging")
STAGING_KEYS = ("name",)  # key fields of the staging table, beside the id of each draft
SUBMISSION_KINDS = (REGISTRATION, VALIDATION)


@dataclass(slots=True)
class Draft:
    """A row of the staging table. An archived one is kept, for tests."""

    record: Record
    operation_id: str
    archived: str = ""  # the reason: registered, cleared or replaced; empty: not archived

    @property
    def id(self) -> str:
        """The id of the draft's record, not of the record that will be registered."""
        return self.record.id


class Drafts:
    """The staging table of the one operation."""

    def __init__(self, store: Store, ids: Ids) -> None:
        self._store = store
        self._ids = ids
        self.by_id: dict[str, Draft] = {}

    def current(self, operation_id: str) -> list[str]:
        """Ids of the drafts that are not archived, oldest first."""
        return [each.id for each in self.by_id.values() if each.operation_id == operation_id and not each.archived]

    def archive(self, record_ids: Iterable[str], reason: str) -> None:
        """Remove drafts from the staging table."""
        for record_id in record_ids:
            self.by_id[record_id].archived = self.by_id[record_id].archived or reason

    def write(self, job: Import, replaces: Sequence[str] = ()) -> dict[str, Any]:
        """Run a draft import: each valid row becomes a new draft, even if one with the same keys exists, and replaced
        drafts are archived. Returns the import result."""
        errors: list[dict[str, Any]] = []
        failed = 0
        for number, row in enumerate(job.rows):
            row_problems = list(row_errors(self._store.fields, job, row, number < job.rejects))
            errors += row_problems
            failed += bool(row_problems)
            if not row_problems:
                self._stage(job, row)
        self.archive(replaces, "replaced")
        return {
            "records_created": len(job.rows) - failed,
            "records_updated": 0,
            "records_skipped": failed,
            "fields_added": 0,
            "validation_result": validation_result(len(job.rows), failed, errors),
        }

    def stage(self, rows: list[dict[str, Any]], operation_id: str, now: float) -> list[str]:
        """Stage valid rows without an import; returns the ids of the new drafts."""
        job = Import(list(STAGING_KEYS), rows, now, 0.0, operation_id=operation_id, id=self._ids.uuid())
        job.entity_slice_id, _ = self._store.slices[frozenset(STAGING_KEYS)]
        for row in rows:
            self._stage(job, row)
        return [record.id for record in job.records]

    def _stage(self, job: Import, row: dict[str, Any]) -> None:
        fields = self._store.fields
        key = {name: fields.keys[name].convert(row[name]) for name in job.key_fields}
        at = job.completed_at
        record = Record(key, job.entity_slice_id, at, pushes=1, updated_at=at, id=self._ids.uuid())
        record.values = converted_values(fields, job, row)
        job.records.append(record)
        self.by_id[record.id] = Draft(record, job.operation_id or "")

    def statuses(self, operation_id: str, registrations: list[Registration]) -> list[dict[str, Any]]:
        """Status of each current draft that was ever submitted, from its latest submission.

        That archived (and so registered) drafts are not listed is a guess.
        """
        found = []
        for record_id in self.current(operation_id):
            registration = latest_for(registrations, record_id)
            if registration:
                status, message = registration.record_status(record_id)
                found.append({"record_id": record_id, "status": status, "message": message})
        return found

    def registered(self, registration: Registration, now: float) -> None:
        """A submission is closed: its registered drafts become records and leave the staging table.

        The form of a registered record is a guess: the draft and the registrar's `data`, with the registrar's key
        fields if it names any.
        """
        if registration.kind != REGISTRATION:
            return
        accepted = [each for each in registration.record_ids if registration.record_status(each)[0] == "completed"]
        for draft in (self.by_id[record_id] for record_id in accepted if not self.by_id[record_id].archived):
            data = registration.results.get(draft.id, {}).get("data", {})
            row = {**draft.record.values, **draft.record.key, **data}
            keys = [
                name for name in registration.key_field_names if data.get(name) and isinstance(data[name], (str, int))
            ]
            keys = keys or list(draft.record.key)
            self._store.add_record(keys, row, registration.operation_id, now)
        self.archive(accepted, "registered")

    def to_json(self) -> list[dict[str, Any]]:
        """For `/control/state`."""
        return [
            {
                "id": draft.id,
                "operation_id": draft.operation_id,
                "key": draft.record.key,
                "values": draft.record.values,
                "created_at": iso(draft.record.created_at),
                "archived": draft.archived,
            }
            for draft in self.by_id.values()
        ]
