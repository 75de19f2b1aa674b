"""What is told of a job for people: the card, the history, and the progress that the trigger writes down."""

from __future__ import annotations

import asyncio

import pytest
from sluice_provider.journal import LINES, Story

from operators.life import ELEMENTS
from sluice_provider.progress import KEY

pytestmark = pytest.mark.airflow

DEFERRED = {"deferrable": True}


def kinds(life):
    """What happened, in order."""
    return [what for _, what, _ in life.journal["history"]]


def test_a_finished_job(push, remote):
    """Its card says how it ended and what was counted; its history goes from the intent to the end."""
    life = push().go()
    card = life.journal["card"]
    assert (card["system"], card["kind"], card["noun"]) == ("kaleidoscope", "import", "import")
    assert (card["state"], card["word"], card["counts"]["created"]) == ("succeeded", "completed", len(ELEMENTS))
    assert card["counts"]["sent"] == len(ELEMENTS)
    assert card["ids"] == remote.imports
    assert card["conn_id"] == "kaleidoscope_default"
    assert card["url"].endswith(f"/web/imports/{card['ids'][0]}")
    assert card["submitted_at"] <= card["ended_at"] <= card["at"] + 1
    history = kinds(life)
    assert history[:2] == ["intent", "asked"]
    assert history[-1] == "ended"
    assert set(history[2:-1]) == {"state"}


def test_a_deferred_job_tells_how_it_goes_on(push, remote):
    """The trigger has no journal: it leaves its news in an XCom, and the task that resumes takes them over."""
    remote.settings(job_seconds=30)
    life = push(**DEFERRED).defer()
    assert life.journal["card"]["state"] == "running"
    assert kinds(life)[-1] == "deferred"
    event = life.event()
    told = life.xcom(KEY)
    assert (told["state"], told["word"], told["counts"]["created"]) == ("succeeded", "completed", len(ELEMENTS))
    assert told["ids"] == remote.imports
    assert [text.split()[1].strip(",") for _, _, text in told["history"]] == ["created", "processing", "completed"]
    life.fire(event).leg()
    history = life.journal["history"]
    assert [text for _, what, text in history if what == "state"] == [text for _, _, text in told["history"]]
    assert history[-1][1] == "ended"


def test_a_trigger_that_died_is_not_forgotten(push, remote):
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


def test_trouble_with_progress_is_no_trouble(push, remote, monkeypatch):
    """Whatever becomes of the news, the wait goes on."""
    from airflow.sdk.execution_time.xcom import XCom

    async def broken(*_args, **_kwargs):
        raise RuntimeError("no room")

    monkeypatch.setattr(XCom, "aset", broken)
    life = push(**DEFERRED).go()
    assert life.state == "success"
    assert life.xcom(KEY) is None


def test_a_task_that_does_not_wait(push, remote):
    """Hands over, and its card says so: with the ids, and without an end."""
    card = push(wait_for_completion=False).go().journal["card"]
    assert (card["state"], card["ids"], card["ended_at"]) == ("accepted", remote.imports, None)


def test_a_failed_job_tells_why(push, remote):
    """In the remote's own words, and in what the task made of them."""
    remote.settings(fail_imports=1)
    life = push().go()
    card = life.journal["card"]
    assert card["state"] == "failed"
    assert "could not be processed" in card["message"]
    assert kinds(life)[-2:] == ["ended", "error"]


def test_rejected_rows_are_told(push, remote):
    """Row by row, up to a limit."""
    remote.settings(rejected_rows=2)
    life = push().go()
    told = [text for _, what, text in life.journal["history"] if what == "rejected"]
    assert len(told) == 2
    assert all("invalid_format" in text for text in told)
    assert life.journal["card"]["state"] == "failed"


def test_a_refusal_is_a_failure_without_an_id(push, remote):
    """Nothing runs there, and the card does not say that it does."""
    remote.trouble("POST", "/push/imports", status=422, body={"message": "no such view"})
    life = push().go()
    card = life.journal["card"]
    assert (card["state"], card["ids"]) == ("failed", [])
    assert "no such view" in card["message"]


def test_a_lost_answer_is_a_doubt(push, remote):
    """The card of a task that gave up in doubt says so; the next try tells that it was in doubt."""
    remote.trouble("POST", "/push/imports", drop="after", times=99)
    life = push().go()
    assert life.journal["card"]["state"] == "in_doubt"
    remote.faults([])
    life.retry().go()
    assert "doubt" in kinds(life)
    assert life.journal["card"]["state"] == "succeeded"


def test_a_retry_tells_that_it_came_back(push, remote):
    """And that the first try died is not in its way."""
    life = push()
    with life.death("publishing"):
        life.go()
    life.retry().go()
    assert "reattached" in kinds(life)
    assert kinds(life).count("asked") == 1


def test_a_cleared_task_keeps_its_history(push, remote):
    """It is asked for again, and what was before can still be read."""
    life = push().go()
    life.clear().go()
    assert kinds(life).count("asked") == 2


def test_a_new_trigger_is_told(push, remote):
    """With the reason."""
    life = push(**DEFERRED).defer().crash().leg()
    assert "mended" in kinds(life)


def test_a_history_has_an_end():
    """The first lines stay, and the latest."""
    story = Story("f", [0, 0])
    for number in range(3 * LINES):
        story.tell("state", str(number))
    texts = [line.text for line in story.history]
    assert len(texts) == LINES
    assert texts[0] == "0"
    assert texts[-1] == str(3 * LINES - 1)
