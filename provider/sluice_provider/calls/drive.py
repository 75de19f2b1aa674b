"""The two loops that run flows: `drive` blocks (workers), `adrive` awaits (triggerer).

Only this file moves bytes or sleeps. The loops know three steps, `Call`, `Pause` and `Aside`, and decide nothing: they
differ in which httpx client they use, in how they sleep, and in where what blocks is done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import httpx

from sluice_provider.calls.body import encode
from sluice_provider.calls.flow import Aside, Call, Flow, Pause, Reply
from sluice_provider.errors import SluiceError, Unreachable

log = logging.getLogger(__name__)

T = TypeVar("T")

GRANT = "sluice_grant"
"""Request extension that marks a request which `auth.py` makes on its own account, before the call's own request."""

# A request that failed in one of these ways was never sent.
UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.ProxyError)


def drive(flow: Flow[T], client: httpx.Client, sleep: Callable[[float], object]) -> T:
    """Run a flow to its end here, blocking."""
    answer: Any = None
    with closing(flow):
        while True:
            try:
                step = _resume(flow, answer)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            if isinstance(step, Pause):
                _announce(step)
                answer = None
                sleep(step.seconds)
                continue
            if isinstance(step, Aside):
                answer = _done(step)
                continue
            try:
                answer = _reply(client.send(_request(client, step)))
            except httpx.RequestError as error:
                answer = _unreachable(step, error)
            except SluiceError as error:
                answer = error


async def adrive(flow: Flow[T], client: httpx.AsyncClient, sleep: Callable[[float], Awaitable[object]]) -> T:
    """Run a flow to its end, awaiting."""
    answer: Any = None
    with closing(flow):
        while True:
            try:
                step = _resume(flow, answer)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            if isinstance(step, Pause):
                _announce(step)
                answer = None
                await sleep(step.seconds)
                continue
            if isinstance(step, Aside):
                answer = await asyncio.to_thread(_done, step)
                continue
            try:
                answer = _reply(await client.send(_request(client, step)))
            except httpx.RequestError as error:
                answer = _unreachable(step, error)
            except SluiceError as error:
                answer = error


def _resume(flow: Flow[T], answer: Any) -> Call | Pause | Aside:
    return flow.throw(answer) if isinstance(answer, SluiceError) else flow.send(answer)


def _done(step: Aside) -> Any:
    try:
        return step.do()
    except SluiceError as error:
        return error


def _announce(pause: Pause) -> None:
    log.debug("Waiting %.1f s: %s", pause.seconds, pause.why)


def _request(client: httpx.Client | httpx.AsyncClient, call: Call) -> httpx.Request:
    body: dict[str, Any] = {}
    if call.json is not None:
        body = {"content": encode(call.json), "headers": {"Content-Type": "application/json"}}
    # httpx would write a space as "+", which not every remote reads, and which signatures do not cover.
    query = urlencode(call.params, safe="-_.~", quote_via=quote)
    return client.build_request(call.method, f"{call.path}?{query}" if query else call.path, **body)


def _reply(response: httpx.Response) -> Reply:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status_code, headers, response.content)


def _unreachable(call: Call, error: httpx.RequestError) -> Unreachable:
    """Keeps httpx's words and type, and not its exception, which holds the request and so its credentials."""
    granting = error._request is not None and GRANT in error._request.extensions
    words = str(error) or type(error).__name__
    if isinstance(error, httpx.LocalProtocolError):
        words = "the request cannot be sent as it is"  # httpx's words would show the header that is wrong
    doing = "getting a token for " if granting else ""
    return Unreachable(
        f"{doing}{call}: {type(error).__name__}: {words}",
        sent=not (granting or isinstance(error, UNSENT)),
    )
