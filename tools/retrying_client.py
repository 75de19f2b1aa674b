"""An HTTP client for a server of ours on this machine that is busy now and then.

A request that was answered 5xx, that lost its connection or that took too long is repeated until a deadline, with
growing pauses. How, depends on what it does:

- `get` and `patch` may be repeated at will, and so may a `post` that says it is idempotent.
- `create` makes something that must not be there twice: before it is repeated, it is looked for.
- any other `post` is repeated only if it cannot have arrived.
"""

from __future__ import annotations

import time
from itertools import count
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Answer = httpx.Response | httpx.TransportError
    Find = Callable[[], "Json | None"]

Json = dict[str, Any]
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
SHORTEST_TIMEOUT = 1.0


class RequestFailedError(RuntimeError):
    """A request failed for good; the message says which, how often it was tried, and what the last answer was."""


class RetryingClient:
    """Requests to one server.

    :param name: what messages call the server
    :param timeout: seconds for one attempt
    :param deadline: seconds for all attempts of one request; after that, the request has failed
    :param gone: says whether the server has ended, so that repeating is in vain
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        timeout: float = 30.0,
        deadline: float = 60.0,
        gone: Callable[[], bool] = lambda: False,
    ) -> None:
        self.name = name
        self.deadline = deadline
        self._timeout = timeout
        self._gone = gone
        self._client = httpx.Client(base_url=base_url, timeout=timeout, trust_env=False)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def probe(self, path: str) -> httpx.Response | None:
        """GET once; None if there is no answer."""
        try:
            return self._client.get(path)
        except httpx.TransportError:
            return None

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Json:
        """GET a JSON object."""
        return self._repeat("GET", path, _is_transient, params=query)

    def find(self, path: str, query: Mapping[str, Any] | None = None) -> Json | None:
        """GET a JSON object, or None if it is not there."""
        return self._repeat("GET", path, _is_transient, absent=httpx.codes.NOT_FOUND, params=query) or None

    def patch(self, path: str, body: Json) -> Json:
        """PATCH: to set a state twice is harmless."""
        return self._repeat("PATCH", path, _is_transient, json=body)

    def create(self, path: str, body: Json, find: Find) -> Json:
        """POST what must not be there twice.

        :param find: looks for it after an attempt that may have made it; None if it is not there
        """
        return self._repeat("POST", path, _is_transient, find, json=body)

    def post(self, path: str, body: Json, *, idempotent: bool = False) -> Json:
        """POST. Unless it is idempotent, repeat it only if it cannot have arrived."""
        return self._repeat("POST", path, _is_transient if idempotent else _never_arrived, json=body)

    def _repeat(
        self,
        method: str,
        path: str,
        may_repeat: Callable[[Answer], bool],
        find: Find | None = None,
        absent: int | None = None,
        **request: Any,
    ) -> Json:
        started = time.monotonic()
        for tries in count(1):
            left = max(SHORTEST_TIMEOUT, started + self.deadline - time.monotonic())
            answer = self._attempt(method, path, timeout=min(self._timeout, left), **request)
            content = _content(answer, find, absent)
            if content is not None:
                return content
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (tries - 1))
            late = time.monotonic() + pause > started + self.deadline
            if late or self._gone() or not may_repeat(answer):
                raise RequestFailedError(self._failure(answer, tries, time.monotonic() - started))
            time.sleep(pause)
        raise AssertionError("count() never ends")

    def _attempt(self, method: str, path: str, **request: Any) -> Answer:
        try:
            return self._client.request(method, path, **request)
        except httpx.TransportError as error:
            return error

    def _failure(self, answer: Answer, tries: int, seconds: float) -> str:
        request = f"{answer.request.method} {answer.request.url}"
        times = f"tried {tries} times in {seconds:.0f} s" if tries > 1 else "tried once"
        ended = f"; {self.name} has ended" if self._gone() else ""
        return f"{self.name}: {request} failed, {times}{ended}. Last answer: {_shown(answer)}"


def _content(answer: Answer, find: Find | None, absent: int | None) -> Json | None:
    """Return what was asked for, if it is there."""
    if isinstance(answer, httpx.Response) and answer.is_success:
        content: Json = answer.json()
        return content
    if isinstance(answer, httpx.Response) and answer.status_code == absent:
        return {}
    return find() if find and _may_exist(answer) else None


def _is_transient(answer: Answer) -> bool:
    return not isinstance(answer, httpx.Response) or answer.is_server_error


def _never_arrived(answer: Answer) -> bool:
    return isinstance(answer, (httpx.ConnectError, httpx.ConnectTimeout))


def _may_exist(answer: Answer) -> bool:
    """Say whether what was to be created may be there: after a conflict, and after an answer that tells nothing."""
    conflict = isinstance(answer, httpx.Response) and answer.status_code == httpx.codes.CONFLICT
    return conflict or (_is_transient(answer) and not _never_arrived(answer))


def _shown(answer: Answer) -> str:
    if isinstance(answer, httpx.Response):
        return f"{answer.status_code} {answer.text[:2000]}".strip()
    return f"none ({type(answer).__name__}: {answer})"
