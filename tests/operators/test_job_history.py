"""What users see of a job: its summary, its history, and the progress that the trigger writes."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from sluice_provider.jobs.record import JobRecord
from sluice_provider.jobs.storage import MAX_HISTORY_PIECES, RecordStorage
from sluice_provider.progress import KEY, progress_of, read_history
from tests.operators.airflow_harness import ELEMENTS

pytestmark = pytest.mark.airflow

DEFERRED = {"deferrable": True}


def kinds(task):
    """What happened, in order."""
    return [event.what for event in task.record.history]


def test_history_of_a_finished_job(push, service):
    """Its summary says how it ended and what was counted; its history goes from the intent to the end."""
    task = push().run()
    card = task.summary
    assert (card["service"], card["job_type"], card["noun"]) == ("kaleidoscope", "import", "import")
    assert (card["state"], card["service_status"], card["counts"]["created"]) == (
        "succeeded",
        "completed",
        len(ELEMENTS),
    )
    assert card["counts"]["sent"] == len(ELEMENTS)
    assert card["ids"] == service.imports
    assert card["conn_id"] == "kaleidoscope_default"
    assert card["url"].endswith(f"/web/imports/{card['ids'][0]}")
    assert card["submitted_at"] <= card["ended_at"] <= card["updated_at"] + 1
    history = kinds(task)
    assert history[:2] == ["submitting", "submitted"]
    assert history[-1] == "ended"
    assert set(history[2:-1]) == {"status"}


def test_a_deferred_job_posts_progress(push, service):
    """The trigger has no record: it writes what has changed to an XCom, and the resumed task merges it."""
    service.settings(job_seconds=30)
    task = push(**DEFERRED).defer()
    assert task.summary["state"] == "running"
    assert kinds(task)[-1] == "deferred"
    event = task.event()
    progress = progress_of(task.xcom(KEY))
    assert (progress["state"], progress["service_status"], progress["counts"]["created"]) == (
        "succeeded",
        "completed",
        len(ELEMENTS),
    )
    assert progress["ids"] == service.imports
    assert [text.split()[1].strip(",") for _, _, text in progress["history"]] == ["processing", "completed"]
    task.fire(event).worker_run()
    assert task.history("status")[1:] == [text for _, _, text in progress["history"]]
    assert kinds(task)[-1] == "ended"


def test_a_dead_trigger_is_in_the_history(push, service):
    """The one that takes its place goes on with what was written down."""
    service.settings(job_seconds=30)
    task = push(**DEFERRED).defer()

    async def some_status_checks(trigger):
        flow = asyncio.ensure_future(anext(trigger.run()))
        while not any("processing" in event.text for event in read_history(task.xcom(KEY))):  # noqa: ASYNC110 - a database sends no notification
            await asyncio.sleep(0.01)
        flow.cancel()

    task.in_triggerer(some_status_checks)
    before = read_history(task.xcom(KEY))
    task.event()
    after = read_history(task.xcom(KEY))
    assert [text.split()[-1] for _, _, text in before] == ["processing"]
    assert after[: len(before)] == before
    assert "completed" in after[-1][2]


def test_progress_failures_do_not_fail_the_task(push, service, monkeypatch):
    """The wait continues if progress cannot be written."""
    from airflow.sdk.execution_time.xcom import XCom

    async def broken(*_args, **_kwargs):
        raise RuntimeError("no room")

    monkeypatch.setattr(XCom, "aset", broken)
    task = push(**DEFERRED).run()
    assert task.state == "success"
    assert task.xcom(KEY) is None


def test_a_task_that_does_not_wait(push, service):
    """Submits, and its summary says so: with the ids, and without an end."""
    card = push(wait_for_completion=False).run().summary
    assert (card["state"], card["ids"], card["ended_at"]) == ("submitted", service.imports, None)


def test_a_failed_job_has_its_message(push, service):
    """In the service's own words, and in what the task made of them."""
    service.settings(fail_imports=1)
    task = push().run()
    card = task.summary
    assert card["state"] == "failed"
    assert "could not be processed" in card["message"]
    assert kinds(task)[-2:] == ["ended", "error"]


def test_rejected_rows_are_in_the_summary(push, service):
    """Row by row, up to a limit."""
    service.settings(rejected_rows=2)
    task = push().run()
    texts = task.history("rejected")
    assert len(texts) == 2
    assert all("invalid_format" in text for text in texts)
    assert task.summary["state"] == "failed"


def test_a_rejected_request_is_a_failure_without_an_id(push, service):
    """Nothing runs there, and the summary does not say that it does."""
    service.inject_fault("POST", "/push/imports", status=422, body={"message": "no such view"})
    task = push().run()
    card = task.summary
    assert (card["state"], card["ids"]) == ("failed", [])
    assert "no such view" in card["message"]


def test_a_lost_response_is_in_the_history(push, service):
    """The summary of a task that gave up says that the outcome is unknown; the next try goes on from there."""
    service.inject_fault("POST", "/push/imports", drop="after", times=99)
    task = push().run()
    assert task.summary["state"] == "outcome_unknown"
    service.faults([])
    task.retry().run()
    assert "outcome_unknown" in kinds(task)
    assert task.summary["state"] == "succeeded"


def test_a_retry_is_in_the_history(push, service):
    """And that the first try died is not in its way."""
    task = push()
    with task.death("publishing"):
        task.run()
    task.retry().run()
    assert "reconnected" in kinds(task)
    assert kinds(task).count("submitted") == 1


def test_a_cleared_task_keeps_its_history(push, service):
    """It is submitted again, and what was before can still be read."""
    task = push().run()
    task.clear().run()
    assert kinds(task).count("submitted") == 2


def test_a_new_trigger_is_in_the_history(push, service):
    """With the reason."""
    task = push(**DEFERRED).defer().fail_trigger().worker_run()
    assert "trigger_restarted" in kinds(task)


def test_the_history_is_bounded():
    """The first lines stay, and the latest."""
    stored, record = {}, JobRecord("f", seed="s")
    storage = RecordStorage(SimpleNamespace(get=stored.get, set=stored.__setitem__))
    for number in range(3000):
        record = record.with_event(number, "status", f"{number} {'x' * 100}")
        storage.save(record)
    pieces = [value for key, value in stored.items() if "history" in key]
    texts = [int(text.split()[0]) for piece in pieces for _, _, text in piece]
    assert len(pieces) == MAX_HISTORY_PIECES
    assert (min(texts), max(texts)) == (0, 2999)
    assert len(texts) < 1000
