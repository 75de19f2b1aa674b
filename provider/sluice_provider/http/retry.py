"""One request, sent again where that is safe and may help."""

from __future__ import annotations

import random
import time
from typing import NamedTuple
from urllib.parse import urljoin

from sluice_provider.errors import (
    OutcomeUnknown,
    RateLimited,
    ServerError,
    SluiceError,
    UnexpectedResponse,
    Unreachable,
)
from sluice_provider.http.flow import Flow, Request, Response, Sleep
from sluice_provider.http.responses import ErrorFrom, error_from

HOPS = 5
"""Redirects that are followed at the most, where they are followed at all."""


class RetryPolicy(NamedTuple):
    """How often, and how long apart, one call is tried before its error is given to the caller.

    :param attempts: at most so many, the first one included
    :param base: seconds before the first repetition, doubled for each further one, with full jitter
    :param longest: seconds; a remote that asks for a longer wait gets none: its error is raised, naming the time
    :param within: seconds after the first attempt in which the last one must begin, for a call that is repeatable
        only as long as the remote remembers its idempotency key
    """

    attempts: int = 5
    base: float = 1.0
    longest: float = 60.0
    within: float | None = None

    def delay(self, error: SluiceError, attempt: int, since: float = 0.0) -> float | None:
        """Seconds to wait before trying again, or None when it is not worth it."""
        if attempt >= self.attempts:
            return None
        wanted = min(self.longest, self.base * 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        if error.retry_after is not None:
            wanted = error.retry_after
        late = self.within is not None and since + wanted >= self.within
        return None if late or wanted > self.longest else wanted


def send(call: Request, patience: RetryPolicy | None = None, verdict: ErrorFrom | None = None) -> Flow[Response]:
    """Make one call, again where that is safe and may help, and return its good reply.

    :param verdict: what this remote means by a reply, where it is not what all mean (`error_from`)
    :raises OutcomeUnknown: the call is not repeatable, may have reached the remote, and was never answered
    """
    patience = patience or RetryPolicy()
    started = time.monotonic()
    attempt, acted = 1, False
    while True:
        error = yield from _attempt(call, verdict or error_from)
        if isinstance(error, Response):
            return error
        error.acted = acted = acted or _may_have_acted(error)
        if not _passing(error):
            raise error
        if _may_have_acted(error) and not call.idempotent:
            raise OutcomeUnknown(f"{call} was sent and not answered, so it may have been done: {error}") from error
        delay = patience.delay(error, attempt, time.monotonic() - started)
        if delay is None:
            raise error
        yield Sleep(delay, f"{error}; attempt {attempt} of {patience.attempts}", error)
        attempt += 1


def _attempt(call: Request, verdict: ErrorFrom) -> Flow[Response | SluiceError]:
    try:
        reply: Response | None = yield call
        for _ in range(HOPS):
            if call.into is None or reply is None or not _moved(reply):
                break
            call = call._replace(path=urljoin(call.path, reply.headers["location"]), moved=True)
            reply = yield call
    except SluiceError as error:
        return error
    assert reply is not None, "a driver answers a Call with a Reply"  # noqa: S101 - a broken driver, not bad input
    return verdict(call, reply) or _no_file(call, reply) or reply


def _no_file(call: Request, reply: Response) -> SluiceError | None:
    if call.into is None or call.lands(reply.status, reply.headers):
        return None
    kind = reply.headers.get("content-type", "") or "nothing"
    return UnexpectedResponse(
        f"{call} answered {reply.status} with {kind} and not with the file: is a login in front of it?"
    )


def _moved(reply: Response) -> bool:
    return reply.status in (301, 302, 303, 307, 308) and "location" in reply.headers


def _passing(error: SluiceError) -> bool:
    return isinstance(error, (Unreachable, ServerError, RateLimited))


def _may_have_acted(error: SluiceError) -> bool:
    return isinstance(error, (Unreachable, ServerError)) and error.sent
