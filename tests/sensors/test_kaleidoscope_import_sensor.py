"""Waiting for an import that another user started: three modes, one behaviour."""

from __future__ import annotations

import pytest
from airflow.exceptions import AirflowFailException, AirflowSensorTimeout

from sluice_provider.errors import ServerError, Unreachable
from sluice_provider.jobs import lifecycle
from sluice_provider.sensors.kaleidoscope import KaleidoscopeImportSensor
from tests.operators.airflow_harness import ELEMENTS, UNKNOWN

pytestmark = pytest.mark.airflow

MODES = {"poke": {}, "reschedule": {"mode": "reschedule"}, "deferrable": {"deferrable": True}}
EVERY_MODE = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
SOFTLY = pytest.mark.parametrize(("soft_fail", "state"), [(False, "failed"), (True, "skipped")], ids=["hard", "soft"])


@pytest.fixture
def start_import(push):
    """Start an import, and return its id."""
    return lambda records=ELEMENTS: push(records=records, wait_for_completion=False).run().result["import_ids"][0]


@pytest.fixture
def wait(airflow):
    """A sensor, alone in its run, with retries."""

    def make_task(import_id, **args):
        args = {"poke_interval": 2, "retries": 3, **args}
        return airflow.task(KaleidoscopeImportSensor, task_id="wait", import_id=import_id, **args)

    return make_task


@EVERY_MODE
def test_wait_for_an_import(start_import, wait, service, mode):
    """Id, state and counts are the result; the sensor itself submits nothing."""
    import_id = start_import()
    task = wait(import_id, **mode).run()
    counts = {"created": 3, "updated": 0, "skipped": 0, "rejected": 0}
    assert task.state == "success"
    assert task.result == {"ids": [import_id], "state": "succeeded", **counts}
    assert task.xcom("_link_KaleidoscopeLink").endswith(import_id)
    assert len(service.imports) == 1
    assert service.polls >= 2


@EVERY_MODE
def test_one_status_check_for_an_import_that_is_over(start_import, wait, service, clock, mode):
    """Nothing is deferred, nothing sleeps."""
    import_id = start_import()
    clock.move(60)
    task = wait(import_id, **mode).worker_run()
    assert (task.state, service.polls, clock.sleeps) == ("success", 1, [])


@EVERY_MODE
@SOFTLY
@pytest.mark.parametrize("seconds", [0, 10], ids=["at once", "later"])
def test_a_failed_import_is_not_retried(start_import, wait, service, mode, soft_fail, state, seconds):
    """Another status check would find the same; with `soft_fail` the task is skipped, in every mode, at any time."""
    service.settings(fail_imports=1, job_seconds=seconds)
    task = wait(start_import(), soft_fail=soft_fail, **mode).run()
    assert task.state == state
    if not soft_fail:
        assert isinstance(task.error, AirflowFailException)
        assert "failed_row" in str(task.error)


@EVERY_MODE
@SOFTLY
def test_rejected_rows_fail(start_import, wait, service, mode, soft_fail, state):
    """By default, and row by row in the log."""
    service.settings(rejected_rows=1)
    task = wait(start_import(), soft_fail=soft_fail, **mode).run()
    assert task.state == state
    assert task.logged("WARNING", "Rejected: row H")


@EVERY_MODE
def test_rejected_rows_can_be_accepted(start_import, wait, service, mode):
    """As the author says."""
    service.settings(rejected_rows=1)
    task = wait(start_import(), on_rejected_rows="warn", **mode).run()
    assert (task.state, task.result["rejected"]) == ("success", 1)


@EVERY_MODE
@SOFTLY
def test_timeout(start_import, wait, service, mode, soft_fail, state):
    """A sensor's own timeout, in every mode."""
    service.settings(job_seconds=10_000)
    # The time between two reschedules is Airflow's own, not that of our clock.
    task = wait(start_import(), timeout=0.05 if "mode" in mode else 100, soft_fail=soft_fail, **mode).run()
    assert task.state == state
    if not soft_fail:
        assert isinstance(task.error, AirflowSensorTimeout)


@EVERY_MODE
def test_transient_status_check_failures(start_import, wait, service, mode):
    """The service is unavailable for some time, and the sensor continues."""
    import_id = start_import()
    service.inject_fault("GET", "imports/", status=503, times=12)
    task = wait(import_id, retries=0, **mode).run()
    assert task.state == "success"


@pytest.mark.parametrize("mode", ["poke", "deferrable"])
def test_too_many_status_check_failures(start_import, wait, service, mode, monkeypatch):
    """A service that stays unavailable fails the try, not the import: `soft_fail` does not hide it."""
    monkeypatch.setattr(lifecycle, "MAX_TRIGGER_RESTARTS", 1)
    import_id = start_import()
    service.inject_fault("GET", "imports/", status=503)
    task = wait(import_id, soft_fail=True, **MODES[mode]).run()
    assert task.state == "up_for_retry"
    assert isinstance(task.error, (ServerError, Unreachable))
    service.faults([])
    assert task.retry().state == "success"


@EVERY_MODE
def test_an_unknown_import_fails_after_the_grace_period(wait, service, clock, mode):
    """A replica may lag for two minutes; after that the id is wrong."""
    started = clock.time()  # real time passes, too, so the sleeps alone may be shorter
    task = wait(UNKNOWN, poke_interval=30, **mode).run()
    assert task.state == "failed"
    assert isinstance(task.error, AirflowFailException)
    assert "does not know this id" in str(task.error)
    assert clock.time() - started >= 120


@pytest.mark.parametrize("import_id", ["", " ", "..", "{{ '' }}"])
@EVERY_MODE
def test_invalid_import_id(wait, service, mode, import_id):
    """Before any request, and not retried."""
    task = wait(import_id, **mode).run()
    assert (task.state, service.polls) == ("failed", 0)
    assert "import_id" in str(task.error)


# --- deferred


def test_a_trigger_that_crashed_is_replaced(start_import, wait):
    """And the wait goes on."""
    task = wait(start_import(), deferrable=True).defer().fail_trigger().worker_run()
    assert task.state == "deferred"
    assert task.fire().worker_run().state == "success"


def test_a_trigger_that_timed_out_is_replaced(start_import, wait, clock):
    """One status check by the worker finds the end."""
    task = wait(start_import(), deferrable=True).defer()
    clock.move(60)
    assert task.time_out_trigger().worker_run().state == "success"


@pytest.mark.parametrize("event", [None, "over", {"status": "over"}], ids=repr)
def test_an_unknown_event_is_an_error_while_the_import_runs(start_import, wait, service, event):
    """It says nothing about the import."""
    service.settings(job_seconds=1000)
    task = wait(start_import(), deferrable=True, soft_fail=True).defer().fire(event).worker_run()
    assert task.state == "up_for_retry"


def test_a_wrong_event_is_checked_against_the_service(start_import, wait, service):
    """The worker polls the service."""
    service.settings(job_seconds=1000)
    task = wait(start_import(), deferrable=True).defer()
    event = {"status": "over", "job": task.trigger().job, "message": ""}
    assert task.fire(event).worker_run().state == "deferred"


def test_the_timeout_spans_retries(start_import, wait, service, clock):
    """It counts from the first poll, and anew only when the task is cleared."""
    service.settings(job_seconds=10_000)
    task = wait(start_import(), deferrable=True, timeout=100).defer().fire("gibberish").worker_run()
    clock.move(90)
    sleeps = len(clock.sleeps)
    task.retry()
    assert isinstance(task.error, AirflowSensorTimeout)
    assert sum(clock.sleeps[sleeps:]) < 20
    task.clear().run()
    assert sum(clock.sleeps[sleeps:]) > 100


def test_poke_interval_limits_the_poll_interval(start_import, wait, service, clock):
    """Unless a poll interval is given."""
    service.settings(job_seconds=200)
    wait(start_import(), deferrable=True, poke_interval=4).run()
    assert 3.5 < max(clock.sleeps) <= 4


def test_mapped_over_the_imports_of_a_push(airflow, push, service):
    """One sensor an import."""
    ids = push(batch_size=1, wait_for_completion=False).run().result["import_ids"]
    dag_run = airflow.dag_run(
        lambda: KaleidoscopeImportSensor.partial(task_id="wait", deferrable=True).expand(import_id=ids)
    )
    assert [dag_run.task("wait", map_index=index).run().result["ids"] for index in range(3)] == [[each] for each in ids]
