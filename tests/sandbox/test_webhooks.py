"""Webhooks to a real receiver: signatures, retries, duplicates, and cancellation by a reset."""

from __future__ import annotations

import base64
import hmac
import json
import socket
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import httpx
import pytest

from sluice_sandbox import Sandbox

PLAIN_SECRET = "hush-4711"
KEY = b"a key of twenty-four byt"
SECRET = "whsec_" + base64.b64encode(KEY).decode()


class Receiver(ThreadingHTTPServer):
    """Accepts webhooks, or answers these statuses first."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got = []
        self.statuses = []
        self.lock = threading.Lock()
        self.busy = self.most_busy = 0
        self.delay = 0.0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/hook"

    def accept(self, headers, body):
        with self.lock:
            self.got.append((dict(headers.items()), body, time.monotonic()))
            self.busy += 1
            self.most_busy = max(self.busy, self.most_busy)
            status = self.statuses.pop(0) if self.statuses else 200
        time.sleep(self.delay)
        with self.lock:
            self.busy -= 1
        return status


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        status = self.server.accept(self.headers, self.rfile.read(int(self.headers["Content-Length"])))
        if not status:
            self.close_connection = True  # without an answer
            return
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """No output on stderr."""


@pytest.fixture
def receiver(sluice_sandbox):
    """A receiver that the sandbox sends to, with short retry delays."""
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    sluice_sandbox.settings(webhook_url=server.url, webhook_retry_delay=0.01)
    yield server
    sluice_sandbox.reset()
    server.shutdown()
    thread.join()
    server.server_close()


def _finished_deliveries(sluice_sandbox, count=1):
    """The deliveries, when all are finished."""
    for _ in range(600):
        found = sluice_sandbox.state(records=False)["kaleidoscope"]["webhooks"]
        if len(found) == count and all(each["finished"] for each in found):
            return found
        time.sleep(0.02)
    raise AssertionError(found)


def test_webhook_of_a_file_registration(receiver, kal, sluice_sandbox):
    """One POST of JSON with all ids and a download link that needs no token."""
    response = sluice_sandbox.register_file("x.csv", "name\nA\n", record_ids=["r1"])
    (delivery,) = _finished_deliveries(sluice_sandbox)
    ((headers, body, _),) = receiver.got
    assert headers["Content-Type"] == "application/json"
    content = json.loads(body)
    link = content.pop("file_url")
    assert content == {
        "event": "registration_submitted",
        "operation_id": response["registration"]["operation_id"],
        "file_id": response["file_id"],
        "file_name": "x.csv",
        "record_ids": ["r1"],
    }
    assert kal.http.get(link).content == b"name\nA\n"
    assert kal.http.get(link[:-1]).status_code == 403
    assert (delivery["event"], delivery["attempts"], delivery["last_status"]) == ("registration_submitted", 1, 200)
    assert (delivery["delivered"], delivery["url"], delivery["content"]) == (True, receiver.url, content)
    assert link not in json.dumps(sluice_sandbox.state())


def test_webhook_of_a_registration_by_api(receiver, kal, sluice_sandbox):
    """The same webhook as for a registration by the control API."""
    ids = sluice_sandbox.state()["kaleidoscope"]["ids"]
    kal.post(f"operations/{ids['operation_id']}/register/{ids['file_id']}", {})
    _finished_deliveries(sluice_sandbox)
    assert json.loads(receiver.got[0][1])["file_id"] == ids["file_id"]
    kal.post(f"operations/{ids['operation_id']}/register/{ids['file_id']}", {})  # refused
    assert len(_finished_deliveries(sluice_sandbox)) == 1


def test_webhooks_of_validation_and_submission(receiver, drafts, sluice_sandbox):
    """Each has its own event, per submission."""
    staged = drafts.stage({"name": "A"}, {"name": "B"})
    submissions = [drafts.validate(staged[0]).json(), drafts.submit().json()]
    _finished_deliveries(sluice_sandbox, 2)
    events = {"validation": "registration_drafts_validation_requested", "registration": "registration_drafts_submitted"}
    got = {content["submission_id"]: content for content in (json.loads(body) for _, body, _ in receiver.got)}
    assert got == {
        each["id"]: {
            "event": events[each["submission_type"]],
            "operation_id": each["operation_id"],
            "submission_id": each["id"],
            "record_ids": each["submitted_record_ids"],
        }
        for each in submissions
    }


def test_no_webhook_without_url(kal, sluice_sandbox):
    """Nothing is sent, and nothing waits."""
    sluice_sandbox.register_file("x.csv", "")
    assert sluice_sandbox.state()["kaleidoscope"]["webhooks"] == []


def test_plain_secret(receiver, sluice_sandbox):
    """In a header; no header without a secret."""
    sluice_sandbox.register_file("x.csv", "")
    _finished_deliveries(sluice_sandbox)
    sluice_sandbox.settings(webhook_secret=PLAIN_SECRET, webhook_format="plain")
    sluice_sandbox.register_file("y.csv", "")
    _finished_deliveries(sluice_sandbox, 2)
    assert [headers.get("X-Sluice-Secret") for headers, _, _ in receiver.got] == [None, PLAIN_SECRET]
    assert not [name for headers, _, _ in receiver.got for name in headers if "signature" in name]


def test_standard_signature(receiver, sluice_sandbox):
    """Over id, real time and body; the secret itself is not sent."""
    sluice_sandbox.settings(webhook_secret=SECRET, clock_advance=5000)
    sluice_sandbox.register_file("x.csv", "")
    _finished_deliveries(sluice_sandbox)
    ((headers, body, _),) = receiver.got
    stamp = headers["webhook-timestamp"]
    assert abs(time.time() - int(stamp)) < 5
    expected = hmac.digest(KEY, f"{headers['webhook-id']}.{stamp}.".encode() + body, "sha256")
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(expected).decode()}"
    assert SECRET not in str(receiver.got)


def test_a_secret_that_cannot_sign_is_reported(receiver, sluice_sandbox):
    """Nothing is sent unsigned."""
    sluice_sandbox.settings(webhook_secret="not base64!", webhook_retries=0)
    sluice_sandbox.register_file("x.csv", "")
    (delivery,) = _finished_deliveries(sluice_sandbox)
    assert (delivery["delivered"], delivery["last_error"]) == (False, "Error")
    assert receiver.got == []


@pytest.mark.parametrize("first", [[500, 404, 302], [0, 503, 401]])
def test_retries_until_accepted(receiver, sluice_sandbox, first):
    """After any response but 2xx and after none, with growing delays and the same body."""
    receiver.statuses = [*first, 202]
    sluice_sandbox.register_file("x.csv", "")
    (delivery,) = _finished_deliveries(sluice_sandbox)
    assert (delivery["attempts"], delivery["last_status"], delivery["delivered"]) == (4, 202, True)
    assert len({body for _, body, _ in receiver.got}) == 1
    times = [at for _, _, at in receiver.got]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert all(gap >= expected for gap, expected in zip(gaps, (0.01, 0.02, 0.04), strict=True))


def test_maximum_retries(receiver, sluice_sandbox):
    """After as many retries as the setting says."""
    sluice_sandbox.settings(webhook_retries=2)
    receiver.statuses = [500] * 10
    sluice_sandbox.register_file("x.csv", "")
    (delivery,) = _finished_deliveries(sluice_sandbox)
    assert (delivery["attempts"], delivery["last_status"], delivery["delivered"]) == (3, 500, False)
    assert len(receiver.got) == 3


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x?token=1", "nonsense", "ftp://127.0.0.1/"])
def test_unreachable_receiver(sluice_sandbox, url):
    """Reported with a reason; the query of the URL is not shown."""
    sluice_sandbox.settings(webhook_url=url, webhook_retries=1, webhook_retry_delay=0.01)
    sluice_sandbox.register_file("x.csv", "")
    (delivery,) = _finished_deliveries(sluice_sandbox)
    assert (delivery["attempts"], delivery["last_status"], delivery["delivered"]) == (2, None, False)
    assert delivery["last_error"]
    assert "token" not in delivery["url"]


def test_duplicates(receiver, sluice_sandbox):
    """Extra copies, as from a sender with at-least-once delivery."""
    sluice_sandbox.settings(webhook_duplicates=2)
    sluice_sandbox.register_file("x.csv", "")
    found = _finished_deliveries(sluice_sandbox, 3)
    assert len({each["id"] for each in found}) == 3
    assert len(receiver.got) == 3
    assert len({body for _, body, _ in receiver.got}) == 1


def test_burst(receiver, sluice_sandbox):
    """Many files at once, with limited concurrency; each is delivered once, also those rejected at first."""
    receiver.delay = 0.02
    receiver.statuses = [500] * 7
    file_ids = sluice_sandbox.burst(files=60, concurrency=5)
    found = _finished_deliveries(sluice_sandbox, 60)
    assert all(each["delivered"] for each in found)
    assert sum(each["attempts"] for each in found) == 67
    taken = Counter(json.loads(body)["file_id"] for _, body, _ in receiver.got)
    assert set(taken) == set(file_ids)
    assert receiver.most_busy == 5
    assert len(sluice_sandbox.state()["kaleidoscope"]["registrations"]) == 60


@pytest.mark.parametrize("wrong", [{"files": 0}, {"concurrency": 0}, {"files": "x"}, {"files": True}, {"other": 1}, []])
def test_invalid_burst(sluice_sandbox, wrong):
    """400 with a reason."""
    with pytest.raises(ValueError, match=r"\w"):
        sluice_sandbox._control("POST", "kaleidoscope/burst", content=wrong)


def test_reset_cancels_webhooks(receiver, sluice_sandbox):
    """Waiting retries and running requests."""
    receiver.statuses = [500] * 100
    sluice_sandbox.settings(webhook_retries=100, webhook_retry_delay=0.05)
    sluice_sandbox.burst(files=10, concurrency=2)
    while len(receiver.got) < 10:
        time.sleep(0.005)
    receiver.delay = 0.2
    sluice_sandbox.reset()
    assert sluice_sandbox.state()["kaleidoscope"]["webhooks"] == []
    sent = len(receiver.got)
    time.sleep(0.3)  # several times the delay before the next try
    assert len(receiver.got) <= sent + 2  # those two were on their way
    time.sleep(0.1)
    assert len(receiver.got) <= sent + 2


def test_stop_cancels_webhooks(capfd):
    """At once and without output, also if a receiver does not answer."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with Sandbox(settings={"webhook_url": url, "webhook_concurrency": 3}) as sandbox:
            httpx.post(f"{sandbox.url}/control/kaleidoscope/burst", json={"files": 9}).raise_for_status()
            silent.accept()[0].close()
            began = time.monotonic()
    assert time.monotonic() - began < 5
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("wrong", [{"webhook_format": "rot13"}, {"registrar": "sometimes"}, {"webhook_retries": -1}])
def test_invalid_webhook_settings(sluice_sandbox, wrong):
    """Rejected with the valid values."""
    with pytest.raises(ValueError, match=r"must be one of '(standard|', 'completes)'|must be an integer"):
        sluice_sandbox.settings(**wrong)
