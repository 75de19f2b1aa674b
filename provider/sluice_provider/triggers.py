"""`JobTrigger` watches any job on any system, from the triggerer, holding no worker.

Its dotted path, and the names of its arguments, stand in users' databases while tasks are deferred: they never change.
It holds no secret: the connection is looked up by id when it runs. What it finds out goes back as an `Outcome`, which
the task does not trust either; the task looks for itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from sluice_provider.apis.base import Watch, cancel
from sluice_provider.calls.flow import Age, no_sooner, wait
from sluice_provider.errors import AuthenticationFailed, SluiceError, TimedOut
from sluice_provider.hooks.base import SluiceHook, hook_for
from sluice_provider.jobs import Changes, JobRef, Outcome, Verdict, Work
from sluice_provider.progress import Poster

LONGEST_KILL = 25.0
"""Seconds for cancelling; Airflow's own limit (`[triggerer] on_kill_timeout`) is 30."""


class JobTrigger(BaseTrigger):
    """Waits until a piece of work on a remote is over.

    :param system: name of the remote system, as in `systems.py`
    :param conn_id: Airflow connection id
    :param job: the work, as `JobRef.to_json()`
    :param asked_at: when it was asked for, seconds since 1970
    :param timeout: seconds after that until the wait ends, or None
    :param poll_interval: seconds between two looks at the most
    :param cancel_on_kill: ask the remote to stop when a user ends the deferred task
    """

    def __init__(
        self,
        system: str,
        conn_id: str,
        job: dict[str, Any],
        asked_at: float,
        timeout: float | None = None,
        poll_interval: float = 60.0,
        cancel_on_kill: bool = True,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._poster: Poster | None = None
        self.system = system
        self.conn_id = conn_id
        self.job = job
        self.asked_at = asked_at
        self.timeout = timeout
        self.poll_interval = poll_interval
        self.cancel_on_kill = cancel_on_kill

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            "sluice_provider.triggers.JobTrigger",
            {
                "system": self.system,
                "conn_id": self.conn_id,
                "job": self.job,
                "asked_at": self.asked_at,
                "timeout": self.timeout,
                "poll_interval": self.poll_interval,
                "cancel_on_kill": self.cancel_on_kill,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        yield TriggerEvent((await self._outcome()).to_event())

    async def _outcome(self) -> Outcome:
        ref = JobRef.from_json(self.job)
        try:
            work = await self._watch(ref)
        except TimedOut as error:
            return Outcome(Verdict.TIMED_OUT, ref, str(error))
        except SluiceError as error:
            return Outcome(Verdict.GAVE_UP, ref, f"{type(error).__name__}: {error}")
        return Outcome(Verdict.OVER, ref, str(work))

    async def _watch(self, ref: JobRef) -> Work:
        try:
            return await self._wait(ref)
        except AuthenticationFailed as error:
            self.log.warning("Looking the connection %s up again, its credentials may be new: %s", self.conn_id, error)
            return await self._wait(ref)

    async def _wait(self, ref: JobRef) -> Work:
        hook = hook_for(self.system, self.conn_id, ref.where)
        age = Age(self.asked_at)
        poster = self._news(ref)
        flow = wait(
            Watch(hook.kind(ref.kind), ref, age).look,
            lambda work: work.over,
            age=age,
            timeout=self.timeout,
            cadence=hook.kind(ref.kind).cadence(self.poll_interval),
            tell=Changes(self.log, ref, poster),
        )
        work = await hook.arun(no_sooner(flow, _settling()))
        await poster.flush()
        return work

    def _news(self, ref: JobRef) -> Poster:
        """One for the trigger's whole life: what it writes takes the place of what it wrote before."""
        if self._poster is None:
            self._poster = Poster(getattr(self, "task_instance", None), ref, self.log)
        return self._poster

    async def on_kill(self) -> None:
        """Airflow 3.3 calls this when a user ends the deferred task, and also when the trigger only moves to another
        triggerer: so the task is asked for first, and in doubt nothing is cancelled.

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
            self.log.warning("Giving up cancelling %s: %s s were not enough", self.job, LONGEST_KILL)
            work.cancel()
            return
        work.result()

    async def _cancel(self) -> None:
        if await asyncio.to_thread(self._still_wanted):
            self.log.info("Not cancelling %s: its task is still deferred, or cannot be asked", self.job)
            return
        ref = JobRef.from_json(self.job)
        hook = hook_for(self.system, self.conn_id, ref.where)
        kind = hook.kind(ref.kind)
        if await hook.arun(cancel(kind, ref)):
            self.log.info("Asked %s to cancel %s %s", self.system, kind.noun, ", ".join(ref.ids))
            await self._see_cancelled(hook, ref)
        else:
            self.log.warning("%s cannot cancel this %s: %s goes on there", self.system, kind.noun, ", ".join(ref.ids))

    async def _see_cancelled(self, hook: SluiceHook, ref: JobRef) -> None:
        """One look, for whoever opens the page: the task is over and nobody will look again."""
        poster = self._news(ref)
        poster.add("cancel", "asked for")
        try:
            Changes(self.log, ref, poster)(await hook.arun(Watch(hook.kind(ref.kind), ref, Age(self.asked_at)).look()))
        except SluiceError as error:
            self.log.warning("Asked to cancel, but what came of it could not be seen: %s", error)
        await poster.flush()

    def _still_wanted(self) -> bool:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        ti: Any = self.task_instance
        try:
            states = RuntimeTaskInstance.get_task_states(
                dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
            )
            state = states[ti.run_id][ti.task_id if ti.map_index < 0 else f"{ti.task_id}_{ti.map_index}"]
        except Exception as error:  # noqa: BLE001 - whatever it is, we do not know the state, and so do not cancel
            self.log.warning("Could not ask for the state of the task: %r", error)
            return True
        return bool(state == "deferred")


def _settling() -> float:
    """Seconds that a trigger lives at least.

    A worker may notice the end of the process that deferred a whole heartbeat late. If the task has been resumed by
    then, Airflow takes that end for the resumed task's and fails it (apache/airflow#71580).
    """
    from airflow.providers.common.compat.sdk import conf

    return float(conf.getint("workers", "min_heartbeat_interval", fallback=5)) + 1.0
