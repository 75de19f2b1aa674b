"""Cancelling, with a fifth service from outside the package, whose jobs can be cancelled."""

from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import suppress

import pytest
from airflow.sdk import get_current_context

from sluice_provider import services
from sluice_provider.errors import JobFailed, OutcomeUnknown
from tests.operators import echo_service
from tests.operators.airflow_harness import ProcessDied
from tests.operators.echo_service import SERVICE, Echo, EchoOperator

pytestmark = pytest.mark.airflow


@pytest.fixture
def echo(monkeypatch):
    """Echo, known to the package by one line in its list of services."""
    service = Echo()
    monkeypatch.setattr(services, "SERVICES", (*services.SERVICES, SERVICE))
    monkeypatch.setitem(services.BY_NAME, SERVICE.name, SERVICE)
    monkeypatch.setitem(sys.modules, "sluice_provider.hooks.echo", echo_service)
    monkeypatch.setenv("AIRFLOW_CONN_ECHO_DEFAULT", service.connection)
    thread = threading.Thread(target=service.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield service
    service.server.shutdown()
    thread.join()
    service.server.server_close()


@pytest.fixture
def shout(airflow, echo):
    """A task of the fifth service, with retries."""
    return lambda **args: airflow.task(EchoOperator, task_id="echo", words="hello", retries=3, **args)


def ends(echo):
    """What runs succeeds while the task sleeps."""
    return lambda: [job.update(state="succeeded") for job in echo.jobs.values() if job["state"] == "running"]


def killed():
    """Stops the worker."""
    get_current_context()["ti"].task.on_kill()
    raise ProcessDied


# --- a fifth service


@pytest.mark.parametrize("deferrable", [False, True], ids=["plain", "deferrable"])
def test_a_fifth_service_works(shout, echo, clock, deferrable):
    """Generic code submits, waits, defers and finishes."""
    clock.on_sleep = ends(echo)
    task = shout(deferrable=deferrable).run()
    assert (task.state, task.result, echo.states) == ("success", {"ids": ["1"]}, ["succeeded"])


def test_unknown_outcome_is_not_retried_without_a_search(shout, echo):
    """The response was lost and submitting again would do the work twice: no retry, and the error says what to do."""
    echo.mute = True
    task = shout().run()
    assert isinstance(task.error, OutcomeUnknown)
    assert (task.state, len(echo.jobs)) == ("failed", 1)


def test_a_death_while_submitting_leaves_the_outcome_unknown(shout, echo, monkeypatch):
    """The next try reads the intent, does not submit again, and names the key."""
    task = shout()
    with task.death("intent written"):
        task.run()
    key = task.phase.intent.key
    task.retry()
    assert isinstance(task.error, OutcomeUnknown)
    assert key in str(task.error)
    assert (task.state, echo.jobs) == ("failed", {})


def test_keys_are_kept_by_retries_and_changed_by_failures(shout, echo, clock):
    """A key used again after a failure would hand the old failure back."""
    clock.on_sleep = lambda: echo.jobs["1"].update(state="failed")
    task = shout().run()
    assert isinstance(task.error, JobFailed)
    clock.on_sleep = ends(echo)
    task.retry()
    assert (task.state, task.result["ids"]) == ("success", ["2"])
    assert task.result["replaced_jobs"] == [{"id": "1", "state": "failed"}]
    assert echo.jobs["1"]["key"] != echo.jobs["2"]["key"]


# --- the worker is stopped


def marked(task, state):
    """A user marks the task, and Airflow stops its process."""

    def stop():
        with task.row() as row:
            row.state = state
        killed()

    return stop


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "removed"])
def test_a_user_ends_a_running_task(shout, echo, clock, state):
    """Its job is cancelled, on Airflow's word."""
    task = shout()
    clock.on_sleep = marked(task, state)
    task.run()
    assert echo.states == ["cancelled"]
    assert task.logged("INFO", "the task was", "cancelling echo 1")
    assert task.history("cancel") != []


def test_a_worker_that_is_stopped_leaves_its_job_alone(shout, echo, clock):
    """A pod is evicted, a deployment replaces workers: the next try reconnects."""
    clock.on_sleep = killed
    task = shout().run()
    assert echo.states == ["running"]
    assert task.logged("WARNING", "no user ended it", "the next try reconnects")
    clock.on_sleep = ends(echo)
    assert task.retry().result == {"ids": ["1"]}


def test_a_killed_worker_leaves_the_job_without_cancel_on_kill(shout, echo, clock):
    """`cancel_on_kill=False`, even if a user ended the task."""
    task = shout(cancel_on_kill=False)
    clock.on_sleep = marked(task, "failed")
    task.run()
    assert echo.states == ["running"]
    assert task.logged("WARNING", "cancel_on_kill")


def test_a_worker_killed_before_submitting_cancels_nothing(shout, echo):
    """There is nothing to cancel."""
    EchoOperator(task_id="echo", words="hello").on_kill()
    assert echo.jobs == {}


def test_kaleidoscope_cannot_cancel(push, service, clock):
    """The log says so."""
    task = push()
    clock.on_sleep = marked(task, "failed")
    task.run()
    [import_id] = service.imports
    assert task.logged("WARNING", import_id, "continues in Kaleidoscope, as it cannot be cancelled there")


# --- the deferred task is ended


def end(task, state):
    """Airflow cancels the trigger once the task is in this state."""
    trigger = task.trigger()
    with task.row() as row:
        row.state = state
    task.in_triggerer(lambda each: each.on_kill(), trigger)


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "removed"])
def test_ending_a_deferred_task_cancels_the_job(shout, echo, state):
    """A user has marked it."""
    task = shout(deferrable=True).defer()
    end(task, state)
    assert echo.states == ["cancelled"]
    assert task.logged("INFO", "asked Echo to cancel echo 1")


@pytest.mark.parametrize("state", ["deferred", "running", "queued", "up_for_retry", "restarting", None], ids=str)
def test_every_other_state_is_no_users_act(shout, echo, state):
    """The trigger only moves, or the task was cleared, which its next try acts on."""
    task = shout(deferrable=True).defer()
    end(task, state)
    assert echo.states == ["running"]
    assert task.logged("INFO", "Not cancelling")


def test_a_trigger_of_an_earlier_deferral_cancels_nothing(shout, echo):
    """The task has resumed since, and failed by itself; a copy of its trigger is cancelled only now."""
    task = shout(deferrable=True).defer()
    trigger = task.trigger()
    task.fire({"status": "timed_out", "job": trigger.job, "message": "late"}).worker_run()
    with task.row() as row:
        row.state = "failed"
    task.in_triggerer(lambda each: each.on_kill(), trigger)
    assert echo.states == ["running"]
    assert task.logged("INFO", "Not cancelling", "has resumed since")


def test_the_last_words_of_a_trigger_follow_its_earlier_ones(shout, echo, clock):
    """What it writes when it is killed does not replace the history of its wait."""
    task = shout(deferrable=True).defer()
    for job in echo.jobs.values():
        job["message"] = "half of it"
    trigger = task.trigger()
    with task.row() as row:
        row.state = "failed"

    def kill():
        raise asyncio.CancelledError

    clock.on_sleep = kill

    async def watched_and_killed(trigger):
        with suppress(asyncio.CancelledError):
            await anext(trigger.run())
        await trigger.on_kill()

    task.in_triggerer(watched_and_killed, trigger)
    line, progress = task.xcom("sluice_progress")
    assert [what for _, what, _ in progress["history"]] == ["status", "cancel", "status"]
    assert (progress["state"], line.split()[2:]) == ("cancelled", ["cancelled", "echo"])


def test_cancelling_survives_an_impatient_airflow(shout, echo):
    """The triggerer cancels a trigger again and again as long as its on_kill runs."""
    echo.slow = 0.3
    task = shout(deferrable=True).defer()
    trigger = task.trigger()
    with task.row() as row:
        row.state = "failed"

    async def sleep_budget(trigger):
        killing = asyncio.create_task(trigger.on_kill())
        while not killing.done():
            await asyncio.sleep(0.02)
            killing.cancel()

    task.in_triggerer(sleep_budget, trigger)
    assert echo.states == ["cancelled"]


def test_a_trigger_without_the_task_state_cancels_nothing(shout, echo):
    """If the task's state is unknown, the job continues."""
    task = shout(deferrable=True).defer()
    trigger = task.trigger()
    trigger.task_instance = trigger.task_instance.model_copy(update={"run_id": "another"})
    task.in_triggerer(lambda each: each.on_kill(), trigger)
    assert echo.states == ["running"]


def test_a_deferred_job_is_left_without_cancel_on_kill(shout, echo):
    """`cancel_on_kill=False` reaches the trigger."""
    task = shout(deferrable=True, cancel_on_kill=False).defer()
    end(task, "failed")
    assert echo.states == ["running"]


def test_the_state_of_a_mapped_task_is_read_by_its_index(airflow, echo):
    """The states of the other mapped tasks do not matter."""
    dag_run = airflow.dag_run(
        lambda: EchoOperator.partial(task_id="echo", deferrable=True).expand(words=["one", "two"])
    )
    one, two = (dag_run.task("echo", map_index=index).defer() for index in range(2))
    end(one, "failed")
    assert echo.states == ["cancelled", "running"]
    end(two, "deferred")
    assert echo.states == ["cancelled", "running"]


def test_kaleidoscope_cannot_cancel_while_deferred(push, service):
    """The log says so, and a cleared task picks the import up."""
    task = push(deferrable=True).defer()
    trigger = task.trigger()
    task.clear()
    task.in_triggerer(lambda each: each.on_kill(), trigger)
    assert task.logged("INFO", service.imports[0], "Kaleidoscope cannot cancel it")
    task.run()
    assert (task.state, len(service.imports)) == ("success", 1)


def test_a_job_of_a_cleared_task_is_cancelled_by_the_next_try(shout, echo, clock):
    """Cleared while deferred: the new try knows for certain, cancels, sees it cancelled, and submits again."""
    task = shout(deferrable=True).defer()
    trigger = task.trigger()
    task.clear()
    task.in_triggerer(lambda each: each.on_kill(), trigger)
    assert echo.states == ["running"]
    clock.on_sleep = ends(echo)
    task.run()
    assert (task.state, echo.states) == ("success", ["cancelled", "succeeded"])
    assert task.result["replaced_jobs"] == [{"id": "1", "state": "cancelled"}]
