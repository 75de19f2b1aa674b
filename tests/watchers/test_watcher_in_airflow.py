"""A watcher in a whole Airflow: no registration is lost in a burst during which the triggerer is killed."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from airflow_standalone import Standalone
from processes import Program
from tests.webhook_receiver.server import SECRET, connection

pytestmark = pytest.mark.standalone

DAGS = Path(__file__).parent / "dags"
FILES = 51


@pytest.fixture(scope="module")
def sandbox(_sluice_server):
    """One sandbox for this module."""
    _sluice_server.reset()
    return _sluice_server


@pytest.fixture(scope="module")
def airflow(sandbox):
    """One Airflow for this module. A triggerer without a heartbeat is replaced after ten seconds."""
    env = {f"AIRFLOW_CONN_{name.upper()}": connection for name, connection in sandbox.connections().items()}
    env["AIRFLOW_CONN_BY_ASSET"] = connection(
        sandbox, webhook_secret=SECRET, webhook_asset="sluice://tests/registrations"
    )
    env["SLUICE_E2E_OPERATION"] = operation(sandbox)
    env["AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD"] = "10"
    with Standalone(DAGS, env=env) as airflow:
        airflow.wait_dags()
        for dag in ("files", "drafts", "partitioned"):
            airflow.unpause(dag)
        airflow.more_triggerers = []
        yield airflow
        for program in airflow.more_triggerers:
            program.stop()


def operation(sandbox):
    """The id of the sandbox's initial operation."""
    return sandbox.state()["kaleidoscope"]["ids"]["operation_id"]


def triggerers(airflow):
    """The process ids of all its triggerers."""
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get("AIRFLOW_HOME") == str(airflow.home)
            if ours and "triggerer" in " ".join(process.cmdline()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def processed(airflow, dag_id="files"):
    """What the runs processed: file ids, and how often each event id."""
    files, ids = set(), Counter()
    for run in airflow.runs(dag_id):
        result = airflow.xcom(dag_id, run["dag_run_id"], "process") or {}
        files |= set(result.get("files", []))
        ids.update(result.get("ids", []))
    return files, ids


def start_triggerer(airflow, number):
    """Start another triggerer, which is stopped with Airflow."""
    command, log = [sys.executable, "-m", "airflow", "triggerer"], airflow.home / f"triggerer-{number}.log"
    airflow.more_triggerers.append(Program(command, log=log, env=airflow.env, cwd=airflow.home))


def count_polls(sandbox):
    """How often the list of registrations was requested."""
    return sum(each["path"].endswith("/registrations") for each in sandbox.requests())


def test_a_registration_reaches_a_run(airflow, sandbox):
    """And two watchers of one connection share one polling loop."""
    airflow.wait("the watchers to poll", lambda: count_polls(sandbox) or None)
    file_id = sandbox.register_file("one.csv", "name\nC1\n")["file_id"]
    airflow.wait("the file to reach a run", lambda: file_id in processed(airflow)[0] or None)
    sandbox.requests(clear=True)
    time.sleep(10)
    assert count_polls(sandbox) <= 11


def test_no_event_is_lost_when_the_triggerer_is_killed(airflow, sandbox):
    """SIGKILL three times, with some events stored and some not; another triggerer continues each time."""
    before, files = len(airflow.runs("files")), []
    for number, delay in enumerate((0.0, 0.7, 1.4), 2):
        for n in range(FILES // 3):
            files.append(sandbox.register_file(f"burst-{number}-{n}.csv", "name\nC1\n")["file_id"])
            time.sleep(0.1)
        time.sleep(delay)
        for pid in triggerers(airflow):
            os.kill(pid, signal.SIGKILL)
        airflow.wait("the triggerer to exit", lambda: not triggerers(airflow) or None)
        start_triggerer(airflow, number)
        sandbox.requests(clear=True)
        airflow.wait("the watchers to poll again", lambda: count_polls(sandbox) or None)
    airflow.wait("all files to reach a run", lambda: set(files) <= processed(airflow)[0] or None)
    airflow.wait("the last run to end", lambda: airflow.runs("files")[-1]["state"] == "success" or None)
    processed_files, ids = processed(airflow)
    assert len(ids) == len(processed_files) == len(files) + 1
    assert airflow.runs("drafts") == [], "a watcher of drafts does not report files"
    found = sandbox.state()["kaleidoscope"]["registrations"]
    assert {each["status"] for each in found if each["file_id"] in files} == {"completed"}
    sys.stderr.write(f"{len(airflow.runs('files')) - before} runs, {sum(ids.values()) - len(ids)} events twice\n")


def test_events_that_airflow_drops_are_repeated(airflow, sandbox):
    """Asset events that come while an earlier one waits for a free run stay queued until the next one. After the last
    of them there is no next one: the watcher reports it again, as its registration has no results."""
    before, files = len(airflow.runs("files")), []
    for number in range(8):
        files.append(sandbox.register_file(f"slow-{number}.csv", "name\nC1\n")["file_id"])
        time.sleep(1.1)
    started = time.monotonic()
    airflow.wait("all of them to reach a run", lambda: set(files) <= processed(airflow)[0] or None)
    seconds, runs = time.monotonic() - started, len(airflow.runs("files")) - before
    sys.stderr.write(f"the last one after {seconds:.0f} s, {runs} runs\n")
    airflow.wait("the last run to end", lambda: airflow.runs("files")[-1]["state"] == "success" or None)
    registrations = sandbox.state()["kaleidoscope"]["registrations"]
    assert [each["status"] for each in registrations if each["file_id"] in files] == ["completed"] * len(files)


def test_reported_events_are_in_the_state_store(airflow, sandbox):
    """Finished registrations are removed with the next report."""
    file_id = sandbox.register_file("last.csv", "name\nC1\n")["file_id"]
    airflow.wait("the last file to reach a run", lambda: file_id in processed(airflow)[0] or None)
    [asset] = airflow.get("assets", name_pattern="kaleidoscope_registrations")["assets"]
    [entry] = airflow.get(f"assets/{asset['id']}/state-store")["asset_state_store"]
    value = entry["value"] if isinstance(entry["value"], dict) else json.loads(entry["value"])
    assert entry["key"].endswith(operation(sandbox))
    assert len(value["delivered"]) == 1


def test_each_webhook_of_a_burst_has_a_run_by_a_partitioned_asset(airflow, sandbox):
    """None is merged with another or dropped, as plain asset events would be."""
    url = f"{airflow.url}/sluice/webhooks/kaleidoscope/by_asset"
    sandbox.settings(webhook_url=url, webhook_secret=SECRET, webhook_duplicates=1, webhook_retries=1000)
    files = sandbox.burst(40, 16)
    airflow.wait("all files to reach a run", lambda: set(files) <= processed(airflow, "partitioned")[0] or None, 150)
    _, ids = processed(airflow, "partitioned")
    assert set(ids.values()) == {1}
    assert len(airflow.runs("partitioned")) == len(ids) == len(files)
