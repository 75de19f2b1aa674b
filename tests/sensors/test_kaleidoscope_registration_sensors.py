"""Waiting for registrations that another user started: three modes, one behaviour."""

from __future__ import annotations

import pytest
from airflow.exceptions import AirflowFailException, AirflowSensorTimeout

from sluice_provider.sensors.kaleidoscope import KaleidoscopeDraftsSensor, KaleidoscopeRegistrationSensor
from tests.operators.airflow_harness import SECRET, UNKNOWN

pytestmark = pytest.mark.airflow

MODES = {"poke": {}, "reschedule": {"mode": "reschedule"}, "deferrable": {"deferrable": True}}
EVERY_MODE = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)


@pytest.fixture
def wait(airflow, workspace):
    """A sensor for a registration, alone in its run."""

    def make_task(**args):
        args = {"operation_id": workspace.operation_id, "poke_interval": 2, "retries": 3, **args}
        return airflow.task(KaleidoscopeRegistrationSensor, task_id="wait", **args)

    return make_task


@pytest.fixture
def wait_for_drafts(airflow, workspace):
    """A sensor for drafts, alone in its run."""

    def make_task(**args):
        args = {"operation_id": workspace.operation_id, "poke_interval": 2, "retries": 3, **args}
        return airflow.task(KaleidoscopeDraftsSensor, task_id="wait", **args)

    return make_task


# --- a registration


@EVERY_MODE
def test_wait_for_a_file(wait, workspace, mode):
    """Until its registration is over; the sensor itself submits nothing."""
    workspace.sandbox.settings(registrar="completes", job_seconds=20)
    made = workspace.register_file()
    task = wait(file_id=workspace.file_id, **mode).run()
    assert task.state == "success", task.error
    assert task.result == {"ids": [made], "state": "succeeded", "status": "completed", "rejected": 0}
    assert task.xcom("_link_KaleidoscopeLink").endswith(workspace.operation_id)
    assert len(workspace.request_bodies("operations")) == 1


@EVERY_MODE
def test_a_file_that_is_not_registered_yet(wait, workspace, clock, mode):
    """Another user may still register it: the sensor waits an hour if necessary."""
    task = wait(file_id=workspace.file_id, **mode)

    def register():
        if clock.ahead > 3600 and not workspace.registrations:
            workspace.register_file()
            workspace.submit_results()

    clock.on_sleep = register
    task.args["poke_interval"] = 300
    if mode.get("mode") == "reschedule":
        task.worker_run()
        clock.move(3601)
        register()
    task.run()
    assert (task.state, task.result["status"]) == ("success", "completed"), task.error


@EVERY_MODE
def test_the_last_registration_of_a_file_counts(wait, workspace, mode):
    """An earlier one failed."""
    workspace.register_file()
    workspace.submit_results("error")
    workspace.sandbox.advance(5)
    workspace.sandbox.settings(registrar="completes", job_seconds=20)
    workspace.register_file()
    assert wait(file_id=workspace.file_id, **mode).run().result["status"] == "completed"


@EVERY_MODE
def test_wait_for_a_submission(wait, workspace, mode):
    """With a count of its drafts."""
    workspace.stage_drafts()
    workspace.sandbox.settings(registrar="completes", job_seconds=20)
    submission_id = workspace.submit_drafts()
    task = wait(submission_id=submission_id, **mode).run()
    assert task.result == {
        "ids": [submission_id],
        "state": "succeeded",
        "status": "completed",
        "records": 2,
        "rejected": 0,
    }


@EVERY_MODE
@pytest.mark.parametrize(("soft_fail", "state"), [(False, "failed"), (True, "skipped")], ids=["hard", "soft"])
def test_a_registration_that_failed(wait, workspace, mode, soft_fail, state):
    """With the registrar's words on single records, in the log and in the error, and no second try."""
    workspace.register_file()
    workspace.submit_results(
        "error", message="bad file", records=[{"record_id": "r1", "status": "error", "error_message": "why"}]
    )
    task = wait(file_id=workspace.file_id, soft_fail=soft_fail, **mode).run()
    assert task.state == state
    assert task.logged("WARNING", "Rejected: row r1: status=error: why")
    if not soft_fail:
        assert isinstance(task.error, AirflowFailException)
        assert "bad file; row r1: status=error: why" in str(task.error)


@EVERY_MODE
@pytest.mark.parametrize(("policy", "state"), [("fail", "failed"), ("warn", "success"), ("ignore", "success")])
def test_a_validation_that_rejected_drafts(wait, workspace, mode, policy, state):
    """The DAG's author decides what its outcome means."""
    ids = workspace.stage_drafts()
    submission_id = workspace.submit_drafts(validation=True)
    bad = {"record_id": ids[0], "status": "error", "error_message": "why"}
    workspace.submit_results("error", submission_id, records=[bad])
    task = wait(submission_id=submission_id, on_rejected_rows=policy, **mode).run()
    assert task.state == state
    assert task.logged("Rejected: row", "why") is (policy != "ignore")
    if state == "success":
        assert (task.result["status"], task.result["rejected"]) == ("validation_failed", 1)


def test_unknown_operation(wait, clock):
    """Is not waited for forever, though the file may come."""
    task = wait(operation_id=UNKNOWN, file_id="f", deferrable=True, timeout=86_400).run()
    assert task.state == "failed"
    assert "Operation" in str(task.error)
    assert clock.ahead < 3600


def test_registration_sensor_timeout(wait, workspace):
    """As every sensor does."""
    workspace.register_file()
    task = wait(file_id=workspace.file_id, deferrable=True, timeout=600, retries=0).run()
    assert isinstance(task.error, AirflowSensorTimeout)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({}, "give exactly one of file_id and submission_id"),
        ({"file_id": "f", "submission_id": "s"}, "give exactly one of file_id and submission_id"),
        ({"file_id": ""}, "file_id must be a non-empty id"),
        ({"submission_id": "None"}, "submission_id must be a non-empty id, not 'None'"),
        ({"file_id": "f", "operation_id": ""}, "operation_id must be a non-empty id"),
        ({"file_id": "f", "on_rejected_rows": "x"}, "on_rejected_rows must be"),
    ],
)
def test_bad_input(wait, workspace, args, words):
    """Before any request."""
    task = wait(**args).run()
    assert task.state == "failed"
    assert words in str(task.error)
    assert workspace.sandbox.requests() == []


# --- drafts


@EVERY_MODE
def test_wait_for_all_drafts(wait_for_drafts, workspace, mode):
    """Until each has a status; those that are registered leave the table, and are still reported."""
    ids = workspace.stage_drafts()
    workspace.sandbox.settings(registrar="completes", job_seconds=20)
    workspace.submit_drafts()
    task = wait_for_drafts(record_ids=ids, **mode).run()
    assert task.state == "success", task.error
    result = {name: task.result[name] for name in ("ids", "drafts", "rejected", "completed")}
    assert result == {"ids": [workspace.operation_id], "drafts": 2, "rejected": 0, "completed": 2}


def test_all_drafts_are_registered_between_two_status_checks(wait_for_drafts, workspace):
    """Then none is left on the table, and their submission lists them; one that was cleared is not waited for."""
    first, *_ = workspace.stage_drafts([{"name": "A"}, {"name": "B"}, {"name": "C"}])
    task = wait_for_drafts(deferrable=True, timeout=600).defer()
    workspace.hook.clear_drafts(workspace.operation_id, [first])
    workspace.submit_results("success", workspace.submit_drafts())
    workspace.sandbox.advance(60)
    task.fire().worker_run()
    assert task.state == "success", task.error
    assert (task.result["drafts"], task.result["completed"]) == (2, 2)


@EVERY_MODE
@pytest.mark.parametrize("some", [False, True], ids=["all", "some"])
def test_validation_results(wait_for_drafts, workspace, mode, some):
    """Draft by draft."""
    ids = workspace.stage_drafts()
    submission_id = workspace.submit_drafts(validation=True)
    bad = {"record_id": ids[1], "status": "error", "error_message": "why"}
    workspace.submit_results("error", submission_id, records=[{"record_id": ids[0], "status": "ok"}, bad])
    args = {"record_ids": ids[:1] if some else None, "validate_only": True, **mode}
    task = wait_for_drafts(**args).run()
    assert task.state == ("success" if some else "failed")
    if not some:
        assert f"row {ids[1]}: status=validation_failed: why" in str(task.error)
        assert wait_for_drafts(**args, on_rejected_rows="warn").run().result["validation_failed"] == 1


def test_a_draft_without_a_result_is_waited_for(wait_for_drafts, workspace, clock):
    """Also when the others have theirs."""
    ids = workspace.stage_drafts()
    first = workspace.hook.submit_drafts(workspace.operation_id, ids[:1])["id"]
    workspace.submit_results("error", first)

    def later():
        if clock.ahead > 300 and len(workspace.submissions) == 1:
            second = workspace.hook.submit_drafts(workspace.operation_id, ids[1:])["id"]
            workspace.submit_results("success", second)

    clock.on_sleep = later
    task = wait_for_drafts(record_ids=ids, deferrable=True, on_rejected_rows="warn").run()
    assert task.state == "success", task.error
    assert (task.result["failed"], task.result["completed"]) == (1, 1)
    assert clock.ahead > 300


@pytest.mark.parametrize("ids", [[], "abc", ["a b"], [""], [7]], ids=repr)
def test_invalid_record_ids(wait_for_drafts, workspace, ids):
    """Before any request."""
    task = wait_for_drafts(record_ids=ids).run()
    assert task.state == "failed"
    assert "record_ids" in str(task.error)
    assert workspace.sandbox.requests() == []


def test_no_secret_is_logged_or_returned(wait, workspace):
    """Not even in what a trigger is given."""
    workspace.register_file()
    task = wait(file_id=workspace.file_id, deferrable=True).defer()
    assert SECRET not in str((task.log, task.trigger().serialize(), task.head, task.record))
