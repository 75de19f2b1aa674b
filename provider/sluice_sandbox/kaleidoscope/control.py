"""What a person does in the real Kaleidoscope, for tests and demos: files that somebody uploads and registers.

- `POST /control/kaleidoscope/registrations`: `{"file_name", "content" (a text) or "base64", "content_type"?,
  "record_ids"?, "operation_id"?, "register"?: false}`. The file is put in and, unless told otherwise, registered at
  once, with all that follows: the webhook, and the automatic registrar if there is one. Answers
  `{"file_id", "registration"}`; `record_ids` are those of the operation's records unless given.
- `POST /control/kaleidoscope/drafts`: `{"rows": [{"name": "Aspirin", "smiles": "..."}], "submit"?: "registration" or
  "validation"}`. The rows are staged as drafts and, if told to, submitted: these and no others. Answers
  `{"record_ids", "submission"}`.
- `POST /control/kaleidoscope/burst`: `{"files": 1000, "concurrency": 16}`. Uploads and registers `files` small files at
  once; at most `concurrency` of their webhooks are sent at the same time. Answers `{"file_ids": [...]}`.

What became of the webhooks is in `/control/state` under kaleidoscope, webhooks; where they go and how they are signed
are settings: webhook_url, webhook_secret and the others of that name.
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

MOST_FILES = 100_000


def routes(workspace: Callable[[], Workspace], name: str) -> list[Route]:
    """`workspace` gives the one there is now."""
    acts = {"registrations": _register, "drafts": _stage, "burst": _burst}
    return [
        Route(f"/control/{name}/{path}", _route(workspace, name, act), methods=["POST"]) for path, act in acts.items()
    ]


def _route(workspace: Callable[[], Workspace], name: str, act: Callable[[Workspace, Any, str], Any]) -> Any:
    async def endpoint(request: Request) -> Json:
        here = workspace()
        here.settle()
        try:
            return Json(act(here, json.loads(await request.body()), f"{request.base_url}{name}"))
        except ValueError as problem:  # Wrong is one, and so is broken JSON
            return Json({"error": str(problem)}, 400)

    return endpoint


def _register(here: Workspace, asked: Any, root: str) -> dict[str, Any]:
    _check(asked, _REGISTRATION)
    operation_id = asked.get("operation_id", OPERATION)
    if operation_id != OPERATION:
        raise InvalidControlInput(f"there is no operation {operation_id!r}; there is {OPERATION}")
    if not asked.get("file_name") or ("content" in asked) == ("base64" in asked):
        raise InvalidControlInput("a file needs a file_name and either content (a text) or base64")
    file = here.files.add(asked["file_name"], _content(asked), asked.get("content_type", ""), here.context.clock.now())
    if not asked.get("register", True):
        return {"file_id": file.id, "registration": None}
    record_ids = asked.get("record_ids", here.landed(operation_id))
    return {"file_id": file.id, "registration": open_registration(here, operation_id, file, record_ids, root).to_json()}


def _content(asked: dict[str, Any]) -> bytes:
    if "content" in asked:
        return str(asked["content"]).encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(asked["base64"], validate=True)
    except binascii.Error as problem:
        raise InvalidControlInput(f"base64 cannot be read: {problem}") from None


def _stage(here: Workspace, asked: Any, _root: str) -> dict[str, Any]:
    _check(asked, _DRAFTS)
    if not asked.get("rows") or not here.staging:
        raise InvalidControlInput("there are no rows, or no staging table to put them in")
    for row in asked["rows"]:
        for name, value in row.items():
            if name not in STAGING_KEYS and not here.store.fits(name, value):
                raise InvalidControlInput(f"{value!r} does not fit the field {name}")
        if not all(row.get(name) and _is_text(row[name]) for name in STAGING_KEYS):
            raise InvalidControlInput(f"a draft needs a text as {', '.join(STAGING_KEYS)}: {row}")
    record_ids = here.drafts.put(asked["rows"], OPERATION, here.context.clock.now())
    kind = asked.get("submit")
    submission = open_submission(here, OPERATION, record_ids, kind).to_json() if kind else None
    return {"record_ids": record_ids, "submission": submission}


def _burst(here: Workspace, asked: Any, root: str) -> dict[str, Any]:
    _check(asked, _BURST)
    here.context.settings.change(
        {"webhook_concurrency": asked.get("concurrency", here.context.settings.webhook_concurrency)}
    )
    file_ids = []
    for number in range(1, asked.get("files", 1) + 1):
        file = here.files.add(f"burst-{number}.csv", f"name\nC{number}\n".encode(), "", here.context.clock.now())
        open_registration(here, OPERATION, file, [], root)
        file_ids.append(file.id)
    return {"file_ids": file_ids}


def _check(asked: Any, members: Mapping[str, tuple[Callable[[Any], bool], str]]) -> None:
    if not isinstance(asked, dict):
        raise InvalidControlInput(f"expected a JSON object with some of {', '.join(members)}")
    for name, value in asked.items():
        if name not in members:
            raise InvalidControlInput(f"there is no {name}; there are {', '.join(members)}")
        right, meaning = members[name]
        if not right(value):
            raise InvalidControlInput(f"{name} is {meaning}, not {value!r}")


def _is_text(value: Any) -> bool:
    return not text(value)


def _is_number(value: Any) -> bool:
    return type(value) is int and 0 < value <= MOST_FILES


_REGISTRATION = {
    "file_name": (_is_text, "a text"),
    "content": (_is_text, "a text"),
    "base64": (_is_text, "a text"),
    "content_type": (_is_text, "a text"),
    "operation_id": (_is_text, "a text"),
    "record_ids": (lambda value: isinstance(value, list) and all(map(_is_text, value)), "a list of texts"),
    "register": (lambda value: isinstance(value, bool), "true or false"),
}
_KINDS = (REGISTRATION, VALIDATION)
_DRAFTS = {
    "rows": (lambda value: not objects(value), "a list of objects"),
    "submit": (lambda value: value in _KINDS, f"one of {', '.join(_KINDS)}"),
}
_BURST = {
    "files": (_is_number, f"a whole number from 1 to {MOST_FILES}"),
    "concurrency": (_is_number, f"a whole number from 1 to {MOST_FILES}"),
}
