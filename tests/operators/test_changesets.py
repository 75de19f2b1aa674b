"""Changesets from a task: what is submitted, once, in order; what a retry makes of it; what is refused before."""

from __future__ import annotations

import re

import pytest
from airflow.sdk import get_current_context

from sluice_provider.errors import (
    AuthenticationFailed,
    Conflict,
    InvalidInput,
    JobFailed,
    NotFound,
    RateLimited,
    Unreachable,
)
from sluice_provider.operators.finspace import FinSpaceCreateChangesetOperator, delete, put
from tests.operators.airflow_harness import ProcessDied
from tests.operators.delayed_requests import delayed, suspended

pytestmark = pytest.mark.airflow

WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["plain", "deferrable"])
ENVIRONMENT = "sluicesandbox4kdbx2026"
BUCKET = "s3://sluice-market-data/hdb"
CHANGES = [put(f"{BUCKET}/2026.03.02/", "/2026.03.02/"), put(f"{BUCKET}/sym", "/"), delete("/2026.02.27/")]
SYMS = [put(f"{BUCKET}/sym", f"/a{number}/") for number in range(5)]


class Kdb:
    """The sandbox's FinSpace as tests see it."""

    def __init__(self, sandbox):
        self.sandbox = sandbox

    @property
    def held(self):
        return self.sandbox.state()["finspace"]

    @property
    def changesets(self):
        return [each["id"] for each in self.held["changesets"]]

    @property
    def tree(self):
        return list(self.held["databases"][0]["tree"])

    def requests_to(self, method, part):
        found = self.sandbox.requests()
        return [each for each in found if each["method"] == method and part in each["path"]]

    @property
    def creations(self):
        return [each["json"] for each in self.requests_to("POST", "/changesets")]

    @property
    def tokens(self):
        return [each["clientToken"] for each in self.creations]

    def listings(self):
        return [each for each in self.requests_to("GET", "/changesets") if each["path"].endswith("/changesets")]

    def inject_fault(self, method, path, **fault):
        self.sandbox.faults([{"method": method, "path": path, "times": 10_000, **fault}])


@pytest.fixture
def kdb(sluice_sandbox):
    """The sandbox's FinSpace."""
    return Kdb(sluice_sandbox)


@pytest.fixture
def change(airflow):
    """A changeset of three changes, with three retries; arguments as for the operator."""

    def make_task(**args):
        args = {
            "environment_id": ENVIRONMENT,
            "database_name": "markets",
            "change_requests": CHANGES,
            "retries": 3,
            **args,
        }
        return airflow.task(FinSpaceCreateChangesetOperator, task_id="change", **args)

    return make_task


def killed():
    """Stops the worker."""
    get_current_context()["ti"].task.on_kill()
    raise ProcessDied


# --- the good way


@WAYS
@pytest.mark.parametrize("word", ["IN_PROGRESS", "PROCESSING", "WHATEVER_COMES"])
def test_a_changeset_is_submitted_and_awaited(change, kdb, deferrable, word):
    """Submitted once, waited for in any running state; the result lists its changes."""
    kdb.sandbox.settings(job_seconds=20, running_changeset_status=word)
    task = change(deferrable=deferrable).run()
    assert task.state == "success", task.error
    [changeset_id] = kdb.changesets
    result = task.result
    assert result["changesets"] == [{"id": changeset_id, "put": ["/2026.03.02/", "/"], "deleted": ["/2026.02.27/"]}]
    assert (result["state"], result["changeset_ids"]) == ("succeeded", [changeset_id])
    assert (result["put"], result["deleted"]) == (2, 1)
    assert result["seconds"] >= 19
    assert "/sym" in kdb.tree
    assert len(kdb.creations) == 1
    assert task.logged("Amazon FinSpace changeset", word)


@WAYS
def test_long_lists_become_several_changesets(change, kdb, deferrable):
    """In order, and each only when the one before it is over."""
    kdb.sandbox.settings(max_running_changesets=1)
    task = change(change_requests=SYMS, max_requests_per_changeset=2, deferrable=deferrable).run()
    assert task.state == "success", task.error
    sent = [request["dbPath"] for creation in kdb.creations for request in creation["changeRequests"]]
    assert sent == [f"/a{number}/" for number in range(5)]
    assert [len(creation["changeRequests"]) for creation in kdb.creations] == [2, 2, 1]
    assert len(set(kdb.tokens)) == 3
    assert task.result["changeset_ids"] == kdb.changesets
    assert [each["put"] for each in task.result["changesets"]] == [["/a0/", "/a1/"], ["/a2/", "/a3/"], ["/a4/"]]
    phases = [(phase.name, phase.submissions[0][1:]) for phase in task.record.phases]
    assert phases == [("changeset-1", (0, 2)), ("changeset-2", (2, 2)), ("changeset-3", (4, 1))]


def test_thirty_two_is_the_limit(change, kdb):
    """Thirty-three requests are two changesets."""
    kdb.sandbox.settings(job_seconds=0)
    requests = [put(f"{BUCKET}/sym", f"/b{number}/") for number in range(33)]
    task = change(change_requests=requests).run()
    assert [len(creation["changeRequests"]) for creation in kdb.creations] == [32, 1]
    assert (task.result["put"], len(kdb.tree)) == (33, 33)


def test_wait_for_completion_false(change, kdb):
    """As soon as the first changeset is accepted, its id is the result."""
    task = change(wait_for_completion=False).run()
    assert (task.state, task.result["state"]) == ("success", "running")
    assert task.result["changeset_ids"] == task.xcom("job_ids") == kdb.changesets


def test_templates(change, kdb):
    """Requests, environment and database are rendered, dates and all."""
    requests = [{"changeType": "PUT", "s3Path": BUCKET + "/{{ 'sym' }}", "dbPath": "/{{ '2026.03.02' }}/"}]
    task = change(change_requests=requests, database_name="{{ 'markets' }}").run()
    assert task.state == "success", task.error
    assert kdb.tree == ["/2026.03.02/sym"]


@pytest.mark.parametrize("there", [True, False])
def test_ensure_database(change, kdb, there):
    """Only if it is not there; without `ensure_database` its absence is an error that no retry cures."""
    name = "markets" if there else "ticks"
    assert change(database_name=name, ensure_database=True).run().state == "success"
    assert len(kdb.requests_to("POST", "/databases")) - len(kdb.creations) == (0 if there else 1)
    task = change(database_name="nowhere").run()
    assert (task.state, type(task.error)) == ("failed", NotFound)
    assert "KX database nowhere not found" in str(task.error)


def test_a_region_goes_with_the_work(change, kdb):
    """The task's region is the trigger's region too: the sandbox refuses every other one."""
    task = change(region_name="eu-west-1", deferrable=True).run()
    assert task.state == "success"
    task = change(region_name="us-east-1").run()
    assert (task.state, type(task.error)) == ("failed", AuthenticationFailed)
    assert "valid region" in str(task.error)


def test_mapped_tasks_have_different_tokens(airflow, kdb):
    """The same changes for two databases, mapped: two changesets, whatever the map."""

    def make():
        FinSpaceCreateChangesetOperator.partial(
            task_id="change", environment_id=ENVIRONMENT, change_requests=SYMS[:1], ensure_database=True
        ).expand(database_name=["markets", "ticks"])

    dag_run = airflow.dag_run(make)
    tasks = [dag_run.task("change", map_index).run() for map_index in (0, 1)]
    assert [task.state for task in tasks] == ["success", "success"], tasks[0].error
    assert [task.result["database_name"] for task in tasks] == ["markets", "ticks"]
    assert len(set(kdb.tokens)) == len(kdb.changesets) == 2


# --- dry runs


def test_a_dry_run_submits_nothing(change, kdb):
    """The plan is in the log, changeset by changeset, and what is wrong is an error all the same."""
    task = change(change_requests=SYMS, max_requests_per_changeset=3, dry_run=True).run()
    assert (task.result["state"], kdb.sandbox.requests()) == ("planned", [])
    assert task.logged("Changeset 1 of", "3 changes")
    assert task.logged("Changeset 2 of", "2 changes")
    assert task.logged("[4] PUT /a4/ from s3://sluice-market-data/hdb/sym")
    with pytest.raises(InvalidInput, match=r"change_requests\[1\]"):
        FinSpaceCreateChangesetOperator(
            task_id="t", environment_id="e", database_name="markets", change_requests=[SYMS[0], delete("x")]
        ).dry_run()


# --- bad input


WRONG = {
    "no requests": ({"change_requests": []}, "empty"),
    "a text": ({"change_requests": "s3://x/y"}, "list of dicts"),
    "not a dict": ({"change_requests": [CHANGES[0], "x"]}, r"change_requests\[1\]"),
    "unknown member": (
        {"change_requests": [{**CHANGES[0], "path": "/"}]},
        r"change_requests\[0\] has the unknown member 'path'",
    ),
    "unknown type": ({"change_requests": [CHANGES[0], {"changeType": "MOVE", "dbPath": "/"}]}, r"\[1\]: changeType"),
    "PUT of nothing": ({"change_requests": [{"changeType": "PUT", "dbPath": "/"}]}, r"\[0\]: a PUT requires an s3Path"),
    "relative": ({"change_requests": [delete("2026.01.01/")]}, r"\[0\]: dbPath"),
    "no slash at the end": ({"change_requests": [delete("/2026.01.01")]}, r"\[0\]: dbPath must start and end"),
    "too deep": ({"change_requests": [delete("/a/b/c/")]}, r"\[0\]: dbPath"),
    "empty folder": ({"change_requests": [delete("//")]}, r"\[0\]: dbPath"),
    "too long": ({"change_requests": [delete("/" + "x" * 1024 + "/")]}, "1 to 1025 characters"),
    "not S3": ({"change_requests": [put("https://b/k", "/")]}, r"\[0\]: s3Path"),
    "bucket only": ({"change_requests": [put("s3://bucket", "/")]}, r"\[0\]: s3Path"),
    "XCom that is not there": ({"environment_id": "None"}, "the string 'None'"),
    "blank environment": ({"environment_id": " "}, "environment_id"),
    "long environment": ({"environment_id": "e" * 33}, "1 to 32 characters"),
    "database": ({"database_name": "_x_"}, "database_name"),
    "token": ({"client_token": "a_b"}, "client_token"),
    "long token": ({"client_token": "x" * 65}, "client_token"),
    "limit": ({"max_requests_per_changeset": 33}, "1 to 32"),
    "no limit": ({"max_requests_per_changeset": 0}, "1 to 32"),
}


@pytest.mark.parametrize(("args", "words"), WRONG.values(), ids=WRONG)
def test_invalid_input_is_rejected_before_anything_is_sent(change, kdb, args, words):
    """Naming the index and the rule, and without a retry."""
    task = change(**args).run()
    assert (task.state, type(task.error)) == ("failed", InvalidInput)
    assert re.search(words, str(task.error)), task.error
    assert kdb.sandbox.requests() == []


# --- nothing twice


def test_the_token_is_recorded_before_it_is_used(change, kdb):
    """Who dies before submitting leaves word of the token, which the next try uses."""
    task = change()
    with task.death("before submitting"):
        task.run()
    token = task.phase.intent.key
    assert kdb.creations == []
    task.retry()
    assert kdb.tokens == [token]
    assert len(kdb.tokens[0]) <= 64


@WAYS
def test_an_unknown_outcome_is_resolved_by_the_same_token(change, kdb, clock, deferrable):
    """The process died between request and response: while the token is valid, a repeat gives the same changeset."""
    task = change(deferrable=deferrable)
    with task.death("after submitting"):
        task.run()
    clock.move(300)
    task.retry()
    assert task.state == "success", task.error
    assert len(kdb.creations) == 2
    assert len(set(kdb.tokens)) == 1
    assert task.result["changeset_ids"] == kdb.changesets
    assert len(kdb.changesets) == 1
    assert kdb.listings() == []
    assert task.logged("WARNING", "FinSpace returns the same changeset")


@WAYS
def test_after_ten_minutes_the_changeset_is_searched(change, kdb, clock, deferrable):
    """The service has forgotten the token: the changeset is found among the others by what it changes."""
    task = change(deferrable=deferrable)
    other = change(change_requests=CHANGES[:2])
    with task.death("after submitting"):
        task.run()
    mine = kdb.changesets
    other.run()
    clock.move(700)
    task.retry()
    assert task.state == "success", task.error
    assert task.result["changeset_ids"] == mine
    assert len(kdb.changesets) == 2
    assert len(kdb.listings()) == 1
    assert task.logged("WARNING", "Amazon FinSpace accepted the request: continuing with", mine[0])


def test_after_ten_minutes_a_missing_changeset_is_submitted(change, kdb, clock):
    """Dead before submitting, and the same changes made by another user long ago: the changeset is still submitted."""
    change().run()
    clock.move(100)
    task = change()
    with task.death("before submitting"):
        task.run()
    clock.move(700)
    task.retry()
    assert task.state == "success"
    assert len(kdb.changesets) == 2
    assert task.result["changeset_ids"] == kdb.changesets[1:]
    assert task.logged("WARNING", "the request had no effect")


def test_a_tokens_age_is_kept(change, kdb, clock):
    """Used at 0, used again at 400 s: at 700 s it is forgotten, although its last use is 300 s ago."""
    task = change()
    for seconds in (400, 300):
        with task.death("after submitting"):
            task.run()
        clock.move(seconds)
    task.retry()
    assert task.state == "success"
    assert (len(kdb.creations), len(kdb.changesets), len(kdb.listings())) == (2, 1, 1)


def test_a_failed_changeset_is_not_adopted(change, kdb, clock):
    """It was lost and it failed: what is wanted is done anew."""
    kdb.sandbox.settings(fail_changesets=1)
    task = change()
    with task.death("after submitting"):
        task.run()
    clock.move(700)
    task.retry()
    assert task.state == "success"
    assert task.result["changeset_ids"] == kdb.changesets[1:]


@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_lost_response_is_resolved_immediately(change, kdb, drop):
    """The same token, in the same try, and one changeset."""
    kdb.sandbox.faults([{"method": "POST", "path": "/changesets", "drop": drop}])
    task = change().run()
    assert (task.state, len(kdb.changesets), len(set(kdb.tokens)), len(kdb.tokens)) == ("success", 1, 1, 2)


@WAYS
def test_a_retry_continues_in_the_phase_it_died_in(change, kdb, deferrable):
    """Dead after the second of three was accepted."""
    task = change(change_requests=SYMS, max_requests_per_changeset=2, deferrable=deferrable)
    with task.death("job written", nth=2):
        task.run()
        if task.state == "deferred":
            task.fire().worker_run()
        if task.state == "deferred":
            task.fire().worker_run()
    task.retry()
    assert task.state == "success", task.error
    assert len(kdb.creations) == len(kdb.changesets) == 3
    assert task.result["changeset_ids"] == kdb.changesets


def test_another_limit_does_not_matter(change, kdb):
    """What is left is cut anew."""
    task = change(change_requests=SYMS, max_requests_per_changeset=2)
    with task.death("job written"):
        task.run()
    task.retry(max_requests_per_changeset=32)
    assert [len(creation["changeRequests"]) for creation in kdb.creations] == [2, 3]
    assert [len(each["put"]) for each in task.result["changesets"]] == [2, 3]


def test_other_changes_are_another_job(change, kdb):
    """An edited list starts a new job."""
    task = change()
    with task.death("job written"):
        task.run()
    task.retry(change_requests=CHANGES[:1])
    assert (task.state, len(kdb.changesets)) == ("success", 2)


def test_not_waiting_awaits_all_but_the_last(change, kdb):
    """They go in order, so only the last one can be left alone."""
    task = change(change_requests=SYMS, max_requests_per_changeset=2, wait_for_completion=False).run()
    assert (task.state, task.result["state"]) == ("success", "running")
    assert task.result["changeset_ids"] == kdb.changesets
    assert [len(each["changeRequests"]) for each in kdb.creations] == [2, 2, 1]


def test_a_rejection_does_not_resolve_an_older_request(change, kdb, clock):
    """The response was lost, and the next try was rejected: the one after that still searches for the changeset."""
    task = change()
    with task.death("after submitting"):
        task.run()
    kdb.inject_fault("POST", "/changesets", status=429)
    task.retry()
    assert isinstance(task.error, RateLimited)
    kdb.sandbox.faults([])
    clock.move(700)
    assert task.retry().state == "success"
    assert len(kdb.changesets) == 1


def test_cleared_while_it_was_submitting(change, kdb):
    """Killed in the middle and cleared: it goes on, and nothing is done twice."""
    task = change(change_requests=SYMS, max_requests_per_changeset=3)
    with task.death("after submitting", nth=2):
        task.run()
    task.clear().run()
    assert (task.state, len(kdb.changesets)) == ("success", 2)


@WAYS
@pytest.mark.parametrize("moment", ["end written", "job written", "after submitting", "before submitting"])
@pytest.mark.parametrize("nth", [1, 2])
def test_cleared_in_the_middle_of_a_chain(change, kdb, deferrable, moment, nth):
    """It goes on where it was: no changeset is made twice, and none is left out."""
    task = change(change_requests=SYMS, max_requests_per_changeset=2, deferrable=deferrable)
    with task.death(moment, nth=nth):
        task.run()
    task.clear().run()
    assert task.state == "success", task.error
    assert task.result["changeset_ids"] == kdb.changesets
    assert [each["put"] for each in task.result["changesets"]] == [["/a0/", "/a1/"], ["/a2/", "/a3/"], ["/a4/"]]
    assert "replaced_jobs" not in task.result


@WAYS
def test_cleared_while_a_changeset_of_a_chain_runs(change, kdb, deferrable):
    """It cannot be cancelled, so the task reconnects to it."""
    kdb.sandbox.settings(job_seconds=100)
    task = change(change_requests=SYMS, max_requests_per_changeset=2, deferrable=True).defer()
    task.fire().worker_run()
    assert (task.state, len(kdb.changesets)) == ("deferred", 2)
    task.args["deferrable"] = deferrable
    task.clear().run()
    assert (task.state, len(kdb.changesets)) == ("success", 3)
    assert task.logged("reconnecting to that job")


def test_a_chain_that_is_cleared_after_its_end_runs_again(change, kdb):
    """Under other tokens, and the result names the changesets of before."""
    task = change(change_requests=SYMS, max_requests_per_changeset=2).run()
    before = kdb.changesets
    task.clear().run()
    assert (task.state, len(set(kdb.tokens))) == ("success", 6)
    assert task.result["changeset_ids"] == kdb.changesets[3:]
    assert [each["id"] for each in task.result["replaced_jobs"]] == before


def test_a_shorter_list_and_a_clear_in_the_middle(change, kdb):
    """Other input is other work, also where the changeset that runs is beyond the end of the new list."""
    task = change(change_requests=SYMS, max_requests_per_changeset=2)
    with task.death("job written", nth=2):
        task.run()
    task.args["change_requests"] = SYMS[:2]
    task.clear().run()
    assert (task.state, len(kdb.changesets)) == ("success", 3)
    assert task.result["changeset_ids"] == kdb.changesets[2:]


def test_an_edited_list_after_a_request_without_a_response(change, kdb):
    """The old token goes with the old list, so the new list gets another one."""
    task = change()
    with task.death("after submitting"):
        task.run()
    task.args["change_requests"] = CHANGES[:1]
    task.clear().run()
    assert task.state == "success", task.error
    assert len(kdb.changesets) == len(set(kdb.tokens)) == 2
    assert task.result["replaced_jobs"] == [{"id": None, "state": "outcome_unknown"}]


@WAYS
def test_a_forgotten_token_and_a_delayed_request(change, kdb, clock, deferrable):
    """The token is too old to be sent again, and the request is still under way: the next try waits until it must have
    landed, and finds it."""
    task = change(deferrable=deferrable)
    with delayed(task, clock, 600, lambda request: request.url.path.endswith("/changesets")):
        task.run()
    clock.move(520)
    task.retry()
    assert task.state == "success", task.error
    assert len(kdb.creations) == len(kdb.changesets) == 1
    assert task.result["changeset_ids"] == kdb.changesets


@pytest.mark.parametrize("seconds", [520, 700])
def test_a_suspended_process_sends_nothing(change, kdb, clock, seconds):
    """The service may have forgotten the token by then, so that the same request could make a second changeset."""
    task = change()
    with suspended(clock, seconds):
        task.run()
    assert (task.state, type(task.error), kdb.creations) == ("up_for_retry", Unreachable, [])
    task.retry()
    assert (task.state, len(kdb.changesets)) == ("success", 1)


def test_a_suspended_repetition_sends_nothing(change, kdb, clock):
    """First sent at 0, to be repeated at 400 s, and asleep until 700 s: the changeset is searched for instead."""
    task = change()
    with task.death("after submitting"):
        task.run()
    clock.move(400)
    with suspended(clock, 300):
        task.retry()
    assert (task.state, len(kdb.creations)) == ("up_for_retry", 1)
    task.retry()
    assert (task.state, len(kdb.creations), len(kdb.changesets)) == ("success", 1, 1)


def test_ten_thousand_changes_are_quickly_planned():
    """What comes next is found out in each step, so it must not get dear as the work goes on."""
    from time import perf_counter

    from sluice_provider.jobs.record import JobRecord, PhaseRecord, Submission

    args = {"environment_id": ENVIRONMENT, "database_name": "markets"}
    requests = [put(f"{BUCKET}/sym", f"/c{number}/") for number in range(10_000)]
    job = FinSpaceCreateChangesetOperator(task_id="t", change_requests=requests, **args).job()
    record, started = JobRecord(""), perf_counter()
    while (phase := job.next_phase(record)) is not None:
        for _ in range(20):
            job.next_phase(record)
        [unit] = phase.units(record.phase(phase.name))
        submissions = (Submission(f"c{unit.start}", unit.start, unit.size),)
        ended = PhaseRecord(phase.name, 1.0, submissions=submissions, complete=True, outcome={"at": 2.0})
        record = record.with_phase(ended)
    assert (len(record.phases), job.manifest(record)["put"]) == (313, 10_000)
    assert perf_counter() - started < 5


@WAYS
def test_a_clear_submits_again(change, kdb, deferrable):
    """Under another token."""
    task = change(deferrable=deferrable).run()
    task.clear().run()
    assert (task.state, len(kdb.changesets), len(set(kdb.tokens))) == ("success", 2, 2)


def test_a_user_defined_token(change, kdb):
    """Goes with the first changeset; the others, and those after a failure, get their own."""
    kdb.sandbox.settings(fail_changesets=1, job_seconds=0)
    task = change(change_requests=SYMS, max_requests_per_changeset=3, client_token="nightly-2026-03-02").run()
    task.retry()
    assert task.state == "success", task.error
    assert kdb.tokens[0] == "nightly-2026-03-02"
    assert len(set(kdb.tokens)) == 3


def test_a_user_defined_token_used_for_other_changes(change, kdb):
    """The service refuses it, and the error says so."""
    change(client_token="mine").run()
    task = change(client_token="mine", change_requests=CHANGES[:1]).run()
    assert (task.state, type(task.error)) == ("failed", Conflict)
    assert "client token was used before" in str(task.error)


def test_a_lost_record(change, kdb):
    """The task goes on with what the trigger watched."""
    task = change(deferrable=True).defer().delete_state()
    task.fire().worker_run()
    assert task.state == "success", task.error
    assert len(kdb.changesets) == 1


# --- a bad end


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("An internal error has occurred.", "up_for_retry"),
        ("The system temporarily lacks sufficient resources to process the request.", "up_for_retry"),
        ("Cancelled", "up_for_retry"),
        ("A sentence that is new", "up_for_retry"),
        ("The inputs to this request are invalid.", "failed"),
        ("Service limits have been exceeded.", "failed"),
        ("A user recoverable error has occurred", "failed"),
    ],
)
def test_a_failed_changeset(change, kdb, kind, state):
    """In the service's words; tried again only where a new changeset may do better, and then under a new token."""
    kdb.sandbox.settings(fail_changesets=1, changeset_error_type=kind)
    task = change().run()
    assert (task.state, type(task.error)) == (state, JobFailed)
    assert f"{kind} Failed by the sandbox setting" in str(task.error)
    if state == "up_for_retry":
        task.retry()
        assert (task.state, len(kdb.changesets), len(set(kdb.tokens))) == ("success", 2, 2)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [({}, "were not found"), ({"denied_bucket": "sluice-market-data"}, "Missing required permission")],
)
def test_sources_that_cannot_be_read(change, kdb, settings, kind):
    """Neither is cured by a retry, and the rest of the list is not submitted."""
    kdb.sandbox.settings(**settings)
    task = change(change_requests=[put(f"{BUCKET}/2019.01.01/", "/x/"), *SYMS], max_requests_per_changeset=1).run()
    assert (task.state, type(task.error), len(kdb.changesets)) == ("failed", JobFailed, 1)
    assert kind in str(task.error)


# --- transient faults


@WAYS
@pytest.mark.parametrize("status", [429, 500, 503])
def test_transient_faults_are_retried(change, kdb, status, deferrable):
    """Throttled or broken while submitting and while polling: the same token, and one changeset."""
    kdb.sandbox.faults(
        [
            {"method": "POST", "path": "/changesets", "status": status, "times": 3},
            {"method": "GET", "path": "/changesets/", "status": status, "times": 15},
        ]
    )
    task = change(deferrable=deferrable).run()
    assert (task.state, len(kdb.changesets)) == ("success", 1), task.error
    assert (len(kdb.tokens), len(set(kdb.tokens))) == (4, 1)


def test_lasting_faults_are_retried_with_the_same_token(change, kdb):
    """The next try submits the same."""
    kdb.inject_fault("POST", "/changesets", status=503)
    task = change().run()
    assert task.state == "up_for_retry"
    kdb.sandbox.faults([])
    task.retry()
    assert (task.state, len(kdb.changesets), len(set(kdb.tokens))) == ("success", 1, 1)


def test_a_rejection_after_a_lost_response_resolves_nothing(change, kdb, clock):
    """The first attempt may have succeeded, whatever the second returns: the next try searches for the changeset."""
    kdb.sandbox.faults(
        [
            {"method": "POST", "path": "/changesets", "drop": "after"},
            {"method": "POST", "path": "/changesets", "status": 429, "times": 10},
        ]
    )
    task = change().run()
    assert (task.state, type(task.error)) == ("up_for_retry", RateLimited)
    kdb.sandbox.faults([])
    clock.move(700)
    task.retry()
    assert (task.state, len(kdb.changesets)) == ("success", 1)
    assert task.logged("WARNING", "Amazon FinSpace accepted the request: continuing with", kdb.changesets[0])


def test_an_exceeded_quota_is_waited_for(change, kdb):
    """Others have ten changesets under way: that passes, so the task is tried again."""
    kdb.sandbox.settings(job_seconds=1000, max_running_changesets=1)
    other = change(wait_for_completion=False).run()
    assert other.state == "success"
    task = change(change_requests=SYMS).run()
    assert (task.state, type(task.error)) == ("up_for_retry", RateLimited)
    kdb.sandbox.settings(max_running_changesets=10)
    assert task.retry().state == "success"


def test_a_changeset_that_is_late(change, kdb):
    """404 right after the submission is not an end."""
    kdb.sandbox.settings(changeset_not_found_polls=3, job_seconds=0)
    task = change().run()
    assert (task.state, len(kdb.changesets)) == ("success", 1)


@pytest.mark.parametrize("settings", [{"signature_clock_skew": 600}, {"signature_clock_skew": 900}])
def test_a_skewed_clock(change, kdb, settings):
    """The service's message names the clock as the cause; no retry, nothing changed."""
    kdb.sandbox.settings(**settings)
    task = change().run()
    assert (task.state, type(task.error)) == ("failed", AuthenticationFailed)
    assert "Signature expired" in str(task.error)
    assert kdb.changesets == []


def test_it_cannot_be_cancelled(change, kdb, clock):
    """The log says so, and the next try reconnects."""
    clock.on_sleep = killed
    task = change().run()
    [changeset_id] = kdb.changesets
    assert task.logged(
        "WARNING", f"changeset {changeset_id} continues in Amazon FinSpace, and the next try reconnects to it"
    )
    clock.on_sleep = lambda: None
    task.retry()
    assert (task.state, kdb.changesets) == ("success", [changeset_id])


# --- lineage


def test_lineage(change, kdb):
    """From the places in S3 to the database."""
    task = change().run()
    facets = task.operator.get_openlineage_facets_on_complete(None)
    assert [(each.namespace, each.name) for each in facets.inputs] == [
        ("s3://sluice-market-data", "hdb/2026.03.02/"),
        ("s3://sluice-market-data", "hdb/sym"),
    ]
    [output] = facets.outputs
    assert output.name == f"environments/{ENVIRONMENT}/databases/markets"
    assert facets.run_facets["externalQuery"].externalQueryId == kdb.changesets[0]
