"""Drafts are staged by an import in two steps; and every refusal on that way."""

from __future__ import annotations

import pytest

A, B = {"name": "A", "smiles": "C"}, {"name": "B", "molecular_weight": 12.5}


def _told(answer):
    return answer.status_code, answer.json()["code"]


def test_staging_in_two_steps(drafts, kal, sluice_sandbox):
    """Rows first, and nothing happens; then what they mean, and the import runs."""
    sluice_sandbox.settings(job_seconds=10)
    made = drafts.create(A, B).json()
    assert (made["import_status"], made["is_complete"], made["started_at"]) == ("created", False, None)
    sluice_sandbox.advance(100)
    assert kal.get(f"imports/{made['id']}").json() == made
    answer = drafts.run(made["id"], "molecular_weight", "smiles")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (kal.get(f"imports/{made['id']}").json()["import_status"], drafts.current()) == ("created", [])
    sluice_sandbox.advance(10)
    done = kal.get(f"imports/{made['id']}").json()
    result = done["import_result"]
    assert (done["import_status"], result["records_created"], result["records_skipped"]) == ("completed", 2, 0)
    assert len(drafts.current()) == 2
    assert drafts.state("records") == []


def test_read_a_draft(drafts, kal):
    """By its id, as the registrar must: key and values, of which only those that were configured."""
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
    """In one import and in two: the system gives each an id of its own."""
    drafts.stage(A, A)
    assert len(set(drafts.stage(A))) == 3


def test_column_mapped_to_a_field_of_another_name(drafts, kal):
    """That is what the configuration is for."""
    import_id = drafts.create({"name": "A", "SMILES": "C"}).json()["id"]
    (smiles,) = (each for each in kal.get("data_fields").json() if each["field_name"] == "smiles")
    column = {"name": "SMILES", "type": "text", "mapped_field_id": smiles["id"]}
    drafts.run(import_id, data_field_configurations=[column])
    assert [each["values"] for each in drafts.state("drafts")] == [{"smiles": "C"}]


def test_rows_with_invalid_values(drafts, kal, sluice_sandbox):
    """Are told in the result as those of any import, and are no drafts."""
    sluice_sandbox.settings(rejected_rows=1)
    import_id = drafts.create(A, B, {"name": "X", "molecular_weight": "heavy"}).json()["id"]
    drafts.run(import_id, "molecular_weight")
    result = kal.get(f"imports/{import_id}").json()["import_result"]
    assert (result["records_created"], result["validation_result"]["failed"]) == (1, 2)
    assert [each["incoming_record_identifier"] for each in result["validation_result"]["errors"]] == ["A", "X"]
    assert [each["key"] for each in drafts.state("drafts")] == [{"name": "B"}]


def test_replace_drafts(drafts):
    """The new are there, and those replaced are not any more."""
    old = drafts.stage(A, B)
    (new,) = drafts.stage({"name": "C"}, replace_draft_record_ids=old)
    assert new not in old
    assert [each["archived"] for each in drafts.state("drafts")] == ["replaced", "replaced", ""]


def test_a_failed_import_replaces_nothing(drafts, sluice_sandbox):
    """Only one that succeeds does."""
    old = drafts.stage(A)
    sluice_sandbox.settings(fail_imports=1)
    assert drafts.stage(B, replace_draft_record_ids=old) == old


def test_import_in_two_steps_without_drafts(drafts, kal, sluice_sandbox):
    """Then it writes records, to the ordinary view."""
    made = drafts.create(A, is_draft=False).json()
    view = sluice_sandbox.state()["kaleidoscope"]["ids"]["record_view_id"]
    assert drafts.run(made["id"], "smiles", record_view_id=view).status_code == 204
    assert (drafts.current(), [each["key"] for each in drafts.state("records")]) == ([], [{"name": "A"}])
    other = drafts.create(A, is_draft=False).json()["id"]
    assert _told(drafts.run(other)) == (404, "NOT_FOUND")
    answer = drafts.run(other, record_view_id=view, replace_draft_record_ids=["x"])
    assert _told(answer) == (422, "NOT_A_DRAFT")


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
    """And no import is there."""
    assert _told(drafts.create(A, **more)) == expected
    assert drafts.state("imports") == []


def test_drafts_need_an_operation(drafts, kal):
    """On which they are staged."""
    assert _told(kal.post("imports", {"data_json": [A], "is_draft": True})) == (400, "FST_ERR_VALIDATION")


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
    """The import still waits for a right one."""
    import_id = drafts.create(A).json()["id"]
    assert _told(drafts.run(import_id, **more)) == expected
    assert drafts.run(import_id).status_code == 204


def test_configured_type_must_match_the_field(drafts, kal):
    """Whatever the configuration says: a guess."""
    (smiles,) = (each for each in kal.get("data_fields").json() if each["field_name"] == "smiles")
    column = {"name": "smiles", "type": "number", "mapped_field_id": smiles["id"]}
    answer = drafts.run(drafts.create(A).json()["id"], data_field_configurations=[column])
    assert _told(answer) == (422, "WRONG_FIELD_TYPE")


@pytest.mark.parametrize("row", [{}, {"name": ""}, {"name": None}, {"name": []}])
def test_row_without_key(drafts, row):
    """Is refused with its place."""
    answer = drafts.run(drafts.create(A, row).json()["id"])
    assert (answer.status_code, answer.json()["message"].startswith("body/data_json/1/name")) == (400, True)


def test_import_can_be_run_once(drafts, kal):
    """And only one that waits for it; a push never does."""
    import_id = drafts.create(A).json()["id"]
    drafts.run(import_id)
    assert _told(drafts.run(import_id)) == (409, "IMPORT_ALREADY_RUN")
    assert _told(drafts.run(kal.push({"symbol": "H"}).json()["import_id"])) == (409, "IMPORT_ALREADY_RUN")
    assert _told(drafts.run("other")) == (404, "NOT_FOUND")


def test_operation_without_staging_table(drafts, kal, sluice_sandbox):
    """Shows none, and refuses all that needs one."""
    (record_id,) = drafts.stage(A)
    sluice_sandbox.settings(staging_table=False)
    assert kal.get("activities").json()[0]["registration_staging_record_view_id"] is None
    assert kal.get("activity_definitions").json()[0]["registration_staging_template_view_id"] is None
    assert drafts.ids["staging_view_id"] not in [each["id"] for each in kal.get("record_views").json()]
    for answer in (drafts.create(A), drafts.validate(), drafts.submit(), drafts.clear(record_id)):
        assert _told(answer) == (422, "NO_STAGING_TABLE")
