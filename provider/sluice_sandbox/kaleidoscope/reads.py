"""GET endpoints of a Kaleidoscope workspace, in the format of the models of kalbio 0.2.4 and 0.7.0."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from sluice_sandbox.kaleidoscope.drafts import STAGING_VIEW
from sluice_sandbox.kaleidoscope.registrations import USER
from sluice_sandbox.kaleidoscope.store import OPERATION, PROGRAM, RECORD_VIEW, SOURCE, WORKSPACE
from sluice_sandbox.kaleidoscope.workspace import DEFINITION, FIRST_FILE, PROPERTY, PROPERTY_FIELD
from sluice_sandbox.settings import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from sluice_sandbox.kaleidoscope.files import File
    from sluice_sandbox.kaleidoscope.store import Import, Record, Store
    from sluice_sandbox.kaleidoscope.workspace import Workspace


_EMPTY_LISTS = ("assigned_user_ids", "assigned_group_ids", "label_ids")


class Reads:
    """Listings and single records; only those that clients need."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._store = store = workspace.store
        self.listings: dict[str, Callable[[Mapping[str, str]], Any]] = {
            "/workspaces/active": lambda _query: {"id": WORKSPACE, "workspace_name": "Sluice sandbox"},
            "/programs": self._programs,
            "/activities": self._activities,
            "/activity_definitions": self._definitions,
            "/entity_slices": self._slices,
            "/record_views": self._record_views,
            "/key_fields": lambda _query: [each.to_json() for each in store.fields.keys.values()],
            "/data_fields": lambda _query: [each.to_json() for each in store.fields.data.values()],
            "/records/search": self._search,
            "/records/identifiers": self._identifiers,
            "/records": self._records,
        }

    def counts(self) -> dict[str, int]:
        """Number of records by entity, imports, registrations, files and drafts."""
        titles = dict(self._store.slices.values())
        found = Counter(titles[record.entity_slice_id] for record in self._store.records.values())
        more = {"files": len(self._workspace.files.by_id), "drafts": len(self._workspace.drafts.current(OPERATION))}
        counts = {"imports": len(self._store.imports), "registrations": len(self._workspace.registrations.by_id)} | more
        return counts | {f"records of {title}": count for title, count in found.items()}

    def record(self, record_id: str) -> dict[str, Any] | None:
        """The record or draft with this id, or None."""
        return next((self._record(each) for each in self._all() if each.id == record_id), None)

    def _all(self) -> Iterator[Record]:
        """Records and drafts, which are records of the staging table and which the registrar has to read."""
        yield from self._store.records.values()
        yield from (draft.record for draft in self._workspace.drafts.by_id.values())

    def _programs(self, _query: Mapping[str, str]) -> Any:
        since = iso(self._store.since)
        return [
            {"id": PROGRAM, "title": "Demo", "created_at": since, "created_by": None, "workspace_id": WORKSPACE},
        ]

    def _activities(self, _query: Mapping[str, str]) -> Any:
        """One operation, which kalbio calls an activity of type experiment."""
        lists = ("child_ids", "dependencies", *_EMPTY_LISTS)
        return [
            {
                "id": OPERATION,
                "title": "Screening",
                "description": "",
                "activity_type": "experiment",
                "status": "in progress",
                "created_at": iso(self._store.since),
                "program_ids": [PROGRAM],
                "is_draft": False,
                "all_record_ids": self._workspace.operation_record_ids(OPERATION),
                "definition_id": DEFINITION,
                "registration_staging_record_view_id": STAGING_VIEW if self._workspace.staging else None,
                "data_table_draft_record_ids": self._workspace.drafts.current(OPERATION),
                "properties": [self._property()],
                **{name: [] for name in lists},
            }
        ]

    def _property(self) -> dict[str, Any]:
        """The property that files to register are uploaded to."""
        return property_json(self._workspace.property, self._store.since)

    def _definitions(self, _query: Mapping[str, str]) -> Any:
        """The definition of the operation. That both ways of registration can be configured in one is a guess."""
        staging = {"registration_staging_template_view_id": STAGING_VIEW if self._workspace.staging else None}
        definition = {"id": DEFINITION, "title": "Screening", "activity_type": "experiment", "program_ids": [PROGRAM]}
        files = {"registration_property_field_id": PROPERTY_FIELD, "registration_record_view_id": RECORD_VIEW}
        return [
            {**definition, **files, **staging, "properties": [self._property()], **{name: [] for name in _EMPTY_LISTS}}
        ]

    def _slices(self, _query: Mapping[str, str]) -> Any:
        keys = self._store.fields.keys
        return [
            {"id": slice_id, "slice_name": title, "key_field_ids": [keys[name].id for name in sorted(names)]}
            for names, (slice_id, title) in self._store.slices.items()
        ]

    def _record_views(self, _query: Mapping[str, str]) -> Any:
        compounds, _ = self._store.slices[frozenset({"name"})]
        fields = [{"data_field_id": each.id, "lookup_field_id": None} for each in self._store.fields.data.values()]
        names = {
            RECORD_VIEW: "All compounds",
            **({STAGING_VIEW: "Registration staging"} if self._workspace.staging else {}),
        }
        same: dict[str, Any] = {"entity_slice_id": compounds, "view_fields": fields, "program_ids": [PROGRAM]}
        same |= {"operation_ids": [OPERATION], "workspace_id": WORKSPACE, "is_template": False}
        return [{"id": view_id, "view_name": name, **same} for view_id, name in names.items()]

    def _search(self, query: Mapping[str, str]) -> list[str]:
        """Record ids. Supported filters: search_text, entity_slice_id, operation_id and limit."""
        found = [
            record.id
            for record in self._store.records.values()
            if query.get("search_text", "").lower() in record.identifier.lower()
            and query.get("entity_slice_id") in (None, record.entity_slice_id)
            and ("operation_id" not in query or query["operation_id"] in record.operation_ids)
        ]
        return found[: int(query["limit"])] if query.get("limit", "").isdigit() else found

    def _records(self, query: Mapping[str, str]) -> Any:
        wanted = set(query.get("record_ids", "").split(","))
        return [self._record(each) for each in self._all() if each.id in wanted]

    def _identifiers(self, query: Mapping[str, str]) -> Any:
        """Records by key: a JSON list of objects {key field id: value} (kalbio 0.2.4: records.py)."""
        try:
            wanted = json.loads(query.get("records_key_field_to_value", "[]"))
        except ValueError:
            wanted = []
        names = self._store.fields.names(keys=True)
        keys = [tuple(sorted((names.get(field, ""), value) for field, value in each.items())) for each in wanted]
        found = [self._store.records[key] for key in keys if key in self._store.records]
        return [{"record": self._record(each)} for each in found]

    def _record(self, record: Record) -> dict[str, Any]:
        """Values by field id, each a list, as a value may differ by operation (kalbio: records.py, Record)."""
        fields = self._store.fields
        values = {fields.keys[name].id: value for name, value in record.key.items()}
        values |= {fields.data[name].id: value for name, value in record.values.items()}
        return {
            "id": record.id,
            "created_at": iso(record.created_at),
            "entity_slice_id": record.entity_slice_id,
            "identifier_ids": [],
            "record_identifier": record.identifier,
            "record_values": {field: [_value(record, field, value)] for field, value in values.items()},
            "initial_operation_id": next(iter(record.operation_ids), None),
            "sub_record_ids": [],
        }


def _value(record: Record, field_id: str, content: Any) -> dict[str, Any]:
    return {
        "id": f"{record.id}:{field_id}",
        "content": content,
        "created_at": iso(record.updated_at),
        "record_id": record.id,
        "operation_id": next(iter(record.operation_ids), None),
    }


def property_json(file: File | None, since: float) -> dict[str, Any]:
    """A property with a file (kalbio: activities.py, Property). How it refers to the file is a guess."""
    content = {"file_id": file.id, "file_name": file.name} if file else None
    own = {"id": PROPERTY, "property_field_id": PROPERTY_FIELD, "property_name": "Registration file"}
    return {
        **own,
        "field_type": "file",
        "content": content,
        "created_at": iso(since),
        "created_by": USER,
        "last_updated_by": USER,
    }


def import_json(job: Import, now: float, running_import_status: str) -> dict[str, Any]:
    """One import (kalbio 0.7.0: imports.py, ImportRecord).

    The statuses created, completed and failed are known; that of a running import is a guess, hence a setting.
    """
    started = now >= job.started_at
    status = "created" if not started else running_import_status
    if job.done:
        status = "failed" if job.fails else "completed"
    return {
        "id": job.id,
        "import_status": status,
        "is_complete": job.done,
        "created_at": iso(job.created_at),
        "started_at": iso(job.started_at) if started or job.done else None,
        "completed_at": iso(job.completed_at) if job.done else None,
        "operation_id": job.operation_id,
        "entity_slice_id": job.entity_slice_id,
        "source_id": job.source_id,
        "import_result": job.result,
        **_end(job),
    }


def _end(job: Import) -> dict[str, Any]:
    """error_details is not in the client's models, but in one of its tests."""
    if not (job.done and job.fails):
        return {"error_message": None}
    message = "The import could not be processed"
    return {"error_message": message, "error_details": {"failed_row": 1, "reason": "unknown_key_field"}}


def state_of(store: Store, imports: Iterable[dict[str, Any]], *, with_records: bool) -> dict[str, Any]:
    """For `/control/state`: ids, fields, imports and records."""
    state: dict[str, Any] = {
        "ids": {
            "workspace_id": WORKSPACE,
            "program_id": PROGRAM,
            "operation_id": OPERATION,
            "source_id": SOURCE,
            "record_view_id": RECORD_VIEW,
            "staging_view_id": STAGING_VIEW,
            "property_id": PROPERTY,
            "file_id": FIRST_FILE,
            "entity_slices": {title: slice_id for slice_id, title in store.slices.values()},
        },
        "key_fields": [each.to_json() for each in store.fields.keys.values()],
        "data_fields": [each.to_json() for each in store.fields.data.values()],
        "imports": list(imports),
        "records_count": len(store.records),
    }
    if with_records:
        state["records"] = [_record_state(record, dict(store.slices.values())) for record in store.records.values()]
    return state


def submitted_json(job: Import) -> dict[str, Any]:
    """For `/control/state`: parameters of an import that the API does not return."""
    return {
        "key_field_names": job.key_fields,
        "rows": job.row_count,
        "by_field_id": job.by_field_id,
        "program_id": job.program_id,
        "set_name": job.set_name,
        "record_view_ids": job.record_view_ids,
    }


def _record_state(record: Record, titles: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": record.id,
        "entity": titles[record.entity_slice_id],
        "key": record.key,
        "values": record.values,
        "pushes": record.pushes,
        "operation_ids": record.operation_ids,
        "created_at": iso(record.created_at),
        "updated_at": iso(record.updated_at),
    }
