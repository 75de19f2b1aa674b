"""The vendor's own client, in several versions, works against the pretended Kaleidoscope unchanged.

Each version is a folder filled by `make install`; without it the test says so and is skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.vendor

SESSION = Path(__file__).with_name("kalbio_session.py")
FOLDER = Path(os.environ.get("SLUICE_VENDOR_DIR", Path(sys.prefix) / "vendor"))

OLDEST, NEWEST_FOR_3_11, NEWEST = "0.2.4", "0.5.0", "0.7.0"
# What they import needs (typing.Unpack), which for the older ones is more than what they declare.
NEEDS_PYTHON = {OLDEST: (3, 11), NEWEST_FOR_3_11: (3, 11), NEWEST: (3, 12)}


@pytest.fixture(params=[OLDEST, NEWEST_FOR_3_11, NEWEST])
def version(request):
    """A version that is there and runs on this Python."""
    needed = NEEDS_PYTHON[request.param]
    if sys.version_info < needed:
        pytest.skip(f"kalbio {request.param} needs Python {'.'.join(map(str, needed))}")
    if not (FOLDER / f"kalbio-{request.param}").is_dir():
        pytest.skip(f"kalbio {request.param} is not in {FOLDER}; make install puts it there")
    return request.param


@pytest.fixture
def told(version, sluice_sandbox):
    """What a whole session of that version tells."""
    state = sluice_sandbox.state()
    arguments = (sluice_sandbox.url, state["kaleidoscope"]["ids"], state["credentials"]["kaleidoscope"])
    command = [sys.executable, "-W", "error::DeprecationWarning:__main__", SESSION]
    command += [each if isinstance(each, str) else json.dumps(each) for each in arguments]
    environment = {**os.environ, "PYTHONPATH": str(FOLDER / f"kalbio-{version}"), "NO_PROXY": "*"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.split("told:")[1])


def test_a_whole_session(version, told, sluice_sandbox):
    """Push in all ways, look, look around, let the token expire, rotate, use a refresh token twice."""
    ids = sluice_sandbox.state()["kaleidoscope"]["ids"]
    _judge_pushes(version, told, sluice_sandbox)
    _judge_looks(version, told)
    around = told["around"]
    assert around["workspace"] == ids["workspace_id"]
    assert around["programs"] == [ids["program_id"]]
    assert around["activities"] == [ids["operation_id"]]
    assert around["views"] == [ids["record_view_id"], ids["staging_view_id"]]
    assert {"Element", "Compound"} <= set(around["types"])
    assert (around["record"], around["values"]) == ("H", ["1", "H", "Hydrogen"])
    _judge_tokens(version, told, sluice_sandbox)


def _judge_pushes(version, told, sluice_sandbox):
    pushed = told["pushed"]
    assert (pushed["by_name"] == {"import_id": _id(pushed["by_name"])}) is (version == OLDEST)
    assert ("by_field_id" in pushed) is (version != OLDEST)
    state = sluice_sandbox.state()["kaleidoscope"]
    imports = {job["id"]: job for job in state["imports"]}
    assert list(imports) == [_id(import_id) for import_id in pushed.values()]
    by_name, by_source = (imports[_id(pushed[way])] for way in ("by_name", "by_source"))
    assert (by_name["set_name"], by_name["operation_id"]) == ("monday", state["ids"]["operation_id"])
    assert by_source["source_id"] == state["ids"]["source_id"]
    records = {record["key"]["symbol"]: record["pushes"] for record in state["records"]}
    assert records == ({"H": 2} if version == OLDEST else {"H": 2, "He": 1})


def _judge_looks(version, told):
    looked = told["looked"]
    one = looked["one"]
    assert (one["import_status"], one["is_complete"], one["import_result"]["records_created"]) == ("completed", True, 1)
    if version == NEWEST:
        (error,) = one["import_result"]["validation_result"]["errors"]
        assert (error["field_name"], error["incoming_record_identifier"]) == ("atomic_number", "X")
    assert looked["listed"] == len(told["pushed"])
    assert looked.get("pages", [2, 1]) == [2, 1]


def _judge_tokens(version, told, sluice_sandbox):
    """The oldest prints errors and gives None; the newest falls back to a new grant when a refresh is refused."""
    refused, reused = told["expired"]["refused"], told["rotated"]["reused"]
    assert refused == (None if version == OLDEST else {"type": "KalbioAPIError", "status": 401})
    assert (told["expired"]["refreshed"], told["rotated"]["calls"]) == (1, [1, 1, 1])
    assert reused == (1 if version == NEWEST else {"type": "RuntimeError", "status": None})
    grants = [seen for seen in sluice_sandbox.requests() if seen["path"].endswith("/oauth/token")]
    asked = [(grant["json"]["grant_type"], grant["status"]) for grant in grants]
    first, refresh = ("client_credentials", 200), ("refresh_token", 200)
    expected = [first, refresh, refresh, refresh, refresh, ("refresh_token", 401)]
    assert asked == expected + [first] * (version == NEWEST)


def _id(answer):
    return answer["import_id"] if isinstance(answer, dict) else answer
