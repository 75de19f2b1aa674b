"""A record as keys and values of bounded size, for a store that keeps small values: Airflow's task state store.

    sluice_record              the head: the summary, and what decides: fingerprint, open phase, intent
    sluice_record_log_<n>      an append-only log, one JSON value a line, cut into pieces of PIECE characters:
                               submissions, ended phases, replaced jobs, facts
    sluice_record_log_b_<n>    the same for work that was begun anew; the next one is in the first place again
    sluice_record_history_<n>  what happened, in pieces; the first one is kept, and of the others the latest ones
    sluice_record_state        one word, by which a page can group jobs in SQL

So what is written for one submission does not grow with the number of submissions: the head, and the piece of the log
that is being filled. Pieces are written before the head. The log is the truth about submissions: an intent in the head
is settled when the log has more submissions than the head counted. Each log belongs to one seed; pieces of another
one are left over from earlier work and ignored. The head says which of the two places its log is in, so the log of work
that is begun anew leaves the old one whole until the head is written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from sluice_provider.errors import UnexpectedResponse
from sluice_provider.jobs.record import (
    VERSION,
    HistoryEvent,
    JobRecord,
    PhaseRecord,
    ReplacedJob,
    Submission,
    clears_from_json,
    events_from_json,
    number,
    phase_from_json,
    phase_to_json,
    rerun_from_json,
    submission_from_json,
    summary_from_json,
    summary_to_json,
)

KEY = "sluice_record"
LOG_KEY = f"{KEY}_log"
LOG_KEYS = LOG_KEY, f"{LOG_KEY}_b"
HISTORY_KEY = f"{KEY}_history"
STATE_KEY = f"{KEY}_state"

PIECE = 6_000
"""Characters of the log in one value. As JSON in JSON a value may get twice as long."""
HISTORY_PIECE = 6_000
HISTORY_PIECES = 8
LONGEST_TEXT = 500
"""So many characters of a service's words are kept."""


class KeyValues(Protocol):
    """Where values are kept, under keys of their own for each task instance."""

    def get(self, key: str) -> Any:
        """None for a key that has no value."""

    def set(self, key: str, value: Any) -> None: ...


class RecordStorage:
    """Reads and writes the record of one task instance. It remembers what it wrote, and writes what has changed.

    :param values: where to
    :param clean: takes secrets out of a text: a service may repeat what it was sent
    :param summary_only: keep only what the page needs; no record can be read back, and the history goes on
    """

    def __init__(
        self, values: KeyValues, clean: Callable[[str], str] = lambda text: text, *, summary_only: bool = False
    ) -> None:
        self._values = values
        self._clean = clean
        self._summary_only = summary_only
        self._written: dict[str, Any] = {}
        self._log = _Log()
        self._history = _History()
        self._kept: JobRecord | None = None
        self._unfinished: Callable[[], None] | None = None  # takes back what a writing began that broke off

    # --- reading

    def load(self) -> JobRecord | None:
        """:raises UnexpectedResponse: there is one and nothing can be read of it"""
        head = self._values.get(KEY)
        if head is None:
            return None
        if self._summary_only or _for_the_page_only(head):
            self._history.load(_dict(head).get("history"), self._values.get)
            self.continue_with(None)
            return None
        if not isinstance(head, dict) or not isinstance(head.get("fingerprint"), str):
            raise UnexpectedResponse(
                f"the record of this task cannot be read ({head!r:.100}); delete {KEY!r} from its task state store "
                "to submit again, after a look whether the service has the job already"
            )
        self._written[KEY] = head
        record = _from_head(head)
        lines = self._log.load(record.seed, self._values.get, second=bool(head.get("second_log")))
        self._history.load(head.get("history"), self._values.get)
        record = _with_log(record._replace(history=tuple(self._history.events)), lines)
        self._kept = record = _settled(record, head)
        return record

    def continue_with(self, record: JobRecord | None) -> None:
        """What is saved next comes of this record, which was read elsewhere: its events are in the history."""
        self._history.known = len(record.history) if record is not None else 0

    # --- writing

    def save(self, record: JobRecord, only: str = "") -> None:
        """
        :param only: "intent": what is needed to know of a request before it is sent; "answer": what it was answered
        """
        for key, value in self.changes(record, only):
            self.write(key, value)

    def write(self, key: str, value: Any) -> None:
        """One of the changes."""
        self._values.set(key, value)
        self._written[key] = value

    def changes(self, record: JobRecord, only: str = "") -> Iterator[tuple[str, Any]]:
        """What has to be written, in this order. Whoever iterates writes each value before it asks for the next."""
        if self._unfinished is not None:
            self._unfinished()
        self._unfinished = self._take_back()
        if not self._summary_only:
            before = self._kept if self._kept is not None and self._kept.seed == record.seed else None
            if before is None:
                self._log.begin(record.seed)
            yield from self._log.append(_log_lines(before, record, self._clean))
        if not only:
            yield from self._history.append(record.history, self._clean)
        if only != "answer":
            yield from self._changed(KEY, self._head(record))
            yield from self._changed(STATE_KEY, str(record.summary.get("state") or "submitting"))
        self._kept, self._unfinished = record, None

    def _take_back(self) -> Callable[[], None]:
        log, history = dict(vars(self._log)), {**vars(self._history), "events": list(self._history.events)}

        def take_back() -> None:
            vars(self._log).update(log)
            vars(self._history).update(history)

        return take_back

    def _changed(self, key: str, value: Any) -> Iterator[tuple[str, Any]]:
        if self._written.get(key) != value:
            yield key, value

    def _head(self, record: JobRecord) -> dict[str, Any]:
        summary = record.summary
        texts = {name: self.fit(summary[name]) for name in ("service_status", "message") if summary.get(name)}
        summary = summary_to_json({**summary, **texts})
        attempts = sum(phase.attempt for phase in record.phases) + (1 if record.replaced else 0)
        # First, as whoever lists ten thousand jobs reads the beginning of each head only.
        head = {"summary": {**summary, "resubmissions": attempts}, "history": self._history.position}
        if self._summary_only:
            return head
        return {
            **head,
            **record.unknown,
            "version": VERSION,
            "fingerprint": record.fingerprint,
            "clears": list(record.clears),
            "seed": record.seed,
            "second_log": self._log.second,
            "rerun": record.rerun and {**record.rerun._asdict(), "clears": list(record.rerun.clears)},
            "open": [
                {**phase_to_json(phase), "submitted": len(phase.submissions)}
                for phase in record.phases
                if phase.outcome is None
            ],
        }

    def fit(self, text: str) -> str:
        """As much of a service's words as is kept, without secrets."""
        return self._clean(str(text))[:LONGEST_TEXT]


# --- the head


def _for_the_page_only(head: Any) -> bool:
    """Whether it was written with `summary_only`."""
    return isinstance(head, dict) and set(head) == {"summary", "history"}


def _from_head(head: Mapping[str, Any]) -> JobRecord:
    known = {"summary", "history", "version", "fingerprint", "clears", "seed", "second_log", "rerun", "open"}
    phases = [phase_from_json(each) for each in _list(head.get("open"))]
    return JobRecord(
        fingerprint=str(head["fingerprint"]),
        clears=clears_from_json(head.get("clears")),
        seed=str(head.get("seed", "")),
        phases=tuple(phase for phase in phases if phase is not None),
        rerun=rerun_from_json(head.get("rerun")),
        summary=summary_from_json(head.get("summary")),
        unknown={name: value for name, value in head.items() if name not in known},
    )


def _settled(record: JobRecord, head: Mapping[str, Any]) -> JobRecord:
    """Without the intents that the log has an answer to: who wrote it died before the head."""
    counted = {str(each.get("name")): each.get("submitted") for each in map(_dict, _list(head.get("open")))}
    for phase in record.phases:
        if phase.intent is not None and len(phase.submissions) > number(counted.get(phase.name)):
            record = record.with_phase(phase._replace(intent=None))
    return record


# --- the log


class _Log:
    """Text that only grows, in pieces. A reader stops at the first piece that is missing or of another seed."""

    def __init__(self) -> None:
        self.second = False  # which of the two places it is in
        self._seed = ""
        self._text = ""  # of the piece that is being filled
        self._number = 0  # of that piece

    def begin(self, seed: str) -> None:
        """Another log than the one that was read or written last, if any was."""
        self.second = bool(self._seed) and not self.second
        self._seed, self._text, self._number = seed, "", 0

    def load(self, seed: str, get: Callable[[str], Any], *, second: bool = False) -> list[Any]:
        self.second, self._seed, self._text, self._number = second, seed, "", 0
        pieces: list[str] = []
        while (piece := _piece(get(self._key(len(pieces))), seed)) is not None:
            pieces.append(piece)
            if len(piece) < PIECE:
                break
        whole, _, _ = "".join(pieces).rpartition("\n")  # a last line without an end was not written wholly
        text = f"{whole}\n" if whole else ""
        self._number, at = divmod(len(text), PIECE)
        self._text = text[len(text) - at :] if at else ""
        return [line for line in map(_json, whole.split("\n")) if line is not None] if whole else []

    def _key(self, number: int) -> str:
        return f"{LOG_KEYS[self.second]}_{number}"

    def append(self, lines: list[Any]) -> Iterator[tuple[str, Any]]:
        """What has to be written so that the log has these lines, too."""
        if not lines:
            return
        self._text += "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        while len(self._text) >= PIECE:
            piece, self._text = self._text[:PIECE], self._text[PIECE:]
            self._number += 1
            yield self._key(self._number - 1), [self._seed, piece]
        yield self._key(self._number), [self._seed, self._text]


def _piece(value: Any, seed: str) -> str | None:
    """A newer version may add something to a piece."""
    right = isinstance(value, list) and len(value) >= 2 and value[0] == seed and isinstance(value[1], str)
    return value[1] if right else None


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _log_lines(before: JobRecord | None, after: JobRecord, clean: Callable[[str], str]) -> list[Any]:
    """What has come to a record, as lines of the log."""
    lines: list[Any] = []
    known = {phase.name: phase for phase in before.phases} if before else {}
    for phase in after.phases:
        lines += _phase_lines(known.get(phase.name, PhaseRecord(phase.name)), phase, clean)
    replaced = _come_to(before.replaced if before else (), after.replaced)
    return lines + [{"replaced": list(each)} for each in replaced]


def _come_to(old: tuple[ReplacedJob, ...], new: tuple[ReplacedJob, ...]) -> tuple[ReplacedJob, ...]:
    """What has come to a list whose oldest items make room for others."""
    gone = next(number for number in range(len(old) + 1) if new[: len(old) - number] == old[number:])
    return new[len(old) - gone :]


def _phase_lines(before: PhaseRecord, after: PhaseRecord, clean: Callable[[str], str]) -> Iterator[Any]:
    if after.facts != before.facts or after.locator != before.locator:
        yield {"facts": after.name, "values": dict(after.facts), "locator": dict(after.locator)}
    old, new = before.submissions, after.submissions
    if new[: len(old)] != old:
        items = [list(each) for each in new]
        yield {"submissions": after.name, "anew": True, "attempt": after.attempt, "items": items}
    elif len(new) > len(old):
        yield {"submissions": after.name, "items": [list(each) for each in new[len(old) :]]}
    if after.outcome is not None and before.outcome is None:
        yield {"ended": {**phase_to_json(after), "outcome": _cleaned(dict(after.outcome), clean)}}


def _cleaned(value: Any, clean: Callable[[str], str]) -> Any:
    """Plain data whose texts, which may be a service's words, are without secrets."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {name: _cleaned(each, clean) for name, each in value.items()}
    return [_cleaned(each, clean) for each in value] if isinstance(value, (list, tuple)) else value


def _with_log(record: JobRecord, lines: list[Any]) -> JobRecord:
    """The head's record with all that the log says. Lines of kinds that this version does not know are skipped."""
    folded = _Folded()
    for line in lines:
        if isinstance(line, dict):
            folded.add(line)
    return folded.record(record)


class _Folded:
    """What the lines of a log add up to."""

    def __init__(self) -> None:
        self._phases: dict[str, PhaseRecord] = {}
        self._submissions: dict[str, list[Submission]] = {}
        self._attempts: dict[str, int] = {}
        self._replaced: list[ReplacedJob] = []

    def add(self, line: Mapping[str, Any]) -> None:
        if isinstance(name := line.get("submissions"), str):
            items = filter(None, map(submission_from_json, _list(line.get("items"))))
            kept = [] if line.get("anew") else self._submissions.get(name, [])
            self._phases.setdefault(name, PhaseRecord(name))
            self._attempts[name] = max(self._attempts.get(name, 0), int(number(line.get("attempt"))))
            self._submissions[name] = kept
            kept.extend(items)
        elif isinstance(name := line.get("facts"), str):
            facts, locator = _dict(line.get("values")), _dict(line.get("locator"))
            self._phases[name] = self._phases.get(name, PhaseRecord(name))._replace(facts=facts, locator=locator)
        elif (ended := phase_from_json(line.get("ended"))) is not None:
            phase = self._phases.get(ended.name, ended)
            self._phases[ended.name] = ended._replace(facts=phase.facts, locator=phase.locator)
        elif (job := _replaced(line.get("replaced"))) is not None:
            self._replaced.append(job)

    def record(self, head: JobRecord) -> JobRecord:
        """In the order in which the phases were begun. Who wrote that a part of one is to be submitted again may have
        died before the head."""
        for phase in head.phases:
            if (attempt := self._attempts.get(phase.name, 0)) > phase.attempt:
                phase = phase._replace(attempt=attempt, complete=False)
            logged = self._phases.get(phase.name, phase)
            if logged.outcome is None:
                self._phases[phase.name] = phase._replace(facts=logged.facts, locator=logged.locator)
        phases = (
            phase._replace(submissions=tuple(self._submissions.get(name, ()))) for name, phase in self._phases.items()
        )
        return head._replace(phases=tuple(phases), replaced=tuple(self._replaced))


def _replaced(data: Any) -> ReplacedJob | None:
    if not isinstance(data, list) or len(data) < 2:
        return None
    rows = data[2] if len(data) > 2 and isinstance(data[2], int) else None
    return ReplacedJob(str(data[0]), str(data[1]), rows)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


# --- the history


class _History:
    """Events in pieces: the first piece stays, the others are used in turn."""

    def __init__(self) -> None:
        self.position = 0
        self.events: list[HistoryEvent] = []  # of the piece that is being filled
        self.known = 0  # so many events of the record are written
        self._size = 0

    def load(self, position: Any, get: Callable[[str], Any]) -> None:
        """The latest piece, to go on with it."""
        self.position = int(number(position))
        self.events = events_from_json(get(self._key))
        self.known = len(self.events)
        self._size = len(json.dumps(self.events))

    @property
    def _key(self) -> str:
        first = self.position == 0
        return f"{HISTORY_KEY}_{0 if first else 1 + (self.position - 1) % (HISTORY_PIECES - 1)}"

    def append(self, history: tuple[HistoryEvent, ...], clean: Callable[[str], str]) -> Iterator[tuple[str, Any]]:
        """
        :param history: of the record: what was loaded, and what has come since
        """
        new, self.known = history[self.known :], max(len(history), self.known)
        for event in new:
            fitted = event._replace(text=clean(event.text)[:LONGEST_TEXT])
            size = len(json.dumps(fitted)) + 2
            if self.events and self._size + size > HISTORY_PIECE:
                yield self._key, [list(each) for each in self.events]
                self.position, self.events, self._size = self.position + 1, [], 0
            self.events.append(fitted)
            self._size += size
        if new:
            yield self._key, [list(each) for each in self.events]
