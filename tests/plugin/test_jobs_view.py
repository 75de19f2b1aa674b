"""The Remote jobs page as pure functions: what is shown of what tasks wrote, and of values that nobody should write."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest

from sluice_provider.jobs.record import JobRecord
from sluice_provider.jobs.storage import KEY, RecordStorage
from sluice_provider.plugin.jobs_view import (
    STATES,
    Filters,
    Row,
    effective_state,
    job_detail,
    job_list,
    parse_row,
    to_web_url,
)

NOW = 1_800_000_000.0
SUMMARY = {
    "service": "kaleidoscope",
    "conn_id": "kaleidoscope_default",
    "job_type": "import",
    "noun": "import",
    "ids": ["imp-1"],
    "id_count": 1,
    "url": "https://kaleidoscope.example.com/imports/imp-1",
    "state": "running",
    "service_status": "PROCESSING",
    "message": "",
    "counts": {"created": 7},
    "done": 7,
    "total": 10,
    "submitted_at": NOW - 60,
    "ended_at": None,
    "updated_at": NOW - 50,
    "resubmissions": 0,
}


def row(summary=SUMMARY, *, number=0, **fields):
    """A row whose head is complete and in the usual order."""
    head = json.dumps({"summary": summary, "history": 0, "version": 1, "fingerprint": "f", "open": []})
    usual = {"task_state": "deferred", "try_number": 1, "total_tries": 3, "head": head}
    written_at = datetime.fromtimestamp(NOW - 50, timezone.utc)
    return Row("a_dag", f"run_{number}", "push", -1, **{"written_at": written_at, **usual, **fields})


def page(*rows, **filters):
    """The page that shows these rows."""
    return job_list(rows, Filters(**filters), NOW)


def progress(**fields):
    """The progress that a trigger wrote."""
    names = ("state", "service_status", "message", "counts", "ids")
    return json.dumps({**{name: SUMMARY[name] for name in names}, **fields})


# --- one job


def test_the_page_reads_what_a_task_writes():
    """The head begins with the summary, so the page does not need the rest."""
    written = {}
    storage = RecordStorage(type("Values", (), {"get": written.get, "set": written.__setitem__})())
    storage.save(JobRecord("f" * 64, summary={**SUMMARY, "ids": [f"imp-{n}" for n in range(300)]}))
    head = json.dumps(written[KEY])
    [job] = page(row(head=head[: head.index("]") + 400]))["jobs"]
    assert (job["id_count"], job["service_status"], job["resubmissions"]) == (300, "PROCESSING", 0)


def test_submitted_without_waiting():
    """A task that does not wait for completion leaves no orphaned job."""
    assert effective_state({"state": "submitted"}, "success") == "submitted"


def test_a_job():
    """Everything that its row shows."""
    [job] = page(row())["jobs"]
    assert (job["title"], job["noun"], job["ids"], job["id_count"]) == ("Kaleidoscope", "import", ["imp-1"], 1)
    assert (job["state"], job["service_status"], job["done"], job["total"]) == ("running", "PROCESSING", 7, 10)
    assert (job["dag_id"], job["run_id"], job["task_id"], job["map_index"]) == ("a_dag", "run_0", "push", -1)
    assert (job["try_number"], job["total_tries"], job["task_state"]) == (1, 3, "deferred")
    assert (job["submitted_at"], job["ended_at"], job["updated_at"]) == (NOW - 60, None, NOW - 50)


def test_newer_progress_is_shown():
    """While a task is deferred, its record is not updated."""
    [job] = page(row(progress=progress(updated_at=NOW - 5, done=9, total=10, service_status="SAVING")))["jobs"]
    assert (job["done"], job["service_status"], job["updated_at"], job["submitted_at"]) == (
        9,
        "SAVING",
        NOW - 5,
        NOW - 60,
    )


@pytest.mark.parametrize("at", [NOW - 51, NOW - 50, None, "late", True, 10**400])
def test_older_progress_is_not_shown(at):
    """The task has resumed and updated its record. Progress without a time is not newer."""
    [job] = page(row(progress=progress(updated_at=at, done=3)))["jobs"]
    assert job["done"] == 7


@pytest.mark.parametrize("state", ["success", "failed", "skipped", "removed", "upstream_failed"])
def test_orphaned(state):
    """The task is over and its job was last seen running; it was last polled when the task ended."""
    ended_at = datetime.fromtimestamp(NOW - 20, timezone.utc)
    [job] = page(row(task_state=state, task_ended_at=ended_at))["jobs"]
    assert (job["state"], job["ended_at"]) == ("orphaned", NOW - 20)


@pytest.mark.parametrize("state", ["deferred", "running", "up_for_retry", "queued", "restarting", None])
def test_not_orphaned(state):
    """The task polls its job, or will when it is retried."""
    [job] = page(row(task_state=state))["jobs"]
    assert job["state"] == "running"


def test_outcome_unknown():
    """The task ended before the request had a response, so a user must check whether there is a job."""
    [job] = page(row({**SUMMARY, "state": "submitting"}, task_state="failed"))["jobs"]
    assert job["state"] == "outcome_unknown"


def test_a_job_that_was_cancelled_with_its_task():
    """The trigger's progress is newer than the record, whatever the state of the task."""
    [job] = page(row(progress=progress(updated_at=NOW - 5, state="cancelled"), task_state="failed"))["jobs"]
    assert job["state"] == "cancelled"


def test_a_job_whose_cancellation_was_requested():
    """The service still runs it, and the trigger will not poll it again, as its task is over."""
    posted = progress(updated_at=NOW - 5, history=[[NOW - 6, "cancel", "requested"]])
    ended_at = datetime.fromtimestamp(NOW - 7, timezone.utc)
    shown = page(row(progress=posted, task_state="failed", task_ended_at=ended_at))
    assert (shown["jobs"][0]["state"], shown["counts"]["cancelling"]) == ("cancelling", 1)


@pytest.mark.parametrize(("task_state", "active"), [("deferred", True), ("up_for_retry", True), ("failed", False)])
def test_a_job_that_is_being_cancelled(task_state, active):
    """A task that was cleared waits for the end of its job; one that was marked failed does not."""
    shown = page(row({**SUMMARY, "state": "cancelling"}, task_state=task_state))
    assert (shown["jobs"][0]["state"], shown["jobs"][0]["ended_at"] is None) == ("cancelling", active)
    assert shown["active"] is active


def test_counts_of_the_record_and_of_the_trigger():
    """The trigger has the service's counts, the record also what was sent."""
    summary = {**SUMMARY, "counts": {"sent": 9, "created": 1}}
    [job] = page(row(summary, progress=progress(updated_at=NOW - 5, counts={"created": 5})))["jobs"]
    assert job["counts"] == {"sent": 9, "created": 5}


def segments(*histories):
    """The segments of a history as the database returns them, in any order."""
    return tuple(json.dumps(list(history)) for history in histories)


def test_history_continues_in_the_progress():
    """Events of the record and of the trigger, by time; invalid ones are left out."""
    first = [[NOW - 60, "submitting", "x"], [NOW - 59, "submitted", "imp-1"], "what", [1], [None, "a", "b"]]
    posted = progress(updated_at=NOW - 5, history=[[NOW - 40, "status", "SAVING"]])
    shown = job_detail(row(history=segments(first), progress=posted), NOW)
    assert [event["type"] for event in shown["history"]] == ["submitting", "submitted", "status"]
    assert shown["job"]["conn_id"] == "kaleidoscope_default"
    assert shown["active"] is True


def test_history_in_segments():
    """In whatever order the database returns them; an event in two of them is shown once."""
    events = [[NOW + n, "status", f"{n} of 9"] for n in range(9)]
    posted = progress(updated_at=NOW, history=events[7:])
    shown = job_detail(row(history=segments(events[5:8], events[:3], [], events[3:6]), progress=posted), NOW)
    assert [[*event.values()] for event in shown["history"]] == events


def test_the_longest_history():
    """As long as tasks write it: the first segment, which is never overwritten, is shown."""
    written = {}
    record = JobRecord("f" * 64, summary=SUMMARY)
    storage = RecordStorage(type("Values", (), {"get": written.get, "set": written.__setitem__})())
    for n in range(3000):
        record = record.with_event(NOW + n, "rejected", f"row {n}")
    storage.save(record)
    stored = [json.dumps(value) for key, value in written.items() if key.startswith(f"{KEY}_history_")]
    shown = job_detail(row(history=tuple(stored)), NOW)["history"]
    assert len(stored) == 8
    assert (shown[0]["text"], shown[-1]["text"]) == ("row 0", "row 2999")


def test_a_history_that_is_too_long():
    """Only the latest events are shown."""
    shown = job_detail(row(history=segments([[NOW + n, "rejected", f"row {n}"] for n in range(5000)])), NOW)["history"]
    assert len(shown) == 2000
    assert shown[-1]["text"] == "row 4999"


# --- untrusted values

ANYTHING = (
    *(None, True, -1, 1e400, float("nan"), 1e300, 10**400, -(10**400), 2**70, 253_402_300_800),
    *("x" * 9999, "\ud800", "\U0001f9ea\x00", [], [[]], ["\ud800", 7], {}, {"a": {}}, {"\ud800": 10**400}),
)


@pytest.mark.parametrize(
    "head",
    [
        "",
        "{",
        "[]",
        "null",
        "NaN",
        '"text"',
        "{}",
        '{"summary": ',
        '{"summary": [1]}',
        '{"summary": null, "version": 1}',
        '{"summary": {"state": "running"',
        '{"summary": {"done": ' + "9" * 5000 + "}}",
        '{"version": 1, "open": []}',
        "[" * 100_000,
        '{"summary": ' + '{"a":' * 100_000,
    ],
)
def test_unreadable_records_are_counted(head):
    """And the others are shown."""
    shown = page(row(head=head), row(number=1))
    assert (shown["total"], shown["unreadable"]) == (1, 1)
    assert job_detail(row(head=head), NOW)["job"] is None


def encode(shown):
    """Strict JSON in UTF-8, as the web application sends it; fails where that would fail."""
    return json.dumps(shown, allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize("value", ANYTHING, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("name", [*SUMMARY])
def test_a_summary_with_anything_in_it(name, value):
    """Can be shown and sent to a browser."""
    for shown in (page(row({**SUMMARY, name: value})), job_detail(row({**SUMMARY, name: value}), NOW)):
        assert encode(shown)
    assert page(row({**SUMMARY, name: value}))["jobs"][0]["state"] in STATES


@pytest.mark.parametrize("name", [*SUMMARY])
def test_a_summary_without_a_field(name):
    """Another version may not have written it."""
    [job] = page(row({key: value for key, value in SUMMARY.items() if key != name}))["jobs"]
    assert job["state"] == "running"


@pytest.mark.parametrize("value", ANYTHING, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("name", ["updated_at", "state", "counts", "done", "history", "ids"])
def test_a_progress_with_anything_in_it(name, value):
    """Can be shown and sent to a browser."""
    posted = progress(**{"updated_at": NOW - 5, name: value})
    assert encode(job_detail(row(progress=posted), NOW))


@pytest.mark.parametrize(
    "text", ["[]", "{", "7", '"x"', '{"updated_at": 1e999}', '{"updated_at": 9e99, "state": [], "history": 7}']
)
def test_an_unreadable_progress(text):
    """Does not hide the record."""
    assert page(row(progress=text))["jobs"][0]["state"] == "running"
    assert encode(job_detail(row(progress=text), NOW))


@pytest.mark.parametrize("value", ANYTHING, ids=lambda value: repr(value)[:20])
def test_a_history_with_anything_in_it(value):
    """Segments of any shape, and events with anything in any place."""
    events = [[value, "status", "a"], [NOW, value, "b"], [NOW, "status", value], [NOW, "status", "c"], value]
    shown = job_detail(row(history=("{", "[" * 100_000, json.dumps(value), json.dumps(events))), NOW)
    assert encode(shown)
    assert [NOW, "status", "c"] in [[*event.values()] for event in shown["history"]]


def test_the_summary_may_be_anywhere():
    """PostgreSQL sorts the keys of an XCom, and an XCom may be JSON within JSON."""
    head = json.dumps({"version": 1, "history": 0, "summary": SUMMARY})
    assert parse_row(row(head=head)).state == "running"
    assert parse_row(row(head=json.dumps(head))).state == "running"
    events = json.dumps([[NOW, "submitted", "imp-1"]])
    assert len(job_detail(row(history=(json.dumps(events),)), NOW)["history"]) == 1


def test_how_many_jobs():
    """A summary has the first ids and their number."""
    [job] = page(row({**SUMMARY, "ids": ["a", "b", "c", "d"], "id_count": 300}))["jobs"]
    assert (job["ids"], job["id_count"]) == (["a", "b", "c"], 300)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.example/b?c=d#e", "https://a.example/b?c=d#e"),
        ("http://a.example", "http://a.example"),
        ("javascript:alert(1)", ""),
        ("JaVaScRiPt:alert(1)", ""),
        ("data:text/html,x", ""),
        ("//a.example", ""),
        ("/relative", ""),
        ("https://user:secret@a.example/", ""),
        ("https://[", ""),
        (7, ""),
    ],
)
def test_only_web_urls_become_links(url, shown):
    """A user who can edit the state store must not be able to run scripts in another user's browser."""
    assert to_web_url(url) == shown


# --- filters


def many():
    """Fifteen jobs of two services in three states, newest last."""
    combinations = [("kili", "running"), ("kili", "failed"), ("finspace", "succeeded")] * 5
    for n, (service, state) in enumerate(combinations):
        ended = None if state == "running" else NOW - 100 + n
        summary = {**SUMMARY, "service": service, "state": state, "submitted_at": NOW - 200 + n, "ended_at": ended}
        yield row(summary, number=n)._replace(dag_id=f"dag_{n % 2}")


def test_pages_are_newest_first():
    """Each job is on one page."""
    pages = [page(*many(), page=n, size=4)["jobs"] for n in (1, 2, 3, 4, 5)]
    assert [len(each) for each in pages] == [4, 4, 4, 3, 0]
    assert [job["run_id"] for each in pages for job in each] == [f"run_{n}" for n in reversed(range(15))]


def test_counts_are_of_all_states():
    """A filter by state does not change the counts; a filter by service does."""
    shown = page(*many(), states=frozenset({"failed"}))
    assert shown["total"] == 5
    assert {state: count for state, count in shown["counts"].items() if count} == {
        "running": 5,
        "failed": 5,
        "succeeded": 5,
    }
    kili = page(*many(), services=frozenset({"kili"}))
    assert (kili["total"], kili["counts"]["succeeded"], kili["counts"]["failed"]) == (10, 0, 5)


def test_names_for_the_filters():
    """All known services, others that were found, and all DAGs whatever the filters are."""
    shown = page(*many(), row({**SUMMARY, "service": "echo"}), dags=frozenset({"dag_1"}))
    assert shown["dags"] == ["a_dag", "dag_0", "dag_1"]
    assert shown["total"] == 7
    services = {each["name"]: each["count"] for each in shown["services"]}
    assert list(services) == ["kaleidoscope", "kili", "liquid_decisions", "finspace"]
    assert page(row({**SUMMARY, "service": "echo"}))["services"][-1] == {"name": "echo", "title": "echo", "count": 1}


def test_since():
    """Jobs that were active in that time, however long ago they were submitted."""
    long_ago = row({**SUMMARY, "submitted_at": NOW - 9e5}, number=1)
    finished = row({**SUMMARY, "state": "succeeded", "submitted_at": NOW - 9e5, "ended_at": NOW - 8e5}, number=2)
    just_finished = row({**SUMMARY, "state": "succeeded", "submitted_at": NOW - 9e5, "ended_at": NOW - 5}, number=3)
    shown = page(long_ago, finished, just_finished, since=NOW - 60)
    assert {job["run_id"] for job in shown["jobs"]} == {"run_1", "run_3"}


def test_whether_anything_is_active():
    """So the page knows whether to refresh. Only the selected services count."""
    assert page(*many())["active"] is True
    assert page(*many(), services=frozenset({"finspace"}))["active"] is False
    assert page()["active"] is False
    just_finished = row({**SUMMARY, "state": "failed", "ended_at": NOW - 20})
    assert page(just_finished)["active"] is True
    assert job_detail(just_finished, NOW)["active"] is True
    assert job_detail(just_finished, NOW + 20)["active"] is False


def test_the_timeline_shows_the_latest_jobs():
    """Of the selected ones, on all pages."""
    shown = page(*many(), states=frozenset({"failed"}), page=2, size=2)
    assert len(shown["timeline"]) == 5
    assert {bar["state"] for bar in shown["timeline"]} == {"failed"}
    assert len(page(*(row(number=n) for n in range(300)))["timeline"]) == 80
