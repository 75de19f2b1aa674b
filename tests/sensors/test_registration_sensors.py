"""Waiting for registrations that somebody else asked for: three modes, one behaviour."""

from __future__ import annotations

import pytest
from airflow.exceptions import AirflowFailException, AirflowSensorTimeout

from sluice_provider.sensors.kaleidoscope import KaleidoscopeDraftsSensor, KaleidoscopeRegistrationSensor
from tests.operators.airflow_harness import SECRET, UNKNOWN

pytestmark = pytest.mark.airflow

MODES = {"poke": {}, "reschedule": {"mode": "reschedule"}, "deferrable": {"deferrable": True}}
EVERY_MODE = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)


@pytest.fixture
def wait(airflow, desk):
    """A sensor for a registration, alone in its run."""

    def begin(**args):
        args = {"operation_id": desk.operation_id, "poke_interval": 2, "retries": 3, **args}
        return airflow.life(KaleidoscopeRegistrationSensor, task_id="wait", **args)

    return begin


@pytest.fixture
def wait_for_drafts(airflow, desk):
    """A sensor for drafts, alone in its run."""

    def begin(**args):
        args = {"operation_id": desk.operation_id, "poke_interval": 2, "retries": 3, **args}
        return airflow.life(KaleidoscopeDraftsSensor, task_id="wait", **args)

    return begin


# --- a registration


@EVERY_MODE
def test_a_file_is_waited_for(wait, desk, mode):
    """Until its registration is over; the sensor itself asks for nothing."""
    desk.sandbox.settings(registrar="completes", job_seconds=20)
    made = desk.register()
    life = wait(file_id=desk.file_id, **mode).go()
    assert life.state == "success", life.error
    assert life.result == {"ids": [made], "state": "succeeded", "status": "completed", "rejected": 0}
    assert life.xcom("_link_KaleidoscopeLink").endswith(desk.operation_id)
    assert len(desk.asked("operations")) == 1


@EVERY_MODE
def test_a_file_that_is_not_registered_yet(wait, desk, clock, mode):
    """Somebody may still be about to: an hour, if it must be."""
    life = wait(file_id=desk.file_id, **mode)

    def somebody():
        if clock.ahead > 3600 and not desk.registrations:
            desk.register()
            desk.answer()

    clock.on_nap = somebody
    life.args["poke_interval"] = 300
    if mode.get("mode") == "reschedule":
        life.leg()
        clock.move(3601)
        somebody()
    life.go()
    assert (life.state, life.result["status"]) == ("success", "completed"), life.error


@EVERY_MODE
def test_the_last_registration_of_a_file_counts(wait, desk, mode):
    """An earlier one failed."""
    desk.register()
    desk.answer("error")
    desk.sandbox.advance(5)
    desk.sandbox.settings(registrar="completes", job_seconds=20)
    desk.register()
    assert wait(file_id=desk.file_id, **mode).go().result["status"] == "completed"


@EVERY_MODE
def test_a_submission_is_waited_for(wait, desk, mode):
    """With a count of its drafts."""
    desk.stage()
    desk.sandbox.settings(registrar="completes", job_seconds=20)
    submission_id = desk.submit()
    life = wait(submission_id=submission_id, **mode).go()
    assert life.result == {
        "ids": [submission_id],
        "state": "succeeded",
        "status": "completed",
        "records": 2,
        "rejected": 0,
    }


@EVERY_MODE
@pytest.mark.parametrize(("soft_fail", "state"), [(False, "failed"), (True, "skipped")], ids=["hard", "soft"])
def test_a_registration_that_failed(wait, desk, mode, soft_fail, state):
    """With the registrar's words on single records, in the log and in the error, and no second try."""
    desk.register()
    desk.answer("error", message="bad file", records=[{"record_id": "r1", "status": "error", "error_message": "why"}])
    life = wait(file_id=desk.file_id, soft_fail=soft_fail, **mode).go()
    assert life.state == state
    assert life.said("WARNING", "Rejected: row r1: status=error: why")
    if not soft_fail:
        assert isinstance(life.error, AirflowFailException)
        assert "bad file; row r1: status=error: why" in str(life.error)


@EVERY_MODE
@pytest.mark.parametrize(("policy", "state"), [("fail", "failed"), ("warn", "success"), ("ignore", "success")])
def test_a_dry_run_that_turned_drafts_away(wait, desk, mode, policy, state):
    """Its verdict is the author's to judge."""
    ids = desk.stage()
    submission_id = desk.submit(validation=True)
    bad = {"record_id": ids[0], "status": "error", "error_message": "why"}
    desk.answer("error", submission_id, records=[bad])
    life = wait(submission_id=submission_id, on_rejected_rows=policy, **mode).go()
    assert life.state == state
    assert life.said("Rejected: row", "why") is (policy != "ignore")
    if state == "success":
        assert (life.result["status"], life.result["rejected"]) == ("validation_failed", 1)


def test_an_operation_that_is_not_there(wait, clock):
    """Is not waited for forever, though the file may come."""
    life = wait(operation_id=UNKNOWN, file_id="f", deferrable=True, timeout=86_400).go()
    assert life.state == "failed"
    assert "Operation" in str(life.error)
    assert clock.ahead < 3600


def test_it_ends_at_its_timeout(wait, desk):
    """As every sensor does."""
    desk.register()
    life = wait(file_id=desk.file_id, deferrable=True, timeout=600, retries=0).go()
    assert isinstance(life.error, AirflowSensorTimeout)


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
def test_bad_input(wait, desk, args, words):
    """Before anything is asked."""
    life = wait(**args).go()
    assert life.state == "failed"
    assert words in str(life.error)
    assert desk.sandbox.requests() == []


# --- drafts


@EVERY_MODE
def test_all_drafts_are_waited_for(wait_for_drafts, desk, mode):
    """Until each has a verdict; those that are registered leave the table, and are still told of."""
    ids = desk.stage()
    desk.sandbox.settings(registrar="completes", job_seconds=20)
    desk.submit()
    life = wait_for_drafts(record_ids=ids, **mode).go()
    assert life.state == "success", life.error
    told = {name: life.result[name] for name in ("ids", "drafts", "rejected", "completed")}
    assert told == {"ids": [desk.operation_id], "drafts": 2, "rejected": 0, "completed": 2}


def test_all_drafts_are_registered_between_two_looks(wait_for_drafts, desk):
    """Then none is left on the table, and their submission tells of them; one that was cleared is not waited for."""
    first, *_ = desk.stage([{"name": "A"}, {"name": "B"}, {"name": "C"}])
    life = wait_for_drafts(deferrable=True, timeout=600).defer()
    desk.hook.clear_drafts(desk.operation_id, [first])
    desk.answer("success", desk.submit())
    desk.sandbox.advance(60)
    life.fire().leg()
    assert life.state == "success", life.error
    assert (life.result["drafts"], life.result["completed"]) == (2, 2)


@EVERY_MODE
@pytest.mark.parametrize("some", [False, True], ids=["all", "some"])
def test_the_verdicts_of_a_dry_run(wait_for_drafts, desk, mode, some):
    """Draft by draft."""
    ids = desk.stage()
    submission_id = desk.submit(validation=True)
    bad = {"record_id": ids[1], "status": "error", "error_message": "why"}
    desk.answer("error", submission_id, records=[{"record_id": ids[0], "status": "ok"}, bad])
    args = {"record_ids": ids[:1] if some else None, "validate_only": True, **mode}
    life = wait_for_drafts(**args).go()
    assert life.state == ("success" if some else "failed")
    if not some:
        assert f"row {ids[1]}: status=validation_failed: why" in str(life.error)
        assert wait_for_drafts(**args, on_rejected_rows="warn").go().result["validation_failed"] == 1


def test_a_draft_without_a_verdict_is_waited_for(wait_for_drafts, desk, clock):
    """Also when the others have theirs."""
    ids = desk.stage()
    first = desk.hook.submit_drafts(desk.operation_id, ids[:1])["id"]
    desk.answer("error", first)

    def later():
        if clock.ahead > 300 and len(desk.submissions) == 1:
            second = desk.hook.submit_drafts(desk.operation_id, ids[1:])["id"]
            desk.answer("success", second)

    clock.on_nap = later
    life = wait_for_drafts(record_ids=ids, deferrable=True, on_rejected_rows="warn").go()
    assert life.state == "success", life.error
    assert (life.result["failed"], life.result["completed"]) == (1, 1)
    assert clock.ahead > 300


@pytest.mark.parametrize("ids", [[], "abc", ["a b"], [""], [7]], ids=repr)
def test_drafts_that_cannot_be_waited_for(wait_for_drafts, desk, ids):
    """Before anything is asked."""
    life = wait_for_drafts(record_ids=ids).go()
    assert life.state == "failed"
    assert "record_ids" in str(life.error)
    assert desk.sandbox.requests() == []


def test_no_secret_is_told(wait, desk):
    """Not even in what a trigger is given."""
    desk.register()
    life = wait(file_id=desk.file_id, deferrable=True).defer()
    assert SECRET not in str((life.log, life.trigger().serialize(), life.head, life.record))
