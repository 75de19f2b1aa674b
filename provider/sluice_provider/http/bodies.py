"""Bodies: values as JSON; multipart forms, streamed from files; responses, streamed into files.

A streamed body holds no open file: it is opened again for each attempt, by the driver that sends it, and at most one
chunk of it is in memory.
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

CHUNK_SIZE = 1 << 20
"""Bytes of a file in memory at a time. Measured: with 64 KiB an upload takes 1.5 times as long."""


class EncodedRows(NamedTuple):
    """A list whose items are already JSON text. As a member of a body it is sent unchanged: the validated bytes are the
    bytes that are sent, and nothing is encoded twice.

    :param text: the items with the commas between them
    """

    text: bytes


def encode(value: Any) -> bytes:
    """JSON as UTF-8, compact. Dates and times become ISO 8601, UUIDs strings, exact decimals numbers. A member of a
    dict may be `EncodedRows`.

    :raises InvalidInput: for a value that cannot be encoded as JSON (NaN, bytes, an object)
    """
    if isinstance(value, dict) and any(isinstance(member, EncodedRows) for member in value.values()):
        return b"{" + b",".join(_encode(name) + b":" + _member(value[name]) for name in value) + b"}"
    return _encode(value)


def _member(value: Any) -> bytes:
    return b"[" + value.text + b"]" if isinstance(value, EncodedRows) else _encode(value)


PLAIN_TYPES = frozenset({str, int, float, bool, type(None)})
"""Types that msgspec encodes as the standard library does, but for floats that are not finite."""


def encode_rows(rows: Sequence[Mapping[str, Any]], separator: bytes, *, only_strings: bool = False) -> bytes:
    """Each row as `encode` encodes it, faster where all values are of plain types, with the separator after it.

    :param separator: with a line break, as no row has one in JSON
    :param only_strings: all values are known to be strings
    :raises InvalidInput: for a value that cannot be encoded as JSON
    """
    types = {str} if only_strings else set[type]().union(*(map(type, row.values()) for row in rows))
    encoded = _encode_plain(rows, separator) if types <= PLAIN_TYPES else None
    if encoded is None or (float in types and b"null" in encoded):
        return b"".join([part for row in rows for part in (_encode(row), separator)])
    return encoded


def _encode_plain(rows: Sequence[Mapping[str, Any]], separator: bytes) -> bytes | None:
    """None for values that msgspec cannot encode, or not without loss: a float that is not finite becomes null."""
    from msgspec.json import Encoder

    try:
        return Encoder().encode_lines(rows).replace(b"\n", separator)
    except (OverflowError, TypeError, ValueError):  # a number of more than 64 bits, or a lone surrogate
        return None


def _encode(value: Any) -> bytes:
    try:
        return json.dumps(
            value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_json_value
        ).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"cannot be encoded as JSON: {error}") from error


def _json_value(value: Any) -> Any:
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Decimal):
        return _number(value)
    raise TypeError(f"{type(value).__name__} {value!r:.60}")


def _number(value: Decimal) -> int | float | str:
    """A number if a float holds it exactly as written, else a string: a rounded value is a wrong value."""
    if not value.is_finite():
        raise ValueError(f"{value} is not a finite number")
    if value == value.to_integral_value():
        return int(value)
    return float(value) if Decimal(repr(float(value))) == value else str(value)


# --- requests ---------------------------------------------------------------------------------------------------------


class FilePart(NamedTuple):
    """A file in a form.

    :param name: of the form's field
    :param filename: sent to the service
    :param content_type: sent to the service
    :param open: opens it for reading, from the start; called for each attempt
    :param size: bytes, or None if the storage does not know
    :param shown: its name in errors
    :param headers: of this part, in addition to the usual ones
    """

    name: str
    filename: str
    content_type: str
    open: Callable[[], IO[bytes]]
    size: int | None
    shown: str
    headers: Mapping[str, str] = {}


class Multipart:
    """A form with files (RFC 7578). Iterating yields its bytes, from the start.

    `fully_sent` is whether the last iteration reached the end: a service that did not get the end of a request has not
    applied it.
    """

    def __init__(self, fields: Mapping[str, str], files: Sequence[FilePart]) -> None:
        self._boundary = os.urandom(16).hex()
        self._fields = b"".join(
            self._head(f'name="{_quoted(name)}"') + _bytes(fields[name]) + b"\r\n" for name in fields
        )
        self._files = [(self._head_of(file), file) for file in files]
        self._end = f"--{self._boundary}--\r\n".encode()
        self.fully_sent = False

    @property
    def headers(self) -> dict[str, str]:
        """Of the request. Without a length it is sent in chunks."""
        headers = {"Content-Type": f"multipart/form-data; boundary={self._boundary}"}
        if all(file.size is not None for _, file in self._files):
            length = sum(len(head) + (file.size or 0) + 2 for head, file in self._files)
            headers["Content-Length"] = str(len(self._fields) + length + len(self._end))
        return headers

    def __iter__(self) -> Generator[bytes, None, None]:
        self.fully_sent = False
        yield self._fields
        for head, file in self._files:
            yield head
            yield from _chunks(file)
            yield b"\r\n"
        self.fully_sent = True
        yield self._end

    def _head_of(self, file: FilePart) -> bytes:
        names = f'name="{_quoted(file.name)}"; filename="{_quoted(file.filename)}"'
        return self._head(names, {"Content-Type": file.content_type, **file.headers})

    def _head(self, names: str, headers: Mapping[str, str] | None = None) -> bytes:
        lines = [f"--{self._boundary}", f"Content-Disposition: form-data; {names}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        return _bytes("\r\n".join(lines)) + b"\r\n\r\n"


def _quoted(name: str) -> str:
    """Escaped as browsers do it, so that a name cannot end its line (HTML standard, "multipart form data")."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{text!r:.60} cannot be encoded as UTF-8: {error.reason}") from None


def _chunks(file: FilePart) -> Iterator[bytes]:
    """:raises InvalidInput: the file is gone, or its size has changed; the request is incomplete then
    :raises Unreachable: its storage failed; likewise
    """
    count = 0
    try:
        with closing(file.open()) as stream:
            while chunk := stream.read(CHUNK_SIZE):
                count += len(chunk)
                if file.size is not None and count > file.size:
                    break
                yield chunk
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise InvalidInput(f"{file.shown} cannot be read: {type(error).__name__}") from None
    except OSError as error:
        raise Unreachable(f"reading {file.shown}: {type(error).__name__}: {error}", maybe_applied=False) from None
    if file.size is not None and count != file.size:
        raise InvalidInput(f"{file.shown} changed while it was sent: it no longer has {file.size} bytes")


# --- responses --------------------------------------------------------------------------------------------------------


class AtomicFile(Protocol):
    """A file for the body of a response: either complete or not there at all."""

    def begin(self) -> IO[bytes]:
        """Create an empty file under a temporary name."""

    def commit(self) -> None:
        """It is complete: give it its own name."""

    def rollback(self) -> None:
        """The download failed: delete it."""
