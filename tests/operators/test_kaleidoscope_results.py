"""The registrar's side of a registration as tasks: results arrive once, whoever dies and whatever is lost."""

from __future__ import annotations

import json

import pytest

from sluice_provider.errors import Conflict, InvalidInput, JobFailed, NotFound, OutcomeUnknown, Unreachable
from tests.operators.airflow_harness import SECRET
from tests.operators.kaleidoscope_registrations import RESULTS

pytestmark = pytest.mark.airflow

WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["plain", "deferrable"])
DEATHS = ["before submitting", "intent written", "after submitting", "job written", "all written", "publishing"]
FLOWS = pytest.mark.parametrize("flow", ["file", "submission", "validation"])


@pytest.fixture
def case(workspace):
    """Something to answer: makes it, and gives the arguments and a look at it."""

    def make(flow):
        if flow == "file":
            workspace.register_file()
            return {}, RESULTS, lambda: workspace.registrations[-1]
        ids = workspace.stage_drafts()
        submission_id = workspace.submit_drafts(validation=flow == "validation")
        records = [{**result, "record_id": each} for result, each in zip(RESULTS, ids, strict=True)]
        return {"file_id": None, "submission_id": submission_id}, records, lambda: workspace.submissions[-1]

    return make


# --- results


@FLOWS
@pytest.mark.parametrize("status", ["success", "error"])
def test_submit_results(submit_results, case, workspace, flow, status):
    """For a file and for a submission; the task does not wait unless it is told to."""
    ids, records, look = case(flow)
    life = submit_results(**ids, status=status, records=records, message="see", key_field_names=["id"]).go()
    ends = {"success": "completed", "error": "failed"}
    ends = {"success": "validated", "error": "validation_failed"} if flow == "validation" else ends
    kept = look()
    assert life.state == "success"
    assert (kept["status"], kept["message"], kept["results"], kept["results_received"]) == (
        ends[status],
        "see",
        records,
        1,
    )
    assert (life.result["reported"], life.result["records"]) == (status, 2)
    assert life.result["operation_id"] == workspace.operation_id
    if flow == "file":
        assert life.result["registration_id"] == kept["id"]
    else:
        assert life.result["submission_id"] == kept["id"]


@WAYS
def test_wait_until_results_are_processed(submit_results, case, workspace, deferrable):
    """Then the result says how the registration ended."""
    _, _, look = case("file")
    workspace.sandbox.settings(results_processing_seconds=20)
    life = submit_results(wait_for_completion=True, deferrable=deferrable).go()
    assert (life.state, life.result["status"], look()["status"]) == ("success", "completed", "completed")
    assert life.result["seconds"] >= 20


def test_an_error_result_with_a_failed_registration_succeeds(submit_results, case, workspace):
    """The registration fails, and the task that reported so has done its work."""
    case("file")
    workspace.sandbox.settings(results_processing_seconds=20)
    life = submit_results(wait_for_completion=True, status="error", message="no good").go()
    assert (life.state, life.result["status"]) == ("success", "failed")


def test_a_success_result_with_a_failed_registration_fails(submit_results, case, workspace):
    """The remote could not work the results in: they are not sent again."""
    case("file")
    workspace.sandbox.settings(results_processing_seconds=20)
    life = submit_results(wait_for_completion=True, deferrable=True).defer()
    workspace.sandbox.advance(60)
    listed = [{**workspace.registrations[0], "status": "failed", "message": "no such field", "record_errors": []}]
    workspace.sandbox.faults([{"method": "GET", "path": "registrations", "times": 99, "status": 200, "body": listed}])
    life.fire().leg()
    assert (life.state, type(life.error)) == ("failed", JobFailed)
    assert "no such field" in str(life.error)
    assert len(workspace.request_bodies("/results")) == 1


@FLOWS
@WAYS
@pytest.mark.parametrize("moment", DEATHS)
def test_results_are_sent_once_despite_process_death(submit_results, case, moment, flow, deferrable):
    """The second try sends results only if the first did not."""
    ids, records, look = case(flow)
    life = submit_results(**ids, records=records, deferrable=deferrable)
    with life.death(moment):
        life.go()
    life.retry()
    assert (life.state, look()["results_received"], len(look()["results"])) == ("success", 1, 2)
    assert life.result["records"] == 2


@FLOWS
@pytest.mark.parametrize("seconds", [0, 20], ids=["at once", "worked in slowly"])
@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_lost_response_is_reconciled(submit_results, case, workspace, flow, drop, seconds):
    """The registration is read; results are sent again only if it has not taken them."""
    ids, records, look = case(flow)
    workspace.sandbox.settings(results_processing_seconds=seconds)
    workspace.sandbox.advance(5)
    workspace.inject_fault("/results", drop=drop)
    life = submit_results(**ids, records=records).go()
    assert (life.state, look()["results_received"], len(look()["results"])) == ("success", 1, 2)


def test_a_server_error_is_reconciled(submit_results, case, workspace):
    """A 503 may come from something that stands in front of it: then nothing was done."""
    _, _, look = case("file")
    workspace.inject_fault("/results", status=503)
    life = submit_results().go()
    assert (life.state, look()["results_received"]) == ("success", 1)


def test_a_status_pushed_by_others_is_not_mistaken_for_results(submit_results, case, workspace, clock):
    """Somebody else says how far it is while our results are lost: they are sent again, not taken for arrived."""
    _, _, look = case("file")
    workspace.inject_fault("/results", drop="before")
    life = submit_results()
    clock.on_nap = lambda: workspace.hook.push_status(
        workspace.operation_id, workspace.file_id, "validated", "half way"
    )
    life.go()
    assert (life.state, look()["results_received"], look()["status"]) == ("success", 1, "completed")


def test_an_unknown_outcome_outlives_a_failed_search(submit_results, case, workspace):
    """The next try looks first."""
    _, _, look = case("file")
    workspace.sandbox.faults(
        [
            {"method": "POST", "path": "/results", "drop": "after"},
            {"method": "GET", "path": "/registrations", "skip": 1, "times": 50, "status": 503},
        ]
    )
    life = submit_results().go()
    assert life.state == "up_for_retry"
    workspace.sandbox.faults([])
    life.retry()
    assert (life.state, look()["results_received"]) == ("success", 1)


def test_a_file_registered_again_before_reconciling(submit_results, workspace):
    """Whose results are lost cannot be told by the new registration: a person is told what to look at."""
    first = workspace.register_file()
    life = submit_results()
    with life.death("after submitting"):
        life.go()
    workspace.sandbox.advance(1)
    workspace.register_file()
    life.retry()
    assert (life.state, type(life.error)) == ("failed", OutcomeUnknown)
    assert first in str(life.error)
    assert [each["results_received"] for each in workspace.registrations] == [1, 0]
    life.clear().go()
    assert life.state == "success", life.error
    assert [each["results_received"] for each in workspace.registrations] == [1, 1]


def test_results_for_a_registration_that_is_over(submit_results, workspace):
    """It has its results: nothing is sent, unless the author wants it."""
    workspace.register_file()
    workspace.submit_results("error", message="by hand")
    life = submit_results().go()
    assert (life.state, type(life.error)) == ("failed", Conflict)
    assert "it has results already; set if_ended='send'" in str(life.error)
    assert workspace.registrations[0]["results_received"] == 1
    workspace.sandbox.settings(accept_repeated_results=True)
    assert submit_results(if_ended="send").go().state == "success"
    assert workspace.registrations[0]["status"] == "completed"


def test_a_cleared_task_does_not_send_twice(submit_results, case, workspace):
    """The registration is over by then."""
    _, _, look = case("file")
    life = submit_results().go()
    life.clear().go()
    assert isinstance(life.error, Conflict)
    assert look()["results_received"] == 1


def test_results_for_an_unknown_registration(submit_results, workspace):
    """There is no such registration."""
    life = submit_results().go()
    assert (life.state, type(life.error)) == ("failed", NotFound)
    assert workspace.request_bodies("/results") == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("r.jsonl", "\n".join(json.dumps(each) for each in RESULTS)),
        ("r.json", json.dumps(RESULTS)),
        ("r.csv", "record_id,status,error_message,id\nr1,matched,,7\nr2,not_found,no such compound,\n"),
        (
            "r.csv",
            'record_id,status,error_message,data\nr1,matched,,"{""id"": ""7""}"\nr2,not_found,no such compound,\n',
        ),
        ("r.tsv", "record_id\tstatus\terror_message\tid\nr1\tmatched\t\t7\nr2\tnot_found\tno such compound\t\n"),
    ],
    ids=["jsonl", "json", "csv", "csv with data", "tsv"],
)
def test_results_in_files(submit_results, case, tmp_path, name, content):
    """Whatever the file, the same results; cells without a name of their own are the data."""
    _, _, look = case("file")
    (tmp_path / name).write_text(content)
    assert submit_results(records=str(tmp_path / name)).go().state == "success"
    assert look()["results"] == RESULTS


def test_results_in_parquet(submit_results, case, tmp_path):
    """Likewise."""
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    _, _, look = case("file")
    parquet.write_table(
        pyarrow.Table.from_pylist([{**RESULTS[0], "error_message": None}, RESULTS[1]]), tmp_path / "r.parquet"
    )
    assert submit_results(records=f"file://{tmp_path}/r.parquet").go().state == "success"
    assert look()["results"] == RESULTS


def test_results_without_records(submit_results, case):
    """A verdict on the whole alone."""
    _, _, look = case("file")
    assert submit_results(records=None, status="error", message="unreadable").go().state == "success"
    assert (look()["status"], look()["results"]) == ("failed", [])


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"file_id": None}, "give exactly one of file_id and submission_id"),
        ({"submission_id": "s"}, "give exactly one of file_id and submission_id"),
        ({"file_id": ""}, "file_id must be a non-empty id"),
        ({"file_id": None, "submission_id": "None"}, "submission_id must be a non-empty id"),
        ({"operation_id": ""}, "operation_id must be a non-empty id"),
        ({"status": "completed"}, "status must be one of 'success', 'error', not 'completed'"),
        ({"message": 7}, "message must be a non-empty string"),
        ({"key_field_names": "id"}, "key_field_names must be a non-empty list"),
        ({"if_ended": "x"}, "if_ended must be one of"),
        ({"records": [{"status": "x"}]}, "the given list: record 1 must have a record_id"),
        ({"records": [*RESULTS, {"record_id": "r3"}]}, "record 3 must have a status"),
        ({"records": [*RESULTS, RESULTS[0]]}, "record 3 and record 1 are both for record 'r1'"),
        ({"records": [{**RESULTS[0], "data": "no JSON"}]}, "record 1 has a field 'data' that is not a JSON object"),
        ({"records": [{**RESULTS[0], "data": "[1]"}]}, "not an object of named values"),
        ({"records": {"record_id": "r1"}}, "records must be a list of dicts"),
        ({"records": "nowhere.jsonl"}, "no such file"),
        ({"records": "results.docx"}, "unsupported file extension"),
    ],
)
def test_invalid_arguments_are_rejected_before_sending(submit_results, workspace, args, words):
    """Each line, in words that name the argument or the record; no retry would help."""
    life = submit_results(**args).go()
    assert (life.state, type(life.error)) == ("failed", InvalidInput)
    assert words in str(life.error)
    assert workspace.sandbox.requests() == []


# --- how far it is


@FLOWS
def test_push_status(push_status, case, workspace, flow):
    """For a file and for a submission, once."""
    ids, _, look = case(flow)
    life = push_status(**ids, message="half way", status="validated").go()
    assert (life.state, life.result["reported"]) == ("success", "validated")
    assert [each["status"] for each in look()["history"]][1:] == ["validated"]
    assert look()["message"] == "half way"


@WAYS
@pytest.mark.parametrize("moment", [*DEATHS, "end written"])
def test_status_is_pushed_once_despite_process_death(push_status, case, moment, deferrable):
    """The second try looks whether it was heard."""
    _, _, look = case("file")
    life = push_status(deferrable=deferrable)
    with life.death(moment):
        life.go()
    life.retry()
    assert life.state == "success"
    assert [each["status"] for each in look()["history"]] == ["pending", "validated"]


def test_a_late_status_does_not_reopen_a_registration(push_status, case, workspace):
    """What was lost and is found late is not said any more when the registration is over."""
    _, _, look = case("file")
    life = push_status()
    with life.death("before submitting"):
        life.go()
    workspace.submit_results("success")
    life.retry()
    assert (life.state, look()["status"]) == ("success", "completed")
    assert life.said("WARNING", "is over (status completed)")
    assert len(workspace.request_bodies("/registration_files/")) == 0


def test_a_status_for_an_unknown_registration(push_status, workspace):
    """Repeated for as long as that may help, looked for and repeated once more, and left to the next try."""
    workspace.register_file()
    workspace.inject_fault("/registration_files/", times=99, status=503)
    life = push_status().go()
    assert (life.state, type(life.error)) == ("up_for_retry", Unreachable)
    assert life.said("WARNING", "The outcome of a request is unknown", "503")
    workspace.sandbox.faults([])
    life.retry()
    assert (life.state, workspace.registrations[0]["status"]) == ("success", "validated")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"status": "done"}, "status must be one of 'pending', 'validated'"),
        ({"status": None}, "status must be one of"),
        ({"file_id": None}, "give exactly one of file_id and submission_id"),
        ({"message": ""}, "message must be a non-empty string or None"),
    ],
)
def test_invalid_status_arguments(push_status, workspace, args, words):
    """Before anything is sent."""
    life = push_status(**args).go()
    assert (life.state, type(life.error)) == ("failed", InvalidInput)
    assert words in str(life.error)
    assert workspace.sandbox.requests() == []


def test_no_secret_is_logged_or_returned(submit_results, push_status, workspace):
    """Neither in logs nor in results, also where everything goes wrong."""
    workspace.register_file()
    workspace.inject_fault("operations", drop="after", times=1)
    lives = [push_status().go(), submit_results(wait_for_completion=True, deferrable=True).go()]
    told = [str((life.log, life.xcom(), life.head, life.record, life.error)) for life in lives]
    assert all(SECRET not in text and "Bearer" not in text for text in told)
