"""Records in a real database: read in one statement, of readable DAGs only, whatever the values are."""

from __future__ import annotations

import json
import random
import time
from contextlib import nullcontext

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.orm import Session

from seeded_jobs import add_dags, add_job, record_values, seed, summary
from sluice_provider.jobs.storage import KEY as HEAD_KEY
from sluice_provider.plugin import jobs_store
from sluice_provider.plugin.jobs_view import Filters, job_detail, job_list
from tests.databases import postgres

pytestmark = pytest.mark.airflow

DAGS = ("daily_partition", "label_new_files", "liquid_roundtrip", "nightly_compounds")


def key(run_id):
    """A task instance."""
    return ("daily_partition", run_id, "commit", -1)


KEY = key("run")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    """An empty Airflow database."""
    from airflow.models import import_all_models
    from airflow.models.base import Base

    import_all_models()
    sqlite = nullcontext(f"sqlite:///{tmp_path}/airflow.db")
    with postgres() if request.param == "postgresql" else sqlite as url:
        engine = create_engine(url)
        Base.metadata.create_all(engine)
        yield engine
        engine.dispose()


@pytest.fixture
def session(database):
    """A session of it; its statements are in `statements`."""
    with Session(database) as session:
        add_dags(session, DAGS)
        yield session


@pytest.fixture
def statements(database):
    """All statements that are executed."""
    executed = []
    event.listen(database, "before_cursor_execute", lambda *args: executed.append(args[2]))
    return executed


def job_summary(state="running", *, service="finspace", at=None, **fields):
    """The summary of a record."""
    usual = summary(service, "changeset", state, at or time.time() - 100, 50, random.Random(1))
    return {**usual, **fields}


def states(rows):
    """The number of jobs by state."""
    counts = job_list(rows, Filters(), time.time())["counts"]
    return {state: count for state, count in counts.items() if count}


def detail_of(session, key, **options):
    """The tab of a task instance."""
    return job_detail(jobs_store.load_job(session, DAGS, key, **options), time.time())


@pytest.mark.parametrize("jobs", [3, 300])
def test_number_of_statements(database, statements, jobs):
    """One for a page, however many jobs there are, and two for a job."""
    with Session(database) as session:
        seed(session, jobs)
    statements.clear()
    with Session(database) as session:
        rows, more = jobs_store.load_jobs(session, DAGS)
        assert len(statements) == 1
        assert jobs_store.load_job(session, DAGS, rows[0][:4]).history
    assert len(statements) == 3
    assert (len(rows), more) == (jobs, False)
    assert job_list(rows, Filters(), time.time())["unreadable"] == 0


def test_heads_are_not_read_in_full(database, statements):
    """Unless the summary is longer than what is read; those are read together."""
    with Session(database) as session:
        add_dags(session, DAGS)
        for n in range(30):
            add_job(session, key(f"run_{n}"), record_values(job_summary(), 200), "deferred")
        long = record_values(job_summary(ids=["i" * 90] * 100))
        for n in range(30, 40):
            add_job(session, key(f"run_{n}"), long, "deferred")
        last = {name: long[HEAD_KEY][name] for name in reversed(long[HEAD_KEY])}
        add_job(session, key("run_40"), {**long, HEAD_KEY: last}, "deferred")
        session.commit()
        statements.clear()
        rows, _ = jobs_store.load_jobs(session, DAGS)
    assert len(statements) == 2
    assert states(rows) == {"running": 41}
    assert max(len(row.head) for row in rows if row.run_id == "run_3") <= jobs_store.HEAD_CHARS
    assert {job["id_count"] for job in job_list(rows, Filters(), time.time())["jobs"]} == {1, 100}


def test_jobs_of_other_dags_are_not_read(session):
    """Neither in the list nor as a single job."""
    for dag_id in DAGS:
        add_job(session, (dag_id, "run", "commit", -1), record_values(job_summary()), "deferred")
    rows, _ = jobs_store.load_jobs(session, ["label_new_files"])
    assert [row.dag_id for row in rows] == ["label_new_files"]
    assert jobs_store.load_jobs(session, []) == ([], False)
    assert jobs_store.load_job(session, ["label_new_files"], KEY) is None
    assert jobs_store.load_job(session, DAGS, KEY).dag_id == "daily_partition"


def test_other_keys_of_the_store_are_not_records(session):
    """Tasks may store other values."""
    add_job(session, KEY, record_values(job_summary()), "deferred")
    session.execute(text("UPDATE task_state_store SET key = 'cursor_' || key"))
    assert jobs_store.load_jobs(session, DAGS)[0] == []
    assert jobs_store.load_job(session, DAGS, KEY) is None


@pytest.mark.parametrize(
    "value", ["", "{", "nonsense", '{"summary": NaN}', '{"summary": "\\u0000"}', "\U0001f9ea" * 2000]
)
def test_an_unreadable_record_breaks_nothing(session, value):
    """It is counted, and the others are shown."""
    add_job(session, KEY, {}, "deferred", text=value)
    add_job(session, key("other"), record_values(job_summary()), "deferred")
    rows, _ = jobs_store.load_jobs(session, DAGS)
    assert states(rows) == {"running": 1}
    assert job_list(rows, Filters(), time.time())["unreadable"] == 1
    assert detail_of(session, KEY)["unreadable"] is True


def test_progress_is_read_with_its_record(session):
    """If it is newer, and of the same mapped task instance."""
    now = time.time()
    written = record_values(job_summary(service="kaleidoscope", total=100))
    for index in (0, 1):
        posted = {
            "updated_at": now - (5 if index else 5000),
            "state": "running",
            "service_status": f"AT {index}",
            "counts": {},
            "done": 50 + index,
        }
        add_job(session, ("daily_partition", "run", "push", index), written, "deferred", progress=posted)
    rows, _ = jobs_store.load_jobs(session, DAGS)
    statuses = {job["map_index"]: job["service_status"] for job in job_list(rows, Filters(), now)["jobs"]}
    assert statuses == {0: "PROCESSING", 1: "AT 1"}
    assert detail_of(session, ("daily_partition", "run", "push", 1))["job"]["done"] == 51


@pytest.mark.parametrize("value", ["text", 7, [], None, {"updated_at": "soon"}, {"updated_at": 9e12, "state": 7}])
def test_unreadable_progress_breaks_nothing(session, value):
    """The record is shown without it."""
    add_job(session, KEY, record_values(job_summary()), "deferred", progress={"updated_at": time.time()})
    session.execute(text("UPDATE xcom SET value = :value"), {"value": json.dumps(value)})
    rows, _ = jobs_store.load_jobs(session, DAGS)
    assert states(rows) == {"running": 1}


def test_a_history_in_segments(session):
    """All of them are read, of this task instance only."""
    for index in (0, 1):
        key = ("daily_partition", "run", "push", index)
        add_job(session, key, record_values(job_summary(), 500 + index), "deferred")
    found = jobs_store.load_job(session, DAGS, ("daily_partition", "run", "push", 1))
    assert len(found.history) > 3
    texts = [event["text"] for event in job_detail(found, time.time())["history"] if event["type"] == "rejected"]
    assert len(texts) == 501
    assert texts[-1].startswith("row 500:")


@pytest.mark.parametrize(
    "value", ["", "{", "nonsense", "7", '{"a": 1}', '[["\\ud800", 1e999, {}]]', "\U0001f9ea" * 2000]
)
def test_an_unreadable_segment_breaks_nothing(session, value):
    """The others are shown."""
    add_job(session, KEY, record_values(job_summary(), 500), "deferred")
    change = "UPDATE task_state_store SET value = :value WHERE key = 'sluice_record_history_1'"
    assert session.execute(text(change), {"value": value}).rowcount == 1
    shown = detail_of(session, KEY)
    assert shown["job"]["state"] == "running"
    assert 300 < len(shown["history"]) < 504


def test_a_record_without_a_history(session):
    """Is shown without events."""
    written = {key: value for key, value in record_values(job_summary()).items() if "history" not in key}
    add_job(session, KEY, written, "deferred")
    shown = detail_of(session, KEY)
    assert (shown["job"]["state"], shown["history"]) == ("running", [])


def test_a_task_that_was_removed(session):
    """Its job is orphaned."""
    add_job(session, KEY, record_values(job_summary()), "gone")
    rows, _ = jobs_store.load_jobs(session, DAGS)
    assert (rows[0].task_state, states(rows)) == ("removed", {"orphaned": 1})


def test_since_includes_active_jobs(session):
    """A job may have been running for a week, and its record was last written when it was submitted."""
    week_ago = time.time() - 7 * 86_400
    add_job(session, key("running"), record_values(job_summary(at=week_ago)), "deferred")
    add_job(
        session,
        key("over"),
        record_values(job_summary("succeeded", at=week_ago)),
        "success",
    )
    add_job(session, key("new"), record_values(job_summary("succeeded")), "success")
    rows, _ = jobs_store.load_jobs(session, DAGS, time.time() - 3600)
    assert {row.run_id for row in rows} == {"running", "new"}


def test_more_jobs_than_are_read(session, monkeypatch):
    """Active jobs come first, then the newest; the caller learns that there are more."""
    monkeypatch.setattr(jobs_store, "MAX_JOBS", 3)
    now = time.time()
    add_job(session, key("running"), record_values(job_summary(at=now - 9e5)), "deferred")
    for n in range(5):
        add_job(
            session,
            key(f"{n}"),
            record_values(job_summary("succeeded", at=now - 900 + n)),
            "success",
        )
    rows, more = jobs_store.load_jobs(session, DAGS)
    assert more is True
    assert {row.run_id for row in rows} == {"running", "4", "3"}


def test_records_before_airflow_3_3(session, statements):
    """They are XComs."""
    records = jobs_store.record_table(use_store=False)
    add_job(session, KEY, record_values(job_summary(), 300), "deferred", in_xcom=True)
    twice = {key: json.dumps(value) for key, value in record_values(job_summary(), 20).items()}
    add_job(session, key("twice"), twice, "deferred", in_xcom=True)
    session.flush()
    statements.clear()
    rows, _ = jobs_store.load_jobs(session, DAGS, records=records)
    assert len(statements) == 1
    assert states(rows) == {"running": 2}
    for run_id, events in (("run", 304), ("twice", 24)):
        assert len(detail_of(session, key(run_id), records=records)["history"]) == events
    assert jobs_store.load_jobs(session, DAGS) == ([], False)
