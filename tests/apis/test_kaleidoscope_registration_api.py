"""Every flow around registrations, drafts and files, as a worker and as a triggerer run it, against the sandbox."""

from __future__ import annotations

import inspect

import pytest

from sluice_provider.apis.kaleidoscope import drafts, files
from sluice_provider.apis.kaleidoscope import registration as reg
from sluice_provider.apis.kaleidoscope.result_rows import result_record
from sluice_provider.errors import (
    ClientError,
    Conflict,
    InvalidInput,
    NotFound,
    OutcomeUnknown,
    UnexpectedResponse,
    Unreachable,
)
from sluice_provider.http.flow import Request
from sluice_provider.jobs import JobState
from sluice_provider.sources.output_files import AtomicFile
from tests.flows import logged_requests, response, run_flow

UNKNOWN = "00000000-0000-4000-8000-000000000000"
ROWS = [{"name": "Aspirin", "smiles": "CC(=O)O"}, {"name": "Caffeine", "smiles": "Cn1c"}]


@pytest.fixture
def ids(sluice_sandbox):
    """Of the operation, the file, ... that the sandbox has."""
    return sluice_sandbox.state()["kaleidoscope"]["ids"]


@pytest.fixture
def op(ids):
    """The operation."""
    return ids["operation_id"]


@pytest.fixture
def file_id(ids):
    """The file that is there from the start."""
    return ids["file_id"]


@pytest.fixture
def staged(run, op, sluice_sandbox):
    """Two drafts on the operation."""
    staging = run(drafts.get_staging(op))
    import_id = run(drafts.create_draft_import(op, ROWS))
    run(drafts.run_draft_import(import_id, ["name"], ["smiles"], staging))
    sluice_sandbox.advance(10)
    return run(drafts.get_draft_ids(op))


def held(sandbox):
    """What the sandbox holds."""
    return sandbox.state()["kaleidoscope"]


def test_every_flow_is_tested_here():
    """A new flow needs an entry here."""
    here = inspect.getsource(inspect.getmodule(test_every_flow_is_tested_here))
    for short, module in (("reg", reg), ("drafts", drafts), ("files", files)):
        flows = [
            name
            for name, thing in inspect.getmembers(module, inspect.isgeneratorfunction)
            if thing.__module__ == module.__name__ and not name.startswith("_") and name != "get_drafts"  # a job type
        ]
        assert [name for name in flows if f"{short}.{name}" not in here] == []


# --- files, both sides


def test_register_a_file_and_submit_results(run, op, file_id, sluice_sandbox):
    """Register, list, say how far it is, send results: all in the vendor's words."""
    made = run(reg.register_file(op, file_id))
    assert (made["status"], made["file_id"]) == ("pending", file_id)
    run(reg.push_status(op, file_id, "validated", "looks good"))
    (listed,) = run(reg.get_registration_files(op))
    assert (listed["id"], listed["status"], listed["message"]) == (made["id"], "validated", "looks good")
    record = {"record_id": "r1", "status": "matched", "data": {"id": "7"}}
    run(reg.submit_results(op, file_id, "success", "all there", ["id"], [record]))
    (kept,) = held(sluice_sandbox)["registrations"]
    assert (kept["status"], kept["message"], kept["results"]) == ("completed", "all there", [record])
    assert run(reg.get_registration(op, file_id))["status"] == "completed"


def test_an_error_message_is_sent_under_both_names(run, op, file_id, sluice_sandbox):
    """Servers up to kalbio 0.3.0 read error_message, newer ones message; success has no error message."""
    run(reg.register_file(op, file_id))
    run(reg.submit_results(op, file_id, "error", "no good"))
    run(reg.register_file(op, file_id))
    run(reg.submit_results(op, file_id, "success", "well"))
    bodies = [each["json"] for each in logged_requests(sluice_sandbox, "/results")]
    assert bodies == [
        {"status": "error", "message": "no good", "error_message": "no good"},
        {"status": "success", "message": "well"},
    ]


def test_unknown_registrations(run, op, file_id):
    """Each in words that name it."""
    with pytest.raises(NotFound, match="not registered"):
        run(reg.get_registration(op, file_id))
    with pytest.raises(NotFound, match="has no submission"):
        run(reg.get_registration(op, submission_id=UNKNOWN))
    with pytest.raises(NotFound, match="no operation"):
        run(drafts.get_operation(UNKNOWN))
    with pytest.raises(NotFound):
        run(reg.register_file(op, UNKNOWN))


# --- drafts


def test_drafts_are_staged_in_two_steps(run, op, sluice_sandbox):
    """Uploaded rows are no drafts yet, so a second upload does no harm."""
    staging = run(drafts.get_staging(op))
    assert {"smiles", "molecular_weight"} <= set(staging.fields)
    import_id = run(drafts.create_draft_import(op, ROWS))
    run(drafts.create_draft_import(op, ROWS))
    assert run(drafts.find_run(import_id)) is None
    sluice_sandbox.advance(60)
    assert (run(drafts.find_run(import_id)), held(sluice_sandbox)["drafts"]) == (None, [])
    assert run(drafts.run_draft_import(import_id, ["name"], ["smiles"], staging)) == import_id
    sluice_sandbox.advance(10)
    assert run(drafts.find_run(import_id)) == import_id
    assert [each["values"] for each in held(sluice_sandbox)["drafts"]] == [{"smiles": row["smiles"]} for row in ROWS]
    assert len(run(drafts.get_draft_ids(op))) == 2


def test_drafts_replace_others(run, op, staged, sluice_sandbox):
    """Those that are named, once the new ones are in."""
    staging = run(drafts.get_staging(op))
    import_id = run(drafts.create_draft_import(op, ROWS[:1]))
    run(drafts.run_draft_import(import_id, ["name"], [], staging, staged))
    sluice_sandbox.advance(10)
    assert [each["archived"] for each in held(sluice_sandbox)["drafts"]] == ["replaced", "replaced", ""]


def test_an_operation_without_a_staging_table(run, op, sluice_sandbox):
    """It is said what is missing, and nothing is sent."""
    sluice_sandbox.settings(staging_table=False)
    with pytest.raises(InvalidInput, match="no registration staging table"):
        run(drafts.get_staging(op))


def test_a_validation_and_a_registration(run, op, staged, sluice_sandbox):
    """Each is a submission, answered by the registrar; statuses are listed draft by draft."""
    assert run(reg.get_draft_statuses(op)) == []
    dry = run(reg.validate_drafts(op, list(staged[:1])))
    assert (dry["submission_type"], dry["submitted_record_ids"]) == ("validation", list(staged[:1]))
    bad = {"record_id": staged[0], "status": "error", "error_message": "bad SMILES"}
    run(reg.submit_submission_results(op, dry["id"], "error", records=[bad]))
    (status,) = run(reg.get_draft_statuses(op))
    assert (status["status"], status["message"]) == ("validation_failed", "bad SMILES")
    made = run(reg.submit_drafts(op))
    assert (made["submission_type"], made["status"]) == ("registration", "submitted")
    run(reg.push_submission_status(op, made["id"], "validated"))
    newest, first = run(reg.get_registration_submissions(op))
    assert (newest["id"], newest["status"], first["id"]) == (made["id"], "validated", dry["id"])
    run(reg.submit_submission_results(op, made["id"], "success"))
    assert [each["archived"] for each in held(sluice_sandbox)["drafts"]] == ["registered"] * 2


def test_drafts_are_cleared(run, op, staged, sluice_sandbox):
    """Also when the answer is lost: that they are gone is what was wanted. A refusal stays one."""
    sluice_sandbox.faults([{"method": "POST", "path": "clear_draft", "drop": "after"}])
    run(drafts.clear_drafts(op, staged[:1]))
    assert [each["archived"] for each in held(sluice_sandbox)["drafts"]] == ["cleared", ""]
    with pytest.raises(ClientError, match="not a draft"):
        run(drafts.clear_drafts(op, [UNKNOWN]))
    run(reg.submit_drafts(op))
    sluice_sandbox.faults([{"method": "POST", "path": "clear_draft", "drop": "before"}])
    with pytest.raises(Conflict):
        run(drafts.clear_drafts(op, staged[1:]))


# --- what may be repeated


REPEATABLE = [
    reg.push_status("o", "f", "pending"),
    reg.push_submission_status("o", "s", "pending"),
    reg.get_registration_files("o"),
    reg.get_registration_submissions("o"),
    reg.get_draft_statuses("o"),
    drafts.create_draft_import("o", ROWS),
    drafts.clear_drafts("o", ["d"]),
]
ONCE = [
    reg.register_file("o", "f"),
    reg.validate_drafts("o"),
    reg.submit_drafts("o", ["d"]),
    reg.submit_results("o", "f", "success"),
    reg.submit_submission_results("o", "s", "success"),
    drafts.run_draft_import("i", ["name"], [], drafts.Staging("v", {}, ())),
]


@pytest.mark.parametrize("flow", REPEATABLE, ids=lambda flow: flow.__name__)
def test_idempotent_requests_are_retried(flow):
    """After a lost answer the same is sent again."""
    played = run_flow(flow, Unreachable("gone"), response(400, {"message": "stop here"}), response(200, []))
    assert len(played.calls) >= 2
    assert played.calls[0] == played.calls[1]


@pytest.mark.parametrize("flow", ONCE, ids=lambda flow: flow.__name__)
def test_other_requests_are_not_retried(flow):
    """After a lost response or a server error the outcome is unknown."""
    played = run_flow(flow, Unreachable("gone"))
    assert isinstance(played.error, OutcomeUnknown)
    assert len(played.calls) == 1


# --- paths and bodies


def test_ids_cannot_name_other_endpoints():
    """They are quoted, and what would change the path is refused."""
    played = run_flow(reg.register_file("a/b", "../c?d"), response(200, {"id": "r"}))
    assert played.calls == [Request("POST", "operations/a%2Fb/register/..%2Fc%3Fd", json={})]
    for flow in (reg.register_file("o", ".."), reg.push_status("", "f", "x"), reg.get_draft_statuses("None")):
        assert isinstance(run_flow(flow).error, InvalidInput)


@pytest.mark.parametrize("flow", [reg.register_file, reg.submit_drafts])
@pytest.mark.parametrize("body", [{}, {"id": 7}, {"id": ""}, [], "x"])
def test_an_answer_without_an_id(flow, body):
    """Is no answer that anybody could wait for."""
    arguments = ("o", "f") if flow is reg.register_file else ("o",)
    assert isinstance(run_flow(flow(*arguments), response(200, body)).error, UnexpectedResponse)


@pytest.mark.parametrize("flow", [reg.get_registration_files, reg.get_registration_submissions])
def test_a_listing_with_an_entry_without_an_id(flow):
    """Likewise."""
    assert isinstance(run_flow(flow("o"), response(200, [{"status": "x"}])).error, UnexpectedResponse)


# --- a registration as a job


def _entry(status, **more):
    return {"id": "r", "status": status, **more}


@pytest.mark.parametrize(
    ("raw", "state"),
    [
        (_entry("pending"), JobState.RUNNING),
        (_entry("submitted"), JobState.RUNNING),
        (_entry("validated"), JobState.RUNNING),
        (_entry("validation_failed"), JobState.RUNNING),
        (_entry("a word of next year"), JobState.RUNNING),
        (_entry(None), JobState.RUNNING),
        (_entry("completed"), JobState.SUCCEEDED),
        (_entry("failed"), JobState.FAILED),
        (_entry("validated", submission_type="validation"), JobState.SUCCEEDED),
        (_entry("validation_failed", submission_type="validation"), JobState.SUCCEEDED),
        (_entry("failed", submission_type="validation"), JobState.FAILED),
        (_entry("validated", submission_type="registration"), JobState.RUNNING),
        (_entry("pending", submission_type="validation"), JobState.RUNNING),
    ],
    ids=lambda each: " ".join(map(str, each.values())) if isinstance(each, dict) else "",
)
def test_when_a_registration_is_over(raw, state):
    """completed and failed end everything; the verdicts of a dry run end a dry run only."""
    assert reg.registration_job(raw).state is state


def test_errors_on_records_are_rejections():
    """Counted, the first of them in the message, and not retryable."""
    errors = [{"source_record_id": f"r{n}", "status": "error", "error_message": f"no {n}"} for n in range(150)]
    job = reg.registration_job(_entry("failed", error_message="bad file", record_errors=errors))
    assert (job.counts, len(job.rejections), job.retryable) == ({"rejected": 150}, 100, False)
    assert job.message == (
        "bad file; row r0: status=error: no 0; row r1: status=error: no 1; row r2: status=error: no 2; ..."
    )
    assert reg.registration_job(_entry("failed", message="try later")).retryable is None


def test_a_failed_validation_without_record_errors_is_counted():
    """It is logged for the user."""
    job = reg.registration_job(_entry("validation_failed", submission_type="validation", message="wrong project"))
    assert job.counts == {"rejected": 1}
    assert [str(each) for each in job.rejections] == ["row ?: status=validation_failed: wrong project"]


def test_latest_registration():
    """By the time that it was made, whatever the order of the listing."""
    entries = [
        {"id": "1", "file_id": "f", "created_at": "2026-01-01T00:00:00Z"},
        {"id": "2", "file_id": "f", "created_at": "2026-03-01T00:00:00Z"},
        {"id": "3", "file_id": "g", "created_at": "2026-04-01T00:00:00Z"},
    ]
    assert reg.latest_registration(entries, "f")["id"] == "2"
    assert reg.latest_registration(entries[::-1], "f")["id"] == "2"
    assert reg.latest_registration(entries, "h") is None


def test_find_after_a_lost_response(run, op, file_id, staged):
    """What was not there before is ours; another sort of submission, or of other drafts, is not."""
    assert run(reg.find_registration(op, file_id, [])) is None
    made = run(reg.register_file(op, file_id))["id"]
    assert run(reg.find_registration(op, file_id, [])) == made
    assert run(reg.find_registration(op, file_id, [made])) is None
    one = run(reg.submit_drafts(op, list(staged[:1])))["id"]
    assert run(reg.find_submissions(op, [], list(staged[:1]), validation=False)) == [one]
    assert run(reg.find_submissions(op, [], None, validation=False)) == [one]
    assert run(reg.find_submissions(op, [], list(staged), validation=False)) == []
    assert run(reg.find_submissions(op, [], None, validation=True)) == []
    assert run(reg.find_submissions(op, [one], None, validation=False)) == []


@pytest.mark.parametrize(
    ("now", "taken"),
    [
        (_entry("pending", updated_at="1"), False),
        (_entry("validated", updated_at="2"), False),
        (_entry("pending", updated_at="2"), False),
        (_entry("submitted", updated_at="1"), True),
        (_entry("completed", updated_at="2"), True),
        (_entry("failed", updated_at="2"), True),
        (_entry("validated", updated_at="2", submission_type="validation"), True),
    ],
    ids=str,
)
def test_results_arrived(now, taken):
    """An intermediate status, which another user may push at the same time, is no evidence."""
    assert reg.results_arrived({"status": "pending", "updated_at": "1"}, now) is taken


def test_results_arrived_without_a_new_status():
    """The word stays while they are worked in; that it was touched is the sign."""
    before = {"status": "submitted", "updated_at": "1"}
    assert not reg.results_arrived(before, _entry("submitted", updated_at="1", submission_type="registration"))
    assert reg.results_arrived(before, _entry("submitted", updated_at="2", submission_type="registration"))


# --- drafts as a job


def _drafts(validation=False, **verdicts):
    return drafts.drafts_job("o", verdicts, validation)


def test_drafts_are_over_when_each_has_a_result():
    """Of a registration; a good validation is not one."""
    good, bad = {"status": "completed"}, {"status": "failed", "message": "no"}
    job = _drafts(a=good, b=bad)
    assert (job.state, job.counts) == (JobState.SUCCEEDED, {"drafts": 2, "rejected": 1, "completed": 1, "failed": 1})
    assert [str(each) for each in job.rejections] == ["row b: status=failed: no"]
    for running in ({}, {"status": "pending"}, {"status": "submitted"}, {"status": "validated"}):
        assert _drafts(a=good, b=running).state is JobState.RUNNING
    assert _drafts(validation=True, a=good, b={"status": "validated"}).state is JobState.SUCCEEDED
    assert _drafts(validation=True, a={"status": "validation_failed"}).counts["rejected"] == 1


def test_a_registrars_own_status_is_a_result():
    """Good without an error beside it."""
    job = _drafts(a={"status": "matched"}, b={"status": "odd", "message": "why"}, c={"status": "not_found"})
    assert (job.state, job.counts["rejected"]) == (JobState.SUCCEEDED, 2)


def test_registered_drafts_leave_the_staging_table(run, op, staged):
    """The submission still lists them."""
    made = run(reg.submit_drafts(op))
    locator = {"operation_id": op, **drafts.DraftSelection(tuple(staged)).to_locator()}
    get_status = drafts.JOB_TYPES["drafts"].get_status
    assert run(get_status(op, locator)).state is JobState.RUNNING
    run(reg.submit_submission_results(op, made["id"], "success"))
    assert run(reg.get_draft_statuses(op)) == []
    job = run(get_status(op, locator))
    assert (job.state, job.counts) == (JobState.SUCCEEDED, {"drafts": 2, "rejected": 0, "completed": 2})
    assert run(get_status(op, {"operation_id": op})).state is JobState.NOT_FOUND


# --- results, row by row


@pytest.mark.parametrize(
    ("row", "sent"),
    [
        ({"record_id": "r", "status": "matched"}, {"record_id": "r", "status": "matched"}),
        (
            {"record_id": " r ", "status": "ok", "error_message": "", "id": 7, "name": "x"},
            {"record_id": "r", "status": "ok", "data": {"id": 7, "name": "x"}},
        ),
        (
            {"record_id": "r", "status": "error", "error_message": "no", "data": {"a": 1}},
            {"record_id": "r", "status": "error", "error_message": "no", "data": {"a": 1}},
        ),
        ({"record_id": "r", "status": "ok", "data": None, "error_message": None}, {"record_id": "r", "status": "ok"}),
    ],
)
def test_result_record(row, sent):
    """Unset members are left out, and other fields are the data."""
    assert result_record(row) == sent


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({}, "must have a record_id that is a string; it has no fields"),
        ({"id": "r", "status": "ok"}, "must have a record_id that is a string; it has id, status"),
        ({"record_id": 7, "status": "ok"}, "record_id"),
        ({"record_id": "r"}, "must have a status"),
        ({"record_id": "r", "status": " "}, "must have a status"),
        ({"record_id": "r", "status": "ok", "data": {"a": 1}, "b": 2}, "put all values into .data."),
        ({"record_id": "r", "status": "ok", "data": [1]}, "not an object"),
        ({"record_id": "r", "status": "ok", "data": {"": 1}}, "not an object"),
        ({"record_id": "r", "status": "ok", "error_message": 7}, "error_message that is not a string"),
    ],
)
def test_invalid_result_record(row, words):
    """What is wrong, in words that follow the row's name."""
    with pytest.raises(InvalidInput, match=words):
        result_record(row)


# --- files


def test_download_a_file(run, op, sluice_sandbox, tmp_path):
    """Streamed, whole, and scoped to the operation if there is one."""
    content = "name\n" + "x" * 300_000
    file_id = sluice_sandbox.register_file("big.csv", content, register=False)["file_id"]
    for activity_id in (None, op):
        atomic_file = AtomicFile(str(tmp_path), "here.csv")
        assert run(files.download_file(file_id, atomic_file, activity_id)) == "text/csv"
        assert (tmp_path / "here.csv").read_text() == content
        assert atomic_file.size == len(content)
    paths = [each["path"].removeprefix("/kaleidoscope") for each in logged_requests(sluice_sandbox)]
    assert paths == [f"/files/{file_id}", f"/activities/{op}/file/{file_id}"]
    assert [path.name for path in tmp_path.iterdir()] == ["here.csv"]


def test_unknown_file(run, tmp_path):
    """Leaves nothing."""
    with pytest.raises(NotFound):
        run(files.download_file(UNKNOWN, AtomicFile(str(tmp_path), "here.csv")))
    assert list(tmp_path.iterdir()) == []


def test_export_parameters(tmp_path):
    """Lists separated by commas, filters as JSON text, and nothing that was not given (kalbio `exports.py`)."""
    atomic_file = AtomicFile(str(tmp_path), "e.csv")
    sorts = [{"field_id": "f", "descending": True}]
    flow = files.export_records(
        "e.csv", "s", atomic_file, identifier_ids=["a", "b"], view_field_sorts=sorts, search_text="H"
    )
    (call,) = run_flow(flow, response(200, "", content_type="text/csv")).calls
    assert (call.method, call.path, call.idempotent, call.into) == ("GET", "records/export/csv", True, atomic_file)
    assert call.params == {
        "filename": "e.csv",
        "entity_slice_id": "s",
        "identifier_ids": "a,b",
        "view_field_sorts": '[{"field_id": "f", "descending": true}]',
        "search_text": "H",
    }


# --- searching after a lost response


def test_the_search_ends_after_the_grace_period(monkeypatch):
    """Services answer from replicas that lag: nothing seen at once is not nothing done."""
    from sluice_provider.http import polling as http_polling
    from sluice_provider.jobs import polling

    class Time:
        now = 1000.0
        time = monotonic = staticmethod(lambda: Time.now)

    monkeypatch.setattr(http_polling, "time", Time)

    def search():
        yield Request("GET", "x")
        return None

    def later(seconds):
        Time.now += seconds

    answers = [response(200)] * 100
    played = run_flow(polling.find_after_lost_response(search, Time.now), *answers, sleep=later)
    assert (played.value, played.error) == (None, None)
    assert polling.VISIBILITY_GRACE_SECONDS <= sum(played.pauses) <= polling.VISIBILITY_GRACE_SECONDS + 10
    assert len(run_flow(polling.find_after_lost_response(search, Time.now - 500), *answers, sleep=later).calls) == 1
