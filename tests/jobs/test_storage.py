"""The stored record: it is loaded as it was saved, also after an interrupted save, and writes have a bounded size."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest

from sluice_provider.errors import UnexpectedResponse
from sluice_provider.jobs.lifecycle import MAX_REPLACED_JOBS
from sluice_provider.jobs.model import Job, JobGroup, JobState, Rejection
from sluice_provider.jobs.record import (
    MAX_IDS,
    VERSION,
    Intent,
    JobRecord,
    PendingRerun,
    PhaseRecord,
    ReplacedJob,
    Submission,
)
from sluice_provider.jobs.state_line import state_line
from sluice_provider.jobs.storage import KEY, LOG_KEY, MAX_HISTORY_PIECES, STATE_KEY, RecordStorage

SAMPLES = Path(__file__).parent / "records"
MAX_WRITE_BYTES = 16 * 1024


class Store:
    """A fake task state store with JSON texts. If `left` is set, it fails after that number of writes."""

    def __init__(self, kept=None):
        self.kept = dict(kept or {})
        self.writes = []
        self.left = None

    def get(self, key):
        return json.loads(self.kept[key]) if key in self.kept else None

    def set(self, key, value):
        if self.left == 0:
            raise OSError("the API is unavailable")
        self.left = None if self.left is None else self.left - 1
        self.kept[key] = json.dumps(value)
        self.writes.append((key, len(self.kept[key])))


def saved(*records, store=None):
    """The store after these records were saved by one process."""
    store = store or Store()
    storage = RecordStorage(store)
    for record in records:
        storage.save(record)
    return store


FULL = JobRecord(
    fingerprint="print",
    clears=(1, 3),
    seed="seed",
    phases=(
        PhaseRecord(
            "one",
            100.0,
            submissions=(Submission("a", 0, 2), Submission("b", 2, 2)),
            complete=True,
            outcome={"state": "succeeded", "counts": {"rows": 4}, "at": 110.0, "outputs": {"files": ["x"]}},
            facts={"before": ["p", "q"]},
            locator={"project_id": "7"},
        ),
        PhaseRecord(
            "two",
            attempt=1,
            submissions=(Submission("c"),),
            intent=Intent("key", 120.0, 1, 3, reported=True),
            facts={"before": []},
            trigger_restarts=2,
        ),
    ),
    replaced=(ReplacedJob("old", "cancelled", 5), ReplacedJob("", "outcome_unknown")),
    rerun=PendingRerun("cancelling", "other print", (2, 7), "other seed"),
    summary={"state": "running", "ids": ["c"], "id_count": 1, "counts": {}, "message": "so far so good"},
).with_event(100.0, "submitting", "one, rows 1 to 2")


def test_a_record_is_loaded_as_it_was_saved():
    """Every field of it."""
    loaded = RecordStorage(saved(FULL)).load()
    assert loaded._replace(summary={}) == FULL._replace(summary={})
    assert loaded.summary["message"] == "so far so good"


def test_a_missing_record_is_none():
    """A first try finds nothing."""
    assert RecordStorage(Store()).load() is None


def test_the_error_of_an_unreadable_record_says_what_to_do():
    """For a record that somebody edited."""
    for value in ("nonsense", {"summary": {}}, [1], 7):
        with pytest.raises(UnexpectedResponse, match="delete 'sluice_record'"):
            RecordStorage(Store({KEY: json.dumps(value)})).load()


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_samples_of_every_version_can_be_read(path):
    """Stored records stay readable: decisions depend on their intents, ids and outcomes."""
    sample = json.loads(path.read_text())
    record = RecordStorage(Store({key: json.dumps(value) for key, value in sample["store"].items()})).load()
    assert record.fingerprint == sample["expected"]["fingerprint"]
    phases = {
        phase.name: {
            "ids": list(phase.ids),
            "size": phase.size,
            "complete": phase.complete,
            "intent": phase.intent and phase.intent.key,
            "state": (phase.outcome or {}).get("state"),
        }
        for phase in record.phases
    }
    assert phases == sample["expected"]["phases"]


def test_there_is_a_sample_of_this_version():
    """Add one when you increase the version."""
    assert (SAMPLES / f"version_{VERSION}.json").is_file()


def test_fields_of_a_newer_version_are_kept():
    """A rollback of the package loses nothing, and fails no try."""
    store = saved(FULL)
    head = json.loads(store.kept[KEY])
    head.update(version=99, region="eu")
    head["open"][0]["priority"] = 7
    store.kept[KEY] = json.dumps(head)
    storage = RecordStorage(store)
    record = storage.load()
    assert record.phase("two").intent.key == "key"
    storage.save(record.with_event(200.0, "status", "on"))
    storage.save(record.with_summary(201.0, state="cancelling"))
    head = json.loads(store.kept[KEY])
    assert (head["region"], head["open"][0]["priority"]) == ("eu", 7)


@pytest.mark.parametrize("writes", range(8))
def test_an_interrupted_save_leaves_a_consistent_record(writes):
    """Wherever a process dies, an id that was written is known, and an intent without one is not lost."""
    intent = FULL.with_phase(FULL.phase("two")._replace(intent=Intent("next", 130.0, 4, 1, reported=False)))
    store = saved(intent)
    answered = intent.phase("two")._replace(intent=None, submissions=(*FULL.phase("two").submissions, Submission("d")))
    store.left = writes
    storage = RecordStorage(store)
    storage.load()
    with suppress(OSError):
        storage.save(intent.with_phase(answered).with_event(131.0, "submitted", "d").with_summary(131.0, state="x"))
    store.left = None
    phase = RecordStorage(store).load().phase("two")
    assert (phase.intent is None) == ("d" in phase.ids)


def test_the_next_save_completes_a_failed_one():
    """And nothing is written twice."""
    store = Store()
    storage = RecordStorage(store)
    storage.save(FULL)
    phase = FULL.phase("two")._replace(submissions=(Submission("c"), Submission("d")))
    for left in (0, 1, 2):
        store.left = left
        with pytest.raises(OSError, match="unavailable"):
            storage.save(FULL.with_phase(phase).with_summary(1.0, state=f"try {left}"))
    store.left = None
    storage.save(FULL.with_phase(phase).with_summary(1.0, state="done"))
    assert RecordStorage(store).load().phase("two").ids == ("c", "d")


def test_starting_over_ignores_the_old_log():
    """Pieces of the old log are still in the store."""
    many = FULL.phase("one")._replace(submissions=tuple(Submission(f"{number:040}") for number in range(1000)))
    store = saved(FULL.with_phase(many))
    storage = RecordStorage(store)
    storage.load()
    storage.save(JobRecord("print", (2, 7), "new seed").with_phase(PhaseRecord("one", submissions=(Submission("n"),))))
    assert RecordStorage(store).load().phase("one").ids == ("n",)


def test_jobs_that_were_submitted_again_replace_the_old_ones():
    """One of several jobs had failed."""
    store = Store()
    storage = RecordStorage(store)
    phase = PhaseRecord("one", submissions=(Submission("a", 0, 1), Submission("b", 1, 1)))
    record = JobRecord("print", seed="seed").with_phase(phase)
    storage.save(record)
    storage.save(record.with_phase(phase._replace(submissions=(Submission("b", 1, 1),), attempt=1)))
    storage.save(
        record.with_phase(phase._replace(submissions=(Submission("b", 1, 1), Submission("c", 0, 1)), attempt=1))
    )
    assert RecordStorage(store).load().phase("one").ids == ("b", "c")


@pytest.mark.parametrize("writes", range(1, 6))
def test_a_crash_between_two_writes_does_not_lose_that_a_job_failed(writes):
    """The log says that one job is submitted again, and the head does not yet."""
    whole = PhaseRecord("one", submissions=(Submission("a", 0, 1), Submission("b", 1, 1)), complete=True)
    record = JobRecord("print", seed="seed").with_phase(whole)
    store = saved(record)
    storage = RecordStorage(store)
    storage.load()
    store.left = writes
    again = whole._replace(submissions=(Submission("b", 1, 1),), complete=False, attempt=1)
    with suppress(OSError):
        storage.save(record.with_phase(again).with_event(1.0, "replaced", "a").with_summary(1.0, state="running"))
    store.left = None
    phase = RecordStorage(store).load().phase("one")
    assert (phase.ids, phase.complete, phase.attempt) == (("b",), False, 1)


@pytest.mark.parametrize("writes", range(4))
def test_a_crash_while_starting_over_leaves_the_old_or_the_new_record(writes):
    """The old one is complete: the next try may continue it, or must report what was submitted before."""
    store = saved(FULL)
    storage = RecordStorage(store)
    storage.load()
    store.left = writes
    new = JobRecord("new print", (2, 7), "new seed", replaced=(*FULL.replaced, ReplacedJob("c", "running")))
    new = new.with_phase(PhaseRecord("one", intent=Intent("key", 200.0), facts={"before": ["c"]}))
    with suppress(OSError):
        storage.save(new, only="intent")
    store.left = None
    loaded = RecordStorage(store).load()
    expected = FULL if loaded.seed == FULL.seed else new
    assert (loaded.phases, loaded.replaced) == (expected.phases, expected.replaced)


def test_starting_over_repeatedly():
    """By one process or by several, and whether a save failed or not."""
    store = saved(FULL)
    for number in range(5):
        storage = RecordStorage(store)
        storage.load()
        record = JobRecord("print", (number, number), f"seed {number}")
        for job_id in ("x", "y"):
            record = record.with_phase(PhaseRecord("one", submissions=(Submission(f"{job_id}{number}"),)))
            store.left = 1
            with suppress(OSError):
                storage.save(record)
            store.left = None
            storage.save(record)
        assert RecordStorage(store).load().phase("one").ids == (f"y{number}",)


def test_replaced_jobs_are_saved_when_their_list_is_full():
    """The oldest ones are dropped."""
    store = Store()
    storage = RecordStorage(store)
    old = tuple(ReplacedJob(f"old-{number}", "failed", 1) for number in range(MAX_REPLACED_JOBS))
    record = JobRecord("print", seed="seed", replaced=old)
    storage.save(record)
    new = (ReplacedJob("new", "failed", 7), ReplacedJob("newer", "failed", 8))
    storage.save(record._replace(replaced=(*old, *new)[-MAX_REPLACED_JOBS:]))
    assert RecordStorage(store).load().replaced[-2:] == new


def test_fields_of_other_types_are_ignored():
    """As a newer version may write them, in place of a list, a name or a number."""
    for changes in ({"open": 7}, {"open": {"x": 1}}, {"open": [{"name": ["x"]}, 5]}, {"clears": "x"}, {"history": -3}):
        store = saved(FULL)
        store.kept[KEY] = json.dumps({**json.loads(store.kept[KEY]), **changes})
        assert RecordStorage(store).load().fingerprint == "print"


@pytest.mark.parametrize("size", [1, 300])
@pytest.mark.parametrize("nth", range(1, 10))
def test_a_save_during_another_one_loses_nothing(nth, size):
    """A signal arrives during a save, and its handler saves, too; then the first one continues."""
    store = saved(FULL)
    storage = RecordStorage(store)
    storage.load()
    phase = FULL.phase("two")
    new = tuple(Submission(f"{number:040}") for number in range(size))
    record = FULL.with_phase(phase._replace(intent=None, submissions=(*phase.submissions, *new)))
    for at, (key, value) in enumerate(storage.changes(record.with_event(1.0, "submitted", "new")), 1):
        if at == nth:
            storage.save(record.with_event(2.0, "cancel", "a user").with_summary(2.0, state="cancelling"))
            assert RecordStorage(store).load().phase("two").submissions == (*phase.submissions, *new)
        storage.write(key, value)
    assert RecordStorage(store).load().phase("two").submissions == (*phase.submissions, *new)
    later = record.with_phase(record.phase("two")._replace(submissions=(*phase.submissions, *new, Submission("z"))))
    storage.save(later)
    assert RecordStorage(store).load().phase("two").submissions == later.phase("two").submissions


# --- sizes


def pushed(batches, group):
    """A push of this number of batches, saved after each `group` of them."""
    store = Store()
    storage = RecordStorage(store)
    record = JobRecord("print", seed="seed")
    phase = PhaseRecord("push")
    for start in range(0, batches, group):
        new = [Submission(f"{number:036}", number * 1000, 1000) for number in range(start, start + group)]
        phase = phase._replace(submissions=(*phase.submissions, *new))
        record = record.with_phase(phase).with_event(float(start), "submitted", f"push, {start}")
        storage.save(record.with_summary(float(start), state="running", ids=phase.ids, counts={"sent": phase.size}))
    return store


@pytest.mark.slow
@pytest.mark.parametrize("group", [1, 10, 100])
def test_the_bytes_written_for_a_batch_are_constant(group):
    """They do not grow with the number of batches before it."""
    few, many = (sum(size for _, size in pushed(batches, group).writes) / batches for batches in (2_000, 8_000))
    assert many < few * 1.2


@pytest.mark.slow
@pytest.mark.parametrize("batches", [10, 1_000, 10_000])
def test_no_write_is_large(batches):
    """Whatever the size of the job."""
    assert max(size for _, size in pushed(batches, 10).writes) <= MAX_WRITE_BYTES
    assert max(map(len, pushed(batches, batches).kept.values())) <= MAX_WRITE_BYTES


def test_large_facts_messages_and_histories_are_split_or_truncated():
    """Thousands of ids, a message of 1 MB, and a status that changes all the time."""
    record = FULL.with_phase(
        FULL.phase("two")._replace(facts={"before": [f"{number:036}" for number in range(5_000)]}, locator={})
    )
    record = record.with_summary(1.0, message="x" * 1_000_000, service_status="\0" * 9_000, ids=["i" * 100] * 1_000)
    store = Store()
    storage = RecordStorage(store)
    for number in range(2_000):
        record = record.with_event(float(number), "status", f"{number} " + "\N{SNOWMAN}" * 1_000)
    storage.save(record)
    assert max(size for _, size in store.writes) <= MAX_WRITE_BYTES
    assert RecordStorage(store).load().phase("two").facts == record.phase("two").facts
    assert len([key for key in store.kept if "history" in key]) <= MAX_HISTORY_PIECES


@pytest.mark.parametrize("character", ["x", "\0", "\N{PILE OF POO}", '"', "\ud800"], ids=ascii)
def test_no_value_of_a_service_makes_a_large_write(character):
    """Ids, URLs, names of counts and numbers of any length; no decision depends on what is truncated."""
    long, names = character * 100_000, [f"{number} {character * 1_000}" for number in range(10_000)]
    summary = dict.fromkeys(("service", "conn_id", "noun", "job_type", "message", "service_status"), long)
    summary |= {"url": f"https://{long}", "ids": [long] * 10_000, "counts": dict.fromkeys(names, 10**400)}
    phase = FULL.phase("two")._replace(intent=Intent(character * 16, 130.0), submissions=(Submission("c" * 200),))
    store = Store()
    RecordStorage(store).save(FULL.with_phase(phase).with_summary(1.0, **summary, done=10**400, total=10**5_000))
    assert max(size for _, size in store.writes) <= MAX_WRITE_BYTES
    kept = json.loads(store.kept[KEY])["summary"]
    assert (kept["id_count"], len(kept["counts"]), kept["url"]) == (10_000, 30, "")


def test_jobs_that_have_succeeded_are_kept_in_few_bytes():
    """By their positions, with a total: nothing is polled again, and no write grows with their number."""
    phase = PhaseRecord("push", submissions=tuple(Submission(f"job-{number}") for number in range(1_000)))
    rejected = Rejection("1", "mass", "secret " + "x" * 9_000, "not a number")
    store = Store()
    storage = RecordStorage(store, lambda text: text.replace("secret", "***"))
    storage.save(JobRecord("print", seed="seed").with_phase(phase))
    before = len(store.writes)
    for until in (500, 501, 999):
        jobs = tuple(
            Job(f"job-{number}", JobState.SUCCEEDED if number < until else JobState.RUNNING, counts={"created": 1})
            for number in range(1_000)
        )
        jobs = (jobs[0]._replace(rejections=(rejected,)), *jobs[1:])
        phase = phase.with_status(JobGroup(jobs))
        storage.save(JobRecord("print", seed="seed").with_phase(phase))
    assert max(size for _, size in store.writes) <= MAX_WRITE_BYTES
    assert sum(size for _, size in store.writes[before:]) < 4 * MAX_WRITE_BYTES
    found = RecordStorage(store).load().phase("push")
    assert (found.unfinished_ids, found.ended.number, found.ended.counts) == (("job-999",), 999, {"created": 999})
    assert found.ended.rejections[0].value.startswith("*** xxx")


def test_submissions_that_are_replaced_keep_what_has_succeeded():
    """The positions in the log are those of the time when they were written."""
    submissions = tuple(Submission(job_id) for job_id in "abc")
    phase = PhaseRecord("push", submissions=submissions)
    store = Store()
    storage = RecordStorage(store)
    storage.save(JobRecord("print", seed="seed").with_phase(phase))
    group = JobGroup((Job("a", JobState.FAILED), Job("b", JobState.SUCCEEDED), Job("c", JobState.RUNNING)))
    phase = phase.with_status(group)
    storage.save(JobRecord("print", seed="seed").with_phase(phase))
    phase = phase._replace(submissions=(*submissions[1:], Submission("d")), attempt=1)
    storage.save(JobRecord("print", seed="seed").with_phase(phase))
    found = RecordStorage(store).load().phase("push")
    assert (found.ids, found.unfinished_ids) == (("b", "c", "d"), ("c", "d"))


@pytest.mark.slow
def test_many_phases_do_not_fill_the_head():
    """Those that have ended are in the log."""
    store = Store()
    storage = RecordStorage(store)
    record = JobRecord("print", seed="seed")
    for number in range(1_000):
        outcome = {"state": "succeeded", "counts": {"put": 32}, "at": 1.0, "outputs": {}}
        phase = PhaseRecord(f"changeset-{number}", submissions=(Submission(f"{number:026}"),), complete=True)
        record = record.with_phase(phase._replace(outcome=outcome))
        storage.save(record)
    assert max(size for _, size in store.writes) <= MAX_WRITE_BYTES
    assert len(RecordStorage(store).load().phases) == 1_000


def test_the_state_has_its_own_key():
    """The jobs page counts jobs by it in SQL."""
    assert json.loads(saved(FULL).kept[STATE_KEY]) == state_line(FULL.summary)


def test_a_later_process_writes_the_state_again():
    """Even if it is the same: the jobs page takes what a trigger wrote before that for older."""
    store = saved(FULL)
    store.writes.clear()
    storage = RecordStorage(store)
    storage.save(storage.load())
    assert STATE_KEY in [key for key, _ in store.writes]


def test_only_changes_are_written():
    """A second save of the same record writes nothing."""
    store = Store()
    storage = RecordStorage(store)
    storage.save(FULL)
    before = len(store.writes)
    storage.save(FULL)
    assert len(store.writes) == before


def test_summary_only():
    """With durable=False nothing is written that a retry could continue."""
    store = Store()
    RecordStorage(store, summary_only=True).save(FULL)
    assert set(json.loads(store.kept[KEY])) == {"summary", "history"}
    assert not any(key.startswith(LOG_KEY) for key in store.kept)
    assert RecordStorage(store, summary_only=True).load() is None


def test_the_count_of_ids_stays_right_when_most_ids_are_left_out():
    """A record that is loaded and saved before the next poll; and a later phase with fewer ids."""
    many = FULL.with_summary(1.0, ids=[str(number) for number in range(50)])
    store = saved(many)
    storage = RecordStorage(store)
    record = storage.load()
    storage.save(record.with_event(2.0, "reconnected", "x").with_summary(2.0, state="cancelling"))
    summary = json.loads(store.kept[KEY])["summary"]
    assert (len(summary["ids"]), summary["id_count"]) == (MAX_IDS, 50)
    storage.save(record.with_summary(3.0, ids=("one",)))
    summary = json.loads(store.kept[KEY])["summary"]
    assert (summary["ids"], summary["id_count"]) == (["one"], 1)


def test_secrets_are_redacted_in_every_string():
    """A service may repeat what it was sent."""
    store = Store()
    storage = RecordStorage(store, lambda text: text.replace("hunter2", "***"))
    record = FULL.with_event(1.0, "error", "no: hunter2").with_summary(1.0, message="hunter2", service_status="hunter2")
    phase = PhaseRecord("three", outcome={"state": "cancelled", "counts": {}, "outputs": {"why": ["so: hunter2"]}})
    storage.save(record.with_phase(phase))
    assert "hunter2" not in json.dumps(store.kept)
