"""Event triggers for `AssetWatcher`: schedule DAGs on events in a service by polling it, where it cannot send webhooks.

All watchers of one connection share one polling loop (Airflow 3.3: a shared stream in ack mode), and each keeps what it
has reported in the state store of its asset. A report is written there only after Airflow has stored the event, so a
triggerer that dies repeats some events, with the same ids, and never loses one.

One poll fires at most one event per watcher, with all new registrations in it, because Airflow may merge or drop asset
events that follow each other quickly; `webhooks/redelivery.py` describes how those are reported again.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Hashable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from sluice_provider.compat import (
    AirflowException,
    AirflowRuntimeError,
    BaseEventTrigger,
    TriggerEvent,
    asset_state_store,
)
from sluice_provider.errors import InvalidInput, SluiceError
from sluice_provider.hooks.kaleidoscope import KaleidoscopeHook
from sluice_provider.webhooks.kaleidoscope import EVENTS, SUBMITTED, Registration, RegistrationEvent, RegistrationList
from sluice_provider.webhooks.redelivery import RedeliveryTracker

if TYPE_CHECKING:
    from sluice_provider.compat import SharedStreamProducer

log = logging.getLogger(__name__)

STATE_KEY = "sluice_delivered_"
"""Key in the asset's state store, followed by connection and operation: two watchers of one asset have their own."""

MIN_POLL_INTERVAL = 1.0
"""Seconds."""


class KaleidoscopeRegistrationTrigger(BaseEventTrigger):
    """Reports registrations and submissions of drafts that wait for results.

    The payload of an event is `{"events": [...]}`; read it with `sluice_provider.events.events`.

    :param operation_ids: which operations to poll
    :param kaleidoscope_conn_id: Airflow connection id
    :param poll_interval: seconds between two polls
    :param repeat_after: seconds after which a registration without a change is reported again; doubled each time,
        five times
    :param event_types: only events of these types; default: all
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
            or not all(isinstance(each, str) and each for each in operation_ids)
        ):
            raise InvalidInput(f"operation_ids must be a list of ids with at least one id, not {operation_ids!r:.100}")
        if (unknown := [each for each in event_types if each not in EVENTS]) or not event_types:
            raise InvalidInput(f"event_types must be one or more of {', '.join(EVENTS)}, not {unknown}")
        if poll_interval < MIN_POLL_INTERVAL:
            raise InvalidInput(f"poll_interval must be at least {MIN_POLL_INTERVAL:g} s, not {poll_interval:g}")
        if repeat_after < poll_interval:
            raise InvalidInput(
                f"repeat_after must be at least poll_interval ({poll_interval:g} s), not {repeat_after:g}"
            )
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
        """Only what is in the stream's key may be read from `kwargs`: the rest may be any watcher's."""
        conn_id = kwargs["kaleidoscope_conn_id"]
        return _make_producer(conn_id, _SUBSCRIPTIONS.setdefault(conn_id, {}))

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """The events for this watcher out of those of all watchers of the connection."""
        subscriptions = _SUBSCRIPTIONS.setdefault(self.kaleidoscope_conn_id, {})
        number = next(_NUMBERS)
        subscriptions[number] = Subscription(self)
        try:
            async for subscriber, payload in shared_stream:
                if subscriber == number:
                    yield TriggerEvent(payload)
        finally:
            del subscriptions[number]

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Before Airflow 3.3, without shared streams and state stores: a restart reports everything again."""
        subscription = Subscription(self)
        while True:
            listed = await list_registrations(self.kaleidoscope_conn_id, subscription.lists())
            if due := subscription.due(listed):
                yield TriggerEvent(subscription.payload(due))
                subscription.tracker.acknowledge(due, delivered=True)
            await asyncio.sleep(self.poll_interval)


class Subscription:
    """One watcher: which events it reports, and which it has reported."""

    def __init__(self, trigger: KaleidoscopeRegistrationTrigger) -> None:
        self._trigger = trigger
        self._conn_id = trigger.kaleidoscope_conn_id
        self._store = asset_state_store(trigger)
        self._restored = False
        self.tracker = RedeliveryTracker(self._conn_id, trigger.repeat_after)
        self.poll_interval = trigger.poll_interval

    def lists(self) -> list[RegistrationList]:
        """What this watcher has to poll."""
        return [each for operation_id in self._trigger.operation_ids for each in self._lists_of(operation_id)]

    def _lists_of(self, operation_id: str) -> list[RegistrationList]:
        types = set(self._trigger.event_types)
        needed = {False: SUBMITTED in types, True: types != {SUBMITTED}}
        return [RegistrationList(operation_id, drafts) for drafts, wanted in needed.items() if wanted]

    def due(self, listed: Mapping[RegistrationList, Sequence[Registration]]) -> list[Registration]:
        """What this watcher reports now. It is in flight from now on."""
        by_operation: dict[str, list[Registration]] = {}
        for operation_id in self._trigger.operation_ids:
            lists = self._lists_of(operation_id)
            if all(each in listed for each in lists):
                found = itertools.chain.from_iterable(listed[each] for each in lists)
                by_operation[operation_id] = [each for each in found if each.event in self._trigger.event_types]
        now = time.time()
        due = self.tracker.due(by_operation, now)
        self.tracker.mark_in_flight(due, now)
        if self.tracker.over_capacity:
            log.warning(
                "Connection %r: too many registrations wait for results; the oldest %d are reported once others have "
                "their results",
                self._conn_id,
                self.tracker.over_capacity,
            )
        return due

    def payload(self, due: Iterable[Registration]) -> dict[str, list[RegistrationEvent]]:
        received_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return {"events": [each.to_event(self._conn_id, received_at) for each in due]}

    async def restore(self) -> bool:
        """Read what was reported before, once. Nothing is reported until that has succeeded."""
        if self._restored or self._store is None:
            return True
        try:
            for operation_id in self._trigger.operation_ids:
                self.tracker.restore(operation_id, await self._store.aget(self._key(operation_id)))
        except ValueError as error:  # several assets have this very watcher
            log.warning(
                "Connection %r: this watcher cannot store what it has reported, so after a restart of the triggerer "
                "it reports open registrations again: %s",
                self._conn_id,
                error,
            )
            self._store = None
        except AirflowRuntimeError as error:
            log.warning(
                "Connection %r: could not read from the asset's state store what was reported before; retrying at the "
                "next poll: %s",
                self._conn_id,
                error,
            )
            return False
        self._restored = True
        return True

    async def save(self, reported: Iterable[Registration]) -> None:
        """Write what was reported of the operations of these."""
        if self._store is None:
            return
        try:
            for operation_id in {each.operation_id for each in reported}:
                await self._store.aset(self._key(operation_id), self.tracker.to_json(operation_id))
        except AirflowRuntimeError as error:
            log.warning(
                "Connection %r: could not write to the asset's state store what was reported; if the triggerer "
                "restarts now, it is reported again: %s",
                self._conn_id,
                error,
            )

    def _key(self, operation_id: str) -> str:
        return f"{STATE_KEY}{self._conn_id}_{operation_id}"


_SUBSCRIPTIONS: dict[str, dict[int, Subscription]] = {}
"""The watchers of this triggerer by connection: Airflow gives a producer its connection, and not its subscribers."""

_NUMBERS = itertools.count()
"""Numbers of subscriptions, never reused: an event for one that has ended is not another one's."""


async def list_registrations(
    conn_id: str, lists: Iterable[RegistrationList]
) -> dict[RegistrationList, list[Registration]]:
    """Poll these lists. One that cannot be read is left out and logged."""
    hook = KaleidoscopeHook(conn_id)
    found = {}
    for each in dict.fromkeys(lists):
        endpoint = hook.get_registration_submissions if each.drafts else hook.get_registration_files
        try:
            found[each] = each.parse(await endpoint.aio(each.operation_id))
        except Exception as error:  # noqa: BLE001 - Airflow's own (no such connection), and unforeseen ones
            _log_failed_poll(conn_id, each.operation_id, error)
    return found


def _log_failed_poll(conn_id: str, operation_id: str, error: Exception) -> None:
    """Only the text of errors that are known to hold no secret is logged."""
    known = isinstance(error, (SluiceError, AirflowException, AirflowRuntimeError))
    transient = isinstance(error, SluiceError) and error.retryable
    log.log(
        logging.WARNING if transient else logging.ERROR,
        "Could not list the registrations of operation %s in Kaleidoscope (connection %r); retrying at the next "
        "poll: %s%s",
        operation_id,
        conn_id,
        type(error).__name__,
        f": {error}" if known else "",
    )


def _make_producer(conn_id: str, subscriptions: Mapping[int, Subscription]) -> SharedStreamProducer:
    """The polling loop for all watchers of a connection. Airflow before 3.3 has no base class for it."""
    from sluice_provider.compat import AdvanceItem, SharedStreamProducer

    class Producer(SharedStreamProducer):
        async def open_stream(self) -> AsyncIterator[tuple[Any, Any]]:
            while True:
                ready = {number: each for number, each in list(subscriptions.items()) if await each.restore()}
                listed = await list_registrations(conn_id, [every for each in ready.values() for every in each.lists()])
                for number, each in ready.items():
                    if due := each.due(listed):
                        yield (number, each.payload(due)), (number, due)
                idle = MIN_POLL_INTERVAL / 10
                await asyncio.sleep(min((each.poll_interval for each in subscriptions.values()), default=idle))

        def get_advance_lane(self, broker_payload: Any) -> Hashable:
            return int(broker_payload[0])  # watchers do not wait for each other

        async def advance(self, batch: Sequence[AdvanceItem]) -> None:
            subscription = subscriptions.get(batch[-1].broker_payload[0])
            if subscription is None:
                return
            for item in batch:
                subscription.tracker.acknowledge(item.broker_payload[1], delivered=item.outcome.is_clean)
            await subscription.save(each for item in batch for each in item.broker_payload[1])

    return Producer()
