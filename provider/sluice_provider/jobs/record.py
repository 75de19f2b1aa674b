"""What a task stores about its jobs, so that the next try knows what was submitted and with what result.

    JobRecord                 one task instance: the fingerprint of its input, and its clear counts
    ├── PhaseRecord           one phase: submitted, polled, ended
    │   ├── Submission        one request whose response had an id
    │   └── Intent            one request without a response: if no Submission follows, its outcome is unknown
    ├── ReplacedJob           a job that another one replaced: it failed, was cancelled, or its outcome is unknown
    ├── summary               the state of the jobs, for people; no decision depends on it
    └── HistoryEvent          what happened, for people; no decision depends on it

All of it is immutable: a change makes a new record. The `..._to_json` and `..._from_json` functions are the stored
schema. Fields that this version does not know are kept as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any, NamedTuple

from sluice_provider.errors import SluiceError, UnexpectedResponse
from sluice_provider.jobs.model import EndedJobs, JobGroup, JobState

VERSION = 1
"""Of the schema. Of a newer record, what is known is read; an older one would be converted here."""

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Submission(NamedTuple):
    """One request and the id in its response.

    :param start: where its share of the input begins
    :param size: how much of the input it took
    """

    id: str
    start: int = 0
    size: int = 0

    @property
    def rows(self) -> range:
        return range(self.start, self.start + self.size)


class Intent(NamedTuple):
    """One request without a response yet, saved before it is sent.

    :param key: its idempotency key, or a marker by which its effect can be found
    :param at: when it was first sent with this key
    :param reported: the task has failed with `OutcomeUnknown` for it, so a clear means "submit again"
    """

    key: str
    at: float
    start: int = 0
    size: int = 0
    reported: bool = False


class ReplacedJob(NamedTuple):
    """A job that another one replaced.

    :param id: "" where it is not known whether there is one
    :param state: the last known one: failed, cancelled, running, outcome_unknown
    :param rows: how many rows of it the service had processed by then, where it reports that
    """

    id: str
    state: str
    rows: int | None = None


class PendingRerun(NamedTuple):
    """A user cleared the task while its jobs were running: they run again, after those have ended.

    :param state: "cleared", or "cancelling" once the service was asked to cancel
    :param fingerprint: of the new input; likewise `clears` and `seed`
    """

    state: str
    fingerprint: str
    clears: tuple[int, int]
    seed: str


class TransientState(NamedTuple):
    """State of the running process; not stored.

    :param reconnecting: the next poll is the first one of a try that found a record
    :param submissions: how often this unit was submitted by this process
    :param repeated: the intent is older than this submission: a rejection of this one does not decide it
    :param error: what ended the wait; raised if the jobs are not over
    :param failed: an earlier try has failed because of these jobs
    :param before: the record that this one replaces as soon as anything is submitted
    :param waited: this process has waited briefly for these jobs already
    :param problem: why the answer of a person could not be used
    """

    reconnecting: bool = False
    submissions: int = 0
    repeated: bool = False
    error: SluiceError | None = None
    failed: bool = False
    before: JobRecord | None = None
    waited: bool = False
    problem: str = ""


class HistoryEvent(NamedTuple):
    """
    :param what: submitting, submitted, deferred, status, reconnected, outcome_unknown, trigger_restarted, rejected,
        ended, error, cancel, cleared or replaced
    """

    at: float
    what: str
    text: str = ""


class PhaseRecord(NamedTuple):
    """One phase of the job.

    :param attempt: how often the phase was submitted again after a failure
    :param complete: everything of it was submitted
    :param outcome: how it ended: `state`, `counts`, `at`, `outputs`
    :param facts: what was read before the submission and is needed to find its effect
    :param locator: what is needed beside the ids to find the jobs again, beside the phase's own
    :param trigger_restarts: how often its trigger died, or gave up, and was replaced
    :param ended: the jobs that have succeeded, if there are several: those are not polled again
    :param ended_ids: theirs
    :param unknown: fields of a newer version
    """

    name: str
    submitted_at: float = 0.0
    attempt: int = 0
    submissions: tuple[Submission, ...] = ()
    intent: Intent | None = None
    complete: bool = False
    outcome: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] = NOTHING
    locator: Mapping[str, str] = NOTHING
    trigger_restarts: int = 0
    ended: EndedJobs = EndedJobs()
    ended_ids: frozenset[str] = frozenset()
    unknown: Mapping[str, Any] = NOTHING

    def with_status(self, work: JobGroup) -> PhaseRecord:
        """With what has ended by now. A job whose results are behind links is polled again, as links are not stored."""
        if len(self.submissions) < 2:
            return self
        succeeded = (job for job in work.jobs if job.state is JobState.SUCCEEDED and not job.links)
        new = {job.id: job for job in succeeded if job.id not in self.ended_ids}
        if not new:
            return self
        return self._replace(ended=self.ended.plus(list(new.values())), ended_ids=self.ended_ids.union(new))

    @property
    def unfinished_ids(self) -> tuple[str, ...]:
        """Of the jobs that are polled."""
        return tuple(job_id for job_id in self.ids if job_id not in self.ended_ids)

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(submission.id for submission in self.submissions)

    @property
    def size(self) -> int:
        return sum(submission.size for submission in self.submissions)


class JobRecord(NamedTuple):
    """
    :param fingerprint: of the input; if it changes, the jobs are submitted again
    :param clears: what Airflow counts when a user clears the task (of its run, of the task); when both have risen, the
        task was cleared
    :param seed: of the idempotency keys; the same for every try that continues this record
    """

    fingerprint: str
    clears: tuple[int, int] = (0, 0)
    seed: str = ""
    phases: tuple[PhaseRecord, ...] = ()
    replaced: tuple[ReplacedJob, ...] = ()
    rerun: PendingRerun | None = None
    summary: Mapping[str, Any] = NOTHING
    history: tuple[HistoryEvent, ...] = ()
    unknown: Mapping[str, Any] = NOTHING
    transient: TransientState = TransientState()

    def phase(self, name: str) -> PhaseRecord:
        """The phase of this name; an empty one if it has not started."""
        return next((phase for phase in self.phases if phase.name == name), PhaseRecord(name))

    @property
    def current(self) -> PhaseRecord | None:
        """The phase that has started and not ended."""
        return next((phase for phase in self.phases if phase.outcome is None), None)

    def with_phase(self, changed: PhaseRecord) -> JobRecord:
        if any(phase.name == changed.name for phase in self.phases):
            phases = tuple(changed if phase.name == changed.name else phase for phase in self.phases)
        else:
            phases = (*self.phases, changed)
        return self._replace(phases=phases)

    def with_event(self, at: float, what: str, text: str = "") -> JobRecord:
        """The same status is not added twice, whether this process or the trigger saw it first."""
        if what == "status" and text == self.last_text(what):
            return self
        return self._replace(history=(*self.history, HistoryEvent(round(at, 3), what, text)))

    def with_summary(self, at: float, **facts: Any) -> JobRecord:
        if "ids" in facts:
            facts["id_count"] = len(facts["ids"])
        return self._replace(summary={**self.summary, **facts, "updated_at": round(at, 3)})

    def last_text(self, what: str) -> str | None:
        """What the latest event of this kind says."""
        return next((event.text for event in reversed(self.history) if event.what == what), None)

    @property
    def submitted(self) -> str:
        """Everything that was submitted, for a log line."""
        ids = [submission.id for phase in self.phases for submission in phase.submissions]
        unknown = [f"a request of {phase.name!r} whose outcome is unknown" for phase in self.phases if phase.intent]
        more = [f"and {len(ids) - 20} more"] if len(ids) > 20 else []
        return ", ".join([*ids[:20], *more, *unknown]) or "nothing"

    @property
    def sent(self) -> dict[str, int]:
        """How many rows the service accepted, where they are counted."""
        size = sum(phase.size for phase in self.phases)
        return {"sent": size} if size else {}


MAX_ID_BYTES = 200
"""Bytes of an id or an idempotency key, as JSON. The longest known ids have 36 characters."""


def checked_id(value: str) -> str:
    """The id that a service returned, if it is short enough to be stored.

    :raises UnexpectedResponse: it is too long
    """
    short = truncate(value, MAX_ID_BYTES)
    if short != value:
        raise UnexpectedResponse(f"an id of {len(value)} characters is too long for a job id: {short[:50]!r}...")
    return value


def digest(value: Any) -> str:
    """A fingerprint of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def iso(at: float) -> str:
    """Seconds since 1970, as ISO 8601 in UTC."""
    return datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="seconds")


def times(phases: Sequence[PhaseRecord]) -> dict[str, Any]:
    """When the jobs of these phases were submitted and ended, for the result."""
    begun = phases[0].submitted_at if phases else 0.0
    at = phases[-1].outcome["at"] if phases and phases[-1].outcome else None
    return {
        "submitted_at": iso(begun) if begun else None,
        "ended_at": at and iso(at),
        "seconds": round(at - begun, 1) if begun and at else None,
    }


# --- the stored schema ----------------------------------------------------------------------------------------------


def phase_to_json(phase: PhaseRecord) -> dict[str, Any]:
    """All of a phase but its submissions, facts and locator, which are stored separately. Defaults are left out."""
    written = {
        **phase.unknown,
        "name": phase.name,
        "submitted_at": phase.submitted_at,
        "attempt": phase.attempt,
        "intent": phase.intent and phase.intent._asdict(),
        "complete": phase.complete,
        "outcome": phase.outcome and dict(phase.outcome),
        "trigger_restarts": phase.trigger_restarts,
    }
    return {name: value for name, value in written.items() if value or name == "name"}


def phase_from_json(data: Any) -> PhaseRecord | None:
    """None if it is not a phase."""
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        return None
    known = {*PhaseRecord._fields, "submitted"} - {"ended", "ended_ids"}
    outcome = data.get("outcome")
    return PhaseRecord(
        name=data["name"],
        submitted_at=number(data.get("submitted_at")),
        attempt=int(number(data.get("attempt"))),
        intent=intent_from_json(data.get("intent")),
        complete=bool(data.get("complete")),
        outcome=outcome if isinstance(outcome, dict) else None,
        trigger_restarts=int(number(data.get("trigger_restarts"))),
        unknown={name: value for name, value in data.items() if name not in known},
    )


def intent_from_json(data: Any) -> Intent | None:
    """Damaged data is still an intent: to ignore it could do the work twice."""
    if not data:
        return None
    data = data if isinstance(data, dict) else {}
    size, start = int(number(data.get("size"))), int(number(data.get("start")))
    return Intent(str(data.get("key", "")), number(data.get("at")), start, size, bool(data.get("reported")))


def rerun_from_json(data: Any) -> PendingRerun | None:
    if not isinstance(data, dict) or not data.get("state"):
        return None
    texts = {name: str(data.get(name, "")) for name in ("state", "fingerprint", "seed")}
    return PendingRerun(clears=clears_from_json(data.get("clears")), **texts)


def clears_from_json(data: Any) -> tuple[int, int]:
    data = data if isinstance(data, list) and len(data) == 2 else [0, 0]
    return int(number(data[0])), int(number(data[1]))


def submission_from_json(data: Any) -> Submission | None:
    """`[id, start, size]`; what a newer version adds is left out."""
    if not isinstance(data, list) or not data or not isinstance(data[0], str):
        return None
    return Submission(data[0], *(int(number(each)) for each in data[1:3]))


def events_from_json(value: Any) -> list[HistoryEvent]:
    """The readable events of a history. No decision depends on it, so others are left out without an error."""
    lines = value if isinstance(value, list) else ()
    return [HistoryEvent(float(at), str(what), str(text)) for at, what, text in filter(_is_event, lines)]


def _is_event(each: Any) -> bool:
    whole = isinstance(each, (list, tuple)) and len(each) == len(HistoryEvent._fields)
    return whole and not isinstance(each[0], bool) and number(each[0]) == each[0]


def number(value: Any) -> float:
    right = isinstance(value, (int, float)) and not isinstance(value, bool) and -1e15 < value < 1e15
    return value if right else 0.0


def summary_from_json(data: Any) -> dict[str, Any]:
    """The readable fields of a summary. No decision depends on it, so others are left out without an error."""
    kinds = {"ids": list, "counts": dict}
    summary = data if isinstance(data, dict) else {}
    return {name: value for name, value in summary.items() if isinstance(value, kinds.get(name, object))}


MAX_IDS, MAX_COUNTS = 20, 30
"""Of a summary: further ids are only counted, further counts left out."""

MAX_TEXT_BYTES = {"url": 2000, "message": 2000}
"""Of the strings of a summary, as JSON; 250 for those that are not named here."""


def summary_to_json(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A summary of at most 14 KB: it is part of the head, which is written often. No decision depends on it, so strings
    are truncated. A summary that was loaded may lack ids, so `id_count` is kept."""
    ids = list(summary.get("ids") or ())
    counts = list((summary.get("counts") or {}).items())[:MAX_COUNTS]
    return {
        **{name: _bounded(name, value) for name, value in summary.items()},
        "ids": [truncate(str(each), MAX_ID_BYTES) for each in ids[:MAX_IDS]],
        "id_count": max(len(ids), int(number(summary.get("id_count")))),
        "counts": {truncate(str(name), 100): number(value) for name, value in counts},
    }


def _bounded(name: str, value: Any) -> Any:
    if isinstance(value, str):
        short = truncate(value, MAX_TEXT_BYTES.get(name, 250))
        return "" if name == "url" and short != value else short  # a truncated URL is useless
    return number(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def truncate(text: str, size: int) -> str:
    """The longest prefix of a string that takes at most `size` bytes as JSON, without the quotes."""
    if len(json.dumps(text)) - 2 <= size:
        return text
    taken = 0
    for position, character in enumerate(text):
        taken += len(json.dumps(character)) - 2
        if taken > size:
            return text[:position]
    return text


def merge_counts(*counts: Iterable[tuple[str, int]] | Mapping[str, int]) -> dict[str, int]:
    """Of equal names, the last one wins."""
    merged: dict[str, int] = {}
    for each in counts:
        merged.update(each)
    return merged
