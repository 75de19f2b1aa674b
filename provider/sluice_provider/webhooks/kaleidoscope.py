"""Kaleidoscope's webhooks: from the body of a delivery to what it announces, and from there to an event.

The vendor names the events and some fields (kalbio `registration.py`, `files.py`) and documents no payload, no
signature and no event id. So fields are understood in both spellings that JSON APIs use, what is not needed is not
looked at, and an announcement is a hint: only what Kaleidoscope's own API confirms becomes an event.

    body --announced--> Announcement --confirmed, with what the API lists--> events

An event is a plain dict, the same from a webhook and from the watcher, and small: it goes into a database. It never has
the `file_url` of the delivery, which may let in whoever reads it; the file is downloaded by its id.
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
"""The `submission_type` of a submission that asks for verdicts only."""

LONGEST_ID = 100
Raw = Mapping[str, Any]


class RegistrationEvent(TypedDict):
    """Something was handed in for registration, and is waiting for results."""

    service: str
    conn_id: str
    event: str
    """One of `EVENTS`."""
    operation_id: str
    file_id: str | None
    """Of the file flow."""
    submission_id: str | None
    """Of the table flow."""
    registration_id: str | None
    """Of the file flow: one file may be registered more than once."""
    file_name: str | None
    """Without any folder: safe to be written under."""
    record_ids: list[str]
    id: str
    """The same for every telling of the same registration."""
    at: str
    """When it was taken, ISO 8601."""


class Announcement(NamedTuple):
    """What a delivery says, checked for its form and for nothing else."""

    event: str
    operation_id: str
    file_id: str | None = None
    submission_id: str | None = None
    file_name: str | None = None
    record_ids: tuple[str, ...] = ()

    def names(self, listed: Registered) -> bool:
        """Whether it may mean this one of the registrations that the API lists."""
        return listed.file_id == self.file_id if self.file_id else listed.id == self.submission_id

    def __str__(self) -> str:
        what = f"file {self.file_id}" if self.file_id else f"submission {self.submission_id}"
        return f"{self.event} of {what} in operation {self.operation_id}"


# --- reading a delivery


def announced(body: bytes) -> Announcement:
    """What a delivery's body says.

    :raises UnexpectedResponse: it is not a JSON object
    :raises InvalidInput: a field is missing or malformed, naming the field
    """
    fields = _fields(body)
    event = _text(fields, "event", "event_type", "event_name", "type")
    if event not in EVENTS:
        raise InvalidInput(f"event is {_shown(event)}, which is none of {', '.join(EVENTS)}")
    operation_id = _id(fields, "operation_id")
    if operation_id is None:
        raise InvalidInput("operation_id is missing")
    wanted = "file_id" if event == SUBMITTED else "submission_id"
    found = _id(fields, wanted)
    if found is None:
        raise InvalidInput(f"{wanted} is missing, which {event} must have")
    name = _text(fields, "file_name", "filename") if event == SUBMITTED else None
    return Announcement(
        event,
        operation_id,
        found if event == SUBMITTED else None,
        found if event != SUBMITTED else None,
        safe_file_name(name, found) if name else None,
        _ids(fields, "record_ids"),
    )


def _fields(body: bytes) -> Raw:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise UnexpectedResponse("its body is not JSON") from None
    if not isinstance(fields, dict):
        raise UnexpectedResponse("its body is not a JSON object")
    inner = fields.get("data", fields.get("payload"))
    return {**inner, **fields} if isinstance(inner, dict) else fields


def _value(fields: Raw, *names: str) -> Any:
    """The value of a field, under the first of its names that is there. Two spellings that differ are no value."""
    for name in names:
        given = [fields[spelling] for spelling in (name, _camel(name)) if fields.get(spelling) is not None]
        if len(given) > 1 and given[0] != given[1]:
            raise InvalidInput(f"{names[0]} is there twice, with different values")
        if given:
            return given[0]
    return None


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


def _text(fields: Raw, *names: str) -> str | None:
    value = _value(fields, *names)
    if value is not None and not isinstance(value, str):
        raise InvalidInput(f"{names[0]} must be text")
    return value


def _id(fields: Raw, name: str) -> str | None:
    value = _value(fields, name)
    return None if value is None else _checked(value, name)


def _ids(fields: Raw, name: str) -> tuple[str, ...]:
    value = _value(fields, name)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InvalidInput(f"{name} must be a list of ids")
    return tuple(_checked(each, name) for each in value)


def _checked(value: Any, name: str) -> str:
    """An id goes into paths and logs: letters, digits, dashes and underscores, as ids everywhere are."""
    right = isinstance(value, str) and 0 < len(value) <= LONGEST_ID and value.isascii()
    if not right or not value.replace("-", "").replace("_", "").isalnum():
        raise InvalidInput(
            f"{name} must be an id of at most {LONGEST_ID} letters, digits, - and _, not {_shown(value)}"
        )
    return str(value)


def _shown(value: Any) -> str:
    return f"{value!r:.100}"


# --- from what the API lists to events


class Registered(NamedTuple):
    """One registration as Kaleidoscope's API lists it: a RegistrationFile, or a submission of drafts.

    :param id: of the RegistrationFile or the submission
    :param state: changes whenever somebody reports on it
    """

    event: str
    operation_id: str
    id: str
    file_id: str | None
    record_ids: tuple[str, ...]
    over: bool
    status: str = ""
    state: str = ""
    created_at: str = ""

    def identity(self, conn_id: str) -> str:
        """The same whoever tells of it, and how often; another for the same file registered anew.

        Airflow finds a connection of the environment whatever the case of its name: that is one connection, not many.
        """
        parts = [SERVICE, conn_id.casefold(), self.event, self.operation_id, self.id]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def to_event(self, conn_id: str, at: str, *, file_name: str | None = None, records: Sequence[str] = ()) -> Any:
        table = self.file_id is None
        return RegistrationEvent(
            service=SERVICE,
            conn_id=conn_id,
            event=self.event,
            operation_id=self.operation_id,
            file_id=self.file_id,
            submission_id=self.id if table else None,
            registration_id=None if table else self.id,
            file_name=file_name,
            record_ids=list(self.record_ids or records),
            id=self.identity(conn_id),
            at=at,
        )


def registered_files(operation_id: str, listed: Iterable[Raw]) -> list[Registered]:
    """The registrations of files among what `GET /operations/{id}/registrations` lists."""
    return [
        Registered(SUBMITTED, operation_id, str(each["id"]), str(each["file_id"]), (), _over(each), *_state(each))
        for each in listed
        if each.get("id") and each.get("file_id")
    ]


def registered_drafts(operation_id: str, listed: Iterable[Raw]) -> list[Registered]:
    """The submissions among what `GET /operations/{id}/registration_submissions` lists."""
    found = []
    for each in listed:
        if not each.get("id"):
            continue
        only_verdicts = each.get("submission_type") == VALIDATION
        event = VALIDATION_REQUESTED if only_verdicts else DRAFTS_SUBMITTED
        records = tuple(str(record) for record in each.get("submitted_record_ids") or ())
        over = _over(each) or (only_verdicts and each.get("status") in ("validated", "validation_failed"))
        found.append(Registered(event, operation_id, str(each["id"]), None, records, over, *_state(each)))
    return found


def _over(each: Raw) -> bool:
    """Nobody waits for results any more (kalbio `registration.py`: RegistrationStatus)."""
    return each.get("status") in ("completed", "failed")


def _state(each: Raw) -> tuple[str, str, str]:
    status = str(each.get("status") or "")
    return status, f"{status} {each.get('updated_at') or ''}", str(each.get("created_at") or "")


def confirmed(said: Announcement, listed: Iterable[Registered]) -> list[Registered]:
    """Those registrations that an announcement may mean. It names the file and not its registration, and the same file
    may be registered again before anybody looked: so all of them that wait for results, and the last that is over.

    :raises Conflict: the API lists none: it is not true, or not yet
    """
    mine = [each for each in listed if each.event == said.event and said.names(each)]
    if not mine:
        raise Conflict(f"Kaleidoscope's API does not list {said}")
    return [each for each in mine if not each.over] or [max(mine, key=lambda each: each.created_at)]
