"""The Remote jobs page as pure functions: what is shown of what tasks wrote, and of values that nobody should write."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sluice_provider.jobs.record import JobRecord
from sluice_provider.jobs.storage import KEY, RecordStorage
from sluice_provider.plugin.jobs_view import (
    Details,
    Filters,
    JobCount,
    ListedJob,
    Overview,
    job_detail,
    job_list,
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


def listed(number=0, **fields):
    """A job that runs."""
    times = {"submitted_at": NOW - 60, "ended_at": None, "written_at": NOW - 50}
    return ListedJob("a_dag", f"run_{number}", "push", -1, "kaleidoscope", "running", **times)._replace(**fields)


def details(summary=SUMMARY, **fields):
    """What is stored of it. The head is complete and in the usual order."""
    head = json.dumps({"summary": summary, "history": 0, "version": 1, "fingerprint": "f", "open": []})
    return Details(**{"head": head, "task_state": "deferred", "try_number": 1, "total_tries": 3, **fields})


def page(*stored, counts=(), **filters):
    """The page that shows these details of jobs."""
    jobs = [each if isinstance(each, tuple) and isinstance(each[0], ListedJob) else (listed(), each) for each in stored]
    found = counts or [JobCount(job.dag_id, job.service, job.state, 1) for job, _ in jobs]
    return job_list(Overview(list(found), jobs, jobs), Filters(**filters), NOW)


def progress(**fields):
    """The progress that a trigger wrote, after its line."""
    names = ("state", "service_status", "message", "counts", "ids")
    found = {"updated_at": NOW - 5, **{name: SUMMARY[name] for name in names}, **fields}
    return json.dumps(["line", found])


# --- one job


def test_the_page_reads_what_a_task_writes():
    """The head begins with the summary, so the page does not need the rest."""
    written = {}
    storage = RecordStorage(type("Values", (), {"get": written.get, "set": written.__setitem__})())
    storage.save(JobRecord("f" * 64, summary={**SUMMARY, "ids": [f"imp-{n}" for n in range(300)]}))
    head = json.dumps(written[KEY])
    [job] = page(details(head=head[: head.index("]") + 400]))["jobs"]
    assert (job["id_count"], job["service_status"], job["resubmissions"]) == (300, "PROCESSING", 0)


def test_a_job():
    """Everything that its row shows."""
    [job] = page(details())["jobs"]
    assert (job["title"], job["noun"], job["ids"], job["id_count"]) == ("Kaleidoscope", "import", ["imp-1"], 1)
    assert (job["state"], job["service_status"], job["done"], job["total"]) == ("running", "PROCESSING", 7, 10)
    assert (job["dag_id"], job["run_id"], job["task_id"], job["map_index"]) == ("a_dag", "run_0", "push", -1)
    assert (job["try_number"], job["total_tries"], job["task_state"]) == (1, 3, "deferred")
    assert (job["submitted_at"], job["ended_at"], job["updated_at"]) == (NOW - 60, None, NOW - 50)


@pytest.mark.parametrize("submitted_at", [None, 0, "soon"])
def test_a_task_that_failed_before_submitting(submitted_at):
    """It has no time of a submission, and no bar in the timeline."""
    failed = details({**SUMMARY, "state": "failed", "ids": [], "submitted_at": submitted_at})
    shown = page((listed(state="failed"), failed), (listed(1), details()))
    assert [job["submitted_at"] for job in shown["jobs"]] == [None, NOW - 60]
    assert [bar["run_id"] for bar in shown["timeline"]] == ["run_1"]


def test_newer_progress_is_shown():
    """While a task is deferred, its record is not updated."""
    posted = progress(updated_at=NOW - 5, done=9, total=10, service_status="SAVING")
    [job] = page(details(progress=posted))["jobs"]
    assert (job["done"], job["service_status"], job["updated_at"]) == (9, "SAVING", NOW - 5)


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled", "outcome_unknown"])
def test_progress_does_not_change_a_record_that_has_ended(state):
    """A second triggerer may have written it late."""
    ended = {**SUMMARY, "state": state, "service_status": "THE END"}
    [job] = page((listed(state=state), details(ended, progress=progress(done=3, service_status="SAVING"))))["jobs"]
    assert (job["done"], job["service_status"]) == (7, "THE END")


def test_counts_of_the_record_and_of_the_trigger():
    """The trigger has the service's counts, the record also what was sent."""
    summary = {**SUMMARY, "counts": {"sent": 9, "created": 1}}
    [job] = page(details(summary, progress=progress(updated_at=NOW - 5, counts={"created": 5})))["jobs"]
    assert job["counts"] == {"sent": 9, "created": 5}


def detail(found, job=None):
    """The tab."""
    return job_detail(job or listed(), found, NOW)


def segments(*histories):
    """The segments of a history as the database returns them, in any order."""
    return tuple(json.dumps(list(history)) for history in histories)


def test_history_continues_in_the_progress():
    """Events of the record and of the trigger, by time; invalid ones are left out."""
    first = [[NOW - 60, "submitting", "x"], [NOW - 59, "submitted", "imp-1"], "what", [1], [None, "a", "b"]]
    posted = progress(updated_at=NOW - 5, history=[[NOW - 40, "status", "SAVING"]])
    shown = detail(details(history=segments(first), progress=posted))
    assert [event["type"] for event in shown["history"]] == ["submitting", "submitted", "status"]
    assert shown["job"]["conn_id"] == "kaleidoscope_default"
    assert shown["active"] is True


def test_history_in_segments():
    """In whatever order the database returns them; an event in two of them is shown once."""
    events = [[NOW + n, "status", f"{n} of 9"] for n in range(9)]
    posted = progress(updated_at=NOW, history=events[7:])
    shown = detail(details(history=segments(events[5:8], events[:3], [], events[3:6]), progress=posted))
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
    shown = detail(details(history=tuple(stored)))["history"]
    assert len(stored) == 8
    assert (shown[0]["text"], shown[-1]["text"]) == ("row 0", "row 2999")


def test_a_history_that_is_too_long():
    """Only the latest events are shown."""
    shown = detail(details(history=segments([[NOW + n, "rejected", f"row {n}"] for n in range(5000)])))["history"]
    assert len(shown) == 2000
    assert shown[-1]["text"] == "row 4999"


# --- untrusted values

ANYTHING: tuple[Any, ...] = (
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
def test_an_unreadable_record_is_listed(head):
    """By its line, and says why there is no more; the others are shown."""
    shown = page(details(head=head), (listed(1), details()))
    assert (shown["total"], [job["ids"] for job in shown["jobs"]]) == (2, [[], ["imp-1"]])
    assert "cannot be read" in shown["jobs"][0]["message"]
    assert encode(shown)
    assert (detail(details(head=head))["job"], detail(details(head=head))["unreadable"]) == (None, True)


def test_unreadable_lines_are_counted():
    """Whatever the filters are; they are no jobs."""
    counts = [JobCount("a_dag", "", None, 3), JobCount("a_dag", "kili", "running", 2, not_ended=2)]
    shown = page(counts=counts, services=frozenset({"kili"}))
    assert (shown["unreadable"], shown["total"], shown["services"][1]["count"]) == (3, 2, 2)
    assert job_detail(None, details(), NOW)["unreadable"] is True


def encode(shown):
    """Strict JSON in UTF-8, as the web application sends it; fails where that would fail."""
    return json.dumps(shown, allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize("value", ANYTHING, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("name", [*SUMMARY])
def test_a_summary_with_anything_in_it(name, value):
    """Can be shown and sent to a browser."""
    for shown in (page(details({**SUMMARY, name: value})), detail(details({**SUMMARY, name: value}))):
        assert encode(shown)


@pytest.mark.parametrize("name", [*SUMMARY])
def test_a_summary_without_a_field(name):
    """Another version may not have written it."""
    shown = page(details({key: value for key, value in SUMMARY.items() if key != name}))
    assert len(shown["jobs"]) == 1
    assert encode(shown)


@pytest.mark.parametrize("value", ANYTHING, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("name", ["updated_at", "state", "counts", "done", "history", "ids"])
def test_a_progress_with_anything_in_it(name, value):
    """Can be shown and sent to a browser."""
    posted = progress(**{"updated_at": NOW - 5, name: value})
    assert encode(detail(details(progress=posted)))


@pytest.mark.parametrize(
    "text",
    ["[]", "{", "7", '"x"', '["x", {"updated_at": 1e999}]', '["x", {"updated_at": 9e99, "history": 7}]', '["x"]'],
)
def test_an_unreadable_progress(text):
    """Does not hide the record."""
    assert page(details(progress=text))["jobs"][0]["done"] == 7
    assert encode(detail(details(progress=text)))


@pytest.mark.parametrize("value", ANYTHING, ids=lambda value: repr(value)[:20])
def test_a_history_with_anything_in_it(value):
    """Segments of any shape, and events with anything in any place."""
    events = [[value, "status", "a"], [NOW, value, "b"], [NOW, "status", value], [NOW, "status", "c"], value]
    shown = detail(details(history=("{", "[" * 100_000, json.dumps(value), json.dumps(events))))
    assert encode(shown)
    assert [NOW, "status", "c"] in [[*event.values()] for event in shown["history"]]


def test_the_summary_may_be_anywhere():
    """PostgreSQL sorts the keys of an XCom, and an XCom may be JSON within JSON."""
    head = json.dumps({"version": 1, "history": 0, "summary": SUMMARY})
    assert page(details(head=head))["jobs"][0]["done"] == 7
    assert page(details(head=json.dumps(head)))["jobs"][0]["done"] == 7
    events = json.dumps([[NOW, "submitted", "imp-1"]])
    assert len(detail(details(history=(json.dumps(events),)))["history"]) == 1


def test_how_many_jobs():
    """A summary has the first ids and their number."""
    [job] = page(details({**SUMMARY, "ids": ["a", "b", "c", "d"], "id_count": 300}))["jobs"]
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


COUNTS = [
    JobCount("dag_0", "kili", "running", 3, not_ended=3),
    JobCount("dag_1", "kili", "running", 2, not_ended=2),
    JobCount("dag_0", "kili", "failed", 5, last_ended_at=NOW - 90),
    JobCount("dag_1", "finspace", "succeeded", 5, last_ended_at=NOW - 90),
]


def test_counts_are_of_all_states():
    """A filter by state does not change the counts; a filter by service does."""
    shown = page(counts=COUNTS, states=frozenset({"failed"}))
    assert shown["total"] == 5
    assert {state: count for state, count in shown["counts"].items() if count} == {
        "running": 5,
        "failed": 5,
        "succeeded": 5,
    }
    kili = page(counts=COUNTS, services=frozenset({"kili"}))
    assert (kili["total"], kili["counts"]["succeeded"], kili["counts"]["failed"]) == (10, 0, 5)


def test_names_for_the_filters():
    """All known services, others that were found, and all DAGs whatever the filters are."""
    shown = page(counts=COUNTS, dags=frozenset({"dag_1"}))
    assert shown["dags"] == ["dag_0", "dag_1"]
    assert shown["total"] == 7
    services = {each["name"]: each["count"] for each in shown["services"]}
    assert services == {"kaleidoscope": 0, "kili": 2, "liquid_decisions": 0, "finspace": 5}
    shown = page(counts=[JobCount("dag_0", "echo", "running", 1)])
    assert shown["services"][-1] == {"name": "echo", "title": "echo", "count": 1}


def test_whether_anything_is_active():
    """So the page knows whether to refresh. Only the selected services count."""
    assert page(counts=COUNTS)["active"] is True
    assert page(counts=COUNTS, services=frozenset({"finspace"}))["active"] is False
    assert page()["active"] is False
    just_ended = [JobCount("dag_0", "kili", "failed", 1, last_ended_at=NOW - 20)]
    assert page(counts=just_ended)["active"] is True
    assert detail(details(), listed(state="failed", ended_at=NOW - 20))["active"] is True
    assert detail(details(), listed(state="failed", ended_at=NOW - 40))["active"] is False
    assert detail(details())["active"] is True
