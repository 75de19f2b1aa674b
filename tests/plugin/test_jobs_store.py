"""Records in a real database: counted and selected in one statement, of readable DAGs only, whatever the values are."""

from __future__ import annotations

import json
import random
import time
from contextlib import nullcontext

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.orm import Session

from seeded_jobs import add_dags, add_job, record_values, seed, summary
from sluice_provider.plugin import jobs_query, jobs_store
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


def page_of(session, readable=DAGS, records=None, now=None, **filters):
    """The page as the browser gets it."""
    selected = Filters(**filters)
    return job_list(jobs_store.load_page(session, readable, selected, records=records), selected, now or time.time())


def states(session, **options):
    """The number of jobs by state."""
    return {state: count for state, count in page_of(session, **options)["counts"].items() if count}


def runs(session, **options):
    """The runs of the jobs of the page, in its order."""
    return [job["run_id"] for job in page_of(session, **options)["jobs"]]


def detail_of(session, key, dags=DAGS, **options):
    """The tab of a task instance."""
    stored = jobs_store.load_job(session, dags, key, **options)
    return None if stored is None else job_detail(*stored, time.time())


# --- statements


@pytest.mark.parametrize("jobs", [3, 300])
def test_number_of_statements(database, statements, jobs):
    """Two for a page, however many jobs there are, and three for a job."""
    with Session(database) as session:
        seed(session, jobs)
    with Session(database) as session:
        for filters in ({}, {"page": 2, "size": 2}, {"states": {"failed"}}, {"since": time.time() - 86_400}):
            statements.clear()
            shown = page_of(session, **filters)
            assert len(statements) == (2 if shown["jobs"] or shown["timeline"] else 1)
        shown = page_of(session)
        statements.clear()
        first = shown["jobs"][0]
        assert jobs_store.load_job(session, DAGS, (first["dag_id"], first["run_id"], first["task_id"], -1))
    assert len(statements) == 3
    assert (shown["total"], shown["unreadable"]) == (jobs, 0)


def test_only_heads_of_one_page_are_read(database, statements):
    """And of what an edited one holds, only the beginning."""
    with Session(database) as session:
        add_dags(session, DAGS)
        for n in range(40):
            add_job(session, key(f"run_{n}"), record_values(job_summary(ids=["i" * 90] * 100), 200), "deferred")
        add_job(session, KEY, record_values(job_summary()), "deferred", head_text='"' + "x" * 900_000 + '"')
        session.commit()
        statements.clear()
        shown = page_of(session, size=10)
    assert "sluice_record'" not in statements[0]
    assert "substr" in statements[1]
    assert (shown["total"], len(shown["jobs"])) == (41, 10)
    assert {job["id_count"] for job in shown["jobs"]} <= {0, 100}


def test_jobs_of_other_dags_are_not_read(session):
    """Neither in the list nor as a single job."""
    for dag_id in DAGS:
        add_job(session, (dag_id, "run", "commit", -1), record_values(job_summary()), "deferred")
    shown = page_of(session, ["label_new_files"])
    assert (shown["dags"], shown["total"], [job["dag_id"] for job in shown["jobs"]]) == (
        ["label_new_files"],
        1,
        ["label_new_files"],
    )
    assert [bar["dag_id"] for bar in shown["timeline"]] == ["label_new_files"]
    assert page_of(session, [])["total"] == 0
    assert detail_of(session, KEY, ["label_new_files"]) is None
    assert detail_of(session, KEY)["job"]["dag_id"] == "daily_partition"


def test_other_keys_of_the_store_are_not_records(session):
    """Tasks may store other values."""
    add_job(session, KEY, record_values(job_summary()), "deferred")
    session.execute(text("UPDATE task_state_store SET key = 'cursor_' || key"))
    assert page_of(session)["total"] == 0
    assert detail_of(session, KEY) is None


# --- the present state of a job


def progress(state, at, **fields):
    """What a trigger wrote."""
    return {"updated_at": at, "state": state, "service_status": "", "counts": {}, "ended_at": at, **fields}


# state in the record, in a newer progress or None, of the task; the state that is shown, and whether it is polled
STATES = [
    ("running", None, "deferred", "running", True),
    ("running", None, "up_for_retry", "running", True),
    ("running", None, None, "running", True),
    ("running", None, "failed", "orphaned", False),
    ("running", None, "success", "orphaned", False),
    ("running", None, "removed", "orphaned", False),
    ("running", None, "gone", "orphaned", False),
    ("submitting", None, "running", "submitting", True),
    ("submitting", None, "failed", "outcome_unknown", False),
    ("not_found", None, "up_for_reschedule", "not_found", True),
    ("not_found", None, "failed", "not_found", False),
    ("cancelling", None, "deferred", "cancelling", True),
    ("cancelling", None, "failed", "cancelling", False),
    ("submitted", None, "success", "submitted", False),
    ("outcome_unknown", None, "failed", "outcome_unknown", False),
    ("running", "running", "deferred", "running", True),
    ("running", "succeeded", "deferred", "succeeded", False),
    ("running", "cancelled", "failed", "cancelled", False),
    ("running", "cancelling", "failed", "cancelling", False),
    ("running", "not_found", "deferred", "not_found", True),
    ("not_found", "running", "deferred", "running", True),
    ("running", "running", "failed", "orphaned", False),
    ("succeeded", "running", "success", "succeeded", False),
    ("failed", "succeeded", "up_for_retry", "failed", False),
    ("of_a_newer_one", None, "running", "running", False),
]


def test_the_state_that_is_shown(session):
    """Depends on the record, its task, and what a trigger wrote since. The tab agrees with the list."""
    now = time.time()
    for number, (recorded, posted, task, _, _) in enumerate(STATES):
        since = progress(posted, now - 40) if posted else None
        written = record_values(job_summary(recorded, at=now - 200, updated_at=now - 50))
        add_job(session, key(f"{number}"), written, task, progress=since)
    shown = {int(job["run_id"]): job for job in page_of(session)["jobs"]}
    found = [(shown[n]["state"], shown[n]["ended_at"] is None) for n in range(len(STATES))]
    assert found == [(state, polled) for *_, state, polled in STATES]
    for number in shown:
        assert detail_of(session, key(f"{number}"))["job"]["state"] == shown[number]["state"]
    expected = [state for *_, state, _ in STATES]
    assert states(session) == {state: expected.count(state) for state in expected}
    for state in set(expected):
        assert set(runs(session, states={state})) == {f"{n}" for n, each in enumerate(expected) if each == state}


def test_when_a_job_ended(session):
    """By the record, by the trigger, or when its task ended."""
    now = time.time()
    add_job(session, key("record"), record_values(job_summary("failed", at=now - 90, ended_at=now - 80)), "failed")
    short = job_summary(at=now - 90, updated_at=now - 70)
    add_job(session, key("trigger"), record_values(short), "failed", progress=progress("cancelled", now - 60))
    add_job(session, key("task"), record_values(short), "failed")
    add_job(session, key("nobody"), record_values(short), "gone")
    ended = {job["run_id"]: round(job["ended_at"] - now) for job in page_of(session)["jobs"]}
    assert ended == {"record": -80, "trigger": -60, "task": -70, "nobody": -70}


@pytest.mark.parametrize("age", [0, 1])
def test_older_progress_is_not_used(session, age):
    """The task has resumed since, and its record is newer."""
    now = time.time()
    posted = progress("succeeded", now - 50 - age, done=3)
    add_job(session, KEY, record_values(job_summary(updated_at=now - 50 + age, done=7)), "running", progress=posted)
    [job] = page_of(session)["jobs"]
    assert (job["state"], job["done"]) == (("succeeded", 3) if age == 0 else ("running", 7))


def test_progress_of_a_mapped_task(session):
    """Each task instance has its own."""
    now = time.time()
    for index, state in enumerate(("running", "failed")):
        written = record_values(job_summary(at=now - 200, updated_at=now - 100))
        posted = progress(state, now - 5, service_status=f"AT {index}", done=50 + index)
        add_job(session, ("daily_partition", "run", "push", index), written, "deferred", progress=posted)
    found = {job["map_index"]: (job["state"], job["service_status"]) for job in page_of(session)["jobs"]}
    assert found == {0: ("running", "AT 0"), 1: ("failed", "AT 1")}
    assert detail_of(session, ("daily_partition", "run", "push", 1))["job"]["done"] == 51


# --- filters and pages, against the same in Python


def test_filters_and_pages(session):
    """Every combination gives what a loop over all jobs gives: total, counts, names, order, pages, timeline."""
    dice, now = random.Random(5), time.time()
    jobs = []
    for number in range(120):
        dag_id, service = dice.choice(DAGS), dice.choice(["kili", "finspace", "echo.service"])
        state = dice.choice(["running", "failed", "succeeded", "cancelled"])
        at = now - dice.choice([60, 600, 6000, 60_000])
        ended_at = None if state == "running" else at + dice.choice([1, 50])
        short = {**job_summary(state, at=at, ended_at=ended_at), "service": service}
        add_job(session, (dag_id, f"{number}", "commit", -1), record_values(short), "deferred")
        jobs.append((round(at, 3), number, dag_id, service, state, ended_at or now + 1))
    jobs.sort(reverse=True)
    for _ in range(60):
        filters = {
            "dags": frozenset(dice.sample(DAGS, dice.randrange(3))),
            "services": frozenset(dice.sample(["kili", "finspace", "echo.service", "no"], dice.randrange(3))),
            "states": frozenset(dice.sample(["running", "failed", "succeeded"], dice.randrange(3))),
            "since": dice.choice([0.0, now - 1000, now - 10_000]),
            "size": dice.choice([5, 50, 200]),
            "page": dice.randrange(1, 5),
        }
        assert_as_a_loop_does(page_of(session, now=now, **filters), jobs, filters)


def assert_as_a_loop_does(shown, jobs, filters):
    """What is shown of these jobs: submitted at, number, DAG, service, state, ended at."""

    def has(name, value):
        return not filters[name] or value in filters[name]

    recent = [job for job in jobs if job[5] >= filters["since"]]
    of_dags = [job for job in recent if has("dags", job[2])]
    of_services = [job for job in of_dags if has("services", job[3])]
    selected = [f"{job[1]}" for job in of_services if has("states", job[4])]
    start = (filters["page"] - 1) * filters["size"]
    assert shown["total"] == len(selected)
    assert shown["dags"] == sorted({job[2] for job in recent})
    states = [job[4] for job in of_services]
    assert shown["counts"] == {state: states.count(state) for state in shown["counts"]}
    services = [job[3] for job in of_dags]
    assert all(each["count"] == services.count(each["name"]) for each in shown["services"])
    assert [job["run_id"] for job in shown["jobs"]] == selected[start : start + filters["size"]]
    assert [bar["run_id"] for bar in shown["timeline"]] == selected[:80]
    assert shown["active"] is any(job[4] == "running" for job in of_services)


def test_since_includes_active_jobs(session):
    """A job may have been running for a week, and its record was last written when it was submitted."""
    now = time.time()
    week_ago = now - 7 * 86_400
    add_job(session, key("running"), record_values(job_summary(at=week_ago)), "deferred")
    add_job(session, key("orphaned"), record_values(job_summary(at=week_ago)), "failed")
    add_job(session, key("over"), record_values(job_summary("succeeded", at=week_ago)), "success")
    posted = progress("cancelled", now - 9000)
    add_job(session, key("cancelled"), record_values(job_summary(at=week_ago)), "failed", progress=posted)
    add_job(session, key("new"), record_values(job_summary("succeeded")), "success")
    assert set(runs(session, since=now - 3600)) == {"running", "new"}
    assert set(runs(session, since=now - 10_000)) == {"running", "new", "cancelled"}


# --- untrusted values


def set_line(session, run_id, value):
    """As a user does who edits the task state store."""
    change = "UPDATE task_state_store SET value = :value WHERE key = 'sluice_record_state' AND run_id = :run_id"
    assert session.execute(text(change), {"value": value, "run_id": run_id}).rowcount == 1


LINE = "0001764374400.000 0000000000000.000 running         kili"
UNREADABLE_LINES = [
    "",
    '""',
    "null",
    "{",
    '"running"',
    "9" * 400,
    '"' + "9" * 400 + '"',
    '"\\ud800 0001764374400.000 running kili"',
    "\U0001f9ea" * 2000,
    f'"{LINE[:40]}"',
    f'" {LINE}"',
    f" {LINE}",
    json.dumps(["0001764374400.000", LINE]),
    "%" * 60,
]
ODD_LINES = [
    f'"{LINE.replace("0001764374400", "9" * 13)}"',
    f'"{LINE.replace("0001764374400", "-001764374400")}"',
    f'"{LINE.replace("0001764374400.000", "1e99999999999.nan")}"',
    f'"{LINE.replace("0000000000000.000", "xxxxxxxxxxxxx.xxx")}"',
    f'"{LINE.replace("0000000000000", "9" * 13)}"',
    f'"{LINE.replace("running", "waiting")}"',
    f'"{LINE}{"9" * 400}"',
    f'"{LINE}\U0001f9ea\\ud800\\"<b>"',
    f'"{LINE} kili finspace"',
]


@pytest.mark.parametrize("value", UNREADABLE_LINES, ids=range(len(UNREADABLE_LINES)))
def test_an_unreadable_line_is_counted(session, value):
    """It breaks nothing, and the others are shown."""
    add_job(session, KEY, record_values(job_summary()), "deferred")
    add_job(session, key("other"), record_values(job_summary()), "deferred")
    set_line(session, "run", value)
    for filters in ({}, {"since": time.time() - 60}, {"states": {"running"}}, {"page": 2, "size": 1}):
        shown = page_of(session, **filters)
        assert (shown["total"], shown["unreadable"]) == (1, 1)
    assert states(session) == {"running": 1}
    assert detail_of(session, KEY)["unreadable"] is True


@pytest.mark.parametrize("value", ODD_LINES, ids=range(len(ODD_LINES)))
def test_an_odd_line_breaks_nothing(session, value):
    """Its columns are in place, but not what is in them: it is listed and can be sent to a browser."""
    add_job(session, KEY, record_values(job_summary()), "deferred")
    add_job(session, key("other"), record_values(job_summary()), "deferred")
    set_line(session, "run", value)
    for filters in ({}, {"since": time.time() - 60}, {"states": {"running"}}, {"page": 2, "size": 1}):
        shown = page_of(session, **filters)
        assert (shown["total"], shown["unreadable"]) == (2, 0)
        assert json.dumps(shown, allow_nan=False, ensure_ascii=False).encode()
    assert len(page_of(session)["jobs"]) == 2
    assert detail_of(session, KEY)["job"] is not None


@pytest.mark.parametrize(
    "value", ["", "{", "nonsense", '{"summary": NaN}', '{"summary": "\\u0000"}', "\U0001f9ea" * 2000]
)
def test_an_unreadable_head_breaks_nothing(session, value):
    """The job is counted, and its row says that its record cannot be read."""
    add_job(session, KEY, record_values(job_summary()), "deferred", head_text=value)
    add_job(session, key("other"), record_values(job_summary()), "deferred")
    assert states(session) == {"running": 2}
    messages = {job["run_id"]: job["message"] for job in page_of(session)["jobs"]}
    assert "cannot be read" in messages["run"]
    assert messages["other"] == ""
    assert detail_of(session, KEY)["unreadable"] is True


@pytest.mark.parametrize("deleted", ["sluice_record", "sluice_record_state"])
def test_half_a_record(session, deleted):
    """A user may delete one key: without its line a record is not listed."""
    add_job(session, KEY, record_values(job_summary()), "deferred")
    session.execute(text("DELETE FROM task_state_store WHERE key = :key"), {"key": deleted})
    assert page_of(session)["total"] == (1 if deleted == "sluice_record" else 0)


@pytest.mark.parametrize(
    "value",
    [
        "text",
        7,
        [],
        None,
        {},
        ["line", 7],
        [LINE],
        [7, {}],
        [LINE + "\\ud800", {"updated_at": 9e12}],
        [LINE, {"done": "9"}],
    ],
)
def test_unreadable_progress_breaks_nothing(session, value):
    """The record is shown without it."""
    add_job(session, KEY, record_values(job_summary()), "deferred", progress=progress("running", time.time()))
    session.execute(text("UPDATE xcom SET value = :value"), {"value": json.dumps(value)})
    assert states(session) == {"running": 1}
    assert detail_of(session, KEY)["job"]["state"] == "running"


# --- histories


def test_a_history_in_segments(session):
    """All of them are read, of this task instance only."""
    for index in (0, 1):
        key = ("daily_partition", "run", "push", index)
        add_job(session, key, record_values(job_summary(), 500 + index), "deferred")
    key = ("daily_partition", "run", "push", 1)
    assert len(jobs_store.load_job(session, DAGS, key).details.history) > 3
    texts = [event["text"] for event in detail_of(session, key)["history"] if event["type"] == "rejected"]
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


def test_records_before_airflow_3_3(session, statements):
    """They are XComs."""
    records = jobs_query.record_table(use_store=False)
    now = time.time()
    add_job(session, KEY, record_values(job_summary(), 300), "deferred", in_xcom=True)
    add_job(session, key("over"), record_values(job_summary("failed", at=now - 9000)), "failed", in_xcom=True)
    waiting = record_values(job_summary(at=now - 300, updated_at=now - 100))
    add_job(session, key("ended"), waiting, "deferred", in_xcom=True, progress=progress("succeeded", now - 50))
    add_job(session, key("orphaned"), waiting, "failed", in_xcom=True)
    session.flush()
    statements.clear()
    assert states(session, records=records) == {"running": 1, "failed": 1, "succeeded": 1, "orphaned": 1}
    assert len(statements) == 2
    assert runs(session, records=records, states={"succeeded"}) == ["ended"]
    assert set(runs(session, records=records, since=now - 3600)) == {"run", "ended", "orphaned"}
    assert runs(session, records=records, page=4, size=1) == ["over"]
    assert len(detail_of(session, KEY, records=records)["history"]) == 304
    assert page_of(session)["total"] == 0
