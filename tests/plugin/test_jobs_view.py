"""The Remote jobs page as a pure function: what is shown of what tasks wrote, and of what nobody should write."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest

from sluice_provider.plugin.jobs_view import STATES, Row, Wanted, detail, look, overview, state_of, web

NOW = 1_800_000_000.0
CARD = {
    "system": "kaleidoscope",
    "conn_id": "kaleidoscope_default",
    "kind": "import",
    "noun": "import",
    "ids": ["imp-1"],
    "url": "https://kaleidoscope.example.com/imports/imp-1",
    "state": "running",
    "word": "PROCESSING",
    "message": "",
    "counts": {"created": 7},
    "done": 7,
    "total": 10,
    "asked_at": NOW - 60,
    "ended_at": None,
    "rounds": 0,
    "at": NOW - 50,
}


def row(card=CARD, *, history=(), number=0, **fields):
    """A row whose journal is complete and in the usual order."""
    journal = json.dumps({"card": card, "version": 1, "entries": [], "history": list(history)})
    usual = {"task_state": "deferred", "attempt": 1, "attempts": 3, "journal": journal}
    written = datetime.fromtimestamp(NOW - 50, timezone.utc)
    return Row("a_dag", f"run_{number}", "push", -1, **{"written": written, **usual, **fields})


def page(*rows, **wanted):
    """The page that shows these rows."""
    return overview(rows, Wanted(**wanted), NOW)


def progress(**news):
    """What a trigger wrote."""
    return json.dumps({**{name: CARD[name] for name in ("state", "word", "message", "counts", "ids")}, **news})


# --- one job


def test_handed_over():
    """A task that was not to wait has done its part: nobody is missing there."""
    assert state_of({"state": "accepted"}, "success") == "accepted"


def test_a_job():
    """Everything that its line shows."""
    [job] = page(row())["jobs"]
    assert (job["title"], job["noun"], job["ids"], job["id_count"]) == ("Kaleidoscope", "import", ["imp-1"], 1)
    assert (job["state"], job["word"], job["done"], job["total"]) == ("running", "PROCESSING", 7, 10)
    assert (job["dag_id"], job["run_id"], job["task_id"], job["map_index"]) == ("a_dag", "run_0", "push", -1)
    assert (job["attempt"], job["attempts"], job["task_state"]) == (1, 3, "deferred")
    assert (job["asked_at"], job["ended_at"], job["at"]) == (NOW - 60, None, NOW - 50)


def test_newer_progress_is_shown():
    """The journal of a deferred task is as old as its deferral."""
    [job] = page(row(progress=progress(at=NOW - 5, done=9, total=10, word="SAVING")))["jobs"]
    assert (job["done"], job["word"], job["at"], job["asked_at"]) == (9, "SAVING", NOW - 5, NOW - 60)


@pytest.mark.parametrize("at", [NOW - 51, NOW - 50, None, "late", True])
def test_older_progress_is_not_shown(at):
    """The task resumed since, and its journal knows more; what has no time is no news."""
    [job] = page(row(progress=progress(at=at, done=3)))["jobs"]
    assert job["done"] == 7


@pytest.mark.parametrize("state", ["success", "failed", "skipped", "removed", "upstream_failed"])
def test_nobody_watches_for_a_task_that_is_over(state):
    """Its job runs on, as far as anybody knows; it stopped being news when the task ended."""
    ended = datetime.fromtimestamp(NOW - 20, timezone.utc)
    [job] = page(row(task_state=state, task_ended=ended))["jobs"]
    assert (job["state"], job["ended_at"]) == ("unwatched", NOW - 20)


@pytest.mark.parametrize("state", ["deferred", "running", "up_for_retry", "queued", "restarting", None])
def test_a_task_that_is_not_over_watches(state):
    """Or will, when it is tried again."""
    [job] = page(row(task_state=state))["jobs"]
    assert job["state"] == "running"


def test_a_job_that_ended_while_its_task_was_ended():
    """The trigger cancelled it and said so: that is newer than the journal, whatever became of the task."""
    [job] = page(row(progress=progress(at=NOW - 5, state="cancelled"), task_state="failed"))["jobs"]
    assert job["state"] == "cancelled"


def test_a_job_that_was_asked_to_stop():
    """The remote still runs it and the trigger, whose task is over, will not look again."""
    told = progress(at=NOW - 5, history=[[NOW - 6, "cancel", "asked for"]])
    ended = datetime.fromtimestamp(NOW - 7, timezone.utc)
    shown = page(row(progress=told, task_state="failed", task_ended=ended))
    assert (shown["jobs"][0]["state"], shown["counts"]["cancelling"]) == ("cancelling", 1)


def test_counts_of_the_journal_and_of_the_trigger():
    """The trigger knows what the remote counts, the journal also what was sent."""
    card = {**CARD, "counts": {"sent": 9, "created": 1}}
    [job] = page(row(card, progress=progress(at=NOW - 5, counts={"created": 5})))["jobs"]
    assert job["counts"] == {"sent": 9, "created": 5}


def test_history_goes_on_in_the_progress():
    """Lines of the journal, then those of the trigger, by time; what is no line is left out."""
    history = [[NOW - 60, "intent", "x"], [NOW - 59, "asked", "accepted as imp-1"], "what", [1], [None, "a", "b"]]
    told = detail(row(history=history, progress=progress(at=NOW - 5, history=[[NOW - 40, "state", "SAVING"]])), NOW)
    assert [line["what"] for line in told["history"]] == ["intent", "asked", "state"]
    assert told["job"]["conn_id"] == "kaleidoscope_default"
    assert told["going_on"] is True


def test_a_long_history_keeps_its_end():
    """What happened last matters most."""
    history = [[NOW + n, "rejected", f"row {n}"] for n in range(2000)]
    told = detail(row(history=history), NOW)["history"]
    assert len(told) == 500
    assert told[-1]["text"] == "row 1999"


# --- suspicion


@pytest.mark.parametrize(
    "journal",
    [
        "",
        "{",
        "[]",
        "null",
        "NaN",
        '"text"',
        "{}",
        '{"card": ',
        '{"card": [1]}',
        '{"card": null, "version": 1}',
        '{"card": {"state": "running"',
        '{"version": 1, "entries": []}',
        "[" * 100_000,
        '{"card": ' + '{"a":' * 100_000,
    ],
)
def test_what_cannot_be_read_is_counted(journal):
    """And nothing else is lost."""
    shown = page(row(journal=journal), row(number=1))
    assert (shown["total"], shown["unreadable"]) == (1, 1)
    assert detail(row(journal=journal), NOW)["job"] is None


@pytest.mark.parametrize("value", [None, True, -1, 1e400, float("nan"), "x" * 9999, [], [[]], {}, {"a": {}}, 2**70])
@pytest.mark.parametrize("name", [*CARD])
def test_a_card_with_anything_in_it(name, value):
    """Can be shown, and sent as strict JSON."""
    for told in (page(row({**CARD, name: value})), detail(row({**CARD, name: value}), NOW)):
        json.dumps(told, allow_nan=False)
    assert page(row({**CARD, name: value}))["jobs"][0]["state"] in STATES


@pytest.mark.parametrize("name", [*CARD])
def test_a_card_that_lacks_something(name):
    """Another version may not have written it."""
    [job] = page(row({key: value for key, value in CARD.items() if key != name}))["jobs"]
    assert job["state"] == "running"


@pytest.mark.parametrize("text", ["[]", "{", "7", '"x"', '{"at": 1e999}', '{"at": 9e99, "state": [], "history": 7}'])
def test_a_strange_progress(text):
    """Takes nothing from the journal."""
    assert page(row(progress=text))["jobs"][0]["state"] == "running"
    json.dumps(detail(row(progress=text), NOW), allow_nan=False)


def test_the_card_may_be_anywhere():
    """PostgreSQL sorts the names of an XCom, and an XCom may be JSON within JSON."""
    journal = json.dumps({"version": 1, "history": [], "card": CARD})
    assert look(row(journal=journal)).state == "running"
    assert look(row(journal=json.dumps(journal))).state == "running"


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
def test_only_web_addresses_become_links(url, shown):
    """Whoever may edit the state store must not choose what a click runs."""
    assert web(url) == shown


# --- choosing


def many():
    """Jobs of two systems, three states, newest last."""
    kinds = [("kili", "running"), ("kili", "failed"), ("finspace", "succeeded")] * 5
    for n, (system, state) in enumerate(kinds):
        ended = None if state == "running" else NOW - 100 + n
        card = {**CARD, "system": system, "state": state, "asked_at": NOW - 200 + n, "ended_at": ended}
        yield row(card, number=n)._replace(dag_id=f"dag_{n % 2}")


def test_newest_first_in_pages():
    """Every job is on one page."""
    pages = [page(*many(), page=n, size=4)["jobs"] for n in (1, 2, 3, 4, 5)]
    assert [len(each) for each in pages] == [4, 4, 4, 3, 0]
    assert [job["run_id"] for each in pages for job in each] == [f"run_{n}" for n in reversed(range(15))]


def test_counts_are_of_all_states():
    """Choosing one state does not hide how many there are of the others; choosing a system does."""
    shown = page(*many(), states=frozenset({"failed"}))
    assert shown["total"] == 5
    assert {state: count for state, count in shown["counts"].items() if count} == {
        "running": 5,
        "failed": 5,
        "succeeded": 5,
    }
    kili = page(*many(), systems=frozenset({"kili"}))
    assert (kili["total"], kili["counts"]["succeeded"], kili["counts"]["failed"]) == (10, 0, 5)


def test_names_to_choose_from():
    """All systems that this version knows, others that were met, and every DAG whatever was chosen."""
    shown = page(*many(), row({**CARD, "system": "echo"}), dags=frozenset({"dag_1"}))
    assert shown["dags"] == ["a_dag", "dag_0", "dag_1"]
    assert shown["total"] == 7
    systems = {each["name"]: each["count"] for each in shown["systems"]}
    assert list(systems) == ["kaleidoscope", "kili", "liquid_decisions", "finspace"]
    assert page(row({**CARD, "system": "echo"}))["systems"][-1] == {"name": "echo", "title": "echo", "count": 1}


def test_since():
    """A job belongs to a time in which it was going on, however long ago it was asked for."""
    long_ago = row({**CARD, "asked_at": NOW - 9e5}, number=1)
    over = row({**CARD, "state": "succeeded", "asked_at": NOW - 9e5, "ended_at": NOW - 8e5}, number=2)
    just_over = row({**CARD, "state": "succeeded", "asked_at": NOW - 9e5, "ended_at": NOW - 5}, number=3)
    shown = page(long_ago, over, just_over, since=NOW - 60)
    assert {job["run_id"] for job in shown["jobs"]} == {"run_1", "run_3"}


def test_whether_anything_goes_on():
    """So that the page knows whether to look again; in what was chosen, not elsewhere."""
    assert page(*many())["going_on"] is True
    assert page(*many(), systems=frozenset({"finspace"}))["going_on"] is False
    assert page()["going_on"] is False
    just_over = row({**CARD, "state": "failed", "ended_at": NOW - 20})
    assert page(just_over)["going_on"] is True
    assert detail(just_over, NOW)["going_on"] is True
    assert detail(just_over, NOW + 20)["going_on"] is False


def test_the_timeline_shows_the_last_jobs():
    """Of those that were chosen, on whichever page one is."""
    shown = page(*many(), states=frozenset({"failed"}), page=2, size=2)
    assert len(shown["timeline"]) == 5
    assert {bar["state"] for bar in shown["timeline"]} == {"failed"}
    assert len(page(*(row(number=n) for n in range(300)))["timeline"]) == 80
