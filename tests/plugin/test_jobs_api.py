"""The Remote jobs API in a real API server: which user sees what."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from airflow_api_server import ApiServer
from seeded_jobs import add_dags, add_job, record_values, summary
from tests.plugin.restricted_auth_manager import HIDDEN_DAG, RESTRICTED_USER

pytestmark = pytest.mark.standalone

VISIBLE_DAG = "nightly_compounds"
DAGS = {HIDDEN_DAG: "finspace", VISIBLE_DAG: "kaleidoscope"}
RUN = "manual__2026-11-20T20:00:00+00:00"
AUTH = {
    "AIRFLOW__CORE__AUTH_MANAGER": "plugin.restricted_auth_manager.RestrictedAuthManager",
    "PYTHONPATH": str(Path(__file__).parent.parent),
    "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
}


def fill(session):
    """Two DAGs with jobs of different services and states, so that each has its own counts."""
    dice = random.Random(1)
    add_dags(session, [*DAGS, "without_jobs"])
    for number, (dag_id, service) in enumerate(DAGS.items()):
        for n in range(3):
            short = summary(service, "import", "failed" if number else "running", time.time() - 100 * n - 60, 30, dice)
            key = (dag_id, RUN if n == 0 else f"run_{n}", "push", -1)
            add_job(session, key, record_values(short, 5), "failed" if number else "deferred")


@pytest.fixture(scope="module")
def server():
    """Below a base path, with an auth manager that hides a DAG from a user."""
    users = {"ada": "admin", "vera": "viewer", RESTRICTED_USER: "viewer"}
    with ApiServer(fill=fill, path="/airflow", users=users, env=AUTH) as server:
        yield server


@pytest.fixture
def get(server):
    """Sends a request as a user; None is nobody."""

    def send(user, path, **query):
        with server.log_in(user) if user else server.client() as client:
            return client.get(path, params=query)

    return send


def key(dag_id):
    """The query for a task instance."""
    return {"dag_id": dag_id, "run_id": RUN, "task_id": "push"}


@pytest.mark.parametrize("path", ["sluice/api/jobs", "sluice/api/job"])
def test_a_login_is_required(get, path):
    """For the list and for a job."""
    assert get(None, path, **key(VISIBLE_DAG)).status_code == 401


def test_a_forged_token_is_rejected(server):
    """As by Airflow's own API."""
    with server.client() as client:
        response = client.get("sluice/api/jobs", headers={"Authorization": "Bearer x.y.z"})
        assert response.status_code == client.get("api/v2/dags", headers={"Authorization": "Bearer x.y.z"}).status_code
    assert response.status_code in (401, 403)


@pytest.mark.parametrize("user", ["ada", "vera"])
def test_users_who_may_read_all_dags(get, user):
    """Admins and viewers."""
    jobs = get(user, "sluice/api/jobs").raise_for_status().json()
    assert (jobs["total"], jobs["dags"]) == (6, sorted(DAGS))
    assert (jobs["counts"]["running"], jobs["counts"]["failed"]) == (3, 3)
    one = get(user, "sluice/api/job", **key(HIDDEN_DAG)).raise_for_status().json()
    assert (one["job"]["service"], len(one["history"])) == ("finspace", 9)


def test_a_user_who_may_not_read_a_dag(get):
    """Sees no row, count, name or bar of it, and cannot request it in any way."""
    for query in ({}, {"dag": HIDDEN_DAG}, {"service": "finspace"}, {"state": "running"}, {"within": "all"}):
        response = get(RESTRICTED_USER, "sluice/api/jobs", **query).raise_for_status()
        assert HIDDEN_DAG not in response.text
        assert response.json()["counts"]["running"] == 0
        assert {each["name"]: each["count"] for each in response.json()["services"]}["finspace"] == 0
    assert get(RESTRICTED_USER, "sluice/api/jobs").json()["total"] == 3
    assert get(RESTRICTED_USER, "sluice/api/jobs", dag_id=HIDDEN_DAG).status_code == 403
    assert get(RESTRICTED_USER, "sluice/api/job", **key(HIDDEN_DAG)).status_code == 403


@pytest.mark.parametrize("first", [VISIBLE_DAG, "~", ""])
def test_a_second_dag_id_in_the_query_is_no_bypass(server, first):
    """The DAG that is authorized is the one that is read."""
    with server.log_in(RESTRICTED_USER) as client:
        for pair in ((first, HIDDEN_DAG), (HIDDEN_DAG, first)):
            query = [("dag_id", each) for each in pair] + [("run_id", RUN), ("task_id", "push")]
            response = client.get("sluice/api/job", params=query)
            assert response.status_code == 403 or "finspace" not in response.text


def test_a_task_without_a_job(get):
    """Is not an error."""
    found = get("vera", "sluice/api/job", dag_id="without_jobs", run_id="r", task_id="t").raise_for_status().json()
    assert (found["job"], found["history"]) == (None, [])


@pytest.mark.parametrize(
    "query",
    [{"within": "soon"}, {"within": "-1h"}, {"page": 0}, {"page": "x"}, {"size": 100_000}, {"state": "unknown"}],
)
def test_invalid_parameters_are_explained(get, query):
    """With status 422."""
    response = get("vera", "sluice/api/jobs", **query)
    assert response.status_code == 422
    assert response.json()["detail"]


def test_filters_and_pages(get):
    """As the page requests them."""
    jobs = get("vera", "sluice/api/jobs", service="kaleidoscope", page=2, size=2, within="1h").json()
    assert (jobs["total"], len(jobs["jobs"]), jobs["page"]) == (3, 1, 2)
    assert (jobs["active"], jobs["unreadable"]) == (False, 0)


def test_cache_headers(get):
    """Jobs are never cached; scripts are revalidated, so that an upgrade takes effect."""
    assert get("vera", "sluice/api/jobs").headers["cache-control"] == "no-store"
    script = get(None, "sluice/static/jobs.js")
    assert (script.status_code, script.headers["cache-control"]) == (200, "no-cache")
    assert script.headers["content-type"].startswith(("text/javascript", "application/javascript"))


def test_static_files_need_no_login(server):
    """They are served as they are in the package, so they contain no data."""
    here = Path(__file__).parents[2] / "provider/sluice_provider/plugin/static"
    with server.client() as client:
        for path in here.iterdir():
            assert client.get(f"sluice/static/{path.name}").content == path.read_bytes()


def test_airflow_lists_the_pages(get):
    """As its own UI requests them, with URLs that work below the base path."""
    plugins = get("ada", "api/v2/plugins").raise_for_status().json()["plugins"]
    [ours] = [plugin for plugin in plugins if plugin["name"] == "sluice"]
    apps = {app["name"]: app for app in ours["react_apps"]}
    assert (apps["Remote jobs"]["destination"], apps["Remote jobs"]["category"]) == ("nav", "browse")
    assert apps["Remote job"]["destination"] == "task_instance"
    assert not any(app["bundle_url"].startswith("/") for app in apps.values())


EDITED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"host": "http://127.0.0.1:8"}, {}),
    ({}, {"proxy": "http://127.0.0.1:9"}),
    ({}, {"verify": False}),
    ({}, {"ca_bundle": "/tmp/other.pem"}),
    ({}, {"result_hosts": "*"}),
    ({}, {"iap_audience": "another"}),
    ({}, {"extra_headers": '{"Host": "elsewhere"}'}),
    ({"login": "another"}, {}),
]


@pytest.mark.parametrize(("standard", "extra"), EDITED, ids=[",".join({**one, **more}) for one, more in EDITED])
def test_a_stored_secret_stays_with_the_stored_fields(server, standard, extra):
    """With any edited field that decides where or how it is sent, the form is refused before anything is sent; it is
    tested if the secrets were typed."""
    name = f"edited_{'_'.join([*standard, *extra])}"
    stored = {"connection_id": name, "conn_type": "kaleidoscope", "host": "http://127.0.0.1:9", "login": "a"}
    kept = {"proxy_password": "a-proxy-secret", "proxy_login": "p", "connect_timeout": 5}
    with server.log_in("ada") as client:
        client.post(
            "api/v2/connections", json={**stored, "password": "a-secret", "extra": json.dumps(kept)}
        ).raise_for_status()
        masked = {**kept, "proxy_password": "***", "connect_timeout": 2, **extra}
        body = {**stored, "password": "***", "port": 0, "extra": json.dumps(masked), **standard}
        response = client.post("api/v2/connections/test", json=body)
        if response.status_code == 200:
            message = response.json()["message"]
            assert message.startswith("InvalidConnection"), message
            assert "Type again: Client secret, Proxy password" in message
        typed = {**body, "password": "typed", "extra": json.dumps({**masked, "proxy_password": "typed"})}
        found = client.post("api/v2/connections/test", json=typed).json()["message"]
        assert "Type again" not in found
        assert "a-secret" not in found + response.text
        assert "a-proxy-secret" not in found + response.text
        client.delete(f"api/v2/connections/{name}").raise_for_status()


def test_a_form_that_is_too_long_uses_no_stored_secret(server):
    """It passes through unread, so nobody knows what was typed."""
    body = {"connection_id": "long", "conn_type": "kaleidoscope", "host": "http://127.0.0.1:9", "password": "***"}
    with server.log_in("ada") as client:
        body["description"] = "x" * (1 << 21)
        message = client.post("api/v2/connections/test", json=body).json()["message"]
        assert message.startswith("InvalidConnection: the connection was not tested: its form is too long"), message


def test_a_stored_connection_without_a_port_can_be_tested(server):
    """As the list of connections requests it: with port 0 and without the password."""
    stored = {"connection_id": "ours", "conn_type": "kaleidoscope", "host": "http://127.0.0.1:9", "login": "a"}
    with server.log_in("ada") as client:
        client.post("api/v2/connections", json={**stored, "password": "a-secret"}).raise_for_status()
        stored_fields = client.get("api/v2/connections/ours").json()
        assert stored_fields["port"] is None
        body = {**stored, "password": "***", "port": 0, "schema": "", "description": "", "extra": "{}"}
        response = client.post("api/v2/connections/test", json=body)
        assert response.status_code == 200, response.text
        assert response.json()["message"].startswith("Unreachable")
        other = client.post("api/v2/connections/test", json={**body, "host": "http://127.0.0.1:8"})
        assert other.status_code == 400, "a stored password must not go to another host"
        assert "a-secret" not in json.dumps([response.json(), other.json()])
