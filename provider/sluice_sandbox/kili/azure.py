"""Azure's List Blobs with a SAS token, the only call of the blob service that listing a container needs.

Written from Azure's REST reference ("List Blobs"): pages by `marker`, names and content types in XML.
"""

from __future__ import annotations

import mimetypes
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SIGNATURE = "c2x1aWNlIHNhbmRib3ggc2lnbmF0dXJlIG5vdCByZWFs+/="
SAS = (
    "sv=2024-11-04&ss=b&srt=co&sp=rl&se=2099-01-01T00:00:00Z&sig=c2x1aWNlIHNhbmRib3ggc2lnbmF0dXJlIG5vdCByZWFs%2B%2F%3D"
)
"""Contains characters that must be percent-encoded, as real SAS tokens do."""


def list_blobs(query: Mapping[str, str], files: Sequence[str] | None, limit: int) -> Response:
    """A page of the container's files.

    :param files: all files of the container, or None if it does not exist
    :param limit: the maximum size of a page
    """
    if query.get("sig") != SIGNATURE:
        return _error_response(403, "AuthenticationFailed", "Server failed to authenticate the request.")
    if files is None:
        return _error_response(404, "ContainerNotFound", "The specified container does not exist.")
    if (query.get("restype"), query.get("comp")) != ("container", "list"):
        return _error_response(400, "InvalidQueryParameterValue", "The sandbox supports List Blobs only.")
    selected = [name for name in files if name.startswith(query.get("prefix", ""))]
    start = int(query.get("marker") or 0)
    end = start + min(int(query.get("maxresults") or limit), limit)
    marker = str(end) if end < len(selected) else ""
    return _xml(
        200,
        f"<EnumerationResults><Blobs>{''.join(map(_blob, selected[start:end]))}</Blobs>"
        f"<NextMarker>{marker}</NextMarker></EnumerationResults>",
    )


def _blob(name: str) -> str:
    content_type = mimetypes.guess_type(name)[0]
    type_element = f"<Content-Type>{content_type}</Content-Type>" if content_type else ""
    return (
        f"<Blob><Name>{escape(name)}</Name><Properties><Content-Length>1</Content-Length>{type_element}"
        "<BlobType>BlockBlob</BlobType></Properties></Blob>"
    )


def _error_response(status: int, code: str, message: str) -> Response:
    response = _xml(status, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>")
    response.headers["x-ms-error-code"] = code
    return response


def _xml(status: int, body: str) -> Response:
    text = f'<?xml version="1.0" encoding="utf-8"?>{body}'
    return Response(text, status, {"x-ms-version": "2024-11-04"}, media_type="application/xml")
