"""Records in text files: CSV, TSV, JSON, JSON Lines. Streamed: at most one record and one block are in memory."""

from __future__ import annotations

import csv
import json
from codecs import getincrementaldecoder
from collections.abc import Iterator
from typing import IO, Any

from sluice_provider.errors import InvalidInput

LocatedRecord = tuple[str, dict[str, Any]]

BLOCK = 1 << 16
MAX_RECORD_CHARS = 1 << 24
"""The maximum length of one cell or record. A longer one most likely has a missing quote or bracket."""


def _lines(stream: IO[bytes]) -> Iterator[str]:
    """Lines as strings with their line endings. UTF-8, with or without a byte order mark."""
    for number, line in enumerate(stream, 1):
        try:
            decoded = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InvalidInput(f"line {number} is not UTF-8 text ({error.reason} at byte {error.start})") from None
        if "\0" in decoded:
            raise InvalidInput(f"line {number} contains a NUL byte: this is not a text file")
        yield decoded


def read_csv(stream: IO[bytes], delimiter: str = ",") -> Iterator[LocatedRecord]:
    """Values are the strings in the file. An empty cell is left out of its record."""
    csv.field_size_limit(MAX_RECORD_CHARS)
    rows = csv.reader(_lines(stream), delimiter=delimiter, strict=True)
    try:
        header = next(rows, None)
        names = _header(header)
        for cells in rows:
            if not cells:
                continue
            if len(cells) != len(names):
                raise InvalidInput(f"line {rows.line_num} has {len(cells)} columns, but the header has {len(names)}")
            yield f"line {rows.line_num}", {name: cell for name, cell in zip(names, cells, strict=True) if cell != ""}
    except csv.Error as error:
        raise InvalidInput(f"line {rows.line_num} is not valid CSV: {error}") from None


def read_tsv(stream: IO[bytes]) -> Iterator[LocatedRecord]:
    return read_csv(stream, delimiter="\t")


def _header(cells: list[str] | None) -> list[str]:
    if not cells:
        raise InvalidInput("line 1 is empty; it must be a header with the field names")
    names = [cell.strip() for cell in cells]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise InvalidInput(f"line 1 has the same column name more than once: {', '.join(map(repr, duplicates))}")
    return names


def read_json_lines(stream: IO[bytes]) -> Iterator[LocatedRecord]:
    for number, line in enumerate(_lines(stream), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"line {number} is not valid JSON: {error}") from None
        yield f"line {number}", _record(value, number)


def read_json(stream: IO[bytes]) -> Iterator[LocatedRecord]:
    """One JSON array of objects, decoded object by object."""
    text = _Window(stream)
    if text.skip(" \t\r\n") != "[":
        raise InvalidInput(f"line {text.line} is not the start of a JSON array of objects")
    text.take(1)
    while (mark := text.skip(" \t\r\n")) != "]":
        line = text.line
        yield f"line {line}", _record(text.decode(), line)
        mark = text.skip(" \t\r\n")
        if mark == ",":
            text.take(1)
            if text.skip(" \t\r\n") == "]":
                raise InvalidInput(f"line {text.line}: there is a comma before the end of the array")
        elif mark != "]":
            raise InvalidInput(
                f"line {text.line}: expected a comma or the end of the array, found {mark or 'the end of the file'!r}"
            )
    text.take(1)
    if text.skip(" \t\r\n"):
        raise InvalidInput(f"line {text.line}: there is more after the end of the array")


def _record(value: Any, line: int) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(f"line {line} is a JSON {type(value).__name__}; every record must be an object")
    return value


class _Window:
    """The part of a text stream that is in memory, with its line number."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._decoder = getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._at = 0
        self._ended = False
        self._json = json.JSONDecoder()
        self.line = 1

    def skip(self, blanks: str) -> str:
        """Skip blanks, and return the next character without consuming it ("" at the end)."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in blanks:
                self.take(1)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more(BLOCK):
                return ""

    def take(self, count: int) -> None:
        self.line += self._text.count("\n", self._at, self._at + count)
        self._at += count

    def decode(self) -> Any:
        """The JSON value at the current position."""
        size = BLOCK
        while True:
            try:
                value, end = self._json.raw_decode(self._text, self._at)
            except ValueError as error:
                if len(self._text) - self._at > MAX_RECORD_CHARS or not self._more(size):
                    raise InvalidInput(f"line {self.line}: no complete JSON value starts here: {error}") from None
                size *= 2
            except RecursionError:
                raise InvalidInput(f"line {self.line}: the JSON value that starts here is nested too deeply") from None
            else:
                self.take(end - self._at)
                return value

    def _more(self, size: int) -> bool:
        if self._ended:
            return False
        block = self._stream.read(size)
        self._ended = not block
        try:
            fresh = self._decoder.decode(block, final=self._ended)
        except UnicodeDecodeError as error:
            raise InvalidInput(f"after line {self.line}: not UTF-8 text ({error.reason})") from None
        self._text, self._at = self._text[self._at :] + fresh, 0
        return not self._ended
