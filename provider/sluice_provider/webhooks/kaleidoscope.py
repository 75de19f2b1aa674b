"""Kaleidoscope's webhooks: parsing a delivery, and making an event of a registration that the API lists.

The vendor names the events and some fields (kalbio `registration.py`, `files.py`) but documents no payload, signature
or event id. So field names are accepted in snake_case and camelCase, unknown fields are ignored, and a delivery is only
a hint: an event is made only of what Kaleidoscope's own API lists.

    body --parse_payload--> WebhookPayload --matching_registrations, from the API's list--> Registration --> event

An event is a plain dict, the same from a webhook and from polling, and small, because it is stored in a database. It
never contains the delivery's `file_url`, which may grant access without a login; the file is downloaded by its id.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

from sluice_provider.errors import Conflict, InvalidInput, UnexpectedResponse
from sluice_provider.sources.file_names import safe_file_name

SERVICE = "kaleidoscope"

SUBMITTED = "registration_submitted"
DRAFTS_SUBMITTED = "registration_drafts_submitted"
VALIDATION_REQUESTED = "registration_drafts_validation_requested"
EVENTS = (SUBMITTED, DRAFTS_SUBMITTED, VALIDATION_REQUESTED)

VALIDATION = "validation"
"""The `submission_type` of a submission that is validated only, not registered."""

MAX_ID_LENGTH = 100
JsonObject = Mapping[str, Any]


class RegistrationEvent(TypedDict):
    """A registration, or a submission of drafts, that is waiting for its results."""

    service: str
    conn_id: str
    event: str
    """One of `EVENTS`."""
    operation_id: str
    file_id: str | None
    """Of a registration by file."""
    submission_id: str | None
    """Of a registration by drafts."""
    registration_id: str | None
    """Of a registration by file: the same file may be registered more than once."""
    file_name: str | None
    """Without any folder, so it is safe to write to."""
    record_ids: list[str]
    id: str
    """Identifies the registration: the same in each delivery of the same event."""
    received_at: str
    """ISO 8601."""


class WebhookPayload(NamedTuple):
    """The fields of a delivery. Only their format has been checked."""

    event: str
    operation_id: str
    file_id: str | None = None
    submission_id: str | None = None
    file_name: str | None = None
    record_ids: tuple[str, ...] = ()

    def matches(self, registration: Registration) -> bool:
        if registration.event != self.event:
            return False
        return registration.file_id == self.file_id if self.file_id else registration.id == self.submission_id

    def __str__(self) -> str:
        subject = f"file {self.file_id}" if self.file_id else f"submission {self.submission_id}"
        return f"{self.event} of {subject} in operation {self.operation_id}"


# --- parsing a delivery


def parse_payload(body: bytes) -> WebhookPayload:
    """Parse the body of a delivery.

    :raises UnexpectedResponse: it is not a JSON object
    :raises InvalidInput: a field is missing or malformed; the message names the field
    """
    fields = _fields(body)
    event = _string(fields, "event", "event_type", "event_name", "type")
    if event not in EVENTS:
        raise InvalidInput(f"unknown event {_excerpt(event)}; known events: {', '.join(EVENTS)}")
    operation_id = _id(fields, "operation_id")
    if operation_id is None:
        raise InvalidInput("operation_id is missing")
    id_field = "file_id" if event == SUBMITTED else "submission_id"
    subject_id = _id(fields, id_field)
    if subject_id is None:
        raise InvalidInput(f"{id_field} is missing; {event} requires it")
    name = _string(fields, "file_name", "filename") if event == SUBMITTED else None
    return WebhookPayload(
        event,
        operation_id,
        subject_id if event == SUBMITTED else None,
        subject_id if event != SUBMITTED else None,
        safe_file_name(name, subject_id) if name else None,
        _ids(fields, "record_ids"),
    )


def _fields(body: bytes) -> JsonObject:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise UnexpectedResponse("the body is not valid JSON") from None
    if not isinstance(fields, dict):
        raise UnexpectedResponse("the body is not a JSON object")
    envelope = fields.get("data", fields.get("payload"))
    return {**envelope, **fields} if isinstance(envelope, dict) else fields


def _value(fields: JsonObject, *names: str) -> Any:
    """The value of a field, by the first of its names that is present, in snake_case or camelCase.

    :raises InvalidInput: both spellings are present with different values
    """
    for name in names:
        values = [fields[spelling] for spelling in (name, _camel_case(name)) if fields.get(spelling) is not None]
        if len(values) > 1 and values[0] != values[1]:
            raise InvalidInput(f"{name} and {_camel_case(name)} have different values")
        if values:
            return values[0]
    return None


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


def _string(fields: JsonObject, *names: str) -> str | None:
    value = _value(fields, *names)
    if value is not None and not isinstance(value, str):
        raise InvalidInput(f"{names[0]} must be a string")
    return value


def _id(fields: JsonObject, name: str) -> str | None:
    value = _value(fields, name)
    return None if value is None else _valid_id(value, name)


def _ids(fields: JsonObject, name: str) -> tuple[str, ...]:
    value = _value(fields, name)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InvalidInput(f"{name} must be a list of ids")
    return tuple(_valid_id(each, name) for each in value)


def _valid_id(value: Any, name: str) -> str:
    """Ids go into URL paths and logs, so only letters, digits, dashes and underscores are allowed."""
    valid = isinstance(value, str) and 0 < len(value) <= MAX_ID_LENGTH and value.isascii()
    if not valid or not value.replace("-", "").replace("_", "").isalnum():
        raise InvalidInput(
            f"{name} must be an id of at most {MAX_ID_LENGTH} letters, digits, - and _, not {_excerpt(value)}"
        )
    return str(value)


def _excerpt(value: Any) -> str:
    return f"{value!r:.100}"


# --- from the API's list to events


class RegistrationList(NamedTuple):
    """One list of the API: an operation's registrations by file, or its submissions of drafts."""

    operation_id: str
    drafts: bool

    def parse(self, entries: Iterable[JsonObject]) -> list[Registration]:
        """The registrations in the API's response."""
        return (parse_draft_submissions if self.drafts else parse_file_registrations)(self.operation_id, entries)


class Registration(NamedTuple):
    """One registration as Kaleidoscope's API lists it: of a file (RegistrationFile), or of submitted drafts.

    :param id: of the RegistrationFile or the submission
    :param finished: it has its results
    :param revision: changes with each report on it
    """

    event: str
    operation_id: str
    id: str
    file_id: str | None
    record_ids: tuple[str, ...]
    finished: bool
    status: str = ""
    revision: str = ""
    created_at: str = ""

    def event_id(self, conn_id: str) -> str:
        """The same for each delivery of the same registration; another one if the same file is registered again.

        Airflow finds a connection from the environment whatever the case of its id, so the case does not count.
        """
        parts = [SERVICE, conn_id.casefold(), self.event, self.operation_id, self.id]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def to_event(
        self, conn_id: str, received_at: str, *, file_name: str | None = None, record_ids: Sequence[str] = ()
    ) -> RegistrationEvent:
        """
        :param record_ids: used if the API lists none
        """
        by_drafts = self.file_id is None
        return RegistrationEvent(
            service=SERVICE,
            conn_id=conn_id,
            event=self.event,
            operation_id=self.operation_id,
            file_id=self.file_id,
            submission_id=self.id if by_drafts else None,
            registration_id=None if by_drafts else self.id,
            file_name=file_name,
            record_ids=list(self.record_ids or record_ids),
            id=self.event_id(conn_id),
            received_at=received_at,
        )


def parse_file_registrations(operation_id: str, entries: Iterable[JsonObject]) -> list[Registration]:
    """Of `GET /operations/{id}/registrations`. Entries without an id or a file are left out."""
    return [
        Registration(
            SUBMITTED, operation_id, str(entry["id"]), str(entry["file_id"]), (), _has_results(entry), *_revision(entry)
        )
        for entry in entries
        if entry.get("id") and entry.get("file_id")
    ]


def parse_draft_submissions(operation_id: str, entries: Iterable[JsonObject]) -> list[Registration]:
    """Of `GET /operations/{id}/registration_submissions`. Entries without an id are left out."""
    found = []
    for entry in entries:
        if not entry.get("id"):
            continue
        validation_only = entry.get("submission_type") == VALIDATION
        event = VALIDATION_REQUESTED if validation_only else DRAFTS_SUBMITTED
        record_ids = tuple(str(record_id) for record_id in entry.get("submitted_record_ids") or ())
        validated = validation_only and entry.get("status") in ("validated", "validation_failed")
        finished = _has_results(entry) or validated
        found.append(Registration(event, operation_id, str(entry["id"]), None, record_ids, finished, *_revision(entry)))
    return found


def _has_results(entry: JsonObject) -> bool:
    """Whether it waits for no more results (kalbio `registration.py`: RegistrationStatus)."""
    return entry.get("status") in ("completed", "failed")


def _revision(entry: JsonObject) -> tuple[str, str, str]:
    """Status, revision, time of creation."""
    status = str(entry.get("status") or "")
    return status, f"{status} {entry.get('updated_at') or ''}", str(entry.get("created_at") or "")


def matching_registrations(payload: WebhookPayload, listed: Iterable[Registration]) -> list[Registration]:
    """The registrations that a delivery may be about: all matching ones that wait for results, else the latest one.

    There may be several, because a delivery names the file and not the registration, and the same file may be
    registered again before the delivery is processed.

    :raises Conflict: the API lists none: the event did not happen, or is not visible yet
    """
    matching = [each for each in listed if payload.matches(each)]
    if not matching:
        raise Conflict(f"Kaleidoscope does not list {payload}")
    return [each for each in matching if not each.finished] or [max(matching, key=lambda each: each.created_at)]
