"""Runs in a separate process with one version of kalbio: uses it as its users would, prints JSON.

Not a test: `test_kaleidoscope_vendor.py` starts it and checks its output. It imports nothing of the provider.
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

from kalbio.client import KaleidoscopeClient  # type: ignore[import-not-found]

ROOT, IDS, CREDENTIALS = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
ROWS = [{"symbol": "H", "name": "Hydrogen", "atomic_number": 1}, {"symbol": "X", "atomic_number": "many"}]


def settings(**changes):
    """Change settings of the sandbox, mainly its clock."""
    requests.post(f"{ROOT}/control/settings", json=changes, timeout=5).raise_for_status()


def failure(call):
    """The exception of a call that must fail, or None if this version swallows it."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - which one differs by version, and is what we want to know
        return {"type": type(error).__name__, "status": getattr(error, "status_code", None)}


def push(client):
    """By name with all members that every version knows, by source, and by field id if supported."""
    aims = {name: IDS[name] for name in ("operation_id", "program_id")}
    by_name = client.imports.push_data(key_field_names=["symbol"], data=ROWS, set_name="monday", **aims)
    by_source = client.imports.push_data(key_field_names=["symbol"], data=ROWS[:1], source_id=IDS["source_id"])
    report = {"by_name": by_name, "by_source": by_source}
    if hasattr(client.imports, "push_data_by_field_id"):
        names = {field.field_name: field.id for field in client.entity_fields.get_data_fields()}
        (key,) = [field.id for field in client.entity_fields.get_key_fields() if field.field_name == "symbol"]
        row = {key: "He", names["atomic_number"]: 2}
        views = [IDS["record_view_id"]]
        report["by_field_id"] = client.imports.push_data_by_field_id([key], [row], record_view_ids=views)
    return report


def read_import(client, import_id):
    """One import and the listing, with the client's own models where it has them."""
    if not hasattr(client.imports, "get_imports"):
        return {"one": client._get(f"/imports/{import_id}"), "listed": len(client._get("/imports"))}
    one = client.imports.get_import(import_id).model_dump()
    pages = [len(client.imports.get_imports(is_complete=True, page=page, page_size=2)) for page in (1, 2)]
    return {"one": one, "listed": len(client.imports.get_imports()), "pages": pages}


def read_other(client):
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
    """The token expires: first only by the server's clock, then also by the client's."""
    settings(clock_advance=3600)
    report = {"refused": failure(lambda: client._get("/programs"))}
    advance_client_clock(client)
    report["refreshed"] = len(client._get("/programs"))
    return report


def rotate(client):
    """Tokens so short that the client refreshes before each call; then a refresh token is used twice."""
    settings(token_lifetime=600)
    advance_client_clock(client)
    used = client._refresh_token
    report = {"calls": [len(client._get("/programs")) for _ in range(3)]}
    client._refresh_token = used
    report["reused"] = failure(lambda: len(client._get("/programs")))
    return report


def advance_client_clock(client):
    """Advance the client's clock, too."""
    client._auth_refresh_before = datetime.now() - timedelta(seconds=1)


def main():
    """In this order, so that each part can be found in the request log."""
    client = KaleidoscopeClient(**CREDENTIALS, url=f"{ROOT}/kaleidoscope")
    report = {"pushed": push(client)}
    import_id = report["pushed"]["by_name"]
    settings(clock_advance=3)
    report["reads"] = read_import(client, import_id["import_id"] if isinstance(import_id, dict) else import_id)
    report["around"] = read_other(client)
    report["expired"] = expire(client)
    report["rotated"] = rotate(client)
    sys.stdout.write("report:" + json.dumps(report, default=str))


main()
