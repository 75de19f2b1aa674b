"""Kaleidoscope's API: drafts, the rows on an operation's staging table that wait to be registered.

Every fact rests on the vendor's published client, kalbio 0.7.0 (`kalbio/registration.py: stage_drafts`,
`kalbio/activities.py`, `kalbio/record_views.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sluice_provider.apis.kaleidoscope.endpoints import get_activities, get_data_fields, get_import, get_record_views
from sluice_provider.apis.kaleidoscope.payloads import SHOWN, Raw, Rows, rows_of
from sluice_provider.apis.kaleidoscope.registration import (
    AWAITED,
    BAD,
    get_draft_statuses,
    get_registration_submissions,
    patient,
)
from sluice_provider.apis.paths import segment
from sluice_provider.apis.payloads import drop_none, send_for_object
from sluice_provider.errors import ClientError, InvalidInput, NotFound, UnexpectedResponse
from sluice_provider.http.flow import Flow, Request
from sluice_provider.http.retry import send
from sluice_provider.jobs import Job, JobState, Rejection
from sluice_provider.jobs.polling import JobType, Locator


class Staging(NamedTuple):
    """An operation's staging table.

    :param view_id: of the record view
    :param fields: its data fields by their names
    :param draft_ids: the drafts on it
    """

    view_id: str
    fields: Mapping[str, Raw]
    draft_ids: tuple[str, ...]


def get_operation(operation_id: str) -> Flow[Raw]:
    """One operation. The API has no call for one: all activities are listed (kalbio `get_activity_by_id`).

    :raises NotFound: there is no such activity
    """
    segment(operation_id, "operation_id")
    for activity in (yield from get_activities()):
        if activity.get("id") == operation_id:
            return activity
    raise NotFound(f"there is no operation {operation_id}")


def get_draft_ids(operation_id: str) -> Flow[tuple[str, ...]]:
    """The drafts of an operation that were neither registered nor cleared yet."""
    return _draft_ids((yield from get_operation(operation_id)))


def get_staging(operation_id: str) -> Flow[Staging]:
    """What has to be known of a staging table before rows can be staged on it.

    :raises InvalidInput: the operation has none
    """
    operation = yield from get_operation(operation_id)
    view_id = operation.get("registration_staging_record_view_id")
    if not view_id:
        raise InvalidInput(
            f"operation {operation_id} has no registration staging table: its activity definition must have one "
            "(registration_staging_template_view_id)"
        )
    views = yield from get_record_views()
    view = next((each for each in views if each.get("id") == view_id), {})
    on_view = [field.get("data_field_id") for field in view.get("view_fields") or [] if isinstance(field, dict)]
    fields = {str(field.get("id")): field for field in (yield from get_data_fields())}
    named = [fields[field_id] for field_id in on_view if field_id in fields]
    by_name = {str(field["field_name"]): field for field in named if field.get("field_name")}
    return Staging(str(view_id), by_name, _draft_ids(operation))


def _draft_ids(operation: Raw) -> tuple[str, ...]:
    return tuple(str(each) for each in operation.get("data_table_draft_record_ids") or ())


# --- staging, which is an import in two steps -----------------------------------------------------------------------


def create_draft_import(operation_id: str, data: Rows) -> Flow[str]:
    """Hand rows over, and return the id of the import that will stage them once it is run.

    Until then they are no drafts, so another import that is never run does no harm: the call is repeatable.
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
        raise UnexpectedResponse(f"POST imports was answered without an id: {created!r:.200}")
    return import_id


def run_draft_import(
    import_id: str,
    key_field_names: Sequence[str],
    columns: Sequence[str],
    staging: Staging,
    replaced: Sequence[str] | None = None,
) -> Flow[str]:
    """Run an import that was handed over, and return its id again.

    The same rows staged twice are two drafts each, and what a second run does is not documented: not repeatable.

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


def was_run(import_id: str) -> Flow[bool | None]:
    """Whether an import was ever run, by what can be seen of it; None where nothing can be seen."""
    try:
        raw = yield from get_import(import_id)
    except NotFound:  # by a replica that lags
        return None
    begun = raw["is_complete"] or raw.get("started_at") or raw.get("import_status") not in (None, "", "created")
    return True if begun else None


def clear_drafts(operation_id: str, record_ids: Sequence[str]) -> Flow[None]:
    """Archive drafts (kalbio `clear_drafts`). What is archived stays archived: repeatable.

    :raises ClientError: one of them is pending or submitted
    """
    path = f"operations/{segment(operation_id, 'operation_id')}/clear_draft_records"
    try:
        yield from send(Request("POST", path, json={"record_ids": list(record_ids)}, idempotent=True))
    except ClientError as error:
        # Refused for what an earlier attempt, whose answer was lost, has done already?
        if not error.maybe_applied or set(record_ids) & set((yield from get_draft_ids(operation_id))):
            raise


# --- drafts as a job ------------------------------------------------------------------------------------------------

UNJUDGED = ("", "pending", "submitted")


def _get_status(operation_id: str, locator: Locator) -> Flow[Job]:
    """The drafts of an operation, or some of them: over when the registrar has said something of each."""
    told = {str(each.get("record_id")): each for each in (yield from get_draft_statuses(operation_id))}
    wanted, seen = locator.get("record_ids", "").split(), locator.get("seen", "").split()
    there: tuple[str, ...] = ()
    if not wanted:
        there = yield from get_draft_ids(operation_id)
        wanted = list(dict.fromkeys((*seen, *there, *told)))
    unlisted = set(wanted) - set(told)
    if unlisted:
        told.update((yield from _by_submission(operation_id, unlisted)))
    # A draft that was seen, is not there now and was part of no submission, was cleared.
    cleared = set(seen) - set(there) - set(told)
    wanted = [each for each in wanted if each not in cleared]
    if not wanted:
        return Job(operation_id, JobState.NOT_FOUND, AWAITED, "there are no drafts on the operation")
    return drafts_job(operation_id, {each: told.get(each, {}) for each in wanted}, "validation" in locator)


def _by_submission(operation_id: str, record_ids: Iterable[str]) -> Flow[dict[str, Raw]]:
    """A draft that was registered leaves the staging table; the submission that it was part of still tells of it."""
    found: dict[str, Raw] = {}
    for entry in reversed((yield from get_registration_submissions(operation_id))):
        status = {"status": entry.get("status")}
        found.update({each: status for each in record_ids if each in (entry.get("submitted_record_ids") or ())})
    return found


def drafts_job(operation_id: str, drafts: Mapping[str, Raw], validation: bool) -> Job:
    """
    :param drafts: what is known of each: `status` and `message`
    :param validation: the verdicts of a validation are what is waited for, else those of the registration
    """
    words = {record_id: str(raw.get("status") or "") for record_id, raw in drafts.items()}
    unjudged = UNJUDGED if validation else (*UNJUDGED, "validated", "validation_failed")
    judged = {record_id: raw for record_id, raw in drafts.items() if words[record_id] not in unjudged}
    bad = [_rejection(record_id, raw) for record_id, raw in judged.items() if _is_bad(raw)]
    tally = Counter(word or "not submitted" for word in words.values())
    return Job(
        operation_id,
        JobState.SUCCEEDED if len(judged) == len(drafts) else JobState.RUNNING,
        service_status=f"{len(judged)} of {len(drafts)} drafts have a verdict",
        counts={**tally, "drafts": len(drafts), "rejected": len(bad)},
        done=len(judged),
        total=len(drafts),
        rejections=tuple(bad[:SHOWN]),
    )


def _is_bad(raw: Raw) -> bool:
    """By the word; or by the error beside it, where the word is a registrar's own."""
    word = raw.get("status")
    return word in BAD or (bool(raw.get("message")) and word not in ("completed", "validated"))


def _rejection(record_id: str, raw: Raw) -> Rejection:
    return Rejection(record_id, "status", str(raw.get("status")), str(raw.get("message") or "no reason given"))


JOB_TYPES: Mapping[str, JobType] = {"drafts": JobType("drafts of operation", _get_status, on_not_found=patient)}
"""The id is the operation's; `locator` may name drafts in `record_ids`, separated by blanks, and hold `validation`.
Without `record_ids` all drafts are meant: those that are there, and those in `seen`, which were there when the wait
began and leave the table when they are registered."""
