"""Which registrations a watcher reports now: new ones once, and unanswered ones again.

A watcher polls the list of registrations. It reports each one that waits for results once, and again if it stays
unchanged for a while, because Airflow may have dropped the event: an asset event can stay queued until the next one
comes, or be skipped for good (apache/airflow#54659). A change of the status or of `updated_at` shows that somebody
works on it and restarts the interval, so a DAG that runs for long should push a status now and then. Finished
registrations are forgotten, so what is remembered is never longer than the list of open ones, or `MAX_TRACKED`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sluice_provider.webhooks.kaleidoscope import Registration

MAX_TRACKED = 1000
"""Open registrations that are remembered, the newest first, so that old ones without a result do not block new ones.
The others were reported when they were new, unless too many came at once; they are reported when there is room."""

MAX_BATCH = 200
"""Registrations in one event. The others are reported after the next poll."""

MAX_DOUBLINGS = 5
"""Each repetition waits twice as long as the one before, up to this."""

VERSION = 1


class Delivery(NamedTuple):
    """The last report of one registration.

    :param revision: hash of the registration's revision at that time
    :param at: Unix time in seconds
    :param repeats: how often it was reported again
    """

    revision: str
    at: float
    repeats: int = 0


Deliveries = dict[str, Delivery]


class RedeliveryTracker:
    """What one watcher has reported. A report counts once it is acknowledged; until then it is in flight.

    :param repeat_after: seconds until an unchanged registration is reported again
    """

    def __init__(self, conn_id: str, repeat_after: float) -> None:
        self._conn_id = conn_id
        self._repeat_after = repeat_after
        self._delivered: dict[str, Deliveries] = {}
        self._in_flight: Deliveries = {}
        self.over_capacity = 0
        """Open registrations that are not tracked at the moment."""

    # --- one poll

    def due(self, listed: Mapping[str, Iterable[Registration]], now: float) -> list[Registration]:
        """What to report now.

        :param listed: all registrations by operation, without the operations that could not be listed
        """
        open_ones = self._tracked(listed)
        for operation_id in listed:
            known = self._delivered.get(operation_id, {})
            self._delivered[operation_id] = {key: value for key, value in known.items() if key in open_ones}
        found = []
        for key, each in open_ones.items():
            deliveries = self._delivered[each.operation_id]
            if key in deliveries and deliveries[key].revision != _hash(each.revision):
                deliveries[key] = Delivery(_hash(each.revision), now)
            elif key in deliveries and deliveries[key].at > now:  # the clock was wrong, then or now
                deliveries[key] = deliveries[key]._replace(at=now)
            if key not in self._in_flight and self._is_due(deliveries.get(key), now):
                found.append(each)
        return found[:MAX_BATCH]

    def _tracked(self, listed: Mapping[str, Iterable[Registration]]) -> dict[str, Registration]:
        """The newest open registrations, oldest first, that fit beside those of operations that were not listed."""
        open_ones = [each for registrations in listed.values() for each in registrations if not each.finished]
        open_ones.sort(key=lambda each: (each.created_at, each.id))
        elsewhere = sum(len(known) for operation_id, known in self._delivered.items() if operation_id not in listed)
        self.over_capacity = max(0, len(open_ones) - max(0, MAX_TRACKED - elsewhere))
        return {self._key(each): each for each in open_ones[self.over_capacity :]}

    def _is_due(self, last: Delivery | None, now: float) -> bool:
        return last is None or now - last.at >= self._repeat_after * 2.0 ** min(last.repeats, MAX_DOUBLINGS)

    def _key(self, registration: Registration) -> str:
        """Half of the event id: enough to tell a few of them apart."""
        return registration.event_id(self._conn_id)[:16]

    # --- one report

    def mark_in_flight(self, registrations: Iterable[Registration], now: float) -> None:
        """These are being reported."""
        for each in registrations:
            last = self._delivered.get(each.operation_id, {}).get(self._key(each))
            self._in_flight[self._key(each)] = Delivery(_hash(each.revision), now, last.repeats + 1 if last else 0)

    def acknowledge(self, registrations: Iterable[Registration], *, delivered: bool) -> None:
        """The report was stored, or was not and must be repeated."""
        for each in registrations:
            delivery = self._in_flight.pop(self._key(each), None)
            if delivery is not None and delivered:
                self._delivered.setdefault(each.operation_id, {})[self._key(each)] = delivery

    # --- across restarts

    def to_json(self, operation_id: str) -> dict[str, Any]:
        """What was reported of an operation."""
        deliveries = self._delivered.get(operation_id, {})
        return {"version": VERSION, "delivered": {key: list(value) for key, value in deliveries.items()}}

    def restore(self, operation_id: str, data: Any) -> None:
        """Continue from what `to_json` returned. Entries that cannot be read count as not reported."""
        stored = data.get("delivered") if isinstance(data, dict) and data.get("version") == VERSION else None
        if isinstance(stored, dict):
            self._delivered[operation_id] = {
                key: Delivery(*value) for key, value in stored.items() if _is_delivery(value)
            }


def _is_delivery(data: Any) -> bool:
    """Users can edit the state store."""
    valid = isinstance(data, list) and len(data) == len(Delivery._fields)
    return valid and isinstance(data[0], str) and type(data[1]) in (int, float) and type(data[2]) is int


def _hash(revision: str) -> str:
    return hashlib.sha256(revision.encode()).hexdigest()[:8]
