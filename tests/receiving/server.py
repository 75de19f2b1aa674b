"""What the tests of the receiver share."""

from __future__ import annotations

import json
import time
from pathlib import Path

import httpx

SECRET = "the-secret-of-the-webhook"
DAGS = Path(__file__).parent / "dags"


def connection(sandbox, **extra):
    """The sandbox's Kaleidoscope, with these fields of a receiver."""
    found = json.loads(sandbox.connections()["kaleidoscope_default"])
    found["extra"] = {**(found.get("extra") or {}), **extra}
    return json.dumps(found)


def connections(sandbox):
    """The environment: one connection for each way of receiving."""
    extras = {
        "KALEIDOSCOPE_DEFAULT": {"webhook_secret": SECRET, "webhook_dag_id": "files"},
        "SIGNED": {"webhook_secret": SECRET, "webhook_dag_id": "files", "webhook_signing": "hmac"},
        "BY_EVENT": {
            "webhook_secret": SECRET,
            "webhook_dag_id": {"registration_drafts_submitted": "drafts", "registration_submitted": "files"},
        },
        "BY_ASSET": {"webhook_secret": SECRET, "webhook_asset": "sluice://registrations"},
        "BY_PLAIN_ASSET": {"webhook_secret": SECRET, "webhook_asset": "sluice://plain"},
        "NO_ASSET": {"webhook_secret": SECRET, "webhook_asset": "sluice://nothing"},
        "STRANGE_ASSET": {"webhook_secret": SECRET, "webhook_asset": "airflow://registrations"},
        "FOREIGN_ASSET": {"webhook_secret": SECRET, "webhook_asset": "s3://registr\u00e4tions/\u0000"},
        "EMPTY_ASSET": {"webhook_secret": SECRET, "webhook_asset": "x" * 2000},
        "NO_DAG": {"webhook_secret": SECRET, "webhook_dag_id": "not_there"},
        "OFF": {},
        "SHORT": {"webhook_secret": "short", "webhook_dag_id": "files"},
        "NOTHING": {"webhook_secret": SECRET},
    }
    env = {f"AIRFLOW_CONN_{name}": connection(sandbox, **extra) for name, extra in extras.items()}
    kili = {"conn_type": "kili", "password": "x", "extra": {"webhook_secret": SECRET, "webhook_dag_id": "files"}}
    env["AIRFLOW_CONN_BROKEN"] = connection(sandbox, webhook_secret=SECRET)[:-1]
    return env | {"AIRFLOW_CONN_KILI_ONE": json.dumps(kili)}


def table_rows(server, table):
    """How many."""
    return server.rows(f"SELECT count(*) FROM {table}")[0][0]


STARTED = ("asset_event", "asset_partition_dag_run", "partitioned_asset_key_log", "asset_dag_run_queue", "dag_run")


def nothing_started(server):
    """Whether Airflow's database is as it was."""
    return [table for table in STARTED if table_rows(server, table)] == []


def runs(server):
    """All runs there are: DAG, id, conf."""
    found = server.rows("SELECT dag_id, run_id, conf FROM dag_run ORDER BY id")
    return [(dag_id, run_id, conf if isinstance(conf, dict) else json.loads(conf)) for dag_id, run_id, conf in found]


def wait(look, seconds=20):
    """Look until there is something."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
    return seen


def ask(sandbox, path, body):
    """What the registrar's side, or the user's, asks of Kaleidoscope."""
    credentials = sandbox.state()["credentials"]["kaleidoscope"]
    with httpx.Client(base_url=f"{sandbox.url}/kaleidoscope/", trust_env=False) as http:
        grant = {"grant_type": "client_credentials", **credentials}
        token = http.post("auth/oauth/token", data=grant).json()["access_token"]
        return http.post(path, json=body, headers={"X-Kal-Authorization": f"Bearer {token}"}).raise_for_status()
