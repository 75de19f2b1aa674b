"""Many files as one source: patterns, folders, lists, assets; and files with options."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from sluice_provider.errors import InvalidInput
from sluice_provider.records import Files
from sluice_provider.sources.records import open_source, paths_of
from tests.sources.chunked import located

PLATES = {"plate-1.csv": "id,n\nA,1\nB,2\n", "plate-2.csv": "id,n\nC,3\n", "plate-10.jsonl": '{"id": "D", "n": "4"}\n'}
IN_ORDER = ["A", "B", "D", "C"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Plates, and what is no plate."""
    for name, content in {**PLATES, "_SUCCESS": "", ".hidden.csv": "id\nX\n"}.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "plate-3.csv").write_text("id,n\nE,5\n")
    return tmp_path


def ids(records: Any, skip: int = 0) -> list[Any]:
    """The ids of all records."""
    return [record["id"] for _, record in located(open_source(records).chunks(skip))]


@pytest.mark.parametrize("where", ["plate-*", "plate-?*.*", "", "/"])
def test_patterns_and_folders(folder, where):
    """All files in the order of their names, without those in subfolders and without marker files."""
    given = f"{folder}/{where}" if where.startswith("plate") else f"{folder}{where}"
    for records in (given, Path(given), Files(given), f"file://{given}", [given]):
        assert ids(records) == IN_ORDER


def test_patterns_of_folders(folder):
    """Two stars stand for any depth."""
    assert ids(f"{folder}/**/plate-*.csv") == ["E", "A", "B", "C"]
    assert ids(f"{folder}/dee*/*.csv") == ["E"]
    assert paths_of(f"{folder}/plate-[12].csv") == [f"{folder}/plate-1.csv", f"{folder}/plate-2.csv"]


def test_a_name_with_wildcards(folder):
    """A file that has this very name."""
    (folder / "what[1].csv").write_text("id\nY\n")
    assert ids(f"{folder}/what[1].csv") == ["Y"]


def test_other_storages(object_store):
    """By their own listing."""
    from airflow.sdk import ObjectStoragePath

    for name, content in PLATES.items():
        (ObjectStoragePath("memory://bucket/in") / name).write_text(content)
    for given in ("memory://bucket/in/*", "memory://bucket/in", "memory://bucket/in/", "memory://bucket/i*/plate*"):
        assert ids(given) == IN_ORDER
    assert ids(ObjectStoragePath("memory://bucket/in")) == IN_ORDER
    assert ids([ObjectStoragePath("memory://bucket/in/plate-2.csv"), "memory://bucket/in/plate-1.csv"]) == [
        "C",
        "A",
        "B",
    ]


def test_positions_and_names(folder):
    """Each record knows its file and line, and the file can be a field."""
    found = list(
        located(open_source(Files([f"{folder}/plate-2.csv", f"{folder}/plate-1.csv"], file_name_column="f")).chunks())
    )
    assert found == [
        (f"{folder}/plate-2.csv: line 2", {"id": "C", "n": "3", "f": "plate-2.csv"}),
        (f"{folder}/plate-1.csv: line 2", {"id": "A", "n": "1", "f": "plate-1.csv"}),
        (f"{folder}/plate-1.csv: line 3", {"id": "B", "n": "2", "f": "plate-1.csv"}),
    ]
    with pytest.raises(InvalidInput, match="has a field 'n' itself: choose another file_name_column"):
        ids(Files(f"{folder}/plate-1.csv", file_name_column="n"))


def test_skipping_and_digest(folder):
    """Records of all files count, and the digest is of all contents, names and options, also when records are left
    out."""
    source = open_source(Files(f"{folder}/plate-*"))
    whole = list(located(source.chunks()))
    digest = source.sha256
    assert digest
    for skip in (1, 2, 3, 4):
        assert list(located(source.chunks(skip))) == whole[skip:]
        assert source.sha256 == digest
    other = open_source(Files(f"{folder}/plate-*", null_values=["2"]))
    list(other.chunks())
    (folder / "plate-2.csv").write_text("id,n\nC,4\n")
    list(source.chunks())
    assert len({digest, source.sha256, other.sha256}) == 3


def test_options_of_csv(tmp_path):
    """Delimiter, quotes, encoding, names of the columns, and words for nothing; also compressed."""
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress("'one; two';NULL;ü\nthree;;-\n".encode("utf-16")))
    files = Files(path, "csv", delimiter=";", quote_char="'", encoding="utf-16", column_names=["a", "b", "c"])
    assert [each for _, each in located(open_source(files).chunks())] == [
        {"a": "one; two", "b": "NULL", "c": "ü"},
        {"a": "three", "c": "-"},
    ]
    files = files._replace(null_values=("NULL", "-"))
    found = list(located(open_source(files).chunks()))
    assert found == [("line 1", {"a": "one; two", "c": "ü"}), ("line 2", {"a": "three"})]
    assert list(located(open_source(files).chunks(1))) == found[1:]
    plain = tmp_path / "b.csv"
    plain.write_text('a\n"x\n5" y\n')
    assert [each for _, each in located(open_source(Files(plain, quote_char=None)).chunks())] == [
        {"a": '"x'},
        {"a": '5" y'},
    ]
    latin = tmp_path / "c.csv"
    latin.write_bytes("a\nü\n".encode("latin-1"))
    assert [each for _, each in located(open_source(Files(latin, encoding="latin-1")).chunks())] == [{"a": "ü"}]
    with pytest.raises(InvalidInput, match="not text in ascii"):
        list(open_source(Files(latin, encoding="ascii")).chunks())
    latin.write_bytes(b"a;b\nc\n")
    with pytest.raises(InvalidInput, match="line 2 has 1 columns, but column_names has 2"):
        list(open_source(Files(latin, column_names=["a", "b"], delimiter=";")).chunks())


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (Files("nowhere-*.csv"), "no file matches nowhere-"),
        (Files([]), "the list of files is empty"),
        (Files("None"), "the XCom, parameter or variable"),
        (Files(["a.csv", None]), "the path is None"),
        (Files({"a": 1}), "a path must be a string, not a dict"),
        (Files("a.csv", delimiter="::"), "delimiter of Files must be one character"),
        (Files("a.csv", encoding="klingon"), "no encoding 'klingon'"),
        (Files("a.csv", format="xlsx"), "format of Files must be one of csv, "),
        (Files("a.csv", column_names="a"), "column_names of Files must be a list"),
        (Files("a.csv", column_names=["a", "a"]), "the same name more than once"),
        (["a.csv", "b.xlsx"], "no such file|save a workbook as CSV"),
    ],
)
def test_invalid_file_sets(files, words, tmp_path, monkeypatch):
    """Each with the reason."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=words):
        list(open_source(files).chunks())


def test_an_empty_folder(tmp_path):
    """Is not an empty import."""
    with pytest.raises(InvalidInput, match="has no files, as this worker sees it"):
        ids(f"{tmp_path}/")
