"""The last boto3 with FinSpace runs all eight operations against the mock, unchanged.

`make install` puts it in a folder of its own; without it the test is skipped with a message.
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
def report(sluice_sandbox):
    """The output of a whole session."""
    if not FOLDER.is_dir():
        pytest.skip(f"boto3 1.43.116 is not in {FOLDER}; make install puts it there")
    keys = sluice_sandbox.state()["credentials"]["finspace"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = {**kept, "PYTHONPATH": str(FOLDER), "NO_PROXY": "*", "AWS_EC2_METADATA_DISABLED": "true"}
    command = [sys.executable, SESSION, sluice_sandbox.url, json.dumps(keys)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.split("report:")[1])


def test_vendor_client_session(report, sluice_sandbox):
    """Environments, databases and changesets are created, read and listed in pages; errors are boto3's own."""
    assert report["environment"] == "CREATED"
    assert [arn.rpartition("/")[2] for arn in report["made"]] == ["db0", "db1", "db2"]
    assert report["databases"] == [["markets", "db0", "db1", "db2"], 2]
    assert (report["same"], report["first"], report["then"]) == (True, ["PENDING", True], ["COMPLETED", 3.0])
    assert report["changesets"] == [3, 3]
    assert report["database"] == [9, 3]
    assert report["failures"] == {
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
