"""Flows: how to talk to a service, described without I/O.

A flow is a generator. It yields a `Request`, and is sent a `Response` or has an error thrown in; or it yields a
`Sleep`, and is resumed when that is over; or a `Blocking`, and is sent what it returned; or a `Gather`, and is sent the
results of other flows. It returns a typed value.
Flows are composed with `yield from`. Rules of this package: only `drivers.py` opens a socket or sleeps, nothing here
knows a service, and nothing guesses from a verb whether a request may be repeated: the author of the endpoint says so
with `idempotent`, from the service's documentation.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Generator, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from sluice_provider.errors import SluiceError, UnexpectedResponse
from sluice_provider.redaction import MAX_EXCERPTED, redact_message

if TYPE_CHECKING:
    from sluice_provider.http.bodies import AtomicFile, Multipart
    from sluice_provider.http.concurrency import ConcurrencyLimit

T = TypeVar("T")

MAX_NESTING = 100
"""Levels of objects and lists in a response: readers, and what shows or stores values, go through them recursively."""

NOTHING: Mapping[str, str | int] = MappingProxyType({})


class Request(NamedTuple):
    """One HTTP request, to be sent by a driver.

    :param path: relative to the connection's base URL, already quoted; or a whole URL, which gets the connection's
        credentials and headers only if it has the base URL's scheme, host and port
    :param params: query
    :param json: body, encoded as JSON
    :param form: body, encoded as a form
    :param body: body, streamed, and opened again for each attempt
    :param headers: in addition to those of the connection
    :param into: file for the body of a successful response, which is streamed; redirects are followed then
    :param read_timeout: minimum read timeout in seconds, whatever the connection says
    :param idempotent: the service ends in the same state when it gets this request twice
    :param name: shown in errors and logs, where method and path do not say enough
    :param redirected: a redirect led here
    :param max_duration: maximum seconds that it may take in all, whatever the connection says
    :param send_before: seconds since 1970 after which it is no longer sent
    """

    method: str
    path: str
    params: Mapping[str, str | int] = NOTHING
    json: Any = None
    idempotent: bool = False
    form: Mapping[str, str] | None = None
    body: Multipart | None = None
    headers: Mapping[str, str] = MappingProxyType({})
    into: AtomicFile | None = None
    read_timeout: float = 0.0
    name: str = ""
    redirected: bool = False
    max_duration: float = math.inf
    send_before: float | None = None

    def is_download(self, status: int, headers: Mapping[str, str]) -> bool:
        """Whether the body of this response goes to `into`: it is the whole file, and not a login page that a redirect
        led to."""
        page = self.redirected and headers.get("content-type", "").lower().startswith("text/html")
        return self.into is not None and status == 200 and not page

    def __str__(self) -> str:
        """Without the parts of a URL that may be secret: user, password and query."""
        if self.name:
            return self.name
        if "://" not in self.path:
            return f"{self.method} {self.path}"
        try:
            parts = urlsplit(self.path)
        except ValueError:
            return f"{self.method} a link that is not a valid URL"
        return f"{self.method} {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class Response(NamedTuple):
    """A complete response. Header names are in lower case.

    :param url: the whole URL that was requested, against which a redirect is resolved
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str = ""

    @property
    def text(self) -> str:
        """The body for messages, redacted: at most the first million bytes."""
        return redact_message(self.body[:MAX_EXCERPTED].decode("utf-8", "replace"))

    def json(self) -> Any:
        """The parsed body. NULs and lone surrogates, which are valid JSON and which databases reject, are replaced.

        :raises UnexpectedResponse: it is not JSON, or nested more than `MAX_NESTING` deep
        """
        try:
            content = json.loads(self.body, parse_constant=_reject_constant)
            if self.body.count(b"[") + self.body.count(b"{") > MAX_NESTING and _is_deep(content):
                raise ValueError("it is nested too deeply")
            return _storable(content) if re.search(rb"\\u(0000|[dD][89a-fA-F])", self.body) else content
        except (ValueError, RecursionError):
            pass  # raised below, without json's error, which holds the whole body
        raise UnexpectedResponse(f"the response (status {self.status}) is not JSON; it begins: {self.text!r:.200}")


class Sleep(NamedTuple):
    """Sleep for so many seconds. `why` is for the log; `cause` is the error that makes it necessary, if any.

    :param may_end_early: nothing is wrong with ending it as soon as there is something to do
    """

    seconds: float
    why: str
    cause: SluiceError | None = None
    may_end_early: bool = False


class Blocking(NamedTuple):
    """A blocking function that is not a `Request` (a vendor's client): called in place by the worker, in a thread by
    the triggerer. An error of this package that it raises is thrown into the flow.

    :param url: a link of the service that it requests with that client: checked before, as that of a `Request`
    """

    do: Callable[[], Any]
    url: str = ""


class Gather(NamedTuple):
    """Run flows at the same time: in threads by the worker, in tasks by the triggerer. Sent: the list of their results,
    in order; in place of a result, the error of this package that a flow raised.

    :param flows: taken one by one, each when it can start; taking one must not block for long
    :param limit: how many may run at the same time; shared by several of these steps, it keeps what it has learnt
    """

    flows: Iterable[Flow[Any]]
    limit: ConcurrencyLimit


Flow = Generator["Request | Sleep | Blocking | Gather", Any, T]


def _reject_constant(name: str) -> Any:
    """Python would read NaN and Infinity, which are not JSON and which databases reject."""
    raise ValueError(f"{name} is not JSON")


def _is_deep(content: Any) -> bool:
    level = [content]
    for _ in range(MAX_NESTING + 1):
        containers = [each for each in level if isinstance(each, (dict, list))]
        if not containers:
            return False
        level = [inner for each in containers for inner in (each.values() if isinstance(each, dict) else each)]
    return True


def _storable(content: Any) -> Any:
    if isinstance(content, str):
        return content.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(content, list):
        return [_storable(each) for each in content]
    if isinstance(content, dict):
        return {_storable(name): _storable(value) for name, value in content.items()}
    return content
