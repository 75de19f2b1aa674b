"""What of that which waits for results is to be told now: a watcher's memory, and no more than that.

A watcher looks again and again at everything that is registered. It tells what it has not told before; and what it has
told, and what has stayed untouched since, it tells again after a while, as the telling may have gone astray: Airflow
can leave an asset event lying until the next one comes, or pass it over for good (apache/airflow#54659). A change of
the status or of `updated_at` is a sign of life and begins the while anew, so a DAG that works for long reports a
status now and then. What is over is forgotten: so the memory is as long as the list of what waits, and no longer than
`MOST`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sluice_provider.webhooks.kaleidoscope import Registered

MOST = 1000
"""So many that wait are kept in mind: the newest, as what nobody ever answers must not keep out what comes. The others
were new once, and were told then, unless so many came at once; their turn comes when some of these are over."""

AT_ONCE = 200
"""So many are told in one go. The others' turn comes at the next look."""

DOUBLINGS = 5
"""Each repetition waits twice as long as the one before, up to this."""

VERSION = 1


class Note(NamedTuple):
    """What was told of one registration.

    :param state: how it was then
    :param at: seconds since 1970
    :param times: how often it was told again
    """

    state: str
    at: float
    times: int = 0


Notes = dict[str, Note]


class Teller:
    """The memory of one watcher. A telling counts once it is `settled`; until then it is under way."""

    def __init__(self, conn_id: str, repeat_after: float) -> None:
        self._conn_id = conn_id
        self._repeat_after = repeat_after
        self._told: dict[str, Notes] = {}
        self._under_way: Notes = {}
        self.too_many = 0
        """Waiting ones that are left out at the moment."""

    # --- one look

    def due(self, seen: Mapping[str, Iterable[Registered]], now: float) -> list[Registered]:
        """What to tell now.

        :param seen: by operation, everything that it lists; without those that could not be looked at
        """
        waiting = self._waiting(seen)
        for operation_id in seen:
            known = {key: note for key, note in self._told.get(operation_id, {}).items() if key in waiting}
            self._told[operation_id] = known
        found = []
        for key, each in waiting.items():
            notes = self._told[each.operation_id]
            if key in notes and notes[key].state != _short(each.state):
                notes[key] = Note(_short(each.state), now)
            elif key in notes and notes[key].at > now:  # the clock was wrong, then or now
                notes[key] = notes[key]._replace(at=now)
            if key not in self._under_way and self._wanted(notes.get(key), now):
                found.append(each)
        return found[:AT_ONCE]

    def _waiting(self, seen: Mapping[str, Iterable[Registered]]) -> dict[str, Registered]:
        """The newest, oldest first; as many as there is room for beside those of operations that were not seen."""
        everything = [each for listed in seen.values() for each in listed if not each.over]
        everything.sort(key=lambda each: (each.created_at, each.id))
        elsewhere = sum(len(notes) for operation_id, notes in self._told.items() if operation_id not in seen)
        self.too_many = max(0, len(everything) - max(0, MOST - elsewhere))
        return {_key(each.identity(self._conn_id)): each for each in everything[self.too_many :]}

    def _wanted(self, note: Note | None, now: float) -> bool:
        return note is None or now - note.at >= self._repeat_after * 2.0 ** min(note.times, DOUBLINGS)

    # --- one telling

    def begin(self, told: Iterable[Registered], now: float) -> None:
        """These are being told."""
        for each in told:
            key = _key(each.identity(self._conn_id))
            before = self._told.get(each.operation_id, {}).get(key)
            self._under_way[key] = Note(_short(each.state), now, before.times + 1 if before else 0)

    def settle(self, told: Iterable[Registered], *, well: bool) -> None:
        """They were told; or they were not, and are to be told again."""
        for each in told:
            key = _key(each.identity(self._conn_id))
            note = self._under_way.pop(key, None)
            if note is not None and well:
                self._told.setdefault(each.operation_id, {})[key] = note

    # --- over a restart

    def to_json(self, operation_id: str) -> dict[str, Any]:
        """What was told of an operation."""
        notes = self._told.get(operation_id, {})
        return {"version": VERSION, "told": {key: list(note) for key, note in notes.items()}}

    def recall(self, operation_id: str, data: Any) -> None:
        """Go on from what `to_json` gave. What cannot be read is as if it had not been told."""
        told = data.get("told") if isinstance(data, dict) and data.get("version") == VERSION else None
        if isinstance(told, dict):
            self._told[operation_id] = {key: Note(*note) for key, note in told.items() if _is_note(note)}


def _is_note(data: Any) -> bool:
    """Anybody may edit the store."""
    fits = isinstance(data, list) and len(data) == len(Note._fields)
    return fits and isinstance(data[0], str) and type(data[1]) in (int, float) and type(data[2]) is int


def _key(identity: str) -> str:
    """Half of an identity: a few ids among themselves need no more."""
    return identity[:16]


def _short(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()[:8]
