"""Records in text files: what is read, and in which words a broken file is refused."""

from __future__ import annotations

import io
import json
import random
import re
import tracemalloc
from itertools import chain, islice, repeat

import pytest

from sluice_provider.errors import InvalidInput
from sluice_provider.sources import text
from sluice_provider.sources.chunks import CHUNK_RECORDS
from sluice_provider.sources.text import read_csv, read_json, read_json_lines, read_tsv
from tests.sources.chunked import located

BOM = b"\xef\xbb\xbf"


def read(reader, content):
    """What a reader makes of a file with this content."""
    return list(located(reader(io.BytesIO(content if isinstance(content, bytes) else content.encode()))))


def refused(reader, content):
    """The words in which it is refused."""
    with pytest.raises(InvalidInput) as error:
        read(reader, content)
    return str(error.value)


# --- CSV, TSV


def test_csv():
    """A header, and cells that stay text; each record knows its line."""
    assert read(read_csv, "symbol,weight\nH,1.008\nHe,4.0026\n") == [
        ("line 2", {"symbol": "H", "weight": "1.008"}),
        ("line 3", {"symbol": "He", "weight": "4.0026"}),
    ]


@pytest.mark.parametrize("count", [0, 1, CHUNK_RECORDS, 2 * CHUNK_RECORDS])
@pytest.mark.parametrize("blank", [1, CHUNK_RECORDS, CHUNK_RECORDS + 1])
def test_empty_lines_at_the_end(count, blank):
    """Are no records, and no chunk is empty."""
    content = "a\n" + "1\n" * count + "\n" * blank
    chunks = list(read_csv(io.BytesIO(content.encode())))
    assert sum(len(chunk.records) for chunk in chunks) == count
    assert all(chunk.records for chunk in chunks)


def test_tsv():
    """The same with tabs, where commas are nothing special."""
    assert read(read_tsv, "symbol\tname\nH\tone, two\n") == [("line 2", {"symbol": "H", "name": "one, two"})]


@pytest.mark.parametrize(
    "content",
    [
        BOM + b"a,b\n1,2\n",
        b"a,b\r\n1,2\r\n",
        b"a,b\n1,2",
        b" a , b \n1,2\n",
        b'"a","b"\n"1","2"\n',
        b'\xef\xbb\xbf"a",b\n1,2\n',
        b"a,b\n\n1,2\n\n\n",
    ],
)
def test_line_endings_and_encodings(content):
    """Byte order mark, line ends, quotes, blank lines, blanks around names."""
    assert [record for _, record in read(read_csv, content)] == [{"a": "1", "b": "2"}]


def test_quoted_cells():
    """Commas, quotes and line breaks belong to the cell, and the lines are counted right after them."""
    rows = read(read_csv, 'a,b\n"1,5","say ""hi"""\n"two\nlines",x\nlast,y\n')
    assert [record["a"] for _, record in rows] == ["1,5", "two\nlines", "last"]
    assert rows[0][1]["b"] == 'say "hi"'
    assert rows[-1][0] == "line 5"


def test_empty_cells_are_left_out():
    """They say nothing of the field; blanks do."""
    assert [record for _, record in read(read_csv, "a,b,c\n1,,3\n,,\n, ,\n")] == [{"a": "1", "c": "3"}, {}, {"b": " "}]


def test_only_a_header():
    """Is a file without records."""
    assert read(read_csv, "a,b\n") == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "line 1 is empty; it must be a header with the field names"),
        ("\na,b\n1,2\n", "line 1 is empty"),
        ("a,b\n1\n", "line 2 has 1 columns, but the header has 2"),
        ("a,b\n1,2\n1,2,3\n", "line 3 has 3 columns, but the header has 2"),
        ("a,b,a ,b\n", "line 1 has the same column name more than once: 'a', 'b'"),
        ("a,b\n1,2\0\n", "line 2 contains a NUL byte: this is not a text file"),
        (b"a,b\n1,\xfc\n", "line 2 is not UTF-8 text (invalid start byte at byte 2)"),
        ("a,b\n1,2\n".encode("utf-16"), "line 1 is not UTF-8 text"),
        ('a,b\n"1,2\n', "is not valid CSV: unexpected end of data"),
        ('a,b\n"1"x,2\n', "line 2 is not valid CSV: ',' expected after '\"'"),
        ("a,b\r1,2\r", "is not valid CSV: new-line character seen"),
        ("a;b\n1;2,5\n", "line 2 has 2 columns, but the header has 1"),
    ],
)
def test_broken_csv(content, words):
    """Names the line."""
    assert words in refused(read_csv, content)


LONG_CSV = BOM + 'a,b\r\n1,ü\n\n"x\n,\u2028y",""\r\nfive,\x0c\x1c6\nlast,'.encode()


@pytest.mark.parametrize("skip", range(5))
def test_blocks_of_any_size(monkeypatch, skip):
    """A file is read in blocks, which end anywhere, and only a line feed ends a line outside quotes."""
    whole = list(located(read_csv(io.BytesIO(LONG_CSV))))
    assert [line for line, _ in whole] == ["line 2", "line 5", "line 6", "line 7"]
    assert whole[2][1] == {"a": "five", "b": "\x0c\x1c6"}
    for size in range(1, len(LONG_CSV)):
        monkeypatch.setattr(text, "BLOCK", size)
        assert list(located(read_csv(io.BytesIO(LONG_CSV), skip))) == whole[skip:]


@pytest.mark.parametrize("skip", [0, 1])
def test_positions_in_any_block(monkeypatch, skip):
    """An error names the line in the file, and the byte in the line."""
    for size in range(1, 20):
        monkeypatch.setattr(text, "BLOCK", size)
        for content, words in [
            (BOM + b"a,b\n1,2\n3,4\n5,\xfc\n", "line 4 is not UTF-8 text (invalid start byte at byte 2)"),
            (BOM + b"a,b\n1,2\n3,4\n5,\0\n", "line 4 contains a NUL byte"),
        ]:
            with pytest.raises(InvalidInput, match=re.escape(words)):
                list(read_csv(io.BytesIO(content), skip))


def test_a_missing_quote_is_detected_early(monkeypatch):
    """A cell that goes on for ever is refused before it fills the memory."""
    monkeypatch.setattr(text, "MAX_RECORD_CHARS", 100_000)
    assert "field larger than field limit" in refused(read_csv, 'a\n"' + "x\n" * text.MAX_RECORD_CHARS)


# --- JSON Lines


def test_json_lines():
    """One object on each line, with its types; blank lines are counted and left out."""
    content = BOM + b'{"a": 1.5, "b": null}\n\n{"a": [true]}'
    assert read(read_json_lines, content) == [("line 1", {"a": 1.5, "b": None}), ("line 3", {"a": [True]})]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"a": 1}\n{"a": \n', "line 2 is not valid JSON"),
        ('{"a": 1}\n[1]\n', "line 2 is a JSON list; every record must be an object"),
        ("null\n", "line 1 is a JSON NoneType"),
        ('{"a": 1} {"a": 2}\n', "line 1 is not valid JSON: Extra data"),
        (b'{"a": "\xff"}\n', "line 1 is not UTF-8 text"),
        ('{"a": "\0"}\n', "line 1 contains a NUL byte"),
        ('{"a":' + "[" * 100_000, "line 1 is not valid JSON"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_broken_json_lines(content, words):
    """Names the line."""
    assert words in refused(read_json_lines, content)


# --- JSON

RECORDS = [{"a": 1, "text": 'quo"te, [brackets] {and} \\ ü'}, {"b": {"deep": [1, [2, {}]]}}, {}]


@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_json(indent, encoding):
    """One list of objects, however it is laid out."""
    content = f" {json.dumps(RECORDS, indent=indent, ensure_ascii=False)} \n".encode(encoding)
    assert [record for _, record in read(read_json, content)] == RECORDS


def test_line_numbers_of_json():
    """The line on which a record begins."""
    places = [place for place, _ in read(read_json, '[\n{"a":\n1},\n\n{"b": 2}, {"c": "x\\ny"},\n{}]')]
    assert places == ["line 2", "line 5", "line 5", "line 6"]


def test_an_empty_list():
    """Is a file without records."""
    assert read(read_json, " [ \n ] ") == []


@pytest.mark.parametrize("block", range(1, 40))
def test_json_at_every_block_boundary(monkeypatch, block):
    """Wherever a block ends: in a number, in an escape, in the middle of a character."""
    monkeypatch.setattr(text, "BLOCK", block)
    content = b'[ {"n": 12345, "s": "\xc3\xbc\\u00fc\\n"} ,\n\n {"t": true, "e": 1.5e-7} ]\n'
    assert read(read_json, content) == [("line 1", {"n": 12345, "s": "üü\n"}), ("line 3", {"t": True, "e": 1.5e-7})]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "line 1 is not the start of a JSON array of objects"),
        ('{"a": 1}', "line 1 is not the start of a JSON array of objects"),
        ('{"a": 1}\n{"a": 2}\n', "line 1 is not the start of a JSON array of objects"),
        ("\n\nnull", "line 3 is not the start of a JSON array of objects"),
        ('[{"a": 1}', "line 1: expected a comma or the end of the array, found 'the end of the file'"),
        ('[{"a": 1},\n{"a": ', "line 2: no complete JSON value starts here"),
        ('[{"a": 1},\n', "line 2: no complete JSON value starts here"),
        ('[{"a": 1},\n]', "line 2: there is a comma before the end of the array"),
        ("[,]", "line 1: no complete JSON value starts here"),
        ('[{"a": 1}\n{"a": 2}]', "line 2: expected a comma or the end of the array, found '{'"),
        ('[{"a": 1}]\n[]', "line 2: there is more after the end of the array"),
        ('[{"a": 1},\n7]', "line 2 is a JSON int; every record must be an object"),
        ("[[1]]", "line 1 is a JSON list"),
        ('[{"a": \0}]', "no complete JSON value"),
        (b'[{"a": "\xff"}]', "not UTF-8 text"),
        (b'[{"a": "\xc3', "not UTF-8 text"),
        ("[1]".encode("utf-16"), "not UTF-8 text"),
        ('[{"a":' + "[" * 100_000, "nested too deeply"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_broken_json(content, words):
    """Names the line."""
    assert words in refused(read_json, content)


# --- however long


class Endless(io.RawIOBase):
    """Bytes that are made as they are read."""

    def __init__(self, begin, piece, end, times):
        self.left = chain([begin], repeat(piece, times), [end])
        self.rest = b""

    def readable(self):
        return True

    def readinto(self, buffer):
        while len(self.rest) < len(buffer) and (more := next(self.left, None)) is not None:
            self.rest += more
        size = min(len(buffer), len(self.rest))
        buffer[:size], self.rest = self.rest[:size], self.rest[size:]
        return size


PIECE = json.dumps([{"id": number, "text": "x" * 1000} for number in range(50)]).encode()[1:-1]


@pytest.mark.parametrize(
    ("reader", "stream"),
    [
        (read_json, lambda: Endless(b"[", PIECE + b",", PIECE + b"]", 1000)),
        (read_json_lines, lambda: Endless(b"", PIECE.replace(b"}, ", b"}\n") + b"\n", b"", 1000)),
        (read_csv, lambda: Endless(b"id,text\n", (b"1," + b"x" * 1000 + b"\n") * 50, b"", 1000)),
    ],
    ids=["json", "jsonl", "csv"],
)
def test_fifty_megabytes_in_constant_memory(reader, stream):
    """At most two chunks of records are held."""
    records = located(reader(io.BufferedReader(stream(), 1 << 16)))
    count = sum(1 for _ in islice(records, 5000))
    tracemalloc.start()
    try:
        count += sum(1 for _ in islice(records, 2000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    count += sum(1 for _ in records)
    assert 50_000 <= count <= 50_050
    assert peak < 8_000_000


@pytest.mark.parametrize("reader", [read_csv, read_tsv, read_json_lines])
@pytest.mark.parametrize("begin", [b"", b'a,b\n1,2\n"'])
def test_an_endless_line(reader, begin):
    """It is given up before it fills the memory."""
    stream = io.BufferedReader(Endless(begin, b"x" * (1 << 20), b"", 10**9))
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput, match=r"line [13] has more than 16777216 bytes|not valid JSON"):
            list(reader(stream))
        assert tracemalloc.get_traced_memory()[1] < 120_000_000
    finally:
        tracemalloc.stop()


def test_a_record_larger_than_a_block():
    """Is read whole."""
    big = {"text": "".join(random.Random(1).choices('ab{}[],"\\ü', k=300_000))}
    assert [record for _, record in read(read_json, json.dumps([big, big]))] == [big, big]


def test_an_unterminated_list(monkeypatch):
    """A bracket that is never closed is given up before it fills the memory."""
    monkeypatch.setattr(text, "MAX_RECORD_CHARS", 100_000)
    stream = io.BufferedReader(Endless(b'[{"a": [', b"1, " * 1000, b"]", 10**9))
    with pytest.raises(InvalidInput, match="no complete JSON value"):
        list(read_json(stream))


# --- leaving out the first records

MANY = 2500
CSV_LINES = [
    f"{number},plain" if number % 3 else f'{number},"quoted, with a\nline break"' if number % 2 else f'{number},5" wide'
    for number in range(MANY)
]
CONTENTS = {
    "csv": (read_csv, "id,text\n\n" + "\n\n".join(CSV_LINES) + "\n"),
    "crlf": (read_csv, "id,text\r\n" + "\r\n\r\n".join(CSV_LINES)),
    "tsv": (read_tsv, "id\ttext\n" + "\n".join(line.replace(",", "\t", 1) for line in CSV_LINES)),
    "jsonl": (read_json_lines, "\n\n".join(json.dumps({"id": number}) for number in range(MANY))),
    "json": (read_json, json.dumps([{"id": number} for number in range(MANY)], indent=1)),
}


@pytest.mark.parametrize("skip", [0, 1, 2, 999, 1000, 1001, 2499, 2500, 4000])
@pytest.mark.parametrize("kind", CONTENTS)
def test_skipping_records(kind, skip):
    """The rest is what it would be, positions included."""
    reader, content = CONTENTS[kind]
    whole = read(reader, content)
    assert len(whole) == MANY
    assert list(located(reader(io.BytesIO(content.encode()), skip))) == whole[skip:]
