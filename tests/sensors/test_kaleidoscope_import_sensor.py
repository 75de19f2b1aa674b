"""Waiting for an import that somebody else asked for: three modes, one behaviour."""

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
def asked(push):
    """Ask for an import, and return its id."""
    return lambda records=ELEMENTS: push(records=records, wait_for_completion=False).go().result["import_ids"][0]


@pytest.fixture
def wait(airflow):
    """A sensor, alone in its run, with retries."""

    def begin(import_id, **args):
        args = {"poke_interval": 2, "retries": 3, **args}
        return airflow.life(KaleidoscopeImportSensor, task_id="wait", import_id=import_id, **args)

    return begin


@EVERY_MODE
def test_wait_for_an_import(asked, wait, remote, mode):
    """Id, state and counts are the result; the sensor itself asks for nothing."""
    import_id = asked()
    life = wait(import_id, **mode).go()
    counts = {"created": 3, "updated": 0, "skipped": 0, "rejected": 0}
    assert life.state == "success"
    assert life.result == {"ids": [import_id], "state": "succeeded", **counts}
    assert life.xcom("_link_KaleidoscopeLink").endswith(import_id)
    assert len(remote.imports) == 1
    assert remote.looks >= 2


@EVERY_MODE
def test_one_status_check_for_an_import_that_is_over(asked, wait, remote, clock, mode):
    """Nothing is deferred, nothing sleeps."""
    import_id = asked()
    clock.move(60)
    life = wait(import_id, **mode).leg()
    assert (life.state, remote.looks, clock.naps) == ("success", 1, [])


@EVERY_MODE
@SOFTLY
@pytest.mark.parametrize("seconds", [0, 10], ids=["at once", "later"])
def test_a_failed_import_is_not_retried(asked, wait, remote, mode, soft_fail, state, seconds):
    """Another look would find the same; with `soft_fail` the task is skipped, in every mode and at every moment."""
    remote.settings(fail_imports=1, job_seconds=seconds)
    life = wait(asked(), soft_fail=soft_fail, **mode).go()
    assert life.state == state
    if not soft_fail:
        assert isinstance(life.error, AirflowFailException)
        assert "failed_row" in str(life.error)


@EVERY_MODE
@SOFTLY
def test_rejected_rows_fail(asked, wait, remote, mode, soft_fail, state):
    """By default, and row by row in the log."""
    remote.settings(rejected_rows=1)
    life = wait(asked(), soft_fail=soft_fail, **mode).go()
    assert life.state == state
    assert life.said("WARNING", "Rejected: row H")


@EVERY_MODE
def test_rejected_rows_can_be_accepted(asked, wait, remote, mode):
    """As the author says."""
    remote.settings(rejected_rows=1)
    life = wait(asked(), on_rejected_rows="warn", **mode).go()
    assert (life.state, life.result["rejected"]) == ("success", 1)


@EVERY_MODE
@SOFTLY
def test_timeout(asked, wait, remote, mode, soft_fail, state):
    """A sensor's own timeout, in every mode."""
    remote.settings(job_seconds=10_000)
    # The time between two reschedules is Airflow's own, not that of our clock.
    life = wait(asked(), timeout=0.05 if "mode" in mode else 100, soft_fail=soft_fail, **mode).go()
    assert life.state == state
    if not soft_fail:
        assert isinstance(life.error, AirflowSensorTimeout)


@EVERY_MODE
def test_transient_status_check_failures(asked, wait, remote, mode):
    """The remote is away for some time, and the sensor does not notice."""
    import_id = asked()
    remote.trouble("GET", "imports/", status=503, times=12)
    life = wait(import_id, retries=0, **mode).go()
    assert life.state == "success"


@pytest.mark.parametrize("mode", ["poke", "deferrable"])
def test_too_many_status_check_failures(asked, wait, remote, mode, monkeypatch):
    """A remote that stays away fails the try, which is no verdict on the import: `soft_fail` does not hide it."""
    monkeypatch.setattr(lifecycle, "MAX_TRIGGER_RESTARTS", 1)
    import_id = asked()
    remote.trouble("GET", "imports/", status=503)
    life = wait(import_id, soft_fail=True, **MODES[mode]).go()
    assert life.state == "up_for_retry"
    assert isinstance(life.error, (ServerError, Unreachable))
    remote.faults([])
    assert life.retry().state == "success"


@EVERY_MODE
def test_an_unknown_import_fails_after_the_grace_period(wait, remote, clock, mode):
    """A replica may lag for two minutes; after that the id is wrong."""
    life = wait(UNKNOWN, poke_interval=30, **mode).go()
    assert life.state == "failed"
    assert isinstance(life.error, AirflowFailException)
    assert "does not know it" in str(life.error)
    assert clock.ahead >= 120


@pytest.mark.parametrize("import_id", ["", " ", "..", "{{ '' }}"])
@EVERY_MODE
def test_invalid_import_id(wait, remote, mode, import_id):
    """Before the remote is asked, and not tried again."""
    life = wait(import_id, **mode).go()
    assert (life.state, remote.looks) == ("failed", 0)
    assert "import_id" in str(life.error)


# --- deferred


def test_a_trigger_that_crashed_is_replaced(asked, wait):
    """And the wait goes on."""
    life = wait(asked(), deferrable=True).defer().crash().leg()
    assert life.state == "deferred"
    assert life.fire().leg().state == "success"


def test_a_trigger_that_timed_out_is_replaced(asked, wait, clock):
    """One look from the worker finds the end."""
    life = wait(asked(), deferrable=True).defer()
    clock.move(60)
    assert life.overdue().leg().state == "success"


@pytest.mark.parametrize("event", [None, "over", {"status": "over"}], ids=repr)
def test_an_unknown_event_is_an_error_while_the_import_runs(asked, wait, remote, event):
    """It is no verdict on the import."""
    remote.settings(job_seconds=1000)
    life = wait(asked(), deferrable=True, soft_fail=True).defer().fire(event).leg()
    assert life.state == "up_for_retry"


def test_a_wrong_event_is_checked_against_the_service(asked, wait, remote):
    """The remote is asked."""
    remote.settings(job_seconds=1000)
    life = wait(asked(), deferrable=True).defer()
    event = {"status": "over", "job": life.trigger().job, "message": ""}
    assert life.fire(event).leg().state == "deferred"


def test_the_timeout_spans_retries(asked, wait, remote, clock):
    """It counts from the first look, and from a new one only when the task is cleared."""
    remote.settings(job_seconds=10_000)
    life = wait(asked(), deferrable=True, timeout=100).defer().fire("gibberish").leg()
    clock.move(90)
    naps = len(clock.naps)
    life.retry()
    assert isinstance(life.error, AirflowSensorTimeout)
    assert sum(clock.naps[naps:]) < 20
    life.clear().go()
    assert sum(clock.naps[naps:]) > 100


def test_poke_interval_limits_the_poll_interval(asked, wait, remote, clock):
    """Unless a poll interval is given."""
    remote.settings(job_seconds=200)
    wait(asked(), deferrable=True, poke_interval=4).go()
    assert 3.5 < max(clock.naps) <= 4


def test_mapped_over_the_imports_of_a_push(airflow, push, remote):
    """One sensor an import."""
    ids = push(batch_size=1, wait_for_completion=False).go().result["import_ids"]
    run = airflow.run(lambda: KaleidoscopeImportSensor.partial(task_id="wait", deferrable=True).expand(import_id=ids))
    assert [run.life("wait", map_index=index).go().result["ids"] for index in range(3)] == [[each] for each in ids]
