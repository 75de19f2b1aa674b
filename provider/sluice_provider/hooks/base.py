"""A service's API behind an Airflow connection: `hook.get_import(id)` blocks, `await hook.get_import.aio(id)` awaits.

The two differ in exactly three things: the httpx client, the sleep, and how the connection is looked up. A worker has
one client per hook; the triggerer has one per event loop and connection, so that a thousand triggers share one pool,
and looks a connection up once every few seconds for all of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial, wraps
from inspect import Parameter, Signature, signature
from types import MappingProxyType
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    TypeVar,
    cast,
    overload,
)

from airflow.sdk import BaseHook

from sluice_provider import __version__, compat, metrics
from sluice_provider.connection_fields import CONNECTION_TYPES, Field
from sluice_provider.errors import (
    AddressRefused,
    AuthenticationFailed,
    InvalidConnection,
    InvalidInput,
    OutcomeUnknown,
    RateLimited,
    SluiceError,
    StatusError,
    UnexpectedResponse,
    Unreachable,
)
from sluice_provider.services import BY_NAME

if TYPE_CHECKING:
    import httpx
    from airflow.sdk import Connection

    from sluice_provider.http.client_config import ClientConfig, ConnectionFields
    from sluice_provider.http.flow import Flow, Sleep
    from sluice_provider.jobs.polling import JobType, Locator

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
C = TypeVar("C", "httpx.Client", "httpx.AsyncClient")

NO_LOCATOR: Locator = MappingProxyType({})

USER_AGENT = f"airflow-provider-sluice/{__version__}"

TEST_SECONDS = 20.0
"""Seconds that each request of *Test connection* may take in all: it holds a thread of the API server."""

FROM_THE_SERVICE = (StatusError, Unreachable, UnexpectedResponse, OutcomeUnknown, AddressRefused)
"""Errors of a request, to which the hook adds the service, its address and the connection."""

_warned: set[str] = set()
"""Warnings about connections that this process has logged."""


class BoundEndpoint(Protocol[P, T_co]):
    """An endpoint of a hook: a method that blocks, with a coroutine function beside it."""

    @property
    def flow(self) -> Callable[P, Flow[T_co]]:
        """The flow itself, for composing."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T_co:
        """Blocks."""

    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> T_co:
        """Awaits, for triggers: `await hook.get_import.aio(id)`."""


class Endpoint(Generic[P, T]):
    """Makes a method of a flow: `get_import = Endpoint(lambda: kaleidoscope.get_import)`.

    The flow is found when the method is first used, so that importing a hook, as DAG files do, does not import what its
    endpoints need. The method has the flow's name, docstring and signature; it returns what the flow returns. Its
    attribute `aio` is the same as a coroutine function.
    """

    def __init__(self, find_flow: Callable[[], Callable[P, Flow[T]]]) -> None:
        self._find_flow = find_flow

    @cached_property
    def flow(self) -> Callable[P, Flow[T]]:
        return self._find_flow()

    @cached_property
    def signature(self) -> Signature:
        """The flow's, which returns the flow's value: `Flow[Raw]` becomes `Raw`."""
        found = signature(self.flow)
        returned = found.return_annotation
        if isinstance(returned, str) and returned.startswith("Flow["):
            returned = returned.removeprefix("Flow[").removesuffix("]")
        return found.replace(return_annotation=returned)

    @overload
    def __get__(self, hook: None, owner: type) -> Callable[Concatenate[SluiceHook, P], T]: ...
    @overload
    def __get__(self, hook: SluiceHook, owner: type) -> BoundEndpoint[P, T]: ...
    def __get__(self, hook: SluiceHook | None, owner: type) -> Any:
        return self._unbound() if hook is None else self._bound(hook)

    def _bound(self, hook: SluiceHook) -> Any:
        @wraps(self.flow)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            return hook.run(self.flow(*args, **kwargs))

        @wraps(self.flow)
        async def aio(*args: P.args, **kwargs: P.kwargs) -> T:
            return await hook.arun(self.flow(*args, **kwargs))

        vars(call).update(__signature__=self.signature, flow=self.flow, aio=aio)
        vars(aio).update(__signature__=self.signature)
        return call

    def _unbound(self) -> Any:
        """For `help()` of the class, and for calling it with a hook as its first argument."""

        @wraps(self.flow)
        def call(hook: SluiceHook, *args: P.args, **kwargs: P.kwargs) -> T:
            return hook.run(self.flow(*args, **kwargs))

        first = Parameter("self", Parameter.POSITIONAL_OR_KEYWORD)
        parameters = [first, *self.signature.parameters.values()]
        vars(call).update(__signature__=self.signature.replace(parameters=parameters), flow=self.flow)
        return call


class SluiceHook(BaseHook):
    """What the hooks of all services share.

    :param conn_id: Airflow connection id
    """

    service: ClassVar[str]
    hook_name: ClassVar[str]
    """The service's name for people."""
    conn_type: ClassVar[str]
    default_host: ClassVar[str] = ""
    credential_fields: ClassVar[tuple[str, ...]] = ("login", "password")
    """Names of the connection's fields to check when the service rejects the credentials."""
    default_conn_name: ClassVar[str]
    variant: tuple[str, ...] = ()
    """Arguments by which two hooks with the same connection differ, so that they cannot share a client."""

    def __init__(self, conn_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id or self.default_conn_name
        self.sleep: Callable[[float], object] = time.sleep
        self.async_sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
        self._client: httpx.Client | None = None
        self._fields: ConnectionFields | None = None

    @classmethod
    def for_job(cls, conn_id: str, locator: Locator) -> SluiceHook:
        """The hook for jobs with this locator, which most services do not need: the connection says enough."""
        del locator
        return cls(conn_id)

    # --- what a service adds

    @property
    @abstractmethod
    def job_types(self) -> Mapping[str, JobType]:
        """The service's job types, by name."""

    @abstractmethod
    def auth(self, fields: ConnectionFields, config: ClientConfig) -> httpx.Auth:
        """The service's authentication, from the connection's fields."""

    def client_config(self, fields: ConnectionFields) -> ClientConfig:
        """The service's address and how to connect to it, from the connection's fields."""
        from sluice_provider.http.client_config import ClientConfig

        return ClientConfig.from_connection(fields, default_host=self.default_host, user_agent=USER_AGENT)

    @abstractmethod
    def ping(self) -> Flow[str]:
        """For *Test connection*: one cheap authenticated read, and its result as a sentence."""

    def job_url(self, job_type: str, job_id: str, locator: Locator, fields: ConnectionFields) -> str:
        """The address of this job in the service's web UI, or "" if it is not known."""
        del job_type, job_id, locator, fields
        return ""

    # --- running flows

    def run(self, flow: Flow[T]) -> T:
        """Run a flow, blocking."""
        from sluice_provider.http.drivers import drive

        client = self.get_conn()
        with self._error_context(client.base_url):
            return drive(flow, client, self.sleep, partial(self._on_sleep, task=True))

    async def arun(self, flow: Flow[T]) -> T:
        """Run a flow on the event loop, awaiting."""
        from sluice_provider.http.drivers import adrive

        client = await self.aget_conn()
        with self._error_context(client.base_url):
            return await adrive(flow, client, self.async_sleep, partial(self._on_sleep, task=False))

    @contextmanager
    def _error_context(self, base_url: httpx.URL) -> Iterator[None]:
        """The one place where errors of requests, which know no connection, learn which one they were sent with."""
        try:
            yield
        except FROM_THE_SERVICE as error:
            address = str(base_url).rstrip("/")
            error.add_context(f"{self.hook_name} at {address}, connection {self.conn_id!r}", self._hint(error))
            raise

    def _hint(self, error: SluiceError) -> str:
        """Which fields of the connection to check."""
        names: tuple[str, ...] = ()
        if isinstance(error, AuthenticationFailed):
            names = self.credential_fields
        elif isinstance(error, Unreachable) and not error.maybe_applied:
            names = ("host", "port")
        labels = [f"{self.declared[name].label} ({name})" if name in self.declared else name for name in names]
        return f"check {', '.join(labels)} in the connection" if labels else ""

    def _on_sleep(self, sleep: Sleep, *, task: bool) -> None:
        level = logging.INFO if sleep.cause else logging.DEBUG
        service, conn_id = self.hook_name, self.conn_id
        log.log(level, "%s, connection %r: %s; sleeping %.1f s", service, conn_id, sleep.why, sleep.seconds)
        if isinstance(sleep.cause, RateLimited):
            metrics.rate_limited(self.service, task=task)

    def get_conn(self) -> httpx.Client:
        """The blocking client, with the connection's address, credentials and settings in place."""
        import httpx

        if self._client is None:
            self._client = self._open_client(httpx.Client, self.fields())
        return self._client

    async def aget_conn(self) -> httpx.AsyncClient:
        """The event loop's client for this connection; a changed connection gets another one."""
        import httpx

        from sluice_provider.hooks.shared import loop_state
        from sluice_provider.http.event_loop import shared_task

        fields = await self.afields()
        clients = loop_state().clients
        key = (type(self), self.variant, hashlib.sha256(repr(tuple(fields)).encode()).hexdigest())
        if key not in clients:
            # In a thread, as it reads certificates; stored before anything is awaited, so that there is only one.
            clients[key] = shared_task(asyncio.to_thread(self._open_client, httpx.AsyncClient, fields))
        try:
            return await asyncio.shield(clients[key])
        except SluiceError:
            clients.pop(key, None)
            raise

    def job_type(self, name: str) -> JobType:
        """:raises UnexpectedResponse: for a job type that this version does not know"""
        if name not in self.job_types:
            known = ", ".join(self.job_types)
            raise UnexpectedResponse(f"{self.hook_name} has no job type {name!r} in this version (it has {known})")
        return self.job_types[name]

    def interrupt(self) -> None:
        """For a signal handler: continue with a new client, as the old one may be in the middle of a request, and
        without sleeping."""
        self._client = None
        self.sleep = lambda _seconds: None

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _open_client(self, client_class: type[C], fields: ConnectionFields) -> C:
        """May block: the triggerer calls it in a thread."""
        from sluice_provider.http.network import configure_client

        config = self.client_config(fields)
        client = client_class(**config.options(), auth=self.auth(fields, config))
        configure_client(client, config.result_hosts, config.limits)
        return client

    # --- the connection

    @property
    def declared(self) -> Mapping[str, Field]:
        """The fields of this connection type; empty for another provider's, which checks them itself."""
        return CONNECTION_TYPES.get(self.conn_type, {})

    def fields(self) -> ConnectionFields:
        """The connection, looked up once per hook."""
        if self._fields is None:
            self._fields = fields_of(self.get_connection(self.conn_id))
            for secret in self._fields.secrets():
                mask(secret)
            self._warn_of_unknown(self._fields)
        return self._fields

    async def afields(self) -> ConnectionFields:
        """The connection, looked up once in `LOOKUP_SECONDS` for all tasks of the event loop."""
        from sluice_provider.hooks.shared import LOOKUP_SECONDS, Lookup, loop_state
        from sluice_provider.http.event_loop import shared_task

        lookups, key = loop_state().lookups, (type(self), self.conn_id)
        found = lookups.get(key)
        if found is None or time.monotonic() >= found.expires_at:
            expires_at = time.monotonic() + LOOKUP_SECONDS
            found = lookups[key] = Lookup(shared_task(self._look_up_connection()), expires_at)
        try:
            return await asyncio.shield(found.fields)
        except Exception:
            if lookups.get(key) is found:
                del lookups[key]
            raise

    def forget_connection(self) -> None:
        """Look the connection up again when it is needed next on this event loop: its credentials may have changed."""
        from sluice_provider.hooks.shared import loop_state

        loop_state().lookups.pop((type(self), self.conn_id), None)

    async def _look_up_connection(self) -> ConnectionFields:
        from sluice_provider.hooks.shared import loop_state

        fields = fields_of(await self.aget_connection(self.conn_id))
        masked = loop_state().masked
        for secret in fields.secrets():
            digest = hashlib.sha256(secret.encode()).digest()
            if digest not in masked:
                await asyncio.to_thread(mask, secret)
                masked.add(digest)
        self._warn_of_unknown(fields)
        return fields

    def _unknown_fields(self, fields: ConnectionFields) -> list[str]:
        return fields.unknown(self.declared) if self.declared else []

    def _warn_of_unknown(self, fields: ConnectionFields) -> None:
        """Once per process. Not an error: Airflow allows any key in Extra, and secrets backends and other tools add
        their own; an ignored field never weakens TLS verification, which is on by default."""
        for warning in self._unknown_fields(fields):
            if warning not in _warned:
                _warned.add(warning)
                log.warning("%s: %s", self.hook_name, warning)

    def test_connection(self) -> tuple[bool, str]:
        """For the button in the Airflow UI: what was found, or what is wrong. Without retries, as somebody waits."""
        from sluice_provider.http.polling import one_attempt, request_limit

        try:
            self._check_stored_secrets()
            found = self.run(request_limit(one_attempt(self.ping()), TEST_SECONDS))
            return True, " ".join([found, *(f"Warning: {each}" for each in self._unknown_fields(self.fields()))])
        except SluiceError as error:
            return False, f"{type(error).__name__}: {error}"
        finally:
            self.close()

    def _check_stored_secrets(self) -> None:
        """Before a test for the Airflow UI.

        :raises InvalidConnection: secrets of the stored connection would be sent elsewhere, or in another way
        """
        from sluice_provider.hooks.connection_form import POSTED_FORM, check_stored_secrets, connection_id

        form = POSTED_FORM.get()
        if form is None or not self.declared:
            return
        try:
            stored = fields_of(self.get_connection(connection_id(form)))
        except compat.AirflowNotFoundException:
            return
        check_stored_secrets(form, self.fields(), stored, self.declared)


def fields_of(conn: Connection) -> ConnectionFields:
    """:raises InvalidConnection: its extra is not a JSON object"""
    from sluice_provider.http.client_config import ConnectionFields

    try:
        extra = json.loads(conn.extra) if conn.extra else {}
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise InvalidConnection(f"connection {conn.conn_id!r}: Extra is not a JSON object")
    return ConnectionFields(conn.conn_id, conn.host, conn.port or None, conn.login, conn.password, extra)


def mask(secret: str) -> None:
    """Mask a secret in all logs of this process and of its supervisor."""
    compat.mask_secret(secret)


def hook_for(service: str, conn_id: str, locator: Locator = NO_LOCATOR) -> SluiceHook:
    """The hook of a service by its name: the only place that finds classes by name.

    :raises InvalidInput: for a name that this version does not know
    """
    from importlib import import_module

    known = BY_NAME.get(service)
    if known is None:
        raise InvalidInput(f"there is no service {service!r}; this version knows {', '.join(BY_NAME)}")
    module, _, name = known.hook_path.rpartition(".")
    hook = cast("type[SluiceHook]", getattr(import_module(module), name))
    return hook.for_job(conn_id or known.default_conn_id, locator)
