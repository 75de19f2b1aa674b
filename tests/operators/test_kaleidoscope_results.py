"""The registrar's side of a registration as tasks: results arrive once, after any death or lost response."""

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
    """Makes something to report on; returns arguments and a function that reads it."""

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
    """For a file and for a submission; the task does not wait by default."""
    ids, records, registration = case(flow)
    task = submit_results(**ids, status=status, records=records, message="see", key_field_names=["id"]).run()
    ends = {"success": "completed", "error": "failed"}
    ends = {"success": "validated", "error": "validation_failed"} if flow == "validation" else ends
    kept = registration()
    assert task.state == "success"
    assert (kept["status"], kept["message"], kept["results"], kept["results_received"]) == (
        ends[status],
        "see",
        records,
        1,
    )
    assert (task.result["reported"], task.result["records"]) == (status, 2)
    assert task.result["operation_id"] == workspace.operation_id
    if flow == "file":
        assert task.result["registration_id"] == kept["id"]
    else:
        assert task.result["submission_id"] == kept["id"]


@WAYS
def test_wait_until_results_are_processed(submit_results, case, workspace, deferrable):
    """Then the result says how the registration ended."""
    _, _, registration = case("file")
    workspace.sandbox.settings(results_processing_seconds=20)
    task = submit_results(wait_for_completion=True, deferrable=deferrable).run()
    assert (task.state, task.result["status"], registration()["status"]) == ("success", "completed", "completed")
    assert task.result["seconds"] >= 20


def test_an_error_result_with_a_failed_registration_succeeds(submit_results, case, workspace):
    """The registration fails, and the task that reported so has done its work."""
    case("file")
    workspace.sandbox.settings(results_processing_seconds=20)
    task = submit_results(wait_for_completion=True, status="error", message="no good").run()
    assert (task.state, task.result["status"]) == ("success", "failed")


def test_a_success_result_with_a_failed_registration_fails(submit_results, case, workspace):
    """The service could not process the results: they are not sent again."""
    case("file")
    workspace.sandbox.settings(results_processing_seconds=20)
    task = submit_results(wait_for_completion=True, deferrable=True).defer()
    workspace.sandbox.advance(60)
    listed = [{**workspace.registrations[0], "status": "failed", "message": "no such field", "record_errors": []}]
    workspace.sandbox.faults([{"method": "GET", "path": "registrations", "times": 99, "status": 200, "body": listed}])
    task.fire().worker_run()
    assert (task.state, type(task.error)) == ("failed", JobFailed)
    assert "no such field" in str(task.error)
    assert len(workspace.request_bodies("/results")) == 1


@FLOWS
@WAYS
@pytest.mark.parametrize("moment", DEATHS)
def test_results_are_sent_once_despite_process_death(submit_results, case, moment, flow, deferrable):
    """The second try sends results only if the first did not."""
    ids, records, registration = case(flow)
    task = submit_results(**ids, records=records, deferrable=deferrable)
    with task.death(moment):
        task.run()
    task.retry()
    assert (task.state, registration()["results_received"], len(registration()["results"])) == ("success", 1, 2)
    assert task.result["records"] == 2


@FLOWS
@pytest.mark.parametrize("seconds", [0, 20], ids=["at once", "worked in slowly"])
@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_lost_response_is_reconciled(submit_results, case, workspace, flow, drop, seconds):
    """The registration is read; results are sent again only if it has not taken them."""
    ids, records, registration = case(flow)
    workspace.sandbox.settings(results_processing_seconds=seconds)
    workspace.sandbox.advance(5)
    workspace.inject_fault("/results", drop=drop)
    task = submit_results(**ids, records=records).run()
    assert (task.state, registration()["results_received"], len(registration()["results"])) == ("success", 1, 2)


def test_a_server_error_is_reconciled(submit_results, case, workspace):
    """A 503 may come from something that stands in front of it: then nothing was done."""
    _, _, registration = case("file")
    workspace.inject_fault("/results", status=503)
    task = submit_results().run()
    assert (task.state, registration()["results_received"]) == ("success", 1)


def test_a_status_pushed_by_others_is_not_mistaken_for_results(submit_results, case, workspace, clock):
    """Another user pushes a status while our results are lost: they are sent again, not assumed to have arrived."""
    _, _, registration = case("file")
    workspace.inject_fault("/results", drop="before")
    task = submit_results()
    clock.on_sleep = lambda: workspace.hook.push_status(
        workspace.operation_id, workspace.file_id, "validated", "half way"
    )
    task.run()
    assert (task.state, registration()["results_received"], registration()["status"]) == ("success", 1, "completed")


def test_an_unknown_outcome_outlives_a_failed_search(submit_results, case, workspace):
    """The next try checks first."""
    _, _, registration = case("file")
    workspace.sandbox.faults(
        [
            {"method": "POST", "path": "/results", "drop": "after"},
            {"method": "GET", "path": "/registrations", "skip": 1, "times": 50, "status": 503},
        ]
    )
    task = submit_results().run()
    assert task.state == "up_for_retry"
    workspace.sandbox.faults([])
    task.retry()
    assert (task.state, registration()["results_received"]) == ("success", 1)


def test_a_file_registered_again_before_reconciling(submit_results, workspace):
    """The new registration does not show whether the results were lost: the error says what to check."""
    first = workspace.register_file()
    task = submit_results()
    with task.death("after submitting"):
        task.run()
    workspace.sandbox.advance(1)
    workspace.register_file()
    task.retry()
    assert (task.state, type(task.error)) == ("failed", OutcomeUnknown)
    assert first in str(task.error)
    assert [each["results_received"] for each in workspace.registrations] == [1, 0]
    task.clear().run()
    assert task.state == "success", task.error
    assert [each["results_received"] for each in workspace.registrations] == [1, 1]


def test_results_for_a_registration_that_is_over(submit_results, workspace):
    """It has its results: nothing is sent, unless the author wants it."""
    workspace.register_file()
    workspace.submit_results("error", message="by hand")
    task = submit_results().run()
    assert (task.state, type(task.error)) == ("failed", Conflict)
    assert "it has results already; set if_ended='send'" in str(task.error)
    assert workspace.registrations[0]["results_received"] == 1
    workspace.sandbox.settings(accept_repeated_results=True)
    assert submit_results(if_ended="send").run().state == "success"
    assert workspace.registrations[0]["status"] == "completed"


def test_a_cleared_task_does_not_send_twice(submit_results, case, workspace):
    """The registration is over by then."""
    _, _, registration = case("file")
    task = submit_results().run()
    task.clear().run()
    assert isinstance(task.error, Conflict)
    assert registration()["results_received"] == 1


def test_results_for_an_unknown_registration(submit_results, workspace):
    """There is no such registration."""
    task = submit_results().run()
    assert (task.state, type(task.error)) == ("failed", NotFound)
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
    _, _, registration = case("file")
    (tmp_path / name).write_text(content)
    assert submit_results(records=str(tmp_path / name)).run().state == "success"
    assert registration()["results"] == RESULTS


def test_results_in_parquet(submit_results, case, tmp_path):
    """Likewise."""
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    _, _, registration = case("file")
    parquet.write_table(
        pyarrow.Table.from_pylist([{**RESULTS[0], "error_message": None}, RESULTS[1]]), tmp_path / "r.parquet"
    )
    assert submit_results(records=f"file://{tmp_path}/r.parquet").run().state == "success"
    assert registration()["results"] == RESULTS


def test_results_without_records(submit_results, case):
    """Only a status for the whole file."""
    _, _, registration = case("file")
    assert submit_results(records=None, status="error", message="unreadable").run().state == "success"
    assert (registration()["status"], registration()["results"]) == ("failed", [])


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
    task = submit_results(**args).run()
    assert (task.state, type(task.error)) == ("failed", InvalidInput)
    assert words in str(task.error)
    assert workspace.sandbox.requests() == []


# --- how far it is


@FLOWS
def test_push_status(push_status, case, workspace, flow):
    """For a file and for a submission, once."""
    ids, _, registration = case(flow)
    task = push_status(**ids, message="half way", status="validated").run()
    assert (task.state, task.result["reported"]) == ("success", "validated")
    assert [each["status"] for each in registration()["history"]][1:] == ["validated"]
    assert registration()["message"] == "half way"


@WAYS
@pytest.mark.parametrize("moment", [*DEATHS, "end written"])
def test_status_is_pushed_once_despite_process_death(push_status, case, moment, deferrable):
    """The second try checks whether the status arrived."""
    _, _, registration = case("file")
    task = push_status(deferrable=deferrable)
    with task.death(moment):
        task.run()
    task.retry()
    assert task.state == "success"
    assert [each["status"] for each in registration()["history"]] == ["pending", "validated"]


def test_a_late_status_does_not_reopen_a_registration(push_status, case, workspace):
    """What was lost and is found late is not said any more when the registration is over."""
    _, _, registration = case("file")
    task = push_status()
    with task.death("before submitting"):
        task.run()
    workspace.submit_results("success")
    task.retry()
    assert (task.state, registration()["status"]) == ("success", "completed")
    assert task.logged("WARNING", "is over (status completed)")
    assert len(workspace.request_bodies("/registration_files/")) == 0


def test_a_status_for_an_unknown_registration(push_status, workspace):
    """Retried while that may help, searched for, sent once more, and left to the next try."""
    workspace.register_file()
    workspace.inject_fault("/registration_files/", times=99, status=503)
    task = push_status().run()
    assert (task.state, type(task.error)) == ("up_for_retry", Unreachable)
    assert task.logged("WARNING", "The outcome of a request is unknown", "503")
    workspace.sandbox.faults([])
    task.retry()
    assert (task.state, workspace.registrations[0]["status"]) == ("success", "validated")


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
    task = push_status(**args).run()
    assert (task.state, type(task.error)) == ("failed", InvalidInput)
    assert words in str(task.error)
    assert workspace.sandbox.requests() == []


def test_no_secret_is_logged_or_returned(submit_results, push_status, workspace):
    """Neither in logs nor in results, also where everything goes wrong."""
    workspace.register_file()
    workspace.inject_fault("operations", drop="after", times=1)
    tasks = [push_status().run(), submit_results(wait_for_completion=True, deferrable=True).run()]
    texts = [str((task.log, task.xcom(), task.head, task.record, task.error)) for task in tasks]
    assert all(SECRET not in text and "Bearer" not in text for text in texts)
