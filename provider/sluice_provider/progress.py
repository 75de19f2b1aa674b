"""How a job goes on while its task is deferred: written by the trigger, for the page and for the task that resumes.

A trigger has no task state store. It may write XComs of its task, which end with the try that they belong to; that
suits progress, and whoever resumes takes over what it says. Nothing is ever decided by it, and no trouble with it
touches the wait.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sluice_provider import compat, metrics
from sluice_provider.jobs import JobGroup
from sluice_provider.jobs.record import HistoryEvent, JobRecord, events_from_json, summary_to_json
from sluice_provider.jobs.storage import LONGEST_TEXT

if TYPE_CHECKING:
    from sluice_provider.jobs import JobRef

KEY = "sluice_progress"
WORKER_RUN_KEY = "sluice_worker_run_started"
"""XCom key of when the latest leg of this try began: a trigger of an earlier leg has nothing to cancel any more."""
EVERY = 15.0
"""Seconds between two writings when nothing but counts has changed."""
LINES = 50
LONGEST_FLUSH = 10.0
"""Seconds that the end of a wait is held up at the most, for news that do not get through."""


class ProgressPublisher:
    """Writes down the latest news beside the wait, one writing at a time.

    :param ti: the deferred task's instance, as the trigger knows it; without one (in `dag.test()`) nothing is written
    :param log: is told when that fails
    """

    def __init__(self, ti: Any, ref: JobRef, log: Any) -> None:
        self._ti = ti
        self._ref = ref
        self._log = log
        self._history: list[HistoryEvent] = []
        self._latest: dict[str, Any] = {}
        self._posted: dict[str, Any] = {}
        self._at = 0.0
        self._writing: asyncio.Task[None] | None = None
        self._recalled = False
        """Whether what a trigger before this one wrote, perhaps in a triggerer that died, is in the history."""

    def __call__(self, work: JobGroup, news: str) -> None:
        """Called with every look, on the event loop."""
        metrics.status_checked(self._ref)
        told = work.to_json()
        self._latest = {**told, "service_status": fit(told["service_status"]), "message": fit(told["message"])}
        if news:
            self.add("status", news)
        if news or (self._latest != self._posted and time.time() - self._at >= EVERY):
            self._write()

    def add(self, what: str, text: str) -> None:
        """A line of history, written with the next news."""
        self._history = [*self._history[-LINES + 1 :], HistoryEvent(round(time.time(), 3), what, fit(text))]

    async def flush(self) -> None:
        """Write what is not written yet, and wait until it is, but not for long."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._write_the_rest(), LONGEST_FLUSH)

    async def _write_the_rest(self) -> None:
        if self._writing is not None:
            await self._writing
        if self._ti is not None and self._latest:
            await self._post()

    def _write(self) -> None:
        if self._ti is not None and (self._writing is None or self._writing.done()):
            self._writing = asyncio.get_running_loop().create_task(self._post())

    async def _post(self) -> None:
        self._posted, self._at = self._latest, time.time()
        try:
            # Not by the author's own XCom backend: that may block the event loop, and the page reads the database.
            xcom = compat.base_xcom()
            if not self._recalled:
                told = await xcom.aget_one(key=KEY, **place_of(self._ti))
                self._history = [*history_of(told), *self._history][-LINES:]
                self._recalled = True
            await xcom.aset(KEY, self._value(), **place_of(self._ti))
        except Exception as error:  # noqa: BLE001 - the wait goes on whatever becomes of its news
            self._posted = {}
            self._log.debug("Progress could not be written down: %r", error)

    def _value(self) -> dict[str, Any]:
        history = [list(line) for line in self._history]
        latest = summary_to_json({**self._latest, "ids": self._ref.ids})
        return {"updated_at": round(self._at, 3), **latest, "history": history}


def place_of(ti: Any) -> dict[str, Any]:
    """Where XComs of this task instance are."""
    return {"dag_id": ti.dag_id, "task_id": ti.task_id, "run_id": ti.run_id, "map_index": ti.map_index}


def history_of(told: Any) -> list[HistoryEvent]:
    """The lines in what a trigger wrote down."""
    return events_from_json(told.get("history") if isinstance(told, dict) else None)


def merge_trigger_events(record: JobRecord, ti: Any, log: Any) -> JobRecord:
    """The record with what the trigger wrote since the task deferred."""
    try:
        told = compat.base_xcom().get_one(key=KEY, **place_of(ti))
    except Exception as error:  # noqa: BLE001 - the job goes on whatever became of its news
        log.debug("What the trigger wrote could not be read: %r", error)
        return record
    known = {event.at for event in record.history}
    for event in history_of(told):
        if event.at not in known:
            record = record.with_event(event.at, event.what, event.text)
    return record


def fit(text: str) -> str:
    """As much of a service's words as is kept, without secrets."""
    return compat.redact(text)[:LONGEST_TEXT]
