"""What a task keeps and where: all of it for the next try, or with `durable=False` only what the page shows."""

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
        """What was pushed."""
        return self.xcoms.get(key)

    def xcom_push(self, key, value):
        """As JSON."""
        self.xcoms[key] = json.loads(json.dumps(value))


@pytest.fixture
def store():
    """What outlives tries."""
    return Values()


@pytest.fixture
def begin(store):
    """A new process of a try: `xcoms` are those of an earlier leg of it."""

    def records(*, durable, xcoms=None, try_number=1):
        ti = TaskInstance(dag_id="d", run_id="r", task_id="t", map_index=-1, max_tries=3, try_number=try_number)
        ti.xcoms = {} if xcoms is None else xcoms
        dag_run = SimpleNamespace(clear_number=0)
        return TaskRecords({"ti": ti, "task_state_store": store, "dag_run": dag_run}, durable=durable)

    return records


def told(record, *numbers):
    """The record after so many more events, each of which is long."""
    for number in numbers:
        record = record.with_event(float(number), "status", f"{number} {'x' * 400}")
    return record


def shown(store):
    """The numbers of the events that the page finds."""
    pieces = [value for key, value in store.items() if key.startswith(HISTORY_KEY)]
    return sorted(int(text.split()[0]) for piece in pieces for _, _, text in piece)


RECORD = JobRecord("print", seed="s", summary={"state": "running"}).with_phase(
    PhaseRecord("job", submissions=(Submission("a"),))
)


def test_only_what_the_page_needs(begin, store):
    """No id that a retry could go on from, but where the work stands and what happened."""
    begin(durable=False).save(told(RECORD, 1))
    assert set(store) == {KEY, STATE_KEY, f"{HISTORY_KEY}_0"}
    assert set(store[KEY]) == {"summary", "history"}
    assert begin(durable=False, try_number=2).load() is None


@pytest.mark.parametrize("durable", [True, False], ids=["durable", "not durable"])
def test_a_resumed_leg_goes_on_with_the_history(begin, store, durable):
    """However much there is of it, nothing that stands there is lost or written twice."""
    xcoms = {}
    begin(durable=durable, xcoms=xcoms).save(told(RECORD, *range(30)))
    resumed = begin(durable=durable, xcoms=xcoms)
    record = resumed.load()
    assert record.phase("job").ids == ("a",)
    resumed.save(told(record, *range(30, 60)))
    assert shown(store) == list(range(60))


def test_a_later_try_goes_on_with_the_history(begin, store):
    """It knows nothing of the job before, and the page still shows it."""
    begin(durable=False).save(told(RECORD, *range(30)))
    later = begin(durable=False, try_number=2)
    assert later.load() is None
    later.save(told(RECORD, 30))
    assert shown(store) == list(range(31))


def test_durable_again(begin, store):
    """The author thinks better of it between two tries: there is nothing to reconnect to, and no record to be lost."""
    begin(durable=False).save(told(RECORD, 1))
    later = begin(durable=True, try_number=2)
    assert later.load() is None
    later.save(told(RECORD, 2))
    assert shown(store) == [1, 2]
    assert begin(durable=True, try_number=3).load().phase("job").ids == ("a",)


def test_a_try_that_must_not_reconnect_has_keys_of_its_own(begin):
    """With the key of the try before a service would find its job, and not make another one."""
    for durable in (True, False):
        seeds = {begin(durable=durable, try_number=number).seed("print") for number in (1, 2)}
        assert len(seeds) == (1 if durable else 2)
