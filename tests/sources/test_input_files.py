"""Files as they are: where they are, what they are called, and that they are there whole or not at all."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from airflow.sdk import ObjectStoragePath

from sluice_provider.errors import InvalidInput
from sluice_provider.sources.input_files import InputFile
from sluice_provider.sources.output_files import AtomicFile
from sluice_provider.sources.storage import storage_path


@pytest.fixture
def file(tmp_path):
    """Three bytes."""
    path = tmp_path / "Some data.CSV"
    path.write_bytes(b"a\xffb")
    return path


@pytest.mark.parametrize(
    "given", [str, Path, ObjectStoragePath, lambda path: f"file://{path}", lambda path: f" {path} "]
)
def test_all_forms_of_a_path(file, given):
    """A text, a path, a URL: the same file."""
    source = InputFile(given(file), "file")
    assert (source.size, source.filename, source.extension, source.open().read()) == (
        3,
        "Some data.CSV",
        ".csv",
        b"a\xffb",
    )


@pytest.fixture
def object_store():
    """An object store, for lack of a real one: in memory."""
    from airflow.sdk.io import attach
    from fsspec.implementations.memory import MemoryFileSystem

    attach("memory", fs=MemoryFileSystem())
    yield
    MemoryFileSystem.store.clear()


def test_a_file_in_object_storage(object_store):
    """Wherever ObjectStoragePath reaches; the same bytes have the same fingerprint."""
    there = ObjectStoragePath("memory://bucket/x.json")
    there.write_bytes(b"[1]")
    source = InputFile("memory://bucket/x.json", "file")
    assert (source.size, source.filename, source.open().read()) == (3, "x.json", b"[1]")
    before = source.fingerprint
    there.write_bytes(b"[1]")
    assert InputFile("memory://bucket/x.json", "file").fingerprint == before
    there.write_bytes(b"[2]")
    assert InputFile("memory://bucket/x.json", "file").fingerprint != before


def test_a_checksum_of_the_storage(file, monkeypatch):
    """Saves reading it all."""
    source = InputFile(str(file), "file")
    there = source._storage_path
    monkeypatch.setattr(type(there.fs), "info", lambda _self, _path: {"ETag": '"7"', "size": 3, "type": "file"})
    assert source.fingerprint == '3 "7"'


def test_a_signed_url_is_named_without_its_secrets():
    """Its user, password and query."""
    source = InputFile("https://me:canary@files.example.com/a/b.csv?sig=canary", "file")
    assert (source.name, source.filename, source.extension) == (
        "https://files.example.com/a/b.csv",
        "b.csv",
        ".csv",
    )


@pytest.mark.parametrize("given", [None, "", "  ", 7, ["a"], {"a": 1}, b"a"], ids=repr)
def test_invalid_paths(given):
    """The message names the argument."""
    with pytest.raises(InvalidInput, match="file must be the path or URL of a file"):
        InputFile(given, "file")


def test_unreadable_files(tmp_path):
    """Each in words."""
    (tmp_path / "empty").touch()
    (tmp_path / "latin").write_bytes(b"\xff")
    with pytest.raises(InvalidInput, match=r"template: .*/none: no such file"):
        _ = InputFile(tmp_path / "none", "template").size
    with pytest.raises(InvalidInput, match="is a directory"):
        _ = InputFile(tmp_path, "template").size
    with pytest.raises(InvalidInput, match="empty is empty"):
        _ = InputFile(tmp_path / "empty", "template").fingerprint
    with pytest.raises(InvalidInput, match="is not UTF-8 text"):
        InputFile(tmp_path / "latin", "template").text()
    with pytest.raises(InvalidInput, match="no such file"):
        InputFile(tmp_path / "none", "template").text()
    with pytest.raises(InvalidInput, match="file: nosuch://x/y: cannot be opened on this worker"):
        storage_path("nosuch://canary@x/y?z", "file")


# --- landing


@pytest.mark.parametrize("folder", ["{}/new/folder", "file://{}/new", "memory://exports/{}"])
def test_files_appear_only_when_complete(tmp_path, object_store, folder):
    """Under a temporary name until it is kept; then in place of what was there."""
    place = folder.format(str(tmp_path).lstrip("/") if "memory" in folder else tmp_path)
    for content in (b"one", b"two"):
        atomic_file = AtomicFile(place, "x.csv")
        with atomic_file.begin() as file:
            file.write(content)
        part, *whole = sorted(PurePosixPath(str(each)).name for each in storage_path(place, "destination").iterdir())
        assert part.startswith(".x.csv.")
        assert part.endswith(".part")
        assert whole == (["x.csv"] if content == b"two" else [])
        atomic_file.commit()
        assert storage_path(atomic_file.path, "destination").read_bytes() == content
    assert [PurePosixPath(str(each)).name for each in storage_path(place, "destination").iterdir()] == ["x.csv"]


def test_two_concurrent_writers(tmp_path):
    """A zombie, or a second run: each file is whole, and the last one stays."""
    one, two = AtomicFile(str(tmp_path), "x.csv"), AtomicFile(str(tmp_path), "x.csv")
    with one.begin() as first:
        first.write(b"one, and more")
        with two.begin() as second:
            second.write(b"two")
    one.commit()
    assert (tmp_path / "x.csv").read_bytes() == b"one, and more"
    two.commit()
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("x.csv", b"two")]


def test_rollback(tmp_path):
    """Nothing remains, also of what was never begun."""
    atomic_file = AtomicFile(str(tmp_path), "x.csv")
    atomic_file.rollback()
    atomic_file.begin().close()
    atomic_file.rollback()
    assert list(tmp_path.iterdir()) == []


def test_unwritable_destinations(file):
    """A file is no folder."""
    with pytest.raises(InvalidInput, match=r"destination: .* cannot be written to"):
        AtomicFile(str(file), "x.csv").begin()
