"""Remote jobs over HTTP, from Airflow's own API server with real users: who sees what."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest

from airflow_api_server import ApiServer
from seeded_jobs import add_dags, add_job, record_values, summary
from tests.plugin.walled import HIDDEN

pytestmark = pytest.mark.standalone

OPEN = "nightly_compounds"
DAGS = {HIDDEN: "finspace", OPEN: "kaleidoscope"}
RUN = "manual__2026-11-20T20:00:00+00:00"
AUTH = {
    "AIRFLOW__CORE__AUTH_MANAGER": "plugin.walled.WalledAuthManager",
    "PYTHONPATH": str(Path(__file__).parent.parent),
    "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
}


def fill(session):
    """Two DAGs with jobs of different services, so that each shows in its own count."""
    dice = random.Random(1)
    add_dags(session, [*DAGS, "without_jobs"])
    for number, (dag_id, service) in enumerate(DAGS.items()):
        for n in range(3):
            short = summary(service, "import", "failed" if number else "running", time.time() - 100 * n - 60, 30, dice)
            key = (dag_id, RUN if n == 0 else f"run_{n}", "push", -1)
            add_job(session, key, record_values(short, 5), "failed" if number else "deferred")


@pytest.fixture(scope="module")
def server():
    """Behind a base path, with an auth manager that keeps a DAG from a user."""
    users = {"ada": "admin", "vera": "viewer", "wally": "viewer"}
    with ApiServer(fill=fill, path="/airflow", users=users, env=AUTH) as server:
        yield server


@pytest.fixture
def get(server):
    """Sends a request as a user."""

    def ask(who, path, **query):
        with server.log_in(who) if who else server.client() as client:
            return client.get(path, params=query)

    return ask


def key(dag_id):
    """One task instance."""
    return {"dag_id": dag_id, "run_id": RUN, "task_id": "push"}


@pytest.mark.parametrize("path", ["sluice/api/jobs", "sluice/api/job"])
def test_nobody_sees_nothing(get, path):
    """Without a login, and with one that is none."""
    assert get(None, path, **key(OPEN)).status_code == 401


def test_a_forged_login(server):
    """Is refused as Airflow refuses it everywhere."""
    with server.client() as client:
        reply = client.get("sluice/api/jobs", headers={"Authorization": "Bearer x.y.z"})
        assert reply.status_code == client.get("api/v2/dags", headers={"Authorization": "Bearer x.y.z"}).status_code
    assert reply.status_code in (401, 403)


@pytest.mark.parametrize("who", ["ada", "vera"])
def test_who_may_see_all(get, who):
    """Admins and viewers."""
    told = get(who, "sluice/api/jobs").raise_for_status().json()
    assert (told["total"], told["dags"]) == (6, sorted(DAGS))
    assert (told["counts"]["running"], told["counts"]["failed"]) == (3, 3)
    alone = get(who, "sluice/api/job", **key(HIDDEN)).raise_for_status().json()
    assert (alone["job"]["service"], len(alone["history"])) == ("finspace", 9)


def test_who_may_not_see_a_dag(get):
    """Learns nothing of it: no row, count, name, bar, nor by asking for it in whatever way."""
    for query in ({}, {"dag": HIDDEN}, {"service": "finspace"}, {"state": "running"}, {"within": "all"}):
        told = get("wally", "sluice/api/jobs", **query).raise_for_status()
        assert HIDDEN not in told.text
        assert told.json()["counts"]["running"] == 0
        assert {each["name"]: each["count"] for each in told.json()["services"]}["finspace"] == 0
    assert get("wally", "sluice/api/jobs").json()["total"] == 3
    assert get("wally", "sluice/api/jobs", dag_id=HIDDEN).status_code == 403
    assert get("wally", "sluice/api/job", **key(HIDDEN)).status_code == 403


@pytest.mark.parametrize("first", [OPEN, "~", ""])
def test_asking_for_two_at_once(server, first):
    """What is checked is what is read: a second dag_id in the address opens nothing."""
    with server.log_in("wally") as client:
        for pair in ((first, HIDDEN), (HIDDEN, first)):
            query = [("dag_id", each) for each in pair] + [("run_id", RUN), ("task_id", "push")]
            reply = client.get("sluice/api/job", params=query)
            assert reply.status_code == 403 or "finspace" not in reply.text


def test_a_task_without_a_job(get):
    """Is no error."""
    told = get("vera", "sluice/api/job", dag_id="without_jobs", run_id="r", task_id="t").raise_for_status().json()
    assert (told["job"], told["history"]) == (None, [])


@pytest.mark.parametrize(
    "query",
    [{"within": "soon"}, {"within": "-1h"}, {"page": 0}, {"page": "x"}, {"size": 100_000}, {"state": "happy"}],
)
def test_a_bad_question(get, query):
    """Gets an answer that says what is wrong."""
    reply = get("vera", "sluice/api/jobs", **query)
    assert reply.status_code == 422
    assert reply.json()["detail"]


def test_filters_and_pages(get):
    """As the page asks."""
    told = get("vera", "sluice/api/jobs", service="kaleidoscope", page=2, size=2, within="1h").json()
    assert (told["total"], len(told["jobs"]), told["page"]) == (3, 1, 2)
    assert (told["active"], told["truncated"], told["unreadable"]) == (False, False, 0)


def test_answers_are_not_kept(get):
    """By no browser and no proxy; scripts are asked for again after an upgrade."""
    assert get("vera", "sluice/api/jobs").headers["cache-control"] == "no-store"
    script = get(None, "sluice/static/jobs.js")
    assert (script.status_code, script.headers["cache-control"]) == (200, "no-cache")
    assert script.headers["content-type"].startswith(("text/javascript", "application/javascript"))


def test_the_pages_hold_no_data(server):
    """What is served without a login is the same whatever is in the database."""
    here = Path(__file__).parents[2] / "provider/sluice_provider/plugin/static"
    with server.client() as client:
        for path in here.iterdir():
            assert client.get(f"sluice/static/{path.name}").content == path.read_bytes()


def test_airflow_lists_the_pages(get):
    """As its own interface asks for them, with addresses that hold below the base path."""
    plugins = get("ada", "api/v2/plugins").raise_for_status().json()["plugins"]
    [ours] = [plugin for plugin in plugins if plugin["name"] == "sluice"]
    apps = {app["name"]: app for app in ours["react_apps"]}
    assert (apps["Remote jobs"]["destination"], apps["Remote jobs"]["category"]) == ("nav", "browse")
    assert apps["Remote job"]["destination"] == "task_instance"
    assert not any(app["bundle_url"].startswith("/") for app in apps.values())


def test_a_stored_connection_with_an_empty_port(server):
    """Can be tested as the list of connections asks for it: with port 0 and without the password."""
    stored = {"connection_id": "ours", "conn_type": "kaleidoscope", "host": "http://127.0.0.1:9", "login": "a"}
    with server.log_in("ada") as client:
        client.post("api/v2/connections", json={**stored, "password": "a-secret"}).raise_for_status()
        kept = client.get("api/v2/connections/ours").json()
        assert kept["port"] is None
        body = {**stored, "password": "***", "port": 0, "schema": "", "description": "", "extra": "{}"}
        reply = client.post("api/v2/connections/test", json=body)
        assert reply.status_code == 200, reply.text
        assert reply.json()["message"].startswith("Unreachable")
        other = client.post("api/v2/connections/test", json={**body, "host": "http://127.0.0.1:8"})
        assert other.status_code == 400, "a stored password must not go to another host"
        assert "a-secret" not in json.dumps([reply.json(), other.json()])
