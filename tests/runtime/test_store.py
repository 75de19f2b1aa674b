"""What a task stores and where: the whole record, or with `durable=False` only what the jobs page shows."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from sluice_provider.jobs.record import JobRecord, PhaseRecord, Submission
from sluice_provider.jobs.storage import HISTORY_KEY, KEY, STATE_KEY
from sluice_provider.runtime.store import TaskRecords


class Values(dict):
    """The task state store."""

    def set(self, key, value):
        """As JSON."""
        self[key] = json.loads(json.dumps(value))


class TaskInstance(SimpleNamespace):
    """A task instance with its XComs, which end with the try."""

    def xcom_pull(self, key, **_):
        """The pushed value."""
        return self.xcoms.get(key)

    def xcom_push(self, key, value):
        """As JSON."""
        self.xcoms[key] = json.loads(json.dumps(value))


@pytest.fixture
def store():
    """The task state store, which outlives tries."""
    return Values()


@pytest.fixture
def begin(store):
    """Start a new worker run: `xcoms` are those of an earlier one of the same try."""

    def records(*, durable, xcoms=None, try_number=1):
        ti = TaskInstance(dag_id="d", run_id="r", task_id="t", map_index=-1, max_tries=3, try_number=try_number)
        ti.xcoms = {} if xcoms is None else xcoms
        dag_run = SimpleNamespace(clear_number=0)
        return TaskRecords({"ti": ti, "task_state_store": store, "dag_run": dag_run}, durable=durable)

    return records


def with_events(record, *numbers):
    """The record with these events, each of which is long."""
    for number in numbers:
        record = record.with_event(float(number), "status", f"{number} {'x' * 400}")
    return record


def shown(store):
    """The numbers of the events that the jobs page finds."""
    pieces = [value for key, value in store.items() if key.startswith(HISTORY_KEY)]
    return sorted(int(text.split()[0]) for piece in pieces for _, _, text in piece)


RECORD = JobRecord("print", seed="s", summary={"state": "running"}).with_phase(
    PhaseRecord("job", submissions=(Submission("a"),))
)


def test_not_durable_stores_only_what_the_jobs_page_needs(begin, store):
    """No record that a retry could continue, but the summary and the history."""
    begin(durable=False).save(with_events(RECORD, 1))
    assert set(store) == {KEY, STATE_KEY, f"{HISTORY_KEY}_0"}
    assert set(store[KEY]) == {"summary", "history"}
    assert begin(durable=False, try_number=2).load() is None


@pytest.mark.parametrize("durable", [True, False], ids=["durable", "not durable"])
def test_a_resumed_worker_run_continues_the_history(begin, store, durable):
    """However long it is, nothing is lost or written twice."""
    xcoms = {}
    begin(durable=durable, xcoms=xcoms).save(with_events(RECORD, *range(30)))
    resumed = begin(durable=durable, xcoms=xcoms)
    record = resumed.load()
    assert record.phase("job").ids == ("a",)
    resumed.save(with_events(record, *range(30, 60)))
    assert shown(store) == list(range(60))


def test_a_later_try_continues_the_history(begin, store):
    """It cannot load the earlier job, and the jobs page still shows it."""
    begin(durable=False).save(with_events(RECORD, *range(30)))
    later = begin(durable=False, try_number=2)
    assert later.load() is None
    later.save(with_events(RECORD, 30))
    assert shown(store) == list(range(31))


def test_changing_to_durable_between_two_tries(begin, store):
    """There is no job to reconnect to, and no record to lose."""
    begin(durable=False).save(with_events(RECORD, 1))
    later = begin(durable=True, try_number=2)
    assert later.load() is None
    later.save(with_events(RECORD, 2))
    assert shown(store) == [1, 2]
    assert begin(durable=True, try_number=3).load().phase("job").ids == ("a",)


def test_a_try_that_does_not_reconnect_has_its_own_keys(begin):
    """With the key of the previous try a service would return its job instead of creating another one."""
    for durable in (True, False):
        seeds = {begin(durable=durable, try_number=number).seed("print") for number in (1, 2)}
        assert len(seeds) == (1 if durable else 2)
