"""Waiting for a changeset that another user submitted: three modes, one behaviour."""

from __future__ import annotations

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from sluice_provider.errors import AuthenticationFailed, InvalidInput, JobFailed
from sluice_provider.sensors.finspace import FinSpaceChangesetSensor
from tests.sandbox.sigv4_client import Client

pytestmark = pytest.mark.airflow

EVERY_MODE = pytest.mark.parametrize(
    "mode", [{}, {"mode": "reschedule"}, {"deferrable": True}], ids=["poke", "reschedule", "deferrable"]
)
SYM = {"changeType": "PUT", "s3Path": "s3://sluice-market-data/hdb/sym", "dbPath": "/"}


@pytest.fixture
def fin(sluice_sandbox):
    """Another user, who submits changesets."""
    return Client(sluice_sandbox)


@pytest.fixture
def wait(airflow, fin):
    """A sensor, alone in its run, with retries."""

    def make_task(changeset_id, **args):
        where = {"environment_id": fin.environment, "database_name": "markets"}
        args = {**where, "changeset_id": changeset_id, "poke_interval": 2, "retries": 3, **args}
        return airflow.task(FinSpaceChangesetSensor, task_id="wait", **args)

    return make_task


@EVERY_MODE
@pytest.mark.parametrize("word", ["IN_PROGRESS", "PROCESSING", "WHATEVER_COMES"])
def test_wait_for_a_changeset(fin, wait, sluice_sandbox, mode, word):
    """Through every word that is not an end; the sensor itself submits nothing."""
    sluice_sandbox.settings(job_seconds=20, running_changeset_status=word)
    changeset_id = fin.change(SYM).json()["changesetId"]
    task = wait(changeset_id, **mode).run()
    assert task.state == "success", task.error
    assert task.result == {"ids": [changeset_id], "state": "succeeded", "put": 1, "deleted": 0}
    assert len(sluice_sandbox.state()["finspace"]["changesets"]) == 1


@EVERY_MODE
def test_a_changeset_that_is_late(fin, wait, sluice_sandbox, mode):
    """404 right after its creation is not an end."""
    sluice_sandbox.settings(job_seconds=0, changeset_not_found_polls=3)
    assert wait(fin.change(SYM).json()["changesetId"], **mode).run().state == "success"


@EVERY_MODE
@pytest.mark.parametrize(
    ("kind", "state", "error"),
    [
        ("The inputs to this request are invalid.", "failed", AirflowFailException),
        ("Missing required permission to perform this request.", "failed", AirflowFailException),
        ("An internal error has occurred.", "up_for_retry", JobFailed),
    ],
)
def test_a_failed_changeset(fin, wait, sluice_sandbox, mode, kind, state, error):
    """Its error in full; tried again only where a new changeset may cure it."""
    sluice_sandbox.settings(fail_changesets=1, changeset_error_type=kind, job_seconds=5)
    task = wait(fin.change(SYM).json()["changesetId"], **mode).run()
    assert (task.state, type(task.error)) == (state, error)
    assert f"{kind} Failed by the sandbox setting fail_changesets" in str(task.error)


@EVERY_MODE
def test_transient_status_check_failures(fin, wait, sluice_sandbox, mode):
    """A transient failure of a status check is tolerated."""
    changeset_id = fin.change(SYM).json()["changesetId"]
    sluice_sandbox.faults([{"method": "GET", "path": "changesets/", "status": 503, "times": 12}])
    assert wait(changeset_id, **mode).run().state == "success"


@EVERY_MODE
def test_a_region_of_its_own(fin, wait, mode):
    """Reaches the trigger; the sandbox refuses every other one, and no retry cures that."""
    changeset_id = fin.change(SYM).json()["changesetId"]
    assert wait(changeset_id, region_name="eu-west-1", **mode).run().state == "success"
    task = wait(changeset_id, region_name="us-east-1", **mode).run()
    assert task.state == "failed"
    assert AuthenticationFailed.__name__ in str(task.error)


@pytest.mark.parametrize(
    "args", [{"changeset_id": "None"}, {"changeset_id": "a/b"}, {"environment_id": ""}, {"database_name": "x"}], ids=str
)
def test_bad_input(wait, sluice_sandbox, args):
    """Refused before anything is sent."""
    task = wait(**{"changeset_id": "c1", **args}).run()
    assert task.state == "failed"
    assert InvalidInput.__name__ in str(task.error)
    assert sluice_sandbox.requests() == []
