"""Pushes in a whole Airflow, with scheduler, API server and triggerer, each in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from threading import Thread

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


class Figures:
    """A StatsD server: keeps the lines that it is sent."""

    def __init__(self):
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.lines = []
        Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        while True:
            self.lines += self._socket.recv(65536).decode().splitlines()

    def of(self, *words):
        """The lines with all these words."""
        return [line for line in self.lines if all(word in line for word in words)]


@pytest.fixture(scope="module")
def figures():
    """Where Airflow's metrics go."""
    return Figures()


@pytest.fixture(scope="module")
def airflow(sandbox, figures, tmp_path_factory):
    """One Airflow for all of this module, gone afterwards."""
    data = tmp_path_factory.mktemp("data")
    (data / "elements.csv").write_text("symbol,name\nH,Hydrogen\nHe,Helium\n")
    (data / "contacts.csv").write_text("id,name\n1,Ada\n2,Ben\n3,Cy\n4,Di\n")
    (data / "2026-03-02.csv").write_text("symbol,name\nLi,Lithium\n")
    (data / "2026-03-03.csv").write_text("symbol,name\nBe,Beryllium\n")
    env = {f"AIRFLOW_CONN_{name.upper()}": connection for name, connection in sandbox.connections().items()}
    env |= {"SLUICE_E2E_DATA": str(data), "SLUICE_E2E_MARK": str(data / "died")}
    env |= {"AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6", "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1"}
    env |= {"AIRFLOW__METRICS__STATSD_ON": "True", "AIRFLOW__METRICS__STATSD_PORT": str(figures.port)}
    env |= {"AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True"}  # with tags
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


def stored(airflow, dag_id, run_id, key):
    """What is in the task state store of a push."""
    return airflow.get(f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/push/state-store/{key}")["value"]


def test_what_was_written_while_it_was_deferred(airflow):
    """The trigger wrote the statuses down, and the task that resumed took them over into its history."""
    [run] = airflow.runs("deferred")
    run_id = run["dag_run_id"]
    progress = airflow.xcom("deferred", run_id, "push", "sluice_progress")
    assert (progress["state"], progress["service_status"]) == ("succeeded", "completed")
    assert progress["history"]
    history = stored(airflow, "deferred", run_id, "sluice_record_history_0")
    statuses = [text for _, what, text in history if what == "status"]
    assert [text for _, _, text in progress["history"] if text not in statuses] == []
    assert len(statuses) == len(set(statuses))
    assert history[-1][1] == "ended"
    assert stored(airflow, "deferred", run_id, "sluice_record")["summary"]["state"] == "succeeded"
    assert stored(airflow, "deferred", run_id, "sluice_record_state") == "succeeded"


def test_the_log_is_the_story(airflow):
    """Of the job from the submission to the end, in the worker's and the triggerer's words."""
    [run] = airflow.runs("deferred")
    log = airflow.logs("deferred", run["dag_run_id"], "push")
    words = ["valid", "accepted 2 records", "kaleidoscope import", "completed, created 2", "Result: "]
    places = [log.find(word) for word in words]
    assert -1 not in places, log
    assert places == sorted(places), log
    assert log.count("completed, created 2") <= 2, log  # as the trigger saw it, and as the worker did


def test_figures_arrive(airflow, figures):
    """From the task's process and from the triggerer's, with their tags."""
    airflow.wait("the figures", lambda: figures.of("sluice.job.finished", "service=kaleidoscope") or None, 30)
    assert figures.of("sluice.job.started", "job_type=import")
    assert figures.of("sluice.job.finished", "state=succeeded")
    assert figures.of("sluice.job.duration", "|ms")
    assert figures.of("sluice.status_check")


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
    assert "Reconnecting to" in airflow.logs("killed", run, "push", try_number=2)


def batch_jobs(sandbox, name):
    """What Liquid Decisions was asked for under a name, oldest first."""
    jobs = sandbox.state()["liquid_decisions"]["jobs"]
    return [job for job in jobs if job["fields"]["jobName"].startswith(name)]


def test_a_user_ends_a_running_import(airflow, sandbox):
    """Marked as failed while its worker waits: its job is cancelled, on Airflow's word."""
    sandbox.settings(job_seconds=10_000)
    run = begin(airflow, "marked")
    airflow.wait("the import", lambda: batch_jobs(sandbox, "marked") or None, 90)
    airflow.wait("a status check", lambda: stored_ids(airflow, "marked", run) or None, 60)
    airflow.patch(f"dags/marked/dagRuns/{run}/taskInstances/push", {"new_state": "failed"})

    def cancelling():
        return batch_jobs(sandbox, "marked")[0]["status"] in ("Canceling", "Canceled") or None

    airflow.wait("the job to be cancelled", cancelling, 60)
    sandbox.settings(job_seconds=5)
    assert stored(airflow, "marked", run, "sluice_record")["summary"]["state"] == "cancelling"


def stored_ids(airflow, dag_id, run_id):
    """The ids in the record of a push, as far as it has one."""
    keys = airflow.get(f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/push/state-store")
    if "sluice_record" not in str(keys):
        return []
    return stored(airflow, dag_id, run_id, "sluice_record")["summary"].get("ids")


def test_a_platform_stops_a_worker(airflow, sandbox, tmp_path_factory):
    """SIGTERM and then SIGKILL, as when a pod is evicted: the job goes on and the next try reconnects to it."""
    sandbox.settings(job_seconds=30)
    run = begin(airflow, "stopped")
    airflow.wait("a status check", lambda: stored_ids(airflow, "stopped", run) or None, 90)
    pid = int(Path(airflow.env["SLUICE_E2E_DATA"], "pid").read_text())
    os.kill(pid, signal.SIGTERM)

    def left_alone():
        return "continues in the service" in airflow.logs("stopped", run, "push") or None

    airflow.wait("the worker to leave its job alone", left_alone, 60)
    os.kill(pid, signal.SIGKILL)
    assert airflow.wait_run("stopped", run, timeout=150)["state"] == "success"
    sandbox.settings(job_seconds=5)
    [job] = batch_jobs(sandbox, "stopped")
    assert job["status"] == "Completed"
    assert airflow.xcom("stopped", run, "push")["job_id"] == job["id"]
    assert instance(airflow, "stopped", run)["try_number"] == 2


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


def test_a_killed_triggerer_does_no_harm(airflow, sandbox):
    """kill -9 while it watches: the next one takes the trigger over, nothing is pushed twice, and nothing cancelled."""
    before = len(imports(sandbox))
    sandbox.settings(job_seconds=40)
    run = begin(airflow, "watched")
    wait_state(airflow, "watched", run, "deferred")
    for pid in airflow.pids("triggerer"):
        os.kill(pid, signal.SIGKILL)
    with airflow.another("triggerer"):
        assert airflow.wait_run("watched", run, timeout=150)["state"] == "success"
    sandbox.settings(job_seconds=5)
    [job] = imports(sandbox)[before:]
    assert airflow.xcom("watched", run, "push")["import_ids"] == [job["id"]]
    assert instance(airflow, "watched", run)["try_number"] == 1


def test_every_record_arrived(sandbox):
    """After all of this, nothing is missing."""
    keys = {record["key"]["symbol"] for record in sandbox.state()["kaleidoscope"]["records"]}
    assert keys == {"H", "He", "Li", "Be"}
