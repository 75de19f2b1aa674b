"""Imports: their states, counts, records by key, and rejected rows."""

from __future__ import annotations

import pytest

HYDROGEN = {"symbol": "H", "name": "Hydrogen", "atomic_number": 1}


def _counts(found):
    return tuple(found["import_result"][f"records_{what}"] for what in ("created", "updated", "skipped"))


def test_import_runs_for_job_seconds(kal, sluice_sandbox):
    """Created, in progress, completed on the sandbox's clock; rows are written at the end."""
    sluice_sandbox.settings(job_seconds=100)
    import_id = kal.push(HYDROGEN).json()["import_id"]
    seen = []
    for seconds in (0, 30, 69, 2):
        sluice_sandbox.advance(seconds)
        found = kal.get(f"imports/{import_id}").json()
        records = sluice_sandbox.state()["kaleidoscope"]["records_count"]
        seen.append((found["import_status"], found["is_complete"], bool(found["started_at"]), records))
    assert seen == [
        ("created", False, False, 0),
        ("processing", False, True, 0),
        ("processing", False, True, 0),
        ("completed", True, True, 1),
    ]
    assert found["created_at"] < found["started_at"] < found["completed_at"]
    assert found["completed_at"].endswith("Z")
    assert found["error_message"] is None


def test_polling_advances_the_clock(kal, sluice_sandbox):
    """So a waiting client needs a few polls and no sleep."""
    sluice_sandbox.settings(job_seconds=100, advance_per_poll=40, running_import_status="running")
    import_id = kal.push(HYDROGEN).json()["import_id"]
    statuses = [kal.get(f"imports/{import_id}").json()["import_status"] for _ in range(3)]
    assert statuses == ["running", "running", "completed"]


def test_records_are_stored_by_key(kal, sluice_sandbox):
    """New, changed and unchanged rows are created, updated and skipped; other fields keep their values."""
    assert _counts(kal.result(HYDROGEN, {"symbol": "He"})) == (2, 0, 0)
    assert _counts(kal.result(HYDROGEN, {"symbol": "He", "name": "Helium"}, {"symbol": "Li"})) == (1, 1, 1)
    assert _counts(kal.result({"symbol": "H", "atomic_weight": 1.008})) == (0, 1, 0)
    records = {record["key"]["symbol"]: record for record in sluice_sandbox.state()["kaleidoscope"]["records"]}
    assert records["H"]["values"] == {"name": "Hydrogen", "atomic_number": 1, "atomic_weight": 1.008}
    assert {key: record["pushes"] for key, record in records.items()} == {"H": 3, "He": 2, "Li": 1}


def test_keys_of_several_fields(kal, sluice_sandbox):
    """The key is the set of fields and values in any order; other entities are separate."""
    kal.result({"id": 1, "name": "a"}, {"id": 1, "name": "b"}, keys=("id", "name"))
    assert _counts(kal.result({"id": "1", "name": "b", "formula": "x"}, keys=("name", "id"))) == (0, 1, 0)
    assert _counts(kal.result({"id": 1, "name": "b"}, keys=("id",))) == (1, 0, 0)
    entities = [record["entity"] for record in sluice_sandbox.state()["kaleidoscope"]["records"]]
    assert sorted(entities) == ["Sample", "id and name", "id and name"]


def test_an_invalid_value_rejects_only_its_row(kal, sluice_sandbox):
    """The import completes with the field and record of the error, and writes the other rows."""
    found = kal.result(HYDROGEN, {"symbol": "X", "atomic_number": "many", "atomic_weight": True}, {"symbol": "He"})
    assert (found["import_status"], _counts(found)) == ("completed", (2, 0, 1))
    result = found["import_result"]["validation_result"]
    assert (result["total_processed"], result["successful"], result["failed"]) == (3, 2, 1)
    assert [(error["field_name"], error["value"]) for error in result["errors"]] == [
        ("atomic_number", "many"),
        ("atomic_weight", True),
    ]
    fields = {field["id"]: field["field_name"] for field in kal.get("data_fields").json()}
    assert fields[result["errors"][0]["field_id"]] == "atomic_number"
    assert {error["conflict_type"] for error in result["errors"]} == {"invalid_format"}
    assert {error["incoming_record_identifier"] for error in result["errors"]} == {"X"}
    assert sluice_sandbox.state()["kaleidoscope"]["records_count"] == 2


def test_numbers_as_strings(kal, sluice_sandbox):
    """As from a CSV file; an empty string is no value."""
    kal.result({"symbol": "H", "atomic_number": "1", "atomic_weight": "1.008", "density": ""})
    values = sluice_sandbox.state()["kaleidoscope"]["records"][0]["values"]
    assert values == {"atomic_number": 1, "atomic_weight": 1.008, "density": None}
    assert _counts(kal.result({"symbol": "H", "atomic_number": 1})) == (0, 0, 1)


def test_dates_and_booleans(kal):
    """ISO dates; booleans also as strings."""
    good = {"registered_on": "2026-11-20", "radioactive": "false"}, {"registered_on": "2026-11-20T10:00:00Z"}
    bad = {"registered_on": "yesterday"}, {"registered_on": 7}, {"radioactive": 1}, {"name": ["a"]}
    found = kal.result(*({"symbol": str(number), **row} for number, row in enumerate(good + bad)))
    assert _counts(found) == (2, 0, 4)


def test_unusual_strings_are_preserved(kal, sluice_sandbox):
    """A lone surrogate breaks neither the API nor the pages."""
    body = b'{"key_field_names": ["symbol"], "data": [{"symbol": "\\ud800", "atomic_number": "\\ud800"}]}'
    headers = {**kal.headers(), "Content-Type": "application/json"}
    import_id = kal.http.post("push/imports", content=body, headers=headers).json()["import_id"]
    (error,) = kal.get(f"imports/{import_id}").json()["import_result"]["validation_result"]["errors"]
    assert error["value"] == "\ud800"
    assert sluice_sandbox.requests()[-2]["json"]["data"][0]["symbol"] == "\ud800"
    assert kal.http.get(f"web/imports/{import_id}").status_code == 200


def test_unknown_fields_are_added(kal, sluice_sandbox):
    """With the type of the first value, which later values must match."""
    found = kal.result({"symbol": "H", "group": 1, "state": "gas", "stable": True, "nothing": None, "empty": ""})
    assert found["import_result"]["fields_added"] == 3
    types = {field["field_name"]: field["field_type"] for field in kal.get("data_fields").json()}
    assert (types["group"], types["state"], types["stable"]) == ("number", "text", "boolean")
    found = kal.result({"symbol": "He", "group": "noble"}, {"symbol": "Li", "shells": [2, 1]}, {"symbol": "Be"})
    assert _counts(found) == (1, 0, 2)
    assert found["import_result"]["fields_added"] == 0


def test_rejected_rows_setting(kal, sluice_sandbox):
    """The first rows of each import are rejected, also rows with only a key."""
    sluice_sandbox.settings(rejected_rows=2)
    found = kal.result({"symbol": "H"}, HYDROGEN, {"symbol": "He"})
    assert _counts(found) == (1, 0, 2)
    names = [error["field_name"] for error in found["import_result"]["validation_result"]["errors"]]
    assert names == ["symbol", "name"]


def test_imports_that_fail_as_a_whole(kal, sluice_sandbox):
    """The next imports end as failed, with a message, without result and rows."""
    sluice_sandbox.settings(fail_imports=1)
    found = kal.result(HYDROGEN)
    assert (found["import_status"], found["is_complete"], found["import_result"]) == ("failed", True, None)
    assert found["error_message"]
    assert sluice_sandbox.state()["kaleidoscope"]["records"] == []
    assert kal.result(HYDROGEN)["import_status"] == "completed"


def test_imports_not_found_setting(kal, sluice_sandbox):
    """404, as for an unknown import."""
    import_id = kal.push(HYDROGEN).json()["import_id"]
    sluice_sandbox.settings(imports_not_found=True)
    assert kal.get(f"imports/{import_id}").status_code == 404
    sluice_sandbox.settings(imports_not_found=False)
    assert kal.get("imports/other").status_code == 404


def test_listing(kal, sluice_sandbox):
    """A JSON list, newest first, in pages limited by the setting, optionally by completeness."""
    done = [kal.push({"symbol": name}).json()["import_id"] for name in "ABC"]
    sluice_sandbox.settings(job_seconds=100)
    running = kal.push({"symbol": "D"}).json()["import_id"]
    newest_first = [running, *done[::-1]]

    def ids(**params):
        return [found["id"] for found in kal.get("imports", **params).json()]

    assert ids() == newest_first
    assert ids(is_complete=1) == done[::-1]
    assert ids(is_complete=0) == [running]
    assert [ids(page=page, page_size=3) for page in (1, 2, 3)] == [newest_first[:3], newest_first[3:], []]
    sluice_sandbox.settings(page_size=2, first_page_number=0)
    assert [ids(page=page, page_size=3) for page in (0, 1, 2)] == [newest_first[:2], newest_first[2:], []]


@pytest.mark.parametrize("params", [{"is_complete": "true"}, {"page": 0}, {"page_size": 0}, {"page": "x"}])
def test_listing_rejects_invalid_parameters(kal, params):
    """kalbio sends 1 and 0 for is_complete."""
    assert kal.get("imports", **params).status_code == 400


def test_other_listings(kal, sluice_sandbox):
    """Clients can find ids and records."""
    ids = sluice_sandbox.state()["kaleidoscope"]["ids"]
    kal.result(HYDROGEN, operation_id=ids["operation_id"])
    assert kal.get("workspaces/active").json()["id"] == ids["workspace_id"]
    assert [program["id"] for program in kal.get("programs").json()] == [ids["program_id"]]
    (activity,) = kal.get("activities").json()
    assert (activity["id"], activity["activity_type"]) == (ids["operation_id"], "experiment")
    assert kal.get("record_views").json()[0]["id"] == ids["record_view_id"]
    assert ids["entity_slices"]["Element"] in [each["id"] for each in kal.get("entity_slices").json()]
    (record_id,) = kal.get("records/search", search_text="h").json()
    assert activity["all_record_ids"] == [record_id]
    (record,) = kal.get("records", record_ids=f"{record_id},other").json()
    assert record == kal.get(f"records/{record_id}").json()
    assert kal.get("records/other").status_code == 404


def test_ids_are_the_same_after_a_reset(kal, sluice_sandbox):
    """The ids of the initial objects are stable."""
    before = sluice_sandbox.state()["kaleidoscope"]
    kal.result(HYDROGEN)
    sluice_sandbox.reset()
    after = sluice_sandbox.state()["kaleidoscope"]
    assert (after["ids"], after["imports"], after["records_count"]) == (before["ids"], [], 0)
    assert [field["id"] for field in after["data_fields"]] == [field["id"] for field in before["data_fields"]]
