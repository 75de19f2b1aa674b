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

from sluice_provider.errors import Unreachable
from sluice_provider.http.deadline import seconds_left
from sluice_provider.http.decoding import bound_body
from sluice_provider.http.drivers import TOKEN_REQUEST
from sluice_provider.http.flow import Blocking
from sluice_provider.http.limits import MAX_TOKEN_BYTES


class AcquireLock(NamedTuple):
    """Wait for a lock. The triggerer polls it: a thread that waited for it could not be cancelled."""

    lock: threading.Lock


Step = Union[httpx.Request, Blocking, AcquireLock]
Steps = Generator[Step, Any, None]


def _bound(response: httpx.Response, request: httpx.Request) -> None:
    """httpx reads the response to any request but the last one. The driver sets the limit for that one."""
    name = "the token request" if TOKEN_REQUEST in request.extensions else f"{request.method} {request.url.path}"
    bound_body(response, MAX_TOKEN_BYTES, name)


def _acquire(lock: threading.Lock) -> bool:
    left = seconds_left()
    while not lock.acquire(timeout=-1 if left is None else max(0.0, min(left, threading.TIMEOUT_MAX))):
        _check_time()
    return True


def _check_time() -> None:
    """:raises Unreachable: the request that waits for a token has no time left"""
    left = seconds_left()
    if left is not None and left <= 0:
        raise Unreachable(
            "another request of this process was getting a token until this one had no time left", maybe_applied=False
        )


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
                    answer = _acquire(step.lock)
                    continue
                answer = yield step
                _bound(answer, step)
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
                    while not (answer := step.lock.acquire(blocking=False)):
                        _check_time()
                        await asyncio.sleep(0.005)
                    continue
                answer = yield step
                _bound(answer, step)
                if TOKEN_REQUEST in step.extensions:
                    await answer.aread()
        except StopIteration:
            return
        finally:
            steps.close()
