"""One schedule: one task in a simulated Airflow, running the provider's own lifecycle and flows against the sandbox.

Everything that acts is a process: a generator that yields how many seconds it is busy or asleep. Between two steps of a
process everything else may happen: other processes go on, time passes, late requests land. At each step of a process
something may go wrong or be done by a user, as `Choices` decide:

- the process dies, before or after what it does; or stands still for minutes, while Airflow gives up on it and a newer
  try begins; or is stopped by the platform
- a request is refused, lost before or after it was applied, lands late, or is answered with 5xx or 429
- Airflow's API does not take a write
- the wall clock is set, back or forward
- a user marks the task failed or success, or clears it
- a trigger dies and is taken over by another triggerer; is held by two; breaks; moves
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator, Iterator
from itertools import count
from typing import Any, NamedTuple

from sluice_provider.errors import OutcomeUnknown, SluiceError, TimedOut
from sluice_provider.http.flow import Blocking, Gather, Request, Sleep
from sluice_provider.http.polling import min_duration
from sluice_provider.jobs import events as on
from sluice_provider.jobs import evidence
from sluice_provider.jobs.execution import (
    CountMetric,
    DeferTask,
    Execution,
    PublishJob,
    SaveRecord,
    WaitForInput,
    WaitHere,
    poll_job,
)
from sluice_provider.jobs.lifecycle import Lifecycle, Options
from sluice_provider.jobs.model import JobRef, WaitResult, WaitStatus, read_event
from sluice_provider.jobs.polling import cancel
from sluice_provider.jobs.question import Choice, Question
from sluice_provider.jobs.record import JobRecord, digest
from sluice_provider.jobs.spec import JobSpec
from sluice_provider.jobs.storage import KEY, RecordStorage
from tests.simulation.choices import Choices
from tests.simulation.task_instance import Rejected, Store, TaskInstance
from tests.simulation.world import LOST_AFTER, LOST_BEFORE, OK, REFUSED, START, Fate, World, late, status, throttled

Process = Generator[float, None, None]

WORKER_RUN_KEY = "sluice_worker_run_started"
MOST_STEPS = 4_000
LONGEST = 10 * 86400.0
"""Seconds of virtual time after which a task must have ended."""

IN_A_PROCESS = (
    "dies",
    "dies after",
    "stands still",
    "stopped by the platform",
    "marked failed",
    "marked success",
    "cleared",
    "clock",
)
IN_A_TRIGGER = ("triggerer dies", "held twice", "breaks", "moves", "marked failed", "marked success", "cleared")
OF_A_CALL = ("refused", "lost before", "lost after", "late", "502 after", "503 before", "429")
OF_A_SAVE = ("api away",)


class ProcessDied(Exception):
    """This process is no more."""


class Scenario(NamedTuple):
    """
    :param service: whose sandbox it is
    :param spec: makes the job's spec, anew for each process
    :param check: tells what is wrong with what the service holds in the end
    :param settings: of the sandbox
    :param prepare: what is there before
    :param repeatable: a request that was sent twice does no harm, so nobody has to know of the first one's job
    :param outcome_can_be_found: whether a request was applied can always be found out, or does not matter, so no task
        fails for it
    """

    name: str
    service: str
    spec: Callable[[Simulation], JobSpec]
    check: Callable[[Simulation], Iterator[str]]
    settings: dict[str, Any] = {}
    prepare: Callable[[World], object] = lambda _world: None
    options: Options = Options()
    durable: bool = True
    cancel_on_kill: bool = True
    idempotent: bool = False
    outcome_can_be_found: bool = True


class Simulation:
    """
    :param scenario: what the task does
    :param seed: of the schedule
    :param replay: decisions instead of drawn ones
    """

    def __init__(self, scenario: Scenario, seed: int, replay: dict[int, str] | None = None) -> None:
        self.scenario = scenario
        self.seed = seed
        self.choices = Choices(seed, replay)
        self.world = World(scenario.service, seed, **scenario.settings)
        self.ti = TaskInstance(retries=2)
        self.trace: list[str] = []
        self.wrong: list[str] = []
        self.result: dict[str, Any] | None = None
        self.record: JobRecord | None = None
        self.unstoppable = False
        self._mistaken = False
        self._queue: list[tuple[float, int, Process]] = []
        self._numbers = count()
        self._alive: set[int] = set()
        self._trigger: int | None = None
        self._user_acts = 2
        scenario.prepare(self.world)
        self._before = {job.id for job in self.world.jobs()}

    # --- the loop

    def run(self) -> list[str]:
        """What is wrong in the end; nothing, if all went well."""
        self._spawn(self._schedule_try(0.0))
        steps = 0
        while self._queue:
            at, number, process = heapq.heappop(self._queue)
            self.world.advance(max(0.0, at - self.world.now))
            steps += 1
            if steps > MOST_STEPS or self.world.now - START > LONGEST:
                return [f"the task does not end: {self.ti.state} after {steps} steps"]
            try:
                self._push(next(process), number, process)
            except StopIteration:
                continue
            except TypeError as error:
                return [f"the record cannot be read: {error}"]
        if not self.ti.over:
            return [f"the task did not end: it is {self.ti.state} and nothing goes on"]
        self._land()
        try:
            wrong = [*self.wrong, *self._check_running(), *self._check_cancelled()]
        except TypeError as error:
            return [f"the record cannot be read: {error}"]
        self.world.advance(3600.0)  # the service finishes what it was given
        return [*wrong, *self.scenario.check(self)]

    def _land(self) -> None:
        """Late requests arrive."""
        while (at := self.world.next_landing) is not None:
            self.world.advance(max(0.0, at - self.world.now))

    def _spawn(self, process: Process, after: float = 0.0) -> None:
        self._push(after, next(self._numbers), process)

    def _push(self, seconds: float, number: int, process: Process) -> None:
        heapq.heappush(self._queue, (self.world.now + seconds, number, process))

    def trace_step(self, text: str) -> None:
        self.trace.append(f"{self.world.now - START:9.1f} s  {text}")

    # --- Airflow's part

    def _schedule_try(self, after: float) -> Process:
        yield after
        if self.ti.state in ("scheduled", "up_for_retry"):
            if self.ti.store and self.choices.opportunity(["rolled back"]):
                self._rolled_back()
            ti_id, self.result = self.ti.begin_try(), None
            self.trace_step(f"try {self.ti.try_number} begins")
            self._spawn(Worker(self, ti_id).start())

    def _rolled_back(self) -> None:
        """A newer version of the package wrote the record, with fields and lines of which this one does not know."""
        self.trace_step("the package is rolled back: the record was written by a newer version")
        head = self.ti.store.get(KEY)
        if head is not None:
            opened = [{**phase, "priority": 7} for phase in head["open"]]
            self.ti.store[KEY] = {**head, "version": 99, "region": "eu", "open": opened}
        for key, value in self.ti.store.items():
            if "_log_" in key:
                self.ti.store[key] = [*value, "checksum"]

    def ended(self, ti_id: int, state: str, *, retry: bool = True, why: str = "") -> None:
        """A process has reported its end, or Airflow has missed it."""
        if not self.ti.end(ti_id, state, retry=retry):
            return
        self.trace_step(f"Airflow: the task is {self.ti.state}{f' ({why})' if why else ''}")
        if self.ti.state in ("up_for_retry", "scheduled"):
            self._spawn(self._schedule_try(self.choices.either("retry delay", 1.0, 60.0, 300.0)))
        elif self.ti.over:
            self._spawn(self._user_afterwards())

    def _user_afterwards(self) -> Process:
        yield 30.0
        if self.ti.over and self._user_acts and self.choices.opportunity(["cleared afterwards"]):
            self.clear()

    def missed(self, ti_id: int) -> Process:
        """Airflow notices after a while that a process is gone."""
        yield self.choices.either("noticed", 5.0, 300.0)
        self.ended(ti_id, "failed", why="its process is gone")

    # --- a user's part

    def user(self, act: str) -> bool:
        """What a user does now; False if nothing."""
        if not self._user_acts or self.ti.state not in ("running", "deferred"):
            return False
        self._user_acts -= 1
        self.trace_step(f"a user: {act}")
        if act == "cleared":
            self.clear()
        else:
            self.ti.mark("failed" if act == "marked failed" else "success")
            self._spawn(self._user_afterwards())
        return True

    def clear(self) -> None:
        deferred = self.ti.state == "deferred"
        over = self.ti.over
        self.ti.clear()
        self.trace_step(f"the task is cleared ({self.ti.state})")
        if deferred or over:
            self._spawn(self._schedule_try(5.0))

    # --- triggers

    def defer(self, ti_id: int, ref: JobRef, submitted_at: float) -> None:
        if not self.ti.defer(ti_id):
            # Marked in the very moment in which it deferred: Airflow lets the process end and stops nothing.
            self.unstoppable = True
            self.ended(ti_id, "failed", why="it could not defer")
            return
        self._trigger = next(self._numbers)
        trigger = Trigger(self, self._trigger, ti_id, ref, submitted_at)
        self._spawn(trigger.run(), 1.0)

    def wait_for_input(self, ti_id: int, question: Question) -> None:
        if not self.ti.defer(ti_id):
            self.unstoppable = True
            self.ended(ti_id, "failed", why="it could not wait for input")
            return
        self._trigger = next(self._numbers)
        self._spawn(self._person(self._trigger, question), 1.0)

    def _person(self, number: int, question: Question) -> Process:
        """Answers when a late request must have landed; in every second schedule first with what cannot be used."""
        yield 900.0
        if not self.holds(number):
            return
        found = [job.id for job in self.world.jobs() if repr(job.mark) in question.text]
        choice, job_id = (Choice.FOUND, found[0]) if found else (Choice.SUBMIT_AGAIN, "")
        if self.seed % 2 and not self._mistaken:
            self._mistaken, choice, job_id = True, Choice.FOUND, "no-such-job"
        self.trace_step(f"a person answers: {choice} {job_id}")
        self._trigger = None
        worker = Worker(self, self.ti.resume())
        self._spawn(worker.answered(on.Answered(self.world.now, choice, job_id, "Ada")), 1.0)

    def holds(self, trigger: int) -> bool:
        return self._trigger == trigger and self.ti.state == "deferred"

    def event(self, trigger: int, payload: Any, died: str = "") -> None:
        """A trigger has something to say, or has died of an error."""
        if not self.holds(trigger):
            return
        self._trigger = None
        ti_id = self.ti.resume()
        worker = Worker(self, ti_id)
        self._spawn(worker.resume(payload, died), 1.0)

    # --- invariants of all services

    def _check_running(self) -> Iterator[str]:
        """No job is left running unseen: the page of a task that is over shows it, and a task that
        has succeeded has none but those whose place was taken."""
        submitted = [job for job in self.world.jobs() if job.state != "not run" and job.id not in self._before]
        going_on = [job for job in submitted if not job.over]
        summary = self.ti.store.get(KEY, {}).get("summary", {})
        record = RecordStorage(Store(self.ti, self.ti.id)).load()
        replaced = {job.id for job in record.replaced} if record else set()
        # What was being submitted when its task ended has an unknown outcome, and is shown so; or, of a later request,
        # as orphaned.
        open_intent = record is not None and any(phase.intent for phase in record.phases)
        unknown = summary.get("state") in ("outcome_unknown", "submitting") or "" in replaced or open_intent
        forgotten = {job.id for job in submitted if job.over and job.id not in replaced}
        forgotten -= {job_id for phase in (record.phases if record else ()) for job_id in phase.ids}
        if forgotten and not unknown and not self.scenario.idempotent:
            yield f"the record has forgotten {', '.join(sorted(forgotten))}"
        for job in going_on:
            shown = job.id in (summary.get("ids") or ())
            known = shown or any(job.id in phase.ids for phase in (record.phases if record else ()))
            if not known and not unknown and job.id not in replaced and not self.scenario.idempotent:
                yield f"{job.kind} {job.id} goes on and the record does not know of it ({summary})"
            elif self.succeeded and shown and self.scenario.options.wait_for_completion:
                yield f"the task succeeded and {job.kind} {job.id} goes on"
        acts = {"marked failed", "marked success"}
        only_marked = (
            self.choices.taken and not self.unstoppable and {decision.name for decision in self.choices.taken} <= acts
        )
        if only_marked and any(not job.cancel_requested and self._cancellable(job.kind) for job in going_on):
            yield "a user ended the task, nothing else went wrong, and its job goes on"

    def _cancellable(self, kind: str) -> bool:
        kinds = self.world.hook.job_types
        return self.scenario.cancel_on_kill and kind in kinds and kinds[kind].cancel is not None

    def _check_cancelled(self) -> Iterator[str]:
        """Nothing is cancelled that no user ended."""
        cancelled = [job.id for job in self.world.jobs() if job.cancel_requested]
        if cancelled and not self.ti.user_ended and not self.ti.clears:
            yield f"cancelled though no user ended the task: {', '.join(cancelled)}"

    @property
    def requested(self) -> int:
        """How often a user requested the work: the first run and each clear."""
        return 1 + self.ti.clears

    @property
    def succeeded(self) -> bool:
        """By itself."""
        return self.ti.state == "success" and self.result is not None

    def fate(self, call: Request) -> Fate:
        """What becomes of a request, as far as the network decides."""
        name = self.choices.opportunity(OF_A_CALL)
        if name:
            self.trace_step(f"{call}: {name}")
        return _fate(name, self.choices)


def _fate(name: str, choices: Choices) -> Fate:
    if name == "late":
        return late(choices.either("lands after", 20.0, 70.0, 85.0)).after(choices.either("gives up", 5.0, 30.0))
    fates = {
        "": OK,
        "refused": REFUSED,
        "lost before": LOST_BEFORE.after(30.0),
        "lost after": LOST_AFTER,
        "502 after": status(502, done=True),
        "503 before": status(503),
        "429": throttled(2),
    }
    return fates[name]


class Acting:
    """What a process of any kind may do."""

    def __init__(self, sim: Simulation, ti_id: int) -> None:
        self.sim = sim
        self.ti_id = ti_id

    def perform(self, step: Request | Sleep | Blocking | Gather) -> Generator[float, None, Any]:
        """One step of a flow."""
        if isinstance(step, Sleep):
            yield step.seconds
            return None
        if isinstance(step, Gather):
            return (yield from self._gather(step))
        if isinstance(step, Blocking):
            return self.sim.world.do(step)
        yield 0.1
        fate = self.sim.fate(step)
        if fate.waited:
            answer = self.sim.world.do(step, fate._replace(waited=0.0))
            yield fate.waited
            return answer
        return self.sim.world.do(step, fate)

    def _gather(self, step: Gather) -> Generator[float, None, list[Any]]:
        """Flows at the same time: of those that run, the one goes on that is due first."""
        flows, results = enumerate(step.flows), dict[int, Any]()
        running: list[tuple[float, int, Any]] = []
        now = 0.0
        while True:
            while len(running) < step.limit.current and (following := next(flows, None)) is not None:
                running.append((now, following[0], self.run_flow(step.limit.watch(following[1]))))
            if not running:
                return [results[number] for number in sorted(results)]
            due, number, flow = running.pop(running.index(min(running, key=lambda each: each[:2])))
            if due > now:
                yield due - now
                now = due
            try:
                running.append((now + next(flow), number, flow))
            except StopIteration as end:
                results[number] = end.value
            except SluiceError as error:
                results[number] = error

    def run_flow(self, flow: Any) -> Generator[float, None, Any]:
        answer: Any = None
        try:
            while True:
                step = flow.throw(answer) if isinstance(answer, SluiceError) else flow.send(answer)
                answer = yield from self.perform(step)
        except StopIteration as end:
            return end.value


class Worker(Acting):
    """One worker run of a try, as `runtime.run.JobRun` runs it."""

    def __init__(self, sim: Simulation, ti_id: int) -> None:
        super().__init__(sim, ti_id)
        scenario = sim.scenario
        self.spec = scenario.spec(sim)
        self.spec.log = _Silent()
        kinds = sim.world.hook.job_type
        self.storage = RecordStorage(Store(sim.ti, ti_id))
        self.lifecycle = Lifecycle(
            self.spec.service,
            self.spec.next_phase,
            scenario.options,
            cancellable=lambda kind: scenario.cancel_on_kill and kinds(kind).cancel is not None,
            success_states=self.spec.success_states,
        )
        self.execution = Execution(self.spec, self.lifecycle, kinds, timeout=scenario.options.timeout)
        self.stop_at: float | None = None
        self.stopping = False

    # --- the ways in

    def start(self) -> Process:
        sim = self.sim
        sim.ti.xcoms[WORKER_RUN_KEY] = sim.world.now
        clears = (sim.ti.clear_number, sim.ti.max_tries)
        record = self.storage.load()
        if record is not None:
            self.spec.resume(record)
        fingerprint = digest(self.spec.fingerprint())
        seed = digest([clears, fingerprint])[:32]
        event = on.Started(sim.world.now, fingerprint, clears, seed)
        yield from self._leg(lambda: self.execution.run(record, event))

    def resume(self, payload: Any, died: str) -> Process:
        sim = self.sim
        sim.ti.xcoms[WORKER_RUN_KEY] = sim.world.now
        record = self.storage.load()
        if record is None:
            sim.ended(self.ti_id, "failed", why="its record is gone")
            return
        event = on.Resumed(sim.world.now, restart=died)
        if not died:
            _, error = read_event(payload)
            restart = str(error) if error is not None and not isinstance(error, TimedOut) else ""
            event = on.Resumed(sim.world.now, None if restart else error, restart)
        yield from self._leg(lambda: self.execution.run(record, event))

    def answered(self, event: on.Answered) -> Process:
        record = self.storage.load()
        if record is None:
            self.sim.ended(self.ti_id, "failed", why="its record is gone")
            return
        yield from self._leg(lambda: self.execution.run(record, event))

    # --- from its beginning to its end

    def _leg(self, run: Callable[[], Any]) -> Process:
        sim = self.sim
        try:
            record = yield from self._effects(run())
            result = self.spec.manifest(record)
        except ProcessDied:
            return
        except Deferred:
            return
        except SluiceError as error:
            sim.trace_step(f"the try fails: {type(error).__name__}: {error}"[:300])
            if isinstance(error, OutcomeUnknown) and sim.scenario.outcome_can_be_found:
                sim.wrong.append(f"the task fails though its job can be found: {error}")
            sim.ended(self.ti_id, "failed", retry=error.retryable)
        except Rejected as error:
            sim.trace_step(f"the try fails: {error}")
            sim.ended(self.ti_id, "failed")
        except Exception as error:  # noqa: BLE001 - any unforeseen error
            sim.wrong.append(f"the try fails with {error!r}")
            sim.ended(self.ti_id, "failed")
        else:
            if self.ti_id == sim.ti.id and sim.ti.state == "running":
                sim.result, sim.record = result, record
            sim.ended(self.ti_id, "success")

    def _effects(self, run: Any) -> Generator[float, None, JobRecord]:
        answer: Any = None
        while True:
            try:
                effect = run.throw(answer) if isinstance(answer, SluiceError) else run.send(answer)
            except StopIteration as end:
                return end.value
            try:
                answer = yield from self._effect(effect)
            except SluiceError as error:
                answer = error

    def _effect(self, effect: Any) -> Generator[float, None, Any]:
        if isinstance(effect, WaitHere):
            return (yield from self._wait(effect.flow))
        after = yield from self._happens()
        if isinstance(effect, SaveRecord):
            yield from self._save(effect)
        elif isinstance(effect, PublishJob):
            self.sim.ti.xcoms["job_ids"] = list(effect.ids)
        elif isinstance(effect, WaitForInput):
            self.sim.wait_for_input(self.ti_id, effect.question)
            raise Deferred
        elif isinstance(effect, DeferTask):
            self.sim.defer(self.ti_id, effect.ref, effect.submitted_at)
            raise Deferred
        elif not isinstance(effect, CountMetric):
            answer = yield from self._interruptibly(self.perform(effect))
            if after:
                self._die("dies after")
            return answer
        if after:
            self._die("dies after")
        return None

    def _wait(self, flow: Any) -> Generator[float, None, Any]:
        answer: Any = None
        try:
            while True:
                step = flow.throw(answer) if isinstance(answer, SluiceError) else flow.send(answer)
                answer = yield from self._effect(step)
        except StopIteration as end:
            return end.value

    def _save(self, effect: SaveRecord) -> Generator[float, None, None]:
        """Value after value, between which a process may die."""
        try:
            for key, value in self.storage.changes(effect.record, effect.only):
                yield 0.01
                if (name := self.sim.choices.opportunity((*OF_A_SAVE, "dies", "stands still"))) == "api away":
                    self.sim.trace_step(f"Airflow's API does not take {key}")
                    raise Rejected("500: the API is away")
                if name:
                    yield from self._befalls(name)
                self.storage.write(key, value)
        except Rejected:
            if effect.must:
                raise

    # --- what may befall it

    def _happens(self) -> Generator[float, None, bool]:
        """Whether it dies after its next step."""
        if self.stop_at is not None and self.sim.world.now >= self.stop_at and not self.stopping:
            yield from self._terminate()
        name = self.sim.choices.opportunity(IN_A_PROCESS)
        if name == "dies after":
            return True
        yield from self._befalls(name)
        return False

    def _befalls(self, name: str) -> Generator[float, None, None]:
        sim = self.sim
        if name == "dies":
            self._die(name)
        elif name == "stands still":
            seconds = sim.choices.either("stands still", 40.0, 200.0, 700.0, 1500.0)
            sim.trace_step(f"the process stands still for {seconds:.0f} s")
            if seconds > 300.0:
                sim._spawn(self._given_up(), 300.0)
            yield seconds
        elif name == "clock":
            # A larger error would break comparisons of age: a late request lands within 90 s, and is awaited for 120 s;
            # a client token that FinSpace keeps for 600 s is used for 510 s.
            sim.world.wall_error = sim.choices.either("clock jumps", -80.0, -30.0, 20.0)
            sim.trace_step(f"the wall clock jumps: it is wrong by {sim.world.wall_error:.0f} s")
        elif name == "stopped by the platform":
            sim.trace_step("the platform tells the process to stop")
            yield from self._terminate()
        elif name and sim.user(name):
            self.stop_at = sim.world.now + sim.choices.either("heartbeat", 0.0, 5.0)

    def _given_up(self) -> Process:
        """No heartbeats any more: a newer try starts, whatever the process does later."""
        self.sim.ended(self.ti_id, "failed", why="no heartbeat")
        return
        yield

    def _interruptibly(self, step: Generator[float, None, Any]) -> Generator[float, None, Any]:
        """A signal interrupts a sleep."""
        while True:
            try:
                seconds = next(step)
            except StopIteration as end:
                return end.value
            until = self.sim.world.now + seconds
            while self.sim.world.now < until:
                stop = self.stop_at if not self.stopping else None
                if stop is not None and stop <= until:
                    yield max(0.0, stop - self.sim.world.now)
                    yield from self._terminate()
                else:
                    # A user may act while the task sleeps, in the middle of it.
                    half = (until - self.sim.world.now) / 2 if seconds > 1.0 and not self.stopping else 0.0
                    if half and (name := self.sim.choices.opportunity(IN_A_PROCESS)):
                        yield half
                        yield from self._befalls("dies" if name == "dies after" else name)
                    else:
                        yield until - self.sim.world.now

    def _terminate(self) -> Generator[float, None, None]:
        """SIGTERM: as `JobRun.terminate`, then the end of the process."""
        sim = self.sim
        if self.execution.record is not None:
            self.stopping = True
            unreachable = sim.choices.opportunity(("airflow is unreachable",))
            user_ended, why = evidence.of_try(None if unreachable else sim.ti.state)
            try:
                yield from self._effects(self.execution.terminate(user_ended, why))
            except (SluiceError, Rejected) as error:
                sim.trace_step(f"terminating: {error}")
        self._die("ends after the signal", noticed=True)

    def _die(self, how: str, *, noticed: bool = False) -> None:
        self.sim.trace_step(f"the process {how}")
        if noticed:
            self.sim.ended(self.ti_id, "failed", why="stopped by the platform")
        else:
            self.sim._spawn(self.sim.missed(self.ti_id))
        raise ProcessDied


class Deferred(Exception):
    """The worker run has deferred."""


class Trigger(Acting):
    """A trigger, as `triggers.JobTrigger` polls and cancels."""

    def __init__(self, sim: Simulation, number: int, ti_id: int, ref: JobRef, submitted_at: float) -> None:
        super().__init__(sim, ti_id)
        self.number = number
        self.ref = JobRef.from_json(ref.to_json())
        self.submitted_at = submitted_at
        self.deferred_at = sim.world.now
        self.copies = 1

    def run(self) -> Process:
        sim = self.sim
        job_type = sim.world.hook.job_type(self.ref.job_type)
        timeout = sim.scenario.options.timeout
        flow = min_duration(poll_job(job_type, self.ref, self.submitted_at, timeout, 60.0, lambda _work: None), 6.0)
        try:
            work = yield from self._watch(flow)
            outcome = WaitResult(WaitStatus.OVER, self.ref, str(work))
        except TimedOut as error:
            outcome = WaitResult(WaitStatus.TIMED_OUT, self.ref, str(error))
        except SluiceError as error:
            outcome = WaitResult(WaitStatus.GAVE_UP, self.ref, str(error))
        except ProcessDied:
            return
        sim.event(self.number, outcome.to_event())
        if sim.choices.opportunity(("stopped late",)):
            # A copy in another triggerer is cancelled long after the task has resumed.
            yield sim.choices.either("stopped late", 2.0, 400.0)
            yield from self.on_kill()

    def _watch(self, flow: Any) -> Generator[float, None, Any]:
        answer: Any = None
        try:
            while True:
                step = flow.throw(answer) if isinstance(answer, SluiceError) else flow.send(answer)
                if not self.sim.holds(self.number):
                    yield from self._ended_from_outside()
                yield from self._befalls(self.sim.choices.opportunity(IN_A_TRIGGER))
                answer = yield from self.perform(step)
        except StopIteration as end:
            return end.value

    def _ended_from_outside(self) -> Generator[float, None, None]:
        """A user has ended the task, or another copy of this trigger has sent its event."""
        yield 2.0
        yield from self.on_kill()
        raise ProcessDied

    def _befalls(self, name: str) -> Generator[float, None, None]:
        sim = self.sim
        if name in ("triggerer dies", "held twice", "moves"):
            sim.trace_step(f"trigger: {name}")
            if self.copies < 3:
                copy = Trigger(sim, self.number, self.ti_id, self.ref, self.submitted_at)
                copy.deferred_at, copy.copies = self.deferred_at, self.copies + 1
                sim._spawn(copy.run(), 0.0 if name == "held twice" else 35.0)
                if name == "moves":
                    yield from self.on_kill()
                if name != "held twice":
                    raise ProcessDied
        elif name == "breaks":
            sim.trace_step("trigger: breaks")
            sim.event(self.number, None, died="ValueError: no such module")
            raise ProcessDied
        elif name and sim.user(name):
            yield 2.0
            yield from self.on_kill()
            raise ProcessDied

    def on_kill(self) -> Generator[float, None, None]:
        sim = self.sim
        job_type = sim.world.hook.job_type(self.ref.job_type)
        if job_type.cancel is None or not sim.scenario.cancel_on_kill:
            return
        unreachable = sim.choices.opportunity(("airflow is unreachable",))
        state = None if unreachable else sim.ti.state
        found = evidence.of_deferral(state, sim.ti.xcoms.get(WORKER_RUN_KEY), self.deferred_at)
        sim.trace_step(f"trigger cancelled: {found.why}")
        if found.user_ended:
            try:
                yield from self.run_flow(cancel(job_type, self.ref))
            except SluiceError as error:
                sim.trace_step(f"trigger: the cancellation failed: {error}")


class _Silent:
    """A log that discards its lines."""

    def __getattr__(self, _level: str) -> Callable[..., None]:
        return lambda *_args: None
