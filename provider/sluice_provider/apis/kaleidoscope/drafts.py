"""Kaleidoscope's API: drafts, which are rows on an operation's staging table, not registered yet.

Everything here rests on the vendor's published client, kalbio 0.7.0 (`kalbio/registration.py: stage_drafts`,
`kalbio/activities.py`, `kalbio/record_views.py`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sluice_provider.apis.kaleidoscope.endpoints import get_activities, get_data_fields, get_import, get_record_views
from sluice_provider.apis.kaleidoscope.payloads import SHOWN, Rows, rows_of
from sluice_provider.apis.kaleidoscope.registration import (
    NOT_SUBMITTED_YET,
    REJECTED,
    get_draft_statuses,
    get_registration_submissions,
    keep_waiting,
)
from sluice_provider.apis.paths import segment
from sluice_provider.apis.payloads import JsonObject, drop_none, send_for_object
from sluice_provider.errors import ClientError, InvalidInput, NotFound, UnexpectedResponse
from sluice_provider.http.flow import Flow, Request
from sluice_provider.http.retry import send
from sluice_provider.jobs import Job, JobState, Rejection
from sluice_provider.jobs.polling import JobType, Locator
from sluice_provider.redaction import excerpt


class Staging(NamedTuple):
    """An operation's staging table.

    :param view_id: of the record view
    :param fields: its data fields by their names
    :param draft_ids: the drafts on it
    """

    view_id: str
    fields: Mapping[str, JsonObject]
    draft_ids: tuple[str, ...]


def get_operation(operation_id: str) -> Flow[JsonObject]:
    """One operation. The API has no call for one: all activities are listed (kalbio `get_activity_by_id`).

    :raises NotFound: there is no such activity
    """
    segment(operation_id, "operation_id")
    for activity in (yield from get_activities()):
        if activity.get("id") == operation_id:
            return activity
    raise NotFound(f"the workspace has no operation {operation_id}: check operation_id and the connection")


def get_draft_ids(operation_id: str) -> Flow[tuple[str, ...]]:
    """The drafts of an operation that were neither registered nor cleared."""
    return _draft_ids((yield from get_operation(operation_id)))


def get_staging(operation_id: str) -> Flow[Staging]:
    """An operation's staging table.

    :raises InvalidInput: the operation has none
    """
    operation = yield from get_operation(operation_id)
    view_id = operation.get("registration_staging_record_view_id")
    if not view_id:
        raise InvalidInput(
            f"operation {operation_id} has no registration staging table: choose an operation whose activity "
            "definition has one (registration_staging_template_view_id)"
        )
    views = yield from get_record_views()
    view = next((each for each in views if each.get("id") == view_id), {})
    on_view = [field.get("data_field_id") for field in view.get("view_fields") or [] if isinstance(field, dict)]
    fields = {str(field.get("id")): field for field in (yield from get_data_fields())}
    named = [fields[field_id] for field_id in on_view if field_id in fields]
    by_name = {str(field["field_name"]): field for field in named if field.get("field_name")}
    return Staging(str(view_id), by_name, _draft_ids(operation))


def _draft_ids(operation: JsonObject) -> tuple[str, ...]:
    return tuple(str(each) for each in operation.get("data_table_draft_record_ids") or ())


# --- staging, which is an import in two steps -----------------------------------------------------------------------


def create_draft_import(operation_id: str, data: Rows) -> Flow[str]:
    """Upload rows, and return the id of the import that stages them when it is run.

    Idempotent in effect: an import that is never run makes no drafts.
    """
    body = {
        "data_json": rows_of(data),
        "attrs": {},
        "operation_id": operation_id,
        "is_draft": True,
        "source_type": "http-post",
    }
    created = yield from send_for_object(Request("POST", "imports", json=body, idempotent=True))
    import_id = created.get("id")
    if not isinstance(import_id, str) or not import_id:
        raise UnexpectedResponse(f"POST imports was answered without an id: {excerpt(created, 200)}")
    return import_id


def run_draft_import(
    import_id: str,
    key_field_names: Sequence[str],
    columns: Sequence[str],
    staging: Staging,
    replaced: Sequence[str] | None = None,
) -> Flow[str]:
    """Run an import, which makes drafts of its rows, and return its id again.

    Not idempotent: what a second run does is not documented, and the same rows staged twice are two drafts each.

    :param columns: the data fields of the rows, by name
    :param replaced: drafts to archive once the import has succeeded
    """
    body = drop_none(
        key_field_configurations=[{"name": name} for name in key_field_names],
        data_field_configurations=[
            {
                "name": name,
                "type": staging.fields[name].get("field_type"),
                "mapped_field_id": staging.fields[name].get("id"),
            }
            for name in columns
        ],
        record_view_id=staging.view_id,
        replace_draft_record_ids=list(replaced) if replaced else None,
    )
    yield from send(Request("POST", f"imports/{segment(import_id, 'import_id')}/run", json=body))
    return import_id


def find_run(import_id: str) -> Flow[str | None]:
    """The id of an import if it was run, as far as its status shows; else None."""
    try:
        raw = yield from get_import(import_id)
    except NotFound:  # asked of a replica that lags
        return None
    started = raw["is_complete"] or raw.get("started_at") or raw.get("import_status") not in (None, "", "created")
    return import_id if started else None


def clear_drafts(operation_id: str, record_ids: Sequence[str]) -> Flow[None]:
    """Archive drafts (kalbio `clear_drafts`). Idempotent.

    :raises ClientError: one of them is pending or submitted
    """
    path = f"operations/{segment(operation_id, 'operation_id')}/clear_draft_records"
    try:
        yield from send(Request("POST", path, json={"record_ids": list(record_ids)}, idempotent=True))
    except ClientError as error:
        # Perhaps only because an earlier attempt, whose response was lost, has archived them.
        if not error.maybe_applied or set(record_ids) & set((yield from get_draft_ids(operation_id))):
            raise


# --- the drafts of an operation as a job ----------------------------------------------------------------------------

WITHOUT_RESULT = ("", "pending", "submitted")
"""Statuses of a draft that has no result yet, of a validation or of a registration."""


class DraftSelection(NamedTuple):
    """Which drafts of an operation are waited for, and for which of their results.

    :param record_ids: the drafts; empty for all drafts of the operation
    :param present: the drafts that were on the operation when the wait began: they leave it when they are registered
    :param validation: for the result of a validation, not of a registration
    """

    record_ids: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    validation: bool = False

    def to_locator(self) -> dict[str, str]:
        """A locator holds strings only."""
        return {name: json.dumps(value) for name, value in self._asdict().items() if value}

    @classmethod
    def from_locator(cls, locator: Locator) -> DraftSelection:
        members = {name: json.loads(locator.get(name, "[]")) for name in ("record_ids", "present")}
        return cls(**{name: tuple(ids) for name, ids in members.items()}, validation="validation" in locator)


def get_drafts(operation_id: str, locator: Locator, shown: int | None = SHOWN) -> Flow[Job]:
    """Drafts as a job, which is over when each of them has a result.

    :param shown: how many rejections it lists; None for all
    """
    selection = DraftSelection.from_locator(locator)
    statuses = {str(each.get("record_id")): each for each in (yield from get_draft_statuses(operation_id))}
    wanted, on_operation = selection.record_ids, tuple[str, ...]()
    if not wanted:
        on_operation = yield from get_draft_ids(operation_id)
        wanted = tuple(dict.fromkeys((*selection.present, *on_operation, *statuses)))
    unlisted = set(wanted) - set(statuses)
    if unlisted:
        statuses.update((yield from _statuses_by_submission(operation_id, unlisted)))
    # A draft that was there, is gone now, and was part of no submission, was cleared.
    cleared = set(selection.present) - set(on_operation) - set(statuses)
    drafts = {each: statuses.get(each, {}) for each in wanted if each not in cleared}
    if not drafts:
        message = f"operation {operation_id} has no drafts"
        return Job(operation_id, JobState.NOT_FOUND, NOT_SUBMITTED_YET, message)
    return drafts_job(operation_id, drafts, selection.validation, shown)


def _statuses_by_submission(operation_id: str, record_ids: Iterable[str]) -> Flow[dict[str, JsonObject]]:
    """A draft that was registered leaves the staging table; the submission that it was part of still has its status."""
    found: dict[str, JsonObject] = {}
    for entry in reversed((yield from get_registration_submissions(operation_id))):
        status = {"status": entry.get("status")}
        found.update({each: status for each in record_ids if each in (entry.get("submitted_record_ids") or ())})
    return found


def drafts_job(operation_id: str, drafts: Mapping[str, JsonObject], validation: bool, shown: int | None = SHOWN) -> Job:
    """
    :param drafts: `status` and `message` of each, as far as they are known
    :param validation: whether the results of a validation are waited for, not those of a registration
    """
    statuses = {record_id: str(raw.get("status") or "") for record_id, raw in drafts.items()}
    waiting = WITHOUT_RESULT if validation else (*WITHOUT_RESULT, "validated", "validation_failed")
    done = {record_id: raw for record_id, raw in drafts.items() if statuses[record_id] not in waiting}
    rejected = [_rejection(record_id, raw) for record_id, raw in done.items() if _is_rejected(raw)]
    by_status = Counter(status or "not submitted" for status in statuses.values())
    return Job(
        operation_id,
        JobState.SUCCEEDED if len(done) == len(drafts) else JobState.RUNNING,
        service_status=f"{len(done)} of {len(drafts)} drafts have a result",
        counts={**by_status, "drafts": len(drafts), "rejected": len(rejected)},
        done=len(done),
        total=len(drafts),
        rejections=tuple(rejected[:shown]),
    )


def _is_rejected(raw: JsonObject) -> bool:
    """By its status; or by the message beside it, where the status is a registrar's own word."""
    status = raw.get("status")
    return status in REJECTED or (bool(raw.get("message")) and status not in ("completed", "validated"))


def _rejection(record_id: str, raw: JsonObject) -> Rejection:
    return Rejection(record_id, "status", str(raw.get("status")), str(raw.get("message") or "no reason given"))


JOB_TYPES: Mapping[str, JobType] = {
    "drafts": JobType("drafts of operation", get_drafts, on_not_found=keep_waiting),
}
"""The id is the operation's, the locator that of a `DraftSelection`."""
