"""An API and an Airflow connection, in two faces: `hook.get_import(id)` blocks, `await hook.get_import.aio(id)` awaits.

The faces differ in exactly three things: the httpx client, the sleep, and how the connection is looked up. The worker
keeps one client a hook; the triggerer one an event loop and connection, so that a thousand triggers share one pool.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, TypeVar, cast, overload
from weakref import WeakKeyDictionary

import httpx
from airflow.sdk import BaseHook

from sluice_provider import __version__, compat, metrics
from sluice_provider.errors import InvalidConnection, InvalidInput, RateLimited, SluiceError, UnexpectedResponse
from sluice_provider.http.client_config import ClientConfig, ConnectionFields, site
from sluice_provider.http.drivers import adrive, drive, log_sleep
from sluice_provider.http.flow import Flow, Sleep
from sluice_provider.jobs.polling import JobType, Locator

if TYPE_CHECKING:
    from airflow.sdk import Connection

P = ParamSpec("P")
T = TypeVar("T")

NO_LOCATOR: Locator = MappingProxyType({})

USER_AGENT = f"airflow-provider-sluice/{__version__}"

_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Any, asyncio.Future[httpx.AsyncClient]]] = (
    WeakKeyDictionary()
)


class BoundEndpoint(Generic[P, T]):
    """One endpoint of a hook: call it to block, await its `aio` to await."""

    def __init__(self, hook: SluiceHook, flow: Callable[P, Flow[T]]) -> None:
        self._hook = hook
        self.flow = flow
        self.__doc__ = flow.__doc__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._hook.run(self.flow(*args, **kwargs))

    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._hook.arun(self.flow(*args, **kwargs))


class Endpoint(Generic[P, T]):
    """Declares an endpoint: `get_import = Endpoint(kaleidoscope.get_import)`."""

    def __init__(self, flow: Callable[P, Flow[T]]) -> None:
        self.flow = flow
        self.__doc__ = flow.__doc__

    @overload
    def __get__(self, hook: None, owner: type) -> Endpoint[P, T]: ...
    @overload
    def __get__(self, hook: SluiceHook, owner: type) -> BoundEndpoint[P, T]: ...
    def __get__(self, hook: SluiceHook | None, owner: type) -> Endpoint[P, T] | BoundEndpoint[P, T]:
        return self if hook is None else BoundEndpoint(hook, self.flow)


class SluiceHook(BaseHook):
    """What the hooks of all systems share.

    :param conn_id: Airflow connection id
    """

    service: ClassVar[str]
    job_types: ClassVar[Mapping[str, JobType]]
    default_host: ClassVar[str] = ""
    default_conn_name: ClassVar[str]
    variant: tuple[str, ...] = ()
    """What two hooks with the same connection may differ in, so that they cannot share a client."""

    def __init__(self, conn_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id or self.default_conn_name
        self.sleep: Callable[[float], object] = time.sleep
        self.async_sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
        self._client: httpx.Client | None = None
        self._fields: ConnectionFields | None = None

    @classmethod
    def for_job(cls, conn_id: str, locator: Locator) -> SluiceHook:
        """The hook for work that is to be found there. Most remotes are where the connection says."""
        del locator
        return cls(conn_id)

    # --- what a system adds

    @abstractmethod
    def auth(self, fields: ConnectionFields, place: ClientConfig) -> httpx.Auth:
        """The system's way to authenticate, from the connection's fields."""

    def client_config(self, fields: ConnectionFields) -> ClientConfig:
        """Where the remote is, from the connection's fields."""
        return site(fields, default_host=self.default_host, user_agent=USER_AGENT)

    @abstractmethod
    def ping(self) -> Flow[str]:
        """One cheap authenticated read, and what it found, as a sentence."""

    def job_url(self, job_type: str, job_id: str, locator: Locator, fields: ConnectionFields) -> str:
        """Where a person sees this job in the remote's web UI, or "" where that is not known."""
        del job_type, job_id, locator, fields
        return ""

    # --- running flows

    def run(self, flow: Flow[T]) -> T:
        """Run a flow here, blocking."""
        return drive(flow, self.get_conn(), self.sleep, partial(self._on_sleep, task=True))

    async def arun(self, flow: Flow[T]) -> T:
        """Run a flow on the event loop, awaiting."""
        return await adrive(flow, await self.aget_conn(), self.async_sleep, partial(self._on_sleep, task=False))

    def _on_sleep(self, pause: Sleep, *, task: bool) -> None:
        log_sleep(pause)
        if isinstance(pause.cause, RateLimited):
            metrics.rate_limited(self.service, task=task)

    def get_conn(self) -> httpx.Client:
        """The blocking client, with the connection's address, credentials and settings in place."""
        if self._client is None:
            options = self._options(self.fields())
            self._client = httpx.Client(**options)
        return self._client

    async def aget_conn(self) -> httpx.AsyncClient:
        """The event loop's client for this connection as it is now: another one when the connection was changed."""
        fields = await self.afields()
        clients = _clients_here()
        key = (type(self), self.variant, hashlib.sha256(repr(tuple(fields)).encode()).hexdigest())
        if key not in clients:
            # In a thread, as certificates are read; and noted before anybody can wait, so that there is only one.
            clients[key] = asyncio.ensure_future(asyncio.to_thread(self._async_client, fields))
        try:
            return await asyncio.shield(clients[key])
        except SluiceError:
            clients.pop(key, None)
            raise

    def _async_client(self, fields: ConnectionFields) -> httpx.AsyncClient:
        return httpx.AsyncClient(**self._options(fields))

    def job_type(self, name: str) -> JobType:
        """:raises UnexpectedResponse: for a kind of job that this version does not know"""
        if name not in self.job_types:
            raise UnexpectedResponse(f"{self.service} has no jobs of kind {name!r}, as far as this version knows")
        return self.job_types[name]

    def interrupt(self) -> None:
        """For a signal handler: go on with a new client, as the old one may be in the middle of a call; and hurry."""
        self._client = None
        self.sleep = lambda _seconds: None

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _options(self, fields: ConnectionFields) -> dict[str, Any]:
        """May block: the triggerer makes it in a thread."""
        place = self.client_config(fields)
        return {**place.options(), "auth": self.auth(fields, place)}

    # --- the connection

    def fields(self) -> ConnectionFields:
        """The connection, looked up once a hook."""
        if self._fields is None:
            self._fields = fields_of(self.get_connection(self.conn_id))
            for secret in self._fields.secrets():
                mask(secret)
        return self._fields

    async def afields(self) -> ConnectionFields:
        fields = fields_of(await self.aget_connection(self.conn_id))
        for secret in fields.secrets():
            await asyncio.to_thread(mask, secret)
        return fields

    def test_connection(self) -> tuple[bool, str]:
        """For the button in the Airflow UI: what was found, or what is wrong, in one plain sentence."""
        try:
            return True, self.run(self.ping())
        except SluiceError as error:
            return False, f"{type(error).__name__}: {error}"
        finally:
            self.close()


def _clients_here() -> dict[Any, asyncio.Future[httpx.AsyncClient]]:
    """The event loop's clients. Those of ended loops are let go: their connections would hold on to the loop."""
    for loop in [loop for loop in _clients if loop.is_closed()]:
        _clients.pop(loop, None)
    return _clients.setdefault(asyncio.get_running_loop(), {})


def fields_of(conn: Connection) -> ConnectionFields:
    """:raises InvalidConnection: its extra is not a JSON object"""
    try:
        extra = json.loads(conn.extra) if conn.extra else {}
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise InvalidConnection(f"connection {conn.conn_id!r}: extra is not a JSON object")
    return ConnectionFields(conn.conn_id, conn.host, conn.port or None, conn.login, conn.password, extra)


def mask(secret: str) -> None:
    """Keep a secret out of every log of this process and of its supervisor."""
    compat.mask_secret(secret)


def hook_for(service: str, conn_id: str, locator: Locator = NO_LOCATOR) -> SluiceHook:
    """The hook of a system by its name: the only place that finds classes by text.

    :raises InvalidInput: for a name that this version does not know
    """
    from importlib import import_module

    from sluice_provider.services import BY_NAME

    known = BY_NAME.get(service)
    if known is None:
        raise InvalidInput(f"no system is called {service!r}; this version knows {', '.join(BY_NAME)}")
    module, _, name = known.hook_path.rpartition(".")
    hook = cast("type[SluiceHook]", getattr(import_module(module), name))
    return hook.for_job(conn_id or known.default_conn_id, locator)
