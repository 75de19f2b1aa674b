"""Records in a real database: found in one statement, of the DAGs that one may read, whatever somebody put there."""

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
from sluice_provider.plugin.jobs_view import Filters, detail, overview
from tests.databases import postgres

pytestmark = pytest.mark.airflow

DAGS = ("daily_partition", "label_new_files", "liquid_roundtrip", "nightly_compounds")
KEY = ("daily_partition", "run", "commit", -1)


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
    """One session in it; its statements are in `statements`."""
    with Session(database) as session:
        add_dags(session, DAGS)
        yield session


@pytest.fixture
def statements(database):
    """Every statement."""
    found = []
    event.listen(database, "before_cursor_execute", lambda *args: found.append(args[2]))
    return found


def short(state="running", *, service="finspace", at=None, **fields):
    """What a record says in short."""
    made = summary(service, "changeset", state, at or time.time() - 100, 50, random.Random(1))
    return {**made, **fields}


def states(rows):
    """How many there are in which state."""
    counts = overview(rows, Filters(), time.time())["counts"]
    return {state: count for state, count in counts.items() if count}


@pytest.mark.parametrize("jobs", [3, 300])
def test_few_statements(database, statements, jobs):
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
    assert overview(rows, Filters(), time.time())["unreadable"] == 0


def test_heads_are_not_read_whole(database, statements):
    """Unless the summary is not all in the beginning; those are read together."""
    with Session(database) as session:
        add_dags(session, DAGS)
        for n in range(30):
            add_job(session, ("daily_partition", f"run_{n}", "commit", -1), record_values(short(), 200), "deferred")
        long = record_values(short(ids=["i" * 90] * 100))
        for n in range(30, 40):
            add_job(session, ("daily_partition", f"run_{n}", "commit", -1), long, "deferred")
        last = {name: long[HEAD_KEY][name] for name in reversed(long[HEAD_KEY])}
        add_job(session, ("daily_partition", "run_40", "commit", -1), {**long, HEAD_KEY: last}, "deferred")
        session.commit()
        statements.clear()
        rows, _ = jobs_store.load_jobs(session, DAGS)
    assert len(statements) == 2
    assert states(rows) == {"running": 41}
    assert max(len(row.head) for row in rows if row.run_id == "run_3") <= jobs_store.HEAD
    assert {job["id_count"] for job in overview(rows, Filters(), time.time())["jobs"]} == {1, 100}


def test_only_readable_dags(session):
    """Neither in the list nor alone."""
    for dag_id in DAGS:
        add_job(session, (dag_id, "run", "commit", -1), record_values(short()), "deferred")
    rows, _ = jobs_store.load_jobs(session, ["label_new_files"])
    assert [row.dag_id for row in rows] == ["label_new_files"]
    assert jobs_store.load_jobs(session, []) == ([], False)
    assert jobs_store.load_job(session, ["label_new_files"], KEY) is None
    assert jobs_store.load_job(session, DAGS, KEY).dag_id == "daily_partition"


def test_other_rows_of_the_store_are_not_records(session):
    """Tasks keep more in it."""
    add_job(session, KEY, record_values(short()), "deferred")
    session.execute(text("UPDATE task_state_store SET key = 'cursor_' || key"))
    assert jobs_store.load_jobs(session, DAGS)[0] == []
    assert jobs_store.load_job(session, DAGS, KEY) is None


@pytest.mark.parametrize(
    "bad", ["", "{", "nonsense", '{"summary": NaN}', '{"summary": "\\u0000"}', "\U0001f9ea" * 2000]
)
def test_a_bad_row_breaks_nothing(session, bad):
    """The good one beside it is shown."""
    add_job(session, KEY, {}, "deferred", text=bad)
    add_job(session, ("daily_partition", "other", "commit", -1), record_values(short()), "deferred")
    rows, _ = jobs_store.load_jobs(session, DAGS)
    assert states(rows) == {"running": 1}
    assert overview(rows, Filters(), time.time())["unreadable"] == 1
    assert detail(jobs_store.load_job(session, DAGS, KEY), time.time())["unreadable"] is True


def test_progress_is_found_with_its_record(session):
    """The newer one; of the same task instance, mapped ones apart."""
    now = time.time()
    written = record_values(short(service="kaleidoscope", total=100))
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
    statuses = {job["map_index"]: job["service_status"] for job in overview(rows, Filters(), now)["jobs"]}
    assert statuses == {0: "PROCESSING", 1: "AT 1"}
    assert (
        detail(jobs_store.load_job(session, DAGS, ("daily_partition", "run", "push", 1)), time.time())["job"]["done"]
        == 51
    )


@pytest.mark.parametrize("bad", ["text", 7, [], None, {"updated_at": "soon"}, {"updated_at": 9e12, "state": 7}])
def test_a_bad_progress_breaks_nothing(session, bad):
    """The record is shown alone."""
    add_job(session, KEY, record_values(short()), "deferred", progress={"updated_at": time.time()})
    session.execute(text("UPDATE xcom SET value = :value"), {"value": json.dumps(bad)})
    rows, _ = jobs_store.load_jobs(session, DAGS)
    assert states(rows) == {"running": 1}


def test_a_history_in_pieces(session):
    """All of them are read, of this task instance only."""
    for index in (0, 1):
        key = ("daily_partition", "run", "push", index)
        add_job(session, key, record_values(short(), 500 + index), "deferred")
    found = jobs_store.load_job(session, DAGS, ("daily_partition", "run", "push", 1))
    assert len(found.history) > 3
    texts = [event["text"] for event in detail(found, time.time())["history"] if event["what"] == "rejected"]
    assert len(texts) == 501
    assert texts[-1].startswith("row 500:")


@pytest.mark.parametrize("bad", ["", "{", "nonsense", "7", '{"a": 1}', '[["\\ud800", 1e999, {}]]', "\U0001f9ea" * 2000])
def test_a_bad_piece_breaks_nothing(session, bad):
    """The others are shown."""
    add_job(session, KEY, record_values(short(), 500), "deferred")
    change = "UPDATE task_state_store SET value = :value WHERE key = 'sluice_record_history_1'"
    assert session.execute(text(change), {"value": bad}).rowcount == 1
    shown = detail(jobs_store.load_job(session, DAGS, KEY), time.time())
    assert shown["job"]["state"] == "running"
    assert 300 < len(shown["history"]) < 504


def test_a_record_without_a_history(session):
    """Is shown without one."""
    written = {key: value for key, value in record_values(short()).items() if "history" not in key}
    add_job(session, KEY, written, "deferred")
    shown = detail(jobs_store.load_job(session, DAGS, KEY), time.time())
    assert (shown["job"]["state"], shown["history"]) == ("running", [])


def test_a_task_that_is_gone(session):
    """Its job is still known; nobody polls it."""
    add_job(session, KEY, record_values(short()), "gone")
    rows, _ = jobs_store.load_jobs(session, DAGS)
    assert (rows[0].task_state, states(rows)) == ("removed", {"orphaned": 1})


def test_since_keeps_what_is_active(session):
    """A job that has been running for a week was submitted long ago, and its record was last written then."""
    week = time.time() - 7 * 86_400
    add_job(session, ("daily_partition", "running", "commit", -1), record_values(short(at=week)), "deferred")
    add_job(session, ("daily_partition", "over", "commit", -1), record_values(short("succeeded", at=week)), "success")
    add_job(session, ("daily_partition", "new", "commit", -1), record_values(short("succeeded")), "success")
    rows, _ = jobs_store.load_jobs(session, DAGS, time.time() - 3600)
    assert {row.run_id for row in rows} == {"running", "new"}


def test_more_than_are_read(session, monkeypatch):
    """Active ones are not lost among newer ones that are over; that there are more is said."""
    monkeypatch.setattr(jobs_store, "MOST", 3)
    now = time.time()
    add_job(session, ("daily_partition", "running", "commit", -1), record_values(short(at=now - 9e5)), "deferred")
    for n in range(5):
        add_job(
            session,
            ("daily_partition", f"{n}", "commit", -1),
            record_values(short("succeeded", at=now - 900 + n)),
            "success",
        )
    rows, more = jobs_store.load_jobs(session, DAGS)
    assert more is True
    assert {row.run_id for row in rows} == {"running", "4", "3"}


def test_records_before_3_3(session, statements):
    """There they are XComs."""
    where = jobs_store.records(store=False)
    add_job(session, KEY, record_values(short(), 300), "deferred", in_xcom=True)
    twice = {key: json.dumps(value) for key, value in record_values(short(), 20).items()}
    add_job(session, ("daily_partition", "twice", "commit", -1), twice, "deferred", in_xcom=True)
    session.flush()
    statements.clear()
    rows, _ = jobs_store.load_jobs(session, DAGS, where=where)
    assert len(statements) == 1
    assert states(rows) == {"running": 2}
    for key, events in ((KEY, 304), (("daily_partition", "twice", "commit", -1), 24)):
        assert len(detail(jobs_store.load_job(session, DAGS, key, where=where), time.time())["history"]) == events
    assert jobs_store.load_jobs(session, DAGS) == ([], False)
