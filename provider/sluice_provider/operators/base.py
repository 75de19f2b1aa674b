"""The life of a job, for all systems: asked for once, waited for without a worker, finished by what the remote says.

Rules of this file. It is the only place that knows the order of things, and it is the same code whether the wait is
deferred or not. Work is a sequence of phases; a phase is asked for (in one part or several), waited for, and ended, and
each of these steps is in the journal before the next begins. Whoever comes next (a retry, a resumed task, a cleared
one) reads the journal and goes on from there. What an event says is never trusted: the remote is looked at.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from sluice_provider import metrics
from sluice_provider.apis.base import cancel
from sluice_provider.calls.flow import Age
from sluice_provider.errors import (
    InvalidInput,
    JobFailed,
    OutcomeUnknown,
    SluiceError,
    TimedOut,
    UnexpectedResponse,
    Unreachable,
)
from sluice_provider.jobs import JobRef, JobState, Outcome, Work, read_event
from sluice_provider.journal import Entry, Journal, Part, Story
from sluice_provider.operators.asking import Asking, Phase, iso
from sluice_provider.operators.retry import DEFAULT, HAVE_POLICIES
from sluice_provider.progress import take_over
from sluice_provider.waiting import Waiting, default_deferrable, fail_for_good, seconds

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context


class JobOperator(Waiting):
    """What the operators of all systems share. A system adds `check`, `fingerprint`, `plan`, `judge` and `manifest`.

    :param wait_for_completion: wait until the remote has finished; else return as soon as it has accepted
    :param deferrable: wait in the triggerer, holding no worker slot (default: Airflow's `default_deferrable`)
    :param poll_interval: seconds between two looks at the most; a young job is looked at more often
    :param timeout: seconds after the asking until the wait is given up, however often the task is retried
    :param cancel_on_kill: ask the remote to stop when a user ends the task, where the remote can
    :param retry_policy: Airflow 3.3: by default an error that a retry cannot cure is not retried
    """

    wanted: ClassVar[frozenset[JobState]] = frozenset({JobState.SUCCEEDED})
    """The ends that are good ones."""

    def __init__(
        self,
        *,
        wait_for_completion: bool = True,
        deferrable: bool | None = None,
        poll_interval: float | timedelta = 60.0,
        timeout: float | timedelta = timedelta(days=1),
        cancel_on_kill: bool = True,
        retry_policy: Any = DEFAULT,
        **kwargs: Any,
    ) -> None:
        if HAVE_POLICIES:
            kwargs["retry_policy"] = retry_policy
        super().__init__(**kwargs)
        self.wait_for_completion = wait_for_completion
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self.poll_interval = seconds(poll_interval, "poll_interval")
        self.timeout = seconds(timeout, "timeout")
        self.cancel_on_kill = cancel_on_kill
        self.job_url = ""
        self._ref: JobRef | None = None
        self.result: dict[str, Any] = {}

    # --- what a system adds

    def check(self) -> None:
        """Judge the rendered arguments. :raises InvalidInput: before anything is sent"""

    def fingerprint(self) -> str:
        """Of everything that makes this piece of work this piece of work. :raises InvalidInput: for unusable input"""
        raise NotImplementedError

    def plan(self, story: Story) -> Phase | None:
        """The phase that comes next, by what the ended ones brought; None when all is done."""
        raise NotImplementedError

    def judge(self, phase: Phase, work: Work) -> None:
        """Look into work that the remote calls succeeded. :raises JobFailed: if it is not good enough"""

    def bring(self, phase: Phase, work: Work) -> dict[str, Any]:
        """Bring home what work that ended well has made, and tell of it in a few words of JSON for the journal.

        A retry of a task that died here looks at the work and comes here again.
        """
        del phase, work
        return {}

    def manifest(self, story: Story) -> dict[str, Any]:
        """What is told of the work: small, JSON, without records."""
        raise NotImplementedError

    # --- what Airflow calls

    def execute(self, context: Context) -> dict[str, Any]:
        with fail_for_good(not HAVE_POLICIES), self.telling():
            self.check()
            journal = Journal(context)
            return self._go(context, journal, self._begin(journal))

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Back from the triggerer, which says why in `event`."""
        outcome, trouble = read_event(event)
        if trouble:
            self.log.warning("The trigger stopped watching: %s", trouble)
        with fail_for_good(not HAVE_POLICIES), self.telling():
            journal = Journal(context)
            story = journal.read() or self._recover(journal, outcome)
            self._resume(context, journal, story)
            if isinstance(trouble, Unreachable):
                trouble = self.mend(journal, story, str(trouble))
            return self._go(context, journal, story, trouble)

    def trigger_died(self, context: Context, reason: str) -> dict[str, Any]:
        """Back from the triggerer, which did not live to say anything: look at the job, and never ask again."""
        self.log.warning("The trigger ended without a word (%s); looking at the job from here", reason)
        with fail_for_good(not HAVE_POLICIES), self.telling():
            journal = Journal(context)
            story = journal.read()
            if story is None:
                raise UnexpectedResponse("the trigger died and the journal of this task is gone")
            self._resume(context, journal, story)
            trouble: SluiceError | None
            if "timeout" in reason.casefold():
                trouble = TimedOut(f"the triggerer did not come back within {self.timeout:.0f} s")
            else:
                trouble = self.mend(journal, story, reason)
            return self._go(context, journal, story, trouble)

    def on_kill(self) -> None:
        """Ask the remote to stop, without waiting for it: Airflow ends this process in a few seconds."""
        if self._ref is None:
            return
        self.hook.interrupt()
        kind = self.hook.kind(self._ref.kind)
        ids = ", ".join(self._ref.ids)
        if not self.cancel_on_kill:
            self.log.warning("Leaving %s %s running, as cancel_on_kill says", kind.noun, ids)
        elif self.hook.run(cancel(kind, self._ref)):
            self.log.info("Asked %s to cancel %s %s", self.system, kind.noun, ids)
            self.tell_cancelled()
        else:
            self.log.warning("%s cannot cancel this %s: %s goes on there", self.system, kind.noun, ids)

    # --- where to begin

    def _resume(self, context: Context, journal: Journal, story: Story) -> None:
        self.keep(journal, story)
        take_over(story, context["ti"], self.log)

    def _begin(self, journal: Journal) -> Story:
        """The story so far, or a new one where the user or the input says so."""
        old = journal.read()
        if old is not None:
            self.keep(journal, old)
        fingerprint = self._fingerprint(old)
        new = journal.begin(fingerprint, old)
        if old is None:
            return new
        if old.fingerprint != fingerprint:
            self.log.warning("The input is not what it was, beginning anew; asked for before: %s", old)
            return new
        current = old.current
        work = self.look(self._reference(old, current), current.asked_at) if current and current.parts else None
        cleared = journal.cleared_since(old)
        if cleared and _at_rest(old, work):
            self.log.info("The task was cleared since, beginning anew; asked for before: %s", old)
            return new
        if current and work:
            current.again = cleared
            self._revive(old, current, work)
        old.clearing = new.clearing
        journal.write(old)
        return old

    def _fingerprint(self, old: Story | None) -> str:
        try:
            return self.fingerprint()
        except InvalidInput as error:
            if old is None or not old.entries or not all(entry.whole for entry in old.entries):
                raise
            self.log.warning("The input cannot be read any more, but all of it was handed over before: %s", error)
            return old.fingerprint

    def _revive(self, story: Story, entry: Entry, work: Work) -> None:
        """Go on with what an earlier try began: what ended badly is asked for anew, everything else is kept."""
        bad = {job.id for job in work.jobs if job.state.over and job.state not in self.wanted}
        metrics.count("job.reattached", self._reference(story, entry))
        self.log.info("Re-attaching to %s: %s", ", ".join(entry.ids), work)
        story.tell("reattached", str(work))
        if bad:
            self.log.warning("Asking again for what ended badly: %s", ", ".join(sorted(bad)))
            entry.parts = [part for part in entry.parts if part.id not in bad]
            entry.whole = False
            entry.round += 1

    def _recover(self, journal: Journal, outcome: Outcome | None) -> Story:
        """The journal is gone (a user may clear it): what the trigger watched is all that is left to go by."""
        story = journal.begin(self.fingerprint())
        phase = self.plan(story)
        if outcome is None or phase is None or not phase.last or phase.kind != outcome.job.kind:
            raise UnexpectedResponse("the journal of this task is gone, and the event does not tell what was asked for")
        self.log.warning("The journal of this task is gone; going on with what the trigger watched")
        entry = story.entry(phase.name)
        entry.parts, entry.whole = [Part(job_id) for job_id in outcome.job.ids], True
        entry.note = dict(outcome.job.where)
        return story

    # --- the order of things

    def _go(
        self, context: Context, journal: Journal, story: Story, trouble: SluiceError | None = None
    ) -> dict[str, Any]:
        """From wherever the story stands to its end, or into the triggerer.

        :param trouble: what stopped the wait; raised if the work is not over after all
        """
        self.keep(journal, story)
        while (phase := self.plan(story)) is not None:
            entry = story.entry(phase.name)
            if not entry.whole:
                self._ask(journal, story, phase, entry)
            self._ref = self._reference(story, entry)
            self.publish(context, self._ref, story, entry.asked_at)
            if phase.last and not self.wait_for_completion:
                story.show(state="accepted")
                self.try_to_write(journal, story)
                break
            work = self._wait(self._ref, entry, trouble)
            trouble = None
            if entry.again and work.state is JobState.CANCELLED:
                entry.again = False
                self._revive(story, entry, work)
                continue
            self._end(journal, story, phase, entry, work)
        else:
            if story.card.get("state") == "running":  # the phase before was not known to be the last one
                story.show(state="succeeded", ended_at=time.time())
                self.try_to_write(journal, story)
        return self._finish(context, story)

    def _ask(self, journal: Journal, story: Story, phase: Phase, entry: Entry) -> None:
        ref = JobRef(self.system, phase.kind, ("?",), phase.where)
        if self.deferrable:
            # What the trigger cannot carry must be found out before the remote is asked, not after.
            json.dumps(self.trigger(ref, entry.asked_at).serialize())
        state = "running" if entry.parts else "asking"
        story.show(**self._card(phase.kind), ids=list(entry.ids), asked_at=entry.asked_at, state=state)
        asking = Asking(journal, story, entry, self.hook, ref)
        try:
            if entry.intent is not None:
                story.tell("doubt", "asked before, and the answer is not known")
                metrics.count("job.in_doubt", asking.ref)
                phase.doubt(asking, entry.intent)
            phase.ask(asking)
        except OutcomeUnknown:
            if entry.intent is not None:
                entry.intent = entry.intent._replace(told=True)
                journal.write(story)
            raise
        asking.whole()

    def _reference(self, story: Story, entry: Entry) -> JobRef:
        phase = self.plan(story)
        assert phase is not None  # noqa: S101 - an entry that has not ended belongs to a phase
        return JobRef(self.system, phase.kind, entry.ids, {**phase.where, **entry.note})

    def _wait(self, ref: JobRef, entry: Entry, trouble: SluiceError | None) -> Work:
        work = self.glance(ref, entry.asked_at, trouble)
        if work and work.over:
            return work
        if trouble is None and Age(entry.asked_at)() >= self.timeout:
            trouble = TimedOut(f"not over {self.timeout:.0f} s after it was asked for")
        if trouble:
            raise type(trouble)(f"{trouble}. It goes on there ({work}); the next try looks at it again")
        if self.deferrable:
            self.wait_deferred(ref, entry.asked_at)
        return self.wait_here(ref, entry.asked_at)

    def _end(self, journal: Journal, story: Story, phase: Phase, entry: Entry, work: Work) -> None:
        self.tell_end(story, work)
        metrics.finished(self._reference(story, entry), work.state.value, time.time() - entry.asked_at)
        if work.state not in self.wanted:
            raise _undone(self.system, phase.kind, work)
        self.judge(phase, work)
        brought = self.bring(phase, work)
        entry.ended = {"state": work.state.value, "counts": work.counts, "at": time.time(), "brought": brought}
        if not phase.last:
            story.show(state="running", ended_at=None)
        journal.write(story)

    def _finish(self, context: Context, story: Story) -> dict[str, Any]:
        self.result = self.manifest(story)
        self.log.info("Result: %s", json.dumps(self.result))
        for outlet in self.outlets:
            if hasattr(outlet, "uri"):
                context["outlet_events"][outlet].extra.update(self.result)
        self.hook.close()
        return self.result


def _at_rest(story: Story, work: Work | None) -> bool:
    """Whether there is nothing under way or in doubt that the user does not know of, so that a clearing can mean only
    "do it again"."""
    entry = story.current
    if entry is None or (entry.intent and entry.intent.told):
        return True
    if entry.parts:
        return entry.whole and work is not None and work.over
    return entry.intent is None and not any(other.ended for other in story.entries)


def times(entries: Sequence[Entry]) -> dict[str, Any]:
    """When the work of these phases was asked for and over, for the manifest."""
    begun = entries[0].asked_at if entries else None
    at = entries[-1].ended["at"] if entries and entries[-1].ended else None
    return {
        "asked_at": begun and iso(begun),
        "ended_at": at and iso(at),
        "seconds": begun and at and round(at - begun, 1),
    }


def _undone(system: str, kind: str, work: Work) -> JobFailed:
    """A retry asks again, which is only worth it where the remote does not say that it would end the same way."""
    hopeless = work.curable is False
    then = "a retry would end the same way" if hopeless else "the next try asks again for what ended badly"
    error = JobFailed(f"{system} {kind} ended badly: {work}; {then}")
    error.hopeless = hopeless
    return error
