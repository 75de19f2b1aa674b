"""Control routes for a user's actions: upload files, stage drafts, register them."""

from __future__ import annotations

import pytest

A, B = {"name": "A", "smiles": "C"}, {"name": "B", "molecular_weight": 12.5}


@pytest.fixture
def ids(sluice_sandbox):
    """The initial ids."""
    return sluice_sandbox.state()["kaleidoscope"]["ids"]


def _registrations(kal, ids):
    return kal.get(f"operations/{ids['operation_id']}/registrations").json()


def test_upload_and_register_a_file(kal, ids, sluice_sandbox):
    """The file, its registration and its link are there."""
    report = sluice_sandbox.register_file("a b.sdf", "mol", record_ids=["r1"])
    assert report["registration"] == {
        key: value for key, value in _registrations(kal, ids)[0].items() if key != "record_errors"
    }
    state = sluice_sandbox.state()["kaleidoscope"]
    assert state["registrations"][0]["record_ids"] == ["r1"]
    file = next(each for each in state["files"] if each["id"] == report["file_id"])
    assert (file["name"], file["size"], file["content_type"]) == ("a b.sdf", 3, "chemical/x-mdl-sdfile")
    assert kal.get(f"files/{report['file_id']}").content == b"mol"


def test_registered_records_default_to_those_of_the_operation(kal, ids, sluice_sandbox):
    """If no record ids are given."""
    kal.push({"symbol": "H"}, operation_id=ids["operation_id"])
    kal.push({"symbol": "He"})
    report = sluice_sandbox.register_file("x.csv", "")
    state = sluice_sandbox.state()["kaleidoscope"]
    here = [each["id"] for each in state["records"] if each["operation_ids"]]
    assert (len(here), report["file_id"]) == (1, state["registrations"][0]["file_id"])
    assert state["registrations"][0]["record_ids"] == here


def test_upload_without_registration(kal, ids, sluice_sandbox):
    """It can be registered later; bytes are sent as base64, with any content type."""
    more = {"base64": "AAE=", "content_type": "application/x-thing", "register": False}
    report = sluice_sandbox._control("POST", "kaleidoscope/registrations", content={"file_name": "../../x.bin", **more})
    assert report["registration"] is None
    assert _registrations(kal, ids) == []
    file = sluice_sandbox.state()["kaleidoscope"]["files"][-1]
    assert (file["name"], file["size"], file["content_type"]) == ("x.bin", 2, "application/x-thing")


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {},
        {"file_name": "x"},
        {"file_name": "", "content": ""},
        {"file_name": "x", "content": "", "base64": ""},
        {"file_name": "x", "base64": "?"},
        {"file_name": "x", "content": 1},
        {"file_name": "x", "content": "", "operation_id": "other"},
        {"file_name": "x", "content": "", "record_ids": [1]},
        {"file_name": "x", "content": "", "register": "no"},
        {"file_name": "x", "content": "", "surprise": 1},
    ],
)
def test_invalid_uploads(sluice_sandbox, wrong):
    """400 with a reason, and no file is added."""
    with pytest.raises(ValueError, match=r"\w"):
        sluice_sandbox._control("POST", "kaleidoscope/registrations", content=wrong)
    assert len(sluice_sandbox.state()["kaleidoscope"]["files"]) == 1


def test_reset_removes_files_and_registrations(ids, sluice_sandbox):
    """Except the sample file, which keeps its id."""
    sluice_sandbox.register_file("x.csv", "")
    sluice_sandbox.reset()
    state = sluice_sandbox.state()["kaleidoscope"]
    assert (state["registrations"], [each["id"] for each in state["files"]]) == ([], [ids["file_id"]])


@pytest.mark.parametrize("kind", ["registration", "validation"])
def test_stage_and_submit_drafts(drafts, sluice_sandbox, kind):
    """Only the new drafts are submitted."""
    drafts.stage(A)
    report = sluice_sandbox.stage_drafts(A, B, submit=kind)
    assert (len(report["record_ids"]), len(drafts.current())) == (2, 3)
    (listed,) = drafts.submissions()
    assert {**report["submission"], "record_errors": []} == listed
    assert (listed["submission_type"], listed["submitted_record_ids"]) == (kind, report["record_ids"])
    assert [each["values"] for each in drafts.state("drafts")[1:]] == [{"smiles": "C"}, {"molecular_weight": 12.5}]


def test_stage_drafts_without_submission(drafts, sluice_sandbox):
    """They can be submitted later."""
    report = sluice_sandbox.stage_drafts(A)
    assert (report["submission"], report["record_ids"], drafts.submissions()) == (None, drafts.current(), [])


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {},
        {"rows": []},
        {"rows": [1]},
        {"rows": [{"smiles": "C"}]},
        {"rows": [{"name": 1}]},
        {"rows": [{"name": "A", "molecular_weight": "heavy"}]},
        {"rows": [A], "submit": "both"},
        {"rows": [A], "surprise": 1},
    ],
)
def test_invalid_drafts(drafts, sluice_sandbox, wrong):
    """400 with a reason, and no draft is added."""
    with pytest.raises(ValueError, match=r"\w"):
        sluice_sandbox._control("POST", "kaleidoscope/drafts", content=wrong)
    sluice_sandbox.settings(staging_table=False)
    with pytest.raises(ValueError, match="no staging table"):
        sluice_sandbox.stage_drafts(A)
    assert drafts.state("drafts") == []
