"""How to talk to a service, without talking: what a flow may yield, and what it is sent.

A flow is a generator. It yields a `Request`, and is sent a `Response` or has an error thrown in; or it yields a
`Sleep`, and is resumed when that is over; or a `Blocking`, and is sent what it returned. It returns a typed value.
Flows are composed with `yield from`. Rules of this package: only `drivers.py` opens a socket or sleeps, nothing here
knows a service, and nothing guesses from a verb whether a request may be repeated: whoever read the service's
documentation says so with `idempotent`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from sluice_provider.errors import (
    SluiceError,
    UnexpectedResponse,
)

if TYPE_CHECKING:
    from sluice_provider.http.bodies import Landing, Multipart

T = TypeVar("T")

NOTHING: Mapping[str, str | int] = MappingProxyType({})


class Request(NamedTuple):
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
    idempotent: bool = False
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


class Response(NamedTuple):
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


class Sleep(NamedTuple):
    """Wait so many seconds. `why` is for the log; `cause` is the error that makes it necessary, if one does."""

    seconds: float
    why: str
    cause: SluiceError | None = None


class Blocking(NamedTuple):
    """Something that blocks and is not a call of ours (a vendor's own client): done in place by the worker, in a thread
    by the triggerer. An error of this package that it raises is thrown into the flow."""

    do: Callable[[], Any]


Flow = Generator["Request | Sleep | Blocking", Any, T]


def _storable(content: Any) -> Any:
    if isinstance(content, str):
        return content.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(content, list):
        return [_storable(each) for each in content]
    if isinstance(content, dict):
        return {_storable(name): _storable(value) for name, value in content.items()}
    return content
