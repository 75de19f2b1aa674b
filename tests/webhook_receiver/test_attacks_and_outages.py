"""The receiver against informed attackers, and while Airflow or Kaleidoscope fails."""

from __future__ import annotations

import json
import socket
import time
from contextlib import contextmanager

import httpx
import pytest

from tests.webhook_receiver.server import (
    SECRET,
    another_secret,
    concurrently,
    encode,
    nothing_started,
    outcome,
    post,
    register_file,
    runs,
    signed_headers,
    wait_for,
    wait_for_log,
    webhook_url,
)

pytestmark = [
    pytest.mark.standalone,
    pytest.mark.parametrize("server", ["sqlite", "postgresql"], indirect=True, scope="module"),
]


def database_url(server):
    """Its URL."""
    return server.env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]


@contextmanager
def missing_table(server, table):
    """Airflow's database lacks this table meanwhile."""
    server.rows(f"ALTER TABLE {table} RENAME TO {table}_gone")
    try:
        yield
    finally:
        server.rows(f"ALTER TABLE {table}_gone RENAME TO {table}")


def test_a_header_with_many_signatures_is_cheap(server, sandbox):
    """Of 60 KB, with a body of 1 MB, from an unauthenticated sender."""
    body = b"x" * 1_000_000
    headers = {**signed_headers(body, another_secret()), "webhook-signature": "v1,x " * 10_000 + "v1,x"}
    started = time.monotonic()
    assert post(server, body, secret=None, headers=headers).status_code == 401
    assert time.monotonic() - started < 2


def test_a_replay_to_another_spelling_of_the_connection_starts_nothing(server, sandbox):
    """Airflow finds a connection from the environment in any case, and a signature does not cover its id."""
    content = encode(register_file(sandbox))
    headers = signed_headers(content)
    assert outcome(post(server, content, "lower_case", secret=None, headers=headers)) == "started"
    for name in ("LOWER_CASE", "Lower_Case"):
        response = post(server, content, name, secret=None, headers=headers)
        assert response.status_code == 404 or outcome(response) == "duplicate"
    assert len(runs(server)) == 1


def test_not_found_requires_a_working_database(server, sandbox):
    """If it fails, the connection may exist, so the sender must retry."""
    with missing_table(server, "connection"):
        response = post(server, register_file(sandbox), "unknown")
    assert (response.status_code, "Retry-After" in response.headers) == (503, True)
    assert post(server, {}, "unknown").status_code == 404


@pytest.mark.parametrize("conn_id", ["kaleidoscope_default", "by_asset"])
@pytest.mark.parametrize("table", ["dag", "dag_run", "asset", "asset_event"])
def test_a_failing_database_means_retry_later(server, sandbox, conn_id, table):
    """And nothing is done by half."""
    body = register_file(sandbox)
    with missing_table(server, table):
        response = post(server, body, conn_id)
    assert response.status_code in ((503,) if ("asset" in table) == ("asset" in conn_id) else (200, 503))
    if response.status_code == 503:
        assert nothing_started(server)
        assert int(response.headers["Retry-After"]) > 0
        assert outcome(post(server, body, conn_id)) == "started"


def test_an_error_at_commit_means_retry_later(server, sandbox):
    """The last moment at which anything can fail."""
    if "postgres" not in database_url(server):
        pytest.skip("only PostgreSQL has triggers that fire at commit")
    server.rows("CREATE FUNCTION no() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'no'; END $$ LANGUAGE plpgsql")
    for table in ("dag_run", "asset_event"):
        server.rows(
            f"CREATE CONSTRAINT TRIGGER no_{table} AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION no()"
        )
    body = register_file(sandbox)
    try:
        statuses = [post(server, body, conn_id).status_code for conn_id in ("kaleidoscope_default", "by_asset")]
    finally:
        server.rows("DROP FUNCTION no() CASCADE")
    assert statuses == [503, 503]
    assert nothing_started(server)
    assert outcome(post(server, body)) == "started"


MALFORMED = {
    "a number as records": [{"id": "s-1", "submission_type": "registration", "submitted_record_ids": 5}],
    "a NUL in a record": [{"id": "s-1", "submission_type": "registration", "submitted_record_ids": ["a\x00b"]}],
    "half of a surrogate pair": [{"id": "s-1", "submission_type": "registration", "submitted_record_ids": ["\ud800"]}],
    "strings": ["s-1"],
    "an object": {"s-1": {}},
    "a list as status": [{"id": "s-1", "submission_type": "registration", "status": []}],
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_response_of_the_api_is_handled(server, sandbox, what):
    """There is a response, and a line in the log."""
    body = {"event": "registration_drafts_submitted", "operation_id": "op-1", "submission_id": "s-1"}
    fault = {
        "method": "GET",
        "path": "/registration_submissions$",
        "status": 200,
        "body": json.dumps(MALFORMED[what]),
        "times": 9,
    }
    sandbox.faults([fault])
    before = len(server.log())
    response = post(server, body)
    assert response.status_code in (200, 503)
    log = wait_for_log(server, before, "for connection")
    assert f" with {response.status_code} " in log
    if response.status_code == 503:
        assert nothing_started(server)


def test_error_messages_of_the_api_are_escaped(server, sandbox):
    """Line breaks, escape sequences and invalid characters cannot forge a line in the log."""
    body, before = register_file(sandbox), len(server.log())
    words = '{"message": "no \\ud800 \\u001b[31m way\\n2026-11-20 forged"}'
    sandbox.faults([{"method": "GET", "path": "/registrations$", "status": 403, "body": words}])
    response = post(server, body)
    assert response.status_code == 503
    assert r" \x1b[31m way 2026-11-20 forged" in response.json()["detail"]
    log = wait_for_log(server, before, "for connection")
    assert r" \x1b[31m way 2026-11-20 forged" in log
    assert "\n2026-11-20 forged" not in log


@pytest.mark.parametrize("content", [b"[" * 100_000, b"{}", b"[7]"])
def test_an_invalid_response_of_the_api_means_retry_later(server, sandbox, content):
    """However deeply nested it is."""
    body = register_file(sandbox)
    fault = {"method": "GET", "path": "/registrations$", "status": 200, "body": content.decode(), "times": 9}
    sandbox.faults([fault])
    response = post(server, body)
    assert (response.status_code, "UnexpectedResponse" in response.text) == (503, True)


def test_an_unreadable_connection_is_logged(server, sandbox):
    """Without any of its content."""
    before = len(server.log())
    response = post(server, register_file(sandbox), "broken")
    assert response.status_code == 503
    log = wait_for_log(server, before, "the connection could not be loaded")
    assert SECRET not in log + response.text


def test_a_trailing_slash_is_no_redirect(server, sandbox):
    """A sender that follows one would send the secret wherever it leads."""
    assert outcome(post(server, register_file(sandbox), "kaleidoscope_default/")) == "started"


def test_a_locked_database_means_retry_later(server, sandbox):
    """Soon; when it is unlocked, there is one run."""
    from sqlalchemy import create_engine, text

    body = register_file(sandbox)
    post(server, {})  # so that the connection is cached
    engine = create_engine(database_url(server))
    lock = "LOCK TABLE dag_run IN ACCESS EXCLUSIVE MODE" if "postgres" in database_url(server) else "BEGIN EXCLUSIVE"
    with engine.connect() as connection:
        connection.execute(text(lock))
        started = time.monotonic()
        responses = concurrently([lambda: post(server, body) for _ in range(12)])
        waited = time.monotonic() - started
        connection.rollback()
    engine.dispose()
    assert {response.status_code for response in responses} == {503}
    assert all(response.headers["Retry-After"] for response in responses)
    assert waited < 25
    wait_for(lambda: post(server, body).status_code == 200)
    assert len(runs(server)) == 1


@pytest.mark.parametrize("conn_id", ["reserved_asset", "invalid_asset", "long_asset"])
def test_an_invalid_asset_means_retry_later(server, sandbox, conn_id):
    """Airflow rejects some URIs."""
    assert post(server, register_file(sandbox), conn_id).status_code == 503


def test_a_disconnect_is_one_line_in_the_log(server, sandbox):
    """Not a traceback: an unauthenticated sender can cause it at will."""
    before = len(server.log())
    headers = signed_headers(b"", another_secret())
    lines = [f"{name}: {value}" for name, value in headers.items()]
    path = "/sluice/webhooks/kaleidoscope/kaleidoscope_default"
    text = "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", *lines, "Content-Length: 100", "", "{"])
    with socket.create_connection(("127.0.0.1", server.port)) as sender:
        sender.sendall(text.encode())
        time.sleep(0.3)
    wait_for(lambda: "Webhook 'msg_1' for connection 'kaleidoscope_default'" in server.log()[before:])
    assert "Traceback" not in server.log()[before:]
    assert "ClientDisconnect" not in server.log()[before:]


def test_guessing_connection_ids_does_not_flood_the_log(server, sandbox):
    """Only a limited number a second is logged."""
    before = len(server.log())
    responses = concurrently([lambda number=number: post(server, {}, f"name-{number}") for number in range(200)])
    assert {response.status_code for response in responses} <= {404, 429}
    time.sleep(0.3)
    assert server.log()[before:].count("for connection") < 150
    assert outcome(post(server, register_file(sandbox))) == "started"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"])
def test_other_methods_are_rejected(server, sandbox, method):
    """Even with the secret."""
    url = webhook_url(server)
    content = encode(register_file(sandbox))
    headers = {**signed_headers(content), "Content-Type": "application/json", "Origin": "https://evil.example"}
    response = httpx.request(method, url, content=content, headers=headers, trust_env=False)
    assert response.status_code == 405
    assert not [name for name in response.headers if name.startswith("access-control")]
    assert nothing_started(server)


def test_repeated_secret_headers_are_rejected(server, sandbox):
    """None of them is right."""
    url = webhook_url(server, "plain")
    content = encode(register_file(sandbox))
    for pair in (("wrong-but-long-enough", "another-wrong-one-too"), ("", "")):
        headers = [("X-Sluice-Secret", each) for each in pair] + [("Content-Type", "application/json")]
        assert httpx.post(url, content=content, headers=headers, trust_env=False).status_code in (401, 429)
    assert nothing_started(server)
