"""The trigger: what is stored while tasks are deferred, and the events it sends."""

from __future__ import annotations

import json

import pytest

from sluice_provider.errors import UnexpectedResponse
from sluice_provider.jobs import WaitResult, WaitStatus
from sluice_provider.triggers import JobTrigger
from tests.operators.airflow_harness import SECRET

pytestmark = pytest.mark.airflow

JOB = {"service": "kaleidoscope", "job_type": "import", "ids": ["1", "2"], "locator": {"operation_id": "7"}}
ARGUMENTS = {
    "service": "kaleidoscope",
    "conn_id": "kaleidoscope_default",
    "job": JOB,
    "submitted_at": 1_700_000_000.5,
    "timeout": 600.0,
    "poll_interval": 30.0,
    "cancel_on_kill": True,
    "deferred_at": 1_700_000_001.5,
    "seen": "0123456789abcdef",
}


def test_its_import_path_and_arguments_are_stable():
    """A deferred task outlives an upgrade of this package."""
    path, arguments = JobTrigger(**ARGUMENTS).serialize()
    assert path == "sluice_provider.triggers.JobTrigger"
    assert arguments == ARGUMENTS


def test_it_survives_serialization():
    """Its arguments are JSON, and make the same trigger."""
    _, arguments = JobTrigger(**ARGUMENTS).serialize()
    assert JobTrigger(**json.loads(json.dumps(arguments))).serialize()[1] == arguments


def test_arguments_of_an_earlier_version_are_enough():
    """All other arguments have defaults."""
    stored = {name: ARGUMENTS[name] for name in ("service", "conn_id", "job", "submitted_at")}
    assert JobTrigger(**stored).serialize()[1] | stored == JobTrigger(**stored).serialize()[1]


def test_the_event_is_small_and_has_a_reason(push, service):
    """A status, the job, and one line."""
    task = push(deferrable=True).defer()
    event = task.event()
    assert set(event) == {"status", "job", "message"}
    assert (event["status"], event["job"]) == ("over", task.trigger().job)
    assert "completed" in event["message"]
    assert len(json.dumps(event)) < 500


def test_it_holds_no_secret(push):
    """Only the connection id is stored."""
    trigger = push(deferrable=True).defer().trigger()
    assert trigger.conn_id == "kaleidoscope_default"
    assert SECRET not in str(trigger.serialize())


def test_a_timeout_is_an_event(push, service):
    """As a status, not as an error."""
    service.settings(job_seconds=1000)
    event = push(deferrable=True, timeout=20).defer().event()
    assert event["status"] == "timed_out"
    assert "the timeout is 20 s" in event["message"]


@pytest.mark.parametrize(("status", "error"), [(403, "PermissionDenied"), (503, "ServerError")])
def test_failed_status_checks_are_an_event(push, service, status, error):
    """With the name of the error and the service's message."""
    task = push(deferrable=True).defer()
    service.inject_fault("GET", "imports/", status=status)
    event = task.event()
    assert event["status"] == "gave_up"
    assert error in event["message"]


@pytest.mark.parametrize(
    "change",
    [{"service": "atlantis"}, {"job": {**JOB, "job_type": "walk"}}],
    ids=["service", "job_type"],
)
def test_an_unknown_service_or_job_type_is_an_event(push, change):
    """Another version may have stored it."""
    task = push(deferrable=True).defer()
    trigger = JobTrigger(**{**ARGUMENTS, **change})
    trigger.task_instance = task.trigger().task_instance

    async def first(trigger):
        return (await anext(trigger.run())).payload

    event = task.in_triggerer(first, trigger)
    assert event["status"] == "gave_up"


def test_several_jobs_are_polled_until_each_ends(push, service):
    """A job that has ended is not polled again."""
    task = push(batch_size=1, deferrable=True).defer()
    service.requests(clear=True)
    service.inject_fault("GET", f"imports/{service.imports[0]}", status=503, times=3)
    task.event()
    paths = [each["path"] for each in service.requests() if each["status"] == 200 and "imports/" in each["path"]]
    assert {path.rpartition("/")[2] for path in paths} == set(service.imports)


@pytest.mark.parametrize("status", list(WaitStatus))
def test_every_status_survives_serialization(status):
    """Through JSON."""
    outcome = WaitResult.from_event({"status": status.value, "job": JOB, "message": "so"})
    assert WaitResult.from_event(json.loads(json.dumps(outcome.to_event()))) == outcome


def test_an_event_of_another_version_is_not_understood():
    """Nothing is guessed."""
    with pytest.raises(UnexpectedResponse, match="does not know"):
        WaitResult.from_event({"status": "over", "version": 2})
