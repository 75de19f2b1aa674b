"""The two loops: what they put on the wire, what they hand back, and that they clean up."""

from __future__ import annotations

import asyncio
import logging
import socket

import httpx
import pytest

from sluice_provider.apis.kaleidoscope.endpoints import get_programs
from sluice_provider.errors import InvalidInput, OutcomeUnknown, SluiceError, Unreachable
from sluice_provider.http.client_config import MAX_CONNECTIONS, ConnectionFields
from sluice_provider.http.drivers import adrive, drive
from sluice_provider.http.flow import Request, Sleep
from sluice_provider.http.retry import send
from tests.flows import FlowRunner, client_options, logged_requests
from tests.loopback import Answer, serve

PUSH = Request("POST", "push/imports", json={"key_field_names": ["symbol"], "data": [{"symbol": "Ü"}]}, idempotent=True)


def test_a_flow_without_requests(run):
    """Its return value is returned."""

    def flow():
        return 7
        yield

    assert run(flow()) == 7


def test_what_is_sent(run, sluice_sandbox):
    """Method, path below the base URL, query, body as UTF-8 JSON, and the user agent."""
    run(send(PUSH))
    run(send(Request("GET", "imports", params={"page": 1, "is_complete": 0}, idempotent=True)))
    push, listing = logged_requests(sluice_sandbox)
    assert (push["method"], push["path"], push["json"]) == ("POST", "/kaleidoscope/push/imports", PUSH.json)
    assert push["headers"]["content-type"] == "application/json"
    assert push["headers"]["user-agent"] == "tests"
    assert push["headers"]["accept"] == "application/json"
    assert (listing["query"], listing["body_size"]) == ({"page": "1", "is_complete": "0"}, 0)
    assert "content-type" not in listing["headers"]


def test_what_is_received(run, sluice_sandbox):
    """Status, body, and headers with names in lower case."""
    sluice_sandbox.faults([{"path": "programs", "status": 203, "headers": {"X-Odd": "Yes"}, "body": "tëxt"}])
    reply = run(send(Request("GET", "programs")))
    assert (reply.status, reply.text, reply.headers["x-odd"]) == (203, "tëxt", "Yes")


def test_sleeps(run, caplog):
    """For exactly so long, and the log says why at DEBUG."""

    def flow():
        yield Sleep(12.5, "because")
        return "done"

    with caplog.at_level(logging.DEBUG, "sluice_provider"):
        assert run(flow()) == "done"
    assert run.pauses == [12.5]
    assert "Sleeping 12.5 s: because" in caplog.text


def test_errors_are_thrown_into_the_flow(run, sluice_sandbox):
    """It may catch them and continue."""
    sluice_sandbox.faults([{"path": "programs", "drop": "before"}])

    def flow():
        try:
            yield Request("GET", "programs")
        except Unreachable as error:
            reply = yield Request("GET", "programs")
            return error.maybe_applied, reply.status

    assert run(flow()) == (True, 200)


def test_the_flow_is_closed(run):
    """Also when it is left in the middle, so that its `finally` runs."""
    closed = []

    def flow():
        try:
            yield Sleep(1, "")
            yield Sleep(-1, "")
        finally:
            closed.append(True)

    class Enough(Exception):
        pass

    def stop(seconds):
        raise Enough

    run.pauses._advance = stop
    with pytest.raises(Enough):
        run(flow())
    assert closed == [True]


def test_a_cancelled_task_closes_its_flow(fields):
    """A cancelled trigger cleans up."""
    closed = []

    def flow():
        try:
            yield Sleep(3600, "for ever")
        finally:
            closed.append(True)

    async def main():
        async with httpx.AsyncClient(**client_options(fields)) as client:
            task = asyncio.create_task(adrive(flow(), client, asyncio.sleep))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            return task.cancelled()

    assert asyncio.run(main())
    assert closed == [True]


def test_a_body_that_cannot_be_encoded(run, sluice_sandbox):
    """Is the author's error, and nothing is sent, not even a token request."""
    with pytest.raises(InvalidInput, match="cannot be encoded as JSON"):
        run(send(Request("POST", "push/imports", json={"data": [float("nan")]}, idempotent=True)))
    assert sluice_sandbox.requests() == []


# --- nobody answers


@pytest.fixture(params=["worker", "triggerer"])
def nowhere(request):
    """A client of a service on whose port nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        fields = ConnectionFields(
            "c", f"http://127.0.0.1:{taken.getsockname()[1]}", None, "id", "secret", {"verify": False}
        )
        yield FlowRunner(request.param, client_options(fields))


def test_connection_refused(nowhere):
    """Nothing was sent, so it is retried, and the error names exception type and request."""
    with pytest.raises(Unreachable, match="GET programs: ConnectError: ") as error:
        nowhere(get_programs())
    assert not error.value.maybe_applied
    assert len(nowhere.pauses) == 4


def test_a_refused_connection_is_no_unknown_outcome(nowhere):
    """Not even for a request that is not idempotent."""
    nowhere.options["auth"] = None
    with pytest.raises(Unreachable) as error:
        nowhere(send(Request("POST", "orders", json={})))
    assert not error.value.maybe_applied
    assert len(nowhere.pauses) == 4


def test_a_read_timeout_leaves_the_outcome_unknown(fields, run, sluice_sandbox):
    """The service may still be processing the request."""
    run(get_programs())
    run.options["timeout"] = httpx.Timeout(5.0, read=0.02)
    sluice_sandbox.faults([{"path": "push/imports", "delay": 60}])
    with pytest.raises(OutcomeUnknown, match="ReadTimeout"):
        run(send(PUSH._replace(idempotent=False)))
    assert run.pauses == []


def test_no_httpx_exception_is_kept(nowhere):
    """It would hold the request, and with it the credentials."""
    with pytest.raises(SluiceError) as error:
        nowhere(get_programs())
    assert error.value.__cause__ is None
    assert error.value.__context__ is None


def test_a_body_that_cannot_be_decoded(run, sluice_sandbox):
    """The body is not what its content encoding says: there was a response, but it cannot be read."""
    sluice_sandbox.faults(
        [{"path": "programs", "times": 9, "status": 200, "headers": {"Content-Encoding": "gzip"}, "body": "plain"}]
    )
    with pytest.raises(Unreachable, match="DecodingError"):
        run(get_programs())


def test_an_invalid_header_is_not_shown(fields):
    """The HTTP library's message would show its value, which may be a secret."""
    with serve(lambda _request: Answer()) as server, httpx.Client(base_url=server.url) as client:
        client.headers["X-Secret"] = "canary-1\n"
        with pytest.raises(Unreachable) as error:
            drive(send(Request("GET", "things", idempotent=True)), client, lambda _: None)
    assert "canary" not in str(error.value)
    assert "LocalProtocolError" in str(error.value)


def test_one_client_sends_a_few_requests_at_a_time():
    """httpcore's pool costs seconds of CPU, and times out, when a thousand requests wait for a connection."""
    running = most = 0

    async def answer(_request):
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(3):
            await asyncio.sleep(0)
        running -= 1
        return httpx.Response(200, json=[])

    def flow():
        yield Request("GET", "job")

    async def together():
        async with httpx.AsyncClient(base_url="http://service", transport=httpx.MockTransport(answer)) as client:
            await asyncio.gather(*(adrive(flow(), client, asyncio.sleep) for _ in range(100)))

    asyncio.run(together())
    assert most == MAX_CONNECTIONS
