"""Files of a Kaleidoscope workspace: parsing of uploads, and downloads as streamed bytes.

kalbio up to 0.3.0 compares the whole content type of a download, so it is sent without a charset.
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

from sluice_sandbox.kaleidoscope.validation import abort
from sluice_sandbox.settings import iso

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.responses import Response

    from sluice_sandbox.ids import Ids

CHUNK = 65_536  # bytes
TYPES = {
    ".csv": "text/csv",
    ".sdf": "chemical/x-mdl-sdfile",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
SAMPLE_FILE = (
    "name,smiles,molecular_weight\nAspirin,CC(=O)Oc1ccccc1C(=O)O,180.16\nCaffeine,Cn1cnc2c1c(=O)n(C)c(=O)n2C,194.19\n"
)


@dataclass(slots=True)
class File:
    """An uploaded file. `signature` is the secret in its link."""

    name: str
    content_type: str
    content: bytes
    created_at: float
    id: str
    signature: str

    def to_json(self) -> dict[str, Any]:
        """For `/control/state`, without content and signature."""
        return {
            "id": self.id,
            "name": self.name,
            "size": len(self.content),
            "content_type": self.content_type,
            "created_at": iso(self.created_at),
        }

    def link(self, root: str) -> str:
        """A download link that needs no token. That a webhook's file_url is such a link is a guess."""
        return f"{root}/download/{self.id}?signature={self.signature}"


class Files:
    """Files by id. Several files may have the same name."""

    def __init__(self, now: float, first_id: str, ids: Ids) -> None:
        self._ids = ids
        first = File("compounds.csv", TYPES[".csv"], SAMPLE_FILE.encode(), now, first_id, ids.token(24))
        self.by_id = {first.id: first}

    def add(self, name: str, content: bytes, content_type: str, now: float) -> File:
        """Add a file; an empty content type is guessed from the name."""
        # Browsers send the base name only; a path in a name is removed.
        name = PurePosixPath(name.replace("\\", "/")).name or "file"
        file = File(name, content_type or guess_content_type(name), content, now, self._ids.uuid(), self._ids.token(24))
        self.by_id[file.id] = file
        return file


def guess_content_type(name: str) -> str:
    """Guess the content type from the suffix of a file name."""
    suffix = PurePosixPath(name).suffix.lower()
    return TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"


def file_response(file: File) -> Response:
    """The download of a file. The Content-Disposition is a guess; kalbio does not use it."""
    headers = {
        "content-type": file.content_type,  # not as media_type, which would add a charset
        "content-length": str(len(file.content)),
        "content-disposition": attachment(file.name),
    }
    return StreamingResponse(_chunks(file.content), headers=headers)


def attachment(name: str) -> str:
    """Content-Disposition with an ASCII name and the real name in UTF-8 (RFC 6266)."""
    plain = re.sub(r'[^ -~]|["\\]', "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


async def _chunks(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), CHUNK):
        yield content[start : start + CHUNK]


# --- uploads


class Upload(NamedTuple):
    """The content of a multipart upload: a part `file`, and optionally a part `body` with JSON."""

    name: str
    content_type: str
    content: bytes
    body: dict[str, Any]


def read_upload(body: bytes, content_type: str) -> Upload:
    """Parse a multipart upload.

    kalbio sends a multipart body with the content type `application/json` (its JSON header replaces the one with the
    boundary), which the server accepts: without a boundary in the header, that of the body's first line is used.
    """
    boundary = _boundary(body, content_type)
    if not boundary:
        abort(406, "FST_INVALID_MULTIPART_CONTENT_TYPE", "the request is not multipart")
    parts = {part.name: part for part in _read_parts(body, boundary)}
    if "file" not in parts:
        abort(400, "FST_ERR_VALIDATION", "body/file Required")
    fields = _read_fields(parts["body"].content) if "body" in parts else {}
    file = parts["file"]
    return Upload(file.file_name, file.content_type, file.content, fields)


def _boundary(body: bytes, content_type: str) -> bytes:
    declared = re.search(r'multipart/form-data\s*;.*?boundary="?([^";]+)"?', content_type, re.IGNORECASE)
    if declared:
        return declared[1].encode("latin-1")
    sniffed = re.match(rb"--([0-9A-Za-z'()+_,./:=? -]{1,70})\r\n", body)
    return sniffed[1] if sniffed else b""


class _Part(NamedTuple):
    name: str
    file_name: str
    content_type: str
    content: bytes


def _read_parts(body: bytes, boundary: bytes) -> Iterator[_Part]:
    """The parts by RFC 2046: headers, an empty line and the content; the line end before a boundary belongs to it."""
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary)
    if len(pieces) < 3 or not pieces[-1].startswith(b"--"):
        abort(400, "FST_ERR_VALIDATION", "Unexpected end of multipart data")
    for piece in pieces[1:-1]:
        head, _, content = piece.partition(b"\r\n\r\n")
        headers = message_from_bytes(head.lstrip(b"\r\n") + b"\r\n\r\n", policy=HTTP)
        name = headers.get_param("name", "", header="content-disposition")
        yield _Part(str(name), headers.get_filename() or "", headers.get("content-type", ""), content)


def _read_fields(content: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(content)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        abort(400, "FST_ERR_VALIDATION", "body/body Invalid input: expected a JSON object")
    return fields
