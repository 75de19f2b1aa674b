"""Sources by what the author gives: a list, or a path or URL whose name says what is there, also compressed."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import importlib.util
import json
import lzma
import os
import random
import sys
from pathlib import Path

import pytest

from sluice_provider.errors import InvalidInput
from sluice_provider.sources.readers import COMPRESSIONS, READERS, FileSource
from sluice_provider.sources.records import ListSource, open_source
from sluice_provider.sources.storage import redact_url
from tests.sources.chunked import located

RECORDS = [{"symbol": "H", "name": "Wasserstoff"}, {"symbol": "He", "name": "Helium ü"}]
TEXTS = {
    ".csv": "symbol,name\nH,Wasserstoff\nHe,Helium ü\n",
    ".tsv": "symbol\tname\nH\tWasserstoff\nHe\tHelium ü\n",
    ".json": json.dumps(RECORDS),
    ".jsonl": "\n".join(map(json.dumps, RECORDS)),
    ".ndjson": "\n".join(map(json.dumps, RECORDS)),
}
COMPRESS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def parquet(table, **options):
    """A Parquet file's bytes."""
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow.parquet import write_table

    sink = arrow.BufferOutputStream()
    write_table(arrow.table(table), sink, **options)
    return sink.getvalue().to_pybytes()


@pytest.fixture
def file(tmp_path):
    """Makes a file and gives its path."""

    def make(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return make


def records(path):
    """What is in it."""
    return [record for _, record in located(FileSource(path).chunks())]


def refused(path):
    """The words in which it is refused, without the path."""
    with pytest.raises(InvalidInput) as error:
        records(path)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value).removeprefix(f"{path}: ")


# --- formats


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("suffix", TEXTS)
def test_formats(file, suffix, compression):
    """By the name, in any case; and again from the start when it is iterated over again."""
    source = FileSource(file(f"a.b{suffix.upper()}{compression}", COMPRESS[compression](TEXTS[suffix].encode())))
    for _ in range(2):
        assert [record for _, record in located(source.chunks())] == RECORDS


@pytest.mark.parametrize("suffix", TEXTS)
def test_the_digest_of_the_content(file, suffix):
    """Of what is in the file, not of how it is compressed; known once all of it was read, also if records were left
    out."""
    plain = FileSource(file(f"a{suffix}", TEXTS[suffix].encode()))
    packed = FileSource(file(f"a{suffix}.gz", gzip.compress(TEXTS[suffix].encode())))
    assert plain.sha256 is None
    for skip in (0, 1):
        assert (len(list(located(plain.chunks(skip)))), len(list(located(packed.chunks())))) == (2 - skip, 2)
        assert plain.sha256 == packed.sha256 == hashlib.sha256(TEXTS[suffix].encode()).hexdigest()


def test_every_format_is_tested():
    """Whoever adds one is reminded; Parquet has tests of its own, and zstd needs a library."""
    assert set(TEXTS) | {".parquet"} == set(READERS)
    assert set(COMPRESS) | {".zst"} == {"", *COMPRESSIONS}


@pytest.mark.skipif(importlib.util.find_spec("zstandard") is not None, reason="zstandard is installed")
def test_zstd_without_its_library(file):
    """Says that something is missing here, not in the file."""
    assert "cannot be opened on this worker: Compression type zstd not supported" in refused(file("a.csv.zst", b""))


def test_parquet(file):
    """With its types; nulls are left out; compressed on top, too."""
    content = parquet({"symbol": ["H", "He"], "number": [1, None]})
    for path in (file("a.parquet", content), file("a.parquet.gz", gzip.compress(content))):
        assert list(located(FileSource(path).chunks())) == [
            ("row 1", {"symbol": "H", "number": 1}),
            ("row 2", {"symbol": "He"}),
        ]


def test_parquet_in_batches(file, monkeypatch):
    """A few rows at a time, all of them in the end."""
    monkeypatch.setattr("sluice_provider.sources.parquet.CHUNK_RECORDS", 7)
    path = file("a.parquet", parquet({"n": list(range(100))}))
    assert [record["n"] for record in records(path)] == list(range(100))


def test_parquet_without_its_library(file, monkeypatch):
    """Says what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert (
        refused(file("a.parquet", b""))
        == "Parquet files require pyarrow: pip install 'airflow-provider-sluice[parquet]'"
    )


# --- a name that lies, and damage


def test_content_that_does_not_match_the_extension(file):
    """Parquet that is text, text that is Parquet, JSON Lines in .json, JSON in .jsonl."""
    assert "the Parquet file is not readable" in refused(file("a.parquet", TEXTS[".csv"]))
    assert "the Parquet file is not readable" in refused(file("empty.parquet", b""))
    assert "is not the start of a JSON array" in refused(file("a.json", TEXTS[".jsonl"]))
    assert "line 1 is a JSON list" in refused(file("a.jsonl", TEXTS[".json"]))
    assert "not UTF-8" in refused(file("a.csv", gzip.compress(TEXTS[".csv"].encode())))
    columns = parquet({"symbol": ["H"]})
    assert refused(file("b.csv", columns))
    assert refused(file("b.json", columns))


NOISE = ("a,b\n" + "".join(f"{random.Random(n).random()},2\n" for n in range(3000))).encode()


@pytest.mark.parametrize("compression", [".gz", ".bz2", ".xz"])
def test_corrupt_compressed_files(file, compression):
    """Cut short, garbled in the middle, or not compressed at all: said once, and not tried again."""
    whole = COMPRESS[compression](NOISE)
    middle = len(whole) // 2
    for name, content in {"cut": whole[:-100], "plain": NOISE}.items():
        assert "corrupt, or not in the format of its extension" in refused(file(f"{name}.csv{compression}", content))
    garbled = whole[:middle] + bytes(100) + whole[middle + 100 :]
    assert refused(file(f"garbled.csv{compression}", garbled))


def test_corrupt_parquet(file):
    """In its footer, and in a page that is only read later."""
    content = parquet({"n": list(range(5000)), "s": [str(n) for n in range(5000)]}, compression="snappy")
    assert "the Parquet file is not readable" in refused(file("cut.parquet", content[:-100]))
    garbled = content[:200] + random.Random(1).randbytes(3000) + content[3200:]
    assert refused(file("garbled.parquet", garbled))


def test_parquet_values_that_python_cannot_represent(file):
    """Nanoseconds without pandas."""
    if importlib.util.find_spec("pandas"):
        pytest.skip("pandas is installed")
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    content = parquet({"t": arrow.array([1_000_001], arrow.timestamp("ns"))})
    assert "after row 0" in refused(file("a.parquet", content))


# --- names and places


def test_a_missing_file(tmp_path):
    """Says where it was looked for from."""
    assert refused(f"{tmp_path}/nobody.csv") == "no such file, or it is not accessible from this worker"


def test_unreadable_files(file, tmp_path):
    """A folder, and a file that is used as one."""
    (tmp_path / "folder.csv").mkdir()
    assert refused(f"{tmp_path}/folder.csv") == "cannot be read (IsADirectoryError)"
    assert refused(file("plain.csv", "a\n") + "/inside.csv") == "cannot be read (NotADirectoryError)"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_files_without_permission(file):
    """Permissions."""
    path = file("a.csv", "a\n")
    Path(path).chmod(0)
    assert refused(path) == "cannot be read (PermissionError)"


@pytest.mark.parametrize("name", ["a", "csv", ".csv", "a.txt", "a.gz", "a.csv.zip", "https://h/a?x.csv", "a.xlsx"])
def test_unsupported_extensions(name):
    """Refused before the file is opened, with all that is known."""
    with pytest.raises(
        InvalidInput, match=r"has (no|the unsupported) file extension.*; supported are \.csv, .*compressed \(\.gz"
    ):
        FileSource(name)


@pytest.mark.parametrize("path", ["nobody://bucket/a.csv", "https://user:pw@h.invalid/a.csv?X-Signature=canary"])
def test_unsupported_storage(path):
    """Says so, without what the URL keeps in its query."""
    if path.startswith("https") and importlib.util.find_spec("aiohttp"):
        pytest.skip("this place is known")
    with pytest.raises(InvalidInput, match=r"cannot be opened on this worker: ") as error:
        records(path)
    assert str(error.value).startswith(redact_url(path))
    assert "canary" not in str(error.value)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/data/a.csv", "/data/a.csv"),
        ("relative/a?b#c.csv", "relative/a?b#c.csv"),
        ("s3://bucket/key/a.csv.gz", "s3://bucket/key/a.csv.gz"),
        ("s3://my_conn@bucket/a.csv", "s3://bucket/a.csv"),
        ("https://u:pw@h:81/a.csv?sig=s#f", "https://h:81/a.csv"),
    ],
)
def test_names_contain_no_secrets(path, name):
    """A presigned URL keeps its signature in the query, some keep a password in front."""
    assert redact_url(path) == name
    assert FileSource(path.replace("a?b#c", "abc")).name == name.replace("a?b#c", "abc")


# --- what the author gives


def test_lists():
    """Anything that is a sequence of dicts, again and again; each record knows its number."""
    for given in (RECORDS, tuple(RECORDS)):
        source = open_source(given)
        assert isinstance(source, ListSource)
        for _ in range(2):
            assert list(located(source.chunks())) == [("record 1", RECORDS[0]), ("record 2", RECORDS[1])]
        assert list(located(source.chunks(skip=1))) == [("record 2", RECORDS[1])]
    assert list(open_source([]).chunks()) == []


@pytest.mark.parametrize("given", ["a.csv", Path("a.csv"), " a.csv\n"])
def test_paths(given):
    """As text or as a path, also with blanks that a template left."""
    assert open_source(given).path == "a.csv"


def test_object_storage_paths(file):
    """As an upstream task may return one, with its connection."""
    from airflow.sdk import ObjectStoragePath

    path = ObjectStoragePath(f"file://{file('a.csv', TEXTS['.csv'])}")
    assert [record for _, record in located(open_source(path).chunks())] == RECORDS
    source = open_source(ObjectStoragePath("file:///data/a.csv", conn_id="my_conn"))
    assert (source.path, source.name) == ("file://my_conn@/data/a.csv", "file:///data/a.csv")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("[{'a': 1}]", "records is a string that contains a list, not a list"),
        ('{"a": 1}', "records=upstream.output"),
        ("", "records is empty"),
        ("  ", "records is empty"),
        ({"a": 1}, "not a dict"),
        (None, "records is None: the XCom"),
        (7, "not a int"),
        ({1, 2}, "not a set"),
        (b"a", "not a bytes"),
        ("SELECT 1", "use records=SqlQuery"),
        ("a.xlsx", "save a workbook as CSV, or read it with pandas.read_excel in a @task"),
    ],
    ids=str,
)
def test_invalid_sources(given, words):
    """Each with the way out."""
    with pytest.raises(InvalidInput, match=words):
        open_source(given)


@pytest.mark.parametrize("record", [None, 7, "text", ["a"]])
def test_invalid_records(record):
    """Named by its number."""
    with pytest.raises(InvalidInput, match=f"record 2 is a {type(record).__name__}; every record must be a dict"):
        list(open_source([{}, record]).chunks())
