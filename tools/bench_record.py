"""What the stored record of a job costs: values and bytes written, and CPU, by the number of batches."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from unittest import mock

from sluice_provider.http.flow import Flow, Gather
from sluice_provider.jobs import events as on
from sluice_provider.jobs import execution
from sluice_provider.jobs.lifecycle import Lifecycle, Options
from sluice_provider.jobs.model import Job, JobState
from sluice_provider.jobs.polling import JobType, Locator
from sluice_provider.jobs.record import Intent, JobRecord, PhaseRecord
from sluice_provider.jobs.spec import JobSpec, Phase, Unit
from sluice_provider.jobs.storage import RecordStorage

ROWS = 1_000
SECONDS = 0.05
"""That one batch takes, on a clock of its own."""


class Counted:
    """A task state store that only counts."""

    def __init__(self) -> None:
        self.writes = self.bytes = self.largest = 0

    def get(self, key: str) -> Any:
        del key

    def set(self, key: str, value: Any) -> None:
        del key
        size = len(json.dumps(value))
        self.writes, self.bytes, self.largest = self.writes + 1, self.bytes + size, max(self.largest, size)


class Clock:
    """Moves on with each batch."""

    now = 1_780_000_000.0

    def time(self) -> float:
        """Return the time."""
        return self.now


class Batches(Phase):
    """So many requests, answered with ids as long as real ones."""

    def __init__(self, batches: int, clock: Clock) -> None:
        super().__init__("push", "import")
        self._batches = batches
        self._clock = clock

    def units(self, record: PhaseRecord) -> Iterator[Unit]:
        """Make the rest of them."""
        for number in range(len(record.submissions), self._batches):
            yield Unit(number * ROWS, ROWS)

    def submit(self, unit: Unit, intent: Intent, record: PhaseRecord) -> Flow[str]:
        """Take some time."""
        del intent, record
        self._clock.now += SECONDS
        return f"{unit.start:036}"
        yield


class GroupedBatches(Batches):
    """A repeat would do no harm."""

    grouped = True


class Push(JobSpec):
    """One phase."""

    service = "kaleidoscope"

    def __init__(self, phase: Phase) -> None:
        self._phase = phase

    def next_phase(self, record: JobRecord) -> Phase | None:
        """Return the phase until it has ended."""
        return None if record.phase("push").outcome else self._phase


def get_status(job_id: str, locator: Locator) -> Flow[Job]:
    """Nobody waits for these jobs."""
    del locator
    return Job(job_id, JobState.RUNNING)
    yield


def push(batches: int, kind: type[Batches]) -> tuple[Counted, float]:
    """Submit so many batches; returns what was written, and CPU seconds."""
    clock, store = Clock(), Counted()
    spec = Push(kind(batches, clock))
    lifecycle = Lifecycle(spec.service, spec.next_phase, Options(wait_for_completion=False))
    run = execution.Execution(spec, lifecycle, lambda _kind: JobType("import", get_status))
    storage = RecordStorage(store)
    began = time.process_time()
    with mock.patch.object(execution, "time", SimpleNamespace(time=clock.time, monotonic=clock.time)):
        steps = run.run(None, on.Started(clock.now, "print", (0, 0), "seed"))
        results: list[Any] | None = None
        with suppress(StopIteration):
            while True:
                effect = steps.send(results)
                results = [value(flow) for flow in effect.flows] if isinstance(effect, Gather) else None
                if isinstance(effect, execution.SaveRecord):
                    storage.save(effect.record, effect.only)
    return store, time.process_time() - began


def value(flow: Flow[Any]) -> Any:
    """What a flow without requests returns."""
    try:
        next(flow)
    except StopIteration as end:
        return end.value
    raise AssertionError("it has a request")


def recording() -> None:
    """Print a line for each size of job, and for both ways to write."""
    print("\nStored record of a push, one batch in 50 ms")
    print("                                 batches   writes     bytes  a batch  largest  CPU ms a batch")
    ways = {"about once a second": GroupedBatches, "before and after each request": Batches}
    for name, kind in ways.items():
        for batches in (100, 1_000, 10_000):
            store, seconds = push(batches, kind)
            costs = f"{store.bytes:9} {store.bytes / batches:8.0f} {store.largest:8} {seconds / batches * 1000:15.2f}"
            print(f"  {name:30} {batches:7} {store.writes:8} {costs}")


if __name__ == "__main__":
    recording()
