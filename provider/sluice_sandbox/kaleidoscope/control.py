"""Control routes for what a user does in Kaleidoscope's web interface: upload files, register them, stage drafts.

- `POST /control/kaleidoscope/registrations`: `{"file_name", "content" (a string) or "base64", "content_type"?,
  "record_ids"?, "operation_id"?, "register"?: false}`. Uploads the file and, unless `register` is false, registers it,
  which sends the webhook and starts the automatic registrar if there is one. Returns `{"file_id", "registration"}`.
  `record_ids` default to those of the operation's records.
- `POST /control/kaleidoscope/drafts`: `{"rows": [{"name": "Aspirin", "smiles": "..."}], "submit"?: "registration" or
  "validation"}`. Stages the rows as drafts and submits exactly these if `submit` is given. Returns
  `{"record_ids", "submission"}`.
- `POST /control/kaleidoscope/burst`: `{"files": 1000, "concurrency": 16}`. Uploads and registers `files` small files at
  once; at most `concurrency` of their webhooks are sent at the same time. Returns `{"file_ids": [...]}`.

The webhooks and their deliveries are in `/control/state` under kaleidoscope, webhooks; the settings `webhook_*` say
where they are sent and how they are signed.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from sluice_sandbox.kaleidoscope.drafts import STAGING_KEYS
from sluice_sandbox.kaleidoscope.registration_endpoints import open_registration
from sluice_sandbox.kaleidoscope.registrations import REGISTRATION, VALIDATION
from sluice_sandbox.kaleidoscope.store import OPERATION
from sluice_sandbox.kaleidoscope.submissions import open_submission
from sluice_sandbox.kaleidoscope.validation import objects, text
from sluice_sandbox.service import Json
from sluice_sandbox.settings import InvalidControlInput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request

    from sluice_sandbox.kaleidoscope.workspace import Workspace

MAX_FILES = 100_000


def routes(get_workspace: Callable[[], Workspace], name: str) -> list[Route]:
    """`get_workspace` returns the current one, as a reset replaces it."""
    actions = {"registrations": _register, "drafts": _stage, "burst": _burst}
    return [
        Route(f"/control/{name}/{path}", _route(get_workspace, name, action), methods=["POST"])
        for path, action in actions.items()
    ]


def _route(get_workspace: Callable[[], Workspace], name: str, action: Callable[[Workspace, Any, str], Any]) -> Any:
    async def endpoint(request: Request) -> Json:
        workspace = get_workspace()
        workspace.process_due()
        try:
            return Json(action(workspace, json.loads(await request.body()), f"{request.base_url}{name}"))
        except ValueError as error:  # InvalidControlInput, or a body that is not JSON
            return Json({"error": str(error)}, 400)

    return endpoint


def _register(workspace: Workspace, body: Any, root: str) -> dict[str, Any]:
    _check(body, _REGISTRATION)
    operation_id = body.get("operation_id", OPERATION)
    if operation_id != OPERATION:
        raise InvalidControlInput(f"unknown operation {operation_id!r}; the only one is {OPERATION}")
    if not body.get("file_name") or ("content" in body) == ("base64" in body):
        raise InvalidControlInput("a file needs file_name and either content (a string) or base64")
    file = workspace.files.add(
        body["file_name"], _content(body), body.get("content_type", ""), workspace.context.clock.now()
    )
    if not body.get("register", True):
        return {"file_id": file.id, "registration": None}
    record_ids = body.get("record_ids", workspace.operation_record_ids(operation_id))
    return {
        "file_id": file.id,
        "registration": open_registration(workspace, operation_id, file, record_ids, root).to_json(),
    }


def _content(body: dict[str, Any]) -> bytes:
    if "content" in body:
        return str(body["content"]).encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(body["base64"], validate=True)
    except binascii.Error as error:
        raise InvalidControlInput(f"base64 is invalid: {error}") from None


def _stage(workspace: Workspace, body: Any, _root: str) -> dict[str, Any]:
    _check(body, _DRAFTS)
    if not body.get("rows") or not workspace.staging:
        raise InvalidControlInput("rows are missing, or the operation has no staging table (setting staging_table)")
    for row in body["rows"]:
        for name, value in row.items():
            if name not in STAGING_KEYS and not workspace.store.accepts(name, value):
                raise InvalidControlInput(f"{value!r} is not a valid value of the field {name}")
        if not all(row.get(name) and _is_string(row[name]) for name in STAGING_KEYS):
            raise InvalidControlInput(f"a draft needs a string as {', '.join(STAGING_KEYS)}: {row}")
    record_ids = workspace.drafts.stage(body["rows"], OPERATION, workspace.context.clock.now())
    kind = body.get("submit")
    submission = open_submission(workspace, OPERATION, record_ids, kind).to_json() if kind else None
    return {"record_ids": record_ids, "submission": submission}


def _burst(workspace: Workspace, body: Any, root: str) -> dict[str, Any]:
    _check(body, _BURST)
    workspace.context.settings.change(
        {"webhook_concurrency": body.get("concurrency", workspace.context.settings.webhook_concurrency)}
    )
    file_ids = []
    for number in range(1, body.get("files", 1) + 1):
        file = workspace.files.add(
            f"burst-{number}.csv", f"name\nC{number}\n".encode(), "", workspace.context.clock.now()
        )
        open_registration(workspace, OPERATION, file, [], root)
        file_ids.append(file.id)
    return {"file_ids": file_ids}


def _check(body: Any, members: Mapping[str, tuple[Callable[[Any], bool], str]]) -> None:
    if not isinstance(body, dict):
        raise InvalidControlInput(f"the body must be a JSON object with some of {', '.join(members)}")
    for name, value in body.items():
        if name not in members:
            raise InvalidControlInput(f"unknown member {name!r}; known: {', '.join(members)}")
        valid, meaning = members[name]
        if not valid(value):
            raise InvalidControlInput(f"{name} must be {meaning}, not {value!r}")


def _is_string(value: Any) -> bool:
    return not text(value)


def _is_number(value: Any) -> bool:
    return type(value) is int and 0 < value <= MAX_FILES


_REGISTRATION = {
    "file_name": (_is_string, "a string"),
    "content": (_is_string, "a string"),
    "base64": (_is_string, "a string"),
    "content_type": (_is_string, "a string"),
    "operation_id": (_is_string, "a string"),
    "record_ids": (lambda value: isinstance(value, list) and all(map(_is_string, value)), "a list of strings"),
    "register": (lambda value: isinstance(value, bool), "true or false"),
}
_KINDS = (REGISTRATION, VALIDATION)
_DRAFTS = {
    "rows": (lambda value: not objects(value), "a list of objects"),
    "submit": (lambda value: value in _KINDS, f"one of {', '.join(_KINDS)}"),
}
_BURST = {
    "files": (_is_number, f"an integer from 1 to {MAX_FILES}"),
    "concurrency": (_is_number, f"an integer from 1 to {MAX_FILES}"),
}
