"""What a task wrote down before it acted, so that whoever comes after it knows what was asked and what was answered.

It is kept in Airflow's task state store (3.3 and later), where it outlives the worker, retries and clearing. Where
there is no such store it is kept in an XCom, which outlives a deferral only.

    Story                     one task instance: the fingerprint of its input and the clearing it belongs to
    ├── Entry                 one phase: asked, waited for, ended
    │   ├── Part              one asking that was answered with an id
    │   └── Intent            one asking that was not answered yet: with no Part after it, we are in doubt
    ├── card                  where the job stands, for people
    └── history               what befell it, for people; nothing is ever decided by it
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from sluice_provider.errors import UnexpectedResponse
from sluice_provider.jobs import LONGEST

KEY = "sluice_journal"
VERSION = 1
LINES = 120
"""So many lines of history are kept: the first ones and the latest ones."""


class Part(NamedTuple):
    """One asking and the id it was answered with.

    :param start: where its share of the input begins
    :param size: how much of the input it took
    """

    id: str
    start: int = 0
    size: int = 0

    @property
    def stretch(self) -> range:
        return range(self.start, self.start + self.size)


class Intent(NamedTuple):
    """One asking that was not answered yet.

    :param told: the author was told of the doubt, so that a clearing means "ask again"
    """

    key: str
    at: float
    start: int = 0
    size: int = 0
    told: bool = False


class Line(NamedTuple):
    """:param what: intent, asked, deferred, state, reattached, doubt, mended, rejected, ended, error or cancel"""

    at: float
    what: str
    text: str


class Entry:
    """
    :param round: how often this phase was begun anew after it had ended badly
    :param whole: every part of it was asked for
    :param ended: how it ended: state, counts, at
    :param again: it was running when the task was cleared: if that ends it, it is asked for once more
    :param mended: how often its trigger died and was replaced
    :param note: what had to be known from before the asking to judge the end by; it becomes part of the job's `where`
    """

    def __init__(
        self,
        phase: str,
        asked_at: float,
        *,
        round: int = 0,  # noqa: A002 - the word for it
        parts: Iterable[Part] = (),
        intent: Intent | None = None,
        whole: bool = False,
        ended: dict[str, Any] | None = None,
        mended: int = 0,
        note: Mapping[str, str] = MappingProxyType({}),
        again: bool = False,
    ) -> None:
        self.phase = phase
        self.asked_at = asked_at
        self.round = round
        self.parts = list(parts)
        self.intent = intent
        self.whole = whole
        self.ended = ended
        self.mended = mended
        self.note = dict(note)
        self.again = again

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(part.id for part in self.parts)

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)


class Story:
    """
    :param fingerprint: of the input; another one means other work
    :param clearing: what Airflow counts when a user clears; another one means "do it again"
    :param seed: of the idempotency keys; the same for every try that goes on with this story
    :param card: system, conn_id, kind, noun, ids, url, state, word, message, counts, done, total, asked_at, ended_at,
        rounds, and `at`, the time of the last news; seconds since 1970
    :param history: lines of time, what, and text
    """

    def __init__(
        self,
        fingerprint: str,
        clearing: list[int],
        seed: str = "",
        entries: Iterable[Entry] = (),
        card: Mapping[str, Any] = MappingProxyType({}),
        history: Iterable[Line] = (),
    ) -> None:
        self.fingerprint = fingerprint
        self.clearing = clearing
        self.seed = seed
        self.entries = list(entries)
        self.card = dict(card)
        self.history = list(history)

    def tell(self, what: str, text: str = "", at: float | None = None) -> None:
        """Add a line to the history. A state that was seen before, here or by the trigger, is no news."""
        text = fit(text)
        if what == "state" and text == self.last(what):
            return
        self.history.append(Line(round(time.time() if at is None else at, 3), what, text))
        if len(self.history) > LINES:
            del self.history[LINES // 4]

    def show(self, **facts: Any) -> None:
        """Bring the card up to date."""
        words = {name: fit(text) for name, text in facts.items() if name in ("word", "message")}
        self.card.update({**facts, **words}, at=round(time.time(), 3))

    def last(self, what: str) -> str | None:
        """What the latest line of this kind says."""
        return next((line.text for line in reversed(self.history) if line.what == what), None)

    def entry(self, phase: str) -> Entry:
        """The phase's entry, a new one if it was never begun."""
        for entry in self.entries:
            if entry.phase == phase:
                return entry
        self.entries.append(Entry(phase, time.time()))
        return self.entries[-1]

    def __str__(self) -> str:
        return ", ".join(part.id for entry in self.entries for part in entry.parts) or "nothing"

    @property
    def sent(self) -> dict[str, int]:
        """How much of the input was taken on by the remote, where it is counted, among the card's counts."""
        size = sum(entry.size for entry in self.entries)
        return {"sent": size} if size else {}

    @property
    def current(self) -> Entry | None:
        """The phase that was begun and has not ended."""
        return next((entry for entry in self.entries if entry.ended is None), None)


class Journal:
    """Reads and writes the story of one task instance.

    :param context: the task's context
    """

    held: Story | None = None
    """What stands in it, as far as this process has read or written it."""

    def __init__(self, context: Any) -> None:
        self._store = context.get("task_state_store")
        self._ti = context["ti"]
        # Both numbers rise when this task is cleared; each of them alone also changes for other reasons.
        clears = int(getattr(context["dag_run"], "clear_number", 0) or 0)
        self._clearing = [clears, int(getattr(self._ti, "max_tries", 0) or 0)]

    def begin(self, fingerprint: str, old: Story | None = None) -> Story:
        """A new story, not written yet. Of an older one it keeps the history."""
        ti = self._ti
        seed = digest([ti.dag_id, ti.run_id, ti.task_id, ti.map_index, self._clearing, fingerprint])
        return Story(fingerprint, self._clearing, seed, history=old.history if old else ())

    def cleared_since(self, story: Story) -> bool:
        return all(now != then for now, then in zip(self._clearing, story.clearing, strict=True))

    def read(self) -> Story | None:
        data = self._store.get(KEY) if self._store is not None else self._pull()
        self.held = None if data is None else _story(data)
        return self.held

    def write(self, story: Story) -> None:
        data = _plain(story)
        if self._store is not None:
            self._store.set(KEY, data)
        else:
            self._ti.xcom_push(key=KEY, value=data)
        self.held = story

    def _pull(self) -> Any:
        return self._ti.xcom_pull(task_ids=self._ti.task_id, key=KEY, map_indexes=self._ti.map_index)


def digest(value: Any) -> str:
    """A fingerprint of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def fit(text: str) -> str:
    """As much of a remote's words as is kept. They may repeat a secret that it was sent; from logs Airflow takes those
    out, and here nobody does but us."""
    from airflow.providers.common.compat.sdk import redact

    return str(redact(text))[:LONGEST]


def lines_of(told: Any) -> list[Line]:
    """What can be read of a history. Nothing is decided by it, so what cannot is left out and stops nobody."""
    lines = told if isinstance(told, list) else ()
    return [Line(float(at), str(what), str(text)) for at, what, text in filter(_is_line, lines)]


def _is_line(each: Any) -> bool:
    return isinstance(each, (list, tuple)) and len(each) == len(Line._fields) and isinstance(each[0], (int, float))


def _card_of(told: Any) -> dict[str, Any]:
    """Likewise."""
    card = dict(told) if isinstance(told, dict) else {}
    return {**card, "counts": card["counts"] if isinstance(card.get("counts"), dict) else {}} if card else {}


def _plain(story: Story) -> dict[str, Any]:
    return {
        # First, as whoever lists ten thousand jobs reads the beginning of each journal only.
        "card": {**story.card, "rounds": sum(entry.round for entry in story.entries)} if story.card else {},
        "version": VERSION,
        "fingerprint": story.fingerprint,
        "clearing": story.clearing,
        "seed": story.seed,
        "entries": [
            {
                **vars(entry),
                "parts": [list(part) for part in entry.parts],
                "intent": entry.intent._asdict() if entry.intent else None,
            }
            for entry in story.entries
        ],
        "history": [list(line) for line in story.history],
    }


def _story(data: Any) -> Story:
    try:
        if data["version"] != VERSION:
            raise UnexpectedResponse(f"the journal was written by another version of this provider ({data['version']})")
        entries = [_entry(entry) for entry in data["entries"]]
        clears, tries = data["clearing"]
        story = (data["fingerprint"], [int(clears), int(tries)], data["seed"], entries)
        return Story(*story, _card_of(data.get("card")), lines_of(data.get("history")))
    except (KeyError, TypeError, ValueError) as error:
        raise UnexpectedResponse(
            f"the journal of this task cannot be read ({error!r}); delete {KEY!r} from its state store to begin anew"
        ) from None


def _entry(data: dict[str, Any]) -> Entry:
    intent = Intent(**data["intent"]) if data["intent"] else None
    return Entry(**{**data, "parts": [Part(*part) for part in data["parts"]], "intent": intent})
