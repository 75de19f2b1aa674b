"""Files of a Kaleidoscope workspace: how they get in, and how they are given out as raw bytes, part by part.

The content types that kalbio up to 0.3.0 accepts on a download are compared whole, so they go out without a charset.
"""

from __future__ import annotations

import json
import mimetypes
import re
from dataclasses import dataclass
from email import message_from_bytes
from email.policy import HTTP
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from starlette.responses import StreamingResponse

from sluice_sandbox.kaleidoscope.validation import refuse
from sluice_sandbox.settings import iso

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.responses import Response

    from sluice_sandbox.ids import Ids

PART = 65_536  # bytes given out at a time
TYPES = {
    ".csv": "text/csv",
    ".sdf": "chemical/x-mdl-sdfile",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
FIRST = (
    "name,smiles,molecular_weight\nAspirin,CC(=O)Oc1ccccc1C(=O)O,180.16\nCaffeine,Cn1cnc2c1c(=O)n(C)c(=O)n2C,194.19\n"
)


@dataclass(slots=True)
class File:
    """An uploaded file. `signature` is the secret of its link, which lets anybody in."""

    name: str
    content_type: str
    content: bytes
    created_at: float
    id: str
    signature: str

    def to_json(self) -> dict[str, Any]:
        """For `/control/state`; neither the content nor the signature."""
        return {
            "id": self.id,
            "name": self.name,
            "size": len(self.content),
            "content_type": self.content_type,
            "created_at": iso(self.created_at),
        }

    def link(self, root: str) -> str:
        """Where anybody who has the link can fetch it. That a webhook's file_url is such a link is a guess."""
        return f"{root}/download/{self.id}?signature={self.signature}"


class Files:
    """By id. Nothing says that two files of one name are one."""

    def __init__(self, now: float, first_id: str, ids: Ids) -> None:
        self._ids = ids
        first = File("compounds.csv", TYPES[".csv"], FIRST.encode(), now, first_id, ids.token(24))
        self.by_id = {first.id: first}

    def add(self, name: str, content: bytes, content_type: str, now: float) -> File:
        """A new file; without a content type, the one that its name speaks for."""
        # A browser sends the base name only, and so a path in a name is somebody's mistake: it is cut.
        name = PurePosixPath(name.replace("\\", "/")).name or "file"
        file = File(name, content_type or type_of(name), content, now, self._ids.uuid(), self._ids.token(24))
        self.by_id[file.id] = file
        return file


def type_of(name: str) -> str:
    """By the end of the name."""
    suffix = PurePosixPath(name).suffix.lower()
    return TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"


def file_response(file: File) -> Response:
    """The file as it is. kalbio takes the name from elsewhere; that there is a Content-Disposition is a guess."""
    headers = {
        "content-type": file.content_type,  # bare: given as media_type, a text type would be sent with its charset
        "content-length": str(len(file.content)),
        "content-disposition": attachment(file.name),
    }
    return StreamingResponse(_parts(file.content), headers=headers)


def attachment(name: str) -> str:
    """RFC 6266: a name for everybody, and the true one in UTF-8."""
    plain = re.sub(r'[^ -~]|["\\]', "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


async def _parts(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), PART):
        yield content[start : start + PART]


# In


class Upload(NamedTuple):
    """What a multipart body brings: one part `file`, and perhaps a part `body` with JSON."""

    name: str
    content_type: str
    content: bytes
    body: dict[str, Any]


def read_upload(body: bytes, content_type: str) -> Upload:
    """kalbio sends `application/json` over a multipart body (its JSON header replaces the one with the boundary),
    and the server evidently copes: the boundary is taken from the body's first line where the header has none."""
    boundary = _boundary(body, content_type)
    if not boundary:
        refuse(406, "FST_INVALID_MULTIPART_CONTENT_TYPE", "the request is not multipart")
    parts = {part.name: part for part in _read_parts(body, boundary)}
    if "file" not in parts:
        refuse(400, "FST_ERR_VALIDATION", "body/file Required")
    more = _read_more(parts["body"].content) if "body" in parts else {}
    found = parts["file"]
    return Upload(found.file_name, found.content_type, found.content, more)


def _boundary(body: bytes, content_type: str) -> bytes:
    told = re.search(r'multipart/form-data\s*;.*?boundary="?([^";]+)"?', content_type, re.IGNORECASE)
    if told:
        return told[1].encode("latin-1")
    sniffed = re.match(rb"--([0-9A-Za-z'()+_,./:=? -]{1,70})\r\n", body)
    return sniffed[1] if sniffed else b""


class _Part(NamedTuple):
    name: str
    file_name: str
    content_type: str
    content: bytes


def _read_parts(body: bytes, boundary: bytes) -> Iterator[_Part]:
    """RFC 2046: between two boundaries headers, an empty line and the content, whose last line end is not its own."""
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary)
    if len(pieces) < 3 or not pieces[-1].startswith(b"--"):
        refuse(400, "FST_ERR_VALIDATION", "Unexpected end of multipart data")
    for piece in pieces[1:-1]:
        head, _, content = piece.partition(b"\r\n\r\n")
        headers = message_from_bytes(head.lstrip(b"\r\n") + b"\r\n\r\n", policy=HTTP)
        name = headers.get_param("name", "", header="content-disposition")
        yield _Part(str(name), headers.get_filename() or "", headers.get("content-type", ""), content)


def _read_more(content: bytes) -> dict[str, Any]:
    try:
        more = json.loads(content)
    except ValueError:
        more = None
    if not isinstance(more, dict):
        refuse(400, "FST_ERR_VALIDATION", "body/body Invalid input: expected a JSON object")
    return more
