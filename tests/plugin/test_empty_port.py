"""Test connection with an empty port: what Airflow's list of connections sends, and what the API server gets."""

from __future__ import annotations

import asyncio
import json

import pytest

from sluice_provider.plugin.connection_test import MOST, EmptyPort

PATH = "/api/v2/connections/test"
OURS = {"conn_type": "kaleidoscope", "connection_id": "k", "host": "h", "port": 0, "password": "***"}


def passed(body, path=PATH, method="POST", pieces=1):
    """The body as it arrives behind the middleware, and the length that its headers tell."""
    got = {}

    async def app(scope, receive, send):
        got["length"] = int(dict(scope["headers"])[b"content-length"])
        got["body"] = b""
        while True:
            message = await receive()
            got["body"] += message["body"]
            if not message["more_body"]:
                break
        got["after"] = await receive()

    async def main():
        size = -(-len(body) // pieces)
        parts = [body[n * size : (n + 1) * size] for n in range(pieces)]
        messages = [{"type": "http.request", "body": part, "more_body": n < pieces - 1} for n, part in enumerate(parts)]
        left = iter([*messages, {"type": "http.disconnect"}])

        async def receive():
            return next(left)

        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        scope = {"type": "http", "method": method, "path": path, "headers": headers}
        await EmptyPort(app)(scope, receive, None)

    asyncio.run(main())
    assert got["length"] == len(got["body"])
    assert got["after"]["type"] == "http.disconnect"
    return got["body"]


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("path", [PATH, f"/airflow{PATH}", "/api/v2/connections/enqueue-test"])
def test_port_0_is_no_port(path, pieces):
    """Below any base path, in however many pieces it comes."""
    assert json.loads(passed(json.dumps(OURS).encode(), path, pieces=pieces)) == {**OURS, "port": None}


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({**OURS, "port": 443}),
        json.dumps({**OURS, "port": None}),
        json.dumps({**OURS, "conn_type": "aws"}),
        json.dumps([OURS]),
        "{",
        "",
        json.dumps({**OURS, "extra": "x" * (MOST + 1)}),
    ],
)
def test_all_else_is_untouched(body):
    """Byte for byte."""
    assert passed(body.encode(), pieces=2) == body.encode()


@pytest.mark.parametrize(("path", "method"), [("/api/v2/connections", "POST"), (PATH, "PATCH")])
def test_other_requests_are_untouched(path, method):
    """A connection may be stored with port 0, if somebody says so."""
    body = json.dumps(OURS).encode()
    assert passed(body, path, method) == body


def test_a_client_that_leaves():
    """Before its body came: Airflow is told."""
    seen = []

    async def app(scope, receive, send):
        seen.append(await receive())

    async def gone():
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "POST", "path": PATH, "headers": []}
    asyncio.run(EmptyPort(app)(scope, gone, None))
    assert seen == [{"type": "http.disconnect"}]
