"""What stands between two tasks in plain Python: a file to read, wherever it is, and results to write."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from airflow.sdk import ObjectStoragePath

from sluice_provider.errors import InvalidInput
from sluice_provider.files import local_copy, results_writer, write_results

CONTENT = b"name\nAspirin\n" * 10_000


@pytest.fixture(params=["file", "memory"])
def folder(request, tmp_path):
    """On this machine, and in an object store (in memory, for lack of a real one)."""
    if request.param == "file":
        yield f"file://{tmp_path}"
        return
    from airflow.sdk.io import attach
    from fsspec.implementations.memory import MemoryFileSystem

    attach("memory", fs=MemoryFileSystem())
    yield "memory://bucket/x"
    MemoryFileSystem.store.clear()


def put(path, content=CONTENT):
    """A file there."""
    there = ObjectStoragePath(path)
    there.parent.mkdir(parents=True, exist_ok=True)
    there.write_bytes(content)
    return there


def download_result(path, **more):
    """As a download operator returns it."""
    return {"path": path, "bytes": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest(), **more}


FORMS = pytest.mark.parametrize("form", [str, ObjectStoragePath, download_result], ids=["text", "path", "result"])


@FORMS
def test_local_copy(folder, form):
    """A plain path to the whole file, by its own name; a copy is gone after the block."""
    put(f"{folder}/a b.csv")
    with local_copy(form(f"{folder}/a b.csv")) as path:
        assert isinstance(path, Path)
        assert (path.name, path.read_bytes()) == ("a b.csv", CONTENT)
        copied = path
    assert copied.exists() is folder.startswith("file:")
    assert copied.parent.exists() is folder.startswith("file:")


def test_a_local_file_is_used_in_place(tmp_path):
    """The very file, whichever way it is named."""
    put(f"{tmp_path}/a.csv")
    for source in (tmp_path / "a.csv", str(tmp_path / "a.csv"), f"file://{tmp_path}/a.csv"):
        with local_copy(source) as path:
            assert path == tmp_path / "a.csv"


def test_the_copy_is_deleted_after_an_error(folder):
    """What the block raises comes out as it is."""
    put(f"{folder}/a.csv")
    copied = None

    def work():
        nonlocal copied
        with local_copy(f"{folder}/a.csv") as copied:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert copied.exists() is folder.startswith("file:")


def test_an_empty_file(folder):
    """Is a file."""
    put(f"{folder}/a.csv", b"")
    with local_copy(f"{folder}/a.csv") as path:
        assert path.read_bytes() == b""


def test_a_file_that_changed_since_the_download(folder):
    """By its size; a copy also by its checksum."""
    put(f"{folder}/a.csv")
    with (
        pytest.raises(InvalidInput, match="has changed since it was downloaded: bytes"),
        local_copy(download_result(f"{folder}/a.csv", bytes=3)),
    ):
        pass
    if folder.startswith("memory:"):
        with pytest.raises(InvalidInput, match="sha256"), local_copy(download_result(f"{folder}/a.csv", sha256="0")):
            pass


@pytest.mark.parametrize("source", [None, "", 7, {}, {"path": None}, ["a"]], ids=repr)
def test_invalid_source(source):
    """In words that help."""
    with pytest.raises(InvalidInput, match="source must be the path or URL of a file"), local_copy(source):
        pass


def test_missing_source(folder, tmp_path):
    """Nor is a folder a file."""
    with pytest.raises(InvalidInput, match="no such file"), local_copy(f"{folder}/none.csv"):
        pass
    with pytest.raises(InvalidInput, match="is a directory"), local_copy(tmp_path):
        pass


# --- results


def test_results_writer(folder):
    """One by one; there when the block ends, and not before."""
    path = f"{folder}/out/results.jsonl"
    with results_writer(path) as results:
        results.add("r1", "matched", data={"id": 7})
        results.add("r2", "error", error_message="no")
        results.add_row({"record_id": "r3", "status": "ok", "weight": 1.5})
        assert not ObjectStoragePath(path).exists()
    assert (results.path, results.count) == (str(ObjectStoragePath(path)), 3)
    assert [json.loads(line) for line in ObjectStoragePath(path).read_text().splitlines()] == [
        {"record_id": "r1", "status": "matched", "data": {"id": 7}},
        {"record_id": "r2", "status": "error", "error_message": "no"},
        {"record_id": "r3", "status": "ok", "data": {"weight": 1.5}},
    ]
    assert [each.name for each in ObjectStoragePath(f"{folder}/out").iterdir()] == ["results.jsonl"]


def test_an_interrupted_writer_leaves_no_file(folder):
    """No task takes half of them for all."""
    rows = ({"record_id": "r1", "status": "matched", "share": 1 / (1 - n)} for n in range(2))
    with pytest.raises(ZeroDivisionError):
        write_results(f"{folder}/out/results.jsonl", rows)
    assert list(ObjectStoragePath(f"{folder}/out").iterdir()) == []


def test_write_results(folder):
    """From a generator, and the path to hand on comes back."""
    path = write_results(f"{folder}/r.jsonl", ({"record_id": str(n), "status": "ok"} for n in range(1000)))
    assert len(ObjectStoragePath(path).read_text().splitlines()) == 1000


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"record_id": "r"}], "result 1 must have a status"),
        ([{"record_id": "r", "status": "ok"}] * 2, "result 2 is the second one for record r"),
        ([{"record_id": "r", "status": "ok", "x": float("nan")}], "result 1 cannot be encoded as JSON"),
    ],
)
def test_invalid_results(tmp_path, rows, words):
    """The row is named, and no file is left."""
    with pytest.raises(InvalidInput, match=words):
        write_results(tmp_path / "r.jsonl", rows)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["", None, "x/", "memory://", "r.csv", "results"], ids=repr)
def test_invalid_results_path(path):
    """Before anything is written."""
    with pytest.raises(InvalidInput, match="path must"), results_writer(path):
        pass
