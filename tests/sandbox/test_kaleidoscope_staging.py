"""Staging of drafts by an import in two steps, and all of its errors."""

from __future__ import annotations

import pytest

from tests.sandbox.conftest import status_and_code

A, B = {"name": "A", "smiles": "C"}, {"name": "B", "molecular_weight": 12.5}


def test_staging_in_two_steps(drafts, kal, sluice_sandbox):
    """The rows have no effect until the second step runs the import."""
    sluice_sandbox.settings(job_seconds=10)
    made = drafts.create(A, B).json()
    assert (made["import_status"], made["is_complete"], made["started_at"]) == ("created", False, None)
    sluice_sandbox.advance(100)
    assert kal.get(f"imports/{made['id']}").json() == made
    response = drafts.run(made["id"], "molecular_weight", "smiles")
    assert (response.status_code, response.content) == (204, b"")
    assert (kal.get(f"imports/{made['id']}").json()["import_status"], drafts.current()) == ("created", [])
    sluice_sandbox.advance(10)
    done = kal.get(f"imports/{made['id']}").json()
    result = done["import_result"]
    assert (done["import_status"], result["records_created"], result["records_skipped"]) == ("completed", 2, 0)
    assert len(drafts.current()) == 2
    assert drafts.state("records") == []


def test_read_a_draft(drafts, kal):
    """By its id, as the registrar does: key and configured values."""
    import_id = drafts.create({**A, "other": 1}).json()["id"]
    drafts.run(import_id, "smiles")
    (record_id,) = drafts.current()
    record = kal.get(f"records/{record_id}").json()
    assert record["record_identifier"] == "A"
    assert sorted(values[0]["content"] for values in record["record_values"].values()) == ["A", "C"]
    assert kal.get("records", record_ids=record_id).json() == [record]
    (draft,) = drafts.state("drafts")
    assert (draft["key"], draft["values"], draft["archived"]) == ({"name": "A"}, {"smiles": "C"}, "")


def test_equal_keys_make_separate_drafts(drafts):
    """In one import or in two, each has an id of its own."""
    drafts.stage(A, A)
    assert len(set(drafts.stage(A))) == 3


def test_column_mapped_to_a_field_of_another_name(drafts, kal):
    """By the configuration of the import."""
    import_id = drafts.create({"name": "A", "SMILES": "C"}).json()["id"]
    (smiles,) = (each for each in kal.get("data_fields").json() if each["field_name"] == "smiles")
    column = {"name": "SMILES", "type": "text", "mapped_field_id": smiles["id"]}
    drafts.run(import_id, data_field_configurations=[column])
    assert [each["values"] for each in drafts.state("drafts")] == [{"smiles": "C"}]


def test_rows_with_invalid_values(drafts, kal, sluice_sandbox):
    """They are reported in the result and do not become drafts."""
    sluice_sandbox.settings(rejected_rows=1)
    import_id = drafts.create(A, B, {"name": "X", "molecular_weight": "heavy"}).json()["id"]
    drafts.run(import_id, "molecular_weight")
    result = kal.get(f"imports/{import_id}").json()["import_result"]
    assert (result["records_created"], result["validation_result"]["failed"]) == (1, 2)
    assert [each["incoming_record_identifier"] for each in result["validation_result"]["errors"]] == ["A", "X"]
    assert [each["key"] for each in drafts.state("drafts")] == [{"name": "B"}]


def test_replace_drafts(drafts):
    """The new drafts exist, the replaced ones do not."""
    old = drafts.stage(A, B)
    (new,) = drafts.stage({"name": "C"}, replace_draft_record_ids=old)
    assert new not in old
    assert [each["archived"] for each in drafts.state("drafts")] == ["replaced", "replaced", ""]


def test_a_failed_import_replaces_nothing(drafts, sluice_sandbox):
    """Drafts are replaced only by an import that succeeds."""
    old = drafts.stage(A)
    sluice_sandbox.settings(fail_imports=1)
    assert drafts.stage(B, replace_draft_record_ids=old) == old


def test_import_in_two_steps_without_drafts(drafts, kal, sluice_sandbox):
    """It writes records, to the ordinary view."""
    made = drafts.create(A, is_draft=False).json()
    view = sluice_sandbox.state()["kaleidoscope"]["ids"]["record_view_id"]
    assert drafts.run(made["id"], "smiles", record_view_id=view).status_code == 204
    assert (drafts.current(), [each["key"] for each in drafts.state("records")]) == ([], [{"name": "A"}])
    other = drafts.create(A, is_draft=False).json()["id"]
    assert status_and_code(drafts.run(other)) == (404, "NOT_FOUND")
    response = drafts.run(other, record_view_id=view, replace_draft_record_ids=["x"])
    assert status_and_code(response) == (422, "NOT_A_DRAFT")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"data_json": []}, (400, "FST_ERR_VALIDATION")),
        ({"data_json": [1]}, (400, "FST_ERR_VALIDATION")),
        ({"attrs": []}, (400, "FST_ERR_VALIDATION")),
        ({"is_draft": "yes"}, (400, "FST_ERR_VALIDATION")),
        ({"source_type": 1}, (400, "FST_ERR_VALIDATION")),
        ({"surprise": 1}, (400, "FST_ERR_VALIDATION")),
        ({"operation_id": "other"}, (404, "NOT_FOUND")),
    ],
)
def test_invalid_rows(drafts, more, expected):
    """400, and no import is created."""
    assert status_and_code(drafts.create(A, **more)) == expected
    assert drafts.state("imports") == []


def test_drafts_need_an_operation(drafts, kal):
    """400 without one."""
    assert status_and_code(kal.post("imports", {"data_json": [A], "is_draft": True})) == (400, "FST_ERR_VALIDATION")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"key_field_configurations": []}, (400, "FST_ERR_VALIDATION")),
        ({"key_field_configurations": [{"name": "name", "id": "x"}]}, (400, "FST_ERR_VALIDATION")),
        ({"key_field_configurations": [{}]}, (400, "FST_ERR_VALIDATION")),
        ({"key_field_configurations": [{"name": "symbol"}]}, (422, "UNKNOWN_KEY_FIELD")),
        ({"data_field_configurations": {}}, (400, "FST_ERR_VALIDATION")),
        ({"data_field_configurations": [{"name": "smiles", "type": "text"}]}, (400, "FST_ERR_VALIDATION")),
        (
            {"data_field_configurations": [{"name": "smiles", "type": "text", "mapped_field_id": "x"}]},
            (422, "UNKNOWN_FIELD"),
        ),
        ({"record_view_id": "other"}, (404, "NOT_FOUND")),
        ({"replace_draft_record_ids": "all"}, (400, "FST_ERR_VALIDATION")),
        ({"replace_draft_record_ids": ["other"]}, (422, "NOT_A_DRAFT")),
        ({"surprise": 1}, (400, "FST_ERR_VALIDATION")),
    ],
)
def test_invalid_configurations(drafts, more, expected):
    """The import can still be run afterwards."""
    import_id = drafts.create(A).json()["id"]
    assert status_and_code(drafts.run(import_id, **more)) == expected
    assert drafts.run(import_id).status_code == 204


def test_configured_type_must_match_the_field(drafts, kal):
    """A guess."""
    (smiles,) = (each for each in kal.get("data_fields").json() if each["field_name"] == "smiles")
    column = {"name": "smiles", "type": "number", "mapped_field_id": smiles["id"]}
    response = drafts.run(drafts.create(A).json()["id"], data_field_configurations=[column])
    assert status_and_code(response) == (422, "WRONG_FIELD_TYPE")


@pytest.mark.parametrize("row", [{}, {"name": ""}, {"name": None}, {"name": []}])
def test_row_without_key(drafts, row):
    """400 with its location."""
    response = drafts.run(drafts.create(A, row).json()["id"])
    assert (response.status_code, response.json()["message"].startswith("body/data_json/1/name")) == (400, True)


def test_import_can_be_run_once(drafts, kal):
    """409 for a second run, and for an import without a second step."""
    import_id = drafts.create(A).json()["id"]
    drafts.run(import_id)
    assert status_and_code(drafts.run(import_id)) == (409, "IMPORT_ALREADY_RUN")
    assert status_and_code(drafts.run(kal.push({"symbol": "H"}).json()["import_id"])) == (409, "IMPORT_ALREADY_RUN")
    assert status_and_code(drafts.run("other")) == (404, "NOT_FOUND")


def test_operation_without_staging_table(drafts, kal, sluice_sandbox):
    """No view is listed, and all staging requests answer 422."""
    (record_id,) = drafts.stage(A)
    sluice_sandbox.settings(staging_table=False)
    assert kal.get("activities").json()[0]["registration_staging_record_view_id"] is None
    assert kal.get("activity_definitions").json()[0]["registration_staging_template_view_id"] is None
    assert drafts.ids["staging_view_id"] not in [each["id"] for each in kal.get("record_views").json()]
    for response in (drafts.create(A), drafts.validate(), drafts.submit(), drafts.clear(record_id)):
        assert status_and_code(response) == (422, "NO_STAGING_TABLE")
