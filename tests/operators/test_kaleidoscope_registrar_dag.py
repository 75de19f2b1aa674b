"""The registrar's whole DAG: download a file, process it in Python, submit results; tasks pass only a path."""

from __future__ import annotations

import csv
import pickle

import pytest
from airflow.sdk import ObjectStoragePath, task

from sluice_provider.files import local_copy, results_writer
from sluice_provider.operators import kaleidoscope as operators
from tests.operators.airflow_harness import SECRET

pytestmark = pytest.mark.airflow

CONTENT = "id,smiles\nr1,CCO\nr2,not a molecule\n"


@task
def match_compounds(download: dict, out: str) -> str:
    """What a chemist would write."""
    with local_copy(download) as path, results_writer(out) as results, path.open() as file:
        for row in csv.DictReader(file):
            good = " " not in row["smiles"]
            results.add(row["id"], "matched" if good else "error", error_message=None if good else "no SMILES")
    return results.path


def registrar(operation_id, file_id):
    """The three tasks."""

    def make():
        where = {"operation_id": operation_id, "file_id": file_id}
        download = operators.KaleidoscopeDownloadFileOperator(
            task_id="download", destination="memory://bucket/{{ run_id }}", file_name="../compounds.csv", **where
        )
        results = match_compounds(download.output, "memory://bucket/{{ run_id }}/results.jsonl")
        operators.KaleidoscopeSubmitRegistrationResultsOperator(
            task_id="report", status="success", records=results, wait_for_completion=True, deferrable=True, **where
        )

    return make


def test_download_process_and_report(airflow, workspace, object_store):
    """In order, each task in a process of its own as far as it knows."""
    workspace.sandbox.settings(results_processing_seconds=20)
    file_id = workspace.sandbox.register_file("compounds.csv", CONTENT)["file_id"]
    dag_run = airflow.dag_run(registrar(workspace.operation_id, file_id))
    tasks = [dag_run.task(task_id).run() for task_id in ("download", "match_compounds", "report")]
    assert [task.state for task in tasks] == ["success"] * 3, [task.error for task in tasks]
    assert tasks[0].result["path"] == f"memory://bucket/run/{file_id}/compounds.csv"
    assert tasks[1].xcom() == "memory://bucket/run/results.jsonl"
    assert (tasks[2].result["records"], tasks[2].result["status"]) == (2, "completed")
    [made] = workspace.registrations
    assert made["results"] == [
        {"record_id": "r1", "status": "matched"},
        {"record_id": "r2", "status": "error", "error_message": "no SMILES"},
    ]
    assert made["results_received"] == 1
    assert ObjectStoragePath("memory://bucket/run/results.jsonl").exists()
    text = str([(task.log, task.xcom()) for task in tasks])
    assert SECRET not in text
    assert "signature=" not in text


def test_operators_have_their_public_path():
    """To pickle, to Airflow's database, and to settings that name them."""
    for name in operators.__all__:
        operator = getattr(operators, name)
        assert pickle.loads(pickle.dumps(operator)) is operator
        assert f"{operator.__module__}.{operator.__name__}" == f"sluice_provider.operators.kaleidoscope.{name}"


def test_a_serialized_dag_names_the_public_path(workspace):
    """As the scheduler and the API server read it."""
    from airflow.sdk import DAG
    from airflow.serialization.serialized_objects import DagSerialization

    with DAG("dag", schedule=None) as dag:
        registrar("o", "f")()
    tasks = {each["__var"]["task_id"]: each["__var"] for each in DagSerialization.to_dict(dag)["dag"]["tasks"]}
    assert (
        tasks["report"]["_task_module"] == tasks["download"]["_task_module"] == "sluice_provider.operators.kaleidoscope"
    )
    assert tasks["report"]["_operator_extra_links"] == {"Kaleidoscope": "_link_KaleidoscopeLink"}
