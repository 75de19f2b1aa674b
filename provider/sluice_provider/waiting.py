"""Looking at work on a remote and waiting for it, here or in the triggerer: what operators and sensors share."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from itertools import islice
from threading import Thread
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.sdk import BaseOperator

from sluice_provider import metrics
from sluice_provider.apis.base import Watch
from sluice_provider.calls.flow import Age, wait
from sluice_provider.errors import (
    InvalidInput,
    JobFailed,
    OutcomeUnknown,
    SafetyLimitExceeded,
    SluiceError,
    Unreachable,
)
from sluice_provider.hooks.base import SluiceHook, hook_for
from sluice_provider.jobs import SHOWN, Changes, JobRef, Work
from sluice_provider.progress import EVERY

if TYPE_CHECKING:
    from sluice_provider.journal import Journal, Story
    from sluice_provider.triggers import JobTrigger

IDS_KEY = "job_ids"
"""XCom key of the remote ids, pushed as soon as they are known."""

MENDINGS = 10
"""So many triggers of one wait may die, or give up, before the task fails."""

BACKSTOP = 300.0
"""Seconds after a trigger's own deadline at which Airflow ends it, should it hang."""


class Waiting(BaseOperator):
    """A task that waits for work on a remote."""

    system: ClassVar[str]
    conn_arg: ClassVar[str] = ""
    ui_color = "#e3f1ee"

    poll_interval: float
    timeout: float
    cancel_on_kill: bool = False
    job_url: str = ""
    _told: Changes | None = None
    _open: tuple[Journal, Story] | None = None
    _written: float = 0.0

    @property
    def conn_id(self) -> str:
        """Airflow connection id, from the system's own argument for it."""
        return str(getattr(self, self.conn_arg or f"{self.system}_conn_id"))

    @property
    def where(self) -> Mapping[str, str]:
        """What the remote wants to know beside the ids, for finding the work again: a project, a region, ..."""
        return {}

    @cached_property
    def hook(self) -> SluiceHook:
        return hook_for(self.system, self.conn_id, self.where)

    def keep(self, journal: Journal, story: Story) -> None:
        """From now on, what is heard of the work is written into this story, too."""
        self._open = journal, story

    def publish(self, context: Any, ref: JobRef, story: Story, asked_at: float) -> None:
        """Make the ids and the link visible while the job runs."""
        self.job_url = self.hook.job_url(ref.kind, ref.ids[0], ref.where, self.hook.fields())
        counts = {**story.card.get("counts", {}), **story.sent}
        facts = {
            "url": self.job_url,
            "asked_at": asked_at,
            "counts": counts,
            "state": story.card.get("state", "running"),
        }
        story.show(**self._card(ref.kind), ids=list(ref.ids), **facts)
        context["ti"].xcom_push(key=IDS_KEY, value=list(ref.ids))
        for link in self.operator_extra_links:
            context["ti"].xcom_push(key=link.xcom_key, value=self.job_url)

    def _card(self, kind: str) -> dict[str, Any]:
        noun = self.hook.kind(kind).noun
        return {"system": self.system, "conn_id": self.conn_id, "kind": kind, "noun": noun, "ended_at": None}

    def look(self, ref: JobRef, asked_at: float) -> Work:
        """One look, from here."""
        work = self.hook.run(Watch(self.hook.kind(ref.kind), ref, Age(asked_at)).look())
        self._changes(ref)(work)
        return work

    def glance(self, ref: JobRef, asked_at: float, trouble: SluiceError | None) -> Work | None:
        """One look, from here. None when it failed for a passing reason: then the wait, which has patience, goes on.

        :param trouble: what stopped the wait; after that, nobody waits for a better look
        """
        try:
            return self.look(ref, asked_at)
        except SluiceError as error:
            if error.hopeless or trouble:
                raise
            self.log.warning("A look failed, which says nothing of the work: %s", error)
            return None

    def _changes(self, ref: JobRef) -> Changes:
        if self._told is None or self._told.ref != ref:
            self._told = Changes(self.log, ref, self._heard)
        return self._told

    def _heard(self, work: Work, news: str) -> None:
        if self._told is not None:
            metrics.count("look", self._told.ref)
        if self._open is None:
            return
        journal, story = self._open
        _show(story, work)
        if news:
            story.tell("state", news)
        if news or time.time() - self._written >= EVERY:
            self._written = time.time()
            self.try_to_write(journal, story)

    @contextmanager
    def telling(self) -> Iterator[None]:
        """What stops the task is told in its story, too."""
        try:
            yield
        except SluiceError as error:
            if self._open is not None:
                self._tell_error(*self._open, error)
            raise

    def _tell_error(self, journal: Journal, story: Story, error: SluiceError) -> None:
        # A story that was to be a new one and was not written before anything was asked for must not replace the old
        # one: the jobs of that may be looked for again.
        story = journal.held or story
        story.tell("error", f"{type(error).__name__}: {error}")
        story.show(message=str(error), **_fallen(story, error))
        self.try_to_write(journal, story)

    def try_to_write(self, journal: Journal, story: Story) -> None:
        """For news by which nothing is decided: that they cannot be written is no trouble of the job's."""
        try:
            journal.write(story)
        except Exception as trouble:  # noqa: BLE001 - whatever it is, what matters is written elsewhere
            self.log.warning("The journal could not be written: %r", trouble)

    def tell_end(self, story: Story, work: Work) -> None:
        """The remote is done: its first rejected rows, and when."""
        for rejection in islice(work.rejections, SHOWN):
            story.tell("rejected", str(rejection))
        story.tell("ended", str(work))
        _show(story, work, ended_at=time.time())

    def tell_cancelled(self) -> None:
        """A user ended the task and the remote was asked to stop; what came of it nobody has seen."""
        if self._open is None:
            return
        journal, story = self._open
        story.tell("cancel", "asked for")
        story.show(state="cancelling")
        # Beside this: a signal may have come in the middle of talking to Airflow, which one thread cannot do twice.
        writing = Thread(target=self.try_to_write, args=(journal, story), daemon=True)
        writing.start()
        writing.join(2.0)

    def wait_here(self, ref: JobRef, asked_at: float) -> Work:
        """Wait in this process."""
        age = Age(asked_at)
        flow = wait(
            Watch(self.hook.kind(ref.kind), ref, age).look,
            lambda work: work.over,
            age=age,
            timeout=self.timeout,
            cadence=self.hook.kind(ref.kind).cadence(self.poll_interval),
            tell=self._changes(ref),
        )
        return self.hook.run(flow)

    def wait_deferred(self, ref: JobRef, asked_at: float) -> NoReturn:
        """Give the worker back. Airflow calls `execute_complete` when the trigger has something to say."""
        left = max(0.0, self.timeout - Age(asked_at)())
        self.hook.close()
        if self._open is not None:
            journal, story = self._open
            story.tell("deferred")
            self.try_to_write(journal, story)
        self.defer(
            trigger=self.trigger(ref, asked_at),
            method_name="execute_complete",
            timeout=timedelta(seconds=left + self.poll_interval + BACKSTOP),
        )

    def trigger(self, ref: JobRef, asked_at: float) -> JobTrigger:
        from sluice_provider.triggers import JobTrigger

        return JobTrigger(
            system=self.system,
            conn_id=self.conn_id,
            job=ref.to_json(),
            asked_at=asked_at,
            timeout=self.timeout,
            poll_interval=self.poll_interval,
            cancel_on_kill=self.cancel_on_kill,
        )

    def mend(self, journal: Journal, story: Story, reason: str) -> SluiceError | None:
        """The watching broke off, which is no reason to fail while the work can still be looked at from here."""
        entry = story.current
        if entry is None:
            return None
        entry.mended += 1
        story.tell("mended", reason)
        journal.write(story)
        if entry.mended <= MENDINGS:
            return None
        return Unreachable(f"watching broke off {MENDINGS} times ({reason}): can the triggerer reach the remote?")

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Airflow fails a task whose trigger died or timed out; that says nothing of the job, so we look at it."""
        if next_method == "__fail__":
            next_method, next_kwargs = "trigger_died", {"reason": str((next_kwargs or {}).get("error"))}
        return super().resume_execution(next_method, next_kwargs, context)


def _show(story: Story, work: Work, **more: Any) -> None:
    """Counts of earlier phases stay on the card."""
    facts = work.to_json()
    story.show(**{**facts, "counts": {**story.card.get("counts", {}), **story.sent, **facts["counts"]}}, **more)


def _fallen(story: Story, error: SluiceError) -> dict[str, Any]:
    """What an error says of the job; most say nothing, as it goes on there."""
    state, entry = story.card.get("state"), story.current
    if isinstance(error, OutcomeUnknown):
        return {"state": "in_doubt"}
    if isinstance(error, (JobFailed, SafetyLimitExceeded)) and state != "cancelled":
        return {"state": "failed", "ended_at": time.time()}
    if state == "succeeded":  # there, and what was to be done with it here was not
        return {"state": "failed"}
    if state in (None, "asking"):  # a refusal leaves no intent behind; anything else does
        if entry and entry.intent:
            return {"state": "in_doubt"}
        return {"state": "running" if entry and entry.parts else "failed"}
    return {}


@contextmanager
def fail_for_good(wanted: bool) -> Iterator[None]:
    """Tell Airflow by the type of the exception that a retry cannot cure this, where no retry policy tells it."""
    try:
        yield
    except SluiceError as error:
        if wanted and error.hopeless:
            from airflow.providers.common.compat.sdk import AirflowFailException

            raise AirflowFailException(f"{type(error).__name__}: {error}") from error
        raise


def default_deferrable() -> bool:
    from airflow.providers.common.compat.sdk import conf

    return bool(conf.getboolean("operators", "default_deferrable", fallback=False))


def seconds(value: float | timedelta, name: str) -> float:
    """:raises InvalidInput: for anything but a positive duration"""
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not number > 0:
        raise InvalidInput(f"{name} must be a number of seconds above 0, or a timedelta, not {value!r}")
    return float(number)
