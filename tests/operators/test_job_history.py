"""What is told of a job for people: the summary, the history, and the progress that the trigger writes down."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from sluice_provider.jobs.record import JobRecord
from sluice_provider.jobs.storage import MAX_HISTORY_PIECES, RecordStorage
from sluice_provider.progress import KEY
from tests.operators.airflow_harness import ELEMENTS

pytestmark = pytest.mark.airflow

DEFERRED = {"deferrable": True}


def kinds(life):
    """What happened, in order."""
    return [event.what for event in life.record.history]


def test_history_of_a_finished_job(push, remote):
    """Its summary says how it ended and what was counted; its history goes from the intent to the end."""
    life = push().go()
    card = life.summary
    assert (card["service"], card["job_type"], card["noun"]) == ("kaleidoscope", "import", "import")
    assert (card["state"], card["service_status"], card["counts"]["created"]) == (
        "succeeded",
        "completed",
        len(ELEMENTS),
    )
    assert card["counts"]["sent"] == len(ELEMENTS)
    assert card["ids"] == remote.imports
    assert card["conn_id"] == "kaleidoscope_default"
    assert card["url"].endswith(f"/web/imports/{card['ids'][0]}")
    assert card["submitted_at"] <= card["ended_at"] <= card["updated_at"] + 1
    history = kinds(life)
    assert history[:2] == ["submitting", "submitted"]
    assert history[-1] == "ended"
    assert set(history[2:-1]) == {"status"}


def test_a_deferred_job_posts_progress(push, remote):
    """The trigger has no record: it leaves its news in an XCom, and the task that resumes takes them over."""
    remote.settings(job_seconds=30)
    life = push(**DEFERRED).defer()
    assert life.summary["state"] == "running"
    assert kinds(life)[-1] == "deferred"
    event = life.event()
    told = life.xcom(KEY)
    assert (told["state"], told["service_status"], told["counts"]["created"]) == (
        "succeeded",
        "completed",
        len(ELEMENTS),
    )
    assert told["ids"] == remote.imports
    assert [text.split()[1].strip(",") for _, _, text in told["history"]] == ["created", "processing", "completed"]
    life.fire(event).leg()
    assert life.history("status") == [text for _, _, text in told["history"]]
    assert kinds(life)[-1] == "ended"


def test_a_dead_trigger_is_in_the_history(push, remote):
    """The one that takes its place goes on with what was written down."""
    remote.settings(job_seconds=30)
    life = push(**DEFERRED).defer()

    async def some_looks(trigger):
        flow = asyncio.ensure_future(anext(trigger.run()))
        while not any("processing" in text for _, _, text in (life.xcom(KEY) or {"history": []})["history"]):  # noqa: ASYNC110 - a database tells nobody
            await asyncio.sleep(0.01)
        flow.cancel()

    life.in_triggerer(some_looks)
    before = life.xcom(KEY)["history"]
    life.event()
    after = life.xcom(KEY)["history"]
    assert [text.split()[-1] for _, _, text in before] == ["created", "processing"]
    assert after[: len(before)] == before
    assert "completed" in after[-1][2]


def test_progress_failures_do_not_fail_the_task(push, remote, monkeypatch):
    """Whatever becomes of the news, the wait goes on."""
    from airflow.sdk.execution_time.xcom import XCom

    async def broken(*_args, **_kwargs):
        raise RuntimeError("no room")

    monkeypatch.setattr(XCom, "aset", broken)
    life = push(**DEFERRED).go()
    assert life.state == "success"
    assert life.xcom(KEY) is None


def test_a_task_that_does_not_wait(push, remote):
    """Submits, and its summary says so: with the ids, and without an end."""
    card = push(wait_for_completion=False).go().summary
    assert (card["state"], card["ids"], card["ended_at"]) == ("submitted", remote.imports, None)


def test_a_failed_job_has_its_message(push, remote):
    """In the service's own words, and in what the task made of them."""
    remote.settings(fail_imports=1)
    life = push().go()
    card = life.summary
    assert card["state"] == "failed"
    assert "could not be processed" in card["message"]
    assert kinds(life)[-2:] == ["ended", "error"]


def test_rejected_rows_are_in_the_summary(push, remote):
    """Row by row, up to a limit."""
    remote.settings(rejected_rows=2)
    life = push().go()
    told = life.history("rejected")
    assert len(told) == 2
    assert all("invalid_format" in text for text in told)
    assert life.summary["state"] == "failed"


def test_a_rejected_request_is_a_failure_without_an_id(push, remote):
    """Nothing runs there, and the summary does not say that it does."""
    remote.trouble("POST", "/push/imports", status=422, body={"message": "no such view"})
    life = push().go()
    card = life.summary
    assert (card["state"], card["ids"]) == ("failed", [])
    assert "no such view" in card["message"]


def test_a_lost_response_is_in_the_history(push, remote):
    """The summary of a task that gave up says that the outcome is unknown; the next try goes on from there."""
    remote.trouble("POST", "/push/imports", drop="after", times=99)
    life = push().go()
    assert life.summary["state"] == "outcome_unknown"
    remote.faults([])
    life.retry().go()
    assert "outcome_unknown" in kinds(life)
    assert life.summary["state"] == "succeeded"


def test_a_retry_is_in_the_history(push, remote):
    """And that the first try died is not in its way."""
    life = push()
    with life.death("publishing"):
        life.go()
    life.retry().go()
    assert "reconnected" in kinds(life)
    assert kinds(life).count("submitted") == 1


def test_a_cleared_task_keeps_its_history(push, remote):
    """It is submitted again, and what was before can still be read."""
    life = push().go()
    life.clear().go()
    assert kinds(life).count("submitted") == 2


def test_a_new_trigger_is_in_the_history(push, remote):
    """With the reason."""
    life = push(**DEFERRED).defer().crash().leg()
    assert "trigger_restarted" in kinds(life)


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
