"""What is told of a job changes nothing of its fate: whatever breaks in the telling, and whatever is left of it."""

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

    def change(life, key, value):
        with create_session() as session:
            rows = update(TaskStateStoreModel).filter_by(dag_id=life.run.dag_id, key=key)
            session.execute(rows.values(value=json.dumps(value)))

    return change


@pytest.mark.parametrize("args", [{}, DEFERRED], ids=["here", "deferred"])
def test_metrics_that_raise(push, remote, broken_metrics, args):
    """The job is asked for once, its id is kept, and it is waited for to its end."""
    remote.settings(job_seconds=20)
    remote.trouble("POST", "/push/imports", status=429, times=1)
    life = push(**args).go()
    assert (life.state, len(remote.imports)) == ("success", 1), life.error


@pytest.mark.parametrize("summary", [None, {"counts": None}, {"counts": 3, "state": 7}, ["running"], "lost"], ids=str)
@pytest.mark.parametrize(
    "history",
    [None, "lost", {"0": 1}, [[1.0, "submitted"], "x", None, ["then", "submitted", "y"], [2, "status", 7]]],
    ids=str,
)
def test_a_summary_and_a_history_that_cannot_be_read(push, remote, stored, summary, history):
    """Somebody edited them, or another version wrote them: what decides is elsewhere."""
    life = push()
    with life.death("publishing"):
        life.go()
    stored(life, "sluice_record", {**life.head, "summary": summary})
    stored(life, "sluice_record_history_0", history)
    life.retry()
    assert (life.state, len(remote.imports)) == ("success", 1), life.error
    assert life.summary["state"] == "succeeded"


def test_news_that_cannot_be_written(push, remote, monkeypatch):
    """While a job is waited for here, Airflow's API may be away for a while: the wait goes on."""
    from airflow.sdk.execution_time.context import TaskStateStoreAccessor

    remote.settings(job_seconds=60)
    original = TaskStateStoreAccessor.set

    def write(self, key, value, **more):
        if key == "sluice_record" and value["summary"].get("service_status") == "processing":
            raise ConnectionError("the API server is away")
        return original(self, key, value, **more)

    monkeypatch.setattr(TaskStateStoreAccessor, "set", write)
    life = push().go()
    assert (life.state, len(remote.imports)) == ("success", 1), life.error
    assert life.said("could not be written")


@pytest.mark.parametrize("left", ["raises", "nonsense"])
def test_progress_that_cannot_be_read(push, remote, monkeypatch, left):
    """The task that resumes does without it."""
    from airflow.sdk.bases.xcom import BaseXCom

    remote.settings(job_seconds=30)
    life = push(**DEFERRED).defer()
    event = life.event()

    def get_one(**_):
        if left == "raises":
            raise ConnectionError("the API server is away")
        return {"history": [["yesterday", "status", "x"], 3, [{}, [], None]]}

    monkeypatch.setattr(BaseXCom, "get_one", get_one)
    life.fire(event).leg()
    assert (life.state, len(remote.imports)) == ("success", 1), life.error


def test_progress_that_hangs(push, remote, monkeypatch):
    """The trigger does not keep its event back for it."""
    from airflow.sdk.bases.xcom import BaseXCom

    from sluice_provider import progress

    async def hang(*_args, **_kwargs):
        await asyncio.Event().wait()

    monkeypatch.setattr(BaseXCom, "aset", hang)
    monkeypatch.setattr(progress, "MAX_FLUSH_SECONDS", 0.05)
    remote.settings(job_seconds=30)
    life = push(**DEFERRED).go()
    assert (life.state, len(remote.imports)) == ("success", 1), life.error


@pytest.mark.parametrize("args", [{}, DEFERRED], ids=["here", "deferred"])
def test_secrets_are_taken_out(push, remote, args):
    """A service may repeat what it was sent. Airflow masks logs, and a record is read as it is."""
    life = push(**args)
    remote.settings(job_seconds=30)
    remote.trouble("POST", "/push/imports", status=422, times=1, body={"message": f"{SECRET} may not do this"})
    life.go()
    assert "may not do this" in str(life.history("error"))
    assert SECRET not in "".join(life.written)


def test_secrets_are_taken_out_of_progress(push, remote):
    """The same in the triggerer."""
    remote.settings(job_seconds=30)
    life = push(**DEFERRED).defer()
    import_id = remote.imports[0]
    body = {"id": import_id, "import_status": "failed", "is_complete": True, "error_message": f"{SECRET} is no key"}
    remote.trouble("GET", "/imports/", status=200, body=body)
    life.event()
    assert "is no key" in life.xcom(KEY)["message"]
    assert SECRET not in json.dumps(life.xcom(KEY))


def test_new_work_is_not_written_over_the_old_before_it_begins(submit_drafts, workspace):
    """The input was another for one try, which failed before it submitted: the next reconnects to the first job."""
    drafts = workspace.stage_drafts()
    life = submit_drafts()
    with life.death("publishing"):
        life.go()
    workspace.sandbox.faults([{"method": "GET", "path": "/registration_submissions", "times": 99, "status": 503}])
    life.retry(record_ids=drafts[:1])
    assert isinstance(life.error, ServerError)
    workspace.sandbox.faults([])
    workspace.submit_results(submission_id=workspace.submissions[0]["id"])
    workspace.sandbox.advance(60)
    life.retry(record_ids=None)
    assert (life.state, len(workspace.submissions)) == ("success", 1), life.error


def test_submitted_and_left(push, remote):
    """A task that does not wait leaves the ids and the link of what it submitted."""
    remote.settings(job_seconds=600)
    life = push(wait_for_completion=False).go()
    card = life.summary
    assert life.state == "success"
    assert (card["state"], card["ids"]) == ("submitted", remote.imports)
    assert card["url"].endswith(remote.imports[0])
    assert card["counts"]["sent"] == len(ELEMENTS)


def test_half_submitted(push, remote):
    """The second request is refused: the first one's job goes on there, and the summary names it and does not call it
    failed."""
    remote.settings(job_seconds=600)
    remote.trouble("POST", "/push/imports", skip=1, status=422, body={"message": "no"})
    life = push(batch_size=2).go()
    card = life.summary
    assert (card["state"], card["ids"]) == ("running", remote.imports)


def test_a_sensor_tells_each_state_once(airflow, remote, clock):
    """However often it comes back to poll."""
    from sluice_provider.operators.kaleidoscope import KaleidoscopePushOperator
    from sluice_provider.sensors.kaleidoscope import KaleidoscopeImportSensor

    remote.settings(job_seconds=600)
    push = {"records": ELEMENTS, "key_field_names": ["symbol"], "wait_for_completion": False}
    airflow.life(KaleidoscopePushOperator, **push).go()
    wait = {"import_id": remote.imports[0], "mode": "reschedule", "poke_interval": 60.0}
    life = airflow.life(KaleidoscopeImportSensor, task_id="wait", **wait).go()
    assert life.state == "success", life.error
    told = life.history("status")
    assert len(told) == len(set(told))


def test_a_sensor_whose_poll_fails_says_nothing_of_the_job(airflow, remote):
    """That it cannot be seen is not that it failed."""
    from sluice_provider.sensors.kaleidoscope import KaleidoscopeImportSensor

    remote.trouble("GET", "/imports/", status=403)
    life = airflow.life(KaleidoscopeImportSensor, task_id="wait", import_id=UNKNOWN, poke_interval=60.0).go()
    assert life.state == "failed"
    assert life.summary["state"] == "running"


def test_a_mapped_task_has_news_of_its_own(airflow, remote):
    """What its trigger writes down, it takes over itself, and no other one does."""
    from sluice_provider.operators.kaleidoscope import KaleidoscopePushOperator

    remote.settings(job_seconds=30)
    records = [[element] for element in ELEMENTS]

    def make():
        push = KaleidoscopePushOperator.partial(task_id="push", key_field_names=["symbol"], **DEFERRED)
        return push.expand(records=records)

    run = airflow.run(make)
    with_index = run.life("push", 0)
    event = with_index.defer().event()
    told = with_index.xcom(KEY)["history"]
    with_index.fire(event).leg()
    assert told
    assert {text for _, _, text in told} <= set(with_index.history("status"))
    assert run.life("push", 1).xcom(KEY) is None


def test_what_stops_between_two_phases_is_no_success(sync, kili):
    """The differences were computed well, and a limit stopped what was to come of them."""
    sync().go()
    for name in list(kili.bucket.rglob("*.png")):
        name.unlink()
    life = sync(delete_extraneous_files=True, max_removed=1).go()
    assert isinstance(life.error, SafetyLimitExceeded)
    assert life.summary["state"] == "failed"
    assert "would be removed" in life.summary["message"]


def test_a_death_between_two_phases_is_no_success(sync, kili):
    """Half is done; after the retry, all of it is."""
    life = sync()
    with life.death("end written", nth=2):
        life.go()
    assert life.summary["state"] == "running"
    life.retry()
    assert (life.state, life.summary["state"]) == ("success", "succeeded"), life.error


def test_nothing_to_do_is_a_success(sync, kili):
    """The first phase turned out to be the last."""
    sync().go()
    card = sync().go().summary
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
    life = push().go()
    assert (life.state, life.xcom("job_ids")) == ("success", None), life.error
    assert life.said("WARNING", "could not be written to XCom", "no XComs today")
