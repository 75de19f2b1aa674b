"""Records in text files: CSV, TSV, JSON, JSON Lines. Streamed: at most one chunk of records is in memory."""

from __future__ import annotations

import csv
import json
from codecs import BOM_UTF8, getincrementaldecoder
from collections.abc import Iterable, Iterator, Sequence
from io import BufferedReader, BytesIO, RawIOBase, StringIO
from itertools import accumulate, chain, islice
from typing import IO, Any, NamedTuple, cast

from sluice_provider.errors import InvalidInput
from sluice_provider.sources.chunks import CHUNK_RECORDS, Chunk, chunks

BLOCK = 1 << 18
MAX_RECORD_CHARS = 1 << 24
"""The maximum length of a cell, a line or a JSON record. A longer one most likely has a missing quote or bracket."""


EMPTY_CELLS = frozenset({""})


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
    nulls: frozenset[str] = EMPTY_CELLS

    def reader(self, lines: Iterable[str]) -> Any:
        """A reader of the standard library."""
        if self.quote_char is None:
            return csv.reader(lines, delimiter=self.delimiter, quoting=csv.QUOTE_NONE, strict=True)
        return csv.reader(lines, delimiter=self.delimiter, quotechar=self.quote_char, strict=True)


CSV = CsvOptions()
TSV = CsvOptions(delimiter="\t")


def transcoded(stream: IO[bytes], encoding: str) -> IO[bytes]:
    """The same text in UTF-8."""
    return cast("IO[bytes]", BufferedReader(_Transcoder(stream, encoding), BLOCK))


class _Transcoder(RawIOBase):
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


class _Lines:
    """The lines of a stream with their line endings: as bytes first, then as strings from there on."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._blocks = _blocks(stream)
        self._rest = BytesIO()  # of the latest block

    def raw(self) -> Iterator[bytes]:
        while True:
            for line in self._rest:  # noqa: UP028 - "yield from" would close it with this generator
                yield line
            block = next(self._blocks, None)
            if block is None:
                return
            self._rest = BytesIO(block)

    def text(self, first: int = 1) -> Iterator[str]:
        """UTF-8. Decoded and split block by block, not line by line, for speed.

        :param first: the number of the next line
        """
        return chain.from_iterable(self._decoded(first))

    def _decoded(self, first: int) -> Iterator[Iterable[str]]:
        for block in chain([self._rest.read()], self._blocks):
            yield StringIO(_decode(block, first), newline="\n")
            first += block.count(b"\n")


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    """Whole lines, without a byte order mark. No line is read whole if it is too long."""
    number, rest = 1, bytearray()
    while block := stream.read(BLOCK):
        head, line_break, tail = block.rpartition(b"\n")
        if line_break:
            whole = bytes(rest) + head + line_break
            yield whole.removeprefix(BOM_UTF8) if number == 1 else whole
            number += whole.count(b"\n")
            rest = bytearray()
        rest += tail
        if len(rest) > MAX_RECORD_CHARS:
            raise InvalidInput(f"line {number} has more than {MAX_RECORD_CHARS} bytes: a line break may be missing")
    if rest:
        yield bytes(rest).removeprefix(BOM_UTF8) if number == 1 else bytes(rest)


def _decode(block: bytes, first: int) -> str:
    """
    :param first: the number of the first line
    """
    try:
        text = block.decode()
    except UnicodeDecodeError as error:
        line, start = _position(block, error.start, first)
        raise InvalidInput(f"line {line} is not UTF-8 text ({error.reason} at byte {start})") from None
    if "\0" in text:
        line, _ = _position(block, block.index(b"\0"), first)
        raise InvalidInput(f"line {line} contains a NUL byte: this is not a text file")
    return text


def _position(block: bytes, index: int, first: int) -> tuple[int, int]:
    """The number of the line, and the byte in it."""
    return first + block.count(b"\n", 0, index), index - block.rfind(b"\n", 0, index) - 1


def read_csv(stream: IO[bytes], skip: int = 0, options: CsvOptions = CSV) -> Iterator[Chunk]:
    """Values are the strings in the file. An empty cell is left out of its record.

    :param skip: how many of the first records to leave out
    """
    csv.field_size_limit(MAX_RECORD_CHARS)
    lines = _Lines(stream)
    before = 0  # lines that this reader did not see
    rows = options.reader(_one_by_one(lines) if skip else lines.text())
    try:
        names = list(options.column_names or _header(next(rows, None)))
        if skip:
            before = rows.line_num + _skip_csv(lines.raw(), skip, options)
            rows = options.reader(lines.text(before + 1))
        start = before + rows.line_num
        while some := list(islice(rows, CHUNK_RECORDS)):
            end = before + rows.line_num
            if any(some):  # not only empty lines
                yield _csv_chunk(some, names, start, end, options)
            start = end
    except csv.Error as error:
        raise InvalidInput(f"line {before + rows.line_num} is not valid CSV: {error}") from None


def _one_by_one(lines: _Lines) -> Iterator[str]:
    """The first lines as strings, for a reader after which the next lines are still wanted as bytes."""
    for number, line in enumerate(lines.raw(), 1):
        yield _decode(line, number)


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
    return Chunk("line", numbers, _records(rows, names, options.nulls), tuple(names), only_strings=True)


def _records(rows: list[list[str]], names: list[str], nulls: frozenset[str]) -> list[dict[str, str]]:
    """Without the cells that are null: with a faster expression where only empty cells are, which is usual."""
    if nulls == EMPTY_CELLS:
        return [
            dict(zip(names, cells, strict=False))
            if "" not in cells
            else {name: cell for name, cell in zip(names, cells, strict=False) if cell}
            for cells in rows
        ]
    return [{name: cell for name, cell in zip(names, cells, strict=False) if cell not in nulls} for cells in rows]


def _skip_csv(raw: Iterator[bytes], count: int, options: CsvOptions) -> int:
    """Skip so many records, and return how many lines they had. Only records with a quote have to be parsed: they may
    continue in the next line."""
    number = 0
    quote = (options.quote_char or "").encode()
    for line in raw:
        number += 1
        if quote and quote in line and not _is_whole(line, options):
            texts = (each.decode(errors="replace") for each in chain([line], raw))  # it was checked when it was sent
            record = options.reader(texts)
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
    filled = ((number, line) for number, line in enumerate(_Lines(stream).text(), 1) if line.strip())
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
