"""What the vendor's algorithm does not stand (see `tests/sandbox/test_kili_vendor.py`), and what dies when."""

from __future__ import annotations

import pytest

from sluice_provider.errors import AuthenticationFailed, JobFailed, PermissionDenied, Unreachable
from sluice_provider.jobs.polling import VISIBILITY_GRACE_SECONDS
from tests.operators.delayed_requests import delayed, suspended
from tests.operators.kili_fixtures import PICTURES, is_mutation, lost_response, process_death, replaced_response

pytestmark = pytest.mark.airflow

WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["plain", "deferrable"])
CHECK, APPLY = "computeDifferences", "validateDataDifferences"


# --- W1: the flags come late


@WAYS
def test_late_busy_flags(sync, kili, deferrable):
    """`isChecking` and `isApplying...` are raised 30 s after the request; until then, an old summary means nothing."""
    sync().run()
    kili.put("new.png")
    kili.settings(busy_flag_delay=30, job_seconds=5)
    task = sync(deferrable=deferrable).run()
    assert task.state == "success", task.error
    assert (task.result["added"], len(kili.assets)) == (1, 4)
    assert kili.operations[-2:] == ["CHECK", "ADD"]


def test_outdated_differences_are_not_applied(sync, kili, clock):
    """What was new an hour ago is gone again: acting on the old summary would add it."""
    kili.put("passing.png")
    sync(dry_run=True).run()
    (kili.bucket / "passing.png").unlink()
    clock.move(3600)
    kili.settings(busy_flag_delay=30)
    task = sync().run()
    assert (task.result["added"], kili.assets) == (3, PICTURES)


def test_a_computation_that_never_starts_is_an_error(sync, kili, clock):
    """It was accepted and leaves no trace; the next try submits it again."""
    kili.settings(busy_flag_delay=10_000)
    task = sync().run()
    assert isinstance(task.error, JobFailed)
    assert "no differences were computed since the request" in str(task.error)
    assert sum(clock.sleeps) > 0.5 * VISIBILITY_GRACE_SECONDS
    kili.settings(busy_flag_delay=0)
    clock.move(10_000)
    assert task.retry().state == "success"


# --- W2: it takes longer than five minutes


@WAYS
def test_long_computations_and_applications(sync, kili, clock, deferrable):
    """An hour each."""
    kili.settings(job_seconds=3600)
    task = sync(deferrable=deferrable).run()
    assert (task.state, kili.assets, kili.operations) == ("success", PICTURES, ["CHECK", "ADD"])
    assert sum(clock.sleeps) > 7000


# --- W3: others change the same project


@WAYS
def test_assets_of_other_imports_are_not_counted(sync, kili, deferrable):
    """The project's assets are more each time they are counted; the connection's own are what counts."""
    kili.settings(other_assets_per_count=5, other_assets=100)
    task = sync(deferrable=deferrable).run()
    assert (task.state, task.result["added"], task.result["assets_after"]) == ("success", 3, 3)


def test_another_import_of_the_same_size_does_not_end_the_wait(sync, kili, clock):
    """Three foreign assets arrive while ours are still to come."""
    kili.settings(job_seconds=100)
    clock.on_sleep = lambda *_: kili.settings(other_assets=3)
    task = sync().run()
    assert (task.state, kili.assets) == ("success", PICTURES)


# --- W4: unknown outcomes


@WAYS
@pytest.mark.parametrize("kind", ["ADD", "REMOVE"])
def test_a_lost_response_is_polled_and_not_resubmitted(sync, kili, deferrable, kind):
    """The work was begun, and is done once."""
    sync().run()
    kili.put("new.png") if kind == "ADD" else (kili.bucket / "dogs" / "one.png").unlink()
    task = sync(deferrable=deferrable, delete_extraneous_files=True)
    with lost_response(kili, APPLY, type=kind):
        task.run()
    assert task.state == "success", task.error
    assert kili.operations[-2:] == ["CHECK", kind]
    assert len(kili.assets) == (4 if kind == "ADD" else 2)
    assert task.logged("WARNING", f"Kili did not answer the request to {kind}; polling connection")


@WAYS
def test_a_lost_request_is_repeated_after_computing_again(sync, kili, clock, deferrable):
    """No trace of it for two minutes; the differences are computed again before submitting."""
    task = sync(deferrable=deferrable)
    with lost_response(kili, APPLY, drop="before"):
        task.run()
    assert (task.state, kili.assets) == ("success", PICTURES)
    assert kili.operations == ["CHECK", "CHECK", "ADD"]
    assert (task.result["added"], task.result["left"]) == (3, 0)
    assert sum(clock.sleeps) > 0.5 * VISIBILITY_GRACE_SECONDS


@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_computation_is_resubmitted_only_after_a_status_check(sync, kili, drop):
    """The service shows whether it started."""
    kili.settings(job_seconds=60)
    task = sync()
    with lost_response(kili, CHECK, drop=drop):
        task.run()
    assert (task.state, kili.assets) == ("success", PICTURES)
    assert kili.mutations.count(CHECK) == (2 if drop == "before" else 1)


def test_a_computation_without_any_response_fails(sync, kili):
    """Twice submitted, twice waited for, without effect: a retry may succeed."""
    task = sync()
    with lost_response(kili, CHECK, drop="before", times=9):
        task.run()
    assert (task.state, type(task.error)) == ("up_for_retry", Unreachable)
    assert "submitted 2 times, the last time without an effect" in str(task.error)
    assert kili.mutations == [CHECK] * 2


@pytest.mark.parametrize("name", [CHECK, APPLY])
def test_an_error_response_to_an_executed_request(sync, kili, name):
    """A gateway that fails on the way back fails no task, and nothing is done twice."""
    kili.settings(job_seconds=30)
    task = sync(retries=0)
    with replaced_response(name, 502):
        task.run()
    assert (task.state, kili.operations, kili.assets) == ("success", ["CHECK", "ADD"], PICTURES)


@WAYS
def test_a_delayed_application_is_done_once(sync, kili, clock, deferrable):
    """The sender died, and its request lands 100 s later: the next try watches for long enough."""
    task = sync(deferrable=deferrable)
    with delayed(task, clock, 100, lambda request: is_mutation(request, APPLY)):
        task.run()
    task.retry()
    assert (task.state, kili.operations, kili.assets) == ("success", ["CHECK", "ADD"], PICTURES)


def test_a_suspended_process_sends_nothing(sync, kili, clock):
    """Not even after a minute: another user may have done it meanwhile."""
    task = sync()
    with suspended(clock, 60):
        task.run()
    assert (task.state, type(task.error), kili.mutations) == ("up_for_retry", Unreachable, [])
    task.retry()
    assert (task.state, kili.operations, kili.assets) == ("success", ["CHECK", "ADD"], PICTURES)


# --- W5: the worker dies


@WAYS
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("phase", ["check", "add", "remove"])
def test_a_retry_continues_after_a_death_in_any_phase(sync, kili, deferrable, phase, moment):
    """Right before and right after the request: nothing is done twice, and all of it once."""
    sync().run()
    (kili.bucket / "dogs" / "one.png").unlink()
    kili.put("new.png")
    task = sync(deferrable=deferrable, delete_extraneous_files=True)
    with process_death(
        task, moment, CHECK if phase == "check" else APPLY, **({} if phase == "check" else {"type": phase.upper()})
    ):
        task.run()
    task.retry()
    assert task.state == "success", task.error
    assert kili.assets == ["cats/one.png", "cats/two.png", "new.png"]
    assert (task.result["added"], task.result["removed"]) == (1, 1)
    assert kili.operations.count("ADD") == 2
    assert kili.operations.count("REMOVE") == 1


@WAYS
@pytest.mark.parametrize(
    ("moment", "nth"),
    [("intent written", 1), ("intent written", 2)]  # to find the connection submits nothing
    + [(moment, nth) for moment in ("job written", "all written", "end written") for nth in (1, 2, 3)],
)
def test_a_retry_continues_after_a_death_at_any_write(sync, kili, deferrable, moment, nth):
    """Whenever something was written down, in each phase that writes it."""
    task = sync(deferrable=deferrable)
    with task.death(moment, nth=nth):
        task.run()
    task.retry()
    assert (task.state, kili.assets) == ("success", PICTURES)
    assert kili.operations.count("ADD") == 1
    assert task.result["added"] == 3


def test_a_trigger_that_dies_is_replaced(sync, kili):
    """In each phase."""
    kili.settings(job_seconds=30)
    task = sync(deferrable=True).defer()
    task.fail_trigger().worker_run()
    assert task.state == "deferred"
    task.fire().worker_run()
    assert kili.operations == ["CHECK", "ADD"]
    task.fail_trigger().worker_run()
    task.fire().run()
    assert (task.state, kili.assets, kili.operations) == ("success", PICTURES, ["CHECK", "ADD"])


# --- W6: a summary that does not add up


def test_an_inconsistent_summary_is_not_success(sync, kili):
    """Four differences, none to add and none to remove: the error names the numbers, and the next try computes anew."""
    kili.empty()
    kili.settings(extra_total_differences=4)
    task = sync().run()
    assert (task.state, type(task.error)) == ("up_for_retry", JobFailed)
    assert "4 differences in total, but 0 to add and 0 to remove" in str(task.error)
    kili.settings(extra_total_differences=0)
    assert task.retry().state == "success"


# --- W7: half done


@WAYS
def test_a_death_between_adding_and_removing(sync, kili, deferrable):
    """The retry removes, and does not add again."""
    sync().run()
    (kili.bucket / "dogs" / "one.png").unlink()
    kili.put("new.png")
    task = sync(deferrable=deferrable, delete_extraneous_files=True)
    with task.death("end written", nth=3):  # find, check, add
        task.run()
    assert kili.operations[-1] == "ADD"
    task.retry()
    assert (task.state, task.result["added"], task.result["removed"]) == ("success", 1, 1)
    assert kili.assets == ["cats/one.png", "cats/two.png", "new.png"]


# --- Kili does less than requested


def test_remaining_differences_are_applied_in_another_round(sync, kili):
    """Two of three are added; computed anew, the third is."""
    kili.settings(max_applied_differences=2)
    task = sync().run()
    assert (task.state, kili.assets) == ("success", PICTURES)
    assert kili.operations == ["CHECK", "ADD", "CHECK", "ADD"]
    assert (task.result["to_add"], task.result["added"], task.result["left"]) == (3, 3, 0)


def test_differences_that_are_never_applied_are_an_error(sync, kili):
    """Three rounds, none of which had an effect."""
    kili.settings(ignore_validations=10)
    task = sync().run()
    assert (task.state, type(task.error)) == ("failed", JobFailed)
    assert "after 3 rounds (ADD" in str(task.error)
    assert "0 of 3 added" in str(task.error)
    kili.settings(ignore_validations=0)
    assert task.clear().run().state == "success"


@WAYS
def test_differences_left_after_three_rounds_are_an_error(sync, kili, deferrable):
    """One file each time: of five, two are left, and the task says so instead of succeeding."""
    kili.put("four.png", "five.png")
    kili.settings(max_applied_differences=1)
    task = sync(deferrable=deferrable).run()
    assert (task.state, type(task.error)) == ("failed", JobFailed)
    assert "after 3 rounds (ADD" in str(task.error)
    assert "1 of 3 added, 2 left" in str(task.error)
    assert kili.operations == ["CHECK", "ADD"] * 3
    kili.settings(max_applied_differences=0)
    assert task.clear().run().state == "success"
    assert (task.result["added"], task.result["left"], len(kili.assets)) == (2, 0, 5)


def test_three_rounds_can_succeed(sync, kili):
    """One of three in each."""
    kili.settings(max_applied_differences=1)
    task = sync().run()
    assert (task.state, kili.assets) == ("success", PICTURES)
    assert (task.result["added"], task.result["left"]) == (3, 0)


def test_differences_applied_by_another_client_are_not_applied_again(sync, kili):
    """Between computing and adding a person presses the button in Kili."""
    task = sync()
    with task.death("end written", nth=2):
        task.run()
    task.operator.hook.validate_differences(kili.me, "ADD")
    kili.settings(job_seconds=0, clock_advance=60)
    task.retry()
    assert (task.state, kili.assets) == ("success", PICTURES)
    assert kili.operations.count("ADD") == 1


# --- others at the same connection


@WAYS
def test_a_busy_connection_is_waited_for(sync, kili, deferrable):
    """Another user's check is not mistaken for ours."""
    kili.settings(job_seconds=120, reject_concurrent_checks=True)
    first = sync(deferrable=True).defer()
    kili.put("new.png")
    task = sync(deferrable=deferrable).run()
    assert (task.state, len(kili.assets)) == ("success", 4)
    first.fire().run()
    assert first.state == "success"
    assert len(kili.assets) == 4


def test_a_server_without_the_newer_fields(sync, kili):
    """One that says `lastChecked`, and not whether it is applying."""
    kili.settings(legacy_schema=True, job_seconds=30)
    task = sync(deferrable=True).run()
    assert (task.state, kili.assets) == ("success", PICTURES)


# --- transient faults


@WAYS
def test_an_invalid_api_key_fails_immediately(sync, kili, clock, deferrable):
    """No two minutes of retries."""
    kili.inject_fault(status=401, times=100)
    task = sync(deferrable=deferrable).run()
    assert (task.state, type(task.error)) == ("failed", AuthenticationFailed)
    assert (len(kili.requests()), clock.sleeps) == (1, [])


def test_a_key_without_permission_fails_immediately(sync, kili):
    """As GraphQL says it."""
    kili.inject_fault(
        status=200, body={"errors": [{"message": "No", "path": ["data"], "extensions": {"code": "FORBIDDEN"}}]}
    )
    task = sync().run()
    assert (task.state, type(task.error), task.error.code, task.error.path) == (
        "failed",
        PermissionDenied,
        "FORBIDDEN",
        "data",
    )


@WAYS
@pytest.mark.parametrize(
    "fault",
    [
        {"status": 503, "body": "no healthy upstream"},
        {"status": 502},
        {"status": 429, "headers": {"Retry-After": "3"}},
        {"drop": "after"},
        {"status": 200, "body": "<html>"},
        {"status": 200, "body": {"errors": [{"message": "Failed to fetch data connection", "extensions": {}}]}},
    ],
    ids=["unforwarded", "502", "429", "dropped", "no JSON", "transient"],
)
def test_transient_faults_are_retried(sync, kili, deferrable, fault):
    """Four times in a row in the middle of the wait, and the task does not notice."""
    kili.settings(job_seconds=30)
    kili.inject_fault(**fault, times=4, skip=5)
    task = sync(deferrable=deferrable, retries=0).run()
    assert (task.state, kili.assets, kili.operations) == ("success", PICTURES, ["CHECK", "ADD"])


# --- secrets


@WAYS
def test_no_secret_is_shown(sync, kili, deferrable, sluice_sandbox):
    """Neither in logs, results and records, nor in errors, whatever goes wrong."""
    key = sluice_sandbox.state()["credentials"]["kili"]["api_key"]
    task = sync(deferrable=deferrable).run()
    kili.inject_fault(status=403, times=100)
    bad = sync(deferrable=deferrable).run()
    for each in (task, bad):
        stored = [each.stored(f"sluice_record{part}") for part in ("", "_log_0", "_history_0")]
        texts = [*each.log, repr(each.error), str(stored), str(each.xcom())]
        assert not [line for line in texts if key in line]
    assert key not in str(kili.requests())
