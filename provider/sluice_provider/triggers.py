"""`JobTrigger` polls jobs of any service in the triggerer, without holding a worker slot.

Its import path and the names of its arguments are stored in users' databases while tasks are deferred. It holds no
secret: the connection is looked up by id when it runs. Its event is a `WaitResult`, which the task does not trust: it
polls once more.
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
from sluice_provider.jobs.execution import poll_job
from sluice_provider.jobs.model import JobGroup, JobRef, StatusObserver, WaitResult, WaitStatus
from sluice_provider.jobs.polling import JobPoller, cancel, wait_for_statuses
from sluice_provider.progress import WORKER_RUN_KEY, ProgressPublisher, task_instance_key
from sluice_provider.shared_poller import SharedPoller, shared_poller

MAX_CANCEL_SECONDS = 25.0
"""Seconds that cancelling may take; Airflow's own limit (`[triggerer] on_kill_timeout`) is 30."""


class JobTrigger(BaseTrigger):
    """Waits until jobs of a service are over.

    :param service: a name in `services.py`
    :param conn_id: Airflow connection id
    :param job: the jobs, as `JobRef.to_json()`
    :param submitted_at: seconds since 1970
    :param timeout: seconds after that until the wait ends, or None
    :param poll_interval: seconds between two status checks at the most
    :param cancel_on_kill: cancel the jobs when a user ends the deferred task
    :param deferred_at: seconds since 1970; once the task has resumed, this trigger cancels nothing
    :param seen: `JobGroup.digest` of the status that the worker has logged and recorded: it is no news
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
        seen: str = "",
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
        self.seen = seen

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
                "seen": self.seen,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        yield TriggerEvent((await self._outcome()).to_event())

    async def _outcome(self) -> WaitResult:
        ref = JobRef.from_json(self.job)
        try:
            work = await self._poll_with_fresh_credentials(ref)
        except TimedOut as error:
            return WaitResult(WaitStatus.TIMED_OUT, ref, str(error))
        except SluiceError as error:
            return WaitResult(WaitStatus.GAVE_UP, ref, f"{type(error).__name__}: {error}")
        return WaitResult(WaitStatus.OVER, ref, str(work))

    async def _poll_with_fresh_credentials(self, ref: JobRef) -> JobGroup:
        poller = shared_poller(hook_for(self.service, self.conn_id, ref.locator))
        try:
            return await self._poll_until_over(ref, poller)
        except AuthenticationFailed as error:
            self.log.warning(
                "Authentication failed; reading connection %s again, as its credentials may have changed: %s",
                self.conn_id,
                error,
            )
            poller.hook.forget_connection()
            return await self._poll_until_over(ref, poller)

    async def _poll_until_over(self, ref: JobRef, poller: SharedPoller) -> JobGroup:
        publisher = self._progress(ref)
        flow = poll_job(
            poller.hook.job_type(ref.job_type),
            ref,
            self.submitted_at,
            self.timeout,
            self.poll_interval,
            StatusObserver(self.log, poller.hook.hook_name, ref, publisher, self.seen),
            wait_for_statuses,
        )
        work = await poller.run(min_duration(flow, _min_trigger_seconds()))
        await publisher.flush()
        return work

    def _progress(self, ref: JobRef) -> ProgressPublisher:
        """One for the trigger's whole life: each write replaces the one before."""
        if self._publisher is None:
            self._publisher = ProgressPublisher(getattr(self, "task_instance", None), ref, self.log)
        return self._publisher

    async def on_kill(self) -> None:
        """Airflow 3.3 calls this when a user ends the deferred task, and also when the trigger moves to another
        triggerer, or when its task has resumed long ago. So the state of the task is read first, and without evidence
        that a user ended this deferral nothing is cancelled.

        While this runs, Airflow cancels it again about once a second, so the work is done in another asyncio task.
        """
        if not self.cancel_on_kill:
            return
        loop = asyncio.get_running_loop()
        work, deadline = loop.create_task(self._cancel()), loop.time() + MAX_CANCEL_SECONDS
        while not work.done() and loop.time() < deadline:
            with suppress(asyncio.CancelledError):
                await asyncio.wait({work}, timeout=deadline - loop.time())
        if not work.done():
            self.log.warning(
                "Cancelling %s took longer than %s s, so it may still be running", self.job, MAX_CANCEL_SECONDS
            )
            work.cancel()
            return
        work.result()

    async def _cancel(self) -> None:
        ref = JobRef.from_json(self.job)
        hook = hook_for(self.service, self.conn_id, ref.locator)
        job_type = hook.job_type(ref.job_type)
        named = f"{job_type.noun} {', '.join(ref.ids[:20])}"
        if job_type.cancel is None:
            self.log.info("%s continues: %s cannot cancel it", named, hook.hook_name)
            return
        evidence = await asyncio.to_thread(self._evidence)
        if not evidence.user_ended:
            self.log.info("Not cancelling %s: %s", named, evidence.why)
            return
        try:
            await hook.arun(cancel(job_type, ref))
        except SluiceError as error:
            then = "Cancel it there if it is not wanted"
            self.log.warning("%s did not cancel %s, which continues: %s. %s", hook.hook_name, named, error, then)
            return
        self.log.info("%s: asked %s to cancel %s", evidence.why, hook.hook_name, named)
        await self._check_status_once(hook, ref)

    def _evidence(self) -> Evidence:
        """Whether a user ended this deferral: by the state of the task, and unless the task has resumed since."""
        ti: Any = self.task_instance
        try:
            worker_run = compat.base_xcom().get_one(key=WORKER_RUN_KEY, **task_instance_key(ti))
        except Exception as error:  # noqa: BLE001 - after any error this is unknown, so nothing is cancelled
            return Evidence(False, f"whether the task has resumed since could not be read from Airflow: {error!r}")
        return of_deferral(task_state(ti), worker_run, self.deferred_at)

    async def _check_status_once(self, hook: SluiceHook, ref: JobRef) -> None:
        """One status check, for the jobs page: the task is over, so the job is not polled again."""
        publisher = self._progress(ref)
        publisher.add("cancel", "requested")
        poller = JobPoller(hook.job_type(ref.job_type), ref, Elapsed(self.submitted_at))
        try:
            StatusObserver(self.log, hook.hook_name, ref, publisher)(await hook.arun(poller.poll()))
        except SluiceError as error:
            self.log.warning("%s is cancelling the job, but its status could not be checked: %s", hook.hook_name, error)
        await publisher.flush()


def _min_trigger_seconds() -> float:
    """Minimum seconds that a trigger runs.

    A worker may notice one heartbeat late that the process that deferred has ended. If the task has resumed by then,
    Airflow mistakes that for the end of the resumed task and fails it (apache/airflow#71580).
    """
    return compat.min_heartbeat_interval() + 1.0
