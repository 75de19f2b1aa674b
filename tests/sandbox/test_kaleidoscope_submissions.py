"""Drafts are validated, submitted, registered and archived: transitions, and all errors."""

from __future__ import annotations

import pytest

from tests.sandbox.conftest import status_and_code

A, B = {"name": "A", "smiles": "C"}, {"name": "B", "molecular_weight": 12.5}


def _success(record_id, **more):
    return {"record_id": record_id, "status": "matched", **more}


def _failure(record_id):
    return {"record_id": record_id, "status": "error", "error_message": "no such compound"}


def test_validation(drafts):
    """Pending, of all drafts; a successful validation registers nothing."""
    staged = drafts.stage(A, B)
    assert drafts.statuses() == {}
    run = drafts.validate().json()
    assert (run["status"], run["submission_type"], run["submitted_record_ids"]) == ("pending", "validation", staged)
    assert (run["file_ids"], run["message"]) == ([], None)
    assert drafts.statuses() == dict.fromkeys(staged, ("pending", None))
    assert drafts.answer(run, "success", message="fine").status_code == 204
    (listed,) = drafts.submissions()
    assert (listed["status"], listed["message"], listed["record_errors"]) == ("validated", "fine", [])
    assert drafts.statuses() == dict.fromkeys(staged, ("validated", None))
    assert (drafts.current(), drafts.state("records")) == (staged, [])


def test_failed_validation(drafts):
    """The errors are listed; a draft's own result takes precedence over the status of the whole."""
    first, second, third = drafts.stage(A, B, {"name": "C"})
    run = drafts.validate().json()
    drafts.answer(run, "error", _success(first), _failure(second), message="see there")
    (listed,) = drafts.submissions()
    assert (listed["status"], listed["message"]) == ("validation_failed", "see there")
    assert listed["record_errors"] == [
        {"source_record_id": second, "status": "error", "error_message": "no such compound"}
    ]
    assert drafts.statuses() == {
        first: ("validated", None),
        second: ("validation_failed", "no such compound"),
        third: ("validation_failed", None),
    }


def test_registration(drafts):
    """Submitted; when completed, the drafts are archived and become records."""
    staged = drafts.stage(A, B)
    run = drafts.submit().json()
    assert (run["status"], run["submission_type"]) == ("submitted", "registration")
    assert drafts.statuses() == dict.fromkeys(staged, ("submitted", None))
    drafts.answer(run, "success")
    assert (drafts.submissions()[0]["status"], drafts.current(), drafts.statuses()) == ("completed", [], {})
    assert [each["archived"] for each in drafts.state("drafts")] == ["registered", "registered"]
    records = {each["key"]["name"]: each for each in drafts.state("records")}
    assert (set(records), records["B"]["values"]) == ({"A", "B"}, {"molecular_weight": 12.5})
    assert records["A"]["operation_ids"] == [drafts.ids["operation_id"]]


def test_registrar_chooses_the_key(drafts):
    """The results' `data` is added to the draft; invalid values are left out."""
    (draft,) = drafts.stage(A)
    data = {"id": "CMP-1", "molecular_weight": "heavy", "formula": "CH4"}
    drafts.answer(drafts.submit().json(), "success", _success(draft, data=data), key_field_names=["id"])
    (record,) = drafts.state("records")
    assert record["key"] == {"id": "CMP-1"}
    assert record["values"] == {"name": "A", "smiles": "C", "formula": "CH4"}


@pytest.mark.parametrize("overall", ["success", "error"])
def test_each_draft_is_registered_by_its_own_result(drafts, overall):
    """If there is one, else by the status of the whole."""
    first, second, third = drafts.stage(A, B, {"name": "C"})
    drafts.answer(drafts.submit().json(), overall, _success(first), _failure(second))
    (listed,) = drafts.submissions()
    assert bool(listed["record_errors"]) is (overall == "error")
    left = {second: ("failed", "no such compound"), **({third: ("failed", None)} if overall == "error" else {})}
    assert drafts.statuses() == left
    assert drafts.current() == list(left)


def test_submit_some_drafts(drafts):
    """The others are unchanged; the list is newest first; a draft's status is that of its latest submission."""
    second = drafts.stage(A, B)[1]
    one, two = drafts.submit(second, second).json(), drafts.validate(second).json()
    assert one["submitted_record_ids"] == [second]
    assert [each["id"] for each in drafts.submissions()] == [two["id"], one["id"]]
    assert drafts.statuses() == {second: ("pending", None)}


def test_status_updates(drafts):
    """The registrar's status is that of the submission and of its drafts."""
    staged = drafts.stage(A)
    run = drafts.submit().json()
    assert drafts.push(run, "pending", message="in the queue").status_code == 204
    assert (drafts.submissions()[0]["status"], drafts.submissions()[0]["message"]) == ("pending", "in the queue")
    assert drafts.statuses() == {staged[0]: ("pending", None)}


def test_results_after_a_final_status_update(drafts):
    """A status update does not close a validation; results do."""
    drafts.stage(A)
    run = drafts.validate().json()
    drafts.push(run, "validated")
    assert drafts.submissions()[0]["status"] == "validated"
    assert drafts.answer(run, "error").status_code == 204
    assert drafts.submissions()[0]["status"] == "validation_failed"
    assert status_and_code(drafts.push(run, "pending")) == (409, "REGISTRATION_CLOSED")


def test_final_status_update_registers_drafts(drafts):
    """As results do."""
    drafts.stage(A)
    drafts.push(drafts.submit().json(), "completed")
    assert (drafts.current(), len(drafts.state("records"))) == ([], 1)


def test_repeated_results(drafts):
    """Rejected or, by a setting, accepted; counted, and registers nothing twice."""
    drafts.stage(A)
    run = drafts.submit().json()
    drafts.answer(run, "success")
    assert status_and_code(drafts.answer(run, "success")) == (409, "REGISTRATION_CLOSED")
    drafts._sandbox.settings(accept_repeated_results=True)
    assert drafts.answer(run, "success").status_code == 204
    assert drafts.state("submissions")[0]["results_received"] == 3
    assert [each["pushes"] for each in drafts.state("records")] == [1]


def test_repeated_submit_creates_two_submissions(drafts):
    """The vendor does not list it as an error, so tests can detect repeated requests."""
    staged = drafts.stage(A)
    assert [drafts.submit().status_code for _ in range(2)] == [200, 200]
    assert [each["submitted_record_ids"] for each in drafts.submissions()] == [staged, staged]


@pytest.mark.parametrize("act", ["validate", "submit"])
def test_invalid_submissions(drafts, act):
    """No drafts; an empty selection; unknown ids; archived drafts."""
    send = getattr(drafts, act)
    assert status_and_code(send()) == (422, "NO_DRAFTS")
    (record_id,) = drafts.stage(A)
    assert status_and_code(send("other")) == (422, "NOT_A_DRAFT")
    path = {"validate": "validate_drafts", "submit": "submit_drafts_for_registration"}[act]
    assert status_and_code(drafts.kal.post(f"{drafts.at}/{path}", {"record_ids": []})) == (422, "NO_DRAFTS")
    assert status_and_code(drafts.kal.post(f"{drafts.at}/{path}", {"record_ids": None})) == (400, "FST_ERR_VALIDATION")
    assert status_and_code(drafts.kal.post(f"operations/other/{path}", {})) == (404, "NOT_FOUND")
    drafts.clear(record_id)
    drafts.stage(B)
    assert status_and_code(send(record_id)) == (422, "NOT_A_DRAFT")


def test_clear_drafts(drafts):
    """A draft can be cleared once; unknown ids answer 422."""
    first, second = drafts.stage(A, B)
    answer = drafts.clear(first)
    assert (answer.status_code, answer.content, drafts.current()) == (204, b"", [second])
    assert status_and_code(drafts.clear(first)) == (422, "NOT_A_DRAFT")
    assert status_and_code(drafts.kal.post(f"{drafts.at}/clear_draft_records", {})) == (400, "FST_ERR_VALIDATION")
    assert [each["archived"] for each in drafts.state("drafts")] == ["cleared", ""]


@pytest.mark.parametrize("act", ["validate", "submit"])
def test_drafts_in_progress_cannot_be_cleared(drafts, act):
    """Nor replaced, while they are pending or submitted."""
    (record_id,) = drafts.stage(A)
    run = getattr(drafts, act)().json()
    import_id = drafts.create(B).json()["id"]
    for answer in (drafts.clear(record_id), drafts.run(import_id, replace_draft_record_ids=[record_id])):
        assert status_and_code(answer) == (409, "DRAFT_IN_PROGRESS")
    drafts.answer(run, "error")
    assert drafts.run(import_id, replace_draft_record_ids=[record_id]).status_code == 204
    assert record_id not in drafts.current()


def test_results_must_be_for_drafts_of_the_submission(drafts):
    """422 for other records, 404 for an unknown submission."""
    first, second = drafts.stage(A, B)
    run = drafts.submit(first).json()
    assert status_and_code(drafts.answer(run, "success", _success(second))) == (422, "NOT_IN_SUBMISSION")
    assert status_and_code(drafts.answer({"id": "other"}, "success")) == (404, "NOT_FOUND")
    assert status_and_code(drafts.push({"id": "other"}, "failed")) == (404, "NOT_FOUND")
    assert status_and_code(drafts.push(run, "done")) == (400, "FST_ERR_VALIDATION")
    assert status_and_code(drafts.answer(run, "completed")) == (400, "FST_ERR_VALIDATION")
    assert drafts.submissions()[0]["status"] == "submitted"


def test_registrations_and_submissions_are_separate_listings(drafts, sluice_sandbox):
    """Neither list contains the other's."""
    drafts.stage(A)
    run = drafts.submit().json()
    file = sluice_sandbox.register_file("x.csv", "")["registration"]
    assert [each["id"] for each in drafts.submissions()] == [run["id"]]
    assert [each["id"] for each in drafts.kal.get(f"{drafts.at}/registrations").json()] == [file["id"]]
    assert status_and_code(drafts.answer(file, "success")) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("registrar", "validated", "end"),
    [("completes", "validated", "completed"), ("fails", "validation_failed", "failed")],
)
def test_automatic_registrar(drafts, sluice_sandbox, registrar, validated, end):
    """For validations and registrations, after `job_seconds`."""
    (record_id,) = drafts.stage(A)
    sluice_sandbox.settings(job_seconds=10, registrar=registrar)
    drafts.validate()
    sluice_sandbox.advance(10)
    assert drafts.statuses()[record_id][0] == drafts.submissions()[0]["status"] == validated
    drafts.submit()
    sluice_sandbox.advance(9)
    assert drafts.submissions()[0]["status"] == "submitted"
    sluice_sandbox.advance(1)
    (listed, _) = drafts.submissions()
    assert (listed["status"], len(listed["record_errors"])) == (end, int(end == "failed"))
    assert bool(drafts.current()) is (end == "failed")


def test_polling_advances_the_clock(drafts, sluice_sandbox):
    """In both listings."""
    drafts.stage(A)
    sluice_sandbox.settings(job_seconds=2, registrar="completes", advance_per_poll=1)
    drafts.submit()
    assert (len(drafts.statuses()), drafts.submissions()[0]["status"]) == (1, "completed")
