"""Kaleidoscope's API: registrations, of files and of drafts.

A user registers a file, or submits drafts, with an operation; a registrar reports the results. Everything here rests on
the vendor's published clients, kalbio 0.2.4 to 0.7.0 (`kalbio/registration.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sluice_provider.apis.kaleidoscope.payloads import SHOWN, Rows, get_list, rows_of
from sluice_provider.apis.paths import segment
from sluice_provider.apis.payloads import JsonObject, drop_none, send_for_object
from sluice_provider.errors import NotFound, UnexpectedResponse
from sluice_provider.http.flow import Flow, Request
from sluice_provider.http.retry import send
from sluice_provider.jobs import Job, JobState, Rejection
from sluice_provider.jobs.polling import JobType, Locator, mark_lost
from sluice_provider.redaction import excerpt

STATUSES = ("pending", "validated", "validation_failed", "submitted", "completed", "failed")
"""Of files, submissions and drafts (`RegistrationFileStatusEnum`)."""

RESULT_STATUSES = ("success", "error")
"""Of the results of a whole registration (`RegistrationResultStatusEnum`)."""

REJECTED = ("failed", "validation_failed", "error", "not_found")
"""Statuses of a single record that mean it was rejected. A registrar may use other words; those do not."""


# --- paths ----------------------------------------------------------------------------------------------------------


def _operation(operation_id: str) -> str:
    return f"operations/{segment(operation_id, 'operation_id')}"


def _registered_file(operation_id: str, file_id: str) -> str:
    return f"{_operation(operation_id)}/register/{segment(file_id, 'file_id')}"


def _submission(operation_id: str, submission_id: str) -> str:
    return f"{_operation(operation_id)}/registration_submissions/{segment(submission_id, 'submission_id')}"


# --- files ----------------------------------------------------------------------------------------------------------


def register_file(operation_id: str, file_id: str) -> Flow[JsonObject]:
    """Register an uploaded file with an operation, and return the registration (kalbio `register_file`).

    Not idempotent: as far as is known, a second request registers the file a second time.
    """
    return (yield from _create(_registered_file(operation_id, file_id), {}))


def get_registration_files(operation_id: str) -> Flow[list[JsonObject]]:
    """All registrations of files of an operation, with `record_errors` (kalbio `get_registration_files`)."""
    return (yield from _list(f"{_operation(operation_id)}/registrations"))


def push_status(operation_id: str, file_id: str, status: str, message: str | None = None) -> Flow[None]:
    """Set the status of a registered file (kalbio `push_status`). Idempotent."""
    path = f"{_operation(operation_id)}/registration_files/{segment(file_id, 'file_id')}/status"
    yield from _set_status(path, status, message)


def submit_results(
    operation_id: str,
    file_id: str,
    status: str,
    message: str | None = None,
    key_field_names: Sequence[str] | None = None,
    records: Rows | None = None,
) -> Flow[None]:
    """Report the results of a file (kalbio `submit_results`).

    Not idempotent: what a second report does is not documented.
    """
    path = f"{_registered_file(operation_id, file_id)}/results"
    yield from _send_results(path, status, message, key_field_names, records)


# --- submissions of drafts ------------------------------------------------------------------------------------------


def validate_drafts(operation_id: str, record_ids: Sequence[str] | None = None) -> Flow[JsonObject]:
    """Submit drafts for validation only, and return the submission (kalbio `validate_drafts`).

    Not idempotent: each request makes another submission.

    :param record_ids: None for all drafts of the operation
    """
    body = drop_none(record_ids=None if record_ids is None else list(record_ids))
    return (yield from _create(f"{_operation(operation_id)}/validate_drafts", body))


def submit_drafts(operation_id: str, record_ids: Sequence[str] | None = None) -> Flow[JsonObject]:
    """Submit drafts for registration, and return the submission (kalbio `submit_drafts`).

    Not idempotent: each request makes another submission.

    :param record_ids: None for all drafts of the operation
    """
    body = drop_none(record_ids=None if record_ids is None else list(record_ids))
    return (yield from _create(f"{_operation(operation_id)}/submit_drafts_for_registration", body))


def get_registration_submissions(operation_id: str) -> Flow[list[JsonObject]]:
    """All submissions of an operation, newest first, with `record_errors` (kalbio `get_registration_submissions`)."""
    return (yield from _list(f"{_operation(operation_id)}/registration_submissions"))


def get_draft_statuses(operation_id: str) -> Flow[list[JsonObject]]:
    """`record_id`, `status` and `message` of each draft that was ever submitted (kalbio `get_draft_statuses`)."""
    return (yield from get_list(f"{_operation(operation_id)}/registration_draft_statuses"))


def push_submission_status(
    operation_id: str, submission_id: str, status: str, message: str | None = None
) -> Flow[None]:
    """Set the status of a submission (kalbio `push_submission_status`). Idempotent."""
    yield from _set_status(f"{_submission(operation_id, submission_id)}/status", status, message)


def submit_submission_results(
    operation_id: str,
    submission_id: str,
    status: str,
    message: str | None = None,
    key_field_names: Sequence[str] | None = None,
    records: Rows | None = None,
) -> Flow[None]:
    """Report the results of a submission (kalbio `submit_submission_results`).

    Not idempotent: what a second report does is not documented.
    """
    path = f"{_submission(operation_id, submission_id)}/results"
    yield from _send_results(path, status, message, key_field_names, records)


# --- requests and responses -----------------------------------------------------------------------------------------


def _create(path: str, body: JsonObject) -> Flow[JsonObject]:
    created = yield from send_for_object(Request("POST", path, json=body))
    if not isinstance(created.get("id"), str) or not created["id"]:
        raise UnexpectedResponse(f"POST {path} was answered without an id: {excerpt(created, 200)}")
    return created


def _list(path: str) -> Flow[list[JsonObject]]:
    found = yield from get_list(path)
    if not all(isinstance(entry, dict) and entry.get("id") for entry in found):
        raise UnexpectedResponse(f"GET {path} was answered with an entry that has no id: {excerpt(found, 200)}")
    return found


def _set_status(path: str, status: str, message: str | None) -> Flow[None]:
    yield from send(Request("POST", path, json=drop_none(status=status, message=message), idempotent=True))


def _send_results(
    path: str, status: str, message: str | None, key_field_names: Sequence[str] | None, records: Rows | None
) -> Flow[None]:
    """Until kalbio 0.3.0 the message of an error is `error_message`, since 0.4.0 `message`: both are sent."""
    body: JsonObject = drop_none(
        status=status,
        message=message,
        error_message=message if status == "error" else None,
        key_field_names=None if key_field_names is None else list(key_field_names),
        records=None if records is None else rows_of(records),
    )
    yield from send(Request("POST", path, json=body))


# --- one registration -----------------------------------------------------------------------------------------------


def get_registration(
    operation_id: str, file_id: str | None = None, submission_id: str | None = None
) -> Flow[JsonObject]:
    """The latest registration of a file, or one submission. The API has no call for one of them: all are listed.

    :raises NotFound: the operation has no such registration
    """
    if submission_id is not None:
        found = _by_id((yield from get_registration_submissions(operation_id)), submission_id)
        if found is None:
            raise NotFound(f"operation {operation_id} has no submission {submission_id}")
        return found
    found = latest_registration((yield from get_registration_files(operation_id)), str(file_id))
    if found is None:
        raise NotFound(f"file {file_id} is not registered with operation {operation_id}")
    return found


def _by_id(entries: Iterable[JsonObject], entry_id: str) -> JsonObject | None:
    return next((entry for entry in entries if entry["id"] == entry_id), None)


def latest_registration(entries: Iterable[JsonObject], file_id: str) -> JsonObject | None:
    """Of a file, which may have been registered more than once."""
    of_file = [entry for entry in entries if entry.get("file_id") == file_id]
    return max(of_file, key=lambda entry: str(entry.get("created_at") or ""), default=None)


def status_message(raw: JsonObject) -> str:
    """Older servers send `error_message` only (`RegistrationFile._coalesce_error_message`)."""
    return str(raw.get("message") or raw.get("error_message") or "")


def is_validation(raw: JsonObject) -> bool:
    """A submission whose drafts are validated and not registered."""
    return raw.get("submission_type") == "validation"


# --- after a lost response ------------------------------------------------------------------------------------------


def find_registration(operation_id: str, file_id: str, before: Iterable[str]) -> Flow[str | None]:
    """The id of the latest registration of a file, unless it was there before.

    :param before: ids of its registrations from before the request
    """
    entry = latest_registration((yield from get_registration_files(operation_id)), file_id)
    return None if entry is None or entry["id"] in set(before) else str(entry["id"])


def find_submissions(
    operation_id: str, before: Iterable[str], record_ids: Sequence[str] | None, *, validation: bool
) -> Flow[list[str]]:
    """The ids of the new submissions that could be the result of a request.

    :param before: ids of the submissions from before the request
    :param record_ids: the drafts of the request; None for all
    """
    known = set(before)
    return [
        str(entry["id"])
        for entry in (yield from get_registration_submissions(operation_id))
        if entry["id"] not in known
        and is_validation(entry) is validation
        and (record_ids is None or set(entry.get("submitted_record_ids") or ()) == set(record_ids))
    ]


AFTER_RESULTS = ("submitted", "validated", "validation_failed", "completed", "failed")


def results_arrived(before: Mapping[str, str], now: JsonObject) -> bool:
    """Whether results have arrived since: with them a registration gets another status, or at least is updated.

    :param before: its `status` and `updated_at` from before they were sent
    """
    status = str(now.get("status") or "")
    expected = AFTER_RESULTS if is_validation(now) else [each for each in AFTER_RESULTS if "valid" not in each]
    changed = status != before.get("status") or str(now.get("updated_at") or "") != before.get("updated_at")
    return changed and status in expected


# --- job types ------------------------------------------------------------------------------------------------------

NOT_SUBMITTED_YET = "not submitted yet"
"""The status, in our words, of something that the operation does not list."""


def registration_job(raw: JsonObject, shown: int | None = SHOWN) -> Job:
    """A registration of a file, or a submission, as a job.

    A validation succeeds also when it rejects records; they are counted. In a registration, `validated` and
    `validation_failed` are reported by the registrar on the way.
    """
    status = str(raw.get("status") or "")
    errors = [error for error in raw.get("record_errors") or [] if isinstance(error, dict)]
    state = {"completed": JobState.SUCCEEDED, "failed": JobState.FAILED}.get(status, JobState.RUNNING)
    if is_validation(raw) and status in ("validated", "validation_failed"):
        state = JobState.SUCCEEDED
    rejected = len(errors) or int(state is JobState.SUCCEEDED and status == "validation_failed")
    records = raw.get("submitted_record_ids")
    rejections = [_rejection(error) for error in errors[:shown]]
    if rejected and not rejections:
        rejections = [Rejection("?", "status", status, status_message(raw) or "no reason given")]
    failed = state is JobState.FAILED
    return Job(
        id=str(raw["id"]),
        state=state,
        service_status=status,
        message=_failure_message(status_message(raw), rejections, rejected) if failed else status_message(raw),
        counts={**({"records": len(records)} if isinstance(records, list) else {}), "rejected": rejected},
        rejections=tuple(rejections),
        # Registering the same records again does not correct them; any other failure may pass.
        retryable=False if failed and errors else None,
    )


def _rejection(error: JsonObject) -> Rejection:
    reason = error.get("error_message") or error.get("message") or "no reason given"
    return Rejection(str(error.get("source_record_id") or "?"), "status", str(error.get("status") or "?"), str(reason))


def _failure_message(message: str, rejections: Sequence[Rejection], count: int) -> str:
    """With the first rejected records."""
    shown = "; ".join(map(str, rejections[:3])) + ("; ..." if count > 3 else "")
    return "; ".join(filter(None, (message, shown)))


def _registration_status(registration_id: str, locator: Locator) -> Flow[Job]:
    found = _by_id((yield from get_registration_files(locator["operation_id"])), registration_id)
    return _job(registration_id, found, f"operation {locator['operation_id']} does not list this registration")


def _submission_status(submission_id: str, locator: Locator) -> Flow[Job]:
    found = _by_id((yield from get_registration_submissions(locator["operation_id"])), submission_id)
    return _job(submission_id, found, f"operation {locator['operation_id']} does not list this submission")


def _file_status(file_id: str, locator: Locator) -> Flow[Job]:
    found = latest_registration((yield from get_registration_files(locator["operation_id"])), file_id)
    return _job(file_id, found, f"this file is not registered with operation {locator['operation_id']} yet")


def _job(job_id: str, found: JsonObject | None, message: str) -> Job:
    return Job(job_id, JobState.NOT_FOUND, NOT_SUBMITTED_YET, message) if found is None else registration_job(found)


def _reported_status(job_id: str, locator: Locator) -> Flow[Job]:
    """Setting a status ends with the response: there is nothing to poll."""
    del locator
    yield from ()
    return Job(job_id, JobState.SUCCEEDED, "reported")


def keep_waiting(job: Job) -> Job:
    """It may be submitted later, unless the operation itself is not found."""
    return job if job.service_status == NOT_SUBMITTED_YET else mark_lost(job)


JOB_TYPES: Mapping[str, JobType] = {
    "registration": JobType("registration", _registration_status),
    "submission": JobType("submission", _submission_status),
    "registered_file": JobType("registration of file", _file_status, on_not_found=keep_waiting),
    "awaited_submission": JobType("submission", _submission_status, on_not_found=keep_waiting),
    "status": JobType("status", _reported_status),
}
"""None of them can be cancelled: the API has no call for it. The id is that of the registration or submission; of
`registered_file` the file's, and of `status` either. The locator has the `operation_id`."""
