"""Polls the jobs of all triggers of an event loop that use the same connection, with few requests at a time.

A trigger runs its waiting flow here. The flow's sleeps are its own; its status checks go into one queue, from which a
few asyncio tasks take them. So a thousand triggers that start together, or find the service back after an outage, send
no more requests at once than one client has connections, and more jobs than can be polled in time are polled later, in
the order in which they were due.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import closing
from typing import Any, NamedTuple, TypeVar, cast

from sluice_provider.errors import RateLimited, SluiceError
from sluice_provider.hooks.base import SluiceHook
from sluice_provider.http.client_config import MAX_CONNECTIONS
from sluice_provider.http.event_loop import PerLoop, shared_task
from sluice_provider.http.flow import Flow, Sleep
from sluice_provider.http.polling import one_attempt
from sluice_provider.jobs.model import Job
from sluice_provider.jobs.polling import JobType, StatusCheck, Statuses, Wanted, get_status

T = TypeVar("T")

Status = Job | SluiceError


class _Query(NamedTuple):
    """One job whose status a trigger waits for."""

    job_type: JobType
    wanted: Wanted
    answer: asyncio.Future[Status]


class SharedPoller:
    """
    :param hook: sends the requests of all triggers
    """

    def __init__(self, hook: SluiceHook) -> None:
        self.hook = hook
        self._queue: deque[_Query] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._paused_until = 0.0

    async def run(self, flow: Flow[T]) -> T:
        """Run a flow of sleeps and `StatusCheck`s.

        :raises SluiceError: the flow's
        """
        answer: Any = None
        with closing(flow):
            while True:
                try:
                    step: Any = flow.send(answer)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]
                if isinstance(step, Sleep):
                    answer = await self.hook.async_sleep(step.seconds)
                else:
                    answer = await self._check(step)

    async def _check(self, check: StatusCheck) -> Statuses:
        new_future = asyncio.get_running_loop().create_future
        queries = [_Query(check.job_type, wanted, new_future()) for wanted in check.wanted]
        self._queue += queries
        self._work()
        try:
            return [await query.answer for query in queries]
        finally:  # what nobody waits for any more is not requested
            for query in queries:
                query.answer.cancel()

    def _work(self) -> None:
        for _ in range(min(len(self._queue), MAX_CONNECTIONS - len(self._workers))):
            self._workers.add(shared_task(self._answer_queries()))

    async def _answer_queries(self) -> None:
        try:
            while self._queue:
                query = self._queue.popleft()
                if not query.answer.done():
                    await self._answer(query)
        finally:  # at once, and not in a callback: a query that comes before that would find no worker
            self._workers.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _answer(self, query: _Query) -> None:
        try:
            status = await self._status(query)
        except Exception as error:  # noqa: BLE001 - it belongs to the trigger that waits for this job
            if not query.answer.done():
                query.answer.set_exception(error)
            return
        if not query.answer.done():
            query.answer.set_result(status)

    async def _status(self, query: _Query) -> Status:
        if (pause := self._paused_until - time.monotonic()) > 0:
            await self.hook.async_sleep(pause)
        try:
            return await self.hook.arun(one_attempt(get_status(query.job_type, query.wanted)))
        except RateLimited as error:  # the limit is rarely one for each job
            self._paused_until = time.monotonic() + min(error.retry_after or 1.0, 60.0)
            return error
        except SluiceError as error:
            return error


_pollers: PerLoop[dict[Any, SharedPoller]] = PerLoop(dict)


def shared_poller(hook: SluiceHook) -> SharedPoller:
    """The running event loop's poller for the hook's service and connection."""
    return _pollers().setdefault((type(hook), hook.conn_id, hook.variant), SharedPoller(hook))
