"""The life of a job, point 7: cancelling, shown by a fifth system, from outside the package, whose jobs can be."""

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
    """Echo, known to the package by one line in its list of systems."""
    remote = Echo()
    monkeypatch.setattr(services, "SERVICES", (*services.SERVICES, SERVICE))
    monkeypatch.setitem(services.BY_NAME, SERVICE.name, SERVICE)
    monkeypatch.setitem(sys.modules, "sluice_provider.hooks.echo", echo_service)
    monkeypatch.setenv("AIRFLOW_CONN_ECHO_DEFAULT", remote.connection)
    thread = threading.Thread(target=remote.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield remote
    remote.server.shutdown()
    thread.join()
    remote.server.server_close()


@pytest.fixture
def shout(airflow, echo):
    """A task of the fifth system, with retries."""
    return lambda **args: airflow.life(EchoOperator, task_id="echo", words="hello", retries=3, **args)


def ends(echo):
    """What runs succeeds while the task sleeps."""
    return lambda: [job.update(state="succeeded") for job in echo.jobs.values() if job["state"] == "running"]


def killed():
    """What happens to a worker that is told to stop."""
    get_current_context()["ti"].task.on_kill()
    raise ProcessDied


# --- a fifth system


@pytest.mark.parametrize("deferrable", [False, True], ids=["plain", "deferrable"])
def test_a_fifth_system_fits_in(shout, echo, clock, deferrable):
    """It is asked, waited for, deferred and finished by code that has never heard of it."""
    clock.on_nap = ends(echo)
    life = shout(deferrable=deferrable).go()
    assert (life.state, life.result, echo.states) == ("success", {"ids": ["1"]}, ["succeeded"])


def test_in_doubt_a_remote_that_cannot_be_asked_is_left_alone(shout, echo):
    """The answer was lost and asking again would do the work twice: no retry, and a way out in words."""
    echo.mute = True
    life = shout().go()
    assert isinstance(life.error, OutcomeUnknown)
    assert (life.state, len(echo.jobs)) == ("failed", 1)


def test_a_death_while_asking_leaves_the_task_in_doubt(shout, echo, monkeypatch):
    """The next try reads the intent, does not ask again, and names the key."""
    life = shout()
    with life.death("intent written"):
        life.go()
    key = life.phase.intent.key
    life.retry()
    assert isinstance(life.error, OutcomeUnknown)
    assert key in str(life.error)
    assert (life.state, echo.jobs) == ("failed", {})


def test_keys_are_kept_by_retries_and_changed_by_failures(shout, echo, clock):
    """A key used again after a failure would hand the old failure back."""
    clock.on_nap = lambda: echo.jobs["1"].update(state="failed")
    life = shout().go()
    assert isinstance(life.error, JobFailed)
    clock.on_nap = ends(echo)
    life.retry()
    assert (life.state, life.result["ids"]) == ("success", ["2"])
    assert life.result["replaced_jobs"] == [{"id": "1", "state": "failed"}]
    assert echo.jobs["1"]["key"] != echo.jobs["2"]["key"]


# --- the worker is told to stop


def marked(life, state):
    """A user marks the task, and Airflow tells its process to stop."""

    def stop():
        with life.row() as row:
            row.state = state
        killed()

    return stop


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "removed"])
def test_a_user_ends_a_running_task(shout, echo, clock, state):
    """Its job is cancelled, on Airflow's word."""
    life = shout()
    clock.on_nap = marked(life, state)
    life.go()
    assert echo.states == ["cancelled"]
    assert life.said("INFO", "the task was", "cancelling echo 1")
    assert life.history("cancel") != []


def test_a_worker_that_is_stopped_leaves_its_job_alone(shout, echo, clock):
    """A pod is evicted, a deployment replaces workers: the next try reconnects."""
    clock.on_nap = killed
    life = shout().go()
    assert echo.states == ["running"]
    assert life.said("WARNING", "no user ended it", "the next try reconnects")
    clock.on_nap = ends(echo)
    assert life.retry().result == {"ids": ["1"]}


def test_a_killed_worker_leaves_the_job_if_told_so(shout, echo, clock):
    """`cancel_on_kill=False`, whoever ended the task."""
    life = shout(cancel_on_kill=False)
    clock.on_nap = marked(life, "failed")
    life.go()
    assert echo.states == ["running"]
    assert life.said("WARNING", "cancel_on_kill")


def test_a_worker_killed_before_asking_cancels_nothing(shout, echo):
    """There is nothing to cancel."""
    EchoOperator(task_id="echo", words="hello").on_kill()
    assert echo.jobs == {}


def test_kaleidoscope_cannot_cancel(push, remote, clock):
    """The log says so."""
    life = push()
    clock.on_nap = marked(life, "failed")
    life.go()
    [import_id] = remote.imports
    assert life.said("WARNING", import_id, "continues in Kaleidoscope, as it cannot be cancelled there")


# --- the deferred task is ended


def end(life, state):
    """Airflow tells the trigger, once the task is in this state."""
    trigger = life.trigger()
    with life.row() as row:
        row.state = state
    life.in_triggerer(lambda each: each.on_kill(), trigger)


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "removed"])
def test_ending_a_deferred_task_cancels_the_job(shout, echo, state):
    """A user has marked it."""
    life = shout(deferrable=True).defer()
    end(life, state)
    assert echo.states == ["cancelled"]
    assert life.said("INFO", "asked Echo to cancel echo 1")


@pytest.mark.parametrize("state", ["deferred", "running", "queued", "up_for_retry", "restarting", None], ids=str)
def test_every_other_state_is_no_users_act(shout, echo, state):
    """The trigger only moves, or the task was cleared, which its next try acts on."""
    life = shout(deferrable=True).defer()
    end(life, state)
    assert echo.states == ["running"]
    assert life.said("INFO", "Not cancelling")


def test_a_trigger_of_an_earlier_deferral_cancels_nothing(shout, echo):
    """The task has resumed since, and failed by itself; a copy of its trigger is told to stop only now."""
    life = shout(deferrable=True).defer()
    trigger = life.trigger()
    life.fire({"status": "timed_out", "job": trigger.job, "message": "late"}).leg()
    with life.row() as row:
        row.state = "failed"
    life.in_triggerer(lambda each: each.on_kill(), trigger)
    assert echo.states == ["running"]
    assert life.said("INFO", "Not cancelling", "has resumed since")


def test_the_last_words_of_a_trigger_follow_its_earlier_ones(shout, echo, clock):
    """What it writes when it is killed does not take the place of what it told while it waited."""
    life = shout(deferrable=True).defer()
    trigger = life.trigger()
    with life.row() as row:
        row.state = "failed"

    def kill():
        raise asyncio.CancelledError

    clock.on_nap = kill

    async def watched_and_killed(trigger):
        with suppress(asyncio.CancelledError):
            await anext(trigger.run())
        await trigger.on_kill()

    life.in_triggerer(watched_and_killed, trigger)
    assert [what for _, what, _ in life.xcom("sluice_progress")["history"]] == ["status", "cancel", "status"]
    assert life.xcom("sluice_progress")["state"] == "cancelled"


def test_cancelling_survives_an_impatient_airflow(shout, echo):
    """The triggerer cancels a trigger again and again as long as its on_kill runs."""
    echo.slow = 0.3
    life = shout(deferrable=True).defer()
    trigger = life.trigger()
    with life.row() as row:
        row.state = "failed"

    async def sleep_budget(trigger):
        killing = asyncio.create_task(trigger.on_kill())
        while not killing.done():
            await asyncio.sleep(0.02)
            killing.cancel()

    life.in_triggerer(sleep_budget, trigger)
    assert echo.states == ["cancelled"]


def test_a_trigger_that_cannot_ask_cancels_nothing(shout, echo):
    """In doubt the job goes on."""
    life = shout(deferrable=True).defer()
    trigger = life.trigger()
    trigger.task_instance = trigger.task_instance.model_copy(update={"run_id": "another"})
    life.in_triggerer(lambda each: each.on_kill(), trigger)
    assert echo.states == ["running"]


def test_a_deferred_job_is_left_if_told_so(shout, echo):
    """`cancel_on_kill=False` reaches the trigger."""
    life = shout(deferrable=True, cancel_on_kill=False).defer()
    end(life, "failed")
    assert echo.states == ["running"]


def test_a_mapped_task_is_asked_for_by_its_index(airflow, echo):
    """Its neighbours' states say nothing of it."""
    run = airflow.run(lambda: EchoOperator.partial(task_id="echo", deferrable=True).expand(words=["one", "two"]))
    one, two = (run.life("echo", map_index=index).defer() for index in range(2))
    end(one, "failed")
    assert echo.states == ["cancelled", "running"]
    end(two, "deferred")
    assert echo.states == ["cancelled", "running"]


def test_kaleidoscope_cannot_cancel_while_deferred(push, remote):
    """The log says so, and a cleared task picks the import up."""
    life = push(deferrable=True).defer()
    trigger = life.trigger()
    life.clear()
    life.in_triggerer(lambda each: each.on_kill(), trigger)
    assert life.said("INFO", remote.imports[0], "Kaleidoscope cannot cancel it")
    life.go()
    assert (life.state, len(remote.imports)) == ("success", 1)


def test_a_job_of_a_cleared_task_is_cancelled_by_the_next_try(shout, echo, clock):
    """Cleared while deferred: the new try knows for certain, cancels, sees it cancelled, and submits again."""
    life = shout(deferrable=True).defer()
    trigger = life.trigger()
    life.clear()
    life.in_triggerer(lambda each: each.on_kill(), trigger)
    assert echo.states == ["running"]
    clock.on_nap = ends(echo)
    life.go()
    assert (life.state, echo.states) == ("success", ["cancelled", "succeeded"])
    assert life.result["replaced_jobs"] == [{"id": "1", "state": "cancelled"}]
