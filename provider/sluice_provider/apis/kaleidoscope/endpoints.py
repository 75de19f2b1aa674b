"""Kaleidoscope's API: pushing records, imports, and the reads that go with them.

Everything here rests on the vendor's published clients, kalpy 0.2.0 and kalbio 0.2.0 to 0.7.0 (`kalbio/imports.py`,
`kalbio/client.py`); the vendor's API site is https://api.docs.kaleidoscope.bio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from sluice_provider.apis.kaleidoscope.payloads import SHOWN, Rows, get_list, part, rows_of
from sluice_provider.apis.paths import segment
from sluice_provider.apis.payloads import JsonObject, drop_none, send_for_object
from sluice_provider.errors import ClientError, InvalidInput, UnexpectedResponse
from sluice_provider.http.flow import Flow, Request
from sluice_provider.http.pagination import bounded_listing
from sluice_provider.jobs import Job, JobState, Rejection
from sluice_provider.jobs.model import count_or_zero
from sluice_provider.jobs.polling import MIN_LISTED, JobType, Locator, Wanted
from sluice_provider.redaction import excerpt

TOKEN_PATH = "auth/oauth/token"  # noqa: S105 - a path


# --- reads ----------------------------------------------------------------------------------------------------------


def get_active_workspace() -> Flow[JsonObject]:
    """The workspace that the credentials belong to: `id` and `workspace_name` (kalbio `workspaces.py`)."""
    return (yield from send_for_object(Request("GET", "workspaces/active", idempotent=True)))


def get_programs() -> Flow[list[JsonObject]]:
    """All programs: `id`, `title`, ... (kalbio `programs.py`)."""
    return (yield from get_list("programs"))


def get_activities() -> Flow[list[JsonObject]]:
    """All activities; an operation is one of type experiment or cycle (kalbio `activities.py`)."""
    return (yield from get_list("activities"))


def get_entity_slices() -> Flow[list[JsonObject]]:
    """All entity slices: `id`, `slice_name`, `key_field_ids` (kalbio `entity_types.py`)."""
    return (yield from get_list("entity_slices"))


def get_key_fields() -> Flow[list[JsonObject]]:
    """All key fields: `id`, `field_name`, ... (kalbio `entity_fields.py`)."""
    return (yield from get_list("key_fields"))


def get_data_fields() -> Flow[list[JsonObject]]:
    """All data fields: `id`, `field_name`, `field_type`, ... (kalbio `entity_fields.py`)."""
    return (yield from get_list("data_fields"))


def get_record_views() -> Flow[list[JsonObject]]:
    """All record views (kalbio `record_views.py`)."""
    return (yield from get_list("record_views"))


# --- pushing --------------------------------------------------------------------------------------------------------


def push_by_field_name(
    key_field_names: Sequence[str],
    data: Rows,
    source_id: str | None = None,
    operation_id: str | None = None,
    program_id: str | None = None,
    record_view_id: str | None = None,
    add_fields_to_record_view_ids: Sequence[str] | None = None,
    record_view_ids: Sequence[str] | None = None,
    set_name: str | None = None,
) -> Flow[str]:
    """Import records whose fields are given by name, and return the import's id (kalbio `imports.py: push_data`).

    Arguments that are None are not sent. `record_view_ids` belongs to the older version of the API and is ignored by
    the newer; `record_view_id` and `add_fields_to_record_view_ids` belong to the newer.

    Idempotent: records are identified by their key fields, so pushing the same records again updates them.
    """
    if source_id == "by-field-id":
        raise InvalidInput("source_id cannot be 'by-field-id': that is the path of another endpoint")
    path = f"push/imports/{segment(source_id, 'source_id')}" if source_id is not None else "push/imports"
    body = drop_none(
        key_field_names=list(key_field_names),
        data=rows_of(data),
        operation_id=operation_id,
        program_id=program_id,
        record_view_id=record_view_id,
        add_fields_to_record_view_ids=add_fields_to_record_view_ids,
        record_view_ids=record_view_ids,
        set_name=set_name,
    )
    return (yield from _push(path, body))


def push_by_field_id(
    key_field_ids: Sequence[str],
    data: Rows,
    operation_id: str | None = None,
    program_id: str | None = None,
    record_view_ids: Sequence[str] | None = None,
    set_name: str | None = None,
) -> Flow[str]:
    """Import records whose fields are given by id, and return the import's id (kalbio `push_data_by_field_id`).

    `record_view_ids` has an effect here, and is always sent.
    """
    body = drop_none(
        key_field_ids=list(key_field_ids),
        data=rows_of(data),
        record_view_ids=list(record_view_ids or []),
        operation_id=operation_id,
        program_id=program_id,
        set_name=set_name,
    )
    return (yield from _push("push/imports/by-field-id", body))


def _push(path: str, body: JsonObject) -> Flow[str]:
    accepted = yield from send_for_object(Request("POST", path, json=body, idempotent=True))
    import_id = accepted.get("import_id")
    if not isinstance(import_id, str) or not import_id:
        raise UnexpectedResponse(f"POST {path} was accepted without an import_id: {excerpt(accepted, 200)}")
    return import_id


# --- imports --------------------------------------------------------------------------------------------------------


def get_import(import_id: str) -> Flow[JsonObject]:
    """One import, as the API describes it (kalbio `imports.py: get_import`, models `Import`, `ImportResult`).

    :raises NotFound: the workspace has no such import
    """
    raw = yield from send_for_object(Request("GET", f"imports/{segment(import_id, 'import_id')}", idempotent=True))
    if not isinstance(raw.get("is_complete"), bool) or not raw.get("id"):
        raise UnexpectedResponse(f"import {import_id} has no id or no is_complete: {excerpt(raw, 200)}")
    return raw


def get_imports(is_complete: bool | None = None, page_size: int = 100) -> Flow[list[JsonObject]]:
    """All imports of the workspace, optionally only those that are (not) complete.

    The vendor does not document whether pages are numbered from 0 or from 1, so both are requested, and no import is
    returned twice; nor how long a page may be, so the last page is the first that is shorter than an earlier one.
    """
    return (yield from bounded_listing(_all_imports(is_complete, page_size)))


def _all_imports(is_complete: bool | None, page_size: int) -> Flow[list[JsonObject]]:
    found: dict[str, JsonObject] = {}
    number = longest = 0
    while True:
        page = yield from _imports_page(is_complete, number, page_size)
        known, longest = len(found), max(longest, len(page))
        found.update({str(item.get("id")): item for item in page})
        if number > 0 and (not page or len(page) < longest or (number > 1 and len(found) == known)):
            return list(found.values())
        number += 1


def _imports_page(is_complete: bool | None, number: int, size: int) -> Flow[list[JsonObject]]:
    params: dict[str, str | int] = {"page": number, "page_size": size}
    if is_complete is not None:
        params["is_complete"] = int(is_complete)
    try:
        return (yield from get_list("imports", params))
    except ClientError as error:
        if number == 0 and error.status in (400, 422):
            return []
        raise


def import_job(raw: JsonObject, shown: int | None = SHOWN) -> Job:
    """An import as a job. Only `is_complete` says that it is over; the values of `import_status` are not documented.

    What is odd in its result is ignored, as it says nothing about whether the import is over.
    """
    message = str(raw.get("error_message") or "")
    state = JobState.RUNNING
    if raw["is_complete"]:
        state = JobState.FAILED if raw.get("import_status") == "failed" or message else JobState.SUCCEEDED
    if raw.get("error_details"):
        message = f"{message} {raw['error_details']}".strip()
    result = part(raw, "import_result")
    validation = part(result, "validation_result")
    listed = validation.get("errors")
    errors = [error for error in listed if isinstance(error, dict)] if isinstance(listed, list) else []
    return Job(
        id=str(raw["id"]),
        state=state,
        service_status=str(raw.get("import_status") or ""),
        message=message,
        counts=_counts(result, validation, len(errors)),
        rejections=tuple(_rejection(error) for error in errors[:shown]),
    )


def _counts(result: JsonObject, validation: JsonObject, errors: int) -> dict[str, int]:
    """`rejected` counts rows. A row may have several errors; only old servers do not send the number of rows."""
    failed = count_or_zero(validation.get("failed"))
    return {
        "created": count_or_zero(result.get("records_created")),
        "updated": count_or_zero(result.get("records_updated")),
        "skipped": count_or_zero(result.get("records_skipped")),
        "rejected": failed if failed == validation.get("failed") else errors,
    }


def _rejection(error: JsonObject) -> Rejection:
    return Rejection(
        row=str(error.get("incoming_record_identifier") or "?"),
        field=str(error.get("field_name") or error.get("field_id") or "?"),
        value=excerpt(repr(error.get("value")), 100),
        reason=str(error.get("conflict_type") or error.get("message") or "no reason given"),
    )


def _get_status(import_id: str, _locator: Locator) -> Flow[Job]:
    return import_job((yield from get_import(import_id)))


def _list_statuses(wanted: Sequence[Wanted]) -> Flow[list[Job | None]]:
    """First those that are not complete, which are few in most workspaces; then, if many are still missing, those that
    are."""
    missing = {each.id for each in wanted}
    jobs: dict[str, Job] = {}
    for is_complete in (False, True):
        if len(missing) >= MIN_LISTED or not is_complete:
            for raw in (yield from bounded_listing(_find_imports(is_complete, missing))):
                job = import_job(raw)
                if job.state is not JobState.SUCCEEDED or part(raw, "import_result"):  # else its counts are not there
                    jobs[job.id] = job
                missing.discard(job.id)
    return [jobs.get(each.id) for each in wanted]


WANTED_PER_USELESS_PAGE = 50


def _find_imports(is_complete: bool, wanted: Set[str], page_size: int = 100) -> Flow[list[JsonObject]]:
    """Those of the wanted imports that the listing has, as far as it is worth reading.

    The order of a listing is not documented, and others import at the same time: it is given up after pages without a
    wanted import, of which more are read the more imports are wanted. Nor is it documented whether the first page is 0
    or 1, so page 0 comes last, and only if something is missing.
    """
    found: dict[str, JsonObject] = {}
    longest, useless, number = 0, 0, 1
    while len(found) < len(wanted):
        page = yield from _imports_page(is_complete, number, page_size)
        known, longest = len(found), max(longest, len(page))
        found.update({str(raw.get("id")): raw for raw in page if str(raw.get("id")) in wanted and _is_import(raw)})
        if number == 0:
            break
        useless += len(found) == known
        ended = not page or len(page) < longest or useless > len(wanted) // WANTED_PER_USELESS_PAGE
        number = 0 if ended else number + 1
    return list(found.values())


def _is_import(raw: JsonObject) -> bool:
    return isinstance(raw.get("is_complete"), bool) and isinstance(raw.get("id"), str)


JOB_TYPES: Mapping[str, JobType] = {"import": JobType("import", _get_status, list_statuses=_list_statuses)}
"""An import cannot be cancelled: the API has no call for it."""
