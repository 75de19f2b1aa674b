"""What happens next, for every job of every service: `step(record, event) -> (record, actions)`.

Pure: no Airflow, no clock, no I/O. Events carry the time. `Execution` performs the actions in order; the last action of
a step causes the next event, or ends the run. A crash at any point leaves a record from which `Started` or `Resumed`
continues.

Rules that hold for all services:

- A request that is not idempotent is sent only after its intent was saved, and its response is saved right after.
- An unknown outcome is reconciled the same way by the process that lost the response and by the next try: find out
  whether the request was applied, then continue with the job, or submit again.
- A job is cancelled only if a user ended this try; a clear is handled by the next try, which knows for certain.
- A trigger's event is never trusted: the service is polled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, NamedTuple

from sluice_provider.errors import JobFailed, OutcomeUnknown, SafetyLimitExceeded, SluiceError, TimedOut, Unreachable
from sluice_provider.jobs import events as on
from sluice_provider.jobs.events import Action, Event
from sluice_provider.jobs.model import MAX_LOGGED_REJECTIONS, Job, JobGroup, JobState
from sluice_provider.jobs.question import Choice, Question
from sluice_provider.jobs.record import (
    MAX_ID_BYTES,
    Intent,
    JobRecord,
    PendingRerun,
    PhaseRecord,
    ReplacedJob,
    Submission,
    TransientState,
    digest,
    merge_counts,
    truncate,
)
from sluice_provider.jobs.spec import Found, NoEffect, Phase, RepeatRequest, Resubmit, Unknown

MAX_SUBMISSIONS = 2
"""How often one try submits the same unit, if the requests have no effect."""

MAX_TRIGGER_RESTARTS = 10
"""How many triggers of one phase may die, or give up, before the task fails."""

BRIEF_WAIT_SECONDS = 6.0
"""Seconds after a submission that a worker waits before it defers. A deferral takes longer in any case: a trigger lives
that long at the least, and then a worker starts a process, which costs it more than these seconds of sleeping."""

MAX_BRIEF_WAIT_JOBS = 4
"""More jobs than these are not waited for in the worker: polling them costs more than a deferral."""

MAX_REPLACED_JOBS = 50
"""How many replaced jobs the record keeps."""

Step = tuple[JobRecord, list[Action]]


class Options(NamedTuple):
    """The operator's arguments.

    :param timeout: seconds after the submission until the wait is given up
    :param durable: a retry reconnects to the job of the try before; else it submits again
    :param watch_only: the jobs were submitted elsewhere (sensors)
    :param request_input: where only a person can find out what became of a request, wait for the answer; else fail
    """

    wait_for_completion: bool = True
    deferrable: bool = False
    timeout: float = 86400.0
    durable: bool = True
    watch_only: bool = False
    request_input: bool = False


class Lifecycle:
    """
    :param service: its title, for messages
    :param next_phase: `JobSpec.next_phase`
    :param cancellable: whether the service can cancel jobs of this type
    :param describe: what the jobs page needs of a phase's jobs: `service`, `conn_id`, `noun`, `url`, ...
    :param success_states: final states that count as success
    """

    def __init__(
        self,
        service: str,
        next_phase: Callable[[JobRecord], Phase | None],
        options: Options,
        *,
        cancellable: Callable[[str], bool] = lambda _job_type: False,
        describe: Callable[[Phase, PhaseRecord], Mapping[str, Any]] = lambda _phase, _record: {},
        success_states: frozenset[JobState] = frozenset({JobState.SUCCEEDED}),
    ) -> None:
        self._service = service
        self._next_phase = next_phase
        self._options = options
        self._cancellable = cancellable
        self._describe = describe
        self._success_states = success_states

    def step(self, record: JobRecord | None, event: Event) -> Step:
        """The record after an event, and what to do next. The last action causes the next event.

        :raises SluiceError: the input cannot be read, and not all of it was submitted
        """
        if isinstance(event, on.Started):
            return self._started(record, event)
        assert record is not None, "only a beginning has no record"  # noqa: S101 - a broken shell, not bad input
        return _STEPS[type(event)](self, record, event)

    # --- starting and resuming

    def _started(self, old: JobRecord | None, event: on.Started) -> Step:
        old = old._replace(transient=TransientState()) if old is not None and self._options.durable else None
        actions: list[Action] = []
        if event.input_error is not None:
            if old is None or not _all_submitted(old):
                raise event.input_error
            line = f"The input can no longer be read, but all of it was already submitted: {event.input_error}"
            actions.append(on.Log("warning", line))
            event = event._replace(fingerprint=old.fingerprint)
        if old is None:
            return self._continue(JobRecord(event.fingerprint, event.clears, event.seed), actions)
        cleared = all(now > then for now, then in zip(event.clears, old.clears, strict=True))
        if cleared and self._options.watch_only:
            new = JobRecord(event.fingerprint, event.clears, event.seed, history=old.history, unknown=old.unknown)
            return self._continue(new.with_event(event.now, "cleared"), actions)
        if cleared or old.rerun:
            state = old.rerun.state if old.rerun else "cleared"
            rerun = PendingRerun(state, event.fingerprint, event.clears, event.seed)
            return self._rerun(old._replace(rerun=rerun).with_event(event.now, "cleared"), event.now, actions)
        if old.fingerprint != event.fingerprint:
            rerun = PendingRerun("", event.fingerprint, event.clears, event.seed)
            return self._start_over(old._replace(rerun=rerun), event.now, actions, "The input has changed")
        return self._reconnect(old, event.now, actions)

    def _reconnect(self, record: JobRecord, now: float, actions: list[Action]) -> Step:
        """Continue with the jobs of an earlier try."""
        current = self._current(record)
        actions = [*actions, *(on.Log("warning", _abandoned_message(each)) for each in _abandoned(record, current))]
        if current is not None and current.intent is not None:
            share = _describe_share(self._open(record)[0], current.intent)
            line = f"An earlier try got no response to a request, so its outcome is unknown: {share}"
            record = record.with_event(now, "outcome_unknown", line)
            return record, [*actions, on.Log("warning", line), on.Count("job.outcome_unknown"), on.Reconcile()]
        if current is not None and current.submissions:
            return record._replace(transient=TransientState(reconnecting=True)), [*actions, on.Poll()]
        return self._continue(record, actions)

    def _resumed(self, record: JobRecord, event: on.Resumed) -> Step:
        record = record._replace(transient=TransientState(error=event.error))
        current = self._current(record)
        if current is None or not current.submissions:
            return self._reconnect(record, event.now, [])
        if not event.restart:
            return record, [on.Publish(), on.Poll()]
        current = current._replace(trigger_restarts=current.trigger_restarts + 1)
        record = record.with_phase(current).with_event(event.now, "trigger_restarted", event.restart)
        if current.trigger_restarts > MAX_TRIGGER_RESTARTS:
            words = f"the trigger ended before the job {MAX_TRIGGER_RESTARTS} times, last: {event.restart}"
            error = Unreachable(f"{words}. Check whether the triggerer can reach {self._service}, and its log")
            record = record._replace(transient=TransientState(error=error))
        return record, [on.Save(), on.Publish(), on.Poll()]

    # --- a cleared task: run again, but never twice at the same time

    def _rerun(self, record: JobRecord, now: float, actions: list[Action]) -> Step:
        assert record.rerun is not None  # noqa: S101 - a broken step, not bad input
        current, why = self._current(record), "The task was cleared"
        failed = record.summary.get("state") == "failed"
        if current is None:
            between_phases = record.phases and not failed and self._next_phase(record) is not None
            return (
                self._keep_running_job(record, now, actions)
                if between_phases
                else self._start_over(record, now, actions, why)
            )
        if current.intent is not None and not self._open(record)[0].grouped:
            if current.intent.reported or record.fingerprint != record.rerun.fingerprint:
                # A request with different input can neither be searched for nor repeated with this input.
                return self._start_over(record, now, actions, why)
            return record, [*actions, on.Save(), on.Reconcile()]
        if current.submissions:
            transient = TransientState(reconnecting=True, failed=failed)
            return record._replace(transient=transient), [*actions, on.Save(), on.Poll()]
        if len(record.phases) > 1:
            return self._keep_running_job(record, now, actions)
        return self._start_over(record, now, actions, why)

    def _keep_running_job(self, record: JobRecord, now: float, actions: list[Action]) -> Step:
        """The running job cannot be cancelled, so the cleared task reconnects to it."""
        assert record.rerun is not None  # noqa: S101 - a broken step, not bad input
        if record.fingerprint != record.rerun.fingerprint:
            return self._start_over(record, now, actions, "The task was cleared, and its input has changed")
        record = record._replace(rerun=None, clears=record.rerun.clears)
        line = "The task was cleared between two of its jobs: continuing with the next one"
        if self._current(record) is not None:
            line = "The task was cleared while its job was running: reconnecting to that job"
        return self._reconnect(record, now, [*actions, on.Log("info", line), on.Save()])

    def _polled_before_rerun(self, record: JobRecord, rerun: PendingRerun, work: JobGroup, now: float) -> Step:
        phase, current = self._open(record)
        transient, record = record.transient, record._replace(transient=TransientState())
        result_rejected = transient.failed and work.state in self._success_states
        if not current.complete:
            return record, [on.Save(), on.Prepare()]
        if work.over and rerun.state == "cancelling" and work.state is not JobState.CANCELLED:
            line = f"The job had ended before it could be cancelled, so its outcome counts: {work}"
            record = record._replace(rerun=None, clears=rerun.clears)
            step, actions = self._over(record, phase, work, now)
            return step, [on.Log("warning", line), *actions]
        if work.over and (phase.last or result_rejected):
            return self._start_over(record, now, [], f"The task was cleared ({work})", work)
        if work.over or not self._cancellable(phase.job_type):
            return self._keep_running_job(record, now, [])
        if rerun.state == "cancelling" and not transient.reconnecting:
            return self._wait(record._replace(transient=transient), work, now)
        record = record._replace(rerun=rerun._replace(state="cancelling")).with_summary(now, state="cancelling")
        line = f"The task was cleared while its job ran: cancelling {_format_ids(current.ids)}, then submitting again"
        return record.with_event(now, "cancel", line), [on.Log("info", line), on.Save(), on.Cancel()]

    def _start_over(
        self, old: JobRecord, now: float, actions: list[Action], why: str, work: JobGroup | None = None
    ) -> Step:
        """With other input, or with the same input again. The result lists what was submitted before."""
        assert old.rerun is not None  # noqa: S101 - a broken step, not bad input
        line = f"{why}: submitting again; previously submitted: {old.submitted}"
        seen = {job.id: job for job in work.jobs} if work else {}
        replaced = (*old.replaced, *(job for phase in old.phases for job in _replaced(phase, seen)))
        new = JobRecord(
            old.rerun.fingerprint,
            old.rerun.clears,
            old.rerun.seed,
            replaced=replaced[-MAX_REPLACED_JOBS:],
        )
        new = new._replace(history=old.history, unknown=old.unknown).with_event(now, "replaced", line)
        new = new._replace(transient=TransientState(before=old if old.rerun.state else old._replace(rerun=None)))
        return self._continue(new, [*actions, on.Log("warning" if old.submitted != "nothing" else "info", line)])

    # --- submitting

    def _continue(self, record: JobRecord, actions: list[Action]) -> Step:
        """The next action, by the state of the record."""
        phase = self._next_phase(record)
        if phase is None:
            if record.summary.get("state") == "running":  # the last phase did not know that it was the last
                ended_at = (record.phases[-1].outcome or {}).get("at")
                record = record._replace(summary={**record.summary, "state": "succeeded", "ended_at": ended_at})
                actions = [*actions, on.Save(must=False)]
            return record, [*actions, on.Finish()]
        if not record.phase(phase.name).complete:
            return record, [*actions, on.Prepare()]
        return self._submitted_all(record, phase, actions)

    def _unit_prepared(self, record: JobRecord, event: on.UnitPrepared) -> Step:
        phase, current = self._open(record)
        key, before = event.key or self._key(record, current), current.intent
        # The service keeps a key from its first use: repeating it does not extend that.
        repeated = before is not None and before.key == key
        intent = Intent(key, before.at if before is not None and repeated else event.now, event.start, event.size)
        # Saved with the intent: after a death, a job that is not visible yet is not taken for lost.
        current = _with_facts(current, event)._replace(intent=intent, submitted_at=event.now)
        record = record.with_phase(current).with_event(event.now, "submitting", _describe_share(phase, intent))
        state = "running" if any(each.submissions for each in record.phases) else "submitting"
        record = self._summary(record, phase, current, event.now, state=state, ended_at=None)
        transient = record.transient._replace(
            submissions=record.transient.submissions + 1, repeated=repeated, before=None
        )
        return record._replace(transient=transient), [on.Save(only="intent"), on.Submit()]

    def _unit_found(self, record: JobRecord, event: on.UnitFound) -> Step:
        phase, current = self._open(record)
        record = record.with_phase(_with_facts(current, event))
        return self._accepted(record, phase, Submission(event.id), event.now)

    def _submitted(self, record: JobRecord, event: on.Submitted) -> Step:
        phase, _ = self._open(record)
        if not phase.grouped:
            record, actions = self._accepted(record, phase, event.submissions[0], event.now)
            return record, [on.Count("job.started"), *actions]
        record = self._with_submissions(record, phase, event.submissions, event.now)
        record = record.with_phase(_intent_for_the_rest(record.phase(phase.name)))
        actions = [on.Count("job.started") for _ in event.submissions]
        if event.submissions:
            line = _describe_accepted(self._service, phase, event.submissions)
            actions = [*actions, on.Log("info", line)]
        if event.complete:
            step, more = self._all_submitted(record, on.AllSubmitted(event.now))
            return step, [*actions, *more]
        return record, [*actions, on.Save(), on.Submit()]

    def _accepted(self, record: JobRecord, phase: Phase, submission: Submission, now: float) -> Step:
        record = self._with_submissions(record, phase, (submission,), now)
        record = record.with_phase(record.phase(phase.name)._replace(intent=None))
        return record._replace(transient=TransientState()), [on.Save(only="answer"), on.Prepare()]

    def _with_submissions(
        self, record: JobRecord, phase: Phase, submissions: tuple[Submission, ...], now: float
    ) -> JobRecord:
        if not submissions:
            return record
        current = record.phase(phase.name)
        current = current._replace(submissions=(*current.submissions, *submissions), submitted_at=now)
        record = record.with_phase(current).with_event(now, "submitted", _describe_submissions(phase, submissions))
        return self._summary(record, phase, current, now, state="running")

    def _all_submitted(self, record: JobRecord, event: on.AllSubmitted) -> Step:
        phase, current = self._open(record)
        current = phase.settled(current)._replace(complete=True, intent=None, submitted_at=event.now)
        record = self._summary(record.with_phase(current), phase, current, event.now, state="running")
        return self._submitted_all(record, phase, [on.Save()])

    def _submitted_all(self, record: JobRecord, phase: Phase, actions: list[Action]) -> Step:
        if self._ends_at_submission(record, phase):
            step, more = self._finish_submitted(record)
            return step, [*actions, on.Publish(), *more]
        return record, [*actions, on.Publish(), on.Poll()]

    def _ends_at_submission(self, record: JobRecord, phase: Phase) -> bool:
        return phase.last and not self._options.wait_for_completion and not record.rerun

    def _finish_submitted(self, record: JobRecord) -> Step:
        record = record._replace(summary={**record.summary, "state": "submitted"})
        return record, [on.Save(must=False), on.Finish()]

    def _submission_failed(self, record: JobRecord, event: on.SubmissionFailed) -> Step:
        phase, _ = self._open(record)
        record = self._with_submissions(record, phase, event.submissions, event.now)
        current, error = record.phase(phase.name), event.error
        if error.maybe_applied and not phase.grouped:
            record = record.with_event(event.now, "outcome_unknown", str(error))
            line = f"The outcome of a request is unknown, checking whether {self._service} accepted it: {error}"
            return record, [on.Log("warning", line), on.Count("job.outcome_unknown"), on.Save(), on.Reconcile()]
        again = isinstance(error, phase.prepare_again_on) and record.transient.submissions < MAX_SUBMISSIONS
        record = record.with_phase(_after_rejection(current, error, record.transient))
        if again:
            line = f"{error}; checking whether it is there already"
            return record, [on.Log("warning", line), on.Save(), on.Prepare()]
        return self._fail(record, error, event.now)

    # --- outcome unknown

    def _reconciled(self, record: JobRecord, event: on.Reconciled) -> Step:
        phase, current = self._open(record)
        intent, effect = current.intent, event.effect
        assert intent is not None, "only an intent is reconciled"  # noqa: S101 - a broken shell, not bad input
        if isinstance(effect, Found):
            line = f"{self._service} accepted the request: continuing with {effect.id}"
            submission = Submission(effect.id, intent.start, intent.size)
            record, actions = self._accepted(record.with_event(event.now, "outcome_unknown", line), phase, submission,
                                             event.now)  # fmt: skip
            return record, [on.Log("warning", line), *actions]
        if isinstance(effect, Unknown) and self._options.request_input:
            return self._request_input(record, phase, effect, event.now)
        if isinstance(effect, Unknown):
            record = record.with_phase(current._replace(intent=intent._replace(reported=True)))
            return self._fail(record, effect.error, event.now)
        record = _resubmitting(record, current, effect)
        why = "the request had no effect" if isinstance(effect, NoEffect) else effect.why
        if record.transient.submissions >= MAX_SUBMISSIONS:
            times = record.transient.submissions
            words = f"{phase.name} was submitted {times} times, the last time without an effect: {why}"
            return self._fail(record, Unreachable(words), event.now)
        line = f"Submitting again: {why}"
        record = record.with_event(event.now, "outcome_unknown", line)
        if record.rerun and not isinstance(effect, RepeatRequest):
            return self._rerun(record, event.now, [])
        return record, [on.Log("warning", line), on.Save(), on.Prepare()]

    # --- a person decides about an unknown outcome

    def _request_input(self, record: JobRecord, phase: Phase, effect: Unknown, now: float) -> Step:
        """The intent stays open, so until there is an answer that can be used, every try asks again."""
        problem = record.transient.problem
        text = effect.question or str(effect.error)
        question = Question(f"{self._service}: was the {phase.job_type} accepted?", text)
        line = f"{text}. The task waits for an answer in Airflow's Required Actions"
        record = record._replace(transient=TransientState())
        # Airflow keeps the first text of a question, so the reason for the second is in the log and in the record.
        line = f"The last answer could not be used: {problem}. {line}" if problem else line
        record = record.with_event(now, "outcome_unknown", line)
        record = record.with_summary(now, state="outcome_unknown", message=line)
        return record, [on.Log("warning", line), on.Save(), on.RequestInput(question)]

    def _request_input_again(self, record: JobRecord, problem: str) -> Step:
        return record._replace(transient=TransientState(problem=problem)), [on.Reconcile()]

    def _answered(self, record: JobRecord, event: on.Answered) -> Step:
        record = record._replace(transient=TransientState())
        current = self._current(record)
        if current is None or current.intent is None:  # it was settled since the question
            return self._reconnect(record, event.now, [])
        line = f"{event.by} answered: {event.choice}" + (f" ({event.id})" if event.id else "")
        record = record.with_event(event.now, "outcome_unknown", line)
        if event.choice == Choice.SUBMIT_AGAIN:
            step, actions = self._reconciled(record, on.Reconciled(event.now, Resubmit(line)))
        elif event.choice == Choice.GIVE_UP:
            step, actions = self._given_up(record, current, event)
        elif event.choice != Choice.FOUND:
            step, actions = self._request_input_again(record, f"The answer {event.choice!r} is none of the choices")
        elif problem := _problem_with_id(record, event.id):
            step, actions = self._request_input_again(record, problem)
        else:
            step, actions = record, [on.CheckJob(event.id)]
        return step, [on.Log("info", line), *actions]

    def _given_up(self, record: JobRecord, current: PhaseRecord, event: on.Answered) -> Step:
        assert current.intent is not None  # noqa: S101 - the caller looked
        record = record.with_phase(current._replace(intent=current.intent._replace(reported=True)))
        words = f"{event.by} gave up finding out what became of a request to {self._service}: {record.submitted}"
        then = "If it was accepted, mark this task as success; if not, clear this task to submit again"
        return self._fail(record, OutcomeUnknown(f"{words}. {then}"), event.now)

    def _job_checked(self, record: JobRecord, event: on.JobChecked) -> Step:
        if event.problem:
            return self._request_input_again(record, event.problem)
        return self._reconciled(record, on.Reconciled(event.now, Found(event.id)))

    # --- polling

    def _polled(self, record: JobRecord, event: on.Polled) -> Step:
        phase, _ = self._open(record)
        work = event.work
        record = self._with_status(record, work, event.now)
        if record.rerun:
            return self._polled_before_rerun(record, record.rerun, work, event.now)
        if record.transient.reconnecting:
            return self._reconnected(record._replace(transient=TransientState()), phase, work, event.now)
        if work.over:
            return self._over(record, phase, work, event.now)
        return self._wait(record, work, event.now)

    def _reconnected(self, record: JobRecord, phase: Phase, work: JobGroup, now: float) -> Step:
        if self._options.watch_only:
            step, more = self._over(record, phase, work, now) if work.over else self._wait(record, work, now)
            return step, [on.Publish(), *more]
        line = f"Reconnecting to {_format_ids(record.phase(phase.name).ids)} of an earlier try: {work}"
        record = record.with_event(now, "reconnected", str(work))
        record, actions = self._without_failed(record, phase, work, now)
        actions = [on.Count("job.reconnected"), on.Log("info", line), *actions]
        if not record.phase(phase.name).complete:
            return record, [*actions, on.Save(), on.Prepare()]
        step, more = self._over(record, phase, work, now) if work.over else self._wait(record, work, now)
        return step, [*actions, on.Publish(), *more]

    def _without_failed(self, record: JobRecord, phase: Phase, work: JobGroup, now: float) -> Step:
        """Failed jobs are submitted again, all others are kept."""
        failed = {job.id: job for job in work.jobs if job.state.over and job.state not in self._success_states}
        if not failed:
            return record, []
        current = record.phase(phase.name)
        kept = tuple(each for each in current.submissions if each.id not in failed)
        current = current._replace(submissions=kept, complete=False, attempt=current.attempt + 1)
        replaced = (*record.replaced, *map(_replaced_job, failed.values()))[-MAX_REPLACED_JOBS:]
        line = f"Submitting again what failed: {_format_ids(tuple(sorted(failed)))}"
        record = record.with_phase(current)._replace(replaced=replaced).with_event(now, "replaced", line)
        return record, [on.Log("warning", line)]

    def _poll_failed(self, record: JobRecord, event: on.PollFailed) -> Step:
        error, transient = event.error, record.transient
        undecided = transient.reconnecting and (record.rerun or not self._open(record)[1].complete)
        if event.final and isinstance(error, TimedOut):
            error = TimedOut(f"{error}. The job continues in {self._service}; the next try reconnects to it")
        if event.final or not error.retryable or transient.error or undecided:
            return self._fail(record, error, event.now)
        line = f"A status check failed; the job may still be running, so polling continues: {error}"
        record, actions = self._wait(
            record._replace(transient=TransientState(waited=transient.waited)), None, event.now
        )
        return record, [on.Log("warning", line), *([on.Publish()] if transient.reconnecting else []), *actions]

    def _wait(self, record: JobRecord, work: JobGroup | None, now: float) -> Step:
        phase, current = self._open(record)
        if self._ends_at_submission(record, phase):
            return self._finish_submitted(record)
        error = record.transient.error
        if error is None and now - current.submitted_at >= self._options.timeout:
            after = f"{self._options.timeout:.0f} s after it was submitted"
            error = TimedOut(f"{phase.job_type} {_format_ids(current.ids)} had not ended {after}")
        if error is not None:
            seen = f" ({work})" if work else ""
            words = f"{error}. The job continues in {self._service}{seen}; the next try reconnects to it"
            return self._fail(record, type(error)(words), now)
        if self._options.deferrable and self._waits_briefly(record, current, now):
            return record._replace(transient=record.transient._replace(waited=True)), [
                on.WaitBriefly(BRIEF_WAIT_SECONDS)
            ]
        if self._options.deferrable:
            return record.with_event(now, "deferred"), [on.Save(), on.Defer()]
        return record, [on.Save(must=False), on.Wait()]

    def _waits_briefly(self, record: JobRecord, current: PhaseRecord, now: float) -> bool:
        """Whether these jobs may end soon: they are new and few, and one of those before them, if any, ended soon."""
        if record.transient.waited or self._options.watch_only or len(current.unfinished_ids) > MAX_BRIEF_WAIT_JOBS:
            return False
        ended = [phase for phase in record.phases if phase.outcome and phase.submissions]
        took = [(phase.outcome or {}).get("at", 0.0) - phase.submitted_at for phase in ended]
        return min(took, default=0.0) < BRIEF_WAIT_SECONDS and now - current.submitted_at < BRIEF_WAIT_SECONDS

    def _over(self, record: JobRecord, phase: Phase, work: JobGroup, now: float) -> Step:
        for rejection in islice(work.rejections, MAX_LOGGED_REJECTIONS):
            record = record.with_event(now, "rejected", str(rejection))
        record = self._with_status(record.with_event(now, "ended", str(work)), work, now, ended_at=now)
        finished = on.Count("job.finished", work.state.value, now - record.phase(phase.name).submitted_at)
        if work.state in self._success_states:
            return record, [finished, on.FetchOutputs(work)]
        error = _job_failed(self._service, phase, work, watch_only=self._options.watch_only)
        record, actions = self._fail(record, error, now)
        return record, [finished, on.Explain(work), *actions]

    def _outputs_fetched(self, record: JobRecord, event: on.OutputsFetched) -> Step:
        phase, current = self._open(record)
        outcome = {
            "state": event.work.state.value,
            "counts": event.work.counts,
            "at": event.now,
            "outputs": dict(event.outputs),
        }
        record = record.with_phase(current._replace(outcome=outcome))._replace(transient=TransientState())
        if not phase.last:
            record = record.with_summary(event.now, state="running", ended_at=None)
        return self._continue(record, [on.Save()])

    def _status_seen(self, record: JobRecord, event: on.StatusSeen) -> Step:
        record = self._with_status(record, event.work, event.now)
        if event.change:
            record = record.with_event(event.now, "status", event.change)
        return record, [on.Save(must=False)]

    # --- cancelling, and failing

    def _cancel_requested(self, record: JobRecord, event: on.CancelRequested) -> Step:
        current = self._open(record)[1]._replace(submitted_at=event.now)  # the timeout of the cancellation starts now
        return self._wait(record.with_phase(current), None, event.now)

    def _cancel_failed(self, record: JobRecord, event: on.CancelFailed) -> Step:
        """The jobs continue, so the jobs page must not show "cancelling" forever. A cleared task fails: its next try
        cancels again, and resubmits only after that."""
        phase, current = self._open(record)
        jobs = f"{phase.job_type} {_format_ids(current.ids)}"
        line = f"{self._service} did not cancel {jobs}, which continues: {event.error}"
        record = record.with_event(event.now, "error", line).with_summary(event.now, state="running")
        if record.rerun is not None:
            return self._fail(record, event.error, event.now)
        line = f"{line}. Cancel it in {self._service} if it is not wanted"
        return record, [on.Log("warning", line), on.Save(must=False)]

    def _terminated(self, record: JobRecord, event: on.Terminated) -> Step:
        """Cancel on evidence that a user ended this try; else the next try reconnects."""
        current = self._current(record)
        if current is not None and current.intent is not None and event.user_ended:
            line = f"{event.why} while a request to {self._service} had no response yet: its outcome is unknown"
            record = record.with_event(event.now, "outcome_unknown", line).with_summary(
                event.now, state="outcome_unknown"
            )
            return record, [on.Log("warning", line), on.Save(must=False)]
        if current is None or not current.submissions:
            return record, []
        phase, _ = self._open(record)
        jobs = f"{phase.job_type} {_format_ids(current.ids)}"
        if not event.user_ended:
            line = f"Stopped ({event.why}): {jobs} continues in {self._service}, and the next try reconnects to it"
            return record, [on.Log("warning", line)]
        if not self._cancellable(phase.job_type):
            reason = "it cannot be cancelled there, or cancel_on_kill is False"
            line = f"{event.why}: {jobs} continues in {self._service}, as {reason}"
            return record, [on.Log("warning", line)]
        record = record.with_event(event.now, "cancel", event.why).with_summary(event.now, state="cancelling")
        return record, [on.Log("info", f"{event.why}: cancelling {jobs}"), on.Save(), on.Cancel()]

    def _step_failed(self, record: JobRecord, event: on.StepFailed) -> Step:
        return self._fail(record, event.error, event.now)

    def _fail(self, record: JobRecord, error: SluiceError, now: float) -> Step:
        """If the task started over and has not submitted anything yet, the previous record is restored: the next try
        may reconnect to its jobs."""
        if record.transient.before is not None:
            record = record.transient.before._replace(history=record.history)
        record = record.with_event(now, "error", f"{type(error).__name__}: {error}")
        phase = self._next_phase(record)
        if "service" not in record.summary and phase is not None:  # nothing was prepared yet
            described = {"job_type": phase.job_type, **self._describe(phase, record.phase(phase.name))}
            record = record.with_summary(now, **described)
        record = record.with_summary(now, message=str(error), **_state_after(record, error, now))
        return record, [on.Save(must=False), on.Fail(error)]

    # --- the record

    def _open(self, record: JobRecord) -> tuple[Phase, PhaseRecord]:
        phase = self._next_phase(record)
        assert phase is not None, "what has not ended belongs to a phase"  # noqa: S101 - a broken spec, not bad input
        return phase, record.phase(phase.name)

    def _current(self, record: JobRecord) -> PhaseRecord | None:
        """The phase that has started and not ended, if it is still a phase of this job. Phases that a newer version, or
        other arguments, have started are neither polled nor cancelled."""
        phase = self._next_phase(record)
        return next((each for each in _unended(record) if phase is not None and each.name == phase.name), None)

    def _key(self, record: JobRecord, current: PhaseRecord) -> str:
        """The next submission's idempotency key: the same for a repeated request, a new one after a failed job."""
        return digest((record.seed, current.name, current.attempt, len(current.submissions)))[:32]

    def _summary(self, record: JobRecord, phase: Phase, current: PhaseRecord, now: float, **facts: Any) -> JobRecord:
        counts = merge_counts(record.summary.get("counts") or {}, record.sent)
        described = {"job_type": phase.job_type, **self._describe(phase, current), "ids": current.ids, "counts": counts}
        submitted_at = {} if record.summary.get("submitted_at") else {"submitted_at": now}
        return record.with_summary(now, **{**described, **submitted_at, **facts})

    def _with_status(self, record: JobRecord, work: JobGroup, now: float, **facts: Any) -> JobRecord:
        """Counts of earlier phases stay in the summary. A crash may have saved the ids and not the summary."""
        current = self._open(record)[1].with_status(work)
        record = record.with_phase(current)
        seen = {**work.to_json(), "ids": current.ids}
        counts = merge_counts(record.summary.get("counts") or {}, record.sent, seen["counts"])
        if record.summary.get("state") == "cancelling" and not work.over:
            facts["state"] = "cancelling"
        return record.with_summary(now, **{**seen, "counts": counts, **facts})


_STEPS: Mapping[type, Callable[[Lifecycle, JobRecord, Any], Step]] = {
    on.Resumed: Lifecycle._resumed,
    on.Answered: Lifecycle._answered,
    on.JobChecked: Lifecycle._job_checked,
    on.UnitPrepared: Lifecycle._unit_prepared,
    on.UnitFound: Lifecycle._unit_found,
    on.AllSubmitted: Lifecycle._all_submitted,
    on.Submitted: Lifecycle._submitted,
    on.SubmissionFailed: Lifecycle._submission_failed,
    on.Reconciled: Lifecycle._reconciled,
    on.Polled: Lifecycle._polled,
    on.PollFailed: Lifecycle._poll_failed,
    on.CancelRequested: Lifecycle._cancel_requested,
    on.CancelFailed: Lifecycle._cancel_failed,
    on.OutputsFetched: Lifecycle._outputs_fetched,
    on.StepFailed: Lifecycle._step_failed,
    on.StatusSeen: Lifecycle._status_seen,
    on.Terminated: Lifecycle._terminated,
}


# --- parts of the steps


def _all_submitted(record: JobRecord) -> bool:
    return bool(record.phases) and all(phase.complete or phase.outcome for phase in record.phases)


def _unended(record: JobRecord) -> list[PhaseRecord]:
    return [phase for phase in record.phases if phase.outcome is None]


def _abandoned(record: JobRecord, current: PhaseRecord | None) -> list[PhaseRecord]:
    return [phase for phase in _unended(record) if phase is not current]


def _abandoned_message(phase: PhaseRecord) -> str:
    request = " and a request whose outcome is unknown" if phase.intent else ""
    jobs = f"{_format_ids(phase.ids) or 'nothing'}{request}"
    return f"{phase.name!r} is no longer part of this task: {jobs} is neither polled nor cancelled"


def _with_facts(current: PhaseRecord, event: on.UnitPrepared | on.UnitFound) -> PhaseRecord:
    facts, locator = {**current.facts, **event.facts}, {**current.locator, **event.locator}
    return current._replace(facts=facts, locator=locator)


def _after_rejection(current: PhaseRecord, error: SluiceError, transient: TransientState) -> PhaseRecord:
    """This request was not applied. An earlier one with the same key may have been, unless the job failed at once: then
    the key is used up."""
    if isinstance(error, JobFailed):
        return current._replace(intent=None, attempt=current.attempt + 1)
    return current if error.maybe_applied or transient.repeated else current._replace(intent=None)


def _problem_with_id(record: JobRecord, job_id: str) -> str:
    """Why a person's id cannot be the job of the open intent; "" if it can."""
    if not job_id:
        return "The id of the job is missing: enter it to continue with the job"
    if truncate(job_id, MAX_ID_BYTES) != job_id:
        return f"{job_id[:50]!r}... is too long for the id of a job"
    known = {each.id for phase in record.phases for each in phase.submissions} | {each.id for each in record.replaced}
    return f"{job_id} is another job of this task" if job_id in known else ""


def _intent_for_the_rest(current: PhaseRecord) -> PhaseRecord:
    """Of a grouped phase, which continues submitting without another intent."""
    if current.intent is None or not current.submissions:
        return current
    last = current.submissions[-1]
    return current._replace(intent=current.intent._replace(start=last.start + last.size, size=0))


def _resubmitting(record: JobRecord, current: PhaseRecord, effect: NoEffect | RepeatRequest | Resubmit) -> JobRecord:
    """The record before the same thing is submitted once more."""
    if isinstance(effect, RepeatRequest):
        return record
    current = current._replace(intent=None)
    if isinstance(effect, Resubmit):
        current = current._replace(attempt=current.attempt + 1)
        record = record._replace(replaced=(*record.replaced, ReplacedJob("", "outcome_unknown")))
    return record.with_phase(current)


def _replaced(phase: PhaseRecord, seen: Mapping[str, Job]) -> list[ReplacedJob]:
    state = str((phase.outcome or {}).get("state") or "running")
    succeeded = JobState.SUCCEEDED.value
    jobs = [
        _replaced_job(seen[each.id])
        if each.id in seen
        else ReplacedJob(each.id, succeeded if each.id in phase.ended_ids else state)
        for each in phase.submissions[-MAX_REPLACED_JOBS:]
    ]
    return [*jobs, ReplacedJob("", "outcome_unknown")] if phase.intent else jobs


def _replaced_job(job: Job) -> ReplacedJob:
    return ReplacedJob(job.id, job.state.value, job.counts.get("processed"))


def _job_failed(service: str, phase: Phase, work: JobGroup, *, watch_only: bool) -> JobFailed:
    """A retry submits again, which only helps unless the service says that it would fail the same way."""
    retryable = work.retryable is True if watch_only else work.retryable is not False
    then = "the next try submits again what failed"
    if watch_only or not retryable:
        then = "a retry would find the same state" if watch_only else "a retry would fail the same way"
    error = JobFailed(f"{service} {phase.job_type} failed: {work}; {then}")
    error.retryable = retryable
    return error


def _state_after(record: JobRecord, error: SluiceError, now: float) -> dict[str, Any]:
    """What an error means for the job's state; most errors mean nothing, as the job continues in the service."""
    state, current = record.summary.get("state"), record.current
    if isinstance(error, OutcomeUnknown):
        return {"state": "outcome_unknown"}
    if isinstance(error, (JobFailed, SafetyLimitExceeded)) and state != "cancelled":
        return {"state": "failed", "ended_at": now}
    if state == "succeeded":  # in the service, but its outputs were not fetched
        return {"state": "failed"}
    if state in (None, "submitting"):  # a rejected request leaves no intent; any other failure does
        if current is not None and current.intent is not None:
            return {"state": "outcome_unknown"}
        if current is not None and current.submissions:
            return {"state": "running"}
        return {"state": "failed", "submitted_at": None, "ended_at": now}
    return {}


def _describe_share(phase: Phase, part: Intent | Submission) -> str:
    if part.size:
        return f"{phase.name}, {phase.items} {part.start + 1} to {part.start + part.size}"
    return f"{phase.name}, {phase.items} {part.start + 1} and later" if part.start else phase.name


def _describe_submissions(phase: Phase, submissions: tuple[Submission, ...]) -> str:
    first, last = submissions[0], submissions[-1]
    if len(submissions) == 1:
        return f"{_describe_share(phase, first)}: {first.id}"
    whole = first._replace(size=last.start + last.size - first.start)
    size = sum(each.size for each in submissions)
    some = f"{size} of them in " if size < whole.size else ""  # others of the group have failed
    return f"{_describe_share(phase, whole)}: {some}{len(submissions)} jobs"


def _describe_accepted(service: str, phase: Phase, submissions: tuple[Submission, ...]) -> str:
    size = sum(each.size for each in submissions)
    requests = "1 request" if len(submissions) == 1 else f"{len(submissions)} requests"
    ids = _format_ids(tuple(each.id for each in submissions))
    return f"{service} accepted {size} {phase.items} in {requests}, as {phase.job_type} {ids}"


def _format_ids(ids: tuple[str, ...]) -> str:
    return ", ".join(ids[:20]) + (f" and {len(ids) - 20} more" if len(ids) > 20 else "")
