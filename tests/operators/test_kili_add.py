"""Connecting an integration to a project: once, however often it is run."""

from __future__ import annotations

import pytest

from sluice_provider.errors import Conflict, InvalidInput, NotFound, RateLimited, Unreachable
from sluice_provider.jobs.polling import VISIBILITY_GRACE_SECONDS
from tests.operators.delayed_requests import delayed, suspended
from tests.operators.kili_fixtures import fault_on, is_mutation, lost_response, process_death, replaced_response

pytestmark = pytest.mark.airflow

WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["plain", "deferrable"])
ADD = "addDataConnection"


def connections(kili):
    """Those that there are beside the first."""
    return [each for each in kili.state["connections"] if each["id"] != kili.me]


@WAYS
def test_a_connection_is_added_and_computed(add, kili, deferrable):
    """The result names it and what there is to add; nothing is added yet."""
    task = add(deferrable=deferrable, exclude=["*two*"]).run()
    assert task.state == "success", task.error
    [made] = connections(kili)
    assert made["filter"] == {"selected_folders": None, "prefix": "cats/", "include": None, "exclude": ["*two*"]}
    result = task.result
    assert (result["connection_id"], result["project_id"]) == (made["id"], kili.project)
    assert (result["reused"], result["to_add"], result["total"], result["assets"]) == (False, 1, 1, 0)
    assert (made["assets"], made["tasks"]) == ([], ["CHECK"])


def test_without_computing(add, kili):
    """Only the connection."""
    task = add(compute_differences=False, selected_folders=[], prefix=None).run()
    [made] = connections(kili)
    assert made["filter"]["selected_folders"] == []
    assert (made["tasks"], "to_add" in task.result, task.result["state"]) == ([], False, "succeeded")


def test_not_waiting(add, kili):
    """The computation is submitted, and the task is done."""
    task = add(wait_for_completion=False).run()
    [made] = connections(kili)
    assert (made["tasks"], task.result["state"], task.result["connection_id"]) == (["CHECK"], "running", made["id"])


def test_existing_connections_are_reused(add, kili):
    """Another run finds it, and computes anew."""
    first = add().run().result
    again = add().run().result
    assert (again["connection_id"], again["reused"]) == (first["connection_id"], True)
    assert [each["tasks"] for each in connections(kili)] == [["CHECK", "CHECK"]]


@pytest.mark.parametrize(
    "other",
    [
        {"prefix": "dogs/"},
        {"prefix": None},
        {"include": ["a"]},
        {"selected_folders": []},
        {"is_json_processing_enabled": True},
    ],
    ids=str,
)
def test_other_settings_add_another_connection(add, kili, other):
    """Reusing one that is for other files would bring other files."""
    add(compute_differences=False, exclude=["x"]).run()
    task = add(compute_differences=False, exclude=["x"], **other).run()
    assert (task.result["reused"], len(connections(kili))) == (False, 2)


def test_if_exists_fail(add, kili):
    """It names the connection, and nothing is added."""
    first = add(compute_differences=False).run().result["connection_id"]
    task = add(if_exists="fail").run()
    assert (task.state, type(task.error)) == ("failed", Conflict)
    assert first in str(task.error)
    assert len(connections(kili)) == 1


def test_if_exists_add(add, kili):
    """If that is what the author wants."""
    add(compute_differences=False).run()
    assert add(compute_differences=False, if_exists="add").run().result["reused"] is False
    assert len(connections(kili)) == 2


def test_an_unknown_integration_is_a_clear_error(add, kili):
    """It names those that there are."""
    task = add(cloud_storage_integration_id="nobody").run()
    assert (task.state, type(task.error)) == ("failed", NotFound)
    assert "'nobody'" in str(task.error)
    assert f"{kili.integration} (Pictures)" in str(task.error)
    assert connections(kili) == []


@WAYS
@pytest.mark.parametrize("if_exists", ["reuse", "add", "fail"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_death_while_adding_adds_one(add, kili, deferrable, if_exists, moment):
    """The next try finds what the first one added, also where another one would be welcome."""
    add(compute_differences=False).run() if if_exists == "add" else None
    there = len(connections(kili))
    task = add(deferrable=deferrable, if_exists=if_exists)
    with process_death(task, moment, ADD):
        task.run()
    task.retry()
    assert task.state == "success", task.error
    assert len(connections(kili)) == there + 1
    assert task.result["connection_id"] == connections(kili)[-1]["id"]
    assert task.result["reused"] is False


@WAYS
@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_lost_response_adds_one(add, kili, clock, deferrable, drop):
    """Where it was done the same try finds it; else it is added again, once the request must have landed."""
    task = add(deferrable=deferrable)
    with lost_response(kili, ADD, drop=drop):
        task.run()
    assert (task.state, len(connections(kili))) == ("success", 1)
    assert kili.mutations.count(ADD) == (2 if drop == "before" else 1)
    assert (sum(clock.sleeps) > 0.5 * VISIBILITY_GRACE_SECONDS) == (drop == "before")
    assert task.result["reused"] is False


@pytest.mark.parametrize("fault", [{"status": 502}, {"status": 500}, {"status": 200, "body": b"<html>"}], ids=str)
def test_an_error_response_to_an_executed_request_adds_one(add, kili, fault):
    """A gateway may fail on the way back: the task searches, finds the connection, and succeeds."""
    task = add(retries=0)
    with replaced_response(ADD, **fault):
        task.run()
    assert task.state == "success", task.error
    [made] = connections(kili)
    assert (task.result["connection_id"], kili.mutations.count(ADD)) == (made["id"], 1)
    assert task.logged("WARNING", "Kili accepted the request: continuing with", made["id"])


@WAYS
@pytest.mark.parametrize("if_exists", ["reuse", "add", "fail"])
def test_a_delayed_request_adds_one(add, kili, clock, deferrable, if_exists):
    """The sender died, and its request lands 100 s later, in the middle of the next try, which waits for it."""
    task = add(deferrable=deferrable, if_exists=if_exists)
    with delayed(task, clock, 100, lambda request: is_mutation(request, ADD)):
        task.run()
    assert connections(kili) == []
    task.retry()
    assert task.state == "success", task.error
    [made] = connections(kili)
    assert (task.result["connection_id"], task.result["reused"]) == (made["id"], False)
    assert kili.mutations.count(ADD) == 1


def test_a_suspended_process_sends_nothing(add, kili, clock):
    """A newer try may have found that it had no effect, and have added the connection."""
    task = add()
    with suspended(clock, 60):
        task.run()
    assert (task.state, type(task.error), connections(kili)) == ("up_for_retry", Unreachable, [])
    assert kili.mutations == []
    task.retry()
    assert (task.state, len(connections(kili))) == ("success", 1)


def test_retry_after_is_respected(add, kili):
    """For longer than an intent is valid: the try fails at once, and Airflow gets the time of the next try."""
    task = add()
    with fault_on(kili, ADD, status=429, headers={"Retry-After": "50"}):
        task.run()
    assert (task.state, type(task.error), kili.mutations) == ("up_for_retry", RateLimited, [ADD])
    assert task.retry_seconds >= 50
    task.retry()
    assert (task.state, len(connections(kili))) == ("success", 1)


def test_a_clear_before_the_response_adds_one(add, kili, clock):
    """The user did not see that anything was done, and wants one connection."""
    task = add(if_exists="add")
    with process_death(task, "after", ADD):
        task.run()
    task.clear().run()
    assert (task.state, len(connections(kili))) == ("success", 1)


def test_a_computation_that_is_no_longer_requested_is_ignored(add, kili):
    """The author takes it out of the DAG while it goes on: the connection is there, and that is all that is wanted."""
    task = add()
    with task.death("job written", 2):
        task.worker_run()
    task.retry(compute_differences=False)
    assert task.state == "success", task.error
    assert kili.mutations.count("addDataConnection") == 1
    assert task.logged("WARNING", "compute differences", "is neither polled nor cancelled")


def test_a_clear_between_adding_and_computing_continues(add, kili):
    """With `if_exists="add"`, starting again would add a second one."""
    task = add(if_exists="add")
    with task.death("end written"):
        task.run()
    task.clear().run()
    assert (task.state, len(connections(kili))) == ("success", 1)
    assert task.logged("The task was cleared between two of its jobs: continuing with the next one")


def test_a_clear_after_the_end_runs_again(add, kili):
    """That is what the user wants, and the result names what was there before."""
    task = add(if_exists="add").run()
    first = task.result["connection_id"]
    task.clear().run()
    assert (task.state, len(connections(kili))) == ("success", 2)
    assert {"id": first, "state": "succeeded"} in task.result["replaced_jobs"]


@pytest.mark.parametrize(
    ("args", "word"),
    [
        ({"project_id": None}, "project_id"),
        ({"cloud_storage_integration_id": ""}, "cloud_storage_integration_id"),
        ({"prefix": "cats"}, "prefix"),
        ({"prefix": "*/"}, "prefix"),
        ({"include": "*.png"}, "include"),
        ({"exclude": [1]}, "exclude"),
        ({"if_exists": "ignore"}, "if_exists"),
    ],
    ids=str,
)
def test_invalid_arguments_are_rejected_before_anything_is_sent(add, kili, args, word):
    """Each names what is wrong, and is not retried."""
    task = add(**args).run()
    assert (task.state, type(task.error)) == ("failed", InvalidInput)
    assert word in str(task.error)
    assert kili.requests() == []


def test_add_and_synchronise(add, sync, kili):
    """The result of the one is the argument of the other."""
    made = add().run().result["connection_id"]
    task = sync(cloud_storage_connection_id=made).run()
    assert (task.state, task.result["added"]) == ("success", 2)
    assert kili.connection(made)["assets"] == ["cats/one.png", "cats/two.png"]


def test_another_connection_is_another_job(add, kili, sluice_connections, monkeypatch):
    """What was added by one Airflow connection is searched for again by another."""
    monkeypatch.setenv("AIRFLOW_CONN_KILI_OTHER", sluice_connections["kili_default"])
    task = add()
    with task.death("end written", nth=1):
        task.run()
    task.retry(kili_conn_id="kili_other")
    assert (task.state, task.result["reused"], len(connections(kili))) == ("success", True, 1)
    assert task.logged("WARNING", "The input has changed")
