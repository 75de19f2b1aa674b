"""One worker run of a task: executes the lifecycle of its job, blocking. A try that defers has several worker runs.

It handles the effects of the execution: requests and sleeps with the hook, the record with the task state store, links
and ids with XComs, and deferring.
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
from sluice_provider.compat.human_input import wait_for_input
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
    WaitForInput,
    WaitHere,
)
from sluice_provider.jobs.lifecycle import Lifecycle, Options
from sluice_provider.jobs.model import JobGroup, JobRef, StatusObserver, WaitResult, read_event
from sluice_provider.jobs.question import CHOICES, Choice, Question
from sluice_provider.jobs.record import MAX_IDS, JobRecord, PhaseRecord, ReplacedJob, Submission, digest
from sluice_provider.jobs.spec import JobSpec, Phase
from sluice_provider.progress import WORKER_RUN_KEY, WRITE_INTERVAL_SECONDS, merge_trigger_events
from sluice_provider.runtime.store import TaskRecords

if TYPE_CHECKING:
    from sluice_provider.http.flow import Flow
    from sluice_provider.runtime.task import RemoteJobTask
    from sluice_provider.triggers import JobTrigger

T = TypeVar("T")

IDS_KEY, COUNT_KEY = "job_ids", "job_count"
"""XCom keys of the first of the service's ids, and of their number; pushed as soon as they are known."""

ID_FIELD = "job_id"
"""The field of a question for the id of a job."""

TRIGGER_TIMEOUT_MARGIN_SECONDS = 300.0
"""Seconds after a trigger's own deadline at which Airflow ends it, in case it hangs."""

MAX_SIGNAL_SECONDS = 2.0
"""Seconds to wait for Airflow's response in a process that received a stop signal; it is killed soon after."""

MAX_RESULT_REPLACED_JOBS = 20
"""Replaced jobs that are listed in the result."""


class JobRun:
    """
    :param task: the operator or sensor
    :param spec: its job
    :param wait_here: how a sensor waits in the worker; by default with the flow that polls the jobs
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
            self._task.hook.hook_name,
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

    # --- entry points

    def start(self) -> JobRecord:
        """Start a try."""
        self.spec.validate()
        self._check_trigger()
        self._note_worker_run()
        record = self._records.load()
        if record is not None and self._options.durable:
            self.spec.resume(record)
        fingerprint, error = "", None
        try:
            fingerprint = self._fingerprint()
        except InvalidInput as unreadable:
            error = unreadable
        started = on.Started(time.time(), fingerprint, self._records.clears, self._records.seed(fingerprint), error)
        return self._drive(self.execution.run(record, started))

    def _fingerprint(self) -> str:
        """Of the service, the connection and the input. :raises InvalidInput: for unusable input"""
        if (reading := self.spec.read_before_input()) is not None:
            self._task.hook.run(reading)
        return digest([self.spec.service, self._task.conn_id, self.spec.fingerprint()])

    def resume(self, event: Any) -> JobRecord:
        """Resume after the deferral, with the trigger's event."""
        outcome, error = read_event(event)
        if error:
            self.log.warning("The trigger stopped polling; checking the status of the job in the worker: %s", error)
        record = self._resumed_record(outcome)
        restart = str(error) if isinstance(error, Unreachable) else ""
        return self._drive(self.execution.run(record, on.Resumed(time.time(), None if restart else error, restart)))

    def answered(self, event: Any) -> JobRecord:
        """Resume with a person's answer about an unknown outcome."""
        record = self._resumed_record(None)
        return self._drive(self.execution.run(record, read_answer(event, time.time())))

    def resume_after_trigger_death(self, reason: str) -> JobRecord:
        """Resume after the trigger ended without an event: poll the job, and never submit again."""
        self.log.warning(
            "The trigger ended without an event (%s); checking the status of the job in the worker", reason
        )
        record = self._resumed_record(None)
        if "timeout" in reason.casefold():
            error = TimedOut(f"the trigger did not end within {self._options.timeout:.0f} s")
            return self._drive(self.execution.run(record, on.Resumed(time.time(), error)))
        return self._drive(self.execution.run(record, on.Resumed(time.time(), restart=reason)))

    def terminate(self) -> None:
        """Handle a stop signal, in its handler: Airflow kills this process in a few seconds."""
        if self.execution.record is None:
            return
        self._terminating = True
        self._task.hook.interrupt()
        user_ended, why = evidence.of_try(_in_thread(lambda: task_state(self._context["ti"])))
        try:
            self._drive(self.execution.terminate(user_ended, why))
        except Exception as error:  # noqa: BLE001 - after any error the next try reconnects
            self.log.warning("The job could not be cancelled in %s: %r", self._task.hook.hook_name, error)

    # --- effects of the execution

    def _drive(self, run: Run) -> JobRecord:
        with closing(run):
            return self._task.hook.run(self._handle_effects(run))

    def _handle_effects(self, run: Run) -> Flow[JobRecord]:
        """The requests and sleeps of a run; all other effects are handled here."""
        result: Any = None
        while True:
            try:
                effect = run.throw(result) if isinstance(result, SluiceError) else run.send(result)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            try:
                if isinstance(effect, WaitHere):
                    result = (yield from effect.flow) if self._wait_here is None else self._wait_here()
                elif type(effect) in _HANDLERS:
                    result = _HANDLERS[type(effect)](self, effect)
                else:
                    result = yield effect
            except SluiceError as error:
                result = error

    def _save(self, effect: SaveRecord) -> None:
        self._saved_at = time.time()
        if self._terminating:
            self._save_in_thread(effect.record)
        elif effect.must:
            self._records.save(effect.record, effect.only)
        else:
            self._try_to_save(effect.record)

    def _try_to_save(self, record: JobRecord) -> None:
        """For updates on which no decision depends: failing to write them does not affect the job."""
        try:
            self._records.save(record)
        except Exception as error:  # noqa: BLE001 - no error here affects the job
            self.log.warning("The job's record could not be written, the job is not affected: %r", error)

    def _save_in_thread(self, record: JobRecord) -> None:
        """A signal may interrupt a request to Airflow, and the same thread cannot send another one. Airflow accepts
        this only from the latest try, so without a response nothing is cancelled.

        :raises Unreachable: Airflow did not accept it
        """

        def save() -> bool:
            self._records.save(record)
            return True

        if not _in_thread(save):
            raise Unreachable(
                "Airflow did not accept the job's record: a newer try may be waiting for the job", maybe_applied=False
            )

    def _publish(self, effect: PublishJob) -> None:
        """Make the ids and the link visible while the job runs. They are for people, and the record has them as well,
        so an error here does not fail the task."""
        self._task.job_url = str(effect.record.summary.get("url") or "")
        ids = {IDS_KEY: list(effect.ids[:MAX_IDS]), COUNT_KEY: len(effect.ids)}
        links = {link.xcom_key: self._task.job_url for link in self._task.operator_extra_links}
        try:
            for key, value in {**ids, **links}.items():
                self._context["ti"].xcom_push(key=key, value=value)
        except Exception as error:  # noqa: BLE001 - no error here affects the job
            self.log.warning("The job's ids and link could not be written to XCom, the job is not affected: %r", error)

    def _count(self, effect: CountMetric) -> None:
        action = effect.action
        if action.state:
            metrics.finished(effect.ref, action.state, action.seconds)
        else:
            metrics.count(action.name, effect.ref)

    def _defer(self, effect: DeferTask) -> NoReturn:
        """Wait in the triggerer.

        If a user marks the task while it is being deferred, its job is not cancelled: this process gets no signal, and
        Airflow never starts the trigger. The jobs page then shows the job as orphaned.
        """
        left = max(0.0, self._options.timeout - max(0.0, time.time() - effect.submitted_at))
        self._task.hook.close()
        self.spec.close()
        self._task.defer(
            trigger=self._trigger(effect.ref, effect.submitted_at),
            method_name="execute_complete",
            timeout=timedelta(seconds=left + self._task.poll_interval + TRIGGER_TIMEOUT_MARGIN_SECONDS),
        )

    def _wait_for_input(self, effect: WaitForInput) -> NoReturn:
        """Wait for a person in Airflow's Required Actions."""
        self._task.hook.close()
        self.spec.close()
        wait_for_input(
            self._context["ti"],
            subject=effect.question.subject,
            body=_question_body(effect.question, self._task.hook.hook_name, self._task.conn_id),
            options=CHOICES,
            fields={ID_FIELD: "Id of the job, if it is there"},
            method="execute_answered",
        )

    def note_end(self, reason: str) -> None:
        """Write what ended this task while its job was running, for the page."""
        if (record := self.execution.record) is not None:
            now = time.time()
            self._try_to_save(record.with_event(now, "error", reason).with_summary(now, message=reason))

    def observe(self, ref: JobRef, work: JobGroup) -> None:
        """Log a status check, and save it every `WRITE_INTERVAL_SECONDS`."""
        if self._observer is None:
            self._observer = StatusObserver(self.log, self._task.hook.hook_name, ref, self._record_status)
        self._observer.ref = ref
        self.last_work = work
        self._observer(work)

    def _record_status(self, work: JobGroup, change: str) -> None:
        if self._observer is not None:
            metrics.count("status_check", self._observer.ref)
        self.execution.note(on.StatusSeen(time.time(), work, change))
        if (change or time.time() - self._saved_at >= WRITE_INTERVAL_SECONDS) and self.execution.record is not None:
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
            seen=self.last_work.digest if self.last_work else "",
        )

    def _check_trigger(self) -> None:
        """Check that the trigger can be serialized before anything is submitted, not after."""
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
            record = self._rebuilt_record(outcome)
        return merge_trigger_events(record, self._context["ti"], self.log)

    def _rebuilt_record(self, outcome: WaitResult | None) -> JobRecord:
        """The record was deleted (a user may do that): rebuild it from the trigger's reference to the jobs."""
        fingerprint = self._fingerprint()
        record = JobRecord(fingerprint, self._records.clears, self._records.seed(fingerprint))
        phase = self.spec.next_phase(record)
        unknown = outcome is None or outcome.job.ended.number > 0
        if outcome is None or unknown or phase is None or not phase.last or phase.job_type != outcome.job.job_type:
            raise UnexpectedResponse(
                "the record of this task was deleted, and the trigger did not report all jobs that were submitted to "
                f"{self._task.hook.hook_name}. Search for the jobs there: if they exist, mark this task as success; if "
                "not, clear this task to submit again"
            )
        self.log.warning("The record of this task was deleted; continuing with the job that the trigger polled")
        submissions = tuple(Submission(job_id) for job_id in outcome.job.ids)
        known = PhaseRecord(phase.name, time.time(), submissions=submissions, complete=True)
        return record.with_phase(known._replace(locator=dict(outcome.job.locator)))


_HANDLERS: Mapping[type, Callable[[JobRun, Any], Any]] = {
    SaveRecord: JobRun._save,
    PublishJob: JobRun._publish,
    CountMetric: JobRun._count,
    DeferTask: JobRun._defer,
    WaitForInput: JobRun._wait_for_input,
}


def _question_body(question: Question, service: str, conn_id: str) -> str:
    """As Markdown."""
    return "\n\n".join(
        [
            f"{question.text}.",
            f"Connection: `{conn_id}`",
            f"- **{Choice.FOUND}**: enter its id. It is checked in {service}, and the task ends with its result.",
            f"- **{Choice.SUBMIT_AGAIN}**: if {service} did accept the first request, the work is done twice.",
            f"- **{Choice.GIVE_UP}**: nothing is submitted.",
            "If this question comes back, the answer could not be used: the task's tab *Remote job* says why.",
        ]
    )


def read_answer(event: Any, now: float) -> on.Answered:
    """What a person answered; what is not readable is no choice, and is asked again."""
    event = event if isinstance(event, dict) else {}
    chosen, fields, user = (event.get(name) for name in ("chosen_options", "params_input", "responded_by_user"))
    choice = str(chosen[0]) if isinstance(chosen, list) and chosen else ""
    job_id = fields.get(ID_FIELD) if isinstance(fields, dict) else None
    name = user.get("name") or user.get("id") if isinstance(user, dict) else None
    return on.Answered(now, choice, str(job_id or "").strip(), str(name or "Somebody"))


def replaced_jobs(record: JobRecord) -> dict[str, Any]:
    """The fields of the result for jobs that were replaced by later ones: rows that they had processed may be in the
    service twice."""
    if not record.replaced:
        return {}
    rows = [job.rows for job in record.replaced if job.rows]
    result = {"replaced_jobs": [_replaced_job_result(job) for job in record.replaced[-MAX_RESULT_REPLACED_JOBS:]]}
    return {**result, "rows_maybe_twice": sum(rows)} if rows else result


def _replaced_job_result(job: ReplacedJob) -> dict[str, Any]:
    known = {"id": job.id or None, "state": job.state}
    return known if job.rows is None else {**known, "rows": job.rows}


def _in_thread(action: Callable[[], T]) -> T | None:
    """What an action returns within `MAX_SIGNAL_SECONDS`; None if it does not, or fails."""
    results: list[T] = []

    def run() -> None:
        try:
            results.append(action())
        except Exception:  # noqa: BLE001 - the caller treats an error like a missing response
            return

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(MAX_SIGNAL_SECONDS)
    return results[0] if results else None
