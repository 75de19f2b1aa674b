"""Looking at work on a remote and waiting for it, here or in the triggerer: what operators and sensors share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.sdk import BaseOperator

from sluice_provider.apis.base import Watch
from sluice_provider.calls.flow import Age, wait
from sluice_provider.errors import BadInput, SluiceError, Unreachable
from sluice_provider.hooks.base import SluiceHook, hook_for
from sluice_provider.jobs import Changes, JobRef, Work

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

    def publish(self, context: Any, ref: JobRef) -> None:
        """Make the ids and the link visible while the job runs."""
        self.job_url = self.hook.job_url(ref.kind, ref.ids[0], ref.where, self.hook.fields())
        context["ti"].xcom_push(key=IDS_KEY, value=list(ref.ids))
        for link in self.operator_extra_links:
            context["ti"].xcom_push(key=link.xcom_key, value=self.job_url)

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
            self._told = Changes(self.log, ref)
        return self._told

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
        journal.write(story)
        if entry.mended <= MENDINGS:
            return None
        return Unreachable(f"watching broke off {MENDINGS} times ({reason}): can the triggerer reach the remote?")

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Airflow fails a task whose trigger died or timed out; that says nothing of the job, so we look at it."""
        if next_method == "__fail__":
            next_method, next_kwargs = "trigger_died", {"reason": str((next_kwargs or {}).get("error"))}
        return super().resume_execution(next_method, next_kwargs, context)


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
    """:raises BadInput: for anything but a positive duration"""
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not number > 0:
        raise BadInput(f"{name} must be a number of seconds above 0, or a timedelta, not {value!r}")
    return float(number)
