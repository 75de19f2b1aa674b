"""Runs in a separate process with the real kili package: uses it as its users would, prints JSON.

Not a test: `test_kili_vendor.py` starts it and checks its output. It imports nothing of the provider. Its sleeps take
no time: they advance the sandbox's clock, and the clock that measures its waits.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import requests

ROOT = sys.argv[1]
monotonic, ahead = time.monotonic, 0.0


def control(what, **content):
    """Change settings of the sandbox."""
    return requests.post(f"{ROOT}/control/{what}", json=content or [], timeout=5).raise_for_status()


def state():
    """The state of the mock Kili."""
    return requests.get(f"{ROOT}/control/state", timeout=5).json()["kili"]


def sleep(seconds):
    """Advance both clocks."""
    global ahead
    ahead += seconds
    control("settings", clock_advance=seconds)


time.sleep = sleep
time.monotonic = lambda: monotonic() + ahead

from kili.client import Kili  # noqa: E402
from kili.client_domain import Kili as DomainKili  # noqa: E402

IDS = state()["ids"]
ME, PROJECT, INTEGRATION = IDS["connection_id"], IDS["project_id"], IDS["integration_id"]


def connect(kind=Kili):
    """A client with all its checks: viewer, version, schema, expiry of the key."""
    key = requests.get(f"{ROOT}/control/state", timeout=5).json()["credentials"]["kili"]["api_key"]
    return kind(api_key=key, api_endpoint=f"{ROOT}/kili/api/label/v2/graphql", disable_tqdm=True)


def bucket():
    """The folder of the bucket."""
    return Path(state()["buckets"][INTEGRATION])


def assets(connection_id=ME):
    """The assets of a connection."""
    return next(each["assets"] for each in state()["connections"] if each["id"] == connection_id)


def read_other(kili):
    """List and count."""
    domain = connect(DomainKili)
    return {
        "integrations": [each["id"] for each in kili.cloud_storage_integrations()],
        "connected": kili.count_cloud_storage_integrations(status="CONNECTED"),
        "connections": [each["id"] for each in kili.cloud_storage_connections(project_id=PROJECT)],
        "connection": kili.cloud_storage_connections(cloud_storage_connection_id=ME)[0]["numberOfAssets"],
        "domain": [each["id"] for each in domain.storages.connections.list(filter={"project_id": PROJECT})],
    }


def synchronise(kili):
    """Dry run, without and with deletion."""
    report = {}
    kili.synchronize_cloud_storage_connection(ME, dry_run=True)
    report["dry"] = assets()
    report["first"] = kili.synchronize_cloud_storage_connection(ME)["numberOfAssets"]
    (bucket() / "cats" / "one.png").unlink()
    (bucket() / "cats" / "three.png").write_bytes(b"new")
    kili.synchronize_cloud_storage_connection(ME)
    report["kept"] = sorted(assets())
    kili.synchronize_cloud_storage_connection(ME, delete_extraneous_files=True)
    report["deleted"] = sorted(assets())
    return report


def add(kili):
    """A connection with filters."""
    made = kili.add_cloud_storage_connection(PROJECT, INTEGRATION, prefix="cats/", exclude=["*two*"])["id"]
    kili.synchronize_cloud_storage_connection(made)
    return {"id": made, "assets": sorted(assets(made))}


def weak(kili, faults=(), empty=False, **settings):
    """The result of the client's algorithm under these settings: its error, and the assets afterwards."""
    control("reset")
    control("settings", **{"job_seconds": 4, **settings})
    requests.post(f"{ROOT}/control/faults", json=list(faults), timeout=5).raise_for_status()
    for file in bucket().rglob("*.png") if empty else ():
        file.unlink()
    try:
        kili.synchronize_cloud_storage_connection(ME)
        error = None
    except Exception as problem:  # noqa: BLE001 - which one it is, is what we want to know
        error = type(problem).__name__
    return {"error": error, "assets": len(assets())}


def weaknesses(kili):
    """Each of the conditions that the provider must handle."""
    lost = {"method": "POST", "path": "graphql", "drop": "after", "times": 1}
    return {
        "late flag": weak(kili, busy_flag_delay=10),
        "long check": weak(kili, job_seconds=1000),
        "foreign assets": weak(kili, other_assets_per_count=1),
        "lost answer": weak(kili, [{**lost, "skip": 6}], job_seconds=0),
        "odd total": weak(kili, extra_total_differences=4, empty=True),
    }


def main():
    """All parts with one client; or, if a connection is given, only synchronise it with deletion."""
    kili = connect()
    if sys.argv[2:]:
        kili.synchronize_cloud_storage_connection(sys.argv[2], delete_extraneous_files=True)
        return
    control("settings", job_seconds=1)
    report = {"around": read_other(kili), "synchronised": synchronise(kili), "added": add(kili)}
    report["weak"] = weaknesses(kili)
    sys.stdout.write("report:" + json.dumps(report))


main()
