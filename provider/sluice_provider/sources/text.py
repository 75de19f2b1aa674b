"""Records in text files: CSV, TSV, JSON, JSON Lines. Streamed: at most one chunk of records is in memory."""

from __future__ import annotations

import csv
import io
import json
from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, islice
from typing import IO, Any, NamedTuple, cast

from sluice_provider.errors import InvalidInput
from sluice_provider.sources.chunks import CHUNK_RECORDS, Chunk, chunks

BLOCK = 1 << 18
MAX_RECORD_CHARS = 1 << 24
"""The maximum length of a cell, a line or a JSON record. A longer one most likely has a missing quote or bracket."""


class CsvOptions(NamedTuple):
    """
    :param delimiter: one character
    :param quote_char: one character, or None where quotes have no meaning
    :param column_names: of a file without a header
    :param nulls: cells that are left out of their record
    """

    delimiter: str = ","
    quote_char: str | None = '"'
    column_names: tuple[str, ...] | None = None
    nulls: frozenset[str] = frozenset({""})

    def reader(self, lines: Iterable[str]) -> Any:
        """A reader of the standard library."""
        if self.quote_char is None:
            return csv.reader(lines, delimiter=self.delimiter, quoting=csv.QUOTE_NONE, strict=True)
        return csv.reader(lines, delimiter=self.delimiter, quotechar=self.quote_char, strict=True)


CSV = CsvOptions()
TSV = CsvOptions(delimiter="\t")


def transcoded(stream: IO[bytes], encoding: str) -> IO[bytes]:
    """The same text in UTF-8."""
    return cast("IO[bytes]", io.BufferedReader(_Transcoder(stream, encoding), BLOCK))


class _Transcoder(io.RawIOBase):
    def __init__(self, stream: IO[bytes], encoding: str) -> None:
        super().__init__()
        self._stream = stream
        self._decoder = getincrementaldecoder(encoding)()
        self._encoding = encoding
        self._rest = b""
        self._read = 0
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest and not self._ended:
            block = self._stream.read(BLOCK)
            self._ended = not block
            try:
                self._rest = self._decoder.decode(block, final=self._ended).encode()
            except UnicodeError as error:
                raise InvalidInput(f"after byte {self._read}: not text in {self._encoding}: {error}") from None
            self._read += len(block)
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


def _raw_lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Lines with their line endings, none of which is read whole if it is too long."""
    number, rest = 1, bytearray()
    while block := stream.read(BLOCK):
        if b"\n" not in block and len(rest) + len(block) <= MAX_RECORD_CHARS:
            rest += block
            continue
        lines = bytes(rest + block).split(b"\n")
        rest = bytearray(lines.pop())
        for line in lines:
            yield line + b"\n"
        number += len(lines)
        if len(rest) > MAX_RECORD_CHARS:
            raise InvalidInput(f"line {number} has more than {MAX_RECORD_CHARS} bytes: a line break may be missing")
    if rest:
        yield bytes(rest)


def _lines(raw: Iterable[bytes], first: int = 1) -> Iterator[str]:
    """Lines as strings with their line endings. UTF-8, with or without a byte order mark.

    :param first: the number of the next line
    """
    for number, line in enumerate(raw, first):
        try:
            decoded = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InvalidInput(f"line {number} is not UTF-8 text ({error.reason} at byte {error.start})") from None
        if "\0" in decoded:
            raise InvalidInput(f"line {number} contains a NUL byte: this is not a text file")
        yield decoded


def read_csv(stream: IO[bytes], skip: int = 0, options: CsvOptions = CSV) -> Iterator[Chunk]:
    """Values are the strings in the file. An empty cell is left out of its record.

    :param skip: how many of the first records to leave out
    """
    csv.field_size_limit(MAX_RECORD_CHARS)
    raw = _raw_lines(stream)
    rows = options.reader(_lines(raw))
    before = 0  # lines that this reader did not see
    try:
        names = list(options.column_names or _header(next(rows, None)))
        if skip:
            before = rows.line_num + _skip_csv(raw, skip, options)
            rows = options.reader(_lines(raw, before + 1))
        start = before + rows.line_num
        while some := list(islice(rows, CHUNK_RECORDS)):
            end = before + rows.line_num
            if any(some):  # not only empty lines
                yield _csv_chunk(some, names, start, end, options)
            start = end
    except csv.Error as error:
        raise InvalidInput(f"line {before + rows.line_num} is not valid CSV: {error}") from None


def _csv_chunk(rows: list[list[str]], names: list[str], start: int, end: int, options: CsvOptions) -> Chunk:
    """
    :param rows: the cells of each; none in an empty line
    :param start: the last line before these rows; `end` is their last one
    """
    numbers: Sequence[int] = range(start + 1, end + 1)
    if len(numbers) != len(rows) or {*map(len, rows)} != {len(names)}:  # not one row in each line
        numbers = list(accumulate((1 + sum(cell.count("\n") for cell in cells) for cells in rows), initial=start))[1:]
        numbers = [number for number, cells in zip(numbers, rows, strict=True) if cells]
        rows = [cells for cells in rows if cells]
        for number, cells in zip(numbers, rows, strict=True):
            if len(cells) != len(names):
                header = "column_names" if options.column_names else "the header"
                raise InvalidInput(f"line {number} has {len(cells)} columns, but {header} has {len(names)}")
    nulls = options.nulls
    records = [
        dict(zip(names, cells, strict=False))
        if nulls.isdisjoint(cells)
        else {name: cell for name, cell in zip(names, cells, strict=False) if cell not in nulls}
        for cells in rows
    ]
    return Chunk("line", numbers, records, tuple(names), only_strings=True)


def _skip_csv(raw: Iterator[bytes], count: int, options: CsvOptions) -> int:
    """Skip so many records, and return how many lines they had. Only records with a quote have to be parsed: they may
    continue in the next line."""
    number = 0
    quote = (options.quote_char or "").encode()
    for line in raw:
        number += 1
        if quote and quote in line and not _is_whole(line, options):
            record = options.reader(_lines(chain([line], raw), 2))
            next(record)
            number += record.line_num - 1
        elif not line.strip(b"\r\n"):
            continue
        count -= 1
        if count == 0:
            break
    return number


def _is_whole(line: bytes, options: CsvOptions) -> bool:
    """Whether a record that begins in this line ends in it."""
    try:
        next(options.reader((line.decode(errors="replace"),)))
    except csv.Error:
        return False
    return True


def read_tsv(stream: IO[bytes], skip: int = 0) -> Iterator[Chunk]:
    return read_csv(stream, skip, TSV)


def _header(cells: list[str] | None) -> list[str]:
    if not cells:
        raise InvalidInput("line 1 is empty; it must be a header with the field names")
    names = [cell.strip() for cell in cells]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise InvalidInput(f"line 1 has the same column name more than once: {', '.join(map(repr, duplicates))}")
    return names


def read_json_lines(stream: IO[bytes], skip: int = 0) -> Iterator[Chunk]:
    return chunks("line", _json_lines(stream, skip))


def _json_lines(stream: IO[bytes], skip: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Skipped lines are not parsed."""
    filled = ((number, line) for number, line in enumerate(_lines(_raw_lines(stream)), 1) if line.strip())
    for number, line in islice(filled, skip, None):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"line {number} is not valid JSON: {error}") from None
        yield number, _record(value, number)


def read_json(stream: IO[bytes], skip: int = 0) -> Iterator[Chunk]:
    """One JSON array of objects, decoded object by object."""
    return chunks("line", _json_array(stream), skip)


def _json_array(stream: IO[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    text = _Window(stream)
    if text.skip(" \t\r\n") != "[":
        raise InvalidInput(f"line {text.line} is not the start of a JSON array of objects")
    text.take(1)
    while (mark := text.skip(" \t\r\n")) != "]":
        line = text.line
        yield line, _record(text.decode(), line)
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
