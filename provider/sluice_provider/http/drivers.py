"""The two loops that run flows: `drive` blocks (workers), `adrive` awaits (triggerer).

Only this module sends or sleeps. The loops know four steps, `Request`, `Sleep`, `Blocking` and `Gather`, and decide
nothing. They differ in the httpx client, in how they sleep, in where blocking functions run, and in what runs flows at
the same time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, aclosing, closing, contextmanager
from typing import Any, TypeVar
from urllib.parse import quote, urlencode
from weakref import WeakKeyDictionary

import httpx

from sluice_provider import redaction
from sluice_provider.errors import ResponseTooLarge, SluiceError, UnexpectedResponse, Unreachable
from sluice_provider.http.bodies import Multipart, encode
from sluice_provider.http.client_config import MAX_CONNECTIONS
from sluice_provider.http.deadline import deadline
from sluice_provider.http.decoding import bound_body
from sluice_provider.http.flow import Blocking, Flow, Gather, Request, Response, Sleep
from sluice_provider.http.limits import MAX_HEADER_BYTES, Limits, limits_of
from sluice_provider.http.network import result_hosts_of
from sluice_provider.redaction import excerpt

log = logging.getLogger(__name__)

HTTP_LOGGERS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy", "httpcore.socks")
"""Loggers of URLs, headers and reason phrases."""

for _name in HTTP_LOGGERS:
    logging.getLogger(_name).addFilter(redaction.RedactingFilter())

T = TypeVar("T")

TOKEN_REQUEST = "sluice_token_request"  # noqa: S105 - a name
"""Request extension that marks a request for a token, which `auth.py` sends before the flow's own request."""

PUBLIC_HEADERS = ("host", "user-agent", "accept", "accept-encoding", "connection")
"""Headers of the connection that may be sent to another host."""

NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.ProxyError)
"""Exceptions after which the request has certainly not been sent."""


_slots_by_client: WeakKeyDictionary[httpx.AsyncClient, asyncio.Semaphore] = WeakKeyDictionary()


def log_sleep(sleep: Sleep) -> None:
    log.debug("Sleeping %.1f s: %s", sleep.seconds, sleep.why)


def drive(
    flow: Flow[T],
    client: httpx.Client,
    sleep: Callable[[float], object],
    on_sleep: Callable[[Sleep], object] = log_sleep,
) -> T:
    """Run a flow to its end, blocking.

    :param on_sleep: called before every sleep
    """
    answer: Any = None
    with closing(flow):
        while True:
            try:
                step = _resume(flow, answer)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            if isinstance(step, Sleep):
                on_sleep(step)
                answer = None
                sleep(step.seconds)
            elif isinstance(step, Gather):
                answer = _gather(step, lambda each: drive(each, client, sleep, on_sleep))
            elif isinstance(step, Blocking):
                answer = _call(client, step)
            else:
                answer = _try_to_send(client, step)


async def adrive(
    flow: Flow[T],
    client: httpx.AsyncClient,
    sleep: Callable[[float], Awaitable[object]],
    on_sleep: Callable[[Sleep], object] = log_sleep,
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
                on_sleep(step)
                answer = None
                await sleep(step.seconds)
            elif isinstance(step, Gather):
                answer = await _agather(step, lambda each: adrive(each, client, sleep, on_sleep))
            elif isinstance(step, Blocking):
                answer = await asyncio.to_thread(_call, client, step)
            else:
                answer = await _atry_to_send(client, step)


def _resume(flow: Flow[T], answer: Any) -> Request | Sleep | Blocking | Gather:
    return flow.throw(answer) if isinstance(answer, SluiceError) else flow.send(answer)


def _call(client: httpx.Client | httpx.AsyncClient, step: Blocking) -> Any:
    try:
        if step.url:
            result_hosts_of(client).check(_link(step.url))
        return step.do()
    except SluiceError as error:
        return error


# --- several flows at the same time, in threads and in tasks --------------------------------------------------------


def _gather(step: Gather, run: Callable[[Flow[Any]], Any]) -> list[Any]:
    flows = enumerate(step.flows)
    results: dict[int, Any] = {}
    running: dict[Future[Any], int] = {}
    pool = ThreadPoolExecutor(step.limit.maximum, thread_name_prefix="sluice")
    try:
        while True:
            while len(running) < step.limit.current and (following := next(flows, None)) is not None:
                number, flow = following
                running[pool.submit(run, step.limit.watch(flow))] = number
            if not running:
                return [results[number] for number in sorted(results)]
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                results[running.pop(future)] = _outcome(future)
    finally:  # without waiting for threads: after an error or a signal their results are not used
        pool.shutdown(wait=False, cancel_futures=True)


async def _agather(step: Gather, run: Callable[[Flow[Any]], Coroutine[Any, Any, Any]]) -> list[Any]:
    flows = enumerate(step.flows)
    results: dict[int, Any] = {}
    running: dict[asyncio.Task[Any], int] = {}
    try:
        while True:
            while len(running) < step.limit.current and (following := next(flows, None)) is not None:
                number, flow = following
                running[asyncio.create_task(run(step.limit.watch(flow)))] = number
            if not running:
                return [results[number] for number in sorted(results)]
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                results[running.pop(task)] = _outcome(task)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _outcome(ended: Future[Any] | asyncio.Task[Any]) -> Any:
    try:
        return ended.result()
    except SluiceError as error:
        return error


# --- one request and its response, blocking and awaiting ------------------------------------------------------------


def _try_to_send(client: httpx.Client, request: Request) -> Response | SluiceError:
    try:
        return _send(client, request)
    except httpx.RequestError as error:
        return _error_without_response(request, error)
    except SluiceError as error:
        return error


async def _atry_to_send(client: httpx.AsyncClient, request: Request) -> Response | SluiceError:
    try:
        return await _asend(client, request)
    except httpx.RequestError as error:
        return _error_without_response(request, error)
    except SluiceError as error:
        return error


def _send(client: httpx.Client, request: Request) -> Response:
    with deadline(*limits_of(client).timeout(request)):
        return _send_now(client, request)


def _send_now(client: httpx.Client, request: Request) -> Response:
    built, auth = _build(client, request, request.body)
    with _odd_location(request):
        received = client.send(built, auth=auth, stream=True)
    with closing(received):
        _bound(received, request, limits_of(client))
        if request.into is None or not request.is_download(received.status_code, received.headers):
            received.read()
            return _response(received, received.content)
        with ExitStack() as undo:
            undo.callback(request.into.rollback)
            with closing(request.into.begin()) as file:
                for chunk in received.iter_bytes():
                    file.write(chunk)
            request.into.commit()
            undo.pop_all()
        return _response(received, b"")


async def _asend(client: httpx.AsyncClient, request: Request) -> Response:
    """Files are read and written in threads, as their storage may be remote or slow."""
    async with _slots(client):
        with deadline(*limits_of(client).timeout(request)):
            return await _asend_now(client, request)


def _slots(client: httpx.AsyncClient) -> asyncio.Semaphore:
    """One slot for each connection. httpcore walks all requests that wait for a connection whenever one is free, so a
    thousand of them would cost seconds of CPU, and time out."""
    found = _slots_by_client.get(client)
    if found is None:
        found = _slots_by_client[client] = asyncio.Semaphore(MAX_CONNECTIONS)
    return found


async def _asend_now(client: httpx.AsyncClient, request: Request) -> Response:
    built, auth = _build(client, request, request.body and _AsyncBody(request.body))
    with _odd_location(request):
        received = await client.send(built, auth=auth, stream=True)
    async with aclosing(received):
        _bound(received, request, limits_of(client))
        if request.into is None or not request.is_download(received.status_code, received.headers):
            await received.aread()
            return _response(received, received.content)
        with ExitStack() as undo:
            undo.callback(request.into.rollback)
            file = await asyncio.to_thread(request.into.begin)
            try:
                async for chunk in received.aiter_bytes():
                    await asyncio.to_thread(file.write, chunk)
            finally:
                await asyncio.to_thread(file.close)
            await asyncio.to_thread(request.into.commit)
            undo.pop_all()
        return _response(received, b"")


class _AsyncBody:
    """A streamed body for the async client."""

    def __init__(self, body: Multipart) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with closing(iter(self._body)) as chunks:
            while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                yield chunk


# --- from our types to httpx's, and back ----------------------------------------------------------------------------


def _build(client: httpx.Client | httpx.AsyncClient, request: Request, body: Any) -> tuple[httpx.Request, Any]:
    """httpx's request, and how it is authenticated."""
    _check_send_before(request)
    content, headers = _content(request, body)
    # httpx would write a space as "+", which not every service reads, and which signatures do not cover.
    query = urlencode(request.params, safe="-_.~", quote_via=quote)
    try:
        built = client.build_request(
            request.method,
            f"{request.path}?{query}" if query else request.path,
            content=content,
            headers={**headers, **request.headers},
            timeout=_timeout(client.timeout, request.read_timeout),
        )
    except (httpx.InvalidURL, ValueError) as error:  # ValueError: a lone surrogate
        raise UnexpectedResponse(
            f"{request} was not sent, as its link is not a URL: {excerpt(str(error), 200)}"
        ) from None
    if _origin(built.url) == _origin(client.base_url):
        return built, httpx.USE_CLIENT_DEFAULT
    redaction.add_link(str(built.url))
    result_hosts_of(client).check(built.url)
    public = {*PUBLIC_HEADERS, *(name.lower() for name in (*headers, *request.headers))}
    built.headers = httpx.Headers([(name, text) for name, text in built.headers.items() if name in public])
    return built, None


@contextmanager
def _odd_location(request: Request) -> Iterator[None]:
    """httpx reads the Location of every redirect, also of one that is not followed, and fails if it is not a URL."""
    try:
        yield
    except (httpx.InvalidURL, httpx.RemoteProtocolError, UnicodeError) as error:
        invalid = error.__context__ if isinstance(error, httpx.RemoteProtocolError) else error
        if not isinstance(invalid, (httpx.InvalidURL, UnicodeError)):
            raise
        problem = excerpt(str(invalid), 200)
    else:
        return
    raise UnexpectedResponse(f"{request} returned a redirect whose Location is not a URL: {problem}")


def _check_send_before(request: Request) -> None:
    """:raises Unreachable: the process was suspended for too long, and a newer one may have sent the same request"""
    if request.send_before is not None and time.time() > request.send_before:
        raise Unreachable(
            f"{request} was not sent: this process was suspended for too long after it had recorded the request, "
            "and another process may have sent it meanwhile",
            maybe_applied=False,
        )


def _content(request: Request, body: Any) -> tuple[Any, dict[str, str]]:
    if request.body is not None:
        return body, request.body.headers
    if request.form is not None:
        return urlencode(request.form).encode(), {"Content-Type": "application/x-www-form-urlencoded"}
    if request.json is not None:
        return encode(request.json), {"Content-Type": "application/json"}
    return None, {}


def _timeout(default: httpx.Timeout, read: float) -> httpx.Timeout:
    longer = default.read if default.read is None else max(default.read, read)
    return httpx.Timeout(connect=default.connect, read=longer, write=default.write, pool=default.pool)


def _link(text: str) -> httpx.URL:
    try:
        return httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as error:
        raise UnexpectedResponse(f"a link of the service is not a URL: {excerpt(str(error), 200)}") from None


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    """A request to another origin than the connection's must not see its credentials."""
    return url.scheme, url.host, url.port


def _bound(received: httpx.Response, request: Request, limits: Limits) -> None:
    """:raises ResponseTooLarge: the headers are too long; the body raises it when it is read"""
    size = sum(len(name) + len(value) + 4 for name, value in received.headers.raw)
    if size > MAX_HEADER_BYTES:
        raise ResponseTooLarge(f"{request} was answered with {size:,} bytes of headers: {MAX_HEADER_BYTES:,} are read")
    download = request.is_download(received.status_code, received.headers)
    bound_body(received, None if download else limits.max_response_bytes, str(request))


def _response(received: httpx.Response, body: bytes) -> Response:
    headers = {name.lower(): value for name, value in received.headers.items()}
    return Response(received.status_code, headers, body, str(received.url))


def _error_without_response(request: Request, error: httpx.RequestError) -> SluiceError:
    if isinstance(error, httpx.RemoteProtocolError) and "buffer too long" in str(error):
        return ResponseTooLarge(f"{request} was answered with headers of more than {MAX_HEADER_BYTES:,} bytes")
    return _unreachable(request, error)


def _unreachable(request: Request, error: httpx.RequestError) -> Unreachable:
    """With httpx's message and type, but without its exception, which holds the request and so its credentials."""
    for_token = error._request is not None and TOKEN_REQUEST in error._request.extensions
    message = str(error) or type(error).__name__
    if isinstance(error, httpx.LocalProtocolError):
        message = "the request is not valid HTTP"  # httpx's message would show the invalid header
    incomplete = request.body is not None and not request.body.fully_sent
    purpose = "getting a token for " if for_token else ""
    return Unreachable(
        f"{purpose}{request}: {type(error).__name__}: {message}",
        maybe_applied=not (for_token or isinstance(error, NOT_SENT) or incomplete),
    )
