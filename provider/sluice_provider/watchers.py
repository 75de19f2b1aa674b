"""Event triggers for `AssetWatcher`: what happens on a remote schedules a DAG, without anybody having to send webhooks.

All watchers of one connection share one stream of looks (Airflow 3.3: a shared stream in ack mode), each with a memory
of its own in the state store of its asset. A telling is written into that memory only after Airflow has stored it, so
a triggerer that dies tells some things twice, with the same identity, and never loses one.

One look gives one event of the asset at the most, with everything that is new in it, because Airflow may join or
strand asset events that follow each other quickly; `webhooks/telling.py` says how what was stranded is told again.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Hashable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from sluice_provider.compat import (
    AirflowException,
    AirflowRuntimeError,
    BaseEventTrigger,
    TriggerEvent,
    asset_state_store,
)
from sluice_provider.errors import InvalidInput, SluiceError
from sluice_provider.hooks.kaleidoscope import KaleidoscopeHook
from sluice_provider.webhooks.kaleidoscope import (
    EVENTS,
    SUBMITTED,
    Registered,
    registered_drafts,
    registered_files,
)
from sluice_provider.webhooks.redelivery import Teller

if TYPE_CHECKING:
    from sluice_provider.compat import SharedStreamProducer

log = logging.getLogger(__name__)

CURSOR = "sluice_told_"
"""Key in the asset's state store; connection and operation follow, so that two watchers of an asset have their own."""

SHORTEST = 1.0
"""Seconds between two looks at the least."""


class KaleidoscopeRegistrationTrigger(BaseEventTrigger):
    """Reports registrations and submissions that wait for results.

    The payload of an event is `{"events": [...]}`, as `sluice_provider.events.events` reads it.

    :param operation_ids: which operations to poll
    :param kaleidoscope_conn_id: Airflow connection id
    :param poll_interval: seconds between two polls
    :param repeat_after: seconds after which a registration that nobody works on is reported again; doubled each time,
        five times
    :param event_types: only these types of events; all of them if left out
    """

    def __init__(
        self,
        operation_ids: Sequence[str],
        kaleidoscope_conn_id: str = KaleidoscopeHook.default_conn_name,
        poll_interval: float = 30.0,
        repeat_after: float = 300.0,
        event_types: Sequence[str] = EVENTS,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if (
            isinstance(operation_ids, str)
            or not operation_ids
            or not all(isinstance(i, str) and i for i in operation_ids)
        ):
            raise InvalidInput(f"operation_ids must be a list of ids, not {operation_ids!r:.100}")
        if strange := [each for each in event_types if each not in EVENTS] or not event_types:
            raise InvalidInput(f"event_types must be some of {', '.join(EVENTS)}, not {strange}")
        if poll_interval < SHORTEST or repeat_after < poll_interval:
            raise InvalidInput(f"poll_interval must be {SHORTEST:.0f} s or more, and repeat_after no less than that")
        self.operation_ids = list(dict.fromkeys(operation_ids))
        self.kaleidoscope_conn_id = kaleidoscope_conn_id
        self.poll_interval = poll_interval
        self.repeat_after = repeat_after
        self.event_types = list(event_types)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            "sluice_provider.watchers.KaleidoscopeRegistrationTrigger",
            {
                "operation_ids": self.operation_ids,
                "kaleidoscope_conn_id": self.kaleidoscope_conn_id,
                "poll_interval": self.poll_interval,
                "repeat_after": self.repeat_after,
                "event_types": self.event_types,
            },
        )

    def shared_stream_key(self) -> Hashable:
        return ("sluice_provider.watchers", "kaleidoscope", self.kaleidoscope_conn_id)

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedStreamProducer:
        """Of `kwargs` only what is in the key counts: the rest may be any watcher's."""
        conn_id = kwargs["kaleidoscope_conn_id"]
        return _producer(conn_id, _SUBSCRIBED.setdefault(conn_id, {}))

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """What is told to this watcher, out of all that is told."""
        me = Subscription(self)
        subscribed = _SUBSCRIBED.setdefault(self.kaleidoscope_conn_id, {})
        mine = next(_NUMBERS)
        subscribed[mine] = me
        try:
            async for whose, payload in shared_stream:
                if whose == mine:
                    yield TriggerEvent(payload)
        finally:
            del subscribed[mine]

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Before Airflow 3.3 there are no shared streams and no store: after a restart all that waits is told again."""
        me = Subscription(self)
        while True:
            if due := me.due(await looks(self.kaleidoscope_conn_id, me.places())):
                yield TriggerEvent(me.payload(due))
                me.teller.settle(due, well=True)
            await asyncio.sleep(self.poll_interval)


class Place(NamedTuple):
    """Where one look goes: to the files of an operation, or to its submissions of drafts."""

    operation_id: str
    drafts: bool


class Subscription:
    """One watcher: what it wants to know, and what it was told."""

    def __init__(self, trigger: KaleidoscopeRegistrationTrigger) -> None:
        self._trigger = trigger
        self._store = asset_state_store(trigger)
        self._recalled = False
        self.teller = Teller(trigger.kaleidoscope_conn_id, trigger.repeat_after)
        self.poll_interval = trigger.poll_interval

    def places(self) -> list[Place]:
        files, drafts = SUBMITTED in self._trigger.event_types, set(self._trigger.event_types) != {SUBMITTED}
        kinds = [kind for kind, wanted in ((False, files), (True, drafts)) if wanted]
        return [Place(operation_id, kind) for operation_id in self._trigger.operation_ids for kind in kinds]

    def due(self, seen: Mapping[Place, Sequence[Registered]]) -> list[Registered]:
        """What to tell this watcher now; it counts as being told from now on."""
        mine: dict[str, list[Registered]] = {}
        for operation_id in self._trigger.operation_ids:
            places = [place for place in self.places() if place.operation_id == operation_id]
            if all(place in seen for place in places):
                listed = [each for place in places for each in seen[place]]
                mine[operation_id] = [each for each in listed if each.event in self._trigger.event_types]
        now = time.time()
        due = self.teller.due(mine, now)
        self.teller.begin(due, now)
        if self.teller.too_many:
            log.warning("%d registrations must wait until some that wait for results get them", self.teller.too_many)
        return due

    def payload(self, due: Iterable[Registered]) -> dict[str, Any]:
        at = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return {"events": [each.to_event(self._trigger.kaleidoscope_conn_id, at) for each in due]}

    async def recall(self) -> bool:
        """Read the memory, once. Until that has worked, nothing is told."""
        if self._recalled or self._store is None:
            return True
        try:
            for operation_id in self._trigger.operation_ids:
                self.teller.recall(operation_id, await self._store.aget(self._key(operation_id)))
        except ValueError as error:  # more than one asset has this very watcher
            log.warning("This watcher forgets at a restart what it has told, and tells it again: %s", error)
            self._store = None
        except AirflowRuntimeError as error:
            log.warning("Could not read what was told before: %s", error)
            return False
        self._recalled = True
        return True

    async def remember(self, told: Iterable[Registered]) -> None:
        """Write the memory of the operations to which these belong."""
        if self._store is None:
            return
        try:
            for operation_id in {each.operation_id for each in told}:
                await self._store.aset(self._key(operation_id), self.teller.to_json(operation_id))
        except AirflowRuntimeError as error:
            log.warning("After a restart something will be told again, as the memory could not be written: %s", error)

    def _key(self, operation_id: str) -> str:
        return f"{CURSOR}{self._trigger.kaleidoscope_conn_id}_{operation_id}"


_SUBSCRIBED: dict[str, dict[int, Subscription]] = {}
"""The watchers of this triggerer by connection: a producer is told its connection, and not whom it works for."""

_NUMBERS = itertools.count()
"""Of subscriptions, none twice: what was yielded for one that is gone is nobody else's."""

FORESEEN = (SluiceError, AirflowException, AirflowRuntimeError)


async def looks(conn_id: str, places: Iterable[Place]) -> dict[Place, list[Registered]]:
    """What is registered, place by place. Where a look fails nothing is known, and the next round looks again."""
    hook = KaleidoscopeHook(conn_id)
    seen = {}
    for place in dict.fromkeys(places):
        try:
            if place.drafts:
                listed = await hook.get_registration_submissions.aio(place.operation_id)
                seen[place] = registered_drafts(place.operation_id, listed)
            else:
                listed = await hook.get_registration_files.aio(place.operation_id)
                seen[place] = registered_files(place.operation_id, listed)
        except Exception as error:  # noqa: BLE001 - Airflow's: no such connection; and what nobody has foreseen
            level = logging.ERROR if not getattr(error, "retryable", False) else logging.WARNING
            why = f": {error}" if isinstance(error, FORESEEN) else ""  # the text of others may hold a secret
            log.log(level, "Could not look at operation %s: %s%s", place.operation_id, type(error).__name__, why)
    return seen


def _producer(conn_id: str, subscribed: Mapping[int, Subscription]) -> SharedStreamProducer:
    """One stream of looks for all watchers of a connection; made here, as Airflow before 3.3 has no such class."""
    from sluice_provider.compat import AdvanceItem, SharedStreamProducer

    class Producer(SharedStreamProducer):
        async def open_stream(self) -> AsyncIterator[tuple[Any, Any]]:
            while True:
                ready = {key: me for key, me in list(subscribed.items()) if await me.recall()}
                seen = await looks(conn_id, [place for me in ready.values() for place in me.places()])
                for key, me in ready.items():
                    if due := me.due(seen):
                        yield (key, me.payload(due)), (key, due)
                await asyncio.sleep(min((me.poll_interval for me in subscribed.values()), default=SHORTEST / 10))

        def get_advance_lane(self, broker_payload: Any) -> Hashable:
            return int(broker_payload[0])  # one watcher does not wait for another

        async def advance(self, batch: Sequence[AdvanceItem]) -> None:
            me = subscribed.get(batch[-1].broker_payload[0])
            if me is None:
                return
            for item in batch:
                me.teller.settle(item.broker_payload[1], well=item.outcome.is_clean)
            await me.remember(each for item in batch for each in item.broker_payload[1])

    return Producer()
