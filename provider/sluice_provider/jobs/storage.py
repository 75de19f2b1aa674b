"""A record as keys and values of bounded size, for a store of small values: Airflow's task state store.

    sluice_record              the head: the summary, the fingerprint, the open phase and its intent
    sluice_record_log_<n>      an append-only log, one JSON value a line, cut into pieces of PIECE characters:
                               submissions, jobs that have succeeded, ended phases, replaced jobs, facts
    sluice_record_log_b_<n>    the same after the task started over; the next one uses the first set of keys again
    sluice_record_history_<n>  what happened, in pieces; the first one and the latest ones are kept
    sluice_record_state        the state in one line, by which the jobs page counts jobs in SQL

So one submission writes a bounded amount, whatever the number of submissions: the head, and the last piece of the log.
Pieces are written before the head. The log decides about submissions: an intent in the head has a response when the log
has more submissions than the head counted. Each log belongs to one seed; pieces of another seed are ignored. The head
says which of the two sets of keys its log uses, so when a task starts over, the old log stays complete until the new
head is written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from sluice_provider.errors import UnexpectedResponse
from sluice_provider.jobs.model import EndedJobs
from sluice_provider.jobs.record import (
    MAX_COUNTS,
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
    truncate,
)
from sluice_provider.jobs.state_line import state_line

KEY = "sluice_record"
LOG_KEY = f"{KEY}_log"
LOG_KEYS = LOG_KEY, f"{LOG_KEY}_b"
HISTORY_KEY = f"{KEY}_history"
STATE_KEY = f"{KEY}_state"

MAX_PIECE_LENGTH = 6_000
"""Characters of the log in one value. As JSON in JSON a value may get twice as long."""
MAX_HISTORY_PIECE_LENGTH = 6_000
MAX_HISTORY_PIECES = 8
MAX_REJECTION_BYTES = 250
"""Of each string of a rejected row, as JSON."""
MAX_TEXT_LENGTH = 500
"""Characters of a service's messages that are kept."""


class KeyValues(Protocol):
    """A key-value store of one task instance."""

    def get(self, key: str) -> Any:
        """None for a key that has no value."""

    def set(self, key: str, value: Any) -> None: ...


class RecordStorage:
    """Reads and writes the record of one task instance. Only what has changed is written.

    :param values: the store
    :param redact: removes secrets from a string: a service may repeat what it was sent
    :param summary_only: write only what the jobs page needs; no record can be loaded, and the history continues
    """

    def __init__(
        self, values: KeyValues, redact: Callable[[str], str] = lambda text: text, *, summary_only: bool = False
    ) -> None:
        self._values = values
        self._redact = redact
        self._summary_only = summary_only
        self._written: dict[str, Any] = {}
        self._log = _Log()
        self._history = _History()
        self._saved: JobRecord | None = None
        self._restore: Callable[[], None] | None = None  # undoes the changes of an interrupted save

    # --- reading

    def load(self) -> JobRecord | None:
        """:raises UnexpectedResponse: there is a record, and it cannot be read"""
        head = self._values.get(KEY)
        if head is None:
            return None
        if self._summary_only or is_summary_only(head):
            self._history.load(_dict(head).get("history"), self._values.get)
            self.continue_with(None)
            return None
        if not isinstance(head, dict) or not isinstance(head.get("fingerprint"), str):
            raise UnexpectedResponse(
                f"the record of this task cannot be read ({head!r:.100}); delete {KEY!r} from its task state store "
                "to submit again, after checking in the service that the job does not exist already"
            )
        self._written[KEY] = head
        record = _from_head(head)
        entries = self._log.load(record.seed, self._values.get, second=bool(head.get("second_log")))
        self._history.load(head.get("history"), self._values.get)
        record = _replay_log(record._replace(history=tuple(self._history.events)), entries)
        self._saved = record = _without_answered_intents(record, head)
        return record

    def continue_with(self, record: JobRecord | None) -> None:
        """Continue from a record that was loaded elsewhere: its events are in the history already."""
        self._history.known = len(record.history) if record is not None else 0

    # --- writing

    def save(self, record: JobRecord, only: str = "") -> None:
        """
        :param only: "intent": what must be saved before a request is sent; "answer": its response
        """
        for key, value in self.changes(record, only):
            self.write(key, value)

    def write(self, key: str, value: Any) -> None:
        """Write one of the `changes`."""
        self._values.set(key, value)
        self._written[key] = value

    def changes(self, record: JobRecord, only: str = "") -> Iterator[tuple[str, Any]]:
        """The keys and values to write, in this order. The caller writes each one before it takes the next."""
        if self._restore is not None:
            self._restore()
        self._restore = self._snapshot()
        if not self._summary_only:
            before = self._saved if self._saved is not None and self._saved.seed == record.seed else None
            if before is None:
                self._log.begin(record.seed)
            yield from self._log.append(_log_entries(before, record, self._redact))
        if not only:
            yield from self._history.append(record.history, self._redact)
        if only != "answer":
            yield from self._changed(KEY, self._head(record))
            yield from self._changed(STATE_KEY, state_line(record.summary))
        self._saved, self._restore = record, None

    def _snapshot(self) -> Callable[[], None]:
        log, history = dict(vars(self._log)), {**vars(self._history), "events": list(self._history.events)}

        def restore() -> None:
            vars(self._log).update(log)
            vars(self._history).update(history)

        return restore

    def _changed(self, key: str, value: Any) -> Iterator[tuple[str, Any]]:
        if self._written.get(key) != value:
            yield key, value

    def _head(self, record: JobRecord) -> dict[str, Any]:
        summary = record.summary
        texts = {
            name: self.redact_and_truncate(summary[name]) for name in ("service_status", "message") if summary.get(name)
        }
        summary = summary_to_json({**summary, **texts})
        attempts = sum(phase.attempt for phase in record.phases) + (1 if record.replaced else 0)
        # First, as the jobs page reads only the beginning of each head.
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

    def redact_and_truncate(self, text: str) -> str:
        """A service's message as it is kept: without secrets, and truncated."""
        return self._redact(str(text))[:MAX_TEXT_LENGTH]


# --- the head


def is_summary_only(head: Any) -> bool:
    """Whether it was saved with `summary_only`."""
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


def _without_answered_intents(record: JobRecord, head: Mapping[str, Any]) -> JobRecord:
    """Without intents whose response is in the log: a process died before it wrote the head."""
    submitted = {str(each.get("name")): each.get("submitted") for each in map(_dict, _list(head.get("open")))}
    for phase in record.phases:
        if phase.intent is not None and len(phase.submissions) > number(submitted.get(phase.name)):
            record = record.with_phase(phase._replace(intent=None))
    return record


# --- the log


class _Log:
    """An append-only text in pieces. Reading stops at the first piece that is missing or has another seed."""

    def __init__(self) -> None:
        self.second = False  # which of the two sets of keys it uses
        self._seed = ""
        self._text = ""  # of the last piece
        self._number = 0  # of that piece

    def begin(self, seed: str) -> None:
        """Start a new log, beside the one that was read or written last, if any."""
        self.second = bool(self._seed) and not self.second
        self._seed, self._text, self._number = seed, "", 0

    def load(self, seed: str, get: Callable[[str], Any], *, second: bool = False) -> list[Any]:
        self.second, self._seed, self._text, self._number = second, seed, "", 0
        pieces: list[str] = []
        while (piece := _piece(get(self._key(len(pieces))), seed)) is not None:
            pieces.append(piece)
            if len(piece) < MAX_PIECE_LENGTH:
                break
        whole, _, _ = "".join(pieces).rpartition("\n")  # a last line without a line break is incomplete
        text = f"{whole}\n" if whole else ""
        self._number, at = divmod(len(text), MAX_PIECE_LENGTH)
        self._text = text[len(text) - at :] if at else ""
        return [line for line in map(_json, whole.split("\n")) if line is not None] if whole else []

    def _key(self, number: int) -> str:
        return f"{LOG_KEYS[self.second]}_{number}"

    def append(self, entries: list[Any]) -> Iterator[tuple[str, Any]]:
        """The keys and values to write, to append these entries."""
        if not entries:
            return
        self._text += "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in entries)
        while len(self._text) >= MAX_PIECE_LENGTH:
            piece, self._text = self._text[:MAX_PIECE_LENGTH], self._text[MAX_PIECE_LENGTH:]
            self._number += 1
            yield self._key(self._number - 1), [self._seed, piece]
        yield self._key(self._number), [self._seed, self._text]


def _piece(value: Any, seed: str) -> str | None:
    """The text of a piece. A newer version may add fields to it."""
    valid = isinstance(value, list) and len(value) >= 2 and value[0] == seed and isinstance(value[1], str)
    return value[1] if valid else None


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _log_entries(before: JobRecord | None, after: JobRecord, redact: Callable[[str], str]) -> list[Any]:
    """The difference between two records, as entries of the log."""
    entries: list[Any] = []
    known = {phase.name: phase for phase in before.phases} if before else {}
    for phase in after.phases:
        entries += _phase_entries(known.get(phase.name, PhaseRecord(phase.name)), phase, redact)
    replaced = _appended(before.replaced if before else (), after.replaced)
    return entries + [{"replaced": list(each)} for each in replaced]


def _appended(old: tuple[ReplacedJob, ...], new: tuple[ReplacedJob, ...]) -> tuple[ReplacedJob, ...]:
    """The items added to a list that drops its oldest items."""
    gone = next(number for number in range(len(old) + 1) if new[: len(old) - number] == old[number:])
    return new[len(old) - gone :]


def _phase_entries(before: PhaseRecord, after: PhaseRecord, redact: Callable[[str], str]) -> Iterator[Any]:
    if after.facts != before.facts or after.locator != before.locator:
        yield {"facts": after.name, "values": dict(after.facts), "locator": dict(after.locator)}
    old, new = before.submissions, after.submissions
    if new[: len(old)] != old:
        items = [list(each) for each in new]
        yield {"submissions": after.name, "anew": True, "attempt": after.attempt, "items": items}
    elif len(new) > len(old):
        yield {"submissions": after.name, "items": [list(each) for each in new[len(old) :]]}
    if after.ended_ids != before.ended_ids:
        positions = _ranges(new, after.ended_ids - before.ended_ids)
        yield {"succeeded": after.name, "positions": positions, "total": _bounded_total(after.ended, redact)}
    if after.outcome is not None and before.outcome is None:
        yield {"ended": {**phase_to_json(after), "outcome": _redacted(dict(after.outcome), redact)}}


def _bounded_total(ended: EndedJobs, redact: Callable[[str], str]) -> dict[str, Any]:
    """Names of counts and texts of rejections are a service's, of any length."""
    counts = dict(list(ended.counts.items())[:MAX_COUNTS])
    return {
        "number": ended.number,
        "counts": {truncate(name, MAX_REJECTION_BYTES): value for name, value in counts.items()},
        "rejections": [[truncate(redact(text), MAX_REJECTION_BYTES) for text in each] for each in ended.rejections],
    }


def _ranges(submissions: tuple[Submission, ...], ids: frozenset[str]) -> list[list[int]]:
    """The positions of these ids among the submissions, as pairs of a start and a number."""
    ranges: list[list[int]] = []
    for position, each in enumerate(submissions):
        if each.id in ids:
            if ranges and sum(ranges[-1]) == position:
                ranges[-1][1] += 1
            else:
                ranges.append([position, 1])
    return ranges


def _redacted(value: Any, redact: Callable[[str], str]) -> Any:
    """Plain data without secrets in its strings, which may be a service's messages."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {name: _redacted(each, redact) for name, each in value.items()}
    return [_redacted(each, redact) for each in value] if isinstance(value, (list, tuple)) else value


def _replay_log(record: JobRecord, entries: list[Any]) -> JobRecord:
    """The head's record with the entries of the log. Types of entries that this version does not know are skipped."""
    folded = _LogReplay()
    for line in entries:
        if isinstance(line, dict):
            folded.add(line)
    return folded.record(record)


class _LogReplay:
    """Applies the entries of a log, one after the other."""

    def __init__(self) -> None:
        self._phases: dict[str, PhaseRecord] = {}
        self._submissions: dict[str, list[Submission]] = {}
        self._attempts: dict[str, int] = {}
        self._ended: dict[str, tuple[EndedJobs, set[str]]] = {}
        self._replaced: list[ReplacedJob] = []

    def add(self, line: Mapping[str, Any]) -> None:
        if isinstance(name := line.get("submissions"), str):
            items = filter(None, map(submission_from_json, _list(line.get("items"))))
            kept = [] if line.get("anew") else self._submissions.get(name, [])
            self._phases.setdefault(name, PhaseRecord(name))
            self._attempts[name] = max(self._attempts.get(name, 0), int(number(line.get("attempt"))))
            self._submissions[name] = kept
            kept.extend(items)
        elif isinstance(name := line.get("succeeded"), str):
            _, ids = self._ended.get(name, (None, set()))
            ids.update(self._ids_at(name, _list(line.get("positions"))))
            self._ended[name] = EndedJobs.from_json(line.get("total")), ids
        elif isinstance(name := line.get("facts"), str):
            facts, locator = _dict(line.get("values")), _dict(line.get("locator"))
            self._phases[name] = self._phases.get(name, PhaseRecord(name))._replace(facts=facts, locator=locator)
        elif (ended := phase_from_json(line.get("ended"))) is not None:
            phase = self._phases.get(ended.name, ended)
            self._phases[ended.name] = ended._replace(facts=phase.facts, locator=phase.locator)
        elif (job := _replaced(line.get("replaced"))) is not None:
            self._replaced.append(job)

    def record(self, head: JobRecord) -> JobRecord:
        """Phases are in the order in which they started. A process may have died after it logged that failed jobs are
        submitted again, and before it wrote the head."""
        for phase in head.phases:
            if (attempt := self._attempts.get(phase.name, 0)) > phase.attempt:
                phase = phase._replace(attempt=attempt, complete=False)
            logged = self._phases.get(phase.name, phase)
            if logged.outcome is None:
                self._phases[phase.name] = phase._replace(facts=logged.facts, locator=logged.locator)
        phases = tuple(self._whole(name, phase) for name, phase in self._phases.items())
        return head._replace(phases=phases, replaced=tuple(self._replaced))

    def _whole(self, name: str, phase: PhaseRecord) -> PhaseRecord:
        ended, ids = self._ended.get(name, (EndedJobs(), set()))
        submissions = tuple(self._submissions.get(name, ()))
        return phase._replace(submissions=submissions, ended=ended, ended_ids=frozenset(ids))

    def _ids_at(self, name: str, ranges: list[Any]) -> list[str]:
        """The ids at these positions among the submissions so far."""
        submissions = self._submissions.get(name, [])
        pairs = [[int(number(each)) for each in pair] for pair in ranges if isinstance(pair, list) and len(pair) == 2]
        return [each.id for start, size in pairs if start >= 0 for each in submissions[start : start + size]]


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
    """Events in pieces: the first piece is kept, the others form a ring buffer."""

    def __init__(self) -> None:
        self.position = 0
        self.events: list[HistoryEvent] = []  # of the last piece
        self.known = 0  # the number of events of the record that are written
        self._size = 0

    def load(self, position: Any, get: Callable[[str], Any]) -> None:
        """Load the latest piece, to append to it."""
        self.position = int(number(position))
        self.events = events_from_json(get(self._key))
        self.known = len(self.events)
        self._size = len(json.dumps(self.events))

    @property
    def _key(self) -> str:
        first = self.position == 0
        return f"{HISTORY_KEY}_{0 if first else 1 + (self.position - 1) % (MAX_HISTORY_PIECES - 1)}"

    def append(self, history: tuple[HistoryEvent, ...], redact: Callable[[str], str]) -> Iterator[tuple[str, Any]]:
        """
        :param history: of the record: loaded events, and new ones
        """
        new, self.known = history[self.known :], max(len(history), self.known)
        for event in new:
            fitted = event._replace(text=redact(event.text)[:MAX_TEXT_LENGTH])
            size = len(json.dumps(fitted)) + 2
            if self.events and self._size + size > MAX_HISTORY_PIECE_LENGTH:
                yield self._key, [list(each) for each in self.events]
                self.position, self.events, self._size = self.position + 1, [], 0
            self.events.append(fitted)
            self._size += size
        if new:
            yield self._key, [list(each) for each in self.events]
