"""Testing a connection without a port: what Airflow's list of connections sends, and what the API server gets."""

from __future__ import annotations

import asyncio
import json

import pytest

from sluice_provider.plugin.connection_test import MAX_BYTES, ConnectionTestMiddleware

PATH = "/api/v2/connections/test"
OURS = {"conn_type": "kaleidoscope", "connection_id": "k", "host": "h", "port": 0, "password": "***"}


def forwarded(body, path=PATH, method="POST", chunks=1):
    """The body as it arrives behind the middleware; its Content-Length is checked."""
    received = {}

    async def app(scope, receive, send):
        received["length"] = int(dict(scope["headers"])[b"content-length"])
        received["body"] = b""
        while True:
            message = await receive()
            received["body"] += message["body"]
            if not message["more_body"]:
                break
        received["next"] = await receive()

    async def main():
        size = -(-len(body) // chunks)
        parts = [body[n * size : (n + 1) * size] for n in range(chunks)]
        messages = [{"type": "http.request", "body": part, "more_body": n < chunks - 1} for n, part in enumerate(parts)]
        left = iter([*messages, {"type": "http.disconnect"}])

        async def receive():
            return next(left)

        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        scope = {"type": "http", "method": method, "path": path, "headers": headers}
        await ConnectionTestMiddleware(app)(scope, receive, None)

    asyncio.run(main())
    assert received["length"] == len(received["body"])
    assert received["next"]["type"] == "http.disconnect"
    return received["body"]


@pytest.mark.parametrize("chunks", [1, 3])
@pytest.mark.parametrize("path", [PATH, f"/airflow{PATH}", "/api/v2/connections/enqueue-test"])
def test_port_0_is_removed(path, chunks):
    """Below any base path, in however many chunks the body comes."""
    assert json.loads(forwarded(json.dumps(OURS).encode(), path, chunks=chunks)) == {**OURS, "port": None}


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({**OURS, "port": 443}),
        json.dumps({**OURS, "port": None}),
        json.dumps({**OURS, "conn_type": "aws"}),
        json.dumps({**OURS, "conn_type": ["kaleidoscope"]}),
        '{"port": 0, "a":' * 100_000,
        json.dumps([OURS]),
        "{",
        "",
        json.dumps({**OURS, "extra": "x" * (MAX_BYTES + 1)}),
    ],
)
def test_other_bodies_are_unchanged(body):
    """Byte for byte, whatever they are."""
    assert forwarded(body.encode(), chunks=2) == body.encode()


@pytest.mark.parametrize(("path", "method"), [("/api/v2/connections", "POST"), (PATH, "PATCH")])
def test_other_requests_are_unchanged(path, method):
    """A user may store a connection with port 0."""
    body = json.dumps(OURS).encode()
    assert forwarded(body, path, method) == body


def test_a_disconnect_is_passed_on():
    """Before the body arrived."""
    received = []

    async def app(scope, receive, send):
        received.append(await receive())

    async def disconnect():
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "POST", "path": PATH, "headers": []}
    asyncio.run(ConnectionTestMiddleware(app)(scope, disconnect, None))
    assert received == [{"type": "http.disconnect"}]
