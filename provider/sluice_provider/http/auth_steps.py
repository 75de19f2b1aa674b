"""Authentication as steps, described once and executed by the blocking and by the async client.

A scheme yields a request of its own, a blocking function, or a lock to acquire. The two wrappers differ only in how
they read, call and wait.
"""

from __future__ import annotations

import asyncio
import threading
from abc import abstractmethod
from collections.abc import AsyncGenerator, Generator
from typing import Any, NamedTuple, Union

import httpx

from sluice_provider.http.drivers import TOKEN_REQUEST
from sluice_provider.http.flow import Blocking


class AcquireLock(NamedTuple):
    """Wait for a lock. The triggerer polls it: a thread that waited for it could not be cancelled."""

    lock: threading.Lock


Step = Union[httpx.Request, Blocking, AcquireLock]
Steps = Generator[Step, Any, None]


class AuthSteps(httpx.Auth):
    """An authentication scheme in steps."""

    @abstractmethod
    def _steps(self, request: httpx.Request) -> Steps:
        """Yields steps, the request itself among them, and is sent their results."""

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self.requires_request_body:
            request.read()
        steps = self._steps(request)
        answer: Any = None
        try:
            while True:
                step = steps.send(answer)
                if isinstance(step, Blocking):
                    answer = step.do()
                    continue
                if isinstance(step, AcquireLock):
                    answer = step.lock.acquire()
                    continue
                answer = yield step
                if TOKEN_REQUEST in step.extensions:
                    answer.read()
        except StopIteration:
            return
        finally:
            steps.close()

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        if self.requires_request_body:
            await request.aread()
        steps = self._steps(request)
        answer: Any = None
        try:
            while True:
                step = steps.send(answer)
                if isinstance(step, Blocking):
                    answer = await asyncio.to_thread(step.do)
                    continue
                if isinstance(step, AcquireLock):
                    while not (answer := step.lock.acquire(blocking=False)):  # noqa: ASYNC110 - a lock of threads
                        await asyncio.sleep(0.005)
                    continue
                answer = yield step
                if TOKEN_REQUEST in step.extensions:
                    await answer.aread()
        except StopIteration:
            return
        finally:
            steps.close()
