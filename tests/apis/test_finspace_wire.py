"""The same arguments, ours and boto3's: method, path, query, body and signed headers agree.

boto3 and botocore 1.43.116, the last that know FinSpace, are a folder filled by `make install`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from botocore.credentials import ReadOnlyCredentials

from sluice_provider.apis.finspace import endpoints as fin
from sluice_provider.apis.finspace.change_requests import delete, put
from sluice_provider.http.sigv4 import SigV4
from tests.flows import FlowRunner
from tests.loopback import Answer, serve

pytestmark = pytest.mark.vendor

FOLDER = Path(os.environ.get("SLUICE_VENDOR_DIR", Path(sys.prefix) / "vendor")) / "boto3-1.43.116"
TOKEN = "p/ICsxfg== +=~*'"
CHANGES = [put("s3://bucket/a b/ü+/", "/2026.03.02/"), put("s3://bucket/sym", "/"), delete("/2026.02.27/")]
WHERE = {"environmentId": "a/b c~", "databaseName": "markets"}

CALLS = {
    "create_kx_changeset": (
        {**WHERE, "changeRequests": CHANGES, "clientToken": "t-1"},
        lambda: fin.create_changeset("a/b c~", "markets", CHANGES, "t-1"),
    ),
    "get_kx_changeset": (
        {**WHERE, "changesetId": "c1"},
        lambda: fin.get_changeset("a/b c~", "markets", "c1"),
    ),
    "list_kx_changesets": ({**WHERE, "maxResults": 7}, lambda: fin.list_changesets("a/b c~", "markets", 7)),
    "create_kx_database": (
        {**WHERE, "description": "All ticks.", "tags": {"team": "kdb"}, "clientToken": "t-2"},
        lambda: fin.create_database("a/b c~", "markets", "All ticks.", {"team": "kdb"}, "t-2"),
    ),
    "get_kx_database": (WHERE, lambda: fin.get_database("a/b c~", "markets")),
    "list_kx_databases": ({"environmentId": "e", "maxResults": 7}, lambda: fin.list_databases("e", 7)),
    "get_kx_environment": ({"environmentId": "e1"}, lambda: fin.get_environment("e1")),
    "list_kx_environments": ({"maxResults": 7}, lambda: fin.list_environments(7)),
}
LISTINGS = ("list_kx_changesets", "list_kx_databases", "list_kx_environments")

SCRIPT = """
import json, sys, boto3
client = boto3.client("finspace", region_name="eu-west-1", aws_access_key_id="AKIA", aws_secret_access_key="secret",
                      aws_session_token=json.loads(sys.argv[2]), endpoint_url=sys.argv[1])
for name, arguments in json.loads(sys.argv[3]):
    getattr(client, name)(**arguments)
"""


def answer(request):
    """Just enough of every operation; a listing has a second page, whose token is hard to encode."""
    first = "nextToken" not in request.target
    return Answer(200, {"changesetId": "c1", "status": "PENDING", **({"nextToken": TOKEN} if first else {})})


def wire(seen):
    """All that must agree."""
    path, _, query = seen.target.partition("?")
    signed = seen.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
    scope = seen.headers["authorization"].partition("/")[2].partition(",")[0]
    kind = seen.headers.get("content-type") if seen.body else None
    content = json.loads(seen.body) if seen.body else None
    return seen.method, path, sorted(query.split("&")), content, kind, signed, scope.partition("/")[2]


@pytest.fixture(scope="module", params=[None, "session-token"], ids=["key", "session"])
def both(request):
    """The requests of both, by operation: boto3's first, ours with each driver."""
    if not FOLDER.is_dir():
        pytest.skip(f"boto3 1.43.116 is not in {FOLDER}; make install puts it there")
    calls = []
    for name, (arguments, _) in CALLS.items():
        calls += [(name, arguments), (name, {**arguments, "nextToken": TOKEN})][: 1 + (name in LISTINGS)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = {**kept, "PYTHONPATH": str(FOLDER), "NO_PROXY": "*", "AWS_EC2_METADATA_DISABLED": "true"}
    with serve(answer) as server:
        command = [sys.executable, "-c", SCRIPT, f"{server.url}/finspace", json.dumps(request.param), json.dumps(calls)]
        subprocess.run(command, env=environment, check=True, timeout=300)
        theirs = list(server.seen)
        ours = {driver: _ours(driver, server, request.param) for driver in ("worker", "triggerer")}
    return [name for name, _ in calls], [wire(each) for each in theirs], ours


def _ours(name, server, token):
    auth = SigV4(lambda: ReadOnlyCredentials("AKIA", "secret", token), "finspace", "eu-west-1")
    runner = FlowRunner(name, {"base_url": f"{server.url}/finspace/", "auth": auth})
    server.seen.clear()
    for _, flow in CALLS.values():
        runner(flow())
    return [wire(each) for each in server.seen]


@pytest.mark.parametrize("driver", ["worker", "triggerer"])
@pytest.mark.parametrize("operation", CALLS)
def test_requests_equal_botocores(both, operation, driver):
    """Request by request."""
    names, theirs, ours = both
    assert len(theirs) == len(ours[driver]) == len(names) == 11
    mine = [request for name, request in zip(names, ours[driver], strict=True) if name == operation]
    assert mine == [request for name, request in zip(names, theirs, strict=True) if name == operation]


def test_the_client_token_is_sent(both):
    """Both request page two with the token unchanged."""
    _, theirs, ours = both
    for requests in (theirs, *ours.values()):
        tokens = [dict(parse_qsl("&".join(query))).get("nextToken") for _, _, query, *_ in requests]
        assert tokens.count(TOKEN) == len(LISTINGS)
