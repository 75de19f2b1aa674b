"""How to talk to a remote, without talking: every decision about retries, paging and waiting is made here.

A flow is a generator. It yields a `Call`, and is sent a `Reply` or has an error thrown in; or it yields a `Pause`, and
is resumed when that is over; or an `Aside`, and is sent what came of it; it returns a typed value. Flows are composed
with `yield from`. Rules of this file: it opens no socket and never sleeps (`drive.py` does), it knows no remote, and it
never guesses from a verb whether a call may be repeated: whoever read the remote's documentation says so with
`repeatable`.
"""

from __future__ import annotations

import json
import math
import random
import re
import time
from collections.abc import Callable, Generator, Mapping
from datetime import timezone
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urljoin, urlsplit

from sluice_provider.errors import (
    REFUSALS,
    ClientError,
    OutcomeUnknown,
    RateLimited,
    ServerError,
    SluiceError,
    TimedOut,
    UnexpectedResponse,
    Unreachable,
)

if TYPE_CHECKING:
    from sluice_provider.calls.body import Landing, Multipart

T = TypeVar("T")

LONGEST_RETRY_AFTER = 7 * 86400.0
"""Seconds. A remote that asks for more means "never", and Airflow cannot add every number to a date."""

HOPS = 5
"""Redirects that are followed at the most, where they are followed at all."""

REQUEST_IDS = ("x-request-id", "x-amzn-requestid")
"""Headers in which gateways and clouds name a request, for whoever has to ask the remote's support about it."""

NOTHING: Mapping[str, str | int] = MappingProxyType({})


class Call(NamedTuple):
    """One HTTP request, to be made by a driver.

    :param path: relative to the site's base URL, already quoted; or a whole URL, which gets the connection's
        credentials and headers only if it leads to the site's own scheme, host and port
    :param params: query
    :param json: body, encoded as JSON
    :param form: body, encoded as a form
    :param body: body, streamed, and opened anew whenever the call is made again
    :param headers: beside those of the connection
    :param into: where the body of a good reply goes, streamed; redirects are followed then
    :param read_timeout: seconds that the answer may take at the least, whatever the connection says
    :param repeatable: the remote ends in the same state when it gets this call twice
    :param name: what it is, where method and path do not tell
    :param moved: a redirect led here
    :param send_before: seconds since 1970; after that it is not sent any more
    """

    method: str
    path: str
    params: Mapping[str, str | int] = NOTHING
    json: Any = None
    repeatable: bool = False
    form: Mapping[str, str] | None = None
    body: Multipart | None = None
    headers: Mapping[str, str] = MappingProxyType({})
    into: Landing | None = None
    read_timeout: float = 0.0
    name: str = ""
    moved: bool = False
    send_before: float | None = None

    def lands(self, status: int, headers: Mapping[str, str]) -> bool:
        """Whether the body of this reply goes to `into`: it is the file, all of it, and not the page of a login that a
        redirect led to."""
        page = self.moved and headers.get("content-type", "").lower().startswith("text/html")
        return self.into is not None and status == 200 and not page

    def __str__(self) -> str:
        """Without what may be secret in a URL: user, password and query."""
        if self.name:
            return self.name
        if "://" not in self.path:
            return f"{self.method} {self.path}"
        parts = urlsplit(self.path)
        return f"{self.method} {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class Reply(NamedTuple):
    """What came back, whole. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """The content. NULs and half characters in it, which JSON may spell and databases refuse, are replaced."""
        try:
            content = json.loads(self.body)
            return _storable(content) if re.search(rb"\\u(0000|[dD][89a-fA-F])", self.body) else content
        except (ValueError, RecursionError) as error:
            raise UnexpectedResponse(
                f"answered {self.status} with something that is not JSON: {self.text!r:.200}"
            ) from error


class Pause(NamedTuple):
    """Wait so many seconds. `why` is for the log; `cause` is the error that makes it necessary, if one does."""

    seconds: float
    why: str
    cause: SluiceError | None = None


class Aside(NamedTuple):
    """Something that blocks and is not a call of ours (a vendor's own client): done in place by the worker, in a thread
    by the triggerer. An error of this package that it raises is thrown into the flow."""

    do: Callable[[], Any]


Flow = Generator["Call | Pause | Aside", Any, T]


Judge = Callable[[Call, Reply], "SluiceError | None"]
"""Tells the error that a reply stands for, or None for a good one."""


# --- one call -------------------------------------------------------------------------------------------------------


class Patience(NamedTuple):
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


def send(call: Call, patience: Patience | None = None, verdict: Judge | None = None) -> Flow[Reply]:
    """Make one call, again where that is safe and may help, and return its good reply.

    :param verdict: what this remote means by a reply, where it is not what all mean (`judge`)
    :raises OutcomeUnknown: the call is not repeatable, may have reached the remote, and was never answered
    """
    patience = patience or Patience()
    started = time.monotonic()
    attempt, acted = 1, False
    while True:
        error = yield from _attempt(call, verdict or judge)
        if isinstance(error, Reply):
            return error
        error.acted = acted = acted or _may_have_acted(error)
        if not _passing(error):
            raise error
        if _may_have_acted(error) and not call.repeatable:
            raise OutcomeUnknown(f"{call} was sent and not answered, so it may have been done: {error}") from error
        delay = patience.delay(error, attempt, time.monotonic() - started)
        if delay is None:
            raise error
        yield Pause(delay, f"{error}; attempt {attempt} of {patience.attempts}", error)
        attempt += 1


def _attempt(call: Call, verdict: Judge) -> Flow[Reply | SluiceError]:
    try:
        reply: Reply | None = yield call
        for _ in range(HOPS):
            if call.into is None or reply is None or not _moved(reply):
                break
            call = call._replace(path=urljoin(call.path, reply.headers["location"]), moved=True)
            reply = yield call
    except SluiceError as error:
        return error
    assert reply is not None, "a driver answers a Call with a Reply"  # noqa: S101 - a broken driver, not bad input
    return verdict(call, reply) or _no_file(call, reply) or reply


def _no_file(call: Call, reply: Reply) -> SluiceError | None:
    if call.into is None or call.lands(reply.status, reply.headers):
        return None
    kind = reply.headers.get("content-type", "") or "nothing"
    return UnexpectedResponse(
        f"{call} answered {reply.status} with {kind} and not with the file: is a login in front of it?"
    )


def _moved(reply: Reply) -> bool:
    return reply.status in (301, 302, 303, 307, 308) and "location" in reply.headers


def _passing(error: SluiceError) -> bool:
    return isinstance(error, (Unreachable, ServerError, RateLimited))


def _may_have_acted(error: SluiceError) -> bool:
    return isinstance(error, (Unreachable, ServerError)) and error.sent


def judge(call: Call, reply: Reply) -> SluiceError | None:
    """The error that a reply stands for, or None for a good one."""
    if reply.status < 300:
        return None
    if reply.status < 400:
        return ClientError(
            f"{call} answered {reply.status}, a redirect: does the connection's host name the API itself, "
            "with the right scheme, and is no login page in front of it?",
            status=reply.status,
        )
    kind = ServerError if reply.status >= 500 else REFUSALS.get(reply.status, ClientError)
    code, words = _words(reply)
    return kind(
        f"{call} answered {reply.status}" + (f": {words}" if words else ""),
        status=reply.status,
        code=code,
        body=reply.text[:2000],
        retry_after=retry_after(reply.headers),
        request_id=next((reply.headers[name] for name in REQUEST_IDS if name in reply.headers), None),
    )


def _words(reply: Reply) -> tuple[str | None, str]:
    """The remote's own code and message, wherever its framework puts them."""
    try:
        body = json.loads(reply.body)
    except (ValueError, RecursionError):
        return None, _plain(reply.text[:1000])[:300]
    if not isinstance(body, dict):
        return None, _plain(str(body)[:1000])[:300]
    code = body.get("code") or body.get("error")
    message = body.get("message") or body.get("error_description") or body.get("error") or ""
    return (_plain(str(code)) if code else None), _plain(str(message)[:1000])[:500]


def _storable(content: Any) -> Any:
    if isinstance(content, str):
        return content.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(content, list):
        return [_storable(each) for each in content]
    if isinstance(content, dict):
        return {_storable(name): _storable(value) for name, value in content.items()}
    return content


def _plain(text: str) -> str:
    """In one line, and without what steers a terminal or cannot be encoded: it goes into logs and databases."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in " ".join(text.split()))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Retry-After in seconds (RFC 9110, 10.2.3). A date is read against the remote's own clock where it tells it."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = _instant(value) - (_instant(headers["date"]) if "date" in headers else time.time())
        except ValueError:
            return None
    return None if math.isnan(seconds) else min(max(0.0, seconds), LONGEST_RETRY_AFTER)


def _instant(date: str) -> float:
    """Seconds since 1970. An HTTP date is UTC, also in the old form that does not say so."""
    moment = parsedate_to_datetime(date)
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


# --- pages ----------------------------------------------------------------------------------------------------------


def pages(page: Callable[[int], Flow[list[T]]], size: int, first: int = 1) -> Flow[list[T]]:
    """All items of a numbered listing, page by page until one comes back short."""
    items: list[T] = []
    number = first
    while True:
        found = yield from page(number)
        items += found
        if len(found) < size:
            return items
        number += 1


def token_pages(page: Callable[[str | None], Flow[tuple[list[T], str | None]]]) -> Flow[list[T]]:
    """All items of a listing whose pages name the next one by a token; an empty page is not the last.

    :raises UnexpectedResponse: a token came twice, so that this would never end
    """
    items: list[T] = []
    seen: set[str] = set()
    token: str | None = None
    while True:
        found, token = yield from page(token)
        items += found
        if not token:
            return items
        if token in seen:
            raise UnexpectedResponse("the listing leads back to a page that was read before")
        seen.add(token)


# --- waiting --------------------------------------------------------------------------------------------------------


class Age:
    """Seconds since something was asked for: by the wall clock up to now, monotonic from here on.

    So a wait goes on correctly in another process, and a clock that jumps while we wait does not end it early.
    """

    def __init__(self, asked_at: float) -> None:
        self._before = max(0.0, time.time() - asked_at)
        self._start = time.monotonic()

    def __call__(self) -> float:
        return self._before + time.monotonic() - self._start


class Cadence(NamedTuple):
    """How often to look: soon at first, then more rarely as the job grows old, so that news is never older than about
    a tenth of the job's life.

    :param poll_interval: seconds between two looks at the most
    :param shortest: seconds between two looks at the least
    :param failures: so many looks in a row may fail for a passing reason before the last error is raised
    """

    poll_interval: float = 60.0
    shortest: float = 1.0
    failures: int = 10

    def pause(self, age: float) -> float:
        wanted = max(self.shortest, age / 10) * random.uniform(0.9, 1.1)  # noqa: S311 - jitter
        return min(self.poll_interval, wanted)

    def after_failure(self, failures: int, error: SluiceError) -> float:
        if error.retry_after is not None:
            return min(error.retry_after, 3600.0)
        return min(max(self.poll_interval, 60.0), 2.0**failures) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter


def wait(
    look: Callable[[], Flow[T]],
    over: Callable[[T], bool],
    *,
    age: Callable[[], float],
    timeout: float | None = None,
    cadence: Cadence | None = None,
    tell: Callable[[T], object] = lambda _news: None,
) -> Flow[T]:
    """Look until it is over, and return the last look.

    A look that fails for a passing reason is not news: it is taken again. There is always one look after the deadline.

    :param look: a flow that looks once
    :param over: tells from a look whether the wait is over
    :param age: seconds since the job was asked for
    :param timeout: seconds of age after which the wait ends
    :param tell: is told of every look that succeeded
    :raises TimedOut: when the job is older than `timeout` and not over
    """
    cadence = cadence or Cadence()
    failures = 0
    while True:
        late = timeout is not None and age() >= timeout
        try:
            news = yield from look()
        except SluiceError as error:
            failures += 1
            if error.hopeless or late or failures >= cadence.failures:
                raise
            pause, why = cadence.after_failure(failures, error), f"look {failures} failed: {error}"
        else:
            failures = 0
            tell(news)
            if over(news):
                return news
            if late:
                raise TimedOut(f"not over {age():.0f} s after it was submitted, the limit is {timeout:.0f} s: {news}")
            pause, why = cadence.pause(age()), f"not over yet: {news}"
        if timeout is not None:
            pause = min(pause, max(0.0, timeout - age()))
        yield Pause(pause, why)


def no_sooner(flow: Flow[T], seconds: float) -> Flow[T]:
    """The flow, whose end is not told before so many seconds have passed since its beginning."""
    begun = time.monotonic()
    error: SluiceError | None = None
    try:
        found = yield from flow
    except SluiceError as raised:
        error = raised
    left = begun + seconds - time.monotonic()
    if left > 0:
        yield Pause(left, "nobody is ready to hear the end yet")
    if error:
        raise error
    return found


def impatient(flow: Flow[T], seconds: float) -> Flow[T]:
    """The flow, which gives up instead of pausing for more than so many seconds all in all.

    :raises Unreachable: naming what it would have waited for
    """
    answer: Any = None
    while True:
        try:
            step = flow.throw(answer) if isinstance(answer, SluiceError) else flow.send(answer)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        if isinstance(step, Pause):
            seconds -= step.seconds
            if seconds < 0:
                flow.close()
                raise Unreachable(f"gave up early: {step.why}", sent=False)
        try:
            answer = yield step
        except SluiceError as error:
            answer = error


__all__ = [
    "Age",
    "Aside",
    "Cadence",
    "Call",
    "Flow",
    "Judge",
    "Patience",
    "Pause",
    "Reply",
    "impatient",
    "judge",
    "no_sooner",
    "pages",
    "send",
    "token_pages",
    "wait",
]
