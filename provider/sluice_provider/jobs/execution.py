"""Runs the lifecycle: executes its actions in order, and feeds the resulting events back.

It is a generator, as flows are: it yields the requests and sleeps of the service's flows, and other effects
(`SaveRecord`, `PublishJob`, `WaitHere`, `DeferTask`), so a worker, a test and a simulation run the same code. It does
not depend on Airflow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, NamedTuple

from sluice_provider.errors import SluiceError, TimedOut, TooLarge
from sluice_provider.http.concurrency import ConcurrencyLimit
from sluice_provider.http.flow import Flow, Gather, Request, Sleep
from sluice_provider.http.polling import Elapsed, poll_until
from sluice_provider.jobs import events as on
from sluice_provider.jobs.events import Action, Event
from sluice_provider.jobs.lifecycle import Lifecycle
from sluice_provider.jobs.model import JobGroup, JobRef, JobState
from sluice_provider.jobs.polling import GetStatuses, JobPoller, JobType, Wanted, cancel, get_status, get_statuses
from sluice_provider.jobs.question import Question
from sluice_provider.jobs.record import Intent, JobRecord, PhaseRecord, Submission, checked_id
from sluice_provider.jobs.spec import Found, JobSpec, Phase, Prepared, Unit

GROUP_SAVE_INTERVAL_SECONDS = 0.25
"""Seconds between two saves while a grouped phase is submitted, at the least."""

MAX_GROUP_SAVE_INTERVAL_SECONDS = 10.0

MAX_SAVING_SHARE = 0.05
"""How much of the time may be spent on saving: if Airflow is slow, a grouped phase is saved less often."""


class SaveRecord(NamedTuple):
    """Save the record. It may fail if it is only for people (`must` is False)."""

    record: JobRecord
    must: bool
    only: str = ""


class PublishJob(NamedTuple):
    """Make ids and link visible.

    :param ids: of all jobs of the phase
    """

    ids: tuple[str, ...]
    record: JobRecord


class CountMetric(NamedTuple):
    """Increment a metric."""

    ref: JobRef
    action: on.Count


class WaitHere(NamedTuple):
    """Wait in this process, by running this flow or otherwise. The result is the jobs, or an error."""

    ref: JobRef
    flow: Flow[JobGroup]


class DeferTask(NamedTuple):
    """Wait in the triggerer: ends this worker run."""

    ref: JobRef
    submitted_at: float


class WaitForInput(NamedTuple):
    """Wait for a person's answer: ends this worker run."""

    question: Question


Effect = Any
"""A step of a flow (`Request`, `Sleep`, `Blocking`), or one of the above."""

Run = Generator[Effect, Any, JobRecord]


class Execution:
    """One worker run of a task.

    :param job_type: the service's job types, by name
    :param poll_interval: seconds between two polls at the most
    :param timeout: seconds after the submission until the wait is given up
    :param observe: called after every status check, before the lifecycle handles it
    """

    def __init__(
        self,
        spec: JobSpec,
        lifecycle: Lifecycle,
        job_type: Callable[[str], JobType],
        *,
        poll_interval: float = 60.0,
        timeout: float = 86400.0,
        observe: Callable[[JobRef, JobGroup], object] = lambda _ref, _work: None,
    ) -> None:
        self._spec = spec
        self._lifecycle = lifecycle
        self._job_type = job_type
        self._poll_interval = poll_interval
        self._timeout = timeout
        self._observe = observe
        self.record: JobRecord | None = None
        self._units: _Units | None = None
        self._unit = Unit()
        self._failed: tuple[Unit, int] | None = None  # the unit, and the number of submissions before it
        self._prepared_at = 0.0
        self._save_seconds = 0.0  # that the latest save took
        self._limits: dict[str, ConcurrencyLimit] = {}  # by the phases' names

    # --- the loop

    def run(self, record: JobRecord | None, event: Event) -> Run:
        """From an event to the end of the task, or of this worker run.

        :returns: the record of the finished task
        :raises SluiceError: the try has failed
        """
        self.record = record
        while True:
            result: Event | None = None
            for action in self._step(event):
                if isinstance(action, on.Finish):
                    return self._known
                result = yield from self._perform(action)
            assert result is not None, "the last action brings an event"  # noqa: S101 - a broken lifecycle
            event = result

    def terminate(self, user_ended: bool, why: str) -> Run:
        """Handle a signal to stop, before this process ends.

        :raises SluiceError: the request to cancel the job failed
        """
        for action in self._step(on.Terminated(time.time(), user_ended, why)):
            result = yield from self._perform(action)
            if isinstance(result, on.CancelFailed):
                for last in self._step(result):
                    yield from self._perform(last)
        return self._known

    def note(self, event: on.StatusSeen) -> list[Action]:
        """Add a status check while waiting to the record."""
        return self._step(event)

    def _step(self, event: Event) -> list[Action]:
        self.record, actions = self._lifecycle.step(self.record, event)
        return actions

    @property
    def _known(self) -> JobRecord:
        assert self.record is not None, "a step makes a record"  # noqa: S101
        return self.record

    def _perform(self, action: Action) -> Generator[Effect, Any, Event | None]:
        """Execute one action. None for those that cause no event."""
        if isinstance(action, on.Fail):
            raise action.error
        return (yield from _PERFORM[type(action)](self, action))

    # --- actions without an event

    def _save(self, action: on.Save) -> Generator[Effect, Any, None]:
        start = time.monotonic()
        yield SaveRecord(self._known, action.must, action.only)
        self._save_seconds = time.monotonic() - start

    def _log(self, action: on.Log) -> Generator[Effect, Any, None]:
        getattr(self._spec.log, action.level)("%s", action.text)
        return
        yield

    def _count(self, action: on.Count) -> Generator[Effect, Any, None]:
        yield CountMetric(self.ref, action)

    def _publish(self, _action: on.Publish) -> Generator[Effect, Any, None]:
        yield PublishJob(self._open[1].ids if self._spec.next_phase(self._known) else (), self._known)

    def _explain(self, action: on.Explain) -> Generator[Effect, Any, None]:
        self._spec.explain_failure(action.work)
        if (phase := self._spec.next_phase(self._known)) is None:
            return
        try:
            yield from self._spec.keep_rejections(phase, self._known.phase(phase.name), action.work)
        except SluiceError as error:  # the failure of the job is what is reported
            self._spec.log.warning("The rejected rows were not kept: %s", error)

    # --- submitting

    def _prepare(self, _action: on.Prepare) -> Generator[Effect, Any, Event]:
        phase, current = self._open
        while True:
            try:
                unit = self._remaining(phase, current).next()
            except SluiceError as error:  # the input cannot be read
                return on.StepFailed(time.time(), error)
            if unit is None:
                return on.AllSubmitted(time.time())
            try:
                prepared = _checked_prepared((yield from phase.prepare(unit, current)))
            except TooLarge as error:
                if not self._halved(unit, error):
                    return on.StepFailed(time.time(), error)
                continue
            except SluiceError as error:
                return on.StepFailed(time.time(), error)
            break
        self._unit, self._prepared_at = unit, time.time()
        if prepared.found is not None:
            return on.UnitFound(self._prepared_at, prepared.found, prepared.facts, prepared.locator)
        return on.UnitPrepared(self._prepared_at, unit.start, unit.size, prepared.key, prepared.facts, prepared.locator)

    def _remaining(self, phase: Phase, current: PhaseRecord) -> _Units:
        if self._units is None or not self._units.belongs_to(current):
            self._units = _Units(phase, current)
        elif self._failed is not None and self._failed[1] == len(current.submissions):
            self._units.first(self._failed[0])
        self._failed = None
        return self._units

    def _submit(self, _action: on.Submit) -> Generator[Effect, Any, Event]:
        phase, current = self._open
        if phase.grouped:
            return (yield from self._submit_group(phase, current))
        intent = _intent(current)
        try:
            flow = phase.submit(self._unit, intent, current)
            job_id = checked_id((yield from _with_send_deadline(flow, self._prepared_at + phase.send_window)))
        except SluiceError as error:
            self._failed = self._unit, len(current.submissions)
            return on.SubmissionFailed(time.time(), error)
        return on.Submitted(time.time(), (Submission(job_id, self._unit.start, self._unit.size),))

    def _submit_group(self, phase: Phase, current: PhaseRecord) -> Generator[Effect, Any, Event]:
        """Submit units at the same time, until the record is to be saved again."""
        assert self._units is not None  # noqa: S101 - prepared before
        limit = self._limits.setdefault(phase.name, ConcurrencyLimit(phase.max_in_flight))
        seconds = min(self._save_seconds / MAX_SAVING_SHARE, MAX_GROUP_SAVE_INTERVAL_SECONDS)
        until = time.monotonic() + max(GROUP_SAVE_INTERVAL_SECONDS, seconds)
        group = _Group(lambda unit: phase.submit(unit, _intent(current), current), self._unit, self._units, until)
        results = yield Gather(group.flows(), limit)
        done: list[Submission] = []
        failure: SluiceError | None = None
        for unit, result in zip(group.units, results, strict=True):
            if isinstance(result, TooLarge) and self._halved(unit, result):
                continue
            if isinstance(result, SluiceError):
                failure = failure or result
            else:
                done.append(Submission(result, unit.start, unit.size))
        if failure is not None:
            return on.SubmissionFailed(time.time(), failure, tuple(done))
        following = self._units.next()
        self._unit = following or self._unit
        return on.Submitted(time.time(), tuple(done), complete=following is None)

    def _halved(self, unit: Unit, error: SluiceError) -> bool:
        """Replace a unit that is too large for the service by two halves."""
        if unit.halve is None or self._units is None:
            return False
        self._spec.log.warning("%s; submitting these %d rows in two halves", error, unit.size)
        self._units.first(*unit.halve())
        return True

    def _reconcile(self, _action: on.Reconcile) -> Generator[Effect, Any, Event]:
        phase, current = self._open
        try:
            result = yield from phase.reconcile(_intent(current), current)
            if isinstance(result, Found):
                checked_id(result.id)
        except SluiceError as error:
            return on.StepFailed(time.time(), error)
        return on.Reconciled(time.time(), result)

    def _request_input(self, action: on.RequestInput) -> Generator[Effect, Any, Event]:
        yield WaitForInput(action.question)
        raise AssertionError("a task that waits for an answer does not continue here")

    def _check_job(self, action: on.CheckJob) -> Generator[Effect, Any, Event]:
        phase, current = self._open
        ref, mark = self.ref, phase.mark(_intent(current))
        try:
            job = yield from get_status(self._job_type(ref.job_type), Wanted(action.id, ref.locator))
        except SluiceError as error:
            return on.JobChecked(time.time(), action.id, f"The status of {action.id} could not be read: {error}")
        problem = ""
        if job.state is JobState.NOT_FOUND:
            problem = f"{action.id} was not found: {job.message}"
        elif mark and job.name and job.name != mark:
            problem = f"{action.id} is another job: its name is {job.name!r}, not {mark!r}"
        return on.JobChecked(time.time(), action.id, problem)

    # --- polling

    def _poll(self, _action: on.Poll) -> Generator[Effect, Any, Event]:
        _, current = self._open
        ref = self.ref
        poller = JobPoller(self._job_type(ref.job_type), ref, Elapsed(current.submitted_at or time.time()))
        try:
            work = yield from poller.poll()
        except SluiceError as error:
            return on.PollFailed(time.time(), error)
        self._observe(ref, work)
        return on.Polled(time.time(), work)

    def _wait(self, _action: on.Wait) -> Generator[Effect, Any, Event]:
        _, current = self._open
        ref = self.ref
        flow = poll_job(self._job_type(ref.job_type), ref, current.submitted_at, self._timeout, self._poll_interval,
                     lambda work: self._observe(ref, work))  # fmt: skip
        try:
            work = yield WaitHere(ref, flow)
        except SluiceError as error:
            return on.PollFailed(time.time(), error, final=True)
        return on.Polled(time.time(), work)

    def _wait_briefly(self, action: on.WaitBriefly) -> Generator[Effect, Any, Event]:
        _, current = self._open
        ref, job_type = self.ref, self._job_type(self.ref.job_type)
        timeout = min(self._timeout, action.seconds)
        seen: list[JobGroup] = []

        def on_status(work: JobGroup) -> None:
            seen.append(work)
            self._observe(ref, work)

        yield Sleep(min(1.0, self._poll_interval), "it was polled just now")
        try:
            work = yield from poll_job(job_type, ref, current.submitted_at, timeout, self._poll_interval, on_status)
        except TimedOut:
            return on.Polled(time.time(), seen[-1])
        except SluiceError as error:
            return on.PollFailed(time.time(), error)
        return on.Polled(time.time(), work)

    def _defer(self, _action: on.Defer) -> Generator[Effect, Any, Event]:
        yield DeferTask(self.ref, self._open[1].submitted_at)
        raise AssertionError("a deferred task does not continue here")

    # --- the end

    def _cancel(self, _action: on.Cancel) -> Generator[Effect, Any, Event]:
        ref = self.ref
        try:
            yield from cancel(self._job_type(ref.job_type), ref)
        except SluiceError as error:
            return on.CancelFailed(time.time(), error)
        return on.CancelRequested(time.time())

    def _fetch_outputs(self, action: on.FetchOutputs) -> Generator[Effect, Any, Event]:
        phase, record = self._open
        try:
            kept = yield from self._spec.keep_rejections(phase, record, action.work)
            self._spec.check_result(phase, action.work)
            outputs = yield from self._spec.fetch_outputs(phase, action.work)
        except SluiceError as error:
            return on.StepFailed(time.time(), error)
        return on.OutputsFetched(time.time(), action.work, {**outputs, **kept})

    # --- what is open

    @property
    def _open(self) -> tuple[Phase, PhaseRecord]:
        phase = self._spec.next_phase(self._known)
        assert phase is not None, "nothing is done for work that is over"  # noqa: S101 - a broken lifecycle
        return phase, self._known.phase(phase.name)

    @property
    def ref(self) -> JobRef:
        """The jobs of the open phase that have not succeeded yet; with a placeholder id before any was submitted."""
        phase = self._spec.next_phase(self._known)
        if phase is None:
            return JobRef(self._spec.service, "job", ("?",))
        current = self._known.phase(phase.name)
        ids = current.unfinished_ids if current.submissions else ("?",)
        locator = {**phase.locator, **current.locator}
        return JobRef(self._spec.service, phase.job_type, ids, locator, current.ended)


_PERFORM: Mapping[type, Callable[[Execution, Any], Generator[Effect, Any, Event | None]]] = {
    on.Save: Execution._save,
    on.Log: Execution._log,
    on.Count: Execution._count,
    on.Publish: Execution._publish,
    on.Explain: Execution._explain,
    on.Prepare: Execution._prepare,
    on.Submit: Execution._submit,
    on.Reconcile: Execution._reconcile,
    on.RequestInput: Execution._request_input,
    on.CheckJob: Execution._check_job,
    on.Poll: Execution._poll,
    on.Wait: Execution._wait,
    on.WaitBriefly: Execution._wait_briefly,
    on.Defer: Execution._defer,
    on.Cancel: Execution._cancel,
    on.FetchOutputs: Execution._fetch_outputs,
}


class _Group:
    """Units that are submitted at the same time. None is begun after that time, or after one has failed.

    :param submit: the flow that submits a unit
    :param until: by the monotonic clock
    """

    def __init__(self, submit: Callable[[Unit], Flow[str]], first: Unit, rest: _Units, until: float) -> None:
        self.units: list[Unit] = []
        self._submit = submit
        self._first = first
        self._rest = rest
        self._until = until
        self._failed = False

    def flows(self) -> Iterator[Flow[str]]:
        unit: Unit | None = self._first
        while unit is not None:
            self.units.append(unit)
            yield self._one(len(self.units) - 1)
            unit = None if self._failed or time.monotonic() >= self._until else self._rest.next()

    def _one(self, index: int) -> Flow[str]:
        try:
            job_id = checked_id((yield from self._submit(self.units[index])))
        except SluiceError:
            self._failed = True
            raise
        self.units[index] = self.units[index]._replace(content=None, halve=None)  # else a second's rows are in memory
        return job_id


class _Units:
    """The units of a phase that this process has not submitted yet."""

    def __init__(self, phase: Phase, current: PhaseRecord) -> None:
        self._name = phase.name
        self._attempt = current.attempt
        self._rest: Iterator[Unit] = phase.units(current)
        self._first: list[Unit] = []

    def belongs_to(self, current: PhaseRecord) -> bool:
        return (self._name, self._attempt) == (current.name, current.attempt)

    def next(self) -> Unit | None:
        return self._first.pop(0) if self._first else next(self._rest, None)

    def first(self, *units: Unit) -> None:
        self._first[:0] = units


def _checked_prepared(prepared: Prepared) -> Prepared:
    checked_id(prepared.found or "")
    checked_id(prepared.key)
    return prepared


def _intent(current: PhaseRecord) -> Intent:
    assert current.intent is not None, "written before"  # noqa: S101 - a broken lifecycle
    return current.intent


def poll_job(
    job_type: JobType,
    ref: JobRef,
    submitted_at: float,
    timeout: float | None,
    poll_interval: float,
    on_status: Callable[[JobGroup], object],
    statuses: GetStatuses = get_statuses,
) -> Flow[JobGroup]:
    """Poll until the jobs are over, in the worker or in the triggerer."""
    age = Elapsed(submitted_at)
    return poll_until(
        JobPoller(job_type, ref, age, statuses).poll,
        lambda work: work.over,
        elapsed=age,
        timeout=timeout,
        schedule=job_type.poll_schedule(poll_interval),
        on_poll=on_status,
    )


def _with_send_deadline(flow: Flow[str], until: float) -> Flow[str]:
    """The flow, without sending requests after this time. If it would sleep for longer, it ends with the error that
    caused the sleep, so that the service's own message and its Retry-After are kept."""
    result: Any = None
    while True:
        try:
            step = flow.throw(result) if isinstance(result, SluiceError) else flow.send(result)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        if isinstance(step, Sleep) and step.cause is not None and time.time() + step.seconds > until:
            flow.close()
            raise step.cause
        try:
            result = yield step._replace(send_before=until) if isinstance(step, Request) else step
        except SluiceError as error:
            result = error
