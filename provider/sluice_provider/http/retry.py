"""One request, sent again where that is safe and may help."""

from __future__ import annotations

import random
import time
from typing import NamedTuple

from sluice_provider.errors import (
    OutcomeUnknown,
    RateLimited,
    ServerError,
    SluiceError,
    UnexpectedResponse,
    Unreachable,
)
from sluice_provider.http.flow import Flow, Request, Response, Sleep
from sluice_provider.http.redirects import MAX_REDIRECTS, follow, is_redirect
from sluice_provider.http.responses import ErrorFrom, error_from

TRANSIENT = (Unreachable, ServerError, RateLimited)


class RetryPolicy(NamedTuple):
    """How many attempts a request gets, and the delays between them, before its error is raised to the caller.

    :param attempts: maximum number of attempts, the first one included
    :param base: seconds before the first retry, doubled for each further one, with jitter
    :param max_delay: seconds; if a service asks for a longer delay, its error is raised instead, naming the time
    :param within: seconds after the first attempt in which the last one must start, for a request that is idempotent
        only as long as the service remembers its idempotency key
    """

    attempts: int = 5
    base: float = 1.0
    max_delay: float = 60.0
    within: float | None = None

    def delay(self, error: SluiceError, attempt: int, elapsed: float = 0.0) -> float | None:
        """Seconds to wait before the next attempt, or None if there is none."""
        if attempt >= self.attempts:
            return None
        delay = min(self.max_delay, self.base * 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        if error.retry_after is not None:
            delay = error.retry_after
        too_late = self.within is not None and elapsed + delay >= self.within
        return None if too_late or delay > self.max_delay else delay


def send(request: Request, policy: RetryPolicy | None = None, error_from: ErrorFrom = error_from) -> Flow[Response]:
    """Send a request, again where that is safe and may help, and return its successful response.

    :param error_from: the error that a response stands for, where this service's responses need their own reading
    :raises OutcomeUnknown: the request is not idempotent, may have reached the service, and got no response
    """
    policy = policy or RetryPolicy()
    started = time.monotonic()
    attempt, maybe_applied = 1, False
    while True:
        error = yield from _attempt(request, error_from)
        if isinstance(error, Response):
            return error
        transient = isinstance(error, TRANSIENT)
        if transient and error.maybe_applied and not request.idempotent:
            raise OutcomeUnknown(f"{request} got no usable response, so it may have been applied: {error}") from error
        delay = policy.delay(error, attempt, time.monotonic() - started) if transient else None
        error.maybe_applied = maybe_applied = maybe_applied or error.maybe_applied
        if delay is None:
            raise error
        yield Sleep(delay, f"{error}; attempt {attempt} of {policy.attempts}", error)
        attempt += 1


def _attempt(request: Request, error_from: ErrorFrom) -> Flow[Response | SluiceError]:
    try:
        response: Response | None = yield request
        for _ in range(MAX_REDIRECTS):
            if request.into is None or response is None or not is_redirect(response):
                break
            request = follow(request, response)
            response = yield request
    except SluiceError as error:
        return error
    assert response is not None, "a driver answers a Request with a Response"  # noqa: S101 - a bug, not bad input
    return error_from(request, response) or _not_a_file(request, response) or response


def _not_a_file(request: Request, response: Response) -> SluiceError | None:
    if request.into is None or request.is_download(response.status, response.headers):
        return None
    content_type = response.headers.get("content-type", "") or "no content type"
    return UnexpectedResponse(
        f"{request} returned {response.status} with {content_type} instead of the file; "
        "if a login page or proxy is in front of the service, check the connection's host and credentials"
    )
