"""A watcher's memory: everything is told, and again if nobody touches it, and it is never longer than what waits."""

from __future__ import annotations

import json

import pytest

from sluice_provider.webhooks import redelivery as telling
from sluice_provider.webhooks.kaleidoscope import registered_files
from sluice_provider.webhooks.redelivery import AT_ONCE, Teller


def files(*numbers, operation="op", status="pending", updated=""):
    """Registrations as the API lists them."""
    listed = [
        {
            "id": f"reg-{number}",
            "file_id": f"f-{number}",
            "status": status,
            "updated_at": updated,
            "created_at": f"2026-11-20T10:00:00.{number:06}Z",
        }
        for number in numbers
    ]
    return registered_files(operation, listed)


def tell(teller, now, well=True, **seen):
    """One look and one telling; which ones were told."""
    due = teller.due(seen, now)
    teller.begin(due, now)
    teller.settle(due, well=well)
    return [each.id for each in due]


KEY = files(1)[0].identity("k")[:16]


@pytest.fixture
def teller():
    """It tells again after a minute."""
    return Teller("k", 60.0)


def test_everything_is_told_once(teller):
    """Also what comes later; the oldest first."""
    assert tell(teller, 0, op=files(2, 1)) == ["reg-1", "reg-2"]
    assert tell(teller, 10, op=files(2, 1, 3)) == ["reg-3"]
    assert tell(teller, 20, op=files(1, 2, 3)) == []


def test_what_is_under_way_is_not_told_beside(teller):
    """Airflow takes a second or two to store an event."""
    due = teller.due({"op": files(1)}, 0)
    teller.begin(due, 0)
    assert teller.due({"op": files(1)}, 1) == []
    teller.settle(due, well=False)
    assert tell(teller, 2, op=files(1)) == ["reg-1"]


def test_what_stays_untouched_is_told_again(teller):
    """After a minute, then after two, four, ... and at last after every 32."""
    told = [now for now in range(0, 4 * 3600, 10) if tell(teller, float(now), op=files(1))]
    gaps = [now - told[number] for number, now in enumerate(told[1:])]
    assert gaps[:7] == [60, 120, 240, 480, 960, 1920, 1920]


@pytest.mark.parametrize("touch", [{"status": "validated"}, {"updated": "2026-11-20T11:00:00Z"}])
def test_a_sign_of_life_begins_the_minute_anew(teller, touch):
    """A DAG that works for long says so."""
    tell(teller, 0, op=files(1))
    assert tell(teller, 59, op=files(1, **touch)) == []
    assert tell(teller, 118, op=files(1, **touch)) == []
    assert tell(teller, 119, op=files(1, **touch)) == ["reg-1"]


def test_what_is_over_is_neither_told_nor_kept(teller):
    """The memory is as long as the list of what waits."""
    tell(teller, 0, op=files(1, 2))
    assert tell(teller, 1, op=files(1, 2, 3, status="completed")) == []
    assert teller.to_json("op")["told"] == {}


def test_an_operation_that_could_not_be_looked_at_is_not_forgotten(teller):
    """Else everything would be told again after each bad look."""
    tell(teller, 0, op=files(1), other=files(2, operation="other"))
    tell(teller, 1, other=files(2, operation="other"))
    assert tell(teller, 2, op=files(1), other=files(2, operation="other")) == []


def test_the_memory_outlives_the_process(teller):
    """As JSON; what a process did not get to write down is told again."""
    tell(teller, 0, op=files(1))
    kept = json.loads(json.dumps(teller.to_json("op")))
    teller.begin(teller.due({"op": files(1, 2)}, 1), 1)
    after = Teller("k", 60.0)
    after.recall("op", kept)
    assert tell(after, 2, op=files(1, 2)) == ["reg-2"]
    assert tell(after, 60, op=files(1, 2)) == ["reg-1"]


EDITED = [
    {"version": 1, "told": {KEY: note}}
    for note in (None, 5, "abc", {}, [], ["a"], ["a", "b", "c"], ["a", None, 0], [1, 2, 3], ["a", 1.0, 0, 0])
]


@pytest.mark.parametrize("data", [None, {}, [], {"version": 2, "told": {"a": 1}}, {"version": 1, "told": []}, *EDITED])
def test_a_memory_that_cannot_be_read_is_none(teller, data):
    """Then it is told again, which is harmless."""
    teller.recall("op", data)
    assert tell(teller, 0, op=files(1)) == ["reg-1"]


def test_a_burst_is_told_in_portions(teller):
    """Each of them is one event; none is left out."""
    told = []
    for now in range(4):
        portion = tell(teller, float(now), op=files(*range(500)))
        assert len(portion) <= AT_ONCE
        told += portion
    assert told == [f"reg-{number}" for number in range(500)]


def test_the_memory_has_an_end(teller, monkeypatch):
    """The newest go first, and the others are counted; their turn comes when some are answered."""
    monkeypatch.setattr(telling, "MOST", 10)
    waiting, told = list(range(25)), []
    for now in range(6):
        told += [int(each.partition("-")[2]) for each in tell(teller, float(now), op=files(*waiting))]
        assert len(teller.to_json("op")["told"]) <= 10
        assert teller.too_many == max(0, len(waiting) - 10)
        waiting = [number for number in waiting if number not in told[:-4]]
    assert sorted(told) == list(range(25))


def test_what_nobody_answers_keeps_nothing_out(teller, monkeypatch):
    """However many there are of it."""
    monkeypatch.setattr(telling, "MOST", 10)
    for now in range(100):
        assert f"reg-{now}" in tell(teller, float(now), op=files(*range(now + 1)))
        assert len(teller.to_json("op")["told"]) <= 10


def test_a_clock_that_was_a_year_ahead_does_no_harm(teller):
    """What was told then is told again as if it had been told when the clock was put right."""
    tell(teller, 31_536_000.0, op=files(1))
    assert tell(teller, 0.0, op=files(1)) == []
    assert tell(teller, 60.0, op=files(1)) == ["reg-1"]


def test_a_thousand_fit_into_the_store():
    """Airflow warns of values of more than 64 KB."""
    teller = Teller("k", 60.0)
    for now in range(6):
        tell(teller, 1_795_000_000.5 + now, op=files(*range(1000)))
    kept = teller.to_json("op")
    assert len(kept["told"]) == 1000
    assert len(json.dumps(kept)) < 65536
