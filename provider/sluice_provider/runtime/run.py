"""One worker run of a task: executes the lifecycle of its job, blocking. A try that defers has several worker runs.

It gives the execution what it asks for: calls and pauses by the hook, the record by the task state store, links and ids
by XComs, and the triggerer by deferring.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import timedelta
from threading import Thread
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from sluice_provider import metrics
from sluice_provider.compat.task_state import task_state
from sluice_provider.errors import InvalidInput, SluiceError, TimedOut, UnexpectedResponse, Unreachable
from sluice_provider.jobs import events as on
from sluice_provider.jobs import evidence
from sluice_provider.jobs.execution import (
    CountMetric,
    DeferTask,
    Execution,
    PublishJob,
    Run,
    SaveRecord,
    WaitHere,
)
from sluice_provider.jobs.lifecycle import Lifecycle, Options
from sluice_provider.jobs.model import JobGroup, JobRef, StatusObserver, WaitResult, read_event
from sluice_provider.jobs.record import JobRecord, PhaseRecord, ReplacedJob, Submission, digest
from sluice_provider.jobs.spec import JobSpec, Phase
from sluice_provider.progress import EVERY, WORKER_RUN_KEY, merge_trigger_events
from sluice_provider.runtime.store import TaskRecords

if TYPE_CHECKING:
    from sluice_provider.http.flow import Flow
    from sluice_provider.runtime.task import RemoteJobTask
    from sluice_provider.triggers import JobTrigger

T = TypeVar("T")

IDS_KEY = "job_ids"
"""XCom key of the service's ids, pushed as soon as they are known."""

BACKSTOP = 300.0
"""Seconds after a trigger's own deadline at which Airflow ends it, should it hang."""

LONGEST_SIGNAL = 2.0
"""Seconds that Airflow may take to answer a process that was told to stop; it is killed soon after."""

MOST_TOLD = 20
"""So many replaced jobs are named in the result."""


class JobRun:
    """
    :param task: the operator or sensor
    :param spec: what its job is
    :param wait_here: how a sensor waits in the worker; by default the wait's own flow is run
    """

    def __init__(
        self,
        task: RemoteJobTask,
        spec: JobSpec,
        context: Any,
        options: Options,
        wait_here: Callable[[], JobGroup] | None = None,
    ) -> None:
        self._task = task
        self.spec = spec
        self._context = context
        self._options = options
        self._wait_here = wait_here
        self._terminating = False
        self._observer: StatusObserver | None = None
        self._saved_at = 0.0
        self.last_work: JobGroup | None = None
        self.log = spec.log = task.log
        self._records = TaskRecords(context, durable=options.durable)
        self.execution = Execution(
            spec,
            self._lifecycle(),
            task.hook.job_type,
            poll_interval=task.poll_interval,
            timeout=options.timeout,
            observe=self.observe,
        )

    def _lifecycle(self) -> Lifecycle:
        return Lifecycle(
            self.spec.service,
            self.spec.next_phase,
            self._options,
            cancellable=lambda job_type: (
                self._task.cancel_on_kill and self._task.hook.job_type(job_type).cancel is not None
            ),
            describe=self._describe,
            success_states=self.spec.success_states,
        )

    def _describe(self, phase: Phase, current: PhaseRecord) -> Mapping[str, Any]:
        hook, locator = self._task.hook, {**phase.locator, **current.locator}
        url = hook.job_url(phase.job_type, current.ids[0], locator, hook.fields()) if current.ids else ""
        known = {
            "service": self.spec.service,
            "conn_id": self._task.conn_id,
            "noun": hook.job_type(phase.job_type).noun,
        }
        return {**known, "url": url, "ended_at": None}

    # --- the three ways in

    def start(self) -> JobRecord:
        """A try begins."""
        self.spec.validate()
        self._check_trigger()
        self._note_worker_run()
        record = self._records.load()
        fingerprint, error = "", None
        try:
            fingerprint = digest([self.spec.service, self._task.conn_id, self.spec.fingerprint()])
        except InvalidInput as unreadable:
            error = unreadable
        started = on.Started(time.time(), fingerprint, self._records.clears, self._records.seed(fingerprint), error)
        return self._drive(self.execution.run(record, started))

    def resume(self, event: Any) -> JobRecord:
        """Back from the triggerer, which says why in `event`."""
        outcome, error = read_event(event)
        if error:
            self.log.warning("The trigger stopped watching: %s", error)
        record = self._resumed_record(outcome)
        restart = str(error) if isinstance(error, Unreachable) else ""
        return self._drive(self.execution.run(record, on.Resumed(time.time(), None if restart else error, restart)))

    def resume_after_trigger_death(self, reason: str) -> JobRecord:
        """Back from the triggerer, which did not live to say anything: poll the job, and never submit again."""
        self.log.warning(
            "The trigger ended without an event (%s); checking the status of the job in the worker", reason
        )
        record = self._resumed_record(None)
        if "timeout" in reason.casefold():
            error = TimedOut(f"the triggerer did not come back within {self._options.timeout:.0f} s")
            return self._drive(self.execution.run(record, on.Resumed(time.time(), error)))
        return self._drive(self.execution.run(record, on.Resumed(time.time(), restart=reason)))

    def terminate(self) -> None:
        """Told to stop, in a signal handler: Airflow kills this process in a few seconds."""
        if self.execution.record is None:
            return
        self._terminating = True
        self._task.hook.interrupt()
        user_ended, why = evidence.of_try(_beside(lambda: task_state(self._context["ti"])))
        try:
            self._drive(self.execution.terminate(user_ended, why))
        except Exception as error:  # noqa: BLE001 - whatever it is, the next try reconnects
            self.log.warning("The job could not be cancelled: %r", error)

    # --- what the execution asks for

    def _drive(self, run: Run) -> JobRecord:
        with closing(run):
            return self._task.hook.run(self._answered(run))

    def _answered(self, run: Run) -> Flow[JobRecord]:
        """The calls and pauses of a run; everything else that it asks for is done here."""
        answer: Any = None
        while True:
            try:
                effect = run.throw(answer) if isinstance(answer, SluiceError) else run.send(answer)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            try:
                if isinstance(effect, WaitHere):
                    answer = (yield from effect.flow) if self._wait_here is None else self._wait_here()
                elif type(effect) in _OWN:
                    answer = _OWN[type(effect)](self, effect)
                else:
                    answer = yield effect
            except SluiceError as error:
                answer = error

    def _save(self, effect: SaveRecord) -> None:
        self._saved_at = time.time()
        if self._terminating:
            self._save_beside(effect.record)
        elif effect.must:
            self._records.save(effect.record, effect.only)
        else:
            self._try_to_save(effect.record)

    def _try_to_save(self, record: JobRecord) -> None:
        """For news by which nothing is decided: that they cannot be written does not matter to the job."""
        try:
            self._records.save(record)
        except Exception as error:  # noqa: BLE001 - whatever it is, what matters is written elsewhere
            self.log.warning("The record could not be written: %r", error)

    def _save_beside(self, record: JobRecord) -> None:
        """A signal may have come in the middle of talking to Airflow, which one thread cannot do twice. Airflow takes
        this only from the latest try, so without an answer nothing is cancelled.

        :raises Unreachable: it was not taken
        """

        def save() -> bool:
            self._records.save(record)
            return True

        if not _beside(save):
            raise Unreachable(
                "Airflow did not take the record: perhaps a newer try watches the job", maybe_applied=False
            )

    def _publish(self, effect: PublishJob) -> None:
        """Make the ids and the link visible while the job runs. They are for people, and the record has them as well,
        so a job that was accepted does not fail for them."""
        self._task.job_url = str(effect.record.summary.get("url") or "")
        values: dict[str, Any] = {link.xcom_key: self._task.job_url for link in self._task.operator_extra_links}
        try:
            for key, value in {IDS_KEY: list(effect.ref.ids), **values}.items():
                self._context["ti"].xcom_push(key=key, value=value)
        except Exception as error:  # noqa: BLE001 - whatever it is, the job is not affected
            self.log.warning("The job's ids and link could not be written to XCom, the job is not affected: %r", error)

    def _count(self, effect: CountMetric) -> None:
        action = effect.action
        if action.state:
            metrics.finished(effect.ref, action.state, action.seconds)
        else:
            metrics.count(action.name, effect.ref)

    def _defer(self, effect: DeferTask) -> NoReturn:
        """Wait in the triggerer.

        If a user marks the task in the very second in which it defers, nobody cancels its job: this process has no
        signal to expect any more, and Airflow never starts the trigger. The page shows the job as orphaned then.
        """
        left = max(0.0, self._options.timeout - max(0.0, time.time() - effect.submitted_at))
        self._task.hook.close()
        self.spec.close()
        self._task.defer(
            trigger=self._trigger(effect.ref, effect.submitted_at),
            method_name="execute_complete",
            timeout=timedelta(seconds=left + self._task.poll_interval + BACKSTOP),
        )

    def observe(self, ref: JobRef, work: JobGroup) -> None:
        """A status check: into the log, and now and then into the record."""
        if self._observer is None or self._observer.ref != ref:
            self._observer = StatusObserver(self.log, ref, self._note)
        self.last_work = work
        self._observer(work)

    def _note(self, work: JobGroup, news: str) -> None:
        if self._observer is not None:
            metrics.count("status_check", self._observer.ref)
        self.execution.note(on.StatusSeen(time.time(), work, news))
        if (news or time.time() - self._saved_at >= EVERY) and self.execution.record is not None:
            self._saved_at = time.time()
            self._try_to_save(self.execution.record)

    # --- deferring and resuming

    def _trigger(self, ref: JobRef, submitted_at: float) -> JobTrigger:
        from sluice_provider.triggers import JobTrigger

        return JobTrigger(
            service=self.spec.service,
            conn_id=self._task.conn_id,
            job=ref.to_json(),
            submitted_at=submitted_at,
            timeout=self._options.timeout,
            poll_interval=self._task.poll_interval,
            cancel_on_kill=self._task.cancel_on_kill,
            deferred_at=time.time(),
        )

    def _check_trigger(self) -> None:
        """What the trigger cannot carry must be found out before anything is submitted, not after."""
        if self._options.deferrable:
            json.dumps(self._trigger(JobRef(self.spec.service, "job", ("?",), self.spec.locator), 0.0).serialize())

    def _note_worker_run(self) -> None:
        cancellable = any(job_type.cancel is not None for job_type in self._task.hook.job_types.values())
        if self._options.deferrable and self._task.cancel_on_kill and cancellable:
            self._context["ti"].xcom_push(key=WORKER_RUN_KEY, value=time.time())

    def _resumed_record(self, outcome: WaitResult | None) -> JobRecord:
        self._note_worker_run()
        record = self._records.load()
        if record is None:
            record = self._recovered(outcome)
        return merge_trigger_events(record, self._context["ti"], self.log)

    def _recovered(self, outcome: WaitResult | None) -> JobRecord:
        """The record is gone (a user may delete it): what the trigger watched is all that is left to go by."""
        fingerprint = digest([self.spec.service, self._task.conn_id, self.spec.fingerprint()])
        record = JobRecord(fingerprint, self._records.clears, self._records.seed(fingerprint))
        phase = self.spec.next_phase(record)
        if outcome is None or phase is None or not phase.last or phase.job_type != outcome.job.job_type:
            raise UnexpectedResponse(
                f"the record of this task was deleted, and the trigger does not say what was submitted to "
                f"{self.spec.service}. Look there for the job: if it is there, mark this task as success; if not, "
                "clear this task to submit again"
            )
        self.log.warning("The record of this task was deleted; continuing with the job that the trigger polled")
        submissions = tuple(Submission(job_id) for job_id in outcome.job.ids)
        known = PhaseRecord(phase.name, time.time(), submissions=submissions, complete=True)
        return record.with_phase(known._replace(locator=dict(outcome.job.locator)))


_OWN: Mapping[type, Callable[[JobRun, Any], Any]] = {
    SaveRecord: JobRun._save,
    PublishJob: JobRun._publish,
    CountMetric: JobRun._count,
    DeferTask: JobRun._defer,
}


def replaced_jobs(record: JobRecord) -> dict[str, Any]:
    """What the result tells of work that was done more than once, so that it is seen downstream: jobs whose place was
    taken. Rows that they had processed may have arrived twice."""
    if not record.replaced:
        return {}
    rows = [job.rows for job in record.replaced if job.rows]
    told = {"replaced_jobs": [_result_of(job) for job in record.replaced[-MOST_TOLD:]]}
    return {**told, "rows_maybe_twice": sum(rows)} if rows else told


def _result_of(job: ReplacedJob) -> dict[str, Any]:
    known = {"id": job.id or None, "state": job.state}
    return known if job.rows is None else {**known, "rows": job.rows}


def _beside(action: Callable[[], T]) -> T | None:
    """What an action returns, if it does so soon; None if it does not, or fails."""
    results: list[T] = []

    def act() -> None:
        try:
            results.append(action())
        except Exception:  # noqa: BLE001 - no answer is an answer here
            return

    thread = Thread(target=act, daemon=True)
    thread.start()
    thread.join(LONGEST_SIGNAL)
    return results[0] if results else None
