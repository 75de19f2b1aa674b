"""Registering a file: what the user's side asks, and what the registrar's side answers (kalbio 0.2.4 to 0.7.0).

kalbio's code gives paths and shapes. Where it does not say what the server refuses, a comment says that it is a guess.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from sluice_sandbox.kaleidoscope.registrations import ENDS, FILE, STATUSES, Registration
from sluice_sandbox.kaleidoscope.validation import check_members, refuse, text, texts, unknown, word

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sluice_sandbox.kaleidoscope.files import File
    from sluice_sandbox.kaleidoscope.workspace import Ask, Workspace

Json = dict[str, Any]


def register(here: Workspace, ask: Ask) -> Json:
    """`POST /operations/{operation_id}/register/{file_id}`: by the user, for a file that was uploaded before. It may be
    registered again once the last attempt is over; that it may not before is a guess."""
    operation_id, file = here.operation(ask), _file(here, ask)
    check_members(ask.json(), {})
    if any(
        registration.file_id == file.id and not registration.over
        for registration in here.registrations.of(operation_id, FILE)
    ):
        refuse(409, "REGISTRATION_IN_PROGRESS", f"File {file.id} is being registered already")
    return open_registration(here, operation_id, file, here.landed(operation_id), ask.root).to_json()


def open_registration(here: Workspace, operation_id: str, file: File, record_ids: list[str], root: str) -> Registration:
    """A registration begins, and the registrar is told."""
    now, new_id = here.context.clock.now(), here.context.ids.uuid()
    registration = Registration(FILE, operation_id, record_ids, now, "pending", file_id=file.id, id=new_id)
    here.registrations.open(registration)
    # file_url and record_ids are named in the documentation of kalbio 0.2.4, file_name in that of its files; the
    # spelling of the other names is inferred. That record_ids are the operation's records is a guess.
    content = {"operation_id": operation_id, "file_id": file.id, "file_url": file.link(root), "file_name": file.name}
    here.webhooks.send("registration_submitted", {**content, "record_ids": record_ids})
    return registration


def registrations(here: Workspace, ask: Ask) -> list[Json]:
    """`GET /operations/{operation_id}/registrations`: a bare list, newest first, which is a guess."""
    here.look()
    found = here.registrations.of(here.operation(ask), FILE)
    return [{**registration.to_json(), "record_errors": registration.errors()} for registration in found]


def push_status(here: Workspace, ask: Ask) -> Response:
    """`POST /operations/{operation_id}/registration_files/{file_id}/status`: by the registrar, on its way."""
    return take_status(here, _of_file(here, ask), ask.json())


def results(here: Workspace, ask: Ask) -> Response:
    """`POST /operations/{operation_id}/register/{file_id}/results`: by the registrar, in the end."""
    return take_results(here, _of_file(here, ask), ask.json())


def take_status(here: Workspace, registration: Registration, content: Any) -> Response:
    """One of the six words. Nothing leads out of an end: a guess."""
    check_members(content, {"status": word(*STATUSES), "message": text}, "status")
    if registration.over:
        _refuse_late(registration)
    here.registrations.push(registration, content["status"], content.get("message"), here.context.clock.now())
    return Response(status_code=204)


def take_results(here: Workspace, registration: Registration, content: Any) -> Response:
    """Results; `message` since kalbio 0.4.0, `error_message` before, and `message` wins.

    That a second answer is refused is a guess, and a setting. A draft's result must be for a draft of the submission;
    that a file's may be for any record is a guess, since a file brings records that Kaleidoscope has never seen.
    """
    registration.results_received += 1
    check_members(content, _RESULTS, "status")
    for number, each in enumerate(content.get("records", [])):
        check_members(each, _RESULT, "record_id", "status", at=["records", number])
        if registration.kind != FILE and each["record_id"] not in registration.record_ids:
            refuse(422, "NOT_IN_SUBMISSION", f"Record {each['record_id']} is not a draft of this submission")
    if (registration.over or registration.answered) and not here.context.settings.accept_repeated_results:
        _refuse_late(registration)
    here.registrations.answer(registration, content, here.context.clock.now())
    return Response(status_code=204)


def _refuse_late(registration: Registration) -> None:
    refuse(409, "REGISTRATION_CLOSED", f"Nothing more is taken: the status is {registration.status}")


def _file(here: Workspace, ask: Ask) -> File:
    return here.files.by_id.get(ask.path["file_id"]) or unknown("File", ask.path["file_id"])


def _of_file(here: Workspace, ask: Ask) -> Registration:
    """The latest registration of the file."""
    operation_id, file = here.operation(ask), _file(here, ask)
    found = (
        registration for registration in here.registrations.of(operation_id, FILE) if registration.file_id == file.id
    )
    return next(found, None) or unknown("Registration of file", file.id)


def _records(value: Any) -> str:
    return "" if isinstance(value, list) else "Invalid input: expected array"


def _object(value: Any) -> str:
    return "" if isinstance(value, dict) else "Invalid input: expected object"


def _id(value: Any) -> str:
    return text(value) or ("" if value else "Too small: expected at least 1 character")


_RESULTS: Mapping[str, Callable[[Any], str]] = {
    "status": word(*ENDS[FILE]),
    "message": text,
    "error_message": text,
    "key_field_names": texts,
    "records": _records,
}
_RESULT = {"record_id": _id, "status": _id, "data": _object, "error_message": text}
