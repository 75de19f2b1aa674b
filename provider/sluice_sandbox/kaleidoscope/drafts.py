"""Drafts: rows staged on an operation to be registered, which are records of their own until they are archived."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sluice_sandbox.kaleidoscope.fields import stable_id
from sluice_sandbox.kaleidoscope.registrations import REGISTRATION, VALIDATION, about
from sluice_sandbox.kaleidoscope.store import Import, Record, converted_values, row_errors, validation
from sluice_sandbox.settings import iso

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sluice_sandbox.ids import Ids
    from sluice_sandbox.kaleidoscope.registrations import Registration
    from sluice_sandbox.kaleidoscope.store import Store

STAGING_VIEW = stable_id("record_view", "registration_staging")
STAGING_KEYS = ("name",)  # of the staging table, besides the id that the system gives every draft
TABLE = (REGISTRATION, VALIDATION)


@dataclass(slots=True)
class Draft:
    """A row of the staging table. It stays when it is archived, so that a test can see where it went."""

    record: Record
    operation_id: str
    archived: str = ""  # why: registered, cleared or replaced

    @property
    def id(self) -> str:
        """Of the draft's own record, not of what will be registered."""
        return self.record.id


class Drafts:
    """The staging table of the one operation."""

    def __init__(self, store: Store, ids: Ids) -> None:
        self._store = store
        self._ids = ids
        self.by_id: dict[str, Draft] = {}

    def current(self, operation_id: str) -> list[str]:
        """The ids of those staged and neither registered nor cleared, oldest first."""
        return [each.id for each in self.by_id.values() if each.operation_id == operation_id and not each.archived]

    def archive(self, record_ids: Iterable[str], why: str) -> None:
        """Out of the staging table."""
        for record_id in record_ids:
            self.by_id[record_id].archived = self.by_id[record_id].archived or why

    def write(self, job: Import, replaces: Sequence[str] = ()) -> dict[str, Any]:
        """The staging import: each good row becomes a draft, also if there is one with the same keys already, for the
        system gives each an id of its own. Those that are replaced go only now."""
        errors: list[dict[str, Any]] = []
        failed = 0
        for number, row in enumerate(job.rows):
            problems = list(row_errors(self._store.fields, job, row, number < job.rejects))
            errors += problems
            failed += bool(problems)
            if not problems:
                self._stage(job, row)
        self.archive(replaces, "replaced")
        return {
            "records_created": len(job.rows) - failed,
            "records_updated": 0,
            "records_skipped": failed,
            "fields_added": 0,
            "validation_result": validation(len(job.rows), failed, errors),
        }

    def put(self, rows: list[dict[str, Any]], operation_id: str, now: float) -> list[str]:
        """Without the steps of an import; only of rows that fit. The ids of the new drafts."""
        job = Import(list(STAGING_KEYS), rows, now, 0.0, operation_id=operation_id, id=self._ids.uuid())
        job.entity_slice_id, _ = self._store.slices[frozenset(STAGING_KEYS)]
        for row in rows:
            self._stage(job, row)
        return [record.id for record in job.records]

    def _stage(self, job: Import, row: dict[str, Any]) -> None:
        fields = self._store.fields
        key = {name: fields.keys[name].fit(row[name]) for name in job.key_fields}
        at = job.completed_at
        record = Record(key, job.entity_slice_id, at, pushes=1, updated_at=at, id=self._ids.uuid())
        record.values = converted_values(fields, job, row)
        job.records.append(record)
        self.by_id[record.id] = Draft(record, job.operation_id or "")

    def statuses(self, operation_id: str, registrations: list[Registration]) -> list[dict[str, Any]]:
        """Of the drafts staged now, as far as they were ever submitted; by the latest submission that has them.
        That an archived draft, and so a registered one, is not told of any more is a guess."""
        found = []
        for record_id in self.current(operation_id):
            registration = about(registrations, record_id)
            if registration:
                status, message = registration.verdict(record_id)
                found.append({"record_id": record_id, "status": status, "message": message})
        return found

    def registered(self, registration: Registration, now: float) -> None:
        """A submission has come to its end: the drafts that are registered become records and leave the table.

        What a registered record looks like is a guess: the draft with what the registrar's `data` adds to it, under
        the registrar's key fields if it names any.
        """
        if registration.kind != REGISTRATION:
            return
        good = [each for each in registration.record_ids if registration.verdict(each)[0] == "completed"]
        for draft in (self.by_id[record_id] for record_id in good if not self.by_id[record_id].archived):
            data = registration.results.get(draft.id, {}).get("data", {})
            row = {**draft.record.values, **draft.record.key, **data}
            keys = [
                name for name in registration.key_field_names if data.get(name) and isinstance(data[name], (str, int))
            ]
            keys = keys or list(draft.record.key)
            self._store.land(keys, row, registration.operation_id, now)
        self.archive(good, "registered")

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
