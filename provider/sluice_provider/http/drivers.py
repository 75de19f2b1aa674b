"""The two loops that run flows: `drive` blocks (workers), `adrive` awaits (triggerer).

Only this file moves bytes or sleeps. The loops know three steps, `Request`, `Sleep` and `Blocking`, and decide nothing:
they differ in which httpx client they use, in how they sleep, and in where what blocks is done.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, aclosing, closing
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import httpx

from sluice_provider.errors import SluiceError, Unreachable
from sluice_provider.http.bodies import Multipart, encode
from sluice_provider.http.flow import Blocking, Flow, Request, Response, Sleep

log = logging.getLogger(__name__)

T = TypeVar("T")

GRANT = "sluice_grant"
"""Request extension that marks a request which `auth.py` makes on its own account, before the call's own request."""

PLAIN = ("host", "user-agent", "accept", "accept-encoding", "connection")
"""Headers of the connection that another host may see, too."""

# A request that failed in one of these ways was never sent.
UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.ProxyError)


def announce(pause: Sleep) -> None:
    """What is said of a pause before it begins."""
    log.debug("Waiting %.1f s: %s", pause.seconds, pause.why)


def drive(
    flow: Flow[T],
    client: httpx.Client,
    sleep: Callable[[float], object],
    heed: Callable[[Sleep], object] = announce,
) -> T:
    """Run a flow to its end here, blocking.

    :param heed: is told of every pause before it begins
    """
    answer: Any = None
    with closing(flow):
        while True:
            try:
                step = _resume(flow, answer)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            if isinstance(step, Sleep):
                heed(step)
                answer = None
                sleep(step.seconds)
                continue
            if isinstance(step, Blocking):
                answer = _done(step)
                continue
            try:
                answer = _exchange(client, step)
            except httpx.RequestError as error:
                answer = _unreachable(step, error)
            except SluiceError as error:
                answer = error


async def adrive(
    flow: Flow[T],
    client: httpx.AsyncClient,
    sleep: Callable[[float], Awaitable[object]],
    heed: Callable[[Sleep], object] = announce,
) -> T:
    """Run a flow to its end, awaiting."""
    answer: Any = None
    with closing(flow):
        while True:
            try:
                step = _resume(flow, answer)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            if isinstance(step, Sleep):
                heed(step)
                answer = None
                await sleep(step.seconds)
                continue
            if isinstance(step, Blocking):
                answer = await asyncio.to_thread(_done, step)
                continue
            try:
                answer = await _aexchange(client, step)
            except httpx.RequestError as error:
                answer = _unreachable(step, error)
            except SluiceError as error:
                answer = error


def _resume(flow: Flow[T], answer: Any) -> Request | Sleep | Blocking:
    return flow.throw(answer) if isinstance(answer, SluiceError) else flow.send(answer)


def _done(step: Blocking) -> Any:
    try:
        return step.do()
    except SluiceError as error:
        return error


# --- one exchange, twice --------------------------------------------------------------------------------------------


def _exchange(client: httpx.Client, call: Request) -> Response:
    request, auth = _request(client, call, call.body)
    response = client.send(request, auth=auth, stream=True)
    with closing(response):
        if call.into is None or not call.lands(response.status_code, response.headers):
            response.read()
            return _reply(response, response.content)
        with ExitStack() as undo:
            undo.callback(call.into.drop)
            with closing(call.into.begin()) as file:
                for piece in response.iter_bytes():
                    file.write(piece)
            call.into.keep()
            undo.pop_all()
        return _reply(response, b"")


async def _aexchange(client: httpx.AsyncClient, call: Request) -> Response:
    """Files are read and written in threads: they may be far away, or slow."""
    request, auth = _request(client, call, call.body and _Awaited(call.body))
    response = await client.send(request, auth=auth, stream=True)
    async with aclosing(response):
        if call.into is None or not call.lands(response.status_code, response.headers):
            await response.aread()
            return _reply(response, response.content)
        with ExitStack() as undo:
            undo.callback(call.into.drop)
            file = await asyncio.to_thread(call.into.begin)
            try:
                async for piece in response.aiter_bytes():
                    await asyncio.to_thread(file.write, piece)
            finally:
                await asyncio.to_thread(file.close)
            await asyncio.to_thread(call.into.keep)
            undo.pop_all()
        return _reply(response, b"")


class _Awaited:
    """A streamed body for the awaiting client."""

    def __init__(self, body: Multipart) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with closing(iter(self._body)) as pieces:
            while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                yield piece


# --- what is sent, and what came back -------------------------------------------------------------------------------


def _request(client: httpx.Client | httpx.AsyncClient, call: Request, body: Any) -> tuple[httpx.Request, Any]:
    """The request, and how it is authenticated."""
    _check_in_time(call)
    content, headers = _content(call, body)
    # httpx would write a space as "+", which not every remote reads, and which signatures do not cover.
    query = urlencode(call.params, safe="-_.~", quote_via=quote)
    request = client.build_request(
        call.method,
        f"{call.path}?{query}" if query else call.path,
        content=content,
        headers={**headers, **call.headers},
        timeout=_timeout(client.timeout, call.read_timeout),
    )
    if not _foreign(client.base_url, call, request.url):
        return request, httpx.USE_CLIENT_DEFAULT
    plain = {*PLAIN, *(name.lower() for name in (*headers, *call.headers))}
    request.headers = httpx.Headers([(name, text) for name, text in request.headers.items() if name in plain])
    return request, None


def _check_in_time(call: Request) -> None:
    """:raises Unreachable: the process stood still for too long, and a newer one may have sent the same"""
    if call.send_before is not None and time.time() > call.send_before:
        words = f"{call} was not sent: too much time has passed since it was written down that it would be"
        raise Unreachable(words, sent=False)


def _content(call: Request, body: Any) -> tuple[Any, dict[str, str]]:
    if call.body is not None:
        return body, call.body.headers
    if call.form is not None:
        return urlencode(call.form).encode(), {"Content-Type": "application/x-www-form-urlencoded"}
    if call.json is not None:
        return encode(call.json), {"Content-Type": "application/json"}
    return None, {}


def _timeout(usual: httpx.Timeout, read: float) -> httpx.Timeout:
    longer = usual.read if usual.read is None else max(usual.read, read)
    return httpx.Timeout(connect=usual.connect, read=longer, write=usual.write, pool=usual.pool)


def _foreign(home: httpx.URL, call: Request, url: httpx.URL) -> bool:
    """Whether a call leads away from the connection's own host, whose credentials are nobody else's business."""
    return "://" in call.path and (url.scheme, url.host, url.port) != (home.scheme, home.host, home.port)


def _reply(response: httpx.Response, body: bytes) -> Response:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Response(response.status_code, headers, body)


def _unreachable(call: Request, error: httpx.RequestError) -> Unreachable:
    """Keeps httpx's words and type, and not its exception, which holds the request and so its credentials."""
    granting = error._request is not None and GRANT in error._request.extensions
    words = str(error) or type(error).__name__
    if isinstance(error, httpx.LocalProtocolError):
        words = "the request cannot be sent as it is"  # httpx's words would show the header that is wrong
    doing = "getting a token for " if granting else ""
    return Unreachable(
        f"{doing}{call}: {type(error).__name__}: {words}",
        sent=not (granting or isinstance(error, UNSENT) or (call.body is not None and not call.body.handed_over)),
    )
