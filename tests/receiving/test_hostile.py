"""The receiver against an outsider who knows the rules, and in an Airflow that is in trouble."""

from __future__ import annotations

import json
import socket
import time
from contextlib import contextmanager

import httpx
import pytest

from tests.receiving.server import SECRET, nothing_started, runs, wait
from tests.receiving.test_receiving import outcome, post, raw, registered, signed, together

pytestmark = [
    pytest.mark.standalone,
    pytest.mark.parametrize("server", ["sqlite", "postgresql"], indirect=True, scope="module"),
]


def database(server):
    """Its URL."""
    return server.env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]


@contextmanager
def without(server, table):
    """As if Airflow's database were broken: it does not know one of its tables."""
    server.rows(f"ALTER TABLE {table} RENAME TO {table}_gone")
    try:
        yield
    finally:
        server.rows(f"ALTER TABLE {table}_gone RENAME TO {table}")


def test_a_signature_header_of_many_parts_costs_little(server, sandbox):
    """A stranger may send a header of 60 KB and a body of 1 MB; the API server goes on with its work."""
    body = b"x" * 1_000_000
    headers = {**signed(body, secret="x" * 30), "X-Sluice-Signature": "," * 50_000}
    started = time.monotonic()
    assert post(server, body, secret=None, headers=headers).status_code == 401
    assert time.monotonic() - started < 2


def test_a_replay_under_another_spelling_starts_nothing(server, sandbox):
    """Airflow finds a connection of the environment whatever the case of its name, and no signature holds the name."""
    content = raw(registered(sandbox))
    headers = signed(content)
    assert outcome(post(server, content, "signed", secret=None, headers=headers)) == "started"
    for name in ("SIGNED", "Signed"):
        answer = post(server, content, name, secret=None, headers=headers)
        assert answer.status_code == 404 or outcome(answer) == "duplicate"
    assert len(runs(server)) == 1


def test_unknown_is_said_only_by_a_database_that_was_asked(server, sandbox):
    """When it cannot be asked, nobody knows whether there is such a connection: a sender is not to give up."""
    with without(server, "connection"):
        answer = post(server, registered(sandbox), "never_asked_before")
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    assert post(server, {}, "never_asked_before").status_code == 404


@pytest.mark.parametrize("conn_id", ["kaleidoscope_default", "by_asset"])
@pytest.mark.parametrize("table", ["dag", "dag_run", "asset", "asset_event"])
def test_a_broken_database_means_come_back(server, sandbox, conn_id, table):
    """And nothing is half done."""
    body = registered(sandbox)
    with without(server, table):
        answer = post(server, body, conn_id)
    assert answer.status_code in ((503,) if ("asset" in table) == ("asset" in conn_id) else (200, 503))
    if answer.status_code == 503:
        assert nothing_started(server)
        assert int(answer.headers["Retry-After"]) > 0
        assert outcome(post(server, body, conn_id)) == "started"


def test_an_error_at_commit_means_come_back(server, sandbox):
    """The last moment at which anything can go wrong."""
    if "postgres" not in database(server):
        pytest.skip("only PostgreSQL has triggers that fire at commit")
    server.rows("CREATE FUNCTION no() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'no'; END $$ LANGUAGE plpgsql")
    for table in ("dag_run", "asset_event"):
        server.rows(
            f"CREATE CONSTRAINT TRIGGER no_{table} AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION no()"
        )
    body = registered(sandbox)
    try:
        statuses = [post(server, body, conn_id).status_code for conn_id in ("kaleidoscope_default", "by_asset")]
    finally:
        server.rows("DROP FUNCTION no() CASCADE")
    assert statuses == [503, 503]
    assert nothing_started(server)
    assert outcome(post(server, body)) == "started"


NONSENSE = {
    "a number for records": [{"id": "s-1", "submission_type": "registration", "submitted_record_ids": 5}],
    "a NUL in a record": [{"id": "s-1", "submission_type": "registration", "submitted_record_ids": ["a\x00b"]}],
    "half a character": [{"id": "s-1", "submission_type": "registration", "submitted_record_ids": ["\ud800"]}],
    "texts": ["s-1"],
    "an object": {"s-1": {}},
    "a list for a status": [{"id": "s-1", "submission_type": "registration", "status": []}],
}


@pytest.mark.parametrize("what", NONSENSE)
def test_an_api_that_answers_nonsense_is_no_end(server, sandbox, what):
    """It was not to be foreseen, and still is answered, with a line in the log."""
    body = {"event": "registration_drafts_submitted", "operation_id": "op-1", "submission_id": "s-1"}
    fault = {
        "method": "GET",
        "path": "/registration_submissions$",
        "status": 200,
        "body": json.dumps(NONSENSE[what]),
        "times": 9,
    }
    sandbox.faults([fault])
    before = len(server.log())
    answer = post(server, body)
    assert answer.status_code in (200, 503)
    log = wait(lambda: (text := server.log()[before:]) and "Webhook for" in text and text)
    assert f" {answer.status_code}, " in log
    if answer.status_code == 503:
        assert nothing_started(server)


def test_what_the_api_says_is_told_in_one_line(server, sandbox):
    """It may hold line breaks, the orders of a terminal, and halves of characters."""
    body, before = registered(sandbox), len(server.log())
    words = '{"message": "no \\ud800 \\u001b[31m way\\n2026-11-20 forged"}'
    sandbox.faults([{"method": "GET", "path": "/registrations$", "status": 403, "body": words}])
    answer = post(server, body)
    assert answer.status_code == 503
    assert r"no \ud800 \x1b[31m way 2026-11-20 forged" in answer.json()["status"]
    log = wait(lambda: (text := server.log()[before:]) and "Webhook for" in text and text)
    assert r"no \ud800 \x1b[31m way 2026-11-20 forged" in log


@pytest.mark.parametrize("content", [b"[" * 100_000, b"{}", b"[7]"])
def test_an_answer_of_the_api_that_is_none_means_come_back(server, sandbox, content):
    """However deep it is."""
    body = registered(sandbox)
    fault = {"method": "GET", "path": "/registrations$", "status": 200, "body": content.decode(), "times": 9}
    sandbox.faults([fault])
    answer = post(server, body)
    assert (answer.status_code, "UnexpectedResponse" in answer.text) == (503, True)


def test_a_connection_that_cannot_be_read_is_told_of(server, sandbox):
    """As such, and without anything of it."""
    before = len(server.log())
    answer = post(server, registered(sandbox), "broken")
    assert answer.status_code == 503
    log = wait(lambda: (text := server.log()[before:]) and "could not be looked up" in text and text)
    assert SECRET not in log + answer.text


def test_a_slash_at_the_end_is_no_redirect(server, sandbox):
    """A sender that follows one would send the secret wherever it leads."""
    assert outcome(post(server, registered(sandbox), "kaleidoscope_default/")) == "started"


def test_a_database_that_is_held_up_keeps_nobody_waiting(server, sandbox):
    """What was asked of it is done when it goes on, and once."""
    from sqlalchemy import create_engine, text

    body = registered(sandbox)
    post(server, {})  # so that the connection is known
    engine = create_engine(database(server))
    hold = "LOCK TABLE dag_run IN ACCESS EXCLUSIVE MODE" if "postgres" in database(server) else "BEGIN EXCLUSIVE"
    with engine.connect() as connection:
        connection.execute(text(hold))
        started = time.monotonic()
        answers = together([lambda: post(server, body) for _ in range(12)])
        waited = time.monotonic() - started
        connection.rollback()
    engine.dispose()
    assert {answer.status_code for answer in answers} == {503}
    assert all(answer.headers["Retry-After"] for answer in answers)
    assert waited < 25
    wait(lambda: post(server, body).status_code == 200)
    assert len(runs(server)) == 1


@pytest.mark.parametrize("conn_id", ["strange_asset", "foreign_asset", "empty_asset"])
def test_an_asset_that_cannot_be_means_come_back(server, sandbox, conn_id):
    """Airflow refuses some URIs."""
    assert post(server, registered(sandbox), conn_id).status_code == 503


def test_a_sender_who_hangs_up_leaves_one_line(server, sandbox):
    """A stranger, too, may do so as often as they like."""
    before = len(server.log())
    head = signed(b"", secret="x" * 30)
    lines = [f"{name}: {value}" for name, value in head.items()]
    path = "/sluice/webhooks/kaleidoscope/signed"
    text = "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", *lines, "Content-Length: 100", "", "{"])
    with socket.create_connection(("127.0.0.1", server.port)) as sender:
        sender.sendall(text.encode())
        time.sleep(0.3)
    wait(lambda: "Webhook for 'signed'" in server.log()[before:])
    assert "Traceback" not in server.log()[before:]
    assert "ClientDisconnect" not in server.log()[before:]


def test_names_tried_in_vain_do_not_fill_the_log(server, sandbox):
    """Those who try many names are answered, and no more than so many a second are noted."""
    before = len(server.log())
    answers = together([lambda number=number: post(server, {}, f"name-{number}") for number in range(200)])
    assert {answer.status_code for answer in answers} <= {404, 429}
    time.sleep(0.3)
    assert server.log()[before:].count("Webhook for") < 150
    assert outcome(post(server, registered(sandbox))) == "started"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"])
def test_no_other_method_does_anything(server, sandbox, method):
    """Not even with the secret."""
    url = f"{server.url}/sluice/webhooks/kaleidoscope/kaleidoscope_default"
    headers = {"X-Sluice-Secret": SECRET, "Content-Type": "application/json", "Origin": "https://evil.example"}
    answer = httpx.request(method, url, content=raw(registered(sandbox)), headers=headers, trust_env=False)
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert nothing_started(server)


def test_two_secrets_are_not_better_than_one(server, sandbox):
    """Whoever repeats a header must have it right."""
    url = f"{server.url}/sluice/webhooks/kaleidoscope/kaleidoscope_default"
    content = json.dumps(registered(sandbox)).encode()
    for pair in (("wrong-but-long-enough", "another-wrong-one-too"), ("", "")):
        headers = [("X-Sluice-Secret", each) for each in pair] + [("Content-Type", "application/json")]
        assert httpx.post(url, content=content, headers=headers, trust_env=False).status_code in (401, 429)
    assert nothing_started(server)
