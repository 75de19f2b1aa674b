"""Run in a process of its own, with one version of kalbio on the path: use it as its users would, tell as JSON.

Not a test: `test_kaleidoscope_vendor.py` starts it and judges what it tells. Nothing of ours is imported here.
"""

from __future__ import annotations

import json
import sys
import typing
from datetime import datetime, timedelta

import requests
import typing_extensions

if sys.version_info < (3, 12):
    # All versions of kalbio stop at their import on Python 3.11: pydantic asks for the other TypedDict there. It is all
    # that keeps 0.7.0, which declares 3.12, from running.
    typing.TypedDict = typing_extensions.TypedDict

from kalbio.client import KaleidoscopeClient

ROOT, IDS, CREDENTIALS = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
ROWS = [{"symbol": "H", "name": "Hydrogen", "atomic_number": 1}, {"symbol": "X", "atomic_number": "many"}]


def settings(**changes):
    """Turn the sandbox, its clock above all."""
    requests.post(f"{ROOT}/control/settings", json=changes, timeout=5).raise_for_status()


def failure(act):
    """What a call comes to that cannot work: its exception, or None where this version swallows it."""
    try:
        return act()
    except Exception as error:  # noqa: BLE001 - which one differs by version, and is what we want to know
        return {"type": type(error).__name__, "status": getattr(error, "status_code", None)}


def push(client):
    """By name with all that all versions know, by source, and by field id where there is such a thing."""
    aims = {name: IDS[name] for name in ("operation_id", "program_id")}
    by_name = client.imports.push_data(key_field_names=["symbol"], data=ROWS, set_name="monday", **aims)
    by_source = client.imports.push_data(key_field_names=["symbol"], data=ROWS[:1], source_id=IDS["source_id"])
    told = {"by_name": by_name, "by_source": by_source}
    if hasattr(client.imports, "push_data_by_field_id"):
        names = {field.field_name: field.id for field in client.entity_fields.get_data_fields()}
        (key,) = [field.id for field in client.entity_fields.get_key_fields() if field.field_name == "symbol"]
        row = {key: "He", names["atomic_number"]: 2}
        views = [IDS["record_view_id"]]
        told["by_field_id"] = client.imports.push_data_by_field_id([key], [row], record_view_ids=views)
    return told


def look(client, import_id):
    """One import and the listing, with the client's own models where it has them."""
    if not hasattr(client.imports, "get_imports"):
        return {"one": client._get(f"/imports/{import_id}"), "listed": len(client._get("/imports"))}
    one = client.imports.get_import(import_id).model_dump()
    pages = [len(client.imports.get_imports(is_complete=True, page=page, page_size=2)) for page in (1, 2)]
    return {"one": one, "listed": len(client.imports.get_imports()), "pages": pages}


def look_around(client):
    """The other services."""
    (record_id,) = client.records.search_records(search_text="H", limit=1)
    record = client.records.get_record_by_id(record_id)
    return {
        "workspace": client.workspace.get_workspace().id,
        "programs": [program.id for program in client.programs.get_programs()],
        "activities": [activity.id for activity in client.activities.get_activities()],
        "types": sorted(each.slice_name for each in client.entity_types.get_types()),
        "views": [view.id for view in client.record_views.get_record_views()],
        "record": record.record_identifier,
        "values": sorted(str(values[0].content) for values in record.record_values.values()),
    }


def expire(client):
    """The token runs out: first only the server's clock says so, then the client's too."""
    settings(clock_advance=3600)
    told = {"refused": failure(lambda: client._get("/programs"))}
    late(client)
    told["refreshed"] = len(client._get("/programs"))
    return told


def rotate(client):
    """Tokens so short that the client refreshes before each call; then a refresh token is used twice."""
    settings(token_lifetime=600)
    late(client)
    used = client._refresh_token
    told = {"calls": [len(client._get("/programs")) for _ in range(3)]}
    client._refresh_token = used
    told["reused"] = failure(lambda: len(client._get("/programs")))
    return told


def late(client):
    """For the client, too, it is time to refresh."""
    client._auth_refresh_before = datetime.now() - timedelta(seconds=1)


def main():
    """In this order, each part on its own line of the request log."""
    client = KaleidoscopeClient(**CREDENTIALS, url=f"{ROOT}/kaleidoscope")
    told = {"pushed": push(client)}
    import_id = told["pushed"]["by_name"]
    settings(clock_advance=3)
    told["looked"] = look(client, import_id["import_id"] if isinstance(import_id, dict) else import_id)
    told["around"] = look_around(client)
    told["expired"] = expire(client)
    told["rotated"] = rotate(client)
    sys.stdout.write("told:" + json.dumps(told, default=str))


main()
