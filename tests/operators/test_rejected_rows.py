"""Rejected rows in a file: all of them, with the reason and where they were, and fit to be pushed again."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from sluice_provider.errors import RowsRejected
from sluice_provider.sensors.kaleidoscope import (
    KaleidoscopeDraftsSensor,
    KaleidoscopeImportSensor,
    KaleidoscopeRegistrationSensor,
)

pytestmark = pytest.mark.airflow

DESCRIBED = ("_rejected_reason", "_rejected_key", "_rejected_position", "_rejected_source")


def rows_of(path):
    """What is in such a file; the first of an empty cell is left out."""
    if path.endswith(".csv"):
        with Path(path).open(newline="") as file:
            return [{name: cell for name, cell in row.items() if cell} for row in csv.DictReader(file)]
    if path.endswith(".parquet"):
        from pyarrow.parquet import read_table

        rows = read_table(path).to_pylist()
        return [{name: value for name, value in row.items() if value is not None} for row in rows]
    with Path(path).open() as file:
        return [json.loads(line) for line in file]


@pytest.fixture
def elements(tmp_path):
    """A file of 300 elements, of which every other one has no number."""
    path = tmp_path / "elements.csv"
    lines = [f"E{n},{'none' if n % 2 else n},Element {n}" for n in range(300)]
    path.write_text("\n".join(["symbol,atomic_number,name", *lines]) + "\n")
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
@pytest.mark.parametrize("deferrable", [False, True])
def test_all_rejected_rows_are_kept(push, service, elements, tmp_path, suffix, deferrable):
    """As they were sent, each once, with the reason, its line and the file, from all imports; also by a process that
    has not read the rows itself."""
    task = push(
        records=str(elements),
        rejected_to=f"{tmp_path}/rejected/{{{{ params.day }}}}{suffix}",
        dag={"params": {"day": "monday"}},
        on_rejected_rows="warn",
        batch_size=70,
        deferrable=deferrable,
    ).run()
    assert task.state == "success", task.error
    path = f"{tmp_path}/rejected/monday{suffix}"
    assert (task.result["rejected_to"], task.result["rejected_rows"], task.result["rejected"]) == (path, 150, 150)
    found = {row["symbol"]: row for row in rows_of(path)}
    assert set(found) == {f"E{n}" for n in range(1, 300, 2)}
    assert found["E13"] == {
        "symbol": "E13",
        "atomic_number": "none",
        "name": "Element 13",
        "_rejected_reason": "atomic_number='none': invalid_format",
        "_rejected_key": "E13",
        "_rejected_position": "line 15",
        "_rejected_source": str(elements),
    }


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_the_file_can_be_pushed_again(push, airflow, service, elements, tmp_path, suffix):
    """After it was corrected; what describes the rejection is not sent."""
    path = tmp_path / f"rejected{suffix}"
    assert push(records=str(elements), rejected_to=str(path), on_rejected_rows="ignore").run().state == "success"
    if suffix != ".parquet":
        path.write_text(path.read_text().replace('"none"', '"7"').replace(",none,", ",7,"))
    task = push(records=str(path), rejected_to=str(path), on_rejected_rows="ignore").run()
    assert set(service.pushes[-1]["data"][0]) == {"symbol", "atomic_number", "name"}
    expected = (150, 0, None) if suffix != ".parquet" else (0, 150, str(path))
    assert (task.result["created"], task.result["rejected_rows"], task.result["rejected_to"]) == expected


def test_a_task_that_fails_names_the_file(push, service, elements, tmp_path):
    """What to do is in the error; the rows are kept all the same."""
    path = tmp_path / "rejected.jsonl"
    task = push(records=str(elements), rejected_to=str(path)).run()
    assert isinstance(task.error, RowsRejected)
    assert f"All 150 rejected rows are in {path}, with the reasons: fix and push that file" in str(task.error)
    assert len(rows_of(str(path))) == 150


def test_without_rejected_rows_there_is_no_file(push, tmp_path):
    """And the result says so. Without the argument, it says nothing."""
    task = push(rejected_to=str(tmp_path / "rejected.jsonl")).run()
    assert (task.result["rejected_to"], task.result["rejected_rows"]) == (None, 0)
    assert list(tmp_path.iterdir()) == []
    assert "rejected_to" not in push().run().result


def test_after_a_retry_all_rejected_rows_are_there(push, service, elements, tmp_path):
    """Also of imports that an earlier try submitted, and whose rows this one has left out when it read the file."""
    path = tmp_path / "rejected.jsonl"
    task = push(records=str(elements), rejected_to=str(path), batch_size=50, on_rejected_rows="warn")
    with task.death("after submitting", nth=4):
        task.worker_run()
    task.retry()
    assert task.state == "success", task.error
    assert {row["symbol"] for row in rows_of(str(path))} == {f"E{n}" for n in range(1, 300, 2)}
    assert len(rows_of(str(path))) == 150


def test_a_source_that_has_changed(push, service, elements, tmp_path):
    """What the service knows is kept: the key and the reason."""
    path = tmp_path / "rejected.csv"
    task = push(records=str(elements), rejected_to=str(path), on_rejected_rows="warn", deferrable=True).defer()
    elements.write_text("symbol,atomic_number\nE1,2\n")
    task.fire().worker_run()
    assert task.state == "success", task.error
    assert task.logged("WARNING", "kept by their keys only", "has changed since its rows were sent")
    found = rows_of(str(path))
    assert len(found) == 150
    assert found[0] == {"_rejected_reason": "atomic_number='none': invalid_format", "_rejected_key": "E1"}


def test_the_files_of_a_set_are_named(push, service, tmp_path):
    """With the line in each."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text(f"symbol,atomic_number\n{name},x\n")
    path = tmp_path / "out" / "rejected.jsonl"
    push(records=f"{tmp_path}/*.csv", rejected_to=str(path), on_rejected_rows="ignore").run()
    assert [(row["_rejected_source"], row["_rejected_position"]) for row in rows_of(str(path))] == [
        (f"{tmp_path}/a.csv", "line 2"),
        (f"{tmp_path}/b.csv", "line 2"),
    ]


def test_several_errors_and_keys_of_a_row(push, service, tmp_path):
    """One row, with all reasons; a key of two fields."""
    path = tmp_path / "rejected.jsonl"
    rows = [{"symbol": "H", "name": "x", "atomic_number": "a", "density": "b"}]
    push(records=rows, key_field_names=["symbol", "name"], rejected_to=str(path), on_rejected_rows="ignore").run()
    (row,) = rows_of(str(path))
    assert row["_rejected_reason"] == "atomic_number='a': invalid_format; density='b': invalid_format"
    assert row["_rejected_key"] == "H, x"
    assert {name: value for name, value in row.items() if name not in DESCRIBED} == rows[0]
    assert (row["_rejected_position"], row["_rejected_source"]) == ("record 1", "the given list")


@pytest.mark.parametrize(
    ("path", "words"),
    [("rejected.xlsx", "rejected_to must end in one of .csv, .jsonl"), ("/", "rejected_to must be the path")],
)
def test_invalid_paths(push, service, path, words):
    """Before anything is sent."""
    assert words in str(push(rejected_to=path).run().error)
    assert service.requests() == []


def test_drafts(stage_drafts, workspace, tmp_path):
    """Rows that were not staged."""
    path = tmp_path / "rejected.jsonl"
    workspace.sandbox.settings(rejected_rows=1)
    task = stage_drafts(rejected_to=str(path), on_rejected_rows="warn").run()
    assert task.state == "success", task.error
    (row,) = rows_of(str(path))
    assert (row["name"], row["smiles"]) == ("Aspirin", "CC(=O)O")
    assert (task.result["rejected_rows"], task.result["rejected_to"]) == (1, str(path))


def test_sensors_and_submissions_keep_keys(airflow, push, submit_drafts, workspace, service, elements, tmp_path):
    """They have not read the rows; more than the hundred that a status has."""
    import_id = push(records=str(elements), on_rejected_rows="ignore").run().result["import_ids"][0]
    path = tmp_path / "import.jsonl"
    sensor = airflow.task(
        KaleidoscopeImportSensor, import_id=import_id, on_rejected_rows="warn", rejected_to=str(path)
    ).run()
    assert sensor.state == "success", sensor.error
    assert sensor.result["rejected_rows"] == len(rows_of(str(path))) == 150
    ids = workspace.stage_drafts([{"name": f"C{n}", "smiles": "C"} for n in range(120)])
    submission_id = workspace.submit_drafts(validation=True)
    results = [{"record_id": each, "status": "error", "error_message": "no such atom"} for each in ids]
    workspace.submit_results("error", submission_id, records=results)
    more = {"operation_id": workspace.operation_id, "on_rejected_rows": "warn"}
    for number, (operator, args) in enumerate(
        [
            (KaleidoscopeRegistrationSensor, {"submission_id": submission_id}),
            (KaleidoscopeDraftsSensor, {"validate_only": True}),
        ]
    ):
        path = tmp_path / f"{number}.csv"
        task = airflow.task(operator, rejected_to=str(path), **more, **args).run()
        assert task.state == "success", task.error
        found = rows_of(str(path))
        assert {row["_rejected_key"] for row in found} == set(ids)
        assert "no such atom" in found[0]["_rejected_reason"]
