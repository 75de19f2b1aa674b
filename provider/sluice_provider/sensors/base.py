"""Waiting for a job that somebody else asked for: in the worker (poke, reschedule) or in the triggerer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from sluice_provider.calls.flow import Cadence
from sluice_provider.errors import JobFailed, SluiceError, Unreachable
from sluice_provider.jobs import JobRef, JobState, Work, read_event
from sluice_provider.journal import Journal, Story
from sluice_provider.progress import take_over
from sluice_provider.waiting import Waiting, default_deferrable, fail_for_good, seconds

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

PHASE = "wait"


class JobSensor(Waiting, BaseSensorOperator):
    """What the sensors of all systems share. A system adds `reference` and, if it likes, `check` and `judge`.

    A job that ended badly fails the sensor without a retry, or skips it with `soft_fail`, in every mode.

    :param deferrable: wait in the triggerer, holding no worker slot (default: Airflow's `default_deferrable`)
    :param poll_interval: deferrable: seconds between two looks at the most (default: `poke_interval`)
    """

    def __init__(self, *, deferrable: bool | None = None, poll_interval: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self.poll_interval = seconds(self.poke_interval if poll_interval is None else poll_interval, "poll_interval")
        self.job_url = ""
        self._failures = 0
        self._since = time.time()
        self._ref: JobRef | None = None

    # --- what a system adds

    def check(self) -> None:
        """Judge the rendered arguments. :raises InvalidInput: before anything is sent"""

    def reference(self) -> JobRef:
        """What is waited for."""
        raise NotImplementedError

    def note(self) -> dict[str, str]:
        """What must be known from before the wait; taken once, and part of the job's `where` from then on."""
        return {}

    def judge(self, work: Work) -> None:
        """Look into work that the remote calls succeeded. :raises JobFailed: if it is not good enough"""

    # --- what Airflow calls

    def execute(self, context: Context) -> Any:
        with fail_for_good(True):
            self.check()
            story = self._begin(Journal(context))
            if not self.deferrable:
                self._since, self._ref = story.entry(PHASE).asked_at, self._noted(story)
                self.publish(context, self._ref, story, self._since)
        if self.deferrable:
            return self._first_look(context, story)
        return super().execute(context)

    def poke(self, context: Context) -> PokeReturnValue:  # noqa: ARG002 - Airflow's signature
        """A look that fails for a passing reason is not news; too many of them in a row are."""
        try:
            with fail_for_good(True), self.telling():
                work = self.look(self._ref or self.reference(), self._since)
        except SluiceError as error:
            self._failures += 1
            if self._failures >= Cadence().failures:
                raise
            self.log.warning("Look %d failed: %s", self._failures, error)
            return PokeReturnValue(False)
        self._failures = 0
        return PokeReturnValue(work.over, self._end(work) if work.over else None)

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Back from the triggerer, which says why in `event`."""
        _, trouble = read_event(event)
        journal = Journal(context)
        story = self._resumed(context, journal)
        if isinstance(trouble, Unreachable):
            trouble = self.mend(journal, story, str(trouble))
        return self._look_or_defer(context, story, trouble)

    def trigger_died(self, context: Context, reason: str) -> dict[str, Any]:
        """Back from the triggerer, which did not live to say anything."""
        self.log.warning("The trigger ended without a word (%s); looking at the job from here", reason)
        journal = Journal(context)
        story = self._resumed(context, journal)
        return self._look_or_defer(context, story, self.mend(journal, story, reason))

    # --- the order of things

    def _begin(self, journal: Journal) -> Story:
        """Written down is since when we wait, so that the timeout spans deferrals, reschedules and retries, and what
        there was before."""
        story = journal.read()
        if story is None or journal.cleared_since(story):
            story = journal.begin(PHASE, story)
            story.entry(PHASE).note.update(self.note())
            journal.write(story)
        self.keep(journal, story)
        return story

    def _resumed(self, context: Context, journal: Journal) -> Story:
        story = journal.read() or self._begin(journal)
        self.keep(journal, story)
        take_over(story, context["ti"], self.log)
        return story

    def _noted(self, story: Story) -> JobRef:
        ref = self.reference()
        return ref._replace(where={**ref.where, **story.entry(PHASE).note})

    def _first_look(self, context: Context, story: Story) -> dict[str, Any]:
        """Airflow heeds `soft_fail` where it pokes and where it resumes, and here nobody does but us."""
        from airflow.providers.common.compat.sdk import (
            AirflowFailException,
            AirflowSensorTimeout,
            AirflowSkipException,
        )

        try:
            return self._look_or_defer(context, story)
        except (AirflowFailException, AirflowSensorTimeout) as error:
            if not self.soft_fail:
                raise
            raise AirflowSkipException(f"skipped, as soft_fail says: {error}") from error

    def _look_or_defer(self, context: Context, story: Story, trouble: SluiceError | None = None) -> dict[str, Any]:
        ref, asked_at = self._noted(story), story.entry(PHASE).asked_at
        with fail_for_good(True), self.telling():
            self.publish(
                context, ref, story, asked_at
            )  # in every leg, since Airflow asks for the link at the end of every leg
            work = self.glance(ref, asked_at, trouble)
        if work and work.over:
            return self._end(work)
        if time.time() - asked_at >= self.timeout:
            from airflow.providers.common.compat.sdk import AirflowSensorTimeout

            raise AirflowSensorTimeout(f"not over after {self.timeout:.0f} s: {work or 'it could not be looked at'}")
        if trouble:
            raise trouble
        return self.wait_deferred(ref, asked_at)

    def _end(self, work: Work) -> dict[str, Any]:
        with fail_for_good(True), self.telling():
            if self._open is not None:
                journal, story = self._open
                self.tell_end(story, work)
                self.try_to_write(journal, story)
            if work.state is not JobState.SUCCEEDED:
                error = JobFailed(f"{self.system} {self.reference().kind} ended badly: {work}")
                error.hopeless = work.curable is not True  # another look will find the same
                raise error
            self.judge(work)
        self.hook.close()
        return {"ids": [job.id for job in work.jobs], "state": work.state.value, **work.counts}
