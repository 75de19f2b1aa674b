"""`JobTrigger` polls any job of any service, from the triggerer, holding no worker.

Its dotted path, and the names of its arguments, stand in users' databases while tasks are deferred. It holds no secret:
the connection is looked up by id when it runs. What it finds out goes back as an `WaitResult`, which the task does not
trust either; the task polls for itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from sluice_provider import compat
from sluice_provider.compat import BaseTrigger, TriggerEvent
from sluice_provider.compat.task_state import task_state
from sluice_provider.errors import AuthenticationFailed, SluiceError, TimedOut
from sluice_provider.hooks.base import SluiceHook, hook_for
from sluice_provider.http.polling import Elapsed, min_duration
from sluice_provider.jobs.evidence import Evidence, of_deferral
from sluice_provider.jobs.execution import watch
from sluice_provider.jobs.model import JobGroup, JobRef, StatusObserver, WaitResult, WaitStatus
from sluice_provider.jobs.polling import JobPoller, cancel
from sluice_provider.progress import WORKER_RUN_KEY, ProgressPublisher, place_of

LONGEST_KILL = 25.0
"""Seconds for cancelling; Airflow's own limit (`[triggerer] on_kill_timeout`) is 30."""


class JobTrigger(BaseTrigger):
    """Waits until jobs of a service are over.

    :param system: name of the service, as in `systems.py`
    :param conn_id: Airflow connection id
    :param job: the jobs, as `JobRef.to_json()`
    :param submitted_at: seconds since 1970
    :param timeout: seconds after that until the wait ends, or None
    :param poll_interval: seconds between two status checks at the most
    :param cancel_on_kill: cancel the jobs when a user ends the deferred task
    :param deferred_at: seconds since 1970; once a later leg of the task has begun there is nothing to cancel from here
    """

    def __init__(
        self,
        service: str,
        conn_id: str,
        job: dict[str, Any],
        submitted_at: float,
        timeout: float | None = None,
        poll_interval: float = 60.0,
        cancel_on_kill: bool = True,
        deferred_at: float = 0.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._publisher: ProgressPublisher | None = None
        self.service = service
        self.conn_id = conn_id
        self.job = job
        self.submitted_at = submitted_at
        self.timeout = timeout
        self.poll_interval = poll_interval
        self.cancel_on_kill = cancel_on_kill
        self.deferred_at = deferred_at

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            "sluice_provider.triggers.JobTrigger",
            {
                "service": self.service,
                "conn_id": self.conn_id,
                "job": self.job,
                "submitted_at": self.submitted_at,
                "timeout": self.timeout,
                "poll_interval": self.poll_interval,
                "cancel_on_kill": self.cancel_on_kill,
                "deferred_at": self.deferred_at,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        yield TriggerEvent((await self._outcome()).to_event())

    async def _outcome(self) -> WaitResult:
        ref = JobRef.from_json(self.job)
        try:
            work = await self._watch(ref)
        except TimedOut as error:
            return WaitResult(WaitStatus.TIMED_OUT, ref, str(error))
        except SluiceError as error:
            return WaitResult(WaitStatus.GAVE_UP, ref, f"{type(error).__name__}: {error}")
        return WaitResult(WaitStatus.OVER, ref, str(work))

    async def _watch(self, ref: JobRef) -> JobGroup:
        try:
            return await self._wait(ref)
        except AuthenticationFailed as error:
            self.log.warning(
                "Authentication failed; reading connection %s again, as its credentials may have changed: %s",
                self.conn_id,
                error,
            )
            return await self._wait(ref)

    async def _wait(self, ref: JobRef) -> JobGroup:
        hook = hook_for(self.service, self.conn_id, ref.locator)
        publisher = self._progress(ref)
        tell = StatusObserver(self.log, ref, publisher)
        flow = watch(hook.job_type(ref.job_type), ref, self.submitted_at, self.timeout, self.poll_interval, tell)
        work = await hook.arun(min_duration(flow, _shortest_life()))
        await publisher.flush()
        return work

    def _progress(self, ref: JobRef) -> ProgressPublisher:
        """One for the trigger's whole life: what it writes takes the place of what it wrote before."""
        if self._publisher is None:
            self._publisher = ProgressPublisher(getattr(self, "task_instance", None), ref, self.log)
        return self._publisher

    async def on_kill(self) -> None:
        """Airflow 3.3 calls this when a user ends the deferred task, and also when the trigger only moves to another
        triggerer, or when its task went on long ago: so Airflow is asked first, and without evidence that a user ended
        this very deferral nothing is cancelled.

        While this runs, Airflow cancels it again about once a second, so the work is done beside it.
        """
        if not self.cancel_on_kill:
            return
        loop = asyncio.get_running_loop()
        work, deadline = loop.create_task(self._cancel()), loop.time() + LONGEST_KILL
        while not work.done() and loop.time() < deadline:
            with suppress(asyncio.CancelledError):
                await asyncio.wait({work}, timeout=deadline - loop.time())
        if not work.done():
            self.log.warning("Cancelling %s took longer than %s s, so it may still be running", self.job, LONGEST_KILL)
            work.cancel()
            return
        work.result()

    async def _cancel(self) -> None:
        ref = JobRef.from_json(self.job)
        hook = hook_for(self.service, self.conn_id, ref.locator)
        job_type = hook.job_type(ref.job_type)
        named = f"{job_type.noun} {', '.join(ref.ids[:20])}"
        if job_type.cancel is None:
            self.log.info("%s continues: %s cannot cancel it", named, self.service)
            return
        found = await asyncio.to_thread(self._evidence)
        if not found.user_ended:
            self.log.info("Not cancelling %s: %s", named, found.why)
            return
        try:
            await hook.arun(cancel(job_type, ref))
        except SluiceError as error:
            then = "Cancel it there if it is not wanted"
            self.log.warning("%s did not cancel %s, which continues: %s. %s", self.service, named, error, then)
            return
        self.log.info("%s: asked %s to cancel %s", found.why, self.service, named)
        await self._see_cancelled(hook, ref)

    def _evidence(self) -> Evidence:
        """That a user ended this very deferral: Airflow says so, and no later leg of the task has begun."""
        ti: Any = self.task_instance
        try:
            leg = compat.base_xcom().get_one(key=WORKER_RUN_KEY, **place_of(ti))
        except Exception as error:  # noqa: BLE001 - whatever it is, we do not know, and so do not cancel
            return Evidence(False, f"Airflow did not say whether the task has resumed since: {error!r}")
        return of_deferral(task_state(ti), leg, self.deferred_at)

    async def _see_cancelled(self, hook: SluiceHook, ref: JobRef) -> None:
        """One status check, for whoever opens the page: the task is over and nobody will poll again."""
        publisher = self._progress(ref)
        publisher.add("cancel", "requested")
        poller = JobPoller(hook.job_type(ref.job_type), ref, Elapsed(self.submitted_at))
        try:
            StatusObserver(self.log, ref, publisher)(await hook.arun(poller.poll()))
        except SluiceError as error:
            self.log.warning("The job is being cancelled, but its status could not be checked: %s", error)
        await publisher.flush()


def _shortest_life() -> float:
    """Seconds that a trigger lives at least.

    A worker may notice the end of the process that deferred a whole heartbeat late. If the task has been resumed by
    then, Airflow takes that end for the resumed task's and fails it (apache/airflow#71580).
    """
    return compat.min_heartbeat_interval() + 1.0
