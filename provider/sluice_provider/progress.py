"""How a job goes on while its task is deferred: written by the trigger, for the page and for the task that resumes.

A trigger has no task state store. It may write XComs of its task, which end with the try that they belong to; that
suits progress, and whoever resumes takes over what it says. Nothing is ever decided by it, and no trouble with it
touches the wait.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from sluice_provider import metrics
from sluice_provider.jobs import LONGEST, Work
from sluice_provider.journal import Line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sluice_provider.jobs import JobRef
    from sluice_provider.journal import Story

KEY = "sluice_progress"
EVERY = 15.0
"""Seconds between two writings when nothing but counts has changed."""
LINES = 50


class Poster:
    """Writes down the latest news beside the wait, one writing at a time.

    :param ti: the deferred task's instance, as the trigger knows it; without one (in `dag.test()`) nothing is written
    :param log: is told when that fails
    """

    def __init__(self, ti: Any, ref: JobRef, log: Any) -> None:
        self._ti = ti
        self._ref = ref
        self._log = log
        self._history: list[Line] = []
        self._latest: dict[str, Any] = {}
        self._posted: dict[str, Any] = {}
        self._at = 0.0
        self._writing: asyncio.Task[None] | None = None

    def __call__(self, work: Work, news: str) -> None:
        """Called with every look, on the event loop."""
        metrics.looked(self._ref)
        self._latest = work.to_json()
        if news:
            self.add("state", news)
        if news or (self._latest != self._posted and time.time() - self._at >= EVERY):
            self._write()

    def add(self, what: str, text: str) -> None:
        """A line of history, written with the next news."""
        self._history = [*self._history[-LINES + 1 :], Line(round(time.time(), 3), what, text[:LONGEST])]

    async def flush(self) -> None:
        """Write what is not written yet, and wait until it is."""
        if self._writing is not None:
            await self._writing
        if self._ti is not None and self._latest:
            await self._post()

    def _write(self) -> None:
        if self._ti is not None and (self._writing is None or self._writing.done()):
            self._writing = asyncio.get_running_loop().create_task(self._post())

    async def _post(self) -> None:
        from airflow.sdk.execution_time.xcom import XCom

        self._posted, self._at = self._latest, time.time()
        value = {
            "at": round(self._at, 3),
            **self._latest,
            "ids": list(self._ref.ids),
            "history": list(map(list, self._history)),
        }
        ti = self._ti
        place = {"dag_id": ti.dag_id, "task_id": ti.task_id, "run_id": ti.run_id, "map_index": ti.map_index}
        try:
            await XCom.aset(KEY, value, **place)
        except Exception as error:  # noqa: BLE001 - the wait goes on whatever becomes of its news
            self._log.debug("Progress could not be written down: %r", error)


def take_over(story: Story, ti: Any) -> None:
    """Bring what the trigger wrote down into the story of the task that resumes."""
    told = ti.xcom_pull(task_ids=ti.task_id, key=KEY, map_indexes=ti.map_index)
    if not isinstance(told, dict) or not isinstance(told.get("history"), list):
        return
    known: Sequence[Any] = [line.at for line in story.history]
    for line in told["history"]:
        if isinstance(line, list) and len(line) == 3 and line[0] not in known:
            story.tell(str(line[1]), str(line[2]), at=float(line[0]))
