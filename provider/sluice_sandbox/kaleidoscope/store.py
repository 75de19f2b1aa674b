"""Records of a Kaleidoscope workspace by key, and the imports that write them."""

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
    """A record. `pushes` counts the rows that were written to it, so that tests can detect duplicates."""

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
        """The name that is shown to users."""
        return ", ".join(self.key.values())


@dataclass
class Import:
    """One import. All of its rows are written when it completes."""

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
    run_at: float | None = None  # when the second step started it; None: no second step
    write: Callable[[Import], dict[str, Any]] | None = None  # writes the rows; None: as records
    keys: list[tuple[str, ...]] = field(default_factory=list)  # of all rows, including invalid ones
    id: str = field(kw_only=True)

    @property
    def _run_since(self) -> float:
        return self.created_at if self.run_at is None else self.run_at

    @property
    def started_at(self) -> float:
        """It is queued for the first fifth of its duration."""
        return self._run_since + self.seconds / 5

    @property
    def completed_at(self) -> float:
        """The end of its duration."""
        return self._run_since + self.seconds


class Store:
    """Fields, records and imports of the workspace."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.since = context.clock.now()
        self.fields = Fields(self.since)
        self.slices = {frozenset(names): (stable_id("slice", title), title) for title, names in SLICES.items()}
        self.imports: dict[str, Import] = {}
        self.records: dict[Key, Record] = {}
        self._running: list[Import] = []

    def start(self, job: Import) -> Import:
        """Start an import. It keeps the settings of this moment."""
        settings = self._context.settings
        job.rejects, job.fails = settings.rejected_rows, settings.fail_imports > 0
        settings.fail_imports -= job.fails
        job.entity_slice_id = self._slice(job.key_fields)
        job.keys = [tuple(str(row.get(name)) for name in job.key_fields) for row in job.rows]
        self.add_import(job)
        self._running.append(job)
        return job

    def add_import(self, job: Import) -> None:
        """Add an import, which may not have been started."""
        job.row_count = len(job.rows)
        self.imports[job.id] = job

    def add_record(self, key_fields: list[str], row: dict[str, Any], operation_id: str, now: float) -> None:
        """Write a record without an import; invalid values are left out."""
        for name in key_fields:
            self.fields.add_key(name, now)
        valid = {name: value for name, value in row.items() if name in key_fields or self.accepts(name, value)}
        job = Import(key_fields, [valid], now, 0.0, operation_id=operation_id, id=self._context.ids.uuid())
        job.entity_slice_id = self._slice(key_fields)
        self._write_row(job, valid)

    def accepts(self, name: str, value: Any) -> bool:
        """Whether the data field of this name accepts the value; a field that does not exist accepts any."""
        return _accepts(self.fields.for_value(name, value, self.since), value)

    def _slice(self, key_fields: list[str]) -> str:
        title = " and ".join(key_fields)
        slice_id, _ = self.slices.setdefault(frozenset(key_fields), (stable_id("slice", title), title))
        return slice_id

    def process_due(self) -> None:
        """Finish the imports that are due, in order of their time."""
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
        """Write the valid rows and collect the errors of the others; returns the import result."""
        counts = {"created": 0, "updated": 0, "skipped": 0}
        errors: list[dict[str, Any]] = []
        failed, fields_before = 0, len(self.fields.data)
        for number, row in enumerate(job.rows):
            row_problems = list(row_errors(self.fields, job, row, number < job.rejects))
            errors += row_problems
            failed += bool(row_problems)
            counts["skipped" if row_problems else self._write_row(job, row)] += 1
        return {
            **{f"records_{what}": count for what, count in counts.items()},
            "fields_added": len(self.fields.data) - fields_before,
            "validation_result": validation_result(len(job.rows), failed, errors),
        }

    def _write_row(self, job: Import, row: dict[str, Any]) -> str:
        """Create, update or (if nothing changes) skip the record with this key."""
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
        named = {name: self.fields.keys[name].convert(row[name]) for name in job.key_fields}
        key = tuple(sorted(named.items()))
        if key not in self.records:
            new_id = self._context.ids.uuid()
            self.records[key] = Record(named, job.entity_slice_id, job.completed_at, id=new_id)
        return self.records[key]


def row_errors(fields: Fields, job: Import, row: dict[str, Any], rejected: bool) -> Iterator[dict[str, Any]]:
    """The errors of a row; at least one if `rejected`."""
    for name, value in row.items():
        if name in job.key_fields:
            continue
        field_of_value = fields.for_value(name, value, job.completed_at)
        if rejected or not _accepts(field_of_value, value):
            yield _row_error(field_of_value, value, _identifier(job, row))
            rejected = False
    if rejected:
        key_field = fields.keys[job.key_fields[0]]
        yield _row_error(key_field, row[key_field.field_name], _identifier(job, row))


def converted_values(fields: Fields, job: Import, row: dict[str, Any]) -> dict[str, Any]:
    """The values as their fields store them; unknown fields are created."""
    converted = {}
    for name, value in row.items():
        if name in job.key_fields or (value in (None, "") and name not in fields.data):
            continue
        field_of_value = fields.for_value(name, value, job.completed_at)
        fields.data.setdefault(name, field_of_value)
        converted[name] = field_of_value.convert(value)
    return converted


def _accepts(field_of_value: Field, value: Any) -> bool:
    try:
        field_of_value.convert(value)
    except InvalidFieldValue:
        return False
    return True


def _identifier(job: Import, row: dict[str, Any]) -> str:
    return ", ".join(str(row[name]) for name in job.key_fields)


def _row_error(field_of_value: Field, value: Any, identifier: str) -> dict[str, Any]:
    """kalbio 0.7.0: imports.py, ImportValidationError."""
    return {
        "field_id": field_of_value.id,
        "field_name": field_of_value.field_name,
        "value": value,
        "conflict_type": "invalid_format",
        "incoming_record_identifier": identifier,
        "conflicting_record_id": None,
        "conflicting_record_identifier": None,
        "conflicting_value": None,
        "constraint_fields": None,
    }


def validation_result(total: int, failed: int, errors: list[dict[str, Any]]) -> dict[str, Any]:
    """kalbio 0.7.0: imports.py, ImportValidationResult."""
    return {"total_processed": total, "successful": total - failed, "failed": failed, "errors": errors}
