"""The life of a job, points 1 to 3: what is written down, and what the next try makes of it."""

from __future__ import annotations

import pytest

from sluice_provider.errors import InvalidInput, JobFailed
from tests.operators.airflow_harness import ELEMENTS

pytestmark = pytest.mark.airflow

WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["plain", "deferrable"])


# --- written down before and after


def test_the_intent_is_written_down_before_anything_is_sent(push, remote):
    """Who dies before submitting leaves word of what was about to be submitted."""
    life = push()
    with life.death("before submitting"):
        life.go()
    [phase] = life.record.phases
    assert (phase.intent.start, phase.intent.size) == (0, 3)
    assert len(phase.intent.key) == 32
    assert (phase.submissions, remote.pushes) == ((), [])


def test_the_answer_is_written_down_before_anything_else(push, remote):
    """Who dies right after an answer leaves the job's id; after the last one, no intent whose outcome is unknown."""
    life = push(batch_size=2)
    with life.death("job written"):
        life.go()
    assert life.phase.submissions == ((remote.imports[0], 0, 2),)
    assert (life.phase.complete, remote.looks) == (False, 0)
    with life.death("all written"):
        life.retry()
    assert [each.id for each in life.phase.submissions] == remote.imports
    assert (life.phase.intent, life.phase.complete) == (None, True)


def test_the_end_is_written_down(push):
    """State and counts are in the record, so that a later try needs no service."""
    outcome = push().go().phase.outcome
    assert outcome["state"] == "succeeded"
    assert outcome["counts"] == {"created": 3, "updated": 0, "skipped": 0, "rejected": 0}


@WAYS
def test_ids_and_link_are_there_while_the_job_runs(push, remote, clock, deferrable):
    """XComs of the ids and of the extra link are pushed as soon as the import is accepted."""
    life = push(deferrable=deferrable)
    seen = []
    clock.on_nap = lambda: seen.append((life.xcom("job_ids"), life.xcom("_link_KaleidoscopeLink")))
    life.go()
    [import_id] = remote.imports
    ids, link = seen[0]
    assert ids == [import_id]
    assert link.endswith(f"/web/imports/{import_id}")
    assert life.result["url"] == link


# --- a job is noted


@WAYS
def test_a_running_job_is_picked_up(push, remote, deferrable):
    """The next try waits for the import of the first."""
    life = push(deferrable=deferrable)
    with life.death("all written"):
        life.go()
    life.retry()
    assert life.state == "success"
    assert remote.imports == life.result["import_ids"]
    assert remote.records == {"H": 1, "He": 1, "Li": 1}
    assert life.said("Reconnecting to", remote.imports[0])


@WAYS
def test_a_job_that_ended_meanwhile_is_finished(push, remote, clock, deferrable):
    """The next try reads the outcome: no second import, no wait, no trigger."""
    life = push(deferrable=deferrable)
    with life.death("all written"):
        life.go()
    clock.move(60)
    life.retry()
    assert life.state == "success"
    assert life.result["created"] == 3
    assert (len(remote.imports), clock.naps) == (1, [])


@WAYS
def test_a_job_that_failed_is_submitted_again(push, remote, deferrable):
    """The first try fails in the service's own words, and the next one begins another import under another key."""
    remote.settings(fail_imports=1)
    life = push(deferrable=deferrable).go()
    assert isinstance(life.error, JobFailed)
    assert "The import could not be processed" in str(life.error)
    assert "the next try submits again what failed" in str(life.error)
    life.retry()
    assert (life.state, len(remote.imports)) == ("success", 2)
    assert life.result["import_ids"] == remote.imports[1:]
    assert life.phase.attempt == 1
    assert life.result["replaced_jobs"] == [{"id": remote.imports[0], "state": "failed"}]
    assert life.said("WARNING", "Submitting again what failed", remote.imports[0])


def test_of_several_parts_only_the_failed_one_is_submitted_again(push, remote):
    """What was imported stays imported."""
    remote.settings(fail_imports=1)
    life = push(batch_size=1).go()
    life.retry()
    assert life.state == "success"
    assert remote.sent == [["H"], ["He"], ["Li"], ["H"]]
    assert remote.records == {"H": 1, "He": 1, "Li": 1}
    assert (life.result["pushed"], life.result["created"]) == (3, 3)


def test_a_job_that_is_not_known_yet_is_waited_for(push, remote, clock):
    """Right after the submission, an unknown id means that replicas of the service lag."""
    remote.settings(job_seconds=0)
    remote.trouble("GET", "imports/", status=404, times=5)
    life = push().go()
    assert (life.state, len(remote.imports), len(clock.naps)) == ("success", 1, 4)


def test_a_job_that_is_lost_is_submitted_again(push, remote):
    """Later, an unknown id means that it is gone."""
    life = push()
    with life.death("all written"):
        life.go()
    remote.trouble("GET", f"imports/{remote.imports[0]}", status=404)
    life.retry()
    assert isinstance(life.error, JobFailed)
    assert "lost" in str(life.error)
    life.retry()
    assert (life.state, len(remote.imports)) == ("success", 2)


# --- outcome unknown


def test_after_an_unknown_outcome_the_records_are_sent_again(push, remote):
    """Dead between submitting and writing down: records are kept by key, so nothing is doubled, and the log says so."""
    life = push()
    with life.death("after submitting"):
        life.go()
    life.retry()
    assert life.state == "success"
    assert len(remote.imports) == 2
    assert len(remote.records) == 3
    assert life.said("WARNING", "its outcome is unknown: push, 1 to 3")
    assert life.said("WARNING", "Submitting again: Kaleidoscope keeps records by their key fields", "none is doubled")


def test_a_lost_answer_is_asked_for_again(push, remote):
    """The call may be repeated, so it is, within the same try."""
    remote.faults([{"method": "POST", "path": "push/imports", "drop": "after"}])
    life = push().go()
    assert life.state == "success"
    assert (len(remote.imports), len(remote.records)) == (2, 3)
    assert life.result["import_ids"] == remote.imports[1:]


def test_a_refusal_is_a_known_outcome(push, remote):
    """The service said no, so nothing was begun and nothing is noted as begun."""
    remote.trouble("POST", "push/imports", status=403, times=1)
    life = push().go()
    assert (life.phase.intent, life.phase.submissions) == (None, ())


# --- partly done


def test_what_was_accepted_is_not_pushed_again(push, remote):
    """Dead after two of three batches: the next try sends the third."""
    life = push(batch_size=1)
    with life.death("job written", nth=2):
        life.go()
    life.retry()
    assert life.state == "success"
    assert remote.sent == [["H"], ["He"], ["Li"]]
    assert life.result["import_ids"] == remote.imports
    assert life.said("Resuming: 2 records were accepted before")


def test_only_the_batch_whose_outcome_is_unknown_is_pushed_again(push, remote):
    """Dead while the second of three batches was on its way."""
    life = push(batch_size=1)
    with life.death("after submitting", nth=2):
        life.go()
    life.retry()
    assert life.state == "success"
    assert remote.sent == [["H"], ["He"], ["He"], ["Li"]]
    assert len(remote.records) == 3


def test_another_batch_size_does_not_matter(push, remote):
    """What is left is cut anew; the work is the same work."""
    life = push(batch_size=1)
    with life.death("job written"):
        life.go()
    life.retry(batch_size=50)
    assert remote.sent == [["H"], ["He", "Li"]]
    assert life.result["pushed"] == 3


# --- cleared or retried


@WAYS
def test_clearing_a_success_means_again(push, remote, deferrable):
    """The user wants it done again, and it is."""
    life = push(deferrable=deferrable).go()
    life.clear().go()
    assert (life.state, len(remote.imports)) == ("success", 2)
    assert life.result["import_ids"] == remote.imports[1:]
    assert life.said("The task was cleared: submitting again")


@WAYS
def test_a_retry_after_a_success_returns_the_result(push, remote, clock, deferrable):
    """Dead between the end of the import and the end of the task: the same result, without the service."""
    life = push(deferrable=deferrable)
    with life.death("end written"):
        life.go()
    looks = remote.looks
    life.retry()
    assert life.state == "success"
    assert life.result["import_ids"] == remote.imports
    assert (len(remote.imports), life.result["created"], remote.looks) == (1, 3, looks)


def test_clearing_another_task_means_nothing_to_this_one(airflow, remote):
    """Airflow counts clearings by run, and the count alone says nothing of this task."""
    from sluice_provider.operators.kaleidoscope import KaleidoscopePushOperator

    def tasks():
        for name in ("this", "other"):
            KaleidoscopePushOperator(task_id=name, records=ELEMENTS, key_field_names=["symbol"], retries=3)

    run = airflow.run(tasks)
    this, other = run.life("this"), run.life("other").go()
    with this.death("end written"):
        this.go()
    imports = len(remote.imports)
    other.clear()
    this.retry()
    assert (this.state, len(remote.imports)) == ("success", imports)
    other.go()
    assert len(remote.imports) == imports + 1


@WAYS
def test_clearing_a_running_task_reconnects(push, remote, deferrable):
    """An import cannot be cancelled, so what runs is what the user gets, once; then a retry is a retry again."""
    life = push(deferrable=deferrable)
    with life.death("all written"):
        life.go()
    life.clear()
    with life.death("end written"):
        life.go()
    life.retry()
    assert (life.state, len(remote.imports)) == ("success", 1)


# --- other input


def test_other_input_is_other_work(push, remote):
    """Changed records are submitted, and the log and the result say what was submitted before."""
    life = push()
    with life.death("all written"):
        life.go()
    life.retry(records=[{"symbol": "Be"}])
    assert life.state == "success"
    assert remote.sent == [["H", "He", "Li"], ["Be"]]
    assert life.result["import_ids"] == remote.imports[1:]
    assert life.said("WARNING", "The input has changed: submitting again; previously submitted", remote.imports[0])


@pytest.mark.parametrize("change", [{"set_name": "Other"}, {"key_field_names": ["name"]}], ids=str)
def test_another_target_is_other_work(push, remote, change):
    """The same records elsewhere, or under other keys, are not the same."""
    life = push()
    with life.death("all written"):
        life.go()
    life.retry(**change)
    assert len(remote.imports) == 2


def test_input_that_is_gone_is_not_needed_any_more(push, remote, tmp_path):
    """All of it was submitted, so the wait goes on."""
    path = tmp_path / "elements.csv"
    path.write_text("symbol,name\nH,Hydrogen\n")
    life = push(records=str(path))
    with life.death("all written"):
        life.go()
    path.unlink()
    life.retry()
    assert (life.state, len(remote.imports)) == ("success", 1)
    assert life.said("WARNING", "can no longer be read")


def test_input_that_is_gone_too_early_is_an_error(push, remote, tmp_path):
    """Half of it was submitted, and nobody knows the other half."""
    path = tmp_path / "elements.csv"
    path.write_text("symbol,name\nH,Hydrogen\nHe,Helium\n")
    life = push(records=str(path), batch_size=1)
    with life.death("job written"):
        life.go()
    path.unlink()
    life.retry()
    assert (life.state, len(remote.imports)) == ("failed", 1)
    assert isinstance(life.error, InvalidInput)
    assert "no such file" in str(life.error)


# --- the first status check


def test_a_job_that_is_over_at_once_needs_no_triggerer(push, remote):
    """One status check before deferring, and the task is done in its first leg."""
    remote.settings(job_seconds=0)
    life = push(deferrable=True).leg()
    assert (life.state, remote.looks, life.result["created"]) == ("success", 1, 3)


def test_what_a_trigger_cannot_carry_is_found_out_before_submitting(push, remote):
    """An argument that is not JSON stops the task while nothing has been submitted."""
    life = push(deferrable=True, cancel_on_kill=object()).go()
    assert "JSON serializable" in str(life.error)
    assert remote.pushes == []
