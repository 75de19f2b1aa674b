"""Endpoints to register a file: those of the user, and those of the registrar (kalbio 0.2.4 to 0.7.0).

Paths and formats are from kalbio's code. What the server rejects is marked as a guess where the code does not show it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from sluice_sandbox.kaleidoscope.registrations import FILE, FINAL_STATUS, STATUSES, Registration
from sluice_sandbox.kaleidoscope.validation import abort, check_members, not_found, one_of, text, texts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sluice_sandbox.kaleidoscope.files import File
    from sluice_sandbox.kaleidoscope.workspace import ApiRequest, Workspace

Json = dict[str, Any]


def register(workspace: Workspace, request: ApiRequest) -> Json:
    """`POST /operations/{operation_id}/register/{file_id}`: by the user, for an uploaded file.

    A file can be registered again when its last registration is closed; that it cannot before is a guess.
    """
    operation_id, file = workspace.operation(request), _file(workspace, request)
    check_members(request.json(), {})
    if any(
        registration.file_id == file.id and not registration.over
        for registration in workspace.registrations.of(operation_id, FILE)
    ):
        abort(409, "REGISTRATION_IN_PROGRESS", f"File {file.id} is being registered already")
    return open_registration(
        workspace, operation_id, file, workspace.operation_record_ids(operation_id), request.root
    ).to_json()


def open_registration(
    workspace: Workspace, operation_id: str, file: File, record_ids: list[str], root: str
) -> Registration:
    """Open a registration and notify the registrar by webhook."""
    now, new_id = workspace.context.clock.now(), workspace.context.ids.uuid()
    registration = Registration(FILE, operation_id, record_ids, now, "pending", file_id=file.id, id=new_id)
    workspace.registrations.open(registration)
    # file_url and record_ids are named in the documentation of kalbio 0.2.4, file_name in that of its files; the
    # spelling of the other names is inferred. That record_ids are the operation's records is a guess.
    content = {"operation_id": operation_id, "file_id": file.id, "file_url": file.link(root), "file_name": file.name}
    workspace.webhooks.send("registration_submitted", {**content, "record_ids": record_ids})
    return registration


def registrations(workspace: Workspace, request: ApiRequest) -> list[Json]:
    """`GET /operations/{operation_id}/registrations`: a JSON list, newest first (the order is a guess)."""
    workspace.on_poll()
    found = workspace.registrations.of(workspace.operation(request), FILE)
    return [{**registration.to_json(), "record_errors": registration.errors()} for registration in found]


def push_status(workspace: Workspace, request: ApiRequest) -> Response:
    """`POST /operations/{operation_id}/registration_files/{file_id}/status`: by the registrar, before its results."""
    return take_status(workspace, _of_file(workspace, request), request.json())


def results(workspace: Workspace, request: ApiRequest) -> Response:
    """`POST /operations/{operation_id}/register/{file_id}/results`: by the registrar, the final results."""
    return take_results(workspace, _of_file(workspace, request), request.json())


def take_status(workspace: Workspace, registration: Registration, content: Any) -> Response:
    """Set one of the six statuses. That a final status cannot be changed is a guess."""
    check_members(content, {"status": one_of(*STATUSES), "message": text}, "status")
    if registration.over:
        _abort_closed(registration)
    workspace.registrations.push(registration, content["status"], content.get("message"), workspace.context.clock.now())
    return Response(status_code=204)


def take_results(workspace: Workspace, registration: Registration, content: Any) -> Response:
    """Take the registrar's results. `message` exists since kalbio 0.4.0 and takes precedence over `error_message`.

    That repeated results are rejected is a guess, hence a setting. Results of a submission must be for its drafts;
    that those of a file may be for any record is a guess, as a file creates records that Kaleidoscope did not know.
    """
    registration.results_received += 1
    check_members(content, _RESULTS, "status")
    for number, each in enumerate(content.get("records", [])):
        check_members(each, _RESULT, "record_id", "status", at=["records", number])
        if registration.kind != FILE and each["record_id"] not in registration.record_ids:
            abort(422, "NOT_IN_SUBMISSION", f"Record {each['record_id']} is not a draft of this submission")
    if (registration.over or registration.answered) and not workspace.context.settings.accept_repeated_results:
        _abort_closed(registration)
    workspace.registrations.set_results(registration, content, workspace.context.clock.now())
    return Response(status_code=204)


def _abort_closed(registration: Registration) -> None:
    abort(409, "REGISTRATION_CLOSED", f"Nothing more is taken: the status is {registration.status}")


def _file(workspace: Workspace, request: ApiRequest) -> File:
    return workspace.files.by_id.get(request.path["file_id"]) or not_found("File", request.path["file_id"])


def _of_file(workspace: Workspace, request: ApiRequest) -> Registration:
    """The latest registration of the file in the path."""
    operation_id, file = workspace.operation(request), _file(workspace, request)
    found = (
        registration
        for registration in workspace.registrations.of(operation_id, FILE)
        if registration.file_id == file.id
    )
    return next(found, None) or not_found("Registration of file", file.id)


def _records(value: Any) -> str:
    return "" if isinstance(value, list) else "Invalid input: expected array"


def _object(value: Any) -> str:
    return "" if isinstance(value, dict) else "Invalid input: expected object"


def _id(value: Any) -> str:
    return text(value) or ("" if value else "Too small: expected at least 1 character")


_RESULTS: Mapping[str, Callable[[Any], str]] = {
    "status": one_of(*FINAL_STATUS[FILE]),
    "message": text,
    "error_message": text,
    "key_field_names": texts,
    "records": _records,
}
_RESULT = {"record_id": _id, "status": _id, "data": _object, "error_message": text}
