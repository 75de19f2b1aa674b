"""The control API: faults, settings, logged requests, and invalid input."""

from __future__ import annotations

import json

import httpx
import pytest

CANARY = "canary-4711"


def _statuses(kal, count, path="programs"):
    return [kal.get(path).status_code for _ in range(count)]


def test_status_fault(kal, sluice_sandbox):
    """The status is answered with headers and body as often as configured, and the request is not handled."""
    fault = {"method": "POST", "path": "/push/", "times": 2, "status": 503}
    sluice_sandbox.faults([{**fault, "headers": {"Retry-After": "7"}, "body": {"code": "BUSY"}}])
    answers = [kal.push({"symbol": "H"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert (answers[0].headers["Retry-After"], answers[0].json()) == ("7", {"code": "BUSY"})
    assert len(sluice_sandbox.state()["kaleidoscope"]["imports"]) == 1


def test_a_fault_with_a_text_body(kal, sluice_sandbox):
    """A body of text is sent unchanged, with the configured headers."""
    fault = {"status": 200, "body": "<html>", "headers": {"content-type": "text/html"}}
    sluice_sandbox.faults([fault])
    answer = kal.get("programs")
    assert (answer.text, answer.headers["content-type"]) == ("<html>", "text/html")


@pytest.mark.parametrize(("drop", "landed"), [("before", 0), ("after", 1)])
def test_drop_fault(kal, sluice_sandbox, drop, landed, capfd):
    """The connection closes without a response; only `after` handles the request. Nothing is logged to stderr."""
    sluice_sandbox.faults([{"method": "POST", "path": "/push/imports$", "drop": drop}])
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        kal.push({"symbol": "H"})
    assert len(sluice_sandbox.state()["kaleidoscope"]["imports"]) == landed
    assert kal.push({"symbol": "H"}).status_code == 200
    assert capfd.readouterr() == ("", "")


def test_a_truncated_response(kal, sluice_sandbox, capfd):
    """The request is handled and half of the response arrives, which cannot be mistaken for a whole one."""
    path = f"files/{sluice_sandbox.state()['kaleidoscope']['ids']['file_id']}"
    content = kal.get(path).content
    sluice_sandbox.faults([{"path": path, "drop": "middle"}])
    got = []
    with kal.http.stream("GET", path, headers=kal.headers()) as answer:
        parts = answer.iter_bytes()
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
            got.extend(parts)
    assert b"".join(got) == content[: len(content) // 2]
    assert kal.get(path).content == content
    assert capfd.readouterr() == ("", "")


def test_a_dropped_connection_does_not_affect_others(kal, sluice_sandbox):
    """Only the connection of that request is closed."""
    sluice_sandbox.faults([{"path": "programs", "drop": "before"}])
    with pytest.raises(httpx.TransportError), httpx.Client() as other:
        other.get(f"{sluice_sandbox.url}/kaleidoscope/programs")
    assert sluice_sandbox.requests()[-1]["status"] is None
    assert kal.get("programs").status_code == 200


def test_delay_fault(kal, sluice_sandbox):
    """The client times out, and the request is handled."""
    sluice_sandbox.faults([{"path": "/push/", "delay": 20}])
    with pytest.raises(httpx.ReadTimeout):
        kal.http.post(
            "push/imports", json={"key_field_names": ["id"], "data": [{"id": 1}]}, headers=kal.headers(), timeout=0.05
        )
    polls = (sluice_sandbox.state()["kaleidoscope"]["imports"] for _ in range(1000))
    assert any(polls)  # as soon as the server has noticed that the client is gone
    assert sluice_sandbox.requests()[-1]["fault"] == "delay 20"


def test_a_short_delay(kal, sluice_sandbox):
    """With a status, that status is sent after the delay."""
    sluice_sandbox.faults([{"path": "programs", "delay": 0.01}, {"path": "programs", "delay": 0.01, "status": 500}])
    assert _statuses(kal, 3) == [200, 500, 200]


def test_skip_and_order(kal, sluice_sandbox):
    """The first `skip` matching requests pass; the first fault that matches is applied."""
    sluice_sandbox.faults(
        [
            {"path": "programs", "skip": 2, "status": 500},
            {"method": "GET", "path": "programs", "skip": 1, "status": 502},
        ]
    )
    assert _statuses(kal, 5) == [200, 502, 500, 200, 200]


def test_a_fault_matches_method_and_path(kal, sluice_sandbox):
    """Other requests pass; pending faults are listed, and an empty list removes them."""
    wanted = {"method": "POST", "path": "^/kaleidoscope/programs$", "status": 500}
    sluice_sandbox.faults([wanted])
    assert _statuses(kal, 1) == [200]
    (pending,) = httpx.get(f"{sluice_sandbox.url}/control/faults").json()
    assert pending == {**wanted, "times": 1, "skip": 0, "delay": 0.0}
    sluice_sandbox.faults([])
    assert httpx.get(f"{sluice_sandbox.url}/control/faults").json() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        [1],
        [{}],
        [{"path": "x"}],
        [{"status": 700}],
        [{"status": "500"}],
        [{"status": 500, "drop": "before"}],
        [{"drop": "sometimes"}],
        [{"delay": -1}],
        [{"delay": True}],
        [{"status": 500, "path": "("}],
        [{"status": 500, "path": None}],
        [{"status": 500, "times": 0}],
        [{"status": 500, "times": None}],
        [{"status": 500, "skip": -1}],
        [{"status": 500, "method": "get"}],
        [{"status": 500, "headers": {"a": 1}}],
        [{"status": 500, "surprise": 1}],
    ],
)
def test_invalid_faults(sluice_sandbox, wrong):
    """Each answers 400 with a reason, and pending faults stay."""
    sluice_sandbox.faults([{"status": 500}])
    answer = httpx.post(f"{sluice_sandbox.url}/control/faults", json=wrong)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert len(httpx.get(f"{sluice_sandbox.url}/control/faults").json()) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {"clock_advance": -1},
        {"clock_advance": 1e99},
        {"page_size": "5"},
        {"page_size": -1},
        {"page_size": True},
        {"page_size": 1.5},
        {"accept_any_source": 1},
        {"x": 1},
    ],
)
def test_invalid_settings(sluice_sandbox, wrong):
    """No change is applied if one is invalid."""
    changes = {"job_seconds": 77, **wrong} if isinstance(wrong, dict) else wrong
    answer = httpx.post(f"{sluice_sandbox.url}/control/settings", json=changes)
    assert answer.status_code == 400
    assert httpx.get(f"{sluice_sandbox.url}/control/settings").json()["job_seconds"] == 3


def test_an_unknown_setting(sluice_sandbox):
    """The message names the known settings, and the fixture passes it on."""
    with pytest.raises(ValueError, match=r"unknown setting 'jobseconds'.*job_seconds"):
        sluice_sandbox.settings(jobseconds=1)


def test_invalid_json_is_rejected(sluice_sandbox):
    """400 with a reason."""
    json_type = {"Content-Type": "application/json"}
    answer = httpx.post(f"{sluice_sandbox.url}/control/settings", content=b"{", headers=json_type)
    assert answer.status_code == 400


def test_clock_advances_add_up(sluice_sandbox):
    """Each clock_advance is added; a reset restores the clock."""
    before = sluice_sandbox.state()["clock"]["now"]
    sluice_sandbox.advance(1000)
    sluice_sandbox.advance(500)
    clock = sluice_sandbox.state()["clock"]
    assert clock["advance"] == 1500
    assert 1500 <= clock["now"] - before < 1560
    sluice_sandbox.reset()
    assert sluice_sandbox.state()["clock"]["advance"] == 0


def test_rate_limit(kal, sluice_sandbox):
    """Requests over the limit answer 429 with Retry-After until the clock has advanced."""
    sluice_sandbox.settings(rate_limit=2)
    assert _statuses(kal, 3) == [200, 200, 429]
    answer = kal.get("programs")
    assert (answer.headers["Retry-After"], answer.json()["statusCode"]) == ("1", 429)
    sluice_sandbox.advance(1)
    assert _statuses(kal, 1) == [200]


def test_requests_are_logged(kal, sluice_sandbox):
    """Oldest first, with body and status, without the control API; they can be cleared."""
    kal.push({"symbol": "H"})
    kal.get("imports", page=1)
    push, listing = sluice_sandbox.requests()[-2:]
    assert (push["method"], push["path"], push["status"]) == ("POST", "/kaleidoscope/push/imports", 200)
    assert push["json"] == {"key_field_names": ["symbol"], "data": [{"symbol": "H"}]}
    assert push["body_size"] == int(push["headers"]["content-length"])
    assert (listing["query"], listing["json"], listing["body_size"]) == ({"page": "1"}, None, 0)
    assert push["time"] <= listing["time"]
    assert not any(seen["path"].startswith("/control") for seen in sluice_sandbox.requests(clear=True))
    assert sluice_sandbox.requests() == []


def test_secrets_are_masked(kal, sluice_sandbox):
    """No secret of a header, form, query or JSON body is shown."""
    headers = dict.fromkeys(
        ("Authorization", "X-Kal-Authorization", "Cookie", "X-Api-Key", "X-Amz-Security-Token"), CANARY
    )
    form = {"grant_type": "password", "client_secret": CANARY, "refresh_token": CANARY, "password": CANARY}
    kal.http.post("auth/oauth/token", data=form, headers=headers, params={"access_token": CANARY})
    kal.http.post("push/imports", json={"data": [{"api_key": CANARY, "id": 1}]}, headers=headers)
    kal.http.post("push/imports", content=f"client_secret={CANARY}", headers={**headers, "Content-Type": "text/plain"})
    seen = sluice_sandbox.requests()[-3:]
    assert CANARY not in json.dumps(sluice_sandbox.requests())
    assert CANARY not in json.dumps(sluice_sandbox.state())
    assert CANARY not in httpx.get(sluice_sandbox.url).text
    assert seen[0]["json"]["grant_type"] == "password"
    assert seen[0]["headers"]["x-kal-authorization"] == seen[0]["query"]["access_token"] == "***"
    assert seen[1]["json"] == {"data": [{"api_key": "***", "id": 1}]}
    assert seen[2]["json"] is None


def test_state_without_records(kal, sluice_sandbox):
    """The number of records is still there."""
    kal.result({"symbol": "H"})
    state = sluice_sandbox.state(records=False)["kaleidoscope"]
    assert (state["records_count"], "records" in state) == (1, False)


def test_testing_fixtures(sluice_sandbox, sluice_connections):
    """The connection has the path in its host, the port, and the URL for links."""
    connection = json.loads(sluice_connections["kaleidoscope_default"])
    assert connection["host"] == "http://127.0.0.1/kaleidoscope"
    assert sluice_sandbox.url == f"http://127.0.0.1:{connection['port']}"
    assert connection["extra"]["web_url"] == f"{sluice_sandbox.url}/kaleidoscope/web"
    credentials = sluice_sandbox.state()["credentials"]["kaleidoscope"]
    assert credentials == {"client_id": connection["login"], "client_secret": connection["password"]}
