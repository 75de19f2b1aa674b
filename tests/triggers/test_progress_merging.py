"""What several triggers of one try wrote, merged into the record each time that the task resumes."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from sluice_provider import compat, progress
from sluice_provider.jobs.record import HistoryEvent, JobRecord
from sluice_provider.jobs.storage import RecordStorage

TI = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=-1)


class Values(dict):
    """A task state store."""

    def set(self, key, value):
        self[key] = value


@pytest.fixture
def written(monkeypatch):
    """The history in the XCom of the triggers, of which each keeps what earlier ones wrote."""
    events = []
    value = SimpleNamespace(get_one=lambda **_: ["line", {"history": [list(each) for each in events[-50:]]}])
    monkeypatch.setattr(compat, "base_xcom", lambda: value)
    return events


def test_a_chain_of_deferrals_adds_each_event_once(written):
    """Also after the record's history has begun a new piece, which is all that is loaded of it."""
    store = Values()
    RecordStorage(store).save(JobRecord("print", seed="seed"))
    for number in range(60):
        at = 1000.0 + 20 * number
        storage = RecordStorage(store)
        storage.save(storage.load().with_event(at, "deferred"))
        written.append(HistoryEvent(at + 10, "status", f"job {number}: " + "x" * 60))
        storage = RecordStorage(store)
        storage.save(progress.merge_trigger_events(storage.load(), TI, logging.getLogger()))
    texts = [text for key, value in store.items() if "history" in key for _, what, text in value if what == "status"]
    assert len(texts) == len(set(texts)) == 60
