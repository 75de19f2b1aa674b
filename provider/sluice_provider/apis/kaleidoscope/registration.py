"""Kaleidoscope's API: registrations, of files and of drafts, from both sides.

The user's side registers a file, or submits drafts, with an operation; the registrar's side reports what became of
them. Every fact rests on the vendor's published clients, kalbio 0.2.4 to 0.7.0 (`kalbio/registration.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sluice_provider.apis.kaleidoscope.payloads import SHOWN, Raw, Rows, get_list, rows_of
from sluice_provider.apis.paths import segment
from sluice_provider.apis.payloads import drop_none, send_for_object
from sluice_provider.errors import InvalidInput, NotFound, UnexpectedResponse
from sluice_provider.http.flow import Flow, Request
from sluice_provider.http.retry import send
from sluice_provider.jobs import Job, JobState, Rejection
from sluice_provider.jobs.polling import JobType, Locator, mark_lost

STATUSES = ("pending", "validated", "validation_failed", "submitted", "completed", "failed")
"""What files, submissions and drafts go through (`RegistrationFileStatusEnum`)."""

RESULTS = ("success", "error")
"""What results may say of the whole (`RegistrationResultStatusEnum`)."""

BAD = ("failed", "validation_failed", "error", "not_found")
"""Verdicts on one record that turn it away. The word is the registrar's own choice: any other one does not."""

# --- files ----------------------------------------------------------------------------------------------------------


def register_file(operation_id: str, file_id: str) -> Flow[Raw]:
    """Register an uploaded file with an operation, and return the registration (kalbio `register_file`).

    To be asked twice is to register twice, as far as is known: the call is not repeatable.
    """
    path = f"operations/{segment(operation_id, 'operation_id')}/register/{segment(file_id, 'file_id')}"
    return _with_id((yield from send_for_object(Request("POST", path, json={}))), path)


def get_registration_files(operation_id: str) -> Flow[list[Raw]]:
    """All registrations of files of an operation, with `record_errors` (kalbio `get_registration_files`)."""
    return (yield from _entries(f"operations/{segment(operation_id, 'operation_id')}/registrations"))


def push_status(operation_id: str, file_id: str, status: str, message: str | None = None) -> Flow[None]:
    """Say how far the registrar is with a file (kalbio `push_status`).

    It sets the status, so to say it twice at once is to say it once: the call is repeatable.
    """
    operation = segment(operation_id, "operation_id")
    path = f"operations/{operation}/registration_files/{segment(file_id, 'file_id')}/status"
    yield from send(Request("POST", path, json=drop_none(status=status, message=message), idempotent=True))


def submit_results(
    operation_id: str,
    file_id: str,
    status: str,
    message: str | None = None,
    key_field_names: Sequence[str] | None = None,
    records: Rows | None = None,
) -> Flow[None]:
    """Report what became of a file's records (kalbio `submit_results`).

    What a second report does is not documented: the call is not repeatable.
    """
    path = f"operations/{segment(operation_id, 'operation_id')}/register/{segment(file_id, 'file_id')}/results"
    yield from send(Request("POST", path, json=_results(status, message, key_field_names, records)))


# --- submissions of drafts ------------------------------------------------------------------------------------------


def validate_drafts(operation_id: str, record_ids: Sequence[str] | None = None) -> Flow[Raw]:
    """Ask the registrar for a dry run, and return the submission (kalbio `validate_drafts`). Without ids: all drafts.

    Each asking makes another submission: the call is not repeatable.
    """
    return (yield from _submit(operation_id, "validate_drafts", record_ids))


def submit_drafts(operation_id: str, record_ids: Sequence[str] | None = None) -> Flow[Raw]:
    """Submit drafts for registration, and return the submission (kalbio `submit_drafts`). Without ids: all drafts.

    Each asking makes another submission: the call is not repeatable.
    """
    return (yield from _submit(operation_id, "submit_drafts_for_registration", record_ids))


def _submit(operation_id: str, verb: str, record_ids: Sequence[str] | None) -> Flow[Raw]:
    path = f"operations/{segment(operation_id, 'operation_id')}/{verb}"
    body = drop_none(record_ids=None if record_ids is None else list(record_ids))
    return _with_id((yield from send_for_object(Request("POST", path, json=body))), path)


def get_registration_submissions(operation_id: str) -> Flow[list[Raw]]:
    """All submissions of an operation, newest first, with `record_errors` (kalbio `get_registration_submissions`)."""
    return (yield from _entries(f"operations/{segment(operation_id, 'operation_id')}/registration_submissions"))


def get_draft_statuses(operation_id: str) -> Flow[list[Raw]]:
    """`record_id`, `status` and `message` of each draft that was ever submitted (kalbio `get_draft_statuses`)."""
    return (yield from get_list(f"operations/{segment(operation_id, 'operation_id')}/registration_draft_statuses"))


def push_submission_status(
    operation_id: str, submission_id: str, status: str, message: str | None = None
) -> Flow[None]:
    """Say how far the registrar is with a submission (kalbio `push_submission_status`).

    It sets the status, so to say it twice at once is to say it once: the call is repeatable.
    """
    path = f"{_submission(operation_id, submission_id)}/status"
    yield from send(Request("POST", path, json=drop_none(status=status, message=message), idempotent=True))


def submit_submission_results(
    operation_id: str,
    submission_id: str,
    status: str,
    message: str | None = None,
    key_field_names: Sequence[str] | None = None,
    records: Rows | None = None,
) -> Flow[None]:
    """Report what became of a submission's drafts (kalbio `submit_submission_results`).

    What a second report does is not documented: the call is not repeatable.
    """
    path = f"{_submission(operation_id, submission_id)}/results"
    yield from send(Request("POST", path, json=_results(status, message, key_field_names, records)))


def _submission(operation_id: str, submission_id: str) -> str:
    operation = segment(operation_id, "operation_id")
    return f"operations/{operation}/registration_submissions/{segment(submission_id, 'submission_id')}"


# --- what is sent ---------------------------------------------------------------------------------------------------


def _results(
    status: str,
    message: str | None,
    key_field_names: Sequence[str] | None,
    records: Rows | None,
) -> Raw:
    """Up to kalbio 0.3.0 an error's message is `error_message`, since 0.4.0 it is `message`: both say it."""
    return drop_none(
        status=status,
        message=message,
        error_message=message if status == "error" else None,
        key_field_names=None if key_field_names is None else list(key_field_names),
        records=None if records is None else rows_of(records),
    )


MEMBERS = ("record_id", "status", "data", "error_message")
"""Of a result for one record."""


def result_record(record: Mapping[str, Any]) -> Raw:
    """A result for one record as the API wants it, from a row: fields that it does not know become its `data`.

    :raises InvalidInput: it cannot be sent as it is; in words that follow the name of the record
    """
    found: Raw = {}
    for name in ("record_id", "status"):
        value = record.get(name)
        if not isinstance(value, str) or not value.strip():
            there = ", ".join(map(str, list(record)[:10])) or "no fields at all"
            raise InvalidInput(f"must have a {name} that is a string; it has {there}")
        found[name] = value.strip()
    data = {name: value for name, value in record.items() if name not in MEMBERS}
    if record.get("data") is not None:
        if data:
            raise InvalidInput(
                f"has a field 'data' and, beside it, {', '.join(map(str, data))}: one or the other is meant"
            )
        data = record["data"]
    if not isinstance(data, Mapping) or not all(isinstance(name, str) and name for name in data):
        raise InvalidInput(f"has a field 'data' that is not an object of named values: {data!r:.60}")
    message = record.get("error_message")
    if message is not None and not isinstance(message, str):
        raise InvalidInput(f"has an error_message that is not a string: {message!r:.60}")
    return {**found, **drop_none(data=dict(data) or None, error_message=message or None)}


# --- what comes back ------------------------------------------------------------------------------------------------


def newest(entries: Iterable[Raw], file_id: str) -> Raw | None:
    """The last registration of a file, which may have been registered more than once."""
    of_file = [entry for entry in entries if entry.get("file_id") == file_id]
    return max(of_file, key=lambda entry: str(entry.get("created_at") or ""), default=None)


def message_of(raw: Raw) -> str:
    """Older servers know `error_message` only (`RegistrationFile._coalesce_error_message`)."""
    return str(raw.get("message") or raw.get("error_message") or "")


def is_validation(raw: Raw) -> bool:
    """A submission whose drafts are judged and not registered."""
    return raw.get("submission_type") == "validation"


def registration_job(raw: Raw) -> Job:
    """A registration of a file, or a submission, as a job.

    A validation has done its work also where the verdict is bad: then its records count as rejected. In a registration
    both verdicts of a validation are a stage on the way, which the registrar tells of.
    """
    word = str(raw.get("status") or "")
    errors = [error for error in raw.get("record_errors") or [] if isinstance(error, dict)]
    state = {"completed": JobState.SUCCEEDED, "failed": JobState.FAILED}.get(word, JobState.RUNNING)
    if is_validation(raw) and word in ("validated", "validation_failed"):
        state = JobState.SUCCEEDED
    rejected = len(errors) or int(state is JobState.SUCCEEDED and word == "validation_failed")
    records = raw.get("submitted_record_ids")
    rejections = [_rejection(str(error.get("source_record_id") or "?"), error) for error in errors[:SHOWN]]
    if rejected and not rejections:
        rejections = [Rejection("?", "status", word, message_of(raw) or "no reason given")]
    return Job(
        id=str(raw["id"]),
        state=state,
        service_status=word,
        message=_told(message_of(raw), rejections if state is JobState.FAILED else [], rejected),
        counts={**({"records": len(records)} if isinstance(records, list) else {}), "rejected": rejected},
        rejections=tuple(rejections),
        # What is wrong with a record is not cured by asking again; what the registrar says of the whole may be.
        retryable=False if state is JobState.FAILED and errors else None,
    )


def _rejection(row: str, error: Raw) -> Rejection:
    reason = error.get("error_message") or error.get("message") or "no reason given"
    return Rejection(row, "status", str(error.get("status") or "?"), str(reason))


def _told(message: str, rejections: Sequence[Rejection], count: int) -> str:
    """A job that ended badly says what is wrong with the first of its records."""
    if not rejections:
        return message
    shown = "; ".join(map(str, rejections[:3])) + ("; ..." if count > 3 else "")
    return f"{message}; {shown}" if message else shown


def _with_id(answer: Raw, path: str) -> Raw:
    if not isinstance(answer.get("id"), str) or not answer["id"]:
        raise UnexpectedResponse(f"{path} was answered without an id: {answer!r:.200}")
    return answer


def _entries(path: str) -> Flow[list[Raw]]:
    found = yield from get_list(path)
    if not all(isinstance(entry, dict) and entry.get("id") for entry in found):
        raise UnexpectedResponse(f"GET {path} answered with an entry that has no id: {found!r:.200}")
    return found


# --- finding what was asked for -------------------------------------------------------------------------------------


def find_registration(operation_id: str, file_id: str, before: Iterable[str]) -> Flow[str | None]:
    """The registration of a file that was not there before."""
    entry = newest((yield from get_registration_files(operation_id)), file_id)
    return None if entry is None or entry["id"] in set(before) else str(entry["id"])


def find_submissions(
    operation_id: str, before: Iterable[str], record_ids: Sequence[str] | None, *, validation: bool
) -> Flow[list[str]]:
    """The submissions that were not there before and are what ours was to be."""
    known = set(before)
    return [
        str(entry["id"])
        for entry in (yield from get_registration_submissions(operation_id))
        if entry["id"] not in known
        and is_validation(entry) is validation
        and (record_ids is None or set(entry.get("submitted_record_ids") or ()) == set(record_ids))
    ]


def get_registration(operation_id: str, file_id: str | None = None, submission_id: str | None = None) -> Flow[Raw]:
    """The last registration of a file, or one submission. The API has no call for one of them, so it is picked.

    :raises NotFound: there is no such thing
    """
    if submission_id is not None:
        entries = yield from get_registration_submissions(operation_id)
        found = next((entry for entry in entries if entry["id"] == submission_id), None)
        if found is None:
            raise NotFound(f"operation {operation_id} has no submission {submission_id}")
        return found
    found = newest((yield from get_registration_files(operation_id)), str(file_id))
    if found is None:
        raise NotFound(f"file {file_id} is not registered with operation {operation_id}")
    return found


AFTER_RESULTS = ("submitted", "validated", "validation_failed", "completed", "failed")


def took_results(before: Mapping[str, Any], now: Raw) -> bool:
    """Whether results have arrived since. With them a registration goes on to another word, or at least is updated.

    :param before: `status` and `updated_at` from before they were sent
    """
    word = str(now.get("status") or "")
    words = AFTER_RESULTS if is_validation(now) else [each for each in AFTER_RESULTS if "valid" not in each]
    moved = word != before.get("status") or str(now.get("updated_at") or "") != before.get("updated_at")
    return moved and word in words


AWAITED = "awaited"
"""Our word for what an operation does not have yet."""

# --- kinds ----------------------------------------------------------------------------------------------------------


def _registration_status(registration_id: str, locator: Locator) -> Flow[Job]:
    return _picked(registration_id, (yield from get_registration_files(locator["operation_id"])))


def _submission_status(submission_id: str, locator: Locator) -> Flow[Job]:
    return _picked(submission_id, (yield from get_registration_submissions(locator["operation_id"])))


def _picked(job_id: str, entries: Iterable[Raw]) -> Job:
    found = next((entry for entry in entries if entry["id"] == job_id), None)
    return _missing(job_id, "the operation does not list it") if found is None else registration_job(found)


def _file_status(file_id: str, locator: Locator) -> Flow[Job]:
    found = newest((yield from get_registration_files(locator["operation_id"])), file_id)
    return _missing(file_id, "it is not registered yet") if found is None else registration_job(found)


def _missing(job_id: str, message: str) -> Job:
    return Job(job_id, JobState.NOT_FOUND, AWAITED, message)


def _reported(job_id: str, locator: Locator) -> Flow[Job]:
    """A status is reported in one call, and that is over when it was answered: nothing is left to poll."""
    del locator
    yield from ()
    return Job(job_id, JobState.SUCCEEDED, "reported")


def patient(job: Job) -> Job:
    """Somebody else may still be about to ask for it, unless the operation itself is not known."""
    return job if job.service_status == AWAITED else mark_lost(job)


JOB_TYPES: Mapping[str, JobType] = {
    "registration": JobType("registration", _registration_status),
    "submission": JobType("submission", _submission_status),
    "registered_file": JobType("registration of file", _file_status, on_not_found=patient),
    "awaited_submission": JobType("submission", _submission_status, on_not_found=patient),
    "status": JobType("status", _reported),
}
"""None of them can be cancelled: the API has no call for it. An id may be of a registration, a submission or a file."""
