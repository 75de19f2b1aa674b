"""What the execution of a job does with what a service returns."""

from __future__ import annotations

import time
from contextlib import suppress
from types import SimpleNamespace

import pytest

from sluice_provider.errors import NotFound, UnexpectedResponse, Unreachable
from sluice_provider.http.flow import Gather
from sluice_provider.jobs import events as on
from sluice_provider.jobs import execution
from sluice_provider.jobs.execution import DeferTask, Execution, SaveRecord, WaitHere
from sluice_provider.jobs.lifecycle import Lifecycle, Options
from sluice_provider.jobs.polling import JobType
from sluice_provider.jobs.spec import Found, Prepared, Unit
from sluice_provider.jobs.storage import RecordStorage
from tests.flows import run_flow
from tests.jobs.echo_job import EchoJob, EchoPhase, GroupedPhase

LONG = "x" * 100_000


class LongSubmissionId(EchoPhase):
    """The service answers a submission with an id of 100 KB."""

    def submit(self, unit, intent, record):
        return LONG
        yield


class LongGroupedId(LongSubmissionId, GroupedPhase):
    """The same for a phase whose requests are idempotent."""


class LongFoundId(EchoPhase):
    """The existing job has an id of 100 KB."""

    def prepare(self, unit, record):
        return Prepared(found=LONG)
        yield


class LongKey(EchoPhase):
    """The service chooses the idempotency key, of 100 KB."""

    def prepare(self, unit, record):
        return Prepared(key=LONG)
        yield


class LongReconciledId(LongSubmissionId):
    """The job found by reconciling has an id of 100 KB, too."""

    def reconcile(self, intent, record):
        return Found(LONG)
        yield


def execute(phase, saved):
    """Run a job of this phase from the start, without Airflow."""
    job = EchoJob(phase)
    lifecycle = Lifecycle("echo", job.next_phase, Options(wait_for_completion=False))
    execution = Execution(job, lifecycle, lambda _name: JobType("echo", None))
    run = execution.run(None, on.Started(0.0, "print", (0, 0), "seed"))
    effect = next(run)
    while True:
        if isinstance(effect, SaveRecord):
            saved.append(effect.record)
        results = [run_flow(flow).error for flow in effect.flows] if isinstance(effect, Gather) else None
        effect = run.send(results)


@pytest.mark.parametrize("phase", [LongSubmissionId, LongGroupedId, LongFoundId, LongKey, LongReconciledId])
def test_an_id_that_is_too_long_fails_the_task(phase):
    """It is reported, and never stored: the head of the record would grow with it."""
    saved = []
    with pytest.raises((UnexpectedResponse, Unreachable)) as error:
        execute(phase(), saved)
    messages = [str(error.value), *(event.text for event in saved[-1].history)]
    assert any("an id of 100000 characters is too long" in text for text in messages)
    assert len(str(error.value)) < 500
    assert LONG not in str(saved)


def test_an_id_of_the_usual_length_is_kept():
    """A UUID."""
    saved = []

    class Usual(EchoPhase):
        def submit(self, unit, intent, record):
            return "0b9d5b0e-6b0a-4b7e-9a65-3f3c0a9f3c7e"
            yield

    with pytest.raises(StopIteration) as end:
        execute(Usual(), saved)
    assert end.value.value.phase("echo").ids == ("0b9d5b0e-6b0a-4b7e-9a65-3f3c0a9f3c7e",)


@pytest.mark.parametrize(("save_seconds", "least", "most"), [(0.0, 32, 40), (0.1, 4, 6), (100.0, 0, 1)])
def test_a_slow_airflow_is_written_to_less_often(monkeypatch, save_seconds, least, most):
    """Ten seconds of submitting: saved four times a second, or so that it takes a twentieth of the time, but at least
    every ten seconds."""
    now = 0.0

    class Slow(GroupedPhase):
        def units(self, record):
            return (Unit(number, 1) for number in range(len(record.submissions), 100))

        def submit(self, unit, intent, record):
            nonlocal now
            now += 0.1
            return str(unit.start)
            yield

    monkeypatch.setattr(execution, "time", SimpleNamespace(time=lambda: now, monotonic=lambda: now))
    job = EchoJob(Slow())
    lifecycle = Lifecycle("echo", job.next_phase, Options(wait_for_completion=False))
    run = Execution(job, lifecycle, lambda _name: JobType("echo", None)).run(
        None, on.Started(0.0, "print", (0, 0), "seed")
    )
    saves, answer = 0, None
    with suppress(StopIteration):
        while True:
            effect = run.send(answer)
            answer = None
            if isinstance(effect, Gather):
                answer = [run_flow(flow).value for flow in effect.flows]
            elif isinstance(effect, SaveRecord):
                saves += 1
                now += save_seconds
    assert least <= saves - 3 <= most  # the intent, that all was submitted, the end


class Values(dict):
    """A task state store."""

    def set(self, key, value):
        self[key] = value


def test_a_job_that_is_not_visible_yet_is_not_lost_after_a_death():
    """The process dies right after it saved the id; the retry, seconds later, asks a replica that lags. It submits
    nothing again, as a job is given two minutes to become visible."""
    submitted = []

    class Counting(EchoPhase):
        def submit(self, unit, intent, record):
            submitted.append(intent.key)
            return f"job-{len(submitted)}"
            yield

    def not_visible(_job_id, _locator):
        raise NotFound("no such changeset", status=404)
        yield

    store = Values()

    def run_a_try(until):
        job = EchoJob(Counting())
        lifecycle = Lifecycle("echo", job.next_phase, Options(deferrable=True))
        storage = RecordStorage(store)
        steps = Execution(job, lifecycle, lambda _name: JobType("echo", not_visible))
        run = steps.run(storage.load(), on.Started(time.time(), "print", (0, 0), "seed"))
        answer = None
        while True:
            effect = run.send(answer)
            answer = None
            if isinstance(effect, Gather):
                results = [run_flow(flow) for flow in effect.flows]
                answer = [each.error or each.value for each in results]
            elif isinstance(effect, SaveRecord):
                storage.save(effect.record, effect.only)
            if until(effect):
                return

    run_a_try(lambda effect: isinstance(effect, SaveRecord) and effect.only == "answer")
    assert len(submitted) == 1
    run_a_try(lambda effect: isinstance(effect, (DeferTask, WaitHere)))
    assert len(submitted) == 1


def test_a_wall_clock_that_is_set_back_delays_no_save(monkeypatch):
    """It is set back by an hour while units are submitted: the record is saved as if it were not."""
    now = 10_000.0
    clock = SimpleNamespace(time=lambda: now % 5.0, monotonic=lambda: now)

    class Steady(GroupedPhase):
        def units(self, record):
            return (Unit(number, 1) for number in range(len(record.submissions), 100))

        def submit(self, unit, intent, record):
            nonlocal now
            now += 0.1
            return str(unit.start)
            yield

    monkeypatch.setattr(execution, "time", clock)
    job = EchoJob(Steady())
    lifecycle = Lifecycle("echo", job.next_phase, Options(wait_for_completion=False))
    steps = Execution(job, lifecycle, lambda _name: JobType("echo", None))
    run = steps.run(None, on.Started(0.0, "print", (0, 0), "seed"))
    sizes, answer = [], None
    with suppress(StopIteration):
        while True:
            effect = run.send(answer)
            answer = None
            if isinstance(effect, Gather):
                answer = [run_flow(flow).value for flow in effect.flows]
                sizes.append(len(answer))
    assert sum(sizes) == 100
    assert max(sizes) <= 4
