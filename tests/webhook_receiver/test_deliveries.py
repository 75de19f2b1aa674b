"""The receiver in a real API server: webhooks from the sandbox, and deliveries that must be rejected."""

from __future__ import annotations

import json
import socket
import time

import httpx
import pytest

from tests.webhook_receiver.server import (
    PLAIN_SECRET,
    SECRET,
    another_secret,
    call_kaleidoscope,
    concurrently,
    connection,
    count_list_requests,
    encode,
    nothing_started,
    outcome,
    post,
    post_chunked,
    register_file,
    runs,
    signed_headers,
    submit_results,
    wait_for,
    wait_for_log,
    webhook_url,
)

pytestmark = pytest.mark.standalone

# --- accepted deliveries


def test_an_event_starts_a_run(server, sandbox):
    """Its conf is the event, and it is committed before the response. A duplicate starts nothing."""
    body = register_file(sandbox)
    assert outcome(post(server, body)) == "started"
    [(dag_id, run_id, conf)] = runs(server)
    assert (dag_id, run_id) == ("files", f"kaleidoscope__{conf['id']}")
    [registration] = sandbox.state()["kaleidoscope"]["registrations"]
    assert conf["registration_id"] == registration["id"]
    assert {name: conf[name] for name in ("file_id", "file_name", "record_ids")} == {
        name: body[name] for name in ("file_id", "file_name", "record_ids")
    }
    assert "signed-link" not in json.dumps(conf)
    assert outcome(post(server, body)) == "duplicate"
    assert len(runs(server)) == 1


def test_a_signed_event_starts_a_run(server, sandbox):
    """As signed by the sandbox."""
    sandbox.settings(webhook_url=webhook_url(server), webhook_secret=SECRET, webhook_duplicates=2)
    register_file(sandbox)
    wait_for(lambda: all(each["delivered"] for each in sandbox.state()["kaleidoscope"]["webhooks"]))
    assert len(sandbox.state()["kaleidoscope"]["webhooks"]) == 3
    assert len(runs(server)) == 1


def test_an_event_with_the_secret_in_a_header_starts_a_run(server, sandbox):
    """As sent by the sandbox, to a connection with the plain format."""
    url = webhook_url(server, "plain")
    sandbox.settings(webhook_url=url, webhook_secret=PLAIN_SECRET, webhook_format="plain")
    register_file(sandbox)
    wait_for(lambda: all(each["delivered"] for each in sandbox.state()["kaleidoscope"]["webhooks"]))
    assert len(runs(server)) == 1


def test_each_event_type_has_its_dag(server, sandbox):
    """An event without a DAG in the connection is accepted and starts nothing."""
    url = webhook_url(server, "by_event")
    sandbox.settings(webhook_url=url, webhook_secret=SECRET)
    register_file(sandbox)
    submitted = sandbox.stage_drafts({"name": "Aspirin"}, submit="registration")
    sandbox.stage_drafts({"name": "Caffeine"}, submit="validation")
    wait_for(lambda: all(each["delivered"] for each in sandbox.state()["kaleidoscope"]["webhooks"]))
    assert len(sandbox.state()["kaleidoscope"]["webhooks"]) == 3
    found = {dag_id: conf for dag_id, _, conf in runs(server)}
    assert sorted(dag_id for dag_id, _, _ in runs(server)) == ["drafts", "files"]
    assert found["drafts"]["event"] == "registration_drafts_submitted"
    assert found["drafts"]["submission_id"] == submitted["submission"]["id"]
    assert found["drafts"]["record_ids"] == submitted["record_ids"]
    assert (found["drafts"]["file_id"], found["drafts"]["registration_id"]) == (None, None)


def test_an_event_goes_to_a_partitioned_asset(server, sandbox):
    """Once, with the event id as the partition key."""
    body = register_file(sandbox)
    outcomes = [outcome(post(server, body, "by_asset")) for _ in range(3)]
    assert outcomes == ["started", "duplicate", "duplicate"]
    [(extra, key)] = server.rows("SELECT extra, partition_key FROM asset_event")
    extra = extra if isinstance(extra, dict) else json.loads(extra)
    assert (extra["file_id"], extra["id"]) == (body["file_id"], key)
    assert server.rows("SELECT target_dag_id, partition_key FROM asset_partition_dag_run") == [("by_asset", key)]


def test_a_finished_registration_starts_nothing(server, sandbox):
    """Even if its run was deleted; while it still waits for results, a deleted run is started again."""
    body = register_file(sandbox)
    post(server, body)
    server.rows("DELETE FROM dag_run")
    assert outcome(post(server, body)) == "started"
    server.rows("DELETE FROM dag_run")
    submit_results(sandbox, body)
    assert outcome(post(server, body)) == "finished"
    assert nothing_started(server)


def test_a_file_registered_again_is_a_new_event(server, sandbox):
    """Each registration of the same file gets a run of its own."""
    body = register_file(sandbox)
    post(server, body)
    submit_results(sandbox, body)
    call_kaleidoscope(sandbox, f"operations/{body['operation_id']}/register/{body['file_id']}", {})
    assert outcome(post(server, body)) == "started"
    assert len({conf["id"] for _, _, conf in runs(server)}) == 2


def test_concurrent_deliveries_share_requests_to_the_api(server, sandbox):
    """Those that wait during a request are served by the next one."""
    bodies = [register_file(sandbox, f"plate-{number}.csv") for number in range(12)]
    sandbox.faults([{"method": "GET", "path": "/registrations$", "times": 2, "delay": 1.0}])
    sandbox.requests(clear=True)
    responses = concurrently([lambda body=body: post(server, body) for body in bodies])
    assert [response.status_code for response in responses] == [200] * 12
    assert len(runs(server)) == 12
    assert 1 <= count_list_requests(sandbox) <= 4


def test_a_connection_from_the_database_and_its_new_secret(server, sandbox):
    """A changed secret is in force after ten seconds."""
    fields = json.loads(connection(sandbox, webhook_secret=SECRET, webhook_dag_id="files"))
    server.airflow("connections", "add", "from_database", "--conn-json", json.dumps(fields))
    body = register_file(sandbox)
    assert outcome(post(server, body, "from_database")) == "started"
    fields["extra"]["webhook_secret"] = another_secret()
    server.airflow("connections", "delete", "from_database")
    server.airflow("connections", "add", "from_database", "--conn-json", json.dumps(fields))
    wait_for(lambda: post(server, body, "from_database").status_code == 401, 12)
    assert outcome(post(server, body, "from_database", secret=another_secret())) == "duplicate"


# --- rejected deliveries


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def post_signed(server, body, **signing):
    """Deliver with a signature that differs from the right one in this."""
    return post(server, body, secret=None, headers=signed_headers(encode(body), **signing))


def post_plain(server, body, conn_id, secret):
    """Deliver with the secret itself in a header."""
    return post(server, body, conn_id, secret=None, headers={"X-Sluice-Secret": secret})


REJECTED = {
    "no signature": (401, lambda s, b: post(s, b, secret=None)),
    "signature by another secret": (401, lambda s, b: post(s, b, secret=another_secret())),
    "wrong plain secret": (401, lambda s, b: post_plain(s, b, "plain", "wrong-but-long-enough")),
    "signature of another body": (401, lambda s, b: post(s, b, secret=None, headers=signed_headers(b"{}"))),
    "an old signature": (
        401,
        lambda s, b: post_signed(s, b, at=time.time() - 3600),
    ),
    "a signature from the future": (
        401,
        lambda s, b: post_signed(s, b, at=time.time() + 3600),
    ),
    "secret instead of the required signature": (401, lambda s, b: post_plain(s, b, "kaleidoscope_default", SECRET)),
    "signature instead of the plain secret": (401, lambda s, b: post(s, b, "plain")),
    "unknown connection": (404, lambda s, b: post(s, b, "unknown")),
    "connection without a secret": (404, lambda s, b: post(s, b, "disabled")),
    "connection of another service": (404, lambda s, b: post(s, b, "kili_one")),
    "connection with too short a secret": (404, lambda s, b: post(s, b, "short_secret", secret="c2hvcnQ=")),
    "connection without DAG and asset": (404, lambda s, b: post(s, b, "no_target")),
    "invalid connection id": (404, lambda s, b: post(s, b, "no%20spaces")),
    "too long a body": (413, lambda s, b: post(s, {**b, "padding": "x" * 1_100_000})),
    "too long a body without a Content-Length": (413, lambda s, b: post_chunked(s, {**b, "padding": "x" * 1_100_000})),
    "a form as content type": (
        415,
        lambda s, b: post(s, b, headers=FORM),
    ),
    "invalid JSON": (400, lambda s, b: post(s, b"event=registration_submitted")),
    "a list": (400, lambda s, b: post(s, [b])),
    "an unknown event": (422, lambda s, b: post(s, {**b, "event": "record_deleted"})),
    "no file id": (422, lambda s, b: post(s, {**b, "file_id": None})),
    "a path as operation id": (422, lambda s, b: post(s, {**b, "operation_id": "../../workspaces"})),
    "an unknown operation": (409, lambda s, b: post(s, {**b, "operation_id": "0" * 24})),
    "an unknown file": (409, lambda s, b: post(s, {**b, "file_id": "0" * 24})),
    "drafts that were not submitted": (
        409,
        lambda s, b: post(s, {**b, "event": "registration_drafts_submitted", "submission_id": "s-1"}),
    ),
    "unknown DAG": (503, lambda s, b: post(s, b, "unknown_dag")),
    "unknown asset": (503, lambda s, b: post(s, b, "unknown_asset")),
    "asset without a partitioned DAG": (503, lambda s, b: post(s, b, "by_plain_asset")),
}


@pytest.mark.parametrize("delivery", REJECTED)
def test_a_rejected_delivery_starts_nothing(server, sandbox, delivery):
    """The log says why, without any secret; 409 and 503 say when to retry."""
    status, deliver = REJECTED[delivery]
    body, before = register_file(sandbox), len(server.log())
    sandbox.requests(clear=True)
    response = deliver(server, body)
    assert response.status_code == status
    assert nothing_started(server)
    log = wait_for_log(server, before, f"rejected with {status} ")
    for secret in (SECRET, PLAIN_SECRET, "wrong-but-long-enough", "signed-link"):
        assert secret not in log
        assert secret not in response.text
    assert ("Retry-After" in response.headers) == (status in (409, 503))
    assert count_list_requests(sandbox) == 0 or status in (409, 503), "only valid deliveries cost a request"


def test_a_disabled_connection_looks_like_an_unknown_one(server, sandbox):
    """So outsiders cannot find out which connections exist."""
    body = register_file(sandbox)
    disabled, unknown = post(server, body, "disabled"), post(server, body, "unknown")
    assert (disabled.status_code, disabled.content) == (unknown.status_code, unknown.content)
    assert {*disabled.headers} == {*unknown.headers}


def test_an_unauthenticated_sender_learns_no_reason(server, sandbox):
    """And the body is not even read."""
    body = register_file(sandbox)
    assert post(server, body, secret=None).json() == {"detail": "Unauthorized"}
    assert post(server, {**body, "padding": "x" * 1_100_000}, secret=None).status_code == 401


def test_a_file_name_with_a_path_is_reduced_to_the_name(server, sandbox):
    """The event has the last part of it."""
    body = register_file(sandbox)
    assert post(server, {**body, "file_name": "../../../etc/cron.d/evil.csv"}).status_code == 200
    [(_, _, conf)] = runs(server)
    assert conf["file_name"] == "evil.csv"


def test_a_secret_in_the_query_is_ignored(server, sandbox):
    """URLs are logged everywhere."""
    url = f"{webhook_url(server)}?secret={SECRET}"
    assert httpx.post(url, json=register_file(sandbox), trust_env=False).status_code == 401
    assert nothing_started(server)


def test_a_slow_body_times_out(server, sandbox):
    """A sender that sends a byte now and then occupies the server only for a while."""
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        path = "/sluice/webhooks/kaleidoscope/kaleidoscope_default"
        head = [
            "Host: x",
            *(f"{name}: {value}" for name, value in signed_headers(b"").items()),
            "Content-Type: application/json",
            "Content-Length: 100",
            "",
            "{",
        ]
        slow.sendall("\r\n".join([f"POST {path} HTTP/1.1", *head]).encode())
        slow.settimeout(20)
        assert slow.recv(1000).startswith(b"HTTP/1.1 408")
    assert nothing_started(server)


@pytest.mark.parametrize("fault", [{"status": 500}, {"drop": "before"}, {"status": 401}, {"status": 403}])
def test_a_failing_api_means_retry_later(server, sandbox, fault):
    """Nothing is started without confirmation, and nothing is lost: the next delivery is accepted."""
    body = register_file(sandbox)
    sandbox.faults([{"method": "GET", "path": "/registrations$", "times": 50, **fault}])
    started = time.monotonic()
    response = post(server, body)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert time.monotonic() - started < 16
    assert nothing_started(server)
    sandbox.faults([])
    assert post(server, body).status_code == 200
    assert len(runs(server)) == 1


def test_unauthenticated_requests_are_rate_limited(server, sandbox):
    """The real sender is not."""
    body, started = register_file(sandbox), time.monotonic()
    responses = concurrently([lambda: post(server, body, secret=another_secret()) for _ in range(60)])
    statuses = [response.status_code for response in responses]
    assert set(statuses) <= {401, 429}
    assert statuses.count(401) <= 20 + 5 * (time.monotonic() - started)
    assert all("Retry-After" in response.headers for response in responses if response.status_code == 429)
    assert post(server, body).status_code == 200


def test_only_post_is_allowed(server, sandbox):
    """Whether or not the connection exists."""
    for conn_id in ("kaleidoscope_default", "unknown"):
        assert httpx.get(webhook_url(server, conn_id), trust_env=False).status_code == 405
