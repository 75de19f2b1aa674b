"""Run in a process of its own, with the real kili on the path: use it as its users would, tell as JSON.

Not a test: `test_kili_vendor.py` starts it and judges what it tells. Nothing of ours is imported here. What it sleeps
takes no time: it moves the sandbox's clock, and the one that its waits are measured by.
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
    """Turn the sandbox."""
    return requests.post(f"{ROOT}/control/{what}", json=content or [], timeout=5).raise_for_status()


def state():
    """What Kili holds."""
    return requests.get(f"{ROOT}/control/state", timeout=5).json()["kili"]


def sleep(seconds):
    """Both clocks go on."""
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
    """With all its checks on: viewer, version, schema, expiry of the key."""
    key = requests.get(f"{ROOT}/control/state", timeout=5).json()["credentials"]["kili"]["api_key"]
    return kind(api_key=key, api_endpoint=f"{ROOT}/kili/api/label/v2/graphql", disable_tqdm=True)


def bucket():
    """The folder that is the bucket."""
    return Path(state()["buckets"][INTEGRATION])


def assets(connection_id=ME):
    """What came in through a connection."""
    return next(each["assets"] for each in state()["connections"] if each["id"] == connection_id)


def look_around(kili):
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
    """Dry, without and with deletion."""
    told = {}
    kili.synchronize_cloud_storage_connection(ME, dry_run=True)
    told["dry"] = assets()
    told["first"] = kili.synchronize_cloud_storage_connection(ME)["numberOfAssets"]
    (bucket() / "cats" / "one.png").unlink()
    (bucket() / "cats" / "three.png").write_bytes(b"new")
    kili.synchronize_cloud_storage_connection(ME)
    told["kept"] = sorted(assets())
    kili.synchronize_cloud_storage_connection(ME, delete_extraneous_files=True)
    told["deleted"] = sorted(assets())
    return told


def add(kili):
    """A connection of its own filters."""
    made = kili.add_cloud_storage_connection(PROJECT, INTEGRATION, prefix="cats/", exclude=["*two*"])["id"]
    kili.synchronize_cloud_storage_connection(made)
    return {"id": made, "assets": sorted(assets(made))}


def weak(kili, faults=(), empty=False, **settings):
    """What its algorithm comes to under these conditions: its error, and the assets that there are then."""
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
    """Each of the conditions that ours must stand."""
    lost = {"method": "POST", "path": "graphql", "drop": "after", "times": 1}
    return {
        "late flag": weak(kili, busy_flag_delay=10),
        "long check": weak(kili, job_seconds=1000),
        "foreign assets": weak(kili, other_assets_per_count=1),
        "lost answer": weak(kili, [{**lost, "skip": 6}], job_seconds=0),
        "odd total": weak(kili, extra_total_differences=4, empty=True),
    }


def main():
    """All of it, with one client; or, if a connection is named, only synchronise that, and delete what is gone."""
    kili = connect()
    if sys.argv[2:]:
        kili.synchronize_cloud_storage_connection(sys.argv[2], delete_extraneous_files=True)
        return
    control("settings", job_seconds=1)
    told = {"around": look_around(kili), "synchronised": synchronise(kili), "added": add(kili)}
    told["weak"] = weaknesses(kili)
    sys.stdout.write("told:" + json.dumps(told))


main()
