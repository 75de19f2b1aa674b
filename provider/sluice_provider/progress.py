"""The progress of a job while its task is deferred: written by the trigger, for the jobs page and the resumed task.

A trigger has no task state store. It can write XComs of its task, which are deleted with the next try; the resumed task
merges them into its record. No decision depends on them, and an error here never affects the wait.

Each write is a request to the triggerer's supervisor, which is one thread and takes about 19 ms for it. So all triggers
of an event loop share a budget, and the oldest news are written first; the last status of each job is always written.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sluice_provider import compat, metrics
from sluice_provider.http.event_loop import PerLoop, shared_task
from sluice_provider.jobs import JobGroup
from sluice_provider.jobs.record import HistoryEvent, JobRecord, events_from_json, summary_to_json
from sluice_provider.jobs.state_line import state_line
from sluice_provider.jobs.storage import MAX_TEXT_LENGTH

if TYPE_CHECKING:
    from sluice_provider.jobs import JobRef

KEY = "sluice_progress"
WORKER_RUN_KEY = "sluice_worker_run_started"
"""XCom key of when the latest worker run of this try started: a trigger of an earlier one must not cancel."""
WRITE_INTERVAL_SECONDS = 15.0
"""Seconds between two writes while only counts change."""
WRITES_PER_SECOND = 3.0
"""Of all triggers of an event loop together; the last write of each is not limited."""
BURST = 8
"""Writes that may follow each other at once after a quiet time."""
LAST_WRITES_AT_ONCE = 4
MAX_HISTORY_EVENTS = 50
MAX_CLOCK_DIFFERENCE_SECONDS = 5.0
"""Between a worker and a triggerer."""
MAX_FLUSH_SECONDS = 10.0
"""Seconds that the end of a wait may be delayed by the last write."""


class ProgressPublisher:
    """Writes the latest status in the background, within the event loop's budget.

    :param ti: the deferred task instance, as the trigger has it; without one (in `dag.test()`) nothing is written
    :param log: for errors of writing
    """

    def __init__(self, ti: Any, ref: JobRef, log: Any) -> None:
        self._ti = ti
        self._ref = ref
        self._log = log
        self._history: list[HistoryEvent] = []
        self._latest: dict[str, Any] = {}
        self._written: dict[str, Any] = {}
        self._written_at = 0.0
        self._lock = asyncio.Lock()
        self._recalled = False
        """Whether the history of an earlier trigger, which may have died with its triggerer, was read."""

    def __call__(self, work: JobGroup, change: str) -> None:
        """Called with every status check, on the event loop."""
        metrics.status_checked(self._ref)
        value = work.to_json()
        self._latest = {
            **value,
            "service_status": redact_and_truncate(value["service_status"]),
            "message": redact_and_truncate(value["message"]),
        }
        if change:
            self.add("status", change)
        elif not self._written:  # the worker has recorded this status
            self._written = self._latest
        if change or (self._latest != self._written and time.time() - self._written_at >= WRITE_INTERVAL_SECONDS):
            self._write_later()

    def add(self, what: str, text: str) -> None:
        """Add an event to the history, to be written with the next update."""
        self._history = [
            *self._history[-MAX_HISTORY_EVENTS + 1 :],
            HistoryEvent(round(time.time(), 3), what, redact_and_truncate(text)),
        ]

    async def flush(self) -> None:
        """Write what is not written yet, and wait for that, at most `MAX_FLUSH_SECONDS`. It is written in any case."""
        if self._ti is not None and self._latest:
            await asyncio.wait({_budget().write_last(self)}, timeout=MAX_FLUSH_SECONDS)

    def _write_later(self) -> None:
        if self._ti is not None:
            _budget().add(self)

    async def write(self) -> None:
        """Write the latest status now."""
        async with self._lock:
            written, written_before = self._latest, self._written
            self._written, self._written_at = written, time.time()
            try:
                # Not with a custom XCom backend: that may block the event loop, and the jobs page reads the database.
                xcom = compat.base_xcom()
                if not self._recalled:
                    value = await xcom.aget_one(key=KEY, **task_instance_key(self._ti))
                    self._history = [*read_history(value), *self._history][-MAX_HISTORY_EVENTS:]
                    self._recalled = True
                await xcom.aset(KEY, self._value(), **task_instance_key(self._ti))
            except Exception as error:  # noqa: BLE001 - no error here affects the wait
                self._written = written_before
                self._log.debug("The progress of the job could not be written to XCom: %r", error)

    def _value(self) -> list[Any]:
        """The line by which the jobs page counts jobs in SQL, and the progress. In an object it could not come first:
        PostgreSQL sorts the keys of objects."""
        history = [list(line) for line in self._history]
        ids, others = self._ref.ids, self._ref.ended.number
        known = {"ids": ids, "id_count": len(ids) + others, "updated_at": round(self._written_at, 3)}
        latest = {**self._latest, **known}
        if latest.get("state") == "running" and any(event.what == "cancel" for event in self._history):
            latest["state"] = "cancelling"
        return [state_line({**latest, "service": self._ref.service}), {**summary_to_json(latest), "history": history}]


class _Budget:
    """When the publishers of one event loop write."""

    def __init__(self) -> None:
        self._waiting: dict[ProgressPublisher, None] = {}  # the one with the oldest news first
        self._writer: asyncio.Task[None] | None = None
        self._last_writes = asyncio.Semaphore(LAST_WRITES_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._allowed = float(BURST)
        self._counted_at = time.monotonic()

    def add(self, publisher: ProgressPublisher) -> None:
        """Write what this one has to say as soon as the budget allows."""
        self._waiting.setdefault(publisher)
        if self._writer is None or self._writer.done():
            self._writer = shared_task(self._write_waiting())

    def write_last(self, publisher: ProgressPublisher) -> asyncio.Task[None]:
        """Write the last status of a job beside the budget. The task continues if its trigger ends."""
        self._waiting.pop(publisher, None)
        task = shared_task(self._write_last(publisher))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _write_last(self, publisher: ProgressPublisher) -> None:
        async with self._last_writes:
            await publisher.write()

    async def _write_waiting(self) -> None:
        while self._waiting:
            if (delay := self._delay()) > 0:
                await asyncio.sleep(delay)
                continue
            publisher = next(iter(self._waiting))
            del self._waiting[publisher]
            self._allowed -= 1
            await publisher.write()

    def _delay(self) -> float:
        """Seconds until the next write is within the budget."""
        now = time.monotonic()
        self._allowed = min(BURST, self._allowed + max(0.0, now - self._counted_at) * WRITES_PER_SECOND)
        self._counted_at = now
        missing = 1 - self._allowed
        return missing / WRITES_PER_SECOND if missing > 1e-6 else 0.0


_budget = PerLoop(_Budget)


def task_instance_key(ti: Any) -> dict[str, Any]:
    """The arguments by which XComs of this task instance are read and written."""
    return {"dag_id": ti.dag_id, "task_id": ti.task_id, "run_id": ti.run_id, "map_index": ti.map_index}


def progress_of(value: Any) -> Mapping[str, Any]:
    """The progress in what a trigger wrote, without the line before it; empty if it cannot be read."""
    valid = isinstance(value, list) and len(value) >= 2 and isinstance(value[1], dict)
    return value[1] if valid else {}


def read_history(value: Any) -> list[HistoryEvent]:
    """The history in what a trigger wrote."""
    return events_from_json(progress_of(value).get("history"))


def merge_trigger_events(record: JobRecord, ti: Any, log: Any) -> JobRecord:
    """The record with what the trigger wrote since the task deferred."""
    try:
        value = compat.base_xcom().get_one(key=KEY, **task_instance_key(ti))
    except Exception as error:  # noqa: BLE001 - no error here affects the job
        log.debug("The progress that the trigger wrote could not be read from XCom: %r", error)
        return record
    known = {event.at for event in record.history}
    # Triggers of earlier deferrals are in there, too, and only the latest piece of the record's history is loaded.
    deferred = max((event.at for event in record.history if event.what == "deferred"), default=0.0)
    for event in read_history(value):
        if event.at not in known and event.at > deferred - MAX_CLOCK_DIFFERENCE_SECONDS:
            record = record.with_event(event.at, event.what, event.text)
    return record


def redact_and_truncate(text: str) -> str:
    """A service's message as it is kept: without secrets, and truncated."""
    return compat.redact(text)[:MAX_TEXT_LENGTH]
