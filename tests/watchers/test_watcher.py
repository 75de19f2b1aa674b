"""A watcher in a whole Airflow: a burst of registrations, the triggerer killed in the middle, and none is lost."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from airflow_standalone import Standalone
from processes import Program
from tests.receiving.server import SECRET, connection

pytestmark = pytest.mark.standalone

DAGS = Path(__file__).parent / "dags"
FILES = 51


@pytest.fixture(scope="module")
def sandbox(_sluice_server):
    """One sandbox for all of this module."""
    _sluice_server.reset()
    return _sluice_server


@pytest.fixture(scope="module")
def airflow(sandbox):
    """One Airflow for all of this module; a triggerer that is gone is missed after ten seconds."""
    env = {f"AIRFLOW_CONN_{name.upper()}": connection for name, connection in sandbox.connections().items()}
    env["AIRFLOW_CONN_HANDED_IN"] = connection(sandbox, webhook_secret=SECRET, webhook_asset="sluice://tests/handed_in")
    env["SLUICE_E2E_OPERATION"] = operation(sandbox)
    env["AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD"] = "10"
    with Standalone(DAGS, env=env) as airflow:
        airflow.wait_dags()
        for dag in ("watched", "watched_others", "partitioned"):
            airflow.unpause(dag)
        airflow.others = []
        yield airflow
        for other in airflow.others:
            other.stop()


def operation(sandbox):
    """The operation that the sandbox starts with."""
    return sandbox.state()["kaleidoscope"]["ids"]["operation_id"]


def triggerers(airflow):
    """The processes of its triggerer, wherever they come from."""
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get("AIRFLOW_HOME") == str(airflow.home)
            if ours and "triggerer" in " ".join(process.cmdline()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def told(airflow, dag_id="watched"):
    """What the runs were told: files, and how often each identity."""
    files, ids = set(), Counter()
    for run in airflow.runs(dag_id):
        result = airflow.xcom(dag_id, run["dag_run_id"], "answer") or {}
        files |= set(result.get("files", []))
        ids.update(result.get("ids", []))
    return files, ids


def reborn(airflow, life):
    """Another triggerer, which ends with Airflow."""
    command, log = [sys.executable, "-m", "airflow", "triggerer"], airflow.home / f"triggerer-{life}.log"
    airflow.others.append(Program(command, log=log, env=airflow.env, cwd=airflow.home))


def looked(sandbox):
    """How often it was asked what is registered."""
    return sum(each["path"].endswith("/registrations") for each in sandbox.requests())


def test_a_registration_reaches_a_run(airflow, sandbox):
    """And two watchers of one connection look once."""
    airflow.wait("the watchers to look", lambda: looked(sandbox) or None, 90)
    file_id = sandbox.register_file("one.csv", "name\nC1\n")["file_id"]
    airflow.wait("the file to reach a run", lambda: file_id in told(airflow)[0] or None, 60)
    sandbox.requests(clear=True)
    time.sleep(10)
    assert looked(sandbox) <= 11


def test_none_is_lost_when_the_triggerer_dies(airflow, sandbox):
    """kill -9, thrice, while some were told and some were not; another triggerer goes on each time."""
    before, files = len(airflow.runs("watched")), []
    for life, delay in enumerate((0.0, 0.7, 1.4), 2):
        for number in range(FILES // 3):
            files.append(sandbox.register_file(f"burst-{life}-{number}.csv", "name\nC1\n")["file_id"])
            time.sleep(0.1)
        time.sleep(delay)
        for pid in triggerers(airflow):
            os.kill(pid, signal.SIGKILL)
        airflow.wait("the triggerer to be gone", lambda: not triggerers(airflow) or None, 10)
        reborn(airflow, life)
        sandbox.requests(clear=True)
        airflow.wait("the watchers to look again", lambda: looked(sandbox) or None, 90)
    airflow.wait("all files to reach a run", lambda: set(files) <= told(airflow)[0] or None, 120)
    airflow.wait("the last run to end", lambda: airflow.runs("watched")[-1]["state"] == "success" or None, 60)
    files_told, ids = told(airflow)
    assert len(ids) == len(files_told) == len(files) + 1
    assert airflow.runs("watched_others") == [], "who asks for drafts is not told of files"
    found = sandbox.state()["kaleidoscope"]["registrations"]
    assert {each["status"] for each in found if each["file_id"] in files} == {"completed"}
    sys.stderr.write(f"{len(airflow.runs('watched')) - before} runs, {sum(ids.values()) - len(ids)} told twice\n")


def test_what_airflow_leaves_lying_is_told_again(airflow, sandbox):
    """Events that come while an earlier one waits for a free run are left lying until the next one. The last of them
    has no next one: then the watcher tells of it again, as nobody has answered it."""
    before, files = len(airflow.runs("watched")), []
    for number in range(8):
        files.append(sandbox.register_file(f"slow-{number}.csv", "name\nC1\n")["file_id"])
        time.sleep(1.1)
    began = time.monotonic()
    airflow.wait("all of them to reach a run", lambda: set(files) <= told(airflow)[0] or None, 60)
    sys.stderr.write(
        f"the last one after {time.monotonic() - began:.0f} s, {len(airflow.runs('watched')) - before} runs\n"
    )
    airflow.wait("the last run to end", lambda: airflow.runs("watched")[-1]["state"] == "success" or None, 60)


def test_what_was_told_is_in_the_store(airflow, sandbox):
    """And what is over is forgotten: the next telling leaves only itself in the memory."""
    file_id = sandbox.register_file("last.csv", "name\nC1\n")["file_id"]
    airflow.wait("the last file to reach a run", lambda: file_id in told(airflow)[0] or None, 90)
    [asset] = airflow.get("assets", name_pattern="kaleidoscope_registrations")["assets"]
    [kept] = airflow.get(f"assets/{asset['id']}/state-store")["asset_state_store"]
    value = kept["value"] if isinstance(kept["value"], dict) else json.loads(kept["value"])
    assert kept["key"].endswith(operation(sandbox))
    assert len(value["told"]) == 1


def test_webhooks_of_a_burst_each_have_a_run_by_way_of_an_asset(airflow, sandbox):
    """None is joined with another, and none is left lying, as plain asset events would be."""
    url = f"{airflow.url}/sluice/webhooks/kaleidoscope/handed_in"
    sandbox.settings(webhook_url=url, webhook_secret=SECRET, webhook_duplicates=1, webhook_retries=1000)
    files = sandbox.burst(40, 16)
    airflow.wait("all files to reach a run", lambda: set(files) <= told(airflow, "partitioned")[0] or None, 150)
    _, ids = told(airflow, "partitioned")
    assert set(ids.values()) == {1}
    assert len(airflow.runs("partitioned")) == len(ids) == len(files)
