"""What a try records, and how the next try continues from it."""

from __future__ import annotations

import pytest

from sluice_provider.errors import InvalidInput, JobFailed
from tests.operators.airflow_harness import ELEMENTS

pytestmark = pytest.mark.airflow

WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["plain", "deferrable"])


# --- written down before and after


def test_the_intent_is_written_down_before_anything_is_sent(push, service):
    """Who dies before submitting leaves word of what was about to be submitted."""
    task = push()
    with task.death("before submitting"):
        task.run()
    [phase] = task.record.phases
    assert (phase.intent.start, phase.intent.size) == (0, 3)
    assert len(phase.intent.key) == 32
    assert (phase.submissions, service.pushes) == ((), [])


def test_the_answer_is_written_down_before_anything_else(push, service):
    """Who dies right after an answer leaves the job's id; after the last one, no intent whose outcome is unknown."""
    task = push(batch_size=2)
    with task.death("job written"):
        task.run()
    assert task.phase.submissions == ((service.imports[0], 0, 2),)
    assert (task.phase.complete, service.polls) == (False, 0)
    with task.death("all written"):
        task.retry()
    assert [each.id for each in task.phase.submissions] == service.imports
    assert (task.phase.intent, task.phase.complete) == (None, True)


def test_the_end_is_written_down(push):
    """State and counts are in the record, so that a later try needs no service."""
    outcome = push().run().phase.outcome
    assert outcome["state"] == "succeeded"
    assert outcome["counts"] == {"created": 3, "updated": 0, "skipped": 0, "rejected": 0}


@WAYS
def test_ids_and_link_are_there_while_the_job_runs(push, service, clock, deferrable):
    """XComs of the ids and of the extra link are pushed as soon as the import is accepted."""
    task = push(deferrable=deferrable)
    seen = []
    clock.on_sleep = lambda: seen.append((task.xcom("job_ids"), task.xcom("_link_KaleidoscopeLink")))
    task.run()
    [import_id] = service.imports
    ids, link = seen[0]
    assert ids == [import_id]
    assert link.endswith(f"/web/imports/{import_id}")
    assert task.result["url"] == link


# --- a job is noted


@WAYS
def test_a_running_job_is_picked_up(push, service, deferrable):
    """The next try waits for the import of the first."""
    task = push(deferrable=deferrable)
    with task.death("all written"):
        task.run()
    task.retry()
    assert task.state == "success"
    assert service.imports == task.result["import_ids"]
    assert service.records == {"H": 1, "He": 1, "Li": 1}
    assert task.logged("Reconnecting to", service.imports[0])


@WAYS
def test_a_job_that_ended_meanwhile_is_finished(push, service, clock, deferrable):
    """The next try reads the outcome: no second import, no wait, no trigger."""
    task = push(deferrable=deferrable)
    with task.death("all written"):
        task.run()
    clock.move(60)
    task.retry()
    assert task.state == "success"
    assert task.result["created"] == 3
    assert (len(service.imports), clock.sleeps) == (1, [])


@WAYS
def test_a_job_that_failed_is_submitted_again(push, service, deferrable):
    """The first try fails in the service's own words, and the next one starts another import under another key."""
    service.settings(fail_imports=1)
    task = push(deferrable=deferrable).run()
    assert isinstance(task.error, JobFailed)
    assert "The import could not be processed" in str(task.error)
    assert "the next try submits again what failed" in str(task.error)
    task.retry()
    assert (task.state, len(service.imports)) == ("success", 2)
    assert task.result["import_ids"] == service.imports[1:]
    assert task.phase.attempt == 1
    assert task.result["replaced_jobs"] == [{"id": service.imports[0], "state": "failed"}]
    assert task.logged("WARNING", "Submitting again what failed", service.imports[0])


def test_of_several_parts_only_the_failed_one_is_submitted_again(push, service):
    """What was imported stays imported."""
    service.settings(fail_imports=1)
    task = push(batch_size=1).run()
    task.retry()
    assert task.state == "success"
    assert service.sent == [["H"], ["He"], ["Li"], ["H"]]
    assert service.records == {"H": 1, "He": 1, "Li": 1}
    assert (task.result["pushed"], task.result["created"]) == (3, 3)


def test_a_job_that_is_not_known_yet_is_waited_for(push, service, clock):
    """Right after the submission, an unknown id means that replicas of the service lag."""
    service.settings(job_seconds=0)
    service.inject_fault("GET", "imports/", status=404, times=5)
    task = push().run()
    assert (task.state, len(service.imports), len(clock.sleeps)) == ("success", 1, 4)


def test_a_job_that_is_lost_is_submitted_again(push, service):
    """Later, an unknown id means that it is gone."""
    task = push()
    with task.death("all written"):
        task.run()
    service.inject_fault("GET", f"imports/{service.imports[0]}", status=404)
    task.retry()
    assert isinstance(task.error, JobFailed)
    assert "lost" in str(task.error)
    task.retry()
    assert (task.state, len(service.imports)) == ("success", 2)


# --- outcome unknown


def test_after_an_unknown_outcome_the_records_are_sent_again(push, service):
    """Dead between submitting and writing down: records are kept by key, so nothing is doubled, and the log says so."""
    task = push()
    with task.death("after submitting"):
        task.run()
    task.retry()
    assert task.state == "success"
    assert len(service.imports) == 2
    assert len(service.records) == 3
    assert task.logged("WARNING", "its outcome is unknown: push, rows 1 to 3")
    assert task.logged("WARNING", "Submitting again: Kaleidoscope identifies records by their key fields")


def test_a_request_whose_response_was_lost_is_repeated(push, service):
    """The request is idempotent, so it is repeated within the same try."""
    service.faults([{"method": "POST", "path": "push/imports", "drop": "after"}])
    task = push().run()
    assert task.state == "success"
    assert (len(service.imports), len(service.records)) == (2, 3)
    assert task.result["import_ids"] == service.imports[1:]


def test_a_refusal_is_a_known_outcome(push, service):
    """The service said no, so nothing was begun and nothing is noted as begun."""
    service.inject_fault("POST", "push/imports", status=403, times=1)
    task = push().run()
    assert (task.phase.intent, task.phase.submissions) == (None, ())


# --- partly done


def test_what_was_accepted_is_not_pushed_again(push, service):
    """Dead after two of three batches: the next try sends the third."""
    task = push(batch_size=1)
    with task.death("job written", nth=2):
        task.run()
    task.retry()
    assert task.state == "success"
    assert service.sent == [["H"], ["He"], ["Li"]]
    assert task.result["import_ids"] == service.imports
    assert task.logged("Resuming: 2 records were accepted before")


def test_only_the_batch_whose_outcome_is_unknown_is_pushed_again(push, service):
    """Dead while the second of three batches was on its way."""
    task = push(batch_size=1)
    with task.death("after submitting", nth=2):
        task.run()
    task.retry()
    assert task.state == "success"
    assert service.sent == [["H"], ["He"], ["He"], ["Li"]]
    assert len(service.records) == 3


def test_another_batch_size_does_not_matter(push, service):
    """What is left is cut anew; the work is the same work."""
    task = push(batch_size=1)
    with task.death("job written"):
        task.run()
    task.retry(batch_size=50)
    assert service.sent == [["H"], ["He", "Li"]]
    assert task.result["pushed"] == 3


# --- cleared or retried


@WAYS
def test_clearing_a_success_means_again(push, service, deferrable):
    """The user wants it done again, and it is."""
    task = push(deferrable=deferrable).run()
    task.clear().run()
    assert (task.state, len(service.imports)) == ("success", 2)
    assert task.result["import_ids"] == service.imports[1:]
    assert task.logged("The task was cleared: submitting again")


@WAYS
def test_a_retry_after_a_success_returns_the_result(push, service, clock, deferrable):
    """Dead between the end of the import and the end of the task: the same result, without the service."""
    task = push(deferrable=deferrable)
    with task.death("end written"):
        task.run()
    polls = service.polls
    task.retry()
    assert task.state == "success"
    assert task.result["import_ids"] == service.imports
    assert (len(service.imports), task.result["created"], service.polls) == (1, 3, polls)


def test_clearing_another_task_means_nothing_to_this_one(airflow, service):
    """Airflow counts clearings by run, and the count alone says nothing of this task."""
    from sluice_provider.operators.kaleidoscope import KaleidoscopePushOperator

    def tasks():
        for name in ("this", "other"):
            KaleidoscopePushOperator(task_id=name, records=ELEMENTS, key_field_names=["symbol"], retries=3)

    dag_run = airflow.dag_run(tasks)
    this, other = dag_run.task("this"), dag_run.task("other").run()
    with this.death("end written"):
        this.run()
    imports = len(service.imports)
    other.clear()
    this.retry()
    assert (this.state, len(service.imports)) == ("success", imports)
    other.run()
    assert len(service.imports) == imports + 1


@WAYS
def test_clearing_a_running_task_reconnects(push, service, deferrable):
    """An import cannot be cancelled, so what runs is what the user gets, once; then a retry is a retry again."""
    task = push(deferrable=deferrable)
    with task.death("all written"):
        task.run()
    task.clear()
    with task.death("end written"):
        task.run()
    task.retry()
    assert (task.state, len(service.imports)) == ("success", 1)


# --- other input


def test_other_input_is_other_work(push, service):
    """Changed records are submitted, and the log and the result say what was submitted before."""
    task = push()
    with task.death("all written"):
        task.run()
    task.retry(records=[{"symbol": "Be"}])
    assert task.state == "success"
    assert service.sent == [["H", "He", "Li"], ["Be"]]
    assert task.result["import_ids"] == service.imports[1:]
    assert task.logged("WARNING", "The input has changed: submitting again; previously submitted", service.imports[0])


@pytest.mark.parametrize("change", [{"set_name": "Other"}, {"key_field_names": ["name"]}], ids=str)
def test_another_target_is_other_work(push, service, change):
    """The same records elsewhere, or under other keys, are not the same."""
    task = push()
    with task.death("all written"):
        task.run()
    task.retry(**change)
    assert len(service.imports) == 2


def test_input_that_is_gone_is_not_needed_any_more(push, service, tmp_path):
    """All of it was submitted, so the wait goes on."""
    path = tmp_path / "elements.csv"
    path.write_text("symbol,name\nH,Hydrogen\n")
    task = push(records=str(path))
    with task.death("all written"):
        task.run()
    path.unlink()
    task.retry()
    assert (task.state, len(service.imports)) == ("success", 1)
    assert task.logged("WARNING", "can no longer be read")


def test_input_that_is_gone_too_early_is_an_error(push, service, tmp_path):
    """Half of it was submitted, and the other half is unknown."""
    path = tmp_path / "elements.csv"
    path.write_text("symbol,name\nH,Hydrogen\nHe,Helium\n")
    task = push(records=str(path), batch_size=1)
    with task.death("job written"):
        task.run()
    path.unlink()
    task.retry()
    assert (task.state, len(service.imports)) == ("failed", 1)
    assert isinstance(task.error, InvalidInput)
    assert "no such file" in str(task.error)


# --- the first status check


def test_a_job_that_is_over_at_once_needs_no_triggerer(push, service):
    """One status check before deferring, and the task finishes in its first worker run."""
    service.settings(job_seconds=0)
    task = push(deferrable=True).worker_run()
    assert (task.state, service.polls, task.result["created"]) == ("success", 1, 3)


def test_what_a_trigger_cannot_carry_is_found_out_before_submitting(push, service):
    """An argument that is not JSON stops the task while nothing has been submitted."""
    task = push(deferrable=True, cancel_on_kill=object()).run()
    assert "JSON serializable" in str(task.error)
    assert service.pushes == []
