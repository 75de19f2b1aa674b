"""Failures of progress reporting do not affect the job."""

from __future__ import annotations

import asyncio
import json

import pytest

from sluice_provider.errors import SafetyLimitExceeded, ServerError
from sluice_provider.progress import KEY
from tests.operators.airflow_harness import ELEMENTS, SECRET, UNKNOWN

pytestmark = pytest.mark.airflow

DEFERRED = {"deferrable": True}


@pytest.fixture
def broken_metrics(monkeypatch):
    """A backend that refuses our figures, for tasks and for the triggerer."""
    from airflow._shared.observability.metrics import stats as server
    from airflow._shared.observability.metrics.base_stats_logger import NoStatsLogger
    from airflow.sdk._shared.observability.metrics import stats as task

    class Refusing(NoStatsLogger):
        def incr(self, stat, *_args, **_more):
            if stat.startswith("sluice."):
                raise OSError("no metrics today")

        timing = incr

    for module in (server, task):
        monkeypatch.setattr(module, "_get_backend", Refusing)


@pytest.fixture
def stored():
    """Changes what a task left in its task state store, under one key."""
    from airflow.models.task_state_store import TaskStateStoreModel
    from airflow.utils.session import create_session
    from sqlalchemy import update

    def change(task, key, value):
        with create_session() as session:
            rows = update(TaskStateStoreModel).filter_by(dag_id=task.dag_run.dag_id, key=key)
            session.execute(rows.values(value=json.dumps(value)))

    return change


@pytest.mark.parametrize("args", [{}, DEFERRED], ids=["here", "deferred"])
def test_metrics_that_raise(push, service, broken_metrics, args):
    """The job is submitted once, its id is kept, and the task waits until it is over."""
    service.settings(job_seconds=20)
    service.inject_fault("POST", "/push/imports", status=429, times=1)
    task = push(**args).run()
    assert (task.state, len(service.imports)) == ("success", 1), task.error


@pytest.mark.parametrize("summary", [None, {"counts": None}, {"counts": 3, "state": 7}, ["running"], "lost"], ids=str)
@pytest.mark.parametrize(
    "history",
    [None, "lost", {"0": 1}, [[1.0, "submitted"], "x", None, ["then", "submitted", "y"], [2, "status", 7]]],
    ids=str,
)
def test_a_summary_and_a_history_that_cannot_be_read(push, service, stored, summary, history):
    """A user edited them, or another version wrote them: decisions depend on other values."""
    task = push()
    with task.death("publishing"):
        task.run()
    stored(task, "sluice_record", {**task.head, "summary": summary})
    stored(task, "sluice_record_history_0", history)
    task.retry()
    assert (task.state, len(service.imports)) == ("success", 1), task.error
    assert task.summary["state"] == "succeeded"


def test_progress_that_cannot_be_written(push, service, monkeypatch):
    """While a job is waited for here, Airflow's API may be away for a while: the wait goes on."""
    from airflow.sdk.execution_time.context import TaskStateStoreAccessor

    service.settings(job_seconds=60)
    original = TaskStateStoreAccessor.set

    def write(self, key, value, **more):
        if key == "sluice_record" and value["summary"].get("service_status") == "processing":
            raise ConnectionError("the API server is away")
        return original(self, key, value, **more)

    monkeypatch.setattr(TaskStateStoreAccessor, "set", write)
    task = push().run()
    assert (task.state, len(service.imports)) == ("success", 1), task.error
    assert task.logged("could not be written")


@pytest.mark.parametrize("left", ["raises", "nonsense"])
def test_progress_that_cannot_be_read(push, service, monkeypatch, left):
    """The task that resumes does without it."""
    from airflow.sdk.bases.xcom import BaseXCom

    service.settings(job_seconds=30)
    task = push(**DEFERRED).defer()
    event = task.event()

    def get_one(**_):
        if left == "raises":
            raise ConnectionError("the API server is away")
        return {"history": [["yesterday", "status", "x"], 3, [{}, [], None]]}

    monkeypatch.setattr(BaseXCom, "get_one", get_one)
    task.fire(event).worker_run()
    assert (task.state, len(service.imports)) == ("success", 1), task.error


def test_progress_that_hangs(push, service, monkeypatch):
    """The trigger does not keep its event back for it."""
    from airflow.sdk.bases.xcom import BaseXCom

    from sluice_provider import progress

    async def hang(*_args, **_kwargs):
        await asyncio.Event().wait()

    monkeypatch.setattr(BaseXCom, "aset", hang)
    monkeypatch.setattr(progress, "MAX_FLUSH_SECONDS", 0.05)
    service.settings(job_seconds=30)
    task = push(**DEFERRED).run()
    assert (task.state, len(service.imports)) == ("success", 1), task.error


@pytest.mark.parametrize("args", [{}, DEFERRED], ids=["here", "deferred"])
def test_secrets_are_taken_out(push, service, args):
    """A service may repeat what it was sent. Airflow masks logs, and a record is read as it is."""
    task = push(**args)
    service.settings(job_seconds=30)
    service.inject_fault("POST", "/push/imports", status=422, times=1, body={"message": f"{SECRET} may not do this"})
    task.run()
    assert "may not do this" in str(task.history("error"))
    assert SECRET not in "".join(task.stored_values)


def test_secrets_are_taken_out_of_progress(push, service):
    """The same in the triggerer."""
    service.settings(job_seconds=30)
    task = push(**DEFERRED).defer()
    import_id = service.imports[0]
    body = {"id": import_id, "import_status": "failed", "is_complete": True, "error_message": f"{SECRET} is no key"}
    service.inject_fault("GET", "/imports/", status=200, body=body)
    task.event()
    assert "is no key" in task.xcom(KEY)[1]["message"]
    assert SECRET not in json.dumps(task.xcom(KEY))


def test_new_work_is_not_written_over_the_old_before_it_begins(submit_drafts, workspace):
    """The input was another for one try, which failed before it submitted: the next reconnects to the first job."""
    drafts = workspace.stage_drafts()
    task = submit_drafts()
    with task.death("publishing"):
        task.run()
    workspace.sandbox.faults([{"method": "GET", "path": "/registration_submissions", "times": 99, "status": 503}])
    task.retry(record_ids=drafts[:1])
    assert isinstance(task.error, ServerError)
    workspace.sandbox.faults([])
    workspace.submit_results(submission_id=workspace.submissions[0]["id"])
    workspace.sandbox.advance(60)
    task.retry(record_ids=None)
    assert (task.state, len(workspace.submissions)) == ("success", 1), task.error


def test_submitted_and_left(push, service):
    """A task that does not wait leaves the ids and the link of what it submitted."""
    service.settings(job_seconds=600)
    task = push(wait_for_completion=False).run()
    card = task.summary
    assert task.state == "success"
    assert (card["state"], card["ids"]) == ("submitted", service.imports)
    assert card["url"].endswith(service.imports[0])
    assert card["counts"]["sent"] == len(ELEMENTS)


def test_half_submitted(push, service):
    """The second request is refused: the first one's job goes on there, and the summary names it and does not call it
    failed."""
    service.settings(job_seconds=600)
    service.inject_fault("POST", "/push/imports", skip=1, status=422, body={"message": "no"})
    task = push(batch_size=2).run()
    card = task.summary
    assert (card["state"], card["ids"]) == ("running", service.imports)


def test_a_sensor_logs_each_state_once(airflow, service, clock):
    """However often it comes back to poll."""
    from sluice_provider.operators.kaleidoscope import KaleidoscopePushOperator
    from sluice_provider.sensors.kaleidoscope import KaleidoscopeImportSensor

    service.settings(job_seconds=600)
    push = {"records": ELEMENTS, "key_field_names": ["symbol"], "wait_for_completion": False}
    airflow.task(KaleidoscopePushOperator, **push).run()
    wait = {"import_id": service.imports[0], "mode": "reschedule", "poke_interval": 60.0}
    task = airflow.task(KaleidoscopeImportSensor, task_id="wait", **wait).run()
    assert task.state == "success", task.error
    texts = task.history("status")
    assert len(texts) == len(set(texts))


def test_a_sensor_whose_poll_fails_says_nothing_of_the_job(airflow, service):
    """That it cannot be seen is not that it failed."""
    from sluice_provider.sensors.kaleidoscope import KaleidoscopeImportSensor

    service.inject_fault("GET", "/imports/", status=403)
    task = airflow.task(KaleidoscopeImportSensor, task_id="wait", import_id=UNKNOWN, poke_interval=60.0).run()
    assert task.state == "failed"
    assert task.summary["state"] == "running"


def test_a_mapped_task_has_its_own_history(airflow, service):
    """What its trigger writes down, it takes over itself, and no other one does."""
    from sluice_provider.operators.kaleidoscope import KaleidoscopePushOperator

    service.settings(job_seconds=30)
    records = [[element] for element in ELEMENTS]

    def make():
        push = KaleidoscopePushOperator.partial(task_id="push", key_field_names=["symbol"], **DEFERRED)
        return push.expand(records=records)

    dag_run = airflow.dag_run(make)
    with_index = dag_run.task("push", 0)
    event = with_index.defer().event()
    history = with_index.xcom(KEY)[1]["history"]
    with_index.fire(event).worker_run()
    assert history
    assert {text for _, _, text in history} <= set(with_index.history("status"))
    assert dag_run.task("push", 1).xcom(KEY) is None


def test_what_stops_between_two_phases_is_no_success(sync, kili):
    """The differences were computed well, and a limit stopped what was to come of them."""
    sync().run()
    for name in list(kili.bucket.rglob("*.png")):
        name.unlink()
    task = sync(delete_extraneous_files=True, max_removed=1).run()
    assert isinstance(task.error, SafetyLimitExceeded)
    assert task.summary["state"] == "failed"
    assert "would be removed" in task.summary["message"]


def test_a_death_between_two_phases_is_no_success(sync, kili):
    """Half is done; after the retry, all of it is."""
    task = sync()
    with task.death("end written", nth=2):
        task.run()
    assert task.summary["state"] == "running"
    task.retry()
    assert (task.state, task.summary["state"]) == ("success", "succeeded"), task.error


def test_nothing_to_do_is_a_success(sync, kili):
    """The first phase turned out to be the last."""
    sync().run()
    card = sync().run().summary
    assert (card["state"], card["job_type"]) == ("succeeded", "computation")
    assert card["submitted_at"] <= card["ended_at"]


def test_ids_that_cannot_be_written_to_xcom_do_not_fail_the_task(push, monkeypatch):
    """They are for people while the job runs; the record and the result have them too."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    original = RuntimeTaskInstance.xcom_push

    def without_ids(self, key, value):
        if key == "job_ids":
            raise OSError("no XComs today")
        original(self, key, value)

    monkeypatch.setattr(RuntimeTaskInstance, "xcom_push", without_ids)
    task = push().run()
    assert (task.state, task.xcom("job_ids")) == ("success", None), task.error
    assert task.logged("WARNING", "could not be written to XCom", "no XComs today")
