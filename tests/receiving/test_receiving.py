"""The receiver in a real API server, with real webhooks from the sandbox, and with what nobody should send."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import time

import httpx
import pytest

from tests.receiving.server import SECRET, ask, connection, nothing_started, runs, wait

pytestmark = pytest.mark.standalone

CLIENT = httpx.Client(timeout=30, trust_env=False)


def post(server, body, conn_id="kaleidoscope_default", headers=None, secret=SECRET, **more):
    """Deliver something."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **({"X-Sluice-Secret": secret} if secret else {}), **(headers or {})}
    url = f"{server.url}/sluice/webhooks/kaleidoscope/{conn_id}"
    return CLIENT.post(url, content=content, headers=headers, **more)


def outcome(answer):
    """What became of a delivery that was taken."""
    assert answer.status_code == 200, answer.text
    return answer.json()["events"][0]["outcome"]


def signed(body, secret=SECRET, at=None):
    """Headers with a signature, made as the documentation says."""
    timestamp = str(int(time.time() if at is None else at))
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"X-Sluice-Timestamp": timestamp, "X-Sluice-Signature": f"v1={digest}"}


def registered(sandbox, name="plate.csv"):
    """A file is registered, and the body of the webhook that tells of it."""
    registration = sandbox.register_file(name, "name\nC1\n", record_ids=["r1"])["registration"]
    return {
        "event": "registration_submitted",
        "operation_id": registration["operation_id"],
        "file_id": registration["file_id"],
        "file_name": name,
        "file_url": "https://files.example.com/let-me-in",
        "record_ids": ["r1"],
    }


def finish(sandbox, body):
    """The registrar has sent results."""
    ask(sandbox, f"operations/{body['operation_id']}/register/{body['file_id']}/results", {"status": "success"})


def looks(sandbox):
    """How often the API was asked what is registered."""
    return sum(each["path"].endswith("/registrations") for each in sandbox.requests())


# --- what is taken


def test_an_event_starts_a_run(server, sandbox):
    """Its conf is the event; the run is committed when the answer comes; a redelivery starts nothing."""
    body = registered(sandbox)
    assert outcome(post(server, body)) == "started"
    [(dag_id, run_id, conf)] = runs(server)
    assert (dag_id, run_id) == ("files", f"kaleidoscope__{conf['id']}")
    [registration] = sandbox.state()["kaleidoscope"]["registrations"]
    assert conf["registration_id"] == registration["id"]
    assert {name: conf[name] for name in ("file_id", "file_name", "record_ids")} == {
        name: body[name] for name in ("file_id", "file_name", "record_ids")
    }
    assert "let-me-in" not in json.dumps(conf)
    assert outcome(post(server, body)) == "duplicate"
    assert len(runs(server)) == 1


def test_a_signed_event_starts_a_run(server, sandbox):
    """As the sandbox signs, by itself."""
    url = f"{server.url}/sluice/webhooks/kaleidoscope/signed"
    sandbox.settings(webhook_url=url, webhook_secret=SECRET, webhook_signing="hmac", webhook_duplicates=2)
    registered(sandbox)
    wait(lambda: all(each["delivered"] for each in sandbox.state()["kaleidoscope"]["webhooks"]))
    assert len(sandbox.state()["kaleidoscope"]["webhooks"]) == 3
    assert len(runs(server)) == 1


def test_each_event_has_its_dag(server, sandbox):
    """Of drafts, too; and an event that the connection names no DAG for starts nothing, and is taken."""
    url = f"{server.url}/sluice/webhooks/kaleidoscope/by_event"
    sandbox.settings(webhook_url=url, webhook_secret=SECRET)
    registered(sandbox)
    submitted = sandbox.stage_drafts({"name": "Aspirin"}, submit="registration")
    sandbox.stage_drafts({"name": "Caffeine"}, submit="validation")
    wait(lambda: all(each["delivered"] for each in sandbox.state()["kaleidoscope"]["webhooks"]))
    assert len(sandbox.state()["kaleidoscope"]["webhooks"]) == 3
    found = {dag_id: conf for dag_id, _, conf in runs(server)}
    assert sorted(dag_id for dag_id, _, _ in runs(server)) == ["drafts", "files"]
    assert found["drafts"]["event"] == "registration_drafts_submitted"
    assert found["drafts"]["submission_id"] == submitted["submission"]["id"]
    assert found["drafts"]["record_ids"] == submitted["record_ids"]
    assert (found["drafts"]["file_id"], found["drafts"]["registration_id"]) == (None, None)


def test_an_event_goes_to_a_partitioned_asset(server, sandbox):
    """Once, with the identity as its partition key."""
    body = registered(sandbox)
    outcomes = [outcome(post(server, body, "by_asset")) for _ in range(3)]
    assert outcomes == ["started", "duplicate", "duplicate"]
    [(extra, key)] = server.rows("SELECT extra, partition_key FROM asset_event")
    extra = extra if isinstance(extra, dict) else json.loads(extra)
    assert (extra["file_id"], extra["id"]) == (body["file_id"], key)
    assert server.rows("SELECT target_dag_id, partition_key FROM asset_partition_dag_run") == [("by_asset", key)]


def test_what_is_over_starts_nothing(server, sandbox):
    """A redelivery after the results, also when somebody has removed the run; before them it starts a run anew."""
    body = registered(sandbox)
    post(server, body)
    server.rows("DELETE FROM dag_run")
    assert outcome(post(server, body)) == "started"
    server.rows("DELETE FROM dag_run")
    finish(sandbox, body)
    assert outcome(post(server, body)) == "over"
    assert nothing_started(server)


def test_a_file_registered_anew_is_a_new_event(server, sandbox):
    """Another registration of the same file gets a run of its own."""
    body = registered(sandbox)
    post(server, body)
    finish(sandbox, body)
    ask(sandbox, f"operations/{body['operation_id']}/register/{body['file_id']}", {})
    assert outcome(post(server, body)) == "started"
    assert len({conf["id"] for _, _, conf in runs(server)}) == 2


def test_many_deliveries_share_a_look(server, sandbox):
    """Those that wait while a look is under way are served by the next one."""
    bodies = [registered(sandbox, f"plate-{number}.csv") for number in range(12)]
    sandbox.faults([{"method": "GET", "path": "/registrations$", "times": 2, "delay": 1.0}])
    sandbox.requests(clear=True)
    answers = together([lambda body=body: post(server, body) for body in bodies])
    assert [answer.status_code for answer in answers] == [200] * 12
    assert len(runs(server)) == 12
    assert 1 <= looks(sandbox) <= 4


def test_a_connection_from_the_database_and_its_new_secret(server, sandbox):
    """A secret that was changed is good after ten seconds, and the old one bad."""
    fields = json.loads(connection(sandbox, webhook_secret=SECRET, webhook_dag_id="files"))
    server.airflow("connections", "add", "from_database", "--conn-json", json.dumps(fields))
    body = registered(sandbox)
    assert outcome(post(server, body, "from_database")) == "started"
    fields["extra"]["webhook_secret"] = "quite-another-secret"
    server.airflow("connections", "delete", "from_database")
    server.airflow("connections", "add", "from_database", "--conn-json", json.dumps(fields))
    wait(lambda: post(server, body, "from_database").status_code == 401, 12)
    assert outcome(post(server, body, "from_database", secret="quite-another-secret")) == "duplicate"


# --- what is refused


REFUSED = {
    "unsigned": (401, lambda s, b: post(s, b, secret=None)),
    "wrong secret": (401, lambda s, b: post(s, b, secret="another-secret-as-long")),
    "wrong signature": (401, lambda s, b: post(s, b, secret=None, headers=signed(raw(b), secret="x" * 30))),
    "signature of another body": (401, lambda s, b: post(s, b, secret=None, headers=signed(b"{}"))),
    "replayed": (401, lambda s, b: post(s, b, secret=None, headers=signed(raw(b), at=time.time() - 3600))),
    "of the future": (401, lambda s, b: post(s, b, secret=None, headers=signed(raw(b), at=time.time() + 3600))),
    "secret where a signature is wanted": (401, lambda s, b: post(s, b, "signed")),
    "unknown connection": (404, lambda s, b: post(s, b, "never_heard_of")),
    "connection without a secret": (404, lambda s, b: post(s, b, "off")),
    "connection of another system": (404, lambda s, b: post(s, b, "kili_one")),
    "connection with too short a secret": (404, lambda s, b: post(s, b, "short", secret="short")),
    "connection that starts nothing": (404, lambda s, b: post(s, b, "nothing")),
    "what is no name of a connection": (404, lambda s, b: post(s, b, "no%20spaces")),
    "too long": (413, lambda s, b: post(s, {**b, "padding": "x" * 1_100_000})),
    "too long, and unsaid": (413, lambda s, b: post_chunks(s, {**b, "padding": "x" * 1_100_000})),
    "a form": (415, lambda s, b: post(s, b, headers={"Content-Type": "application/x-www-form-urlencoded"})),
    "no JSON": (400, lambda s, b: post(s, b"event=registration_submitted")),
    "a list": (400, lambda s, b: post(s, [b])),
    "an unknown event": (422, lambda s, b: post(s, {**b, "event": "record_deleted"})),
    "no file": (422, lambda s, b: post(s, {**b, "file_id": None})),
    "a path for an operation": (422, lambda s, b: post(s, {**b, "operation_id": "../../workspaces"})),
    "an unknown operation": (409, lambda s, b: post(s, {**b, "operation_id": "0" * 24})),
    "an unknown file": (409, lambda s, b: post(s, {**b, "file_id": "0" * 24})),
    "drafts nobody submitted": (
        409,
        lambda s, b: post(s, {**b, "event": "registration_drafts_submitted", "submission_id": "s-1"}),
    ),
    "no such DAG": (503, lambda s, b: post(s, b, "no_dag")),
    "no such asset": (503, lambda s, b: post(s, b, "no_asset")),
    "an asset that drops it": (503, lambda s, b: post(s, b, "by_plain_asset")),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_refusal_has_its_status_and_starts_nothing(server, sandbox, what):
    """A line in the log says why, and no secret; who must come back is told when."""
    status, deliver = REFUSED[what]
    body, before = registered(sandbox), len(server.log())
    sandbox.requests(clear=True)
    answer = deliver(server, body)
    assert answer.status_code == status
    assert nothing_started(server)
    log = wait(lambda: (text := server.log()[before:]) and f" {status}, " in text and text)
    for secret in (SECRET, "another-secret-as-long", "let-me-in"):
        assert secret not in log
        assert secret not in answer.text
    assert ("Retry-After" in answer.headers) == (status in (409, 503))
    assert looks(sandbox) == 0 or status in (409, 503), "what was refused for its form is not asked about"


def test_off_looks_like_unknown(server, sandbox):
    """Nobody can find out which connections there are."""
    body = registered(sandbox)
    off, unknown = post(server, body, "off"), post(server, body, "never_heard_of")
    assert (off.status_code, off.content) == (unknown.status_code, unknown.content)
    assert {*off.headers} == {*unknown.headers}


def test_a_stranger_is_not_told_why(server, sandbox):
    """Nor may one send what is long: it is not even read."""
    body = registered(sandbox)
    assert post(server, body, secret=None).json() == {"status": "Unauthorized"}
    assert post(server, {**body, "padding": "x" * 1_100_000}, secret=None).status_code == 401


def test_a_path_in_a_file_name_is_only_a_name(server, sandbox):
    """The event has the last part of it."""
    body = registered(sandbox)
    assert post(server, {**body, "file_name": "../../../etc/cron.d/evil.csv"}).status_code == 200
    [(_, _, conf)] = runs(server)
    assert conf["file_name"] == "evil.csv"


def test_a_secret_in_a_url_is_no_secret(server, sandbox):
    """A query proves nothing."""
    url = f"{server.url}/sluice/webhooks/kaleidoscope/kaleidoscope_default?secret={SECRET}"
    assert httpx.post(url, json=registered(sandbox), trust_env=False).status_code == 401
    assert nothing_started(server)


def test_a_body_that_never_ends_is_let_go(server, sandbox):
    """Somebody who sends a byte now and then holds nothing for long."""
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        path = "/sluice/webhooks/kaleidoscope/kaleidoscope_default"
        head = [
            "Host: x",
            f"X-Sluice-Secret: {SECRET}",
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
def test_an_api_that_cannot_be_asked_means_come_back(server, sandbox, fault):
    """Nothing is started on a hint alone, and nothing is lost: the next delivery is taken."""
    body = registered(sandbox)
    sandbox.faults([{"method": "GET", "path": "/registrations$", "times": 50, **fault}])
    started = time.monotonic()
    answer = post(server, body)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert time.monotonic() - started < 16
    assert nothing_started(server)
    sandbox.faults([])
    assert post(server, body).status_code == 200
    assert len(runs(server)) == 1


def test_strangers_are_slowed_down_and_the_sender_is_not(server, sandbox):
    """However often somebody knocks in vain."""
    body, started = registered(sandbox), time.monotonic()
    answers = together([lambda: post(server, body, secret="wrong-but-long-enough") for _ in range(60)])
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) <= {401, 429}
    assert statuses.count(401) <= 20 + 5 * (time.monotonic() - started)
    assert all("Retry-After" in answer.headers for answer in answers if answer.status_code == 429)
    assert post(server, body).status_code == 200


def test_only_posts_are_taken(server, sandbox):
    """Whether or not the connection is there."""
    for conn_id in ("kaleidoscope_default", "never_heard_of"):
        assert httpx.get(f"{server.url}/sluice/webhooks/kaleidoscope/{conn_id}", trust_env=False).status_code == 405


# --- helpers


def raw(body):
    """As `post` sends it."""
    return json.dumps(body).encode()


def post_chunks(server, body):
    """Without a Content-Length."""
    content = raw(body)
    url = f"{server.url}/sluice/webhooks/kaleidoscope/kaleidoscope_default"
    headers = {"Content-Type": "application/json", "X-Sluice-Secret": SECRET}
    pieces = (content[at : at + 10_000] for at in range(0, len(content), 10_000))
    return httpx.post(url, content=pieces, headers=headers, timeout=30, trust_env=False)


def together(calls, at_once=16):
    """Their results; so many are done at the same time."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(at_once) as pool:
        return [each.result() for each in [pool.submit(call) for call in calls]]
