"""What a Kaleidoscope workspace holds: records by their key, and the imports that write them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sluice_sandbox.kaleidoscope.fields import SLICES, Field, Fields, InvalidFieldValue, stable_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sluice_sandbox.context import Context

WORKSPACE = stable_id("workspace")
PROGRAM = stable_id("program")
OPERATION = stable_id("operation")
SOURCE = stable_id("source")
RECORD_VIEW = stable_id("record_view")

Key = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Record:
    """A row that stayed. `pushes` counts the rows that arrived for it, so that a test can see one doubled."""

    key: dict[str, str]
    entity_slice_id: str
    created_at: float
    values: dict[str, Any] = field(default_factory=dict)
    updated_at: float = 0.0
    pushes: int = 0
    operation_ids: list[str] = field(default_factory=list)
    id: str = field(kw_only=True)

    @property
    def identifier(self) -> str:
        """What a person calls it."""
        return ", ".join(self.key.values())


@dataclass
class Import:
    """One push. Its rows are written in one go, when its time has come."""

    key_fields: list[str]
    rows: list[dict[str, Any]]
    created_at: float
    seconds: float
    program_id: str | None = None
    operation_id: str | None = None
    source_id: str | None = None
    set_name: str | None = None
    record_view_ids: list[str] = field(default_factory=list)
    by_field_id: bool = False
    rejects: int = 0
    fails: bool = False
    done: bool = False
    entity_slice_id: str = ""
    row_count: int = 0
    result: dict[str, Any] | None = None
    records: list[Record] = field(default_factory=list)
    run_at: float | None = None  # None: at once
    write: Callable[[Import], dict[str, Any]] | None = None  # None: as records
    keys: list[tuple[str, ...]] = field(default_factory=list)  # of the rows it was asked for, also of bad ones
    id: str = field(kw_only=True)

    @property
    def _begins(self) -> float:
        return self.created_at if self.run_at is None else self.run_at

    @property
    def started_at(self) -> float:
        """It waits for the first fifth of its time."""
        return self._begins + self.seconds / 5

    @property
    def completed_at(self) -> float:
        """When it is over."""
        return self._begins + self.seconds


class Store:
    """Fields, records and imports of the one workspace."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.since = context.clock.now()
        self.fields = Fields(self.since)
        self.slices = {frozenset(names): (stable_id("slice", title), title) for title, names in SLICES.items()}
        self.imports: dict[str, Import] = {}
        self.records: dict[Key, Record] = {}
        self._running: list[Import] = []

    def take_on(self, job: Import) -> Import:
        """An import begins; the settings of this moment are the ones that count for it."""
        settings = self._context.settings
        job.rejects, job.fails = settings.rejected_rows, settings.fail_imports > 0
        settings.fail_imports -= job.fails
        job.entity_slice_id = self._slice(job.key_fields)
        job.keys = [tuple(str(row.get(name)) for name in job.key_fields) for row in job.rows]
        self.note(job)
        self._running.append(job)
        return job

    def note(self, job: Import) -> None:
        """An import is known, though it may not have been told to run yet."""
        job.row_count = len(job.rows)
        self.imports[job.id] = job

    def land(self, key_fields: list[str], row: dict[str, Any], operation_id: str, now: float) -> None:
        """A record by another way than an import; values that do not fit are left out."""
        for name in key_fields:
            self.fields.add_key(name, now)
        fitting = {name: value for name, value in row.items() if name in key_fields or self.fits(name, value)}
        job = Import(key_fields, [fitting], now, 0.0, operation_id=operation_id, id=self._context.ids.uuid())
        job.entity_slice_id = self._slice(key_fields)
        self._keep(job, fitting)

    def fits(self, name: str, value: Any) -> bool:
        """Whether the data field of this name takes the value; one that there is not yet takes what it is made for."""
        return _fits(self.fields.for_value(name, value, self.since), value)

    def _slice(self, key_fields: list[str]) -> str:
        title = " and ".join(key_fields)
        slice_id, _ = self.slices.setdefault(frozenset(key_fields), (stable_id("slice", title), title))
        return slice_id

    def settle(self) -> None:
        """Finish what is due by now, in the order in which it came due."""
        now = self._context.clock.now()
        for job in sorted(self._running, key=lambda job: job.completed_at):
            if job.completed_at <= now:
                self._running.remove(job)
                self._finish(job)

    def _finish(self, job: Import) -> None:
        job.done = True
        if not job.fails:
            job.result = (job.write or self._write)(job)
        job.rows = []

    def _write(self, job: Import) -> dict[str, Any]:
        """Row by row: a bad one is left out with its errors, the others land."""
        counts = {"created": 0, "updated": 0, "skipped": 0}
        errors: list[dict[str, Any]] = []
        failed, fields_before = 0, len(self.fields.data)
        for number, row in enumerate(job.rows):
            problems = list(row_errors(self.fields, job, row, number < job.rejects))
            errors += problems
            failed += bool(problems)
            counts["skipped" if problems else self._keep(job, row)] += 1
        return {
            **{f"records_{what}": count for what, count in counts.items()},
            "fields_added": len(self.fields.data) - fields_before,
            "validation_result": validation(len(job.rows), failed, errors),
        }

    def _keep(self, job: Import, row: dict[str, Any]) -> str:
        """Create or update the record of this key; what is the same already is left alone."""
        record = self._record(job, row)
        values = {**record.values, **converted_values(self.fields, job, row)}
        outcome = "updated" if record.pushes else "created"
        if record.pushes and values == record.values:
            outcome = "skipped"
        else:
            record.values, record.updated_at = values, job.completed_at
        record.pushes += 1
        job.records.append(record)
        if job.operation_id and job.operation_id not in record.operation_ids:
            record.operation_ids.append(job.operation_id)
        return outcome

    def _record(self, job: Import, row: dict[str, Any]) -> Record:
        named = {name: self.fields.keys[name].fit(row[name]) for name in job.key_fields}
        key = tuple(sorted(named.items()))
        if key not in self.records:
            new_id = self._context.ids.uuid()
            self.records[key] = Record(named, job.entity_slice_id, job.completed_at, id=new_id)
        return self.records[key]


def row_errors(fields: Fields, job: Import, row: dict[str, Any], rejected: bool) -> Iterator[dict[str, Any]]:
    """What is wrong with a row; if it is to be rejected, at least one thing is."""
    for name, value in row.items():
        if name in job.key_fields:
            continue
        known = fields.for_value(name, value, job.completed_at)
        if rejected or not _fits(known, value):
            yield _error(known, value, _identifier(job, row))
            rejected = False
    if rejected:
        key_field = fields.keys[job.key_fields[0]]
        yield _error(key_field, row[key_field.field_name], _identifier(job, row))


def converted_values(fields: Fields, job: Import, row: dict[str, Any]) -> dict[str, Any]:
    """As their fields keep the values; a field nobody knew is made by the first value there is for it."""
    kept = {}
    for name, value in row.items():
        if name in job.key_fields or (value in (None, "") and name not in fields.data):
            continue
        known = fields.for_value(name, value, job.completed_at)
        fields.data.setdefault(name, known)
        kept[name] = known.fit(value)
    return kept


def _fits(known: Field, value: Any) -> bool:
    try:
        known.fit(value)
    except InvalidFieldValue:
        return False
    return True


def _identifier(job: Import, row: dict[str, Any]) -> str:
    return ", ".join(str(row[name]) for name in job.key_fields)


def _error(known: Field, value: Any, identifier: str) -> dict[str, Any]:
    """kalbio 0.7.0: imports.py, ImportValidationError."""
    return {
        "field_id": known.id,
        "field_name": known.field_name,
        "value": value,
        "conflict_type": "invalid_format",
        "incoming_record_identifier": identifier,
        "conflicting_record_id": None,
        "conflicting_record_identifier": None,
        "conflicting_value": None,
        "constraint_fields": None,
    }


def validation(total: int, failed: int, errors: list[dict[str, Any]]) -> dict[str, Any]:
    """kalbio 0.7.0: imports.py, ImportValidationResult."""
    return {"total_processed": total, "successful": total - failed, "failed": failed, "errors": errors}
