"""Downloads: complete or not at all, at their destination, whatever the file is named in the service."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from airflow.sdk import ObjectStoragePath

from sluice_provider.errors import ClientError, InvalidInput, NotFound, Unreachable
from sluice_provider.files import local_copy
from sluice_provider.operators.kaleidoscope import (
    KaleidoscopeDownloadFileOperator,
    KaleidoscopeExportRecordsOperator,
)
from tests.operators.airflow_harness import ELEMENTS, SECRET, UNKNOWN

pytestmark = pytest.mark.airflow


@pytest.fixture
def download(airflow, workspace, tmp_path):
    """Brings the file home into a folder of its own."""

    def make_task(**args):
        args = {"file_id": workspace.file_id, "retries": 3, **args}
        if "path" not in args:
            args.setdefault("destination", f"{tmp_path}/in")
        return airflow.task(KaleidoscopeDownloadFileOperator, task_id="task", **args)

    return make_task


@pytest.fixture
def upload(workspace):
    """Another user uploads a file; returns its id."""
    return lambda content, name="big.csv": workspace.sandbox.register_file(name, content, register=False)["file_id"]


def files_in(folder):
    """Every file below it."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_download_a_file(download, upload, workspace, tmp_path):
    """Below its id and by its own name; the result has path, size and checksum."""
    content = "name\n" + "Aspirin\n" * 100_000
    file_id = upload(content)
    task = download(file_id=file_id, file_name="My compounds.csv", operation_id=workspace.operation_id).run()
    assert task.state == "success", task.error
    result = dict(task.result)
    for name in ("submitted_at", "ended_at", "seconds"):
        assert result.pop(name) is not None
    assert result == {
        "service": "kaleidoscope",
        "state": "succeeded",
        "operation_id": workspace.operation_id,
        "file_id": file_id,
        "file_name": "My compounds.csv",
        "path": f"{tmp_path}/in/{file_id}/My compounds.csv",
        "bytes": len(content),
        "sha256": hashlib.sha256(content.encode()).hexdigest(),
        "content_type": "text/csv",
        "url": task.xcom("_link_KaleidoscopeLink"),
    }
    assert result["url"].endswith(f"/operations/{workspace.operation_id}")
    assert files_in(tmp_path) == [f"in/{file_id}/My compounds.csv"]
    assert any(
        each["path"].endswith(f"/activities/{workspace.operation_id}/file/{file_id}")
        for each in workspace.sandbox.requests()
    )
    with local_copy(result) as path:
        assert path.read_text() == content


@pytest.mark.parametrize("destination", ["memory://bucket/in", "memory://bucket/in/"])
def test_download_to_object_storage(download, object_store, workspace, destination):
    """To any folder that ObjectStoragePath reaches."""
    task = download(destination=destination, file_name="a.csv").run()
    assert task.state == "success", task.error
    assert task.result["path"] == f"memory://bucket/in/{workspace.file_id}/a.csv"
    folder = ObjectStoragePath(f"memory://bucket/in/{workspace.file_id}")
    assert [each.name for each in folder.iterdir()] == ["a.csv"]
    with local_copy(task.result) as path:
        assert path.name == "a.csv"
        assert hashlib.sha256(path.read_bytes()).hexdigest() == task.result["sha256"]


@pytest.mark.parametrize("form", [str, ObjectStoragePath, lambda path: f"file://{path}"], ids=["text", "path", "url"])
def test_download_to_a_given_path(download, tmp_path, form):
    """Which the author chose, and is taken as it is."""
    task = download(path=form(f"{tmp_path}/x/chosen.csv")).run()
    assert task.state == "success", task.error
    assert files_in(tmp_path) == ["x/chosen.csv"]


@pytest.mark.parametrize(
    ("file_name", "name"),
    [
        ("../../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\evil.dll", "evil.dll"),
        ("..", None),
        ("a\tb.csv", "a_b.csv"),
        (".bashrc", "bashrc"),
        ("x.csv?sig=1", "x.csv_sig=1"),
        ("NUL", "_NUL"),
    ],
)
def test_unsafe_file_names_are_sanitized(download, workspace, tmp_path, file_name, name):
    """The last part at most, cleaned, in the file's own folder; and the log says so."""
    task = download(file_name=file_name).run()
    assert task.state == "success", task.error
    assert files_in(tmp_path) == [f"in/{workspace.file_id}/{name or workspace.file_id}"]
    assert task.logged("WARNING", "is saved as", "unsafe characters")


def test_files_of_the_same_name_do_not_collide(download, upload, tmp_path):
    """Do not replace each other."""
    ids = [upload(content) for content in ("one", "two")]
    paths = [download(file_id=each, file_name="data.csv").run().result["path"] for each in ids]
    assert [Path(path).read_text() for path in paths] == ["one", "two"]


def test_a_second_download_replaces_the_first(download, tmp_path):
    """A retry, or a cleared task."""
    task = download(file_name="a.csv").run()
    first = Path(task.result["path"]).read_text()
    Path(task.result["path"]).write_text("somebody else's")
    task.clear().run()
    assert Path(task.result["path"]).read_text() == first
    assert len(files_in(tmp_path)) == 1


def test_unknown_file(download, tmp_path):
    """No second try, and nothing is left."""
    task = download(file_id=UNKNOWN).run()
    assert (task.state, type(task.error)) == ("failed", NotFound)
    assert files_in(tmp_path) == []


def breaks_off(workspace, path, times):
    """The next answers end in the middle."""
    workspace.sandbox.faults([{"method": "GET", "path": path, "drop": "middle", "times": times}])


def test_an_interrupted_download_is_repeated(download, upload, workspace, tmp_path):
    """It is never taken for whole."""
    file_id = upload("x" * 100_000)
    breaks_off(workspace, "/files/", 2)
    task = download(file_id=file_id, file_name="a.csv").run()
    assert (task.state, task.result["bytes"]) == ("success", 100_000)
    assert sum("/files/" in each["path"] for each in workspace.sandbox.requests()) == 3


def test_an_incomplete_download_leaves_no_file(download, upload, workspace, tmp_path):
    """Neither under its own name nor under another; what was there before stays."""
    (tmp_path / "a.csv").write_text("before")
    breaks_off(workspace, "/files/", 99)
    task = download(file_id=upload("x" * 100_000), path=f"{tmp_path}/a.csv").run()
    assert (task.state, type(task.error)) == ("up_for_retry", Unreachable)
    assert files_in(tmp_path) == ["a.csv"]
    assert (tmp_path / "a.csv").read_text() == "before"
    workspace.sandbox.faults([])
    task.retry()
    assert (tmp_path / "a.csv").read_text() == "x" * 100_000


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"file_id": ""}, "file_id must be a non-empty id"),
        ({"file_id": "None"}, "file_id must be a non-empty id"),
        ({"destination": None}, "give exactly one of destination and path"),
        ({"destination": " "}, "destination must be the path or URL of a folder, and is empty"),
        ({"destination": "x", "path": "y/z"}, "give exactly one of destination and path"),
        ({"path": "x/y", "destination": None, "file_name": "z"}, "file_name goes with destination"),
        ({"path": "x/", "destination": None}, "path must be the path or URL of a file to write"),
        ({"path": "memory://", "destination": None}, "path must be the path or URL of a file to write"),
        ({"path": 7, "destination": None}, "path must be the path or URL of a file to write"),
        ({"destination": "nowhere://x"}, "cannot be opened on this worker"),
        ({"destination": "memory://x/[1]"}, "must not contain '*', '?' or '['"),
        ({"operation_id": ""}, "operation_id must be a non-empty id"),
    ],
)
def test_invalid_arguments_are_rejected_before_any_request(download, object_store, workspace, args, words):
    """Each line, in words that name the argument."""
    task = download(**args).run()
    assert (task.state, type(task.error)) == ("failed", InvalidInput), task.error
    assert words in str(task.error)
    assert workspace.sandbox.requests() == []


def test_destination_is_a_file(download, tmp_path):
    """It is said which."""
    (tmp_path / "in").write_text("a file")
    task = download().run()
    assert (task.state, type(task.error)) == ("failed", InvalidInput)
    assert f"{tmp_path}/in/" in str(task.error)


def test_no_secret_is_logged_or_returned(download, workspace):
    """In the log, the result, or where something went wrong."""
    workspace.sandbox.faults([{"method": "GET", "path": "/files/", "times": 99, "status": 503}])
    failed = download().run()
    workspace.sandbox.faults([])
    texts = [str((task.log, task.xcom(), task.error)) for task in (failed, download().run())]
    assert all(SECRET not in text and "Bearer" not in text for text in texts)


# --- exports


@pytest.fixture
def export(airflow, workspace, tmp_path):
    """Exports the elements to a file."""
    elements = workspace.state["ids"]["entity_slices"]["Element"]

    def make_task(**args):
        args = {"entity_slice_id": elements, "path": f"{tmp_path}/out/records.csv", "retries": 3, **args}
        return airflow.task(KaleidoscopeExportRecordsOperator, task_id="task", **args)

    workspace.hook.push_by_field_name(["symbol"], ELEMENTS, operation_id=workspace.operation_id)
    workspace.sandbox.advance(10)
    workspace.sandbox.requests(clear=True)
    return make_task


def test_export_records_as_csv(export, workspace, tmp_path):
    """All of them, or some, at a path that the author chose."""
    task = export().run()
    assert task.state == "success", task.error
    text = (tmp_path / "out" / "records.csv").read_bytes().decode()
    assert len(text.splitlines()) == 4
    assert "Hydrogen" in text
    assert (task.result["bytes"], task.result["content_type"]) == (len(text), "text/csv")
    assert task.result["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    more = export(operation_id=workspace.operation_id, search_text="he").run()
    assert more.result["url"].endswith(f"/operations/{workspace.operation_id}")
    assert len((tmp_path / "out" / "records.csv").read_text().splitlines()) == 2


def test_export_sorted_and_filtered_to_object_storage(export, workspace, object_store):
    """Lists of ids and filters arrive in the service's format."""
    fields = {each["field_name"]: each["id"] for each in workspace.hook.get_data_fields()}
    sorts = [{"field_id": fields["atomic_number"], "descending": True}]
    task = export(
        path="memory://bucket/records.csv",
        view_field_ids=[fields["atomic_number"], fields["name"]],
        filters={"view_field_sorts": sorts},
    ).run()
    assert task.state == "success", task.error
    lines = ObjectStoragePath("memory://bucket/records.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in lines[1:]] == ["3", "2", "1"]


def test_an_interrupted_export_is_repeated(export, workspace, tmp_path):
    """Is begun anew, or leaves nothing."""
    breaks_off(workspace, "export/csv", 1)
    task = export().run()
    assert task.state == "success"
    (tmp_path / "out" / "records.csv").unlink()
    breaks_off(workspace, "export/csv", 99)
    task.clear().run()
    assert task.state == "up_for_retry"
    assert files_in(tmp_path) == []


def test_a_rejected_export(export):
    """With the service's message, once."""
    task = export(entity_slice_id="other").run()
    assert task.state == "failed"
    assert isinstance(task.error, ClientError)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"entity_slice_id": None}, "entity_slice_id must be a non-empty id"),
        ({"path": ""}, "path must be the path or URL of a file to write"),
        ({"record_set_ids": "a,b"}, "record_set_ids must be a non-empty list of strings"),
        ({"identifier_ids": ["a,b"]}, "identifier_ids[0] must be one id"),
        ({"view_field_ids": []}, "view_field_ids must be a non-empty list of strings"),
        ({"filters": {"where": 1}}, "filters must be a dict with some of view_field_filters"),
        ({"filters": "x"}, "filters must be a dict"),
        ({"search_text": " "}, "search_text must be a non-empty string"),
    ],
)
def test_invalid_export_arguments(export, workspace, args, words):
    """Each line, in words that name the argument."""
    task = export(**args).run()
    assert (task.state, type(task.error)) == ("failed", InvalidInput), task.error
    assert words in str(task.error)
    assert workspace.sandbox.requests() == []


# --- lineage


def test_openlineage_datasets(download, export, workspace, tmp_path):
    """What was read, by the URI of its asset, and the file that was written."""
    pytest.importorskip("airflow.providers.openlineage")
    for task, name in (
        (download(file_name="a.csv"), f"files/{workspace.file_id}"),
        (export(operation_id=workspace.operation_id), f"operations/{workspace.operation_id}"),
        (export(), "records"),
    ):
        facets = task.run().operator.get_openlineage_facets_on_complete(None)
        assert [each.name for each in facets.inputs] == [name]
        assert facets.inputs[0].namespace.startswith("kaleidoscope://127.0.0.1:")
        assert [each.name for each in facets.outputs] == [task.result["path"]]
