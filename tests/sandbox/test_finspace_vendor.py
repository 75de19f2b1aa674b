"""The last boto3 that knows FinSpace passes through all eight operations of the pretended one, unchanged.

It is a folder filled by `make install`; without it the test says so and is skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.vendor

SESSION = Path(__file__).with_name("boto3_session.py")
FOLDER = Path(os.environ.get("SLUICE_VENDOR_DIR", Path(sys.prefix) / "vendor")) / "boto3-1.43.116"


@pytest.fixture
def told(sluice_sandbox):
    """What a whole session tells."""
    if not FOLDER.is_dir():
        pytest.skip(f"boto3 1.43.116 is not in {FOLDER}; make install puts it there")
    keys = sluice_sandbox.state()["credentials"]["finspace"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = {**kept, "PYTHONPATH": str(FOLDER), "NO_PROXY": "*", "AWS_EC2_METADATA_DISABLED": "true"}
    command = [sys.executable, SESSION, sluice_sandbox.url, json.dumps(keys)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.split("told:")[1])


def test_vendor_client_session(told, sluice_sandbox):
    """Environments, databases and changesets, made, looked at, listed in pages; refusals are boto3's own errors."""
    assert told["environment"] == "CREATED"
    assert [arn.rpartition("/")[2] for arn in told["made"]] == ["db0", "db1", "db2"]
    assert told["databases"] == [["markets", "db0", "db1", "db2"], 2]
    assert (told["same"], told["first"], told["then"]) == (True, ["PENDING", True], ["COMPLETED", 3.0])
    assert told["changesets"] == [3, 3]
    assert told["database"] == [9, 3]
    assert told["failures"] == {
        "other body": ["ConflictException", "ConflictException", 409],
        "unknown": ["ResourceNotFoundException", "ResourceNotFoundException", 404],
        "bad path": ["ValidationException", "ValidationException", 400],
        "there": ["ResourceAlreadyExistsException", "ResourceAlreadyExistsException", 409],
        "secret": ["ClientError", "InvalidSignatureException", 403],
        "key": ["ClientError", "UnrecognizedClientException", 403],
        "region": ["ClientError", "InvalidSignatureException", 403],
        "skew": ["ClientError", "InvalidSignatureException", 403],
    }
    assert len(sluice_sandbox.state()["finspace"]["changesets"]) == 3
