"""What the Remote jobs page shows of tasks that failed before submitting anything, or without an end of their job."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sluice_provider.jobs.state_line import state_line
from sluice_provider.sensors.kaleidoscope import KaleidoscopeImportSensor
from tests.operators.airflow_harness import UNKNOWN

pytestmark = pytest.mark.airflow

FAILURES = {
    "no such connection": {"kaleidoscope_conn_id": "nobody"},
    "no such file": {"records": "/nowhere/elements.csv"},
    "an invalid row": {"records": [{"name": "Hydrogen"}]},
}


@pytest.mark.parametrize("durable", [True, False], ids=["durable", "not durable"])
@pytest.mark.parametrize("arguments", FAILURES.values(), ids=FAILURES)
def test_a_task_that_failed_before_submitting(push, service, arguments, durable):
    """Is listed as failed, with the reason, the connection, and no time of a submission."""
    task = push(durable=durable, retries=0, **arguments).run()
    assert (task.state, service.pushes) == ("failed", [])
    summary = task.summary
    assert (summary["service"], summary["state"], summary["ids"]) == ("kaleidoscope", "failed", [])
    assert summary["conn_id"] == arguments.get("kaleidoscope_conn_id", "kaleidoscope_default")
    assert summary["message"].startswith("nothing was submitted: ")
    assert str(task.error).split("(")[0][-40:] in summary["message"]
    assert not summary.get("submitted_at")
    assert task.stored("sluice_record_state") == state_line(summary)
    assert len(task.history("error")) == 1


def test_the_next_try_submits(push, service, tmp_path):
    """What was written for the page does not count as a record of a job; its history goes on."""
    path = tmp_path / "elements.csv"
    task = push(records=str(path), retry_policy=None).run()
    assert (task.state, task.summary["state"]) == ("up_for_retry", "failed")
    path.write_text("symbol,name\nH,Hydrogen\n")
    task.retry()
    assert (task.state, service.sent) == ("success", [["H"]])
    assert (task.summary["state"], task.summary["message"]) == ("succeeded", "")
    assert task.summary["submitted_at"]
    assert len(task.history("error")) == 1


def test_a_record_is_kept(push, service):
    """A later try that fails before it has read the record does not replace it."""
    service.settings(fail_imports=1)
    task = push().run()
    before = task.head
    task.retry(kaleidoscope_conn_id="nobody")
    assert {**task.head, "summary": None} == {**before, "summary": None}
    assert task.head["summary"]["ids"] == before["summary"]["ids"]
    task.args["kaleidoscope_conn_id"] = "kaleidoscope_default"
    assert task.run().state == "success"


def test_a_rejected_submission(push, service):
    """Nothing was submitted, so there is no time of a submission; a later one has its own."""
    service.inject_fault("POST", "/push/imports", status=422, body={"message": "no such view"})
    task = push(retry_policy=None).run()
    assert (task.summary["state"], task.summary["submitted_at"]) == ("failed", None)
    service.faults([])
    task.retry()
    assert task.state == "success"
    assert task.summary["submitted_at"] > 0


def test_an_execution_timeout(push, service, clock):
    """The page says why the task is over, although its job was running."""
    service.settings(job_seconds=10_000)
    task = push(execution_timeout=timedelta(seconds=0.5), retries=0)
    clock.on_sleep = lambda: [None for _ in range(10**9)]
    task.run()
    assert task.state == "failed"
    assert task.summary["state"] == "running"
    assert "AirflowTaskTimeout" in task.summary["message"]


@pytest.mark.parametrize(
    "mode", [{}, {"mode": "reschedule"}, {"deferrable": True}], ids=["poke", "reschedule", "defer"]
)
def test_the_timeout_of_a_sensor(push, airflow, service, mode):
    """The page says why the task is over, although the job was running."""
    service.settings(job_seconds=10_000)
    import_id = push(wait_for_completion=False).run().result["import_ids"][0]
    arguments = {"poke_interval": 2, "timeout": 0.05 if "mode" in mode else 100, **mode}
    task = airflow.task(KaleidoscopeImportSensor, task_id="wait", import_id=import_id, **arguments).run()
    assert task.state == "failed"
    assert task.summary["state"] == "running"
    assert task.summary["message"]


def test_a_sensor_without_its_connection(airflow, service):
    """Is listed with the reason."""
    arguments = {"kaleidoscope_conn_id": "nobody", "import_id": UNKNOWN}
    task = airflow.task(KaleidoscopeImportSensor, task_id="wait", **arguments).run()
    assert task.state == "failed"
    assert (task.summary["state"], task.summary["conn_id"]) == ("failed", "nobody")
    assert "nobody" in task.summary["message"]
