"""Signing: what is signed, when credentials are read, blocking and awaiting, and what is imported."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from contextlib import suppress

import httpx
import pytest

from sluice_provider.errors import ClientError, Unreachable
from sluice_provider.http.flow import Request
from sluice_provider.http.retry import send
from sluice_provider.http.sigv4 import SigV4
from tests.flows import FlowRunner, finspace_options

WORKER_AND_TRIGGERER = pytest.mark.parametrize("name", ["worker", "triggerer"])


@pytest.fixture
def options(sluice_sandbox):
    """Of a client of the sandbox's FinSpace."""
    return finspace_options(sluice_sandbox)


def signed(auth, request):
    """The request as it would be sent."""
    next(auth.sync_auth_flow(request))
    return request


def names(request):
    """Which headers are signed."""
    return request.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0]


def test_what_is_signed(options):
    """Host and date, the content type if there is one, nothing that a proxy may change, and no payload hash header."""
    get = signed(options["auth"], httpx.Request("GET", "https://x.example/kx", headers={"Accept": "application/json"}))
    post = signed(options["auth"], httpx.Request("POST", "https://x.example/kx", json={}))
    assert (names(get), names(post)) == ("host;x-amz-date", "content-type;host;x-amz-date")
    assert "x-amz-content-sha256" not in post.headers
    assert "/eu-west-1/finspace/aws4_request" in get.headers["authorization"]


def test_a_session_token_is_signed_too(sluice_sandbox):
    """And sent."""
    options = finspace_options(sluice_sandbox, token="session")
    request = signed(options["auth"], httpx.Request("GET", "https://x.example/kx"))
    assert names(request) == "host;x-amz-date;x-amz-security-token"
    assert request.headers["x-amz-security-token"] == "session"


@WORKER_AND_TRIGGERER
@pytest.mark.parametrize(
    "call",
    [
        Request("GET", "kx/environments", {"maxResults": 5, "nextToken": "p/ICsxfg== +="}),
        Request("GET", "kx/environments/a%2Fb%20c~d"),
        Request("POST", "kx/environments/e/databases", json={"databaseName": "ü b/c"}),
    ],
    ids=str,
)
def test_the_service_computes_the_same_signature(options, sluice_sandbox, name, call):
    """Spaces, pluses, slashes and letters of all kinds in path, query and body: rejected for other reasons only."""
    with suppress(ClientError):
        FlowRunner(name, options)(send(call))
    [seen] = sluice_sandbox.requests()
    assert seen["status"] in (200, 400, 404)


@WORKER_AND_TRIGGERER
def test_every_request_reads_the_credentials(options, sluice_sandbox, name):
    """Those of a role expire; a request that is sent again is signed again."""
    in_main_thread = []
    frozen = options["auth"]._credentials()

    def credentials():
        in_main_thread.append(threading.current_thread() is threading.main_thread())
        return frozen

    options["auth"] = SigV4(credentials, "finspace", "eu-west-1")
    sluice_sandbox.faults([{"status": 503, "path": "kx", "times": 2}])
    FlowRunner(name, options)(send(Request("GET", "kx/environments", idempotent=True)))
    assert in_main_thread == [name == "worker"] * 3


def test_credentials_do_not_block_the_loop(options):
    """They are fetched in a thread: the event loop continues meanwhile."""
    meanwhile, frozen = threading.Event(), options["auth"]._credentials()

    def slow():
        assert meanwhile.wait(5)
        return frozen

    async def go():
        auth = SigV4(slow, "finspace", "eu-west-1")
        async with httpx.AsyncClient(**{**options, "auth": auth}) as client:
            request = asyncio.ensure_future(client.get("kx/environments"))
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_soon(meanwhile.set)
            return (await request).status_code

    assert asyncio.run(go()) == 200


@WORKER_AND_TRIGGERER
def test_credentials_that_are_not_available(options, name):
    """Their error is the request's error, and nothing was sent."""

    def none():
        raise Unreachable("STS does not answer", maybe_applied=False)

    client = FlowRunner(name, {**options, "auth": SigV4(none, "finspace", "eu-west-1")})
    with pytest.raises(Unreachable, match="STS"):
        client(send(Request("POST", "kx/environments", json={})))


@pytest.mark.slow
def test_botocore_is_imported_late():
    """Importing every operator, sensor and hook imports neither botocore nor boto3 nor the Amazon provider."""
    script = (
        "import sys\n"
        "import sluice_provider.operators.finspace, sluice_provider.sensors.finspace, sluice_provider.hooks.finspace\n"
        "import sluice_provider.triggers, sluice_provider.http.sigv4\n"
        "heavy = ('boto3', 'botocore', 'requests', 'aiohttp', 'airflow.providers.amazon.aws')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
