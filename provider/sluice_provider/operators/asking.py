"""The act of asking, written down before and after."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from sluice_provider import metrics
from sluice_provider.errors import ClientError, InvalidInput, JobFailed, OutcomeUnknown, SluiceError
from sluice_provider.journal import Entry, Intent, Journal, Part, Story, digest

if TYPE_CHECKING:
    from sluice_provider.calls.flow import Flow
    from sluice_provider.hooks.base import SluiceHook
    from sluice_provider.jobs import JobRef


T = TypeVar("T")


class Phase(NamedTuple):
    """One asking and its waiting.

    :param name: names it in the journal; another phase of the same task has another name
    :param kind: what is waited for, a key of the API module's `KINDS`
    :param ask: asks for all of its parts that the journal does not hold yet, by `Asking.send`
    :param doubt: finds out what became of an asking that was never answered; returns when it is safe to ask again
    :param where: what the remote wants to know beside the ids, for looking and cancelling
    :param last: no phase comes after it: a task that does not wait for completion ends with its asking
    """

    name: str
    kind: str
    ask: Callable[[Asking], None]
    doubt: Callable[[Asking, Intent], None]
    where: Mapping[str, str] = MappingProxyType({})
    last: bool = True


class Asking:
    """Asks for the parts of one phase, and leaves no moment in which a death would go unnoticed."""

    def __init__(self, journal: Journal, story: Story, entry: Entry, hook: SluiceHook, ref: JobRef) -> None:
        self._journal = journal
        self._story = story
        self._hook = hook
        self.ref = ref
        self.entry = entry

    @property
    def key(self) -> str:
        """The next part's idempotency key: the same for a repeated asking, another one after a job that ended badly."""
        parts = (self._story.seed, self.entry.phase, self.entry.round, len(self.entry.parts))
        return digest(parts)[:32]

    def note(self, **facts: str) -> None:
        """What will be needed to judge the end by and can be known only before the asking: a look later finds it in
        `where`, also in another try. It is written down together with the intent."""
        self.entry.note.update(facts)

    def send(self, flow: Flow[str], start: int = 0, size: int = 0, key: str = "") -> str:
        """Ask, and return the id that the remote answered with.

        :param start: where this part's share of the input begins
        :param size: how much of the input it takes
        :param key: the idempotency key, if it is not this asking's own
        """
        key, before = key or self.key, self.entry.intent
        # A key lives from when it was first used: asking again with it does not make it younger.
        at = before.at if before is not None and before.key == key else time.time()
        self.entry.intent = Intent(key, at, start, size)
        self._story.tell("intent", _share(self.entry.phase, start, size))
        self._story.show(state="asking", word="", message="", ended_at=None)
        self._journal.write(self._story)
        try:
            job_id = self.run(flow)
        except SluiceError as error:
            if _nothing_done(error):
                self._withdraw(error, before if before is not None and before.key == key else None)
            raise
        self.found(job_id, start, size)
        metrics.count("job.started", self.ref)
        return job_id

    def _withdraw(self, error: SluiceError, before: Intent | None) -> None:
        """This asking did nothing. That settles no doubt about an earlier one with the same key, unless it ended at
        once, which has used the key up."""
        if isinstance(error, JobFailed):
            self.entry.round += 1
            before = None
        self.entry.intent = before
        self._journal.write(self._story)

    def run(self, flow: Flow[T]) -> T:
        """Look at the remote, where that helps to know what to ask for."""
        return self._hook.run(flow)

    def not_found(self) -> None:
        """What was in doubt was never begun."""
        self._story.tell("doubt", "it was never begun")
        self.entry.intent = None
        self._journal.write(self._story)

    def found(self, job_id: str, start: int = 0, size: int = 0) -> None:
        """Write down the id of what was asked for."""
        self.entry.parts.append(Part(job_id, start, size))
        self.entry.intent = None
        self._story.tell("asked", f"{_share(self.entry.phase, start, size)}: {job_id}")
        self._story.show(state="running", ids=list(self.entry.ids))
        self._journal.write(self._story)

    def whole(self) -> None:
        self.entry.whole = True
        self.entry.asked_at = time.time()
        self._journal.write(self._story)


def _share(phase: str, start: int, size: int) -> str:
    return f"{phase}, {start + 1} to {start + size}" if size else phase


def _nothing_done(error: SluiceError) -> bool:
    done_nothing = isinstance(error, (ClientError, InvalidInput, JobFailed)) or not getattr(error, "sent", True)
    return done_nothing and not error.acted


def in_doubt(asking: Asking, intent: Intent, called: str = "") -> None:
    """What to do where the remote cannot be asked: nothing that could do the work twice.

    :param called: what a person finds the work by
    """
    raise OutcomeUnknown(
        f"{asking.entry.phase} was asked for at {iso(intent.at)} ({called or f'key {intent.key}'}) and the answer is "
        "not known: look whether it is there; then clear this task to ask again, or mark it as success"
    )


def iso(at: float) -> str:
    """Seconds since 1970 as a person reads them, in UTC."""
    return datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="seconds")
