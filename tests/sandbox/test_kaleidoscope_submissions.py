"""Drafts are validated, submitted, answered, archived; what may follow what, and every refusal."""

from __future__ import annotations

import pytest

A, B = {"name": "A", "smiles": "C"}, {"name": "B", "molecular_weight": 12.5}


def _told(answer):
    return answer.status_code, answer.json()["code"]


def _good(record_id, **more):
    return {"record_id": record_id, "status": "matched", **more}


def _bad(record_id):
    return {"record_id": record_id, "status": "error", "error_message": "no such compound"}


def test_validation(drafts):
    """Pending, of all drafts, and the drafts with it; nothing is registered by a good verdict."""
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
    """The errors are listed; a draft's own verdict comes before the whole's."""
    first, second, third = drafts.stage(A, B, {"name": "C"})
    run = drafts.validate().json()
    drafts.answer(run, "error", _good(first), _bad(second), message="see there")
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
    """Submitted; when it is completed the drafts are archived and are records."""
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
    """Its `data` adds to the draft; what does not fit is left out."""
    (draft,) = drafts.stage(A)
    data = {"id": "CMP-1", "molecular_weight": "heavy", "formula": "CH4"}
    drafts.answer(drafts.submit().json(), "success", _good(draft, data=data), key_field_names=["id"])
    (record,) = drafts.state("records")
    assert record["key"] == {"id": "CMP-1"}
    assert record["values"] == {"name": "A", "smiles": "C", "formula": "CH4"}


@pytest.mark.parametrize("overall", ["success", "error"])
def test_each_draft_is_registered_by_its_own_result(drafts, overall):
    """If it has one; else by the whole's."""
    first, second, third = drafts.stage(A, B, {"name": "C"})
    drafts.answer(drafts.submit().json(), overall, _good(first), _bad(second))
    (listed,) = drafts.submissions()
    assert bool(listed["record_errors"]) is (overall == "error")
    left = {second: ("failed", "no such compound"), **({third: ("failed", None)} if overall == "error" else {})}
    assert drafts.statuses() == left
    assert drafts.current() == list(left)


def test_submit_some_drafts(drafts):
    """The others are as they were; newest first in the list; the latest one counts for a draft."""
    second = drafts.stage(A, B)[1]
    one, two = drafts.submit(second, second).json(), drafts.validate(second).json()
    assert one["submitted_record_ids"] == [second]
    assert [each["id"] for each in drafts.submissions()] == [two["id"], one["id"]]
    assert drafts.statuses() == {second: ("pending", None)}


def test_status_updates(drafts):
    """The registrar's word is the submission's, and the drafts' with it."""
    staged = drafts.stage(A)
    run = drafts.submit().json()
    assert drafts.push(run, "pending", message="in the queue").status_code == 204
    assert (drafts.submissions()[0]["status"], drafts.submissions()[0]["message"]) == ("pending", "in the queue")
    assert drafts.statuses() == {staged[0]: ("pending", None)}


def test_results_after_a_final_status_update(drafts):
    """The word alone does not end a dry run for the registrar; the results do."""
    drafts.stage(A)
    run = drafts.validate().json()
    drafts.push(run, "validated")
    assert drafts.submissions()[0]["status"] == "validated"
    assert drafts.answer(run, "error").status_code == 204
    assert drafts.submissions()[0]["status"] == "validation_failed"
    assert _told(drafts.push(run, "pending")) == (409, "REGISTRATION_CLOSED")


def test_final_status_update_registers_drafts(drafts):
    """As the results do."""
    drafts.stage(A)
    drafts.push(drafts.submit().json(), "completed")
    assert (drafts.current(), len(drafts.state("records"))) == ([], 1)


def test_repeated_results(drafts):
    """Is refused, counted, and registers nothing twice; also if it is allowed."""
    drafts.stage(A)
    run = drafts.submit().json()
    drafts.answer(run, "success")
    assert _told(drafts.answer(run, "success")) == (409, "REGISTRATION_CLOSED")
    drafts._sandbox.settings(accept_repeated_results=True)
    assert drafts.answer(run, "success").status_code == 204
    assert drafts.state("submissions")[0]["results_received"] == 3
    assert [each["pushes"] for each in drafts.state("records")] == [1]


def test_repeated_submit_creates_two_submissions(drafts):
    """The vendor's list of what is refused does not have it; a test can so see what was asked twice."""
    staged = drafts.stage(A)
    assert [drafts.submit().status_code for _ in range(2)] == [200, 200]
    assert [each["submitted_record_ids"] for each in drafts.submissions()] == [staged, staged]


@pytest.mark.parametrize("act", ["validate", "submit"])
def test_invalid_submissions(drafts, act):
    """No drafts at all; none of those named; what is none; what was one."""
    ask = getattr(drafts, act)
    assert _told(ask()) == (422, "NO_DRAFTS")
    (record_id,) = drafts.stage(A)
    assert _told(ask("other")) == (422, "NOT_A_DRAFT")
    path = {"validate": "validate_drafts", "submit": "submit_drafts_for_registration"}[act]
    assert _told(drafts.kal.post(f"{drafts.at}/{path}", {"record_ids": []})) == (422, "NO_DRAFTS")
    assert _told(drafts.kal.post(f"{drafts.at}/{path}", {"record_ids": None})) == (400, "FST_ERR_VALIDATION")
    assert _told(drafts.kal.post(f"operations/other/{path}", {})) == (404, "NOT_FOUND")
    drafts.clear(record_id)
    drafts.stage(B)
    assert _told(ask(record_id)) == (422, "NOT_A_DRAFT")


def test_clear_drafts(drafts):
    """Out of the table; not twice, and not what was never in it."""
    first, second = drafts.stage(A, B)
    answer = drafts.clear(first)
    assert (answer.status_code, answer.content, drafts.current()) == (204, b"", [second])
    assert _told(drafts.clear(first)) == (422, "NOT_A_DRAFT")
    assert _told(drafts.kal.post(f"{drafts.at}/clear_draft_records", {})) == (400, "FST_ERR_VALIDATION")
    assert [each["archived"] for each in drafts.state("drafts")] == ["cleared", ""]


@pytest.mark.parametrize("act", ["validate", "submit"])
def test_drafts_in_progress_cannot_be_cleared(drafts, act):
    """It is neither cleared nor replaced while it is pending or submitted; afterwards it is, if it is still there."""
    (record_id,) = drafts.stage(A)
    run = getattr(drafts, act)().json()
    import_id = drafts.create(B).json()["id"]
    for answer in (drafts.clear(record_id), drafts.run(import_id, replace_draft_record_ids=[record_id])):
        assert _told(answer) == (409, "DRAFT_IN_PROGRESS")
    drafts.answer(run, "error")
    assert drafts.run(import_id, replace_draft_record_ids=[record_id]).status_code == 204
    assert record_id not in drafts.current()


def test_results_must_be_for_drafts_of_the_submission(drafts):
    """Not for others, and not to a submission that is not there."""
    first, second = drafts.stage(A, B)
    run = drafts.submit(first).json()
    assert _told(drafts.answer(run, "success", _good(second))) == (422, "NOT_IN_SUBMISSION")
    assert _told(drafts.answer({"id": "other"}, "success")) == (404, "NOT_FOUND")
    assert _told(drafts.push({"id": "other"}, "failed")) == (404, "NOT_FOUND")
    assert _told(drafts.push(run, "done")) == (400, "FST_ERR_VALIDATION")
    assert _told(drafts.answer(run, "completed")) == (400, "FST_ERR_VALIDATION")
    assert drafts.submissions()[0]["status"] == "submitted"


def test_registrations_and_submissions_are_separate_listings(drafts, sluice_sandbox):
    """Neither list has the other's, and a file's registration is no submission."""
    drafts.stage(A)
    run = drafts.submit().json()
    file = sluice_sandbox.register_file("x.csv", "")["registration"]
    assert [each["id"] for each in drafts.submissions()] == [run["id"]]
    assert [each["id"] for each in drafts.kal.get(f"{drafts.at}/registrations").json()] == [file["id"]]
    assert _told(drafts.answer(file, "success")) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("registrar", "verdict", "end"), [("completes", "validated", "completed"), ("fails", "validation_failed", "failed")]
)
def test_automatic_registrar(drafts, sluice_sandbox, registrar, verdict, end):
    """Validations and registrations alike, when a job's time is over."""
    (record_id,) = drafts.stage(A)
    sluice_sandbox.settings(job_seconds=10, registrar=registrar)
    drafts.validate()
    sluice_sandbox.advance(10)
    assert drafts.statuses()[record_id][0] == drafts.submissions()[0]["status"] == verdict
    drafts.submit()
    sluice_sandbox.advance(9)
    assert drafts.submissions()[0]["status"] == "submitted"
    sluice_sandbox.advance(1)
    (listed, _) = drafts.submissions()
    assert (listed["status"], len(listed["record_errors"])) == (end, int(end == "failed"))
    assert bool(drafts.current()) is (end == "failed")


def test_polling_advances_the_clock(drafts, sluice_sandbox):
    """In either list."""
    drafts.stage(A)
    sluice_sandbox.settings(job_seconds=2, registrar="completes", advance_per_poll=1)
    drafts.submit()
    assert (len(drafts.statuses()), drafts.submissions()[0]["status"]) == (1, "completed")
