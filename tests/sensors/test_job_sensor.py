"""Waiting for a job of Liquid Decisions that another user submitted."""

from __future__ import annotations

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from sluice_provider.hooks.liquid_decisions import LiquidDecisionsHook
from sluice_provider.sensors.liquid_decisions import LiquidDecisionsJobSensor

pytestmark = pytest.mark.airflow

MODES = {"poke": {}, "reschedule": {"mode": "reschedule"}, "deferrable": {"deferrable": True}}
EVERY_MODE = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)


@pytest.fixture
def wait(airflow):
    """A sensor, alone in its run."""
    return lambda job_id, **args: airflow.task(
        LiquidDecisionsJobSensor, task_id="wait", job_id=job_id, poke_interval=2, **args
    )


def export():
    """Submit a job."""
    return LiquidDecisionsHook().export("Account", "Out", "application/json")


@EVERY_MODE
def test_wait_for_a_job(wait, sluice_sandbox, mode):
    """Id, state and counts are the result; the sensor itself submits nothing."""
    job_id = export()
    task = wait(job_id, **mode).run()
    assert task.state == "success", task.error
    assert task.result["ids"] == [job_id]
    assert (task.result["state"], task.result["processed"]) == ("succeeded", 2)
    assert len(sluice_sandbox.state()["liquid_decisions"]["jobs"]) == 1


@EVERY_MODE
def test_a_job_that_ended_badly(wait, sluice_sandbox, mode):
    """Fails at once, in the service's own words."""
    sluice_sandbox.settings(fail_jobs=1)
    task = wait(export(), retries=3, **mode).run()
    assert (task.state, type(task.error)) == ("failed", AirflowFailException)
    assert "the item service did not answer" in str(task.error)


@EVERY_MODE
def test_no_job(wait, mode):
    """An id that came out of nothing is named before anything is sent."""
    task = wait("None", **mode).run()
    assert (task.state, "must be a non-empty id" in str(task.error)) == ("failed", True)
