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

JOB_SECONDS = 15
"""Longer than a worker waits before it defers."""


@pytest.fixture(scope="module")
def sandbox(_sluice_server):
    """One sandbox for all of this module; its jobs take a few seconds."""
    _sluice_server.reset()
    _sluice_server.settings(job_seconds=JOB_SECONDS)
    return _sluice_server


class StatsD:
    """A StatsD server that keeps all lines."""

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
def statsd():
    """Where Airflow's metrics go."""
    return StatsD()


@pytest.fixture(scope="module")
def airflow(sandbox, statsd, tmp_path_factory):
    """One Airflow for all of this module, gone afterwards."""
    data = tmp_path_factory.mktemp("data")
    (data / "elements.csv").write_text("symbol,name\nH,Hydrogen\nHe,Helium\n")
    (data / "contacts.csv").write_text("id,name\n1,Ada\n2,Ben\n3,Cy\n4,Di\n")
    (data / "2026-03-02.csv").write_text("symbol,name\nLi,Lithium\n")
    (data / "2026-03-03.csv").write_text("symbol,name\nBe,Beryllium\n")
    env = {f"AIRFLOW_CONN_{name.upper()}": connection for name, connection in sandbox.connections().items()}
    env |= {"SLUICE_E2E_DATA": str(data), "SLUICE_E2E_MARK": str(data / "died")}
    env |= {"AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6", "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1"}
    env |= {"AIRFLOW__METRICS__STATSD_ON": "True", "AIRFLOW__METRICS__STATSD_PORT": str(statsd.port)}
    env |= {"AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True"}  # with tags
    with Standalone(DAGS, env=env) as airflow:
        airflow.wait_dags()
        yield airflow


def imports(sandbox):
    """The imports of the sandbox's Kaleidoscope, oldest first."""
    return sandbox.state()["kaleidoscope"]["imports"]


def instance(airflow, dag_id, run_id, task_id="push"):
    """One task of a run."""
    return next(each for each in airflow.task_instances(dag_id, run_id) if each["task_id"] == task_id)


def wait_state(airflow, dag_id, run_id, *states):
    """Wait until the push of a run is in one of these states."""

    def in_state():
        found = instance(airflow, dag_id, run_id)
        return found if found["state"] in states else None

    return airflow.wait(f"the push of {dag_id} to be {' or '.join(states)}", in_state)


def begin(airflow, dag_id):
    """Let a DAG run once."""
    airflow.unpause(dag_id)
    return airflow.trigger(dag_id)


def test_a_user_ends_a_deferred_push(airflow, sandbox):
    """Marked as failed: the trigger is cancelled, and its log says that Kaleidoscope cannot cancel the import."""
    sandbox.settings(job_seconds=10_000)
    run = begin(airflow, "ended")
    wait_state(airflow, "ended", run, "deferred")
    sandbox.settings(job_seconds=JOB_SECONDS)
    [job] = imports(sandbox)

    def status_checks():
        return sum(each["path"].endswith(job["id"]) for each in sandbox.requests())

    of_the_worker = status_checks()
    airflow.wait("a status check of the trigger", lambda: status_checks() > of_the_worker or None)
    airflow.patch(f"dags/ended/dagRuns/{run}/taskInstances/push", {"new_state": "failed"})

    def logged():
        logs = [path.read_text(errors="replace") for path in (airflow.home / "logs").rglob("*.log*") if path.is_file()]
        return any("cannot cancel" in text and job["id"] in text for text in logs) or None

    airflow.wait("the log to say that the import cannot be cancelled", logged)
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
    assert airflow.wait_run("deferred", run)["state"] == "success"
    result = airflow.xcom("deferred", run, "push")
    assert (result["import_ids"], result["pushed"]) == ([job["id"]], 2)
    assert airflow.xcom("deferred", run, "wait")["ids"] == [job["id"]]


def stored(airflow, dag_id, run_id, key):
    """What is in the task state store of a push."""
    return airflow.get(f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/push/state-store/{key}")["value"]


def test_statuses_of_the_trigger_are_in_the_history(airflow):
    """The trigger published them, and the resumed task added them to the history of its record."""
    [run] = airflow.runs("deferred")
    run_id = run["dag_run_id"]
    line, progress = airflow.xcom("deferred", run_id, "push", "sluice_progress")
    assert line.split()[2:] == ["succeeded", "kaleidoscope"]
    assert (progress["state"], progress["service_status"]) == ("succeeded", "completed")
    assert progress["history"]
    history = stored(airflow, "deferred", run_id, "sluice_record_history_0")
    statuses = [text for _, what, text in history if what == "status"]
    assert [text for _, _, text in progress["history"] if text not in statuses] == []
    assert len(statuses) == len(set(statuses))
    assert history[-1][1] == "ended"
    assert stored(airflow, "deferred", run_id, "sluice_record")["summary"]["state"] == "succeeded"
    assert stored(airflow, "deferred", run_id, "sluice_record_state").split()[2:] == ["succeeded", "kaleidoscope"]


def test_the_log_shows_the_whole_job(airflow):
    """From the submission to the end, with the lines of the worker and of the triggerer."""
    [run] = airflow.runs("deferred")
    log = airflow.logs("deferred", run["dag_run_id"], "push")
    words = ["valid", "accepted 2 rows in 1 request", "Kaleidoscope import", "completed, created 2", "Result: "]
    places = [log.find(word) for word in words]
    assert -1 not in places, log
    assert places == sorted(places), log
    assert log.count("completed, created 2") <= 2, log  # as the trigger saw it, and as the worker did


def test_metrics_arrive(airflow, statsd):
    """From the task's process and from the triggerer's, with their tags."""
    airflow.wait("the metrics", lambda: statsd.of("sluice.job.finished", "service=kaleidoscope") or None)
    assert statsd.of("sluice.job.started", "job_type=import")
    assert statsd.of("sluice.job.finished", "state=succeeded")
    assert statsd.of("sluice.job.duration", "|ms")
    assert statsd.of("sluice.status_check")


def test_a_cleared_push_pushes_again(airflow, sandbox):
    """A succeeded task that a user clears submits a new import."""
    [run] = airflow.runs("deferred")
    before = len(imports(sandbox))
    airflow.clear("deferred", run["dag_run_id"], ["push"])
    assert airflow.wait_run("deferred", run["dag_run_id"])["state"] == "success"
    [job] = imports(sandbox)[before:]
    assert airflow.xcom("deferred", run["dag_run_id"], "push")["import_ids"] == [job["id"]]


def test_a_killed_worker_does_not_push_twice(airflow, sandbox):
    """kill -9 between submission and end: the next try reconnects to the import of the first."""
    before = len(imports(sandbox))
    run = begin(airflow, "killed")
    assert airflow.wait_run("killed", run)["state"] == "success"
    [job] = imports(sandbox)[before:]
    assert instance(airflow, "killed", run)["try_number"] == 2
    assert airflow.xcom("killed", run, "push")["import_ids"] == [job["id"]]
    assert "Reconnecting to" in airflow.logs("killed", run, "push", try_number=2)


def batch_jobs(sandbox, name):
    """The jobs of Liquid Decisions with this name prefix, oldest first."""
    jobs = sandbox.state()["liquid_decisions"]["jobs"]
    return [job for job in jobs if job["fields"]["jobName"].startswith(name)]


def test_a_user_ends_a_running_import(airflow, sandbox):
    """Marked as failed while its worker waits: Airflow confirms that a user did it, and the job is cancelled."""
    sandbox.settings(job_seconds=10_000)
    run = begin(airflow, "marked")
    airflow.wait("the import", lambda: batch_jobs(sandbox, "marked") or None)
    airflow.wait("a status check", lambda: stored_ids(airflow, "marked", run) or None)
    airflow.patch(f"dags/marked/dagRuns/{run}/taskInstances/push", {"new_state": "failed"})

    def cancelling():
        return batch_jobs(sandbox, "marked")[0]["status"] in ("Canceling", "Canceled") or None

    airflow.wait("the job to be cancelled", cancelling)
    sandbox.settings(job_seconds=JOB_SECONDS)
    assert stored(airflow, "marked", run, "sluice_record")["summary"]["state"] == "cancelling"


def stored_ids(airflow, dag_id, run_id):
    """The ids in the record of a push, as far as it has one."""
    keys = airflow.get(f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/push/state-store")
    if "sluice_record" not in str(keys):
        return []
    return stored(airflow, dag_id, run_id, "sluice_record")["summary"].get("ids")


def test_a_worker_stopped_by_the_platform_leaves_its_job_running(airflow, sandbox, tmp_path_factory):
    """SIGTERM and then SIGKILL, as when a pod is evicted: the job goes on and the next try reconnects to it."""
    sandbox.settings(job_seconds=30)
    run = begin(airflow, "stopped")
    airflow.wait("a status check", lambda: stored_ids(airflow, "stopped", run) or None)
    pid = int(Path(airflow.env["SLUICE_E2E_DATA"], "pid").read_text())
    os.kill(pid, signal.SIGTERM)

    def left_alone():
        return "continues in Liquid Decisions" in airflow.logs("stopped", run, "push") or None

    airflow.wait("the log to say that the job goes on", left_alone)
    os.kill(pid, signal.SIGKILL)
    assert airflow.wait_run("stopped", run)["state"] == "success"
    sandbox.settings(job_seconds=JOB_SECONDS)
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

    runs = airflow.wait("two runs of recurring", done)
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
def test_airflow_lists_the_provider(airflow, listing, words):
    """Airflow's command line shows the provider, its hooks and links."""
    command = [sys.executable, "-m", "airflow", "providers", listing, "--output", "json"]
    done = subprocess.run(command, env=airflow.env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert words in done.stdout


def test_another_triggerer_takes_over_after_kill(airflow, sandbox):
    """kill -9 during the wait: another triggerer runs the trigger; nothing is pushed twice, nothing cancelled."""
    before = len(imports(sandbox))
    sandbox.settings(job_seconds=40)
    run = begin(airflow, "watched")
    wait_state(airflow, "watched", run, "deferred")
    for pid in airflow.pids("triggerer"):
        os.kill(pid, signal.SIGKILL)
    with airflow.another("triggerer"):
        assert airflow.wait_run("watched", run)["state"] == "success"
    sandbox.settings(job_seconds=JOB_SECONDS)
    [job] = imports(sandbox)[before:]
    assert airflow.xcom("watched", run, "push")["import_ids"] == [job["id"]]
    assert instance(airflow, "watched", run)["try_number"] == 1


def test_every_record_arrived(sandbox):
    """Those of all runs above are in Kaleidoscope."""
    keys = {record["key"]["symbol"] for record in sandbox.state()["kaleidoscope"]["records"]}
    assert keys == {"H", "He", "Li", "Be"}
