"""What the tests of the receiver share: connections, deliveries, and what they created in Airflow's database."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

SECRET = "whsec_" + base64.b64encode(b"the secret of the webhook").decode()
PLAIN_SECRET = "the-secret-in-a-header"
DAGS = Path(__file__).parent / "dags"
CREATED_TABLES = (
    "asset_event",
    "asset_partition_dag_run",
    "partitioned_asset_key_log",
    "asset_dag_run_queue",
    "dag_run",
)
CLIENT = httpx.Client(timeout=30, trust_env=False)


# --- connections


def connection(sandbox, **extra):
    """The sandbox's Kaleidoscope connection with these extra fields, as JSON."""
    found = json.loads(sandbox.connections()["kaleidoscope_default"])
    found["extra"] = {**(found.get("extra") or {}), **extra}
    return json.dumps(found)


def connection_variables(sandbox):
    """Environment variables with a connection for each configuration of webhooks."""
    extras = {
        "KALEIDOSCOPE_DEFAULT": {"webhook_secret": SECRET, "webhook_dag_id": "files"},
        "PLAIN": {"webhook_secret": PLAIN_SECRET, "webhook_dag_id": "files", "webhook_format": "plain"},
        "LOWER_CASE": {"webhook_secret": SECRET, "webhook_dag_id": "files"},
        "BY_EVENT": {
            "webhook_secret": SECRET,
            "webhook_dag_id": {"registration_drafts_submitted": "drafts", "registration_submitted": "files"},
        },
        "BY_ASSET": {"webhook_secret": SECRET, "webhook_asset": "sluice://registrations"},
        "BY_PLAIN_ASSET": {"webhook_secret": SECRET, "webhook_asset": "sluice://plain"},
        "UNKNOWN_ASSET": {"webhook_secret": SECRET, "webhook_asset": "sluice://nothing"},
        "RESERVED_ASSET": {"webhook_secret": SECRET, "webhook_asset": "airflow://registrations"},
        "INVALID_ASSET": {"webhook_secret": SECRET, "webhook_asset": "s3://registr\u00e4tions/\u0000"},
        "LONG_ASSET": {"webhook_secret": SECRET, "webhook_asset": "x" * 2000},
        "UNKNOWN_DAG": {"webhook_secret": SECRET, "webhook_dag_id": "not_there"},
        "DISABLED": {},
        "SHORT_SECRET": {"webhook_secret": "short", "webhook_dag_id": "files"},
        "NO_TARGET": {"webhook_secret": SECRET},
    }
    env = {f"AIRFLOW_CONN_{name}": connection(sandbox, **extra) for name, extra in extras.items()}
    kili = {"conn_type": "kili", "password": "x", "extra": {"webhook_secret": SECRET, "webhook_dag_id": "files"}}
    env["AIRFLOW_CONN_BROKEN"] = connection(sandbox, webhook_secret=SECRET)[:-1]
    return env | {"AIRFLOW_CONN_KILI_ONE": json.dumps(kili)}


# --- deliveries


def webhook_url(server, conn_id="kaleidoscope_default"):
    """The receiver's URL for a connection."""
    return f"{server.url}/sluice/webhooks/kaleidoscope/{conn_id}"


def post(server, body, conn_id="kaleidoscope_default", headers=None, secret=SECRET, **options):
    """Deliver a body: bytes, or what becomes JSON. Without a secret it is not signed."""
    content = body if isinstance(body, bytes) else encode(body)
    proof = signed_headers(content, secret) if secret else {}
    headers = {"Content-Type": "application/json", **proof, **(headers or {})}
    return CLIENT.post(webhook_url(server, conn_id), content=content, headers=headers, **options)


def post_chunked(server, body):
    """Deliver without a Content-Length."""
    content = encode(body)
    headers = {"Content-Type": "application/json", **signed_headers(content)}
    chunks = (content[at : at + 10_000] for at in range(0, len(content), 10_000))
    return CLIENT.post(webhook_url(server), content=chunks, headers=headers)


def encode(body):
    """The bytes that `post` sends."""
    return json.dumps(body).encode()


def signed_headers(body, secret=SECRET, at=None, message_id="msg_1"):
    """Headers with a signature, made as Standard Webhooks specifies."""
    timestamp = str(int(time.time() if at is None else at))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": message_id, "webhook-timestamp": timestamp, "webhook-signature": signature}


def another_secret(text="another secret as long as that"):
    """A valid secret that is not `SECRET`."""
    return "whsec_" + base64.b64encode(text.encode()).decode()


def outcome(response):
    """What became of the event of an accepted delivery."""
    assert response.status_code == 200, response.text
    return response.json()["events"][0]["outcome"]


def concurrently(calls, max_workers=16):
    """The results of all calls, of which so many run at the same time."""
    with ThreadPoolExecutor(max_workers) as pool:
        return [each.result() for each in [pool.submit(call) for call in calls]]


# --- Kaleidoscope


def register_file(sandbox, name="plate.csv"):
    """Register a file in the sandbox; return the body of the webhook for it."""
    registration = sandbox.register_file(name, "name\nC1\n", record_ids=["r1"])["registration"]
    return {
        "event": "registration_submitted",
        "operation_id": registration["operation_id"],
        "file_id": registration["file_id"],
        "file_name": name,
        "file_url": "https://files.example.com/signed-link",
        "record_ids": ["r1"],
    }


def call_kaleidoscope(sandbox, path, body):
    """A request to the sandbox's API, as the registrar or another user sends it."""
    credentials = sandbox.state()["credentials"]["kaleidoscope"]
    with httpx.Client(base_url=f"{sandbox.url}/kaleidoscope/", trust_env=False) as http:
        grant = {"grant_type": "client_credentials", **credentials}
        token = http.post("auth/oauth/token", data=grant).json()["access_token"]
        return http.post(path, json=body, headers={"X-Kal-Authorization": f"Bearer {token}"}).raise_for_status()


def submit_results(sandbox, body):
    """The registrar reports results for a file, which finishes the registration."""
    path = f"operations/{body['operation_id']}/register/{body['file_id']}/results"
    call_kaleidoscope(sandbox, path, {"status": "success"})


def count_list_requests(sandbox):
    """How often the list of registrations was requested from the API."""
    return sum(each["path"].endswith("/registrations") for each in sandbox.requests())


# --- Airflow's database


def count_rows(server, table):
    """The number of rows in a table."""
    return server.rows(f"SELECT count(*) FROM {table}")[0][0]


def nothing_started(server):
    """Whether no run and no asset event was created."""
    return [table for table in CREATED_TABLES if count_rows(server, table)] == []


def runs(server):
    """All runs: DAG id, run id, conf."""
    found = server.rows("SELECT dag_id, run_id, conf FROM dag_run ORDER BY id")
    return [(dag_id, run_id, conf if isinstance(conf, dict) else json.loads(conf)) for dag_id, run_id, conf in found]


def wait_for(condition, seconds=30):
    """Wait until a function returns something true, and return that."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)
    return found


def wait_for_log(server, start, text):
    """The API server's log from this position, once it contains the text."""
    return wait_for(lambda: (log := server.log()[start:]) and text in log and log)
