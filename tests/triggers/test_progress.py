"""What triggers write for the jobs page: within a budget of the event loop, and each job's last status in any case."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace

import pytest

from sluice_provider import progress
from sluice_provider.jobs import Job, JobGroup, JobRef, JobState, StatusObserver

log = logging.getLogger(__name__)


class XComs:
    """Airflow's XComs: a value for each task. A write waits while the gate is closed."""

    def __init__(self):
        self.values = {}
        self.written = []
        self.writing = self.most = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def aget_one(self, *, key, task_id, **_name):
        return self.values.get((task_id, key))

    async def aset(self, key, value, *, task_id, **_name):
        self.writing += 1
        self.most = max(self.most, self.writing)
        await self.gate.wait()
        self.writing -= 1
        self.written.append(task_id)
        self.values[task_id, key] = value


@pytest.fixture
def xcoms(monkeypatch):
    """Those of this test, and a clock that stands still unless the budget sleeps."""
    found = XComs()
    clock = SimpleNamespace(now=1000.0)

    async def sleep(seconds):
        clock.now += seconds
        await yield_to_others()

    monkeypatch.setattr(progress.compat, "base_xcom", lambda: found)
    monkeypatch.setattr(progress, "time", SimpleNamespace(time=lambda: clock.now, monotonic=lambda: clock.now))
    monkeypatch.setattr(progress, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))
    found.clock = clock
    return found


async def yield_to_others():
    """Whatever can run now has run."""
    for _ in range(10):
        await asyncio.sleep(0)


def publisher(name):
    """Of the trigger of this task."""
    ti = SimpleNamespace(dag_id="dag", task_id=name, run_id="run", map_index=-1)
    return progress.ProgressPublisher(ti, JobRef("kaleidoscope", "import", ("1",)), log)


def status(text, state=JobState.RUNNING):
    """Of one job."""
    return JobGroup((Job("1", state, text),))


def test_many_triggers_have_one_budget(xcoms):
    """A burst, then so many a second, the oldest changes first."""

    async def work():
        publishers = [publisher(str(number)) for number in range(progress.BURST + 8)]
        for each in publishers:
            each(status("created"), "created")
        publishers[-1](status("processing"), "processing")  # no reason to come sooner
        await yield_to_others()
        while xcoms.clock.now < 1001.0:
            await yield_to_others()
        return len(xcoms.written)

    written = asyncio.run(work())
    assert progress.BURST + 2 <= written <= progress.BURST + 4
    assert xcoms.written == [str(number) for number in range(len(xcoms.written))]
    assert xcoms.most == 1


def test_several_changes_are_one_write(xcoms):
    """Of the latest status, with all events."""

    async def work():
        each = publisher("a")
        each(status("created"), "created")
        each(status("processing"), "processing")
        await yield_to_others()

    asyncio.run(work())
    assert xcoms.written == ["a"]
    line, value = xcoms.values["a", progress.KEY]
    assert line.split()[2:] == ["running", "kaleidoscope"]
    assert value["service_status"] == "processing"
    assert [text for _, _, text in value["history"]] == ["created", "processing"]


def test_the_last_status_does_not_wait_for_the_budget(xcoms):
    """However many others wait."""

    async def work():
        waiting = [publisher(str(number)) for number in range(1000)]
        for each in waiting:
            each(status("created"), "created")
        last = waiting[-1]
        last(status("completed", JobState.SUCCEEDED), "completed")
        await last.flush()
        return xcoms.clock.now

    assert asyncio.run(work()) < 1010
    assert xcoms.values["999", progress.KEY][1]["state"] == "succeeded"


def test_the_last_status_is_written_although_the_trigger_is_over(xcoms, monkeypatch):
    """The end of the wait is delayed by some seconds at the most; what was not written by then is written later."""
    monkeypatch.setattr(progress, "MAX_FLUSH_SECONDS", 0.0)

    async def work():
        xcoms.gate.clear()
        each = publisher("a")
        each(status("completed", JobState.SUCCEEDED), "completed")
        await each.flush()
        assert not xcoms.written
        xcoms.gate.set()
        await yield_to_others()

    asyncio.run(work())
    assert xcoms.values["a", progress.KEY][1]["state"] == "succeeded"


def test_many_jobs_that_end_together(xcoms):
    """Their last words are written a few at a time."""

    async def work():
        publishers = [publisher(str(number)) for number in range(50)]
        for each in publishers:
            each(status("completed", JobState.SUCCEEDED), "completed")
        await asyncio.gather(*(each.flush() for each in publishers))

    asyncio.run(work())
    assert {task for task, _ in xcoms.values} == {str(number) for number in range(50)}
    assert xcoms.most <= progress.LAST_WRITES_AT_ONCE + 1


def test_what_the_worker_has_recorded_is_not_written_again(xcoms):
    """A thousand tasks that are deferred together have nothing to write until something changes."""

    async def work():
        each = publisher("a")
        observer = StatusObserver(log, "Kaleidoscope", each._ref, each, status("created").digest)
        observer(status("created"))
        xcoms.clock.now += 100
        observer(status("created"))
        await yield_to_others()
        assert not xcoms.written
        observer(status("processing"))
        await yield_to_others()

    asyncio.run(work())
    assert xcoms.written == ["a"]


def test_the_history_of_an_earlier_trigger_is_kept(xcoms):
    """It may have died with its triggerer."""
    xcoms.values["a", progress.KEY] = ["line", {"history": [[1.0, "status", "created"]]}]

    async def work():
        each = publisher("a")
        each(status("processing"), "processing")
        await each.flush()

    asyncio.run(work())
    assert [text for _, _, text in xcoms.values["a", progress.KEY][1]["history"]] == ["created", "processing"]
