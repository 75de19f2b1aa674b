"""A world for simulations: one service of the sandbox, the network to it, and the time, all in this process.

    with World.clock_in_force():
        world = World("kaleidoscope", seed=7, job_seconds=30.0)
        import_id = world.run(kaleidoscope.push_by_field_name(["symbol"], [{"symbol": "H"}]))
        world.advance(60)
        world.jobs()

Nothing here opens a socket, starts a thread or sleeps, and with the same seed everything happens in the same way. There
is one world at a time: a new one takes the place of the one before.
"""

from __future__ import annotations

import heapq
import random
import sys
import time
import uuid
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from unittest import mock

import httpx

from sluice_provider.errors import SluiceError
from sluice_provider.hooks.base import hook_for
from sluice_provider.http import auth
from sluice_provider.http import drivers as drive
from sluice_provider.http.client_config import ConnectionFields
from sluice_provider.http.flow import Flow, Gather, Request, Response, Sleep
from sluice_provider.http.network import configure_client
from sluice_sandbox.context import Context
from sluice_sandbox.finspace.service import FinSpace
from sluice_sandbox.kaleidoscope.service import Kaleidoscope
from sluice_sandbox.kili.service import Kili
from sluice_sandbox.liquid_decisions.service import LiquidDecisions
from sluice_sandbox.service import Address
from tests.simulation import ledger
from tests.simulation.memory import MemoryBucket, MemoryFolders
from tests.simulation.service import Answer, Arrival, Client, Service, answer_of, arrival_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from sluice_provider.hooks.base import SluiceHook
    from sluice_provider.http.flow import Blocking
    from sluice_sandbox.service import MockService
    from sluice_sandbox.settings import Settings

T = TypeVar("T")

START = 1_780_000_000.0
"""When every world starts: 2026-05-28 20:26:40 UTC."""

SERVICES: dict[str, Callable[[Context], MockService]] = {
    "kaleidoscope": Kaleidoscope,
    "kili": lambda context: Kili(context, MemoryBucket),
    "liquid_decisions": LiquidDecisions,
    "finspace": lambda context: FinSpace(context, MemoryFolders()),
}


# --- what may befall a request


class Fate(NamedTuple):
    """What becomes of one request.

    :param name: for the log
    :param arrives: seconds after which the service does the work: 0 now, None never
    :param error: what httpx raises instead of an answer
    :param words: httpx's words for it
    :param status: answered instead of what the service says; 429 in the service's own form
    :param retry_after: seconds that a 429 asks for
    :param waited: seconds of virtual time that pass for the sender before it sees the outcome
    """

    name: str
    arrives: float | None = 0.0
    error: type[httpx.RequestError] | None = None
    words: str = ""
    status: int = 0
    retry_after: int = 1
    waited: float = 0.0

    def after(self, seconds: float) -> Fate:
        """The same, seen by the sender only after so many seconds, in which late requests may land."""
        return self._replace(waited=seconds)

    def __str__(self) -> str:
        return self.name


OK = Fate("ok")
REFUSED = Fate("refused", None, httpx.ConnectError, "[Errno 111] Connection refused")
LOST_BEFORE = Fate("lost before", None, httpx.ReadTimeout, "The read operation timed out")
LOST_AFTER = Fate("lost after", 0.0, httpx.RemoteProtocolError, "Server disconnected without sending a response.")


def late(seconds: float) -> Fate:
    """The request lands so many seconds from now; the sender has given up by then."""
    return Fate(f"late {seconds:g}", seconds, httpx.ReadTimeout, "The read operation timed out")


def status(code: int, *, done: bool = False) -> Fate:
    """Answered by something in front of the service: before the work, or after it was done."""
    return Fate(f"status {code} {'after' if done else 'before'} the work", 0.0 if done else None, status=code)


def throttled(retry_after: int = 1) -> Fate:
    """429 with Retry-After."""
    return Fate(f"throttled {retry_after}", None, status=429, retry_after=retry_after)


class Exchange(NamedTuple):
    """One request in the log of a world; `status` is 0 where no answer was given."""

    at: float
    call: str
    fate: str
    status: int

    def __str__(self) -> str:
        return f"{self.at - START:9.1f} s  {self.call}: {self.fate}, {self.status or 'no answer'}"


# --- the world


class World:
    """One service, as at its start, at `START`.

    :param service: `kaleidoscope`, `kili`, `liquid_decisions` or `finspace`
    :param seed: of the service's ids, and of what the provider draws: jitter and client tokens
    :param settings: of the sandbox, as `job_seconds`
    """

    def __init__(self, service: str, seed: int | str = 0, **settings: Any) -> None:
        if not _in_force:
            raise RuntimeError("a World needs World.clock_in_force() around it")
        global _current
        _current = self
        self.service = service
        self.now = START
        self.wall_error = 0.0  # by how much the wall clock of the provider's machines is wrong
        self.random = random.Random(seed)
        self.log: list[Exchange] = []
        self._late: list[tuple[float, int, str, Arrival]] = []
        self._numbers = count()
        self._fate = OK
        self._call: Request | None = None
        self._place = _place(service)
        self._place.begin(seed, settings)

    # -- time

    def advance(self, seconds: float) -> None:
        """Time passes, and late requests land."""
        until = self.now + seconds
        while self._late and self._late[0][0] <= until:
            at, _, name, arrival = heapq.heappop(self._late)
            self.now = max(self.now, at)
            self._note(name, "landed late", self._place.service.answer(arrival).status)
        self.now = until

    @property
    def next_landing(self) -> float | None:
        """When the next late request lands, if there is one."""
        return self._late[0][0] if self._late else None

    @staticmethod
    def clock_in_force(*modules: ModuleType) -> Any:
        """All code of the provider that is loaded by now reads the time of the current world, and draws from its seed.

        :param modules: others that shall, too
        """
        return _clock_in_force(modules)

    # -- requests

    def exchange(self, call: Request, fate: Fate = OK) -> Response:
        """Make one call as a driver does.

        :raises SluiceError: nobody answered, or the credentials are no good
        """
        if _current is not self:
            raise RuntimeError("another World has taken the place of this one")
        self._fate, self._call = fate, call
        try:
            return drive._send(self._place.client, call)
        except httpx.RequestError as error:
            raise drive._unreachable(call, error) from None
        finally:
            self._fate, self._call = OK, None

    def do(self, step: Request | Sleep | Blocking, fate: Fate = OK) -> Any:
        """Do one step of a flow. Gives what the flow is to be resumed with: an outcome, or an error to be thrown."""
        try:
            if isinstance(step, Request):
                return self.exchange(step, fate)
            if isinstance(step, Sleep):
                return self.advance(step.seconds)
            return step.do()
        except SluiceError as error:
            return error

    def run(self, flow: Flow[T], fate: Callable[[Request], Fate] = lambda _call: OK) -> T:
        """Run a flow to its end; its pauses take virtual time."""
        answer: Any = None
        try:
            while True:
                step = flow.throw(answer) if isinstance(answer, SluiceError) else flow.send(answer)
                assert not isinstance(step, Gather), "several at a time are for `Simulation`"
                answer = self.do(step, fate(step) if isinstance(step, Request) else OK)
        except StopIteration as end:
            return end.value

    def _send(self, request: httpx.Request) -> httpx.Response:
        """The network. Requests for tokens never fail."""
        if drive.TOKEN_REQUEST in request.extensions:
            return _response(self._place.service.answer(arrival_of(request)))
        fate, name = self._fate, str(self._call or f"{request.method} {request.url.path}")
        answer = self._befall(request, fate, name)
        self._note(name, fate.name, 0 if fate.error or answer is None else answer.status)
        if fate.waited:
            self.advance(fate.waited)
        if fate.error or answer is None:
            assert fate.error, f"{fate}: neither an answer nor an error"
            raise fate.error(fate.words, request=request)
        return _response(answer)

    def _befall(self, request: httpx.Request, fate: Fate, name: str) -> Answer | None:
        """The service's part, and what is answered."""
        answer = None
        if fate.error is not httpx.ConnectError:
            arrival = arrival_of(request)
            if fate.arrives == 0.0:
                answer = self._place.service.answer(arrival)
            elif fate.arrives is not None:
                heapq.heappush(self._late, (self.now + fate.arrives, next(self._numbers), name, arrival))
        if fate.status == 429:
            return answer_of(self._place.mock_service.rate_limited_response(fate.retry_after), {"type": "http"})
        return Answer(fate.status, [(b"content-type", b"text/plain")], b"") if fate.status else answer

    def _note(self, name: str, fate: str, code: int) -> None:
        self.log.append(Exchange(self.now, name, fate, code))

    # -- what the service knows

    @property
    def mock_service(self) -> MockService:
        """The service itself, for what has no method here."""
        return self._place.mock_service

    @property
    def settings(self) -> Settings:
        """Of the sandbox; each may be set at any time."""
        return self._place.context.settings

    @property
    def hook(self) -> SluiceHook:
        """The provider's hook, whose blocking calls go through this world; nothing befalls them."""
        return self._place.hook

    @property
    def fields(self) -> ConnectionFields:
        """The connection that leads to the service."""
        return self._place.fields

    def jobs(self) -> list[ledger.ServiceJob]:
        """All jobs of the service, in the order in which they were submitted."""
        return ledger.jobs(self.mock_service)

    def pushes(self) -> dict[tuple[str, ...], int]:
        """Kaleidoscope: how often each record was written, by the values of its key."""
        return ledger.pushes(self.mock_service)

    def registrations(self) -> list[ledger.ServiceRegistration]:
        """Kaleidoscope: registrations and submissions."""
        return ledger.registrations(self.mock_service)

    def drafts(self) -> list[ledger.ServiceDraft]:
        """Kaleidoscope: all drafts there ever were."""
        return ledger.drafts(self.mock_service)

    def connections(self) -> list[ledger.ServiceConnection]:
        """Kili: all connections."""
        return ledger.connections(self.mock_service)

    def items(self) -> dict[tuple[str, str], int]:
        """Liquid Decisions: how often each item arrived, by its type and key."""
        return ledger.items(self.mock_service)

    def files(self) -> dict[tuple[str, str], int]:
        """FinSpace: the sizes of all files, by database and path."""
        return ledger.files(self.mock_service)

    def everything(self) -> tuple[Any, ...]:
        """All that the service knows, to be compared as a whole."""
        return ledger.everything(self.mock_service)


def _response(answer: Answer) -> httpx.Response:
    return httpx.Response(answer.status, headers=answer.headers, content=answer.body)


class _Place:
    """What all worlds of one service share: the sandbox, which is reset for each, and the provider's client."""

    def __init__(self, service: str) -> None:
        self.context = Context(_time, seed=0)
        self.mock_service = SERVICES[service](self.context)
        self.service = Service(self.mock_service)
        conn_id, connection = self.mock_service.connection(Address("127.0.0.1", 80))
        named = {name: connection.get(name) for name in ("host", "port", "login", "password")}
        self.fields = ConnectionFields(conn_id, **named, extra=connection.get("extra", {}))
        self.hook = hook_for(service, conn_id)
        # Airflow searches every log line for each secret it masks, and here are many tokens.
        with mock.patch.object(sys.modules[type(self.hook).__module__], "mask", _unmasked, create=True):
            place = self.hook.client_config(self.fields)
            options = {**place.options(), "auth": self.hook.auth(self.fields, place)}
        self.client = Client(lambda request: _world()._send(request), options)
        configure_client(self.client, place.result_hosts, place.limits)
        self.hook.fields = lambda: self.fields  # type: ignore[method-assign]
        self.hook.get_conn = lambda: self.client  # type: ignore[method-assign]

    def begin(self, seed: int | str, settings: dict[str, Any]) -> None:
        """As at the start."""
        auth.clear_token_caches()
        self.hook.sleep = _sleep
        self.context.ids.seed(seed)
        self.context.reset()
        if settings:
            self.context.settings.change(settings)
        self.mock_service.reset()


def _unmasked(_secret: str) -> None:
    """Keeps it no secret."""


@cache
def _place(service: str) -> _Place:
    return _Place(service)


# --- time and chance, as the provider's code finds them

_current: World | None = None
_in_force = False
_BUT = ("sluice_sandbox", "sluice_provider.hooks.finspace")
"""The sandbox has a clock of its own; AWS credentials are read again every minute, which takes long."""


def _world() -> World:
    assert _current is not None, "there is no World yet"
    return _current


def _sleep(seconds: float) -> None:
    _world().advance(seconds)


def _wall_time() -> float:
    """What the provider's machines take for the time of day."""
    return START if _current is None else _current.now + _current.wall_error


def _time() -> float:
    return START if _current is None else _current.now


class _Instead:
    """A module, but for some of its functions."""

    def __init__(self, module: ModuleType, **functions: Any) -> None:
        self.__dict__.update(functions)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class _Random:
    """The module `random`, drawing from the current world's seed."""

    def __getattr__(self, name: str) -> Any:
        return getattr(_world().random, name) if hasattr(random.Random, name) else getattr(random, name)


def _uuid4() -> uuid.UUID:
    return uuid.UUID(int=_world().random.getrandbits(128), version=4)


def _datetime(remove_tzinfo: bool = True) -> Any:
    """botocore's own way to read the clock."""
    from datetime import datetime, timezone

    now = datetime.fromtimestamp(_time(), timezone.utc)
    return now.replace(tzinfo=None) if remove_tzinfo else now


@contextmanager
def _clock_in_force(modules: tuple[ModuleType, ...]) -> Iterator[None]:
    import botocore.auth

    global _in_force
    instead: list[tuple[ModuleType, Any]] = [
        (time, _Instead(time, time=_wall_time, monotonic=_time, sleep=_sleep)),
        (random, _Random()),
        (uuid, _Instead(uuid, uuid4=_uuid4)),
    ]
    ours = [module for name, module in sys.modules.items() if name.startswith("sluice_provider.")]
    ours = [module for module in ours if not module.__name__.startswith(_BUT)]
    with ExitStack() as stack:
        for module in (*ours, *modules):
            for real, stand_in in instead:
                if vars(module).get(real.__name__) is real:
                    stack.enter_context(mock.patch.object(module, real.__name__, stand_in))
        stack.enter_context(mock.patch.object(botocore.auth, "get_current_datetime", _datetime))
        stack.enter_context(mock.patch.object(sys.modules[__name__], "_in_force", True))
        yield
