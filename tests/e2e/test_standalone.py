"""Pushes in a whole Airflow, with scheduler, API server and triggerer, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from airflow_standalone import Standalone

pytestmark = pytest.mark.standalone

DAGS = Path(__file__).parent / "dags"


@pytest.fixture(scope="module")
def sandbox(_sluice_server):
    """One sandbox for all of this module; its jobs take a few seconds."""
    _sluice_server.reset()
    _sluice_server.settings(job_seconds=5)
    return _sluice_server


@pytest.fixture(scope="module")
def airflow(sandbox, tmp_path_factory):
    """One Airflow for all of this module, gone afterwards."""
    data = tmp_path_factory.mktemp("data")
    (data / "elements.csv").write_text("symbol,name\nH,Hydrogen\nHe,Helium\n")
    (data / "2026-03-02.csv").write_text("symbol,name\nLi,Lithium\n")
    (data / "2026-03-03.csv").write_text("symbol,name\nBe,Beryllium\n")
    env = {f"AIRFLOW_CONN_{name.upper()}": connection for name, connection in sandbox.connections().items()}
    env |= {"SLUICE_E2E_DATA": str(data), "SLUICE_E2E_MARK": str(data / "died")}
    with Standalone(DAGS, env=env) as airflow:
        airflow.wait_dags()
        yield airflow


def imports(sandbox):
    """What the sandbox was asked for, oldest first."""
    return sandbox.state()["kaleidoscope"]["imports"]


def instance(airflow, dag_id, run_id, task_id="push"):
    """One task of a run."""
    return next(each for each in airflow.task_instances(dag_id, run_id) if each["task_id"] == task_id)


def wait_state(airflow, dag_id, run_id, *states):
    """Wait until the push of a run is in one of these states."""

    def look():
        found = instance(airflow, dag_id, run_id)
        return found if found["state"] in states else None

    return airflow.wait(f"the push of {dag_id} to be {' or '.join(states)}", look, 120)


def begin(airflow, dag_id):
    """Let a DAG run once."""
    airflow.unpause(dag_id)
    return airflow.trigger(dag_id)


def test_a_user_ends_a_deferred_push(airflow, sandbox):
    """Marked as failed: the trigger is told, and its log says that Kaleidoscope cannot cancel."""
    sandbox.settings(job_seconds=10_000)
    run = begin(airflow, "ended")
    wait_state(airflow, "ended", run, "deferred")
    sandbox.settings(job_seconds=5)
    [job] = imports(sandbox)

    def watched():
        # The first look is the worker's own.
        return sum(each["path"].endswith(job["id"]) for each in sandbox.requests()) > 1 or None

    airflow.wait("the trigger to look", watched, 60)
    airflow.patch(f"dags/ended/dagRuns/{run}/taskInstances/push", {"new_state": "failed"})

    def told():
        logs = [path.read_text(errors="replace") for path in (airflow.home / "logs").rglob("*.log*") if path.is_file()]
        return any("cannot cancel" in text and job["id"] in text for text in logs) or None

    airflow.wait("the trigger to say that it cannot cancel", told, 90)
    assert instance(airflow, "ended", run)["state"] == "failed"


def test_a_push_is_deferred_and_finished(airflow, sandbox):
    """Its ids and its link are there while it is deferred; a sensor downstream finds the same import over."""
    before = len(imports(sandbox))
    run = begin(airflow, "deferred")
    wait_state(airflow, "deferred", run, "deferred")
    [job] = imports(sandbox)[before:]
    assert airflow.xcom("deferred", run, "push", "job_ids") == [job["id"]]
    links = airflow.get(f"dags/deferred/dagRuns/{run}/taskInstances/push/links")["extra_links"]
    assert links["Kaleidoscope"].endswith(f"/imports/{job['id']}")
    assert airflow.wait_run("deferred", run, timeout=120)["state"] == "success"
    result = airflow.xcom("deferred", run, "push")
    assert (result["import_ids"], result["pushed"]) == ([job["id"]], 2)
    assert airflow.xcom("deferred", run, "wait")["ids"] == [job["id"]]


def test_a_cleared_push_pushes_again(airflow, sandbox):
    """What the user clears after it succeeded is done again."""
    [run] = airflow.runs("deferred")
    before = len(imports(sandbox))
    airflow.clear("deferred", run["dag_run_id"], ["push"])
    assert airflow.wait_run("deferred", run["dag_run_id"], timeout=120)["state"] == "success"
    [job] = imports(sandbox)[before:]
    assert airflow.xcom("deferred", run["dag_run_id"], "push")["import_ids"] == [job["id"]]


def test_a_killed_worker_does_not_push_twice(airflow, sandbox):
    """kill -9 between the asking and the end: the next try waits for the import of the first."""
    before = len(imports(sandbox))
    run = begin(airflow, "killed")
    assert airflow.wait_run("killed", run, timeout=120)["state"] == "success"
    [job] = imports(sandbox)[before:]
    assert instance(airflow, "killed", run)["try_number"] == 2
    assert airflow.xcom("killed", run, "push")["import_ids"] == [job["id"]]
    assert "Re-attaching to" in airflow.logs("killed", run, "push", try_number=2)


def test_a_recurring_push_covers_its_intervals(airflow, sandbox):
    """Each run pushes what belongs to its data interval, in order."""
    before = len(imports(sandbox))
    airflow.unpause("recurring")

    def done():
        runs = airflow.runs("recurring")
        return runs if len(runs) == 2 and all(run["state"] in ("success", "failed") for run in runs) else None

    runs = airflow.wait("two runs of recurring", done, 180)
    assert [run["state"] for run in runs] == ["success", "success"]
    assert [job["set_name"] for job in imports(sandbox)[before:]] == [
        "2026-03-02 to 2026-03-03",
        "2026-03-03 to 2026-03-04",
    ]


@pytest.mark.parametrize(
    ("listing", "words"),
    [
        ("list", "airflow-provider-sluice"),
        ("hooks", "sluice_provider.hooks.kaleidoscope.KaleidoscopeHook"),
        ("links", "sluice_provider.links.KaleidoscopeLink"),
    ],
)
def test_airflow_knows_the_provider(airflow, listing, words):
    """What the provider brings, as Airflow's own command line lists it."""
    command = [sys.executable, "-m", "airflow", "providers", listing, "--output", "json"]
    told = subprocess.run(command, env=airflow.env, capture_output=True, text=True, timeout=120, check=False)
    assert told.returncode == 0, told.stderr
    assert words in told.stdout


def test_every_record_arrived(sandbox):
    """After all of this, nothing is missing."""
    keys = {record["key"]["symbol"] for record in sandbox.state()["kaleidoscope"]["records"]}
    assert keys == {"H", "He", "Li", "Be"}
