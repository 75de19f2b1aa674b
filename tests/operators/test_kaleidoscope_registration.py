"""The user's side of a registration as tasks: submitted once and waited for, after any death or lost response."""

from __future__ import annotations

import pytest

from sluice_provider.apis.kaleidoscope.drafts_job import StageDraftsJob
from sluice_provider.errors import (
    Conflict,
    InvalidInput,
    JobFailed,
    NotFound,
    OutcomeUnknown,
    RowsRejected,
    Unreachable,
)
from tests.operators.airflow_harness import SECRET, file_changes
from tests.operators.kaleidoscope_registrations import ROWS

pytestmark = pytest.mark.airflow

WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["plain", "deferrable"])
DEATHS = ["before submitting", "intent written", "after submitting", "job written", "all written", "publishing"]
DEATHS += ["end written"]


# --- registering a file


@WAYS
def test_register_a_file(register_file, workspace, deferrable):
    """The registrar answers by itself after a while; the result says how it ended."""
    workspace.sandbox.settings(registrar="completes")
    task = register_file(deferrable=deferrable).run()
    [made] = workspace.registrations
    assert task.state == "success"
    result = dict(task.result)
    assert result.pop("seconds") >= 3
    assert result.pop("submitted_at") < result.pop("ended_at")
    assert result == {
        "service": "kaleidoscope",
        "state": "succeeded",
        "operation_id": workspace.operation_id,
        "file_id": workspace.file_id,
        "registration_id": made["id"],
        "reused": False,
        "status": "completed",
        "rejected": 0,
        "url": task.xcom("_link_KaleidoscopeLink"),
    }
    assert result["url"].endswith(f"/web/operations/{workspace.operation_id}")
    assert task.xcom("job_ids") == [made["id"]]


@WAYS
@pytest.mark.parametrize("moment", DEATHS)
def test_a_file_is_registered_once_despite_process_death(register_file, workspace, moment, deferrable):
    """Wherever the first try ends, the second comes to the one registration."""
    workspace.sandbox.settings(registrar="completes")
    task = register_file(deferrable=deferrable)
    with task.death(moment):
        task.run()
    task.retry()
    [made] = workspace.registrations
    assert (task.state, task.result["registration_id"]) == ("success", made["id"])


@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_lost_response_is_searched_for(register_file, workspace, drop):
    """The same try finds its job, or submits again when the request had no effect."""
    workspace.sandbox.settings(registrar="completes")
    workspace.inject_fault("/register/", drop=drop)
    task = register_file().run()
    [made] = workspace.registrations
    assert (task.state, task.result["registration_id"]) == ("success", made["id"])
    assert task.logged("WARNING", "The outcome of a request is unknown")
    line = "Kaleidoscope accepted the request" if drop == "after" else "Submitting again: the request had no effect"
    assert task.logged("WARNING", line)


def test_a_registration_that_becomes_visible_late_is_found(register_file, workspace, clock):
    """A listing may lag behind: it is polled for two minutes before submitting again."""
    task = register_file(wait_for_completion=False)
    with task.death("after submitting"):
        task.run()
    workspace.sandbox.faults([{"method": "GET", "path": "registrations", "times": 5, "status": 200, "body": []}])
    task.retry()
    assert (task.state, len(workspace.registrations)) == ("success", 1)
    assert sum(clock.sleeps) > 5


def test_two_lost_requests_are_left_to_the_next_try(register_file, workspace):
    """One try submits at most twice."""
    workspace.inject_fault("/register/", drop="before", times=2)
    task = register_file(wait_for_completion=False).run()
    assert isinstance(task.error, Unreachable)
    assert (task.state, workspace.registrations) == ("up_for_retry", [])
    task.retry()
    assert (task.state, len(workspace.registrations)) == ("success", 1)


@pytest.mark.parametrize(
    ("before", "choice", "state", "count"),
    [
        ("pending", "reuse", "success", 1),
        ("completed", "reuse", "success", 1),
        ("failed", "reuse", "success", 2),
        ("completed", "again", "success", 2),
        ("completed", "fail", "failed", 1),
        ("failed", "fail", "success", 2),
    ],
)
def test_if_registered(register_file, workspace, before, choice, state, count):
    """It is not registered twice, unless the author wants it, or it failed."""
    there = workspace.register_file()
    if before != "pending":
        workspace.submit_results("success" if before == "completed" else "error")
    task = register_file(if_registered=choice, wait_for_completion=False).run()
    assert (task.state, len(workspace.registrations)) == (state, count)
    if state == "failed":
        assert isinstance(task.error, Conflict)
    else:
        assert task.result["reused"] is (count == 1)
        assert (task.result["registration_id"] == there) is (count == 1)


def test_another_user_registers_at_the_same_moment(register_file, workspace):
    """Between the check and the request: the cause of the rejection is found."""
    there = workspace.register_file()
    workspace.sandbox.faults([{"method": "GET", "path": "registrations", "status": 200, "body": []}])
    task = register_file(wait_for_completion=False).run()
    assert (task.state, task.result["registration_id"], len(workspace.registrations)) == ("success", there, 1)
    workspace.sandbox.faults([{"method": "GET", "path": "registrations", "status": 200, "body": []}])
    task = register_file(wait_for_completion=False, if_registered="fail").run()
    assert (task.state, type(task.error)) == ("failed", Conflict)


def test_facts_are_dropped_after_the_submission(submit_drafts, workspace):
    """Once the id is known: it may be long, and a trigger would carry it."""
    workspace.stage_drafts()
    before = workspace.submit_drafts(validation=True)
    task = submit_drafts(deferrable=True).defer()
    assert before not in str((task.trigger().serialize(), task.record))


def test_record_errors_are_not_retried(register_file, workspace, clock):
    """They are in the log and in the error, and no retry would help."""
    task = register_file()
    bad = {"record_id": "r2", "status": "error", "error_message": "bad SMILES"}
    clock.on_sleep = lambda: (
        workspace.registrations[0]["status"] == "pending" and workspace.submit_results("error", records=[bad])
    )
    task.run()
    assert (task.state, type(task.error)) == ("failed", JobFailed)
    assert "row r2: status=error: bad SMILES" in str(task.error)
    assert task.logged("WARNING", "Rejected: row r2")


def test_a_failed_registration_is_retried(register_file, workspace):
    """By the next try: that may be another day at the registrar's."""
    workspace.sandbox.settings(registrar="fails", job_seconds=5)
    task = register_file().run()
    assert (task.state, type(task.error)) == ("up_for_retry", JobFailed)
    workspace.sandbox.settings(registrar="completes")
    task.retry()
    assert (task.state, [each["status"] for each in workspace.registrations]) == ("success", ["failed", "completed"])


def test_a_reused_registration_that_failed_is_registered_again(register_file, workspace):
    """The result says so."""
    workspace.sandbox.settings(registrar="fails", job_seconds=60)
    workspace.register_file()
    task = register_file().run()
    assert (task.state, type(task.error)) == ("up_for_retry", JobFailed)
    workspace.sandbox.settings(registrar="completes")
    task.retry()
    assert (task.state, task.result["reused"], len(workspace.registrations)) == ("success", False, 2)


def test_unknown_file(register_file, workspace):
    """With the service's message, and no retry."""
    task = register_file(file_id="other").run()
    assert (task.state, type(task.error)) == ("failed", NotFound)
    assert "File other not found" in str(task.error)


# --- drafts are staged


@WAYS
def test_stage_drafts(stage_drafts, workspace, deferrable):
    """Rows become drafts; the result is that of the import."""
    task = stage_drafts(deferrable=deferrable).run()
    assert task.state == "success"
    assert workspace.drafts == {"Aspirin": "", "Caffeine": ""}
    result = {name: task.result[name] for name in ("staged", "replaced", "created", "rejected", "operation_id")}
    assert result == {"staged": 2, "replaced": 0, "created": 2, "rejected": 0, "operation_id": workspace.operation_id}
    assert task.result["import_ids"] == [each["id"] for each in workspace.state["imports"]]


@WAYS
@pytest.mark.parametrize("moment", DEATHS)
def test_drafts_are_staged_once_despite_process_death(stage_drafts, workspace, moment, deferrable):
    """The same rows staged twice would be four drafts."""
    task = stage_drafts(deferrable=deferrable)
    with task.death(moment):
        task.run()
    task.retry()
    assert (task.state, len(workspace.state["drafts"])) == ("success", 2)


@pytest.mark.parametrize("path", ["/imports$", "/run$"])
@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_lost_response_does_not_duplicate_drafts(stage_drafts, workspace, path, drop):
    """Rows are uploaded again, which makes no drafts; the import is run again only if the run had no effect."""
    workspace.inject_fault(path, drop=drop)
    task = stage_drafts().run()
    assert (task.state, len(workspace.state["drafts"])) == ("success", 2)


@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_lost_run_is_resolved_by_the_next_try(stage_drafts, workspace, drop):
    """Also when the looking fails."""
    workspace.sandbox.faults(
        [
            {"method": "POST", "path": "/run$", "drop": drop},
            {"method": "GET", "path": "/imports/", "times": 50, "status": 503},
        ]
    )
    task = stage_drafts().run()
    assert task.state == "up_for_retry"
    workspace.sandbox.faults([])
    task.retry()
    assert (task.state, len(workspace.state["drafts"])) == ("success", 2)


@pytest.fixture
def run_by_hand(workspace):
    """The request that runs the last import, as it lands from wherever it was held up; gives its status."""

    def land():
        staging = workspace.hook.get_staging(workspace.operation_id)
        import_id = workspace.state["imports"][-1]["id"]
        try:
            workspace.hook.run_draft_import(import_id, ["name"], ["smiles"], staging)
        except Conflict:
            return "refused"
        return "run"

    return land


def test_a_late_request_is_waited_for(stage_drafts, workspace, clock, run_by_hand):
    """The answer to running is lost, and the request still on its way: for two minutes nothing is run again."""
    workspace.inject_fault("/run$", drop="before")
    landed = []
    clock.on_sleep = lambda: clock.ahead > 60 and not landed and landed.append(run_by_hand())
    task = stage_drafts().run()
    assert (task.state, landed, len(workspace.state["drafts"])) == ("success", ["run"], 2)
    assert task.result["import_ids"] == [each["id"] for each in workspace.state["imports"]]
    assert 60 < clock.ahead < 120


def test_a_very_late_request_does_not_duplicate_drafts(stage_drafts, workspace, run_by_hand, monkeypatch):
    """Nobody expected it any more, and it lands right before the import is run again: that is refused, looked into, and
    found to be done. The rows were not uploaded a second time."""
    workspace.inject_fault("/run$", drop="before")
    landed, runs = [], []
    original = StageDraftsJob.run

    def run(self, *args):
        runs.append(args)
        if len(runs) == 2:
            landed.append(run_by_hand())
        return original(self, *args)

    monkeypatch.setattr(StageDraftsJob, "run", run)
    task = stage_drafts().run()
    assert (task.state, landed, len(workspace.state["drafts"])) == ("success", ["run"], 2), task.error
    assert len(workspace.state["imports"]) == 1
    assert len(workspace.request_bodies("/run")) == 3


def test_a_resumed_process_does_not_duplicate_drafts(stage_drafts, workspace, run_by_hand):
    """It stood still right before sending, and the next try ran the same import meanwhile."""
    task = stage_drafts()
    with task.death("before submitting"):
        task.run()
    task.retry()
    assert (task.state, run_by_hand()) == ("success", "refused")
    workspace.sandbox.advance(60)
    assert len(workspace.state["drafts"]) == 2
    assert len(workspace.state["imports"]) == 1


def test_a_source_that_changes_while_it_is_staged(stage_drafts, workspace, tmp_path):
    """Rows that were never checked are not staged."""
    path = tmp_path / "rows.csv"
    path.write_text("name,smiles\nAspirin,CC\nCaffeine,Cn\n")
    with file_changes(path, "name,smiles\nAspirin,CC\nEvil,\nMore,x\n"):
        task = stage_drafts(records=str(path), batch_size=1).run()
    assert (task.state, sorted(workspace.drafts)) == ("success", ["Aspirin", "Caffeine"])


def test_one_import_per_batch(stage_drafts, workspace):
    """What was staged before a death is not staged again."""
    rows = [{"name": f"C{number}"} for number in range(7)]
    task = stage_drafts(records=rows, batch_size=3)
    with task.death("intent written", nth=2):
        task.run()
    assert len(task.phase.submissions) == 1
    task.retry()
    assert task.result["staged"] == 7
    assert sorted(workspace.drafts) == [row["name"] for row in rows]
    assert len(workspace.state["drafts"]) == 7


def test_a_request_that_is_too_large_is_halved(stage_drafts, workspace):
    """Until it fits."""
    workspace.sandbox.settings(max_body_bytes=2000)
    rows = [{"name": f"C{number}", "smiles": "C" * 100} for number in range(40)]
    task = stage_drafts(records=rows).run()
    assert (task.state, len(workspace.state["drafts"])) == ("success", 40)
    assert len(task.result["import_ids"]) > 1


def test_replace_existing(stage_drafts, workspace):
    """Those that were there before, and of several imports only by the first."""
    workspace.stage_drafts([{"name": "Old"}])
    task = stage_drafts(replace_existing=True, batch_size=1).run()
    assert (task.state, task.result["replaced"]) == ("success", 1)
    assert workspace.drafts == {"Old": "replaced", "Aspirin": "", "Caffeine": ""}


def test_a_retry_replaces_the_same_drafts(stage_drafts, workspace):
    """A second try does not archive what the first one staged."""
    workspace.stage_drafts([{"name": "Old"}])
    task = stage_drafts(replace_existing=True, batch_size=1)
    with task.death("job written", nth=1):
        task.run()
    workspace.sandbox.advance(60)
    task.retry()
    assert workspace.drafts == {"Old": "replaced", "Aspirin": "", "Caffeine": ""}


def test_a_retry_does_not_replace_its_own_drafts(stage_drafts, workspace):
    """The first rows fail and are staged again: then the drafts of the others are there, too, and stay."""
    workspace.stage_drafts([{"name": "Old"}])
    workspace.sandbox.settings(fail_imports=1)
    task = stage_drafts(replace_existing=True, batch_size=1).run()
    assert (task.state, workspace.drafts) == ("up_for_retry", {"Old": "", "Caffeine": ""})
    task.retry()
    assert (task.state, workspace.drafts) == ("success", {"Old": "replaced", "Caffeine": "", "Aspirin": ""})


def test_replace_the_drafts_at_the_time_of_staging(stage_drafts, workspace):
    """A try that staged nothing has seen other drafts than the next one."""
    (old,) = workspace.stage_drafts([{"name": "Old"}])
    workspace.inject_fault("/imports", times=99, status=503)
    task = stage_drafts(replace_existing=True).run()
    assert task.state == "up_for_retry"
    workspace.sandbox.faults([])
    workspace.hook.clear_drafts(workspace.operation_id, [old])
    workspace.stage_drafts([{"name": "New"}])
    task.retry()
    assert (task.state, task.result["replaced"]) == ("success", 1), task.error
    assert {name for name, why in workspace.drafts.items() if not why} == {"Aspirin", "Caffeine"}


def test_pending_drafts_cannot_be_replaced(stage_drafts, workspace):
    """Then nothing was staged."""
    workspace.stage_drafts([{"name": "Old"}])
    workspace.submit_drafts()
    task = stage_drafts(replace_existing=True, batch_size=1).run()
    assert (task.state, type(task.error)) == ("failed", Conflict)
    assert workspace.drafts == {"Old": ""}


def test_rejected_rows_when_staging(stage_drafts, workspace):
    """By the author's policy, as with a push."""
    workspace.sandbox.settings(rejected_rows=1)
    error = stage_drafts().run().error
    assert isinstance(error, RowsRejected)
    assert "become second drafts" in str(error)
    assert stage_drafts(on_rejected_rows="warn").run().result["rejected"] == 1


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([{"name": "A", "colour": "red"}], "neither key_field_names nor data fields .*'colour'; .*smiles"),
        ([{"name": "A"}, {"smiles": "C"}], "record 2 has no value for the key field name; it has smiles"),
        ([], "no records to stage"),
        ('{"name": "A"}\n{"name": "B", "smiles": NaN}\n', "line 2 cannot be encoded as JSON"),
        ([{"name": "A", "": 1}], "a field without a name"),
        ("nowhere.csv", "no such file"),
        ("[{}]", "is a string that contains a list"),
    ],
)
def test_invalid_rows_when_staging(stage_drafts, workspace, tmp_path, records, words):
    """Each is named, and only read requests were sent."""
    if isinstance(records, str) and "\n" in records:
        (tmp_path / "rows.jsonl").write_text(records)
        records = str(tmp_path / "rows.jsonl")
    task = stage_drafts(records=records).run()
    assert (task.state, type(task.error)) == ("failed", InvalidInput)
    task.error.args = (str(task.error),)
    with pytest.raises(InvalidInput, match=words):
        raise task.error
    assert workspace.request_bodies("/imports") == []


def test_operation_without_a_staging_table(stage_drafts, workspace):
    """It is said what is missing."""
    workspace.sandbox.settings(staging_table=False)
    task = stage_drafts().run()
    assert isinstance(task.error, InvalidInput)
    assert "no registration staging table" in str(task.error)


# --- drafts are submitted


@WAYS
def test_submit_drafts(submit_drafts, workspace, deferrable):
    """All of them; what is registered leaves the table."""
    workspace.stage_drafts()
    workspace.sandbox.settings(registrar="completes")
    task = submit_drafts(deferrable=deferrable).run()
    [made] = workspace.submissions
    assert task.state == "success"
    result = {name: task.result[name] for name in ("submission_id", "status", "records", "rejected", "validate_only")}
    assert result == {
        "submission_id": made["id"],
        "status": "completed",
        "records": 2,
        "rejected": 0,
        "validate_only": False,
    }
    assert workspace.drafts == {"Aspirin": "registered", "Caffeine": "registered"}


@WAYS
@pytest.mark.parametrize("validate_only", [False, True])
@pytest.mark.parametrize("moment", DEATHS)
def test_drafts_are_submitted_once_despite_process_death(submit_drafts, workspace, moment, validate_only, deferrable):
    """Each request would create another submission."""
    workspace.stage_drafts()
    workspace.sandbox.settings(registrar="completes")
    task = submit_drafts(deferrable=deferrable, validate_only=validate_only)
    with task.death(moment):
        task.run()
    task.retry()
    [made] = workspace.submissions
    assert (task.state, task.result["submission_id"]) == ("success", made["id"])


@pytest.mark.parametrize("drop", ["before", "after"])
@pytest.mark.parametrize("some", [False, True])
def test_a_lost_response_does_not_duplicate_the_submission(submit_drafts, workspace, drop, some):
    """Of all drafts, or of some; and others that were there before are not taken for ours."""
    ids = workspace.stage_drafts()
    workspace.submit_drafts(validation=True)
    workspace.submit_drafts()
    workspace.inject_fault("_drafts", drop=drop)
    task = submit_drafts(record_ids=ids[:1] if some else None, wait_for_completion=False).run()
    assert (task.state, len(workspace.submissions)) == ("success", 3)
    assert task.result["submission_id"] == workspace.submissions[2]["id"]


def test_ambiguous_submissions_after_a_lost_response(submit_drafts, workspace):
    """A person must check, and the error says where."""
    workspace.stage_drafts()
    task = submit_drafts(wait_for_completion=False)
    with task.death("after submitting"):
        task.run()
    other = workspace.submit_drafts()
    task.retry()
    assert (task.state, type(task.error)) == ("failed", OutcomeUnknown)
    assert other in str(task.error)
    assert "KaleidoscopeRegistrationSensor" in str(task.error)
    assert len(workspace.submissions) == 2


@pytest.mark.parametrize(("policy", "state"), [("fail", "failed"), ("warn", "success"), ("ignore", "success")])
def test_a_validation_that_rejects_drafts(submit_drafts, workspace, policy, state):
    """The job succeeded; the DAG's author decides what its outcome means."""
    workspace.stage_drafts()
    workspace.sandbox.settings(registrar="fails")
    task = submit_drafts(validate_only=True, on_rejected_rows=policy).run()
    assert task.state == state
    assert task.logged("Rejected: row") is (policy != "ignore")
    if state == "failed":
        assert isinstance(task.error, RowsRejected)
        assert "nothing was registered" in str(task.error)
    else:
        assert (task.result["status"], task.result["rejected"]) == ("validation_failed", 2)
    assert workspace.drafts == {"Aspirin": "", "Caffeine": ""}


def test_a_failed_submission(submit_drafts, workspace):
    """Whatever the policy, with the registrar's words on each draft."""
    workspace.stage_drafts()
    workspace.sandbox.settings(registrar="fails")
    task = submit_drafts(on_rejected_rows="ignore").run()
    assert (task.state, type(task.error)) == ("failed", JobFailed)
    assert "Record rejected by the automatic registrar" in str(task.error)


# --- bad input, and secrets


@pytest.mark.parametrize(
    ("what", "args", "words"),
    [
        ("register_file", {"operation_id": ""}, "operation_id must be a non-empty id"),
        (
            "register_file",
            {"file_id": "None"},
            "file_id must be a non-empty id, not 'None': the XCom, parameter or variable",
        ),
        ("register_file", {"file_id": 7}, "file_id must be a non-empty id"),
        ("register_file", {"if_registered": "maybe"}, "if_registered must be one of 'reuse', 'fail', 'again'"),
        ("stage_drafts", {"key_field_names": None}, "key_field_names must be a non-empty list"),
        ("stage_drafts", {"key_field_names": "name"}, "key_field_names must be a non-empty list of strings"),
        (
            "stage_drafts",
            {"key_field_names": ["name", "name"]},
            "key_field_names must not contain the same string twice",
        ),
        ("stage_drafts", {"key_field_names": [""]}, "key_field_names[0] must be a non-empty string"),
        ("stage_drafts", {"batch_size": 0}, "batch_size"),
        ("stage_drafts", {"max_bytes": 10}, "max_bytes"),
        ("stage_drafts", {"on_rejected_rows": "x"}, "on_rejected_rows"),
        ("submit_drafts", {"record_ids": []}, "record_ids must be a non-empty list of strings"),
        ("submit_drafts", {"record_ids": "abc"}, "record_ids must be a non-empty list"),
        ("submit_drafts", {"record_ids": ["a b"]}, "record_ids[0] must be one id"),
        ("submit_drafts", {"on_rejected_rows": "x"}, "on_rejected_rows"),
        ("submit_drafts", {"operation_id": None}, "operation_id must be a non-empty id"),
    ],
)
def test_invalid_arguments_are_rejected_before_sending(request, workspace, what, args, words):
    """Each line, in words that name the argument; no retry would help."""
    task = request.getfixturevalue(what)(**args).run()
    assert (task.state, type(task.error)) == ("failed", InvalidInput)
    assert words in str(task.error)
    assert workspace.sandbox.requests() == []


def test_no_secret_is_logged_or_returned(register_file, stage_drafts, submit_drafts, workspace):
    """Neither in logs nor in results, also where everything goes wrong."""
    workspace.stage_drafts(ROWS[:1])
    workspace.inject_fault("operations|run", drop="after", times=2)
    factories = (register_file, stage_drafts, submit_drafts)
    tasks = [make_task(deferrable=True, wait_for_completion=False).run() for make_task in factories]
    texts = [str((task.log, task.xcom(), task.head, task.record, task.error)) for task in tasks]
    assert all(SECRET not in text and "Bearer" not in text for text in texts)
    assert all("signature=" not in text for text in texts)


def test_a_cleared_task_submits_again(submit_drafts, workspace):
    """When nothing is under way any more: the user wants another one."""
    workspace.stage_drafts()
    workspace.sandbox.settings(registrar="completes")
    task = submit_drafts(validate_only=True).run()
    task.clear().run()
    assert (task.state, len(workspace.submissions)) == ("success", 2)
    assert task.result["submission_id"] == workspace.submissions[1]["id"]


def test_openlineage_datasets(register_file, stage_drafts, submit_drafts, workspace, tmp_path):
    """The operation is what is written; of rows in a file, the file is what was read."""
    pytest.importorskip("airflow.providers.openlineage")
    (tmp_path / "rows.csv").write_text("name\nAspirin\n")
    for task, inputs in (
        (stage_drafts(records=str(tmp_path / "rows.csv"), wait_for_completion=False), [str(tmp_path / "rows.csv")]),
        (register_file(wait_for_completion=False), []),
    ):
        facets = task.run().operator.get_openlineage_facets_on_complete(None)
        assert [each.name for each in facets.inputs] == inputs
        assert [each.name for each in facets.outputs] == [f"operations/{workspace.operation_id}"]
        assert facets.run_facets["externalQuery"].externalQueryId in str(task.result)
