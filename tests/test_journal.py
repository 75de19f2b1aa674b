"""What a task wrote down: it comes back as it was, or says that it cannot be read."""

from __future__ import annotations

import itertools
import json
from types import SimpleNamespace

import pytest
from sluice_provider.journal import KEY, VERSION, Entry, Intent, Journal, Part, Story, digest

from sluice_provider.errors import UnexpectedResponse


class Store:
    """As Airflow's task state store: it keeps JSON text."""

    def __init__(self):
        self.kept = {}

    def get(self, key):
        return json.loads(self.kept[key]) if key in self.kept else None

    def set(self, key, value):
        self.kept[key] = json.dumps(value)


class TaskInstance(SimpleNamespace):
    """One try of a task, whose XComs are kept as JSON text too."""

    def xcom_push(self, key, value):
        self.xcoms[key] = json.dumps(value)

    def xcom_pull(self, task_ids, key, map_indexes):
        assert (task_ids, map_indexes) == (self.task_id, self.map_index)
        return json.loads(self.xcoms[key]) if key in self.xcoms else None


def journal(store=None, clear_number=0, max_tries=2, **more):
    """The journal of a task instance."""
    identity = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "xcoms": {}, **more}
    ti = TaskInstance(max_tries=max_tries, **identity)
    return Journal({"task_state_store": store, "ti": ti, "dag_run": SimpleNamespace(clear_number=clear_number)})


def told(story):
    """All of it, comparable."""
    return {**vars(story), "entries": [vars(entry) for entry in story.entries]}


ENTRIES = [
    Entry(
        "first", 17.5, parts=[Part("i1", 0, 10), Part("i2", 10, 5)], whole=True, ended={"state": "succeeded", "at": 1}
    ),
    Entry("second", 18.5, round=2, intent=Intent("key", 19.5, 15, 3), mended=1),
]


@pytest.mark.parametrize("store", [Store(), None], ids=["state store", "XCom"])
def test_a_story_comes_back(store):
    """Through whichever of the two this Airflow has."""
    written = journal(store)
    assert written.read() is None
    story = written.begin("fingerprint")
    story.entries = list(ENTRIES)
    written.write(story)
    assert told(written.read()) == told(story)


def test_a_new_story_replaces_the_old():
    """There is one at a time."""
    book = journal(Store())
    book.write(Story("one", [0, 2], "s", ENTRIES))
    book.write(Story("two", [0, 2]))
    empty = {"entries": [], "card": {}, "history": []}
    assert told(book.read()) == {"fingerprint": "two", "clearing": [0, 2], "seed": "", **empty}


def test_the_current_entry():
    """The first that has not ended; none when all have, or nothing was begun."""
    assert Story("f", [0, 0]).current is None
    assert Story("f", [0, 0], entries=ENTRIES).current is ENTRIES[1]
    assert Story("f", [0, 0], entries=ENTRIES[:1]).current is None


def test_entries_are_begun_once():
    """Asking for a phase begins it; asking again finds it."""
    story = Story("f", [0, 0], entries=ENTRIES)
    assert story.entry("first") is ENTRIES[0]
    fresh = story.entry("third")
    assert (story.entry("third"), story.current.phase) == (fresh, "second")
    assert fresh.asked_at > 1_700_000_000


def test_what_an_entry_adds_up_to():
    """Ids in order, sizes summed, stretches of the input."""
    assert (ENTRIES[0].ids, ENTRIES[0].size, ENTRIES[1].ids) == (("i1", "i2"), 15, ())
    assert [part.stretch for part in ENTRIES[0].parts] == [range(10), range(10, 15)]
    assert str(Story("f", [0, 0], entries=ENTRIES)) == "i1, i2"
    assert str(Story("f", [0, 0])) == "nothing"


# --- another version, or garbage

GOOD = {"version": VERSION, "fingerprint": "f", "clearing": [0, 2], "seed": "s", "entries": []}
ENTRY = {"phase": "p", "asked_at": 1.0, "parts": [], "intent": None}


@pytest.mark.parametrize(
    "data",
    [
        *({name: value for name, value in GOOD.items() if name != missing} for missing in GOOD),
        [],
        "text",
        7,
        {**GOOD, "clearing": None},
        {**GOOD, "clearing": [1]},
        {**GOOD, "clearing": ["a", "b"]},
        {**GOOD, "entries": None},
        {**GOOD, "entries": ["text"]},
        {**GOOD, "entries": [{}]},
        {**GOOD, "entries": [{**ENTRY, "added_later": 1}]},
        {**GOOD, "entries": [{**ENTRY, "parts": [[]]}]},
        {**GOOD, "entries": [{**ENTRY, "intent": {"when": 1}}]},
    ],
    ids=str,
)
def test_garbage(data):
    """Says what to do about it."""
    store = Store()
    store.set(KEY, data)
    with pytest.raises(UnexpectedResponse, match=f"cannot be read .*delete '{KEY}' from its state store"):
        journal(store).read()


def test_another_version():
    """Is not guessed at."""
    store = Store()
    store.set(KEY, {**GOOD, "version": VERSION + 1})
    with pytest.raises(UnexpectedResponse, match=rf"another version of this provider \({VERSION + 1}\)"):
        journal(store).read()


# --- clearing


@pytest.mark.parametrize(
    ("clear_number", "max_tries", "cleared"),
    [(0, 2, False), (1, 2, False), (0, 4, False), (1, 4, True), (2, 6, True), (None, None, False)],
)
def test_cleared_since(clear_number, max_tries, cleared):
    """Both numbers have risen; each of them alone also changes for other reasons."""
    then = journal().begin("f")
    assert journal(clear_number=clear_number, max_tries=max_tries).cleared_since(then) == cleared


def test_before_airflow_counted_clearings():
    """Without the number, nothing counts as cleared."""
    context = {"ti": TaskInstance(max_tries=5), "dag_run": SimpleNamespace()}
    assert not Journal(context).cleared_since(Story("f", [0, 2]))


# --- seeds


def test_seeds_tell_task_instances_apart():
    """Each that may ask for its own work has its own; the same one gets the same again, in any process."""
    other = {"dag_id": "x", "run_id": "x", "task_id": "x", "map_index": 3, "clear_number": 1, "max_tries": 9}
    seeds = [journal().begin("f").seed, journal().begin("g").seed]
    seeds += [journal(**{name: value}).begin("f").seed for name, value in other.items()]
    assert all(one != two for one, two in itertools.combinations(seeds, 2))
    assert journal().begin("f").seed == seeds[0]


def test_digest():
    """Of content, not of the order of keys."""
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": ["2"]})
