"""Tasks whose records come from databases, frames, functions, folders and assets, in the real Airflow."""

from __future__ import annotations

import json
import sqlite3

import pytest

from sluice_provider.operators.kaleidoscope import KaleidoscopePushOperator
from sluice_provider.operators.liquid_decisions import LiquidDecisionsImportOperator
from sluice_provider.records import Files, SqlQuery
from tests.operators.airflow_harness import ELEMENTS
from tests.sources import database_hooks

pytestmark = pytest.mark.airflow

KEYS = {"H": 1, "He": 1, "Li": 1}
QUERY = SqlQuery("SELECT symbol, name, atomic_number FROM elements ORDER BY symbol", "lab")


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A database of elements behind the connection `lab`; executes statements there."""
    path = tmp_path / "lab.db"
    database_hooks.register(monkeypatch)
    monkeypatch.setenv("AIRFLOW_CONN_LAB", json.dumps({"conn_type": "sqlite", "host": str(path)}))

    def execute(statement, *parameters):
        with sqlite3.connect(path) as connection:
            connection.execute(statement, parameters)

    execute("CREATE TABLE elements (symbol TEXT, name TEXT, atomic_number INTEGER)")
    for element in ELEMENTS:
        execute("INSERT INTO elements VALUES (?, ?, ?)", *element.values())
    return execute


def frames(library):
    """The elements as a frame."""
    if library == "pandas":
        return pytest.importorskip("pandas").DataFrame(ELEMENTS)
    if library == "polars":
        return pytest.importorskip("polars").DataFrame(ELEMENTS)
    return pytest.importorskip("pyarrow").Table.from_pylist(ELEMENTS)


def yielded():
    """A generator function, as it stands in a DAG file."""
    yield from ELEMENTS


# --- queries


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_query(push, service, lab, deferrable):
    """Its statement and parameters are templates; its connection, too."""
    query = SqlQuery(
        "SELECT * FROM {{ params.table }} WHERE atomic_number < :most", "{{ 'lab' }}", {"most": "{{ params.most }}"}
    )
    params = {"table": "elements", "most": 3}
    task = push(records=query, dag={"params": params, "render_template_as_native_obj": True}, deferrable=deferrable)
    assert task.run().state == "success", task.error
    assert service.records == {"H": 1, "He": 1}


def test_a_query_in_a_file(push, service, lab, tmp_path):
    """A template beside the DAG."""
    (tmp_path / "elements.sql").write_text("SELECT * FROM elements WHERE symbol = '{{ params.symbol }}'")
    dag = {"template_searchpath": str(tmp_path), "params": {"symbol": "He"}}
    task = push(records=SqlQuery("elements.sql", "lab"), dag=dag).run()
    assert task.state == "success", task.error
    assert service.records == {"He": 1}


def test_parameters_of_an_upstream_task(airflow, service, lab):
    """An XCom in a query makes the dependency, too."""
    from airflow.sdk import task

    @task
    def wanted():
        return "Li"

    def make():
        query = SqlQuery("SELECT * FROM elements WHERE symbol = :symbol", "lab", {"symbol": wanted()})
        KaleidoscopePushOperator(task_id="push", records=query, key_field_names=["symbol"])

    dag_run = airflow.dag_run(make)
    assert dag_run.dag().task_dict["push"].upstream_task_ids == {"wanted"}
    dag_run.task("wanted").run()
    task = dag_run.task("push").run()
    assert task.state == "success", task.error
    assert service.records == {"Li": 1}


def test_a_retry_of_the_same_rows_reconnects(push, service, lab):
    """The query is run again, and what was accepted is not sent again."""
    task = push(records=QUERY, batch_size=1)
    with task.death("after submitting", nth=2):
        task.worker_run()
    task.retry()
    assert task.state == "success", task.error
    assert service.sent == [["H"], ["He"], ["He"], ["Li"]]


def test_a_retry_of_other_rows_begins_anew(push, service, lab):
    """What was there when the first try ran may be gone."""
    task = push(records=QUERY, batch_size=1)
    with task.death("after submitting", nth=2):
        task.worker_run()
    lab("INSERT INTO elements VALUES ('Be', 'Beryllium', 4)")
    task.retry()
    assert task.state == "success", task.error
    assert service.sent == [["H"], ["He"], ["Be"], ["H"], ["He"], ["Li"]]
    assert task.result["pushed"] == 4


def test_an_invalid_row_of_a_query(push, service, lab):
    """Is named by its number, before anything is sent."""
    lab("UPDATE elements SET symbol = NULL WHERE name = 'Lithium'")
    task = push(records=QUERY).run()
    assert "the query on connection 'lab': row 1 has no value for the key field symbol" in str(task.error)
    assert service.requests() == []


# --- frames and functions


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_frames(push, service, library):
    """As an argument, made in the DAG file."""
    task = push(records=frames(library)).run()
    assert task.state == "success", task.error
    assert service.records == KEYS


def test_a_frame_of_an_upstream_task(airflow, service):
    """By XCom, as Airflow serializes it."""
    from airflow.sdk import task

    pytest.importorskip("pandas")

    @task
    def elements():
        return frames("pandas")

    dag_run = airflow.dag_run(
        lambda: KaleidoscopePushOperator(task_id="push", records=elements(), key_field_names=["symbol"])
    )
    assert dag_run.task("elements").run().state == "success"
    task = dag_run.task("push").run()
    assert task.state == "success", task.error
    assert service.records == KEYS


def test_mapped_results(airflow, service):
    """The lists of all instances of a mapped task."""
    from airflow.sdk import task

    @task
    def part(number):
        return [ELEMENTS[number]]

    def make():
        records = part.expand(number=[0, 1, 2])
        KaleidoscopePushOperator(task_id="push", records=records, key_field_names=["symbol"])

    dag_run = airflow.dag_run(make)
    for number in range(3):
        assert dag_run.task("part", number).run().state == "success"
    task = dag_run.task("push").run()
    assert task.state == "success", task.error
    assert service.records == KEYS


@pytest.mark.parametrize("function", [yielded, lambda: ELEMENTS, lambda: frames("pandas")])
@pytest.mark.parametrize("deferrable", [False, True])
def test_functions(push, service, function, deferrable):
    """They are called in the worker, once, and not when the DAG file is parsed or templates are rendered."""
    calls = []

    def records():
        calls.append(1)
        return function()

    task = push(records=records, deferrable=deferrable)
    assert calls == []
    assert task.run().state == "success", task.error
    assert (service.records, calls) == (KEYS, [1])


# --- files


def test_a_folder(push, service, tmp_path):
    """Every file of it; the name of the file is a field, columns are renamed, a constant is added."""
    for element in ELEMENTS:
        (tmp_path / f"{element['symbol']}.csv").write_text(f"Symbol;Name\n{element['symbol']};{element['name']}\n")
    task = push(
        records=Files("{{ params.folder }}/*.csv", delimiter=";", file_name_column="name"),
        columns={"Symbol": "symbol", "name": "name"},
        constants={"category": "{{ params.category }}"},
        dag={"params": {"folder": str(tmp_path), "category": "gas"}},
    ).run()
    assert task.state == "success", task.error
    sent = [record for push in service.pushes for record in push["data"]]
    assert sent[0] == {"symbol": "H", "name": "H.csv", "category": "gas"}
    assert len(sent) == 3


def test_a_retry_reads_only_what_is_left_of_many_files(push, service, tmp_path):
    """Their contents are recognised; with other columns it is other work."""
    for element in ELEMENTS:
        (tmp_path / f"{element['symbol']}.csv").write_text(f"symbol,name\n{element['symbol']},{element['name']}\n")
    task = push(records=f"{tmp_path}/*.csv", batch_size=1, columns=["symbol", "name"])
    with task.death("after submitting", nth=2):
        task.worker_run()
    task.retry()
    assert task.state == "success", task.error
    assert task.logged("the first 1 of which were submitted before")
    assert service.sent == [["H"], ["He"], ["He"], ["Li"]]
    task = push(records=f"{tmp_path}/*.csv", batch_size=1, columns=["symbol", "name"])
    with task.death("after submitting", nth=2):
        task.worker_run()
    task.retry(columns=["symbol"])
    assert service.sent[4:] == [["H"], ["He"], ["H"], ["He"], ["Li"]]


def test_an_asset(push, service, tmp_path):
    """The file that is the asset."""
    from airflow.sdk import Asset

    (tmp_path / "elements.csv").write_text("symbol\nH\n")
    task = push(records=Asset("elements", uri=f"file://{tmp_path}/elements.csv")).run()
    assert task.state == "success", task.error
    assert service.records == {"H": 1}


def test_an_asset_without_a_file(push, service):
    """Says where a path could come from."""
    from airflow.sdk import Asset

    task = push(records=Asset("elements")).run()
    assert "no event of asset 'elements' that started this run names a file in its extra" in str(task.error)


def consume(dag_run, *extras):
    """Events of the asset `elements`, with these extras, have started the run."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        model = session.scalar(select(AssetModel).filter_by(name="elements", uri="elements"))
        if model is None:
            model = AssetModel(name="elements", uri="elements", group="asset")
            session.add(model)
            session.flush()
        run = session.scalars(select(DagRun).filter_by(dag_id=dag_run.dag_id)).one()
        run.consumed_asset_events += [AssetEvent(asset_id=model.id, extra=extra) for extra in extras]


def test_the_files_that_asset_events_name(airflow, service, tmp_path):
    """Of those events that started the run."""
    from airflow.sdk import Asset

    asset = Asset("elements")
    for name in ("H", "Li"):
        (tmp_path / f"{name}.csv").write_text(f"symbol\n{name}\n")

    dag_run = airflow.dag_run(
        lambda: KaleidoscopePushOperator(task_id="push", records=asset, key_field_names=["symbol"])
    )
    consume(dag_run, {"path": f"{tmp_path}/H.csv"}, {"files": [f"{tmp_path}/Li.csv"]})
    task = dag_run.task("push").run()
    assert task.state == "success", task.error
    assert service.records == {"H": 1, "Li": 1}


# --- the other operators that take records


def test_drafts_and_results(stage_drafts, submit_results, workspace, lab):
    """From a query, with renamed columns."""
    query = SqlQuery("SELECT symbol, name FROM elements", "lab")
    task = stage_drafts(records=query, columns={"symbol": "name", "name": "smiles"}).run()
    assert task.state == "success", task.error
    assert set(workspace.drafts) == set(KEYS)
    workspace.register_file()
    columns = {"symbol": "record_id", "name": "formula"}
    task = submit_results(records=query, columns=columns, constants={"status": "matched"}).run()
    assert task.state == "success", task.error
    (sent,) = workspace.request_bodies("/results")
    assert sent["records"][0] == {"record_id": "H", "status": "matched", "data": {"formula": "Hydrogen"}}


@pytest.mark.parametrize("content_type", [None, "csv", "json"])
@pytest.mark.parametrize("deferrable", [False, True])
def test_items_of_liquid_decisions(airflow, sluice_sandbox, lab, content_type, deferrable):
    """As a CSV file with a header, or a JSON list; NULL is an empty cell, or left out."""
    lab("INSERT INTO elements VALUES ('X', 'a \"quoted\", name', NULL)")
    task = airflow.task(
        LiquidDecisionsImportOperator,
        records=QUERY,
        columns={"symbol": "id", "name": "name", "atomic_number": "number"},
        constants={"checked": True},
        item_type="Contact",
        job_name="Nightly",
        content_type=content_type,
        deferrable=deferrable,
    ).run()
    assert task.state == "success", task.error
    items = {item["id"]: item for item in sluice_sandbox.state()["liquid_decisions"]["items"]["Contact"]}
    text = content_type != "json"
    assert (
        items["He"].items()
        >= {"name": "Helium", "number": "2" if text else 2, "checked": "true" if text else True}.items()
    )
    assert items["X"]["name"] == 'a "quoted", name'
    assert items["X"].get("number", "") == ""
    assert task.result["processed"] == 4
    assert "file" not in task.result


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({}, "give exactly one of file and records: none was given"),
        ({"file": "a.csv", "records": []}, "give exactly one of file and records"),
        ({"records": []}, "the given list has no records to import"),
        ({"records": [{"": 1}]}, "record 1 has a field without a name"),
        ({"records": [{"a": 1}], "header_row": False}, "header_row goes with file"),
        ({"file": "a.csv", "columns": ["a"]}, "columns and constants go with records"),
    ],
)
def test_invalid_items(airflow, sluice_sandbox, args, words):
    """Before anything is sent."""
    task = airflow.task(LiquidDecisionsImportOperator, item_type="Contact", job_name="Nightly", **args).run()
    assert words in str(task.error)
    assert sluice_sandbox.requests() == []


def test_a_large_import_is_streamed(airflow, sluice_sandbox, tmp_path):
    """An upload whose connection breaks is sent again, from the start."""
    rows = [{"id": str(number), "name": "x" * 100} for number in range(3000)]
    sluice_sandbox.faults([{"method": "POST", "path": "batch/import", "times": 1, "status": 503}])
    task = airflow.task(
        LiquidDecisionsImportOperator,
        records=rows,
        item_type="Contact",
        job_name="N",
        on_unknown_outcome="resubmit",
        retries=3,
    ).run()
    if task.state == "up_for_retry":
        task.retry()
    assert task.state == "success", task.error
    items = sluice_sandbox.state()["liquid_decisions"]["items"]["Contact"]
    assert {item["id"] for item in items} >= {row["id"] for row in rows}
