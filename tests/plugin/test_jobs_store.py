"""Journals in a real database: found in one statement, of the DAGs that one may read, whatever somebody put there."""

from __future__ import annotations

import json
import random
import time
from contextlib import nullcontext

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.orm import Session

from databases import postgres
from seeded_jobs import add_dags, add_job, card, journal, seed
from sluice_provider.plugin import jobs_store
from sluice_provider.plugin.jobs_view import Wanted, detail, overview

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
    """One session in it; what it asked is in `asked`."""
    with Session(database) as session:
        add_dags(session, DAGS)
        yield session


@pytest.fixture
def asked(database):
    """Every statement."""
    statements = []
    event.listen(database, "before_cursor_execute", lambda *args: statements.append(args[2]))
    return statements


def a_card(state="running", *, system="finspace", at=None, **fields):
    """What a journal says in short."""
    made = card(system, "changeset", state, at or time.time() - 100, 50, random.Random(1))
    return {**made, **fields}


def states(rows):
    """How many there are in which state."""
    counts = overview(rows, Wanted(), time.time())["counts"]
    return {state: count for state, count in counts.items() if count}


@pytest.mark.parametrize("jobs", [3, 300])
def test_one_statement(database, asked, jobs):
    """However many jobs there are."""
    with Session(database) as session:
        seed(session, jobs)
    asked.clear()
    with Session(database) as session:
        rows, more = jobs_store.newest(session, DAGS)
        assert len(asked) == 1
        assert jobs_store.one(session, DAGS, rows[0][:4]) is not None
    assert len(asked) == 2
    assert (len(rows), more) == (jobs, False)
    assert overview(rows, Wanted(), time.time())["unreadable"] == 0


def test_journals_are_not_read_whole(database, asked):
    """Unless the card cannot be seen in the beginning; those are read together."""
    with Session(database) as session:
        add_dags(session, DAGS)
        for n in range(30):
            add_job(session, ("daily_partition", f"run_{n}", "commit", -1), journal(a_card(), 200), "deferred")
        long = journal(a_card(ids=["i" * 36] * 100), 0)
        for n in range(30, 40):
            add_job(session, ("daily_partition", f"run_{n}", "commit", -1), long, "deferred")
        last = {name: long[name] for name in reversed(long)}
        add_job(session, ("daily_partition", "run_40", "commit", -1), last, "deferred")
        session.commit()
        asked.clear()
        rows, _ = jobs_store.newest(session, DAGS)
    assert len(asked) == 2
    assert states(rows) == {"running": 41}
    assert max(len(row.journal) for row in rows if row.run_id == "run_3") == jobs_store.HEAD


def test_only_readable_dags(session):
    """Neither in the list nor alone."""
    for dag_id in DAGS:
        add_job(session, (dag_id, "run", "commit", -1), journal(a_card()), "deferred")
    rows, _ = jobs_store.newest(session, ["label_new_files"])
    assert [row.dag_id for row in rows] == ["label_new_files"]
    assert jobs_store.newest(session, []) == ([], False)
    assert jobs_store.one(session, ["label_new_files"], KEY) is None
    assert jobs_store.one(session, DAGS, KEY).dag_id == "daily_partition"


def test_other_rows_of_the_store_are_not_journals(session):
    """Tasks keep more in it."""
    add_job(session, KEY, journal(a_card()), "deferred")
    session.execute(text("UPDATE task_state_store SET key = 'cursor'"))
    assert jobs_store.newest(session, DAGS)[0] == []
    assert jobs_store.one(session, DAGS, KEY) is None


@pytest.mark.parametrize("bad", ["", "{", "nonsense", '{"card": NaN}', '{"card": "\\u0000"}', "\U0001f9ea" * 2000])
def test_a_bad_row_breaks_nothing(session, bad):
    """The good one beside it is shown."""
    add_job(session, KEY, {}, "deferred", text=bad)
    add_job(session, ("daily_partition", "other", "commit", -1), journal(a_card()), "deferred")
    rows, _ = jobs_store.newest(session, DAGS)
    assert states(rows) == {"running": 1}
    assert overview(rows, Wanted(), time.time())["unreadable"] == 1
    assert detail(jobs_store.one(session, DAGS, KEY), time.time())["unreadable"] is True


def test_progress_is_found_with_its_journal(session):
    """The newer one; of the same task instance, mapped ones apart."""
    now = time.time()
    short = a_card(system="kaleidoscope", total=100)
    for index in (0, 1):
        told = {
            "at": now - (5 if index else 5000),
            "state": "running",
            "word": f"AT {index}",
            "counts": {},
            "done": 50 + index,
        }
        add_job(session, ("daily_partition", "run", "push", index), journal(short), "deferred", progress=told)
    rows, _ = jobs_store.newest(session, DAGS)
    words = {job["map_index"]: job["word"] for job in overview(rows, Wanted(), now)["jobs"]}
    assert words == {0: "PROCESSING", 1: "AT 1"}
    assert (
        detail(jobs_store.one(session, DAGS, ("daily_partition", "run", "push", 1)), time.time())["job"]["done"] == 51
    )


@pytest.mark.parametrize("bad", ["text", 7, [], None, {"at": "soon"}, {"at": 9e12, "state": 7}])
def test_a_bad_progress_breaks_nothing(session, bad):
    """The journal is shown alone."""
    add_job(session, KEY, journal(a_card()), "deferred", progress={"at": time.time()})
    session.execute(text("UPDATE xcom SET value = :value"), {"value": json.dumps(bad)})
    rows, _ = jobs_store.newest(session, DAGS)
    assert states(rows) == {"running": 1}


def test_a_task_that_is_gone(session):
    """Its job is still known; nobody watches it."""
    add_job(session, KEY, journal(a_card()), "gone")
    rows, _ = jobs_store.newest(session, DAGS)
    assert (rows[0].task_state, states(rows)) == ("removed", {"unwatched": 1})


def test_since_keeps_what_goes_on(session):
    """A job that has been running for a week was asked for long ago, and its journal was last written then."""
    week = time.time() - 7 * 86_400
    add_job(session, ("daily_partition", "running", "commit", -1), journal(a_card(at=week)), "deferred")
    add_job(session, ("daily_partition", "over", "commit", -1), journal(a_card("succeeded", at=week)), "success")
    add_job(session, ("daily_partition", "new", "commit", -1), journal(a_card("succeeded")), "success")
    rows, _ = jobs_store.newest(session, DAGS, time.time() - 3600)
    assert {row.run_id for row in rows} == {"running", "new"}


def test_more_than_are_looked_at(session, monkeypatch):
    """Those that go on are not lost among newer ones that are over; that there are more is said."""
    monkeypatch.setattr(jobs_store, "MOST", 3)
    now = time.time()
    add_job(session, ("daily_partition", "running", "commit", -1), journal(a_card(at=now - 9e5)), "deferred")
    for n in range(5):
        add_job(
            session,
            ("daily_partition", f"{n}", "commit", -1),
            journal(a_card("succeeded", at=now - 900 + n)),
            "success",
        )
    rows, more = jobs_store.newest(session, DAGS)
    assert more is True
    assert {row.run_id for row in rows} == {"running", "4", "3"}


def test_journals_before_3_3(session, asked):
    """There they are XComs."""
    where = jobs_store.place(store=False)
    add_job(session, KEY, journal(a_card(), 50), "deferred", in_xcom=True)
    add_job(
        session, ("daily_partition", "twice", "commit", -1), json.dumps(journal(a_card())), "deferred", in_xcom=True
    )
    session.flush()
    asked.clear()
    rows, _ = jobs_store.newest(session, DAGS, where=where)
    assert len(asked) == 1
    assert states(rows) == {"running": 2}
    told = detail(jobs_store.one(session, DAGS, KEY, where=where), time.time())
    assert len(told["history"]) == 54
    assert jobs_store.newest(session, DAGS) == ([], False)
