"""Bodies: values as JSON text; forms with files, streamed out; answers, streamed into files.

A streamed body holds no open file: it is opened anew each time it is sent, by whichever driver sends it, and at most
one piece of it is in memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import date, datetime, time
from decimal import Decimal
from typing import IO, Any, NamedTuple, Protocol
from uuid import UUID

from sluice_provider.errors import InvalidInput, Unreachable

PIECE = 1 << 20
"""Bytes of a file in memory at a time. Measured: with 64 KiB an upload takes half as long again."""


class EncodedRows(NamedTuple):
    """A list whose items are JSON text already. As a member of a body it is sent as it is: what was checked is what is
    sent, and nothing is encoded twice."""

    rows: Sequence[bytes]


def encode(value: Any) -> bytes:
    """JSON as UTF-8, compact. Dates and times become ISO 8601, UUIDs text, exact decimals numbers. A member of a dict
    may be `EncodedRows`.

    :raises InvalidInput: for a value that has no JSON form (NaN, bytes, an object)
    """
    if isinstance(value, dict) and any(isinstance(member, EncodedRows) for member in value.values()):
        return b"{" + b",".join(_encode(name) + b":" + _member(value[name]) for name in value) + b"}"
    return _encode(value)


def _member(value: Any) -> bytes:
    return b"[" + b",".join(value.rows) + b"]" if isinstance(value, EncodedRows) else _encode(value)


def _encode(value: Any) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"has no JSON form: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Decimal):
        return _number(value)
    raise TypeError(f"{type(value).__name__} {value!r:.60}")


def _number(value: Decimal) -> int | float | str:
    """A number where a float holds it exactly as written, else its digits as text: a rounded value is a wrong value."""
    if not value.is_finite():
        raise ValueError(f"{value} is not a finite number")
    if value == value.to_integral_value():
        return int(value)
    return float(value) if Decimal(repr(float(value))) == value else str(value)


# --- out ------------------------------------------------------------------------------------------------------------


class FilePart(NamedTuple):
    """A file in a form.

    :param name: of the form's field
    :param filename: as the remote is told
    :param content_type: likewise
    :param open: opens it for reading, from the start; called each time it is sent
    :param size: bytes, or None where the storage does not tell
    :param shown: names it in errors
    :param headers: of this part, beside the usual ones
    """

    name: str
    filename: str
    content_type: str
    open: Callable[[], IO[bytes]]
    size: int | None
    shown: str
    headers: Mapping[str, str] = {}


class Multipart:
    """A form with files (RFC 7578). Iterating sends it, from the start.

    `handed_over` tells after a failure whether all of it had been sent: a remote that lacks the end of a request has
    not acted on it.
    """

    def __init__(self, fields: Mapping[str, str], files: Sequence[FilePart]) -> None:
        self._boundary = os.urandom(16).hex()
        self._fields = b"".join(
            self._head(f'name="{_quoted(name)}"') + _bytes(fields[name]) + b"\r\n" for name in fields
        )
        self._files = [(self._head_of(file), file) for file in files]
        self._end = f"--{self._boundary}--\r\n".encode()
        self.handed_over = False

    @property
    def headers(self) -> dict[str, str]:
        """Of the request. Without a length it is sent in chunks."""
        headers = {"Content-Type": f"multipart/form-data; boundary={self._boundary}"}
        if all(file.size is not None for _, file in self._files):
            length = sum(len(head) + (file.size or 0) + 2 for head, file in self._files)
            headers["Content-Length"] = str(len(self._fields) + length + len(self._end))
        return headers

    def __iter__(self) -> Generator[bytes, None, None]:
        self.handed_over = False
        yield self._fields
        for head, file in self._files:
            yield head
            yield from _pieces(file)
            yield b"\r\n"
        self.handed_over = True
        yield self._end

    def _head_of(self, file: FilePart) -> bytes:
        names = f'name="{_quoted(file.name)}"; filename="{_quoted(file.filename)}"'
        return self._head(names, {"Content-Type": file.content_type, **file.headers})

    def _head(self, names: str, headers: Mapping[str, str] | None = None) -> bytes:
        lines = [f"--{self._boundary}", f"Content-Disposition: form-data; {names}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        return _bytes("\r\n".join(lines)) + b"\r\n\r\n"


def _quoted(name: str) -> str:
    """As browsers write names into a form, so that none can end its line (HTML, "multipart form data")."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{text!r:.60} cannot be sent as text: {error.reason}") from None


def _pieces(file: FilePart) -> Iterator[bytes]:
    """:raises InvalidInput: the file is gone, or is not as long as was announced; then nothing whole was sent
    :raises Unreachable: its storage failed; likewise
    """
    count = 0
    try:
        with closing(file.open()) as stream:
            while piece := stream.read(PIECE):
                count += len(piece)
                if file.size is not None and count > file.size:
                    break
                yield piece
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise InvalidInput(f"{file.shown}: cannot be read: {type(error).__name__}") from None
    except OSError as error:
        raise Unreachable(f"reading {file.shown}: {type(error).__name__}: {error}", sent=False) from None
    if file.size is not None and count != file.size:
        raise InvalidInput(f"{file.shown}: changed while it was sent: it is not of {file.size} bytes any more")


# --- in -------------------------------------------------------------------------------------------------------------


class Landing(Protocol):
    """Where the body of an answer goes: there whole, or not at all."""

    def begin(self) -> IO[bytes]:
        """A new and empty file, under a name of its own."""

    def keep(self) -> None:
        """It is whole: give it the name that was wanted."""

    def drop(self) -> None:
        """It broke off: leave nothing."""
