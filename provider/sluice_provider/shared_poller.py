"""Polls the jobs of all triggers of an event loop that use the same connection, with few requests.

A trigger runs its waiting flow here. Its status checks go into one queue, from which a few asyncio tasks take them. So
a thousand triggers that start together, or find the service back after an outage, send no more requests at once than
one client has connections, and more jobs than can be polled in time are polled later, in the order in which they were
due.

Where the service lists jobs, and enough of them are due, the listing answers for all that wait, also for those that are
due later. So old jobs are due together next time, and a thousand of them cost a few pages a minute.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple, TypeVar, cast

from sluice_provider.errors import RateLimited, ServerError, SluiceError
from sluice_provider.hooks.base import SluiceHook
from sluice_provider.http.client_config import MAX_CONNECTIONS
from sluice_provider.http.event_loop import PerLoop, shared_task
from sluice_provider.http.flow import Flow, Sleep
from sluice_provider.http.polling import one_attempt, request_limit
from sluice_provider.jobs.model import Job
from sluice_provider.jobs.polling import (
    MIN_LISTED,
    JobType,
    StatusCheck,
    Statuses,
    Wanted,
    get_listed,
    get_status,
)

T = TypeVar("T")

Status = Job | SluiceError

CHECK_SECONDS = 60.0
"""Seconds that each request of a status check may take in all: a service that drips holds one of the few connections,
so those of other jobs wait for at most this long, and the job is polled less often then."""

COLLECT_SECONDS = 0.5
"""Seconds for which status checks are collected before it is decided whether to list."""

PATIENCE = 0.05
"""Share of the sleep before it by which a status check may be later, so that there are enough for a listing."""

JOBS_PER_PAGE = 50
"""Jobs that a page of a listing is expected to answer for: it may have others, too."""

NO_LISTING_SECONDS = 600.0
"""Seconds without a listing after one that was of no use."""

MAX_LISTING_FAILURES = 3
"""Server errors of a listing in a row after which it is of no use."""

WOKEN_AT_ONCE = 200
"""Waiting flows that continue in one turn of the event loop, so that none of its turns is long."""


class _Query(NamedTuple):
    """One job whose status a flow waits for.

    :param patience_until: by the monotonic clock; until then it may wait for others that are due
    """

    wanted: Wanted
    answer: asyncio.Future[Status]
    patience_until: float


class _Waiting:
    """A flow between two status checks."""

    def __init__(self) -> None:
        self.job_type: JobType | None = None
        self.unfinished: Sequence[Wanted] = ()
        """By the latest status check."""
        self.sleep: asyncio.Future[object] | None = None
        self.slept = 0.0
        """Seconds that its latest sleep was to last."""
        self.early: Mapping[str, Job] = {}
        """States by id that were found before the next status check was due."""


class SharedPoller:
    """
    :param hook: sends the requests of all triggers
    """

    def __init__(self, hook: SluiceHook) -> None:
        self.hook = hook
        self._flows = 0
        self._queue: deque[tuple[JobType, _Query]] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._paused_until = 0.0
        self._sleeping: dict[_Waiting, None] = {}
        self._collected: dict[JobType, list[_Query]] = {}
        self._listers: dict[JobType, asyncio.Task[None]] = {}
        self._no_listing_until: dict[JobType, float] = {}
        self._listing_failures: Counter[JobType] = Counter()
        """Server errors in a row."""

    async def run(self, flow: Flow[T]) -> T:
        """Run a flow of sleeps and `StatusCheck`s.

        :raises SluiceError: the flow's
        """
        self._flows += 1
        try:
            with closing(flow):
                return await self._run(flow)
        finally:
            self._flows -= 1

    async def _run(self, flow: Flow[T]) -> T:
        waiting = _Waiting()
        answer: Any = None
        while True:
            try:
                step: Any = flow.send(answer)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            answer = await (self._sleep if isinstance(step, Sleep) else self._check)(waiting, step)

    async def _sleep(self, waiting: _Waiting, sleep: Sleep) -> None:
        waiting.slept = sleep.seconds if sleep.may_end_early else 0.0
        if not sleep.may_end_early or waiting.job_type is None or waiting.job_type.list_statuses is None:
            await self.hook.async_sleep(sleep.seconds)
            return
        waiting.sleep = asyncio.ensure_future(self.hook.async_sleep(sleep.seconds))
        self._sleeping[waiting] = None
        try:
            await asyncio.wait({waiting.sleep})
        finally:
            self._sleeping.pop(waiting, None)
            waiting.sleep.cancel()

    # --- status checks

    async def _check(self, waiting: _Waiting, check: StatusCheck) -> Statuses:
        early, waiting.early = waiting.early, {}
        if all(each.id in early for each in check.wanted):
            statuses: Statuses = [early[each.id] for each in check.wanted]
        else:
            statuses = await self._request(check, time.monotonic() + waiting.slept * PATIENCE)
        running = [each for each, status in zip(check.wanted, statuses, strict=True) if not _over(status)]
        waiting.job_type, waiting.unfinished = check.job_type, running
        return statuses

    async def _request(self, check: StatusCheck, patience_until: float) -> Statuses:
        new_future = asyncio.get_running_loop().create_future
        queries = [_Query(wanted, new_future(), patience_until) for wanted in check.wanted]
        if check.job_type.list_statuses is None or max(self._flows, len(queries)) < MIN_LISTED:
            self._request_each(check.job_type, queries)
        else:
            self._collect(check.job_type, queries)
        try:
            return [await query.answer for query in queries]
        finally:  # what nobody waits for any more is not requested
            for query in queries:
                query.answer.cancel()

    # --- one by one

    def _request_each(self, job_type: JobType, queries: Sequence[_Query]) -> None:
        self._queue.extend((job_type, query) for query in queries)
        for _ in range(min(len(self._queue), MAX_CONNECTIONS - len(self._workers))):
            self._workers.add(shared_task(self._answer_queue()))

    async def _answer_queue(self) -> None:
        try:
            while self._queue:
                job_type, query = self._queue.popleft()
                if not query.answer.done():
                    await self._answer(job_type, query)
        finally:  # at once, and not in a callback: a query that comes before that would find no worker
            self._workers.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _answer(self, job_type: JobType, query: _Query) -> None:
        try:
            status = await self._send(get_status(job_type, query.wanted))
        except Exception as error:  # noqa: BLE001 - it belongs to the trigger that waits for this job
            if not query.answer.done():
                query.answer.set_exception(error)
            return
        if not query.answer.done():
            query.answer.set_result(status)

    async def _send(self, flow: Flow[T]) -> T | SluiceError:
        while (pause := self._paused_until - time.monotonic()) > 0:  # it may have become longer meanwhile
            await self.hook.async_sleep(pause)
        try:
            return await self.hook.arun(request_limit(one_attempt(flow), CHECK_SECONDS))
        except RateLimited as error:  # the limit is rarely one for each job
            until = time.monotonic() + min(error.retry_after or 1.0, 60.0)
            self._paused_until = max(self._paused_until, until)
            return error
        except SluiceError as error:
            return error

    # --- by a listing

    def _collect(self, job_type: JobType, queries: Sequence[_Query]) -> None:
        self._collected.setdefault(job_type, []).extend(queries)
        if job_type not in self._listers:
            self._listers[job_type] = shared_task(self._answer_collected(job_type))

    async def _answer_collected(self, job_type: JobType) -> None:
        try:
            while self._collected.get(job_type):
                await self.hook.async_sleep(COLLECT_SECONDS)
                queries = [query for query in self._collected.pop(job_type) if not query.answer.done()]
                sleeping = [each for each in self._sleeping if each.job_type == job_type]
                if not self._worth_listing(job_type, len(queries), len(sleeping)):
                    if sleeping and time.monotonic() < min((each.patience_until for each in queries), default=0.0):
                        self._collected[job_type] = queries
                    else:
                        self._request_each(job_type, queries)
                    continue
                try:
                    await self._answer_by_listing(job_type, queries, sleeping)
                except Exception:  # a bug that concerns a job is met again by its own request
                    self.hook.log.exception("The %ss could not be listed, so each is requested alone", job_type.noun)
                    self._stop_listing(job_type)
                    self._request_each(job_type, queries)
        finally:
            del self._listers[job_type]

    def _worth_listing(self, job_type: JobType, due: int, sleeping: int) -> bool:
        allowed = time.monotonic() >= self._no_listing_until.get(job_type, 0.0)
        return allowed and due >= max(MIN_LISTED, (due + sleeping) / JOBS_PER_PAGE)

    def _stop_listing(self, job_type: JobType) -> None:
        self._no_listing_until[job_type] = time.monotonic() + NO_LISTING_SECONDS
        del self._listing_failures[job_type]

    async def _answer_by_listing(self, job_type: JobType, queries: list[_Query], sleeping: list[_Waiting]) -> None:
        wanted = [query.wanted for query in queries] + [each for other in sleeping for each in other.unfinished]
        found = await self._get_listed(job_type, wanted)
        if isinstance(found, SluiceError):
            for query in queries:
                if not query.answer.done():
                    query.answer.set_result(found)
            return
        self._request_each(job_type, await self._answer_from(queries, found))
        jobs = {job.id: job for job in found if job is not None}
        await self._wake(sleeping, jobs)
        late = self._collected.pop(job_type, [])  # by now due themselves, and in the listing if they were sleeping
        missing = await self._answer_from(late, [jobs.get(query.wanted.id) for query in late])
        self._collected.setdefault(job_type, []).extend(missing)

    async def _get_listed(self, job_type: JobType, wanted: list[Wanted]) -> Sequence[Job | None] | SluiceError:
        """The states of these jobs, as far as they could be listed, or an error that concerns every job."""
        assert job_type.list_statuses is not None  # noqa: S101 - only such job types are collected
        last = self._listing_failures[job_type] + 1 >= MAX_LISTING_FAILURES
        found = await self._send(get_listed(job_type, one_attempt(job_type.list_statuses(wanted)), repeated=last))
        if found is None:
            self._stop_listing(job_type)
            return [None] * len(wanted)
        if isinstance(found, ServerError):
            self._listing_failures[job_type] += 1
        elif not isinstance(found, SluiceError):
            del self._listing_failures[job_type]
        return found

    async def _answer_from(self, queries: Sequence[_Query], found: Sequence[Job | None]) -> list[_Query]:
        """Answer those that were found, and return the others."""
        missing: list[_Query] = []
        for number, (query, status) in enumerate(zip(queries, found, strict=False)):
            if status is None:
                missing.append(query)
            elif not query.answer.done():
                query.answer.set_result(status)
            if number % WOKEN_AT_ONCE == WOKEN_AT_ONCE - 1:
                await asyncio.sleep(0)
        return missing

    async def _wake(self, sleeping: Sequence[_Waiting], found: Mapping[str, Job]) -> None:
        """Those whose jobs were all found continue early."""
        for number, waiting in enumerate(sleeping):
            if waiting in self._sleeping and waiting.sleep and all(each.id in found for each in waiting.unfinished):
                waiting.early = {each.id: found[each.id] for each in waiting.unfinished}
                waiting.sleep.cancel()
            if number % WOKEN_AT_ONCE == WOKEN_AT_ONCE - 1:
                await asyncio.sleep(0)


def _over(status: Status) -> bool:
    return isinstance(status, Job) and status.state.over


_pollers: PerLoop[dict[Any, SharedPoller]] = PerLoop(dict)


def shared_poller(hook: SluiceHook) -> SharedPoller:
    """The running event loop's poller for the hook's service and connection."""
    return _pollers().setdefault((type(hook), hook.conn_id, hook.variant), SharedPoller(hook))
