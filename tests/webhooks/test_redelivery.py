"""What a watcher reports: each registration once, again if it stays unchanged, with limited memory."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sluice_provider.webhooks import redelivery
from sluice_provider.webhooks.kaleidoscope import parse_file_registrations
from sluice_provider.webhooks.redelivery import MAX_BATCH, RedeliveryTracker


def registrations(*numbers, operation="op", status="pending", updated=""):
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
    return parse_file_registrations(operation, listed)


def report(tracker, now, delivered=True, **listed):
    """Poll and report once; return the ids that were reported."""
    due = tracker.due(listed, now)
    tracker.mark_in_flight(due, now)
    tracker.acknowledge(due, delivered=delivered)
    return [each.id for each in due]


KEY = registrations(1)[0].event_id("k")[:16]


@pytest.fixture
def tracker():
    """Reports again after a minute."""
    return RedeliveryTracker("k", 60.0)


def test_each_registration_is_reported_once(tracker):
    """Also those that are added later; the oldest first."""
    assert report(tracker, 0, op=registrations(2, 1)) == ["reg-1", "reg-2"]
    assert report(tracker, 10, op=registrations(2, 1, 3)) == ["reg-3"]
    assert report(tracker, 20, op=registrations(1, 2, 3)) == []


def test_registrations_in_flight_are_not_reported_again(tracker):
    """Airflow takes a second or two to store an event."""
    due = tracker.due({"op": registrations(1)}, 0)
    tracker.mark_in_flight(due, 0)
    assert tracker.due({"op": registrations(1)}, 1) == []
    tracker.acknowledge(due, delivered=False)
    assert report(tracker, 2, op=registrations(1)) == ["reg-1"]


def test_unchanged_registrations_are_reported_again(tracker):
    """After one minute, then after two, four, ... and finally every 32 minutes."""
    times = [now for now in range(0, 4 * 3600, 10) if report(tracker, float(now), op=registrations(1))]
    gaps = [now - times[number] for number, now in enumerate(times[1:])]
    assert gaps[:7] == [60, 120, 240, 480, 960, 1920, 1920]


@pytest.mark.parametrize("change", [{"status": "validated"}, {"updated": "2026-11-20T11:00:00Z"}])
def test_a_change_restarts_the_interval(tracker, change):
    """A DAG that runs for long pushes a status now and then."""
    report(tracker, 0, op=registrations(1))
    assert report(tracker, 59, op=registrations(1, **change)) == []
    assert report(tracker, 118, op=registrations(1, **change)) == []
    assert report(tracker, 119, op=registrations(1, **change)) == ["reg-1"]


def test_finished_registrations_are_neither_reported_nor_stored(tracker):
    """What is stored is as long as the list of open registrations."""
    report(tracker, 0, op=registrations(1, 2))
    assert report(tracker, 1, op=registrations(1, 2, 3, status="completed")) == []
    assert tracker.to_json("op")["delivered"] == {}


def test_an_operation_that_could_not_be_listed_is_not_forgotten(tracker):
    """Else everything would be reported again after each failed poll."""
    report(tracker, 0, op=registrations(1), other=registrations(2, operation="other"))
    report(tracker, 1, other=registrations(2, operation="other"))
    assert report(tracker, 2, op=registrations(1), other=registrations(2, operation="other")) == []


def test_state_survives_a_restart(tracker):
    """As JSON; what was in flight is reported again."""
    report(tracker, 0, op=registrations(1))
    stored = json.loads(json.dumps(tracker.to_json("op")))
    tracker.mark_in_flight(tracker.due({"op": registrations(1, 2)}, 1), 1)
    restarted = RedeliveryTracker("k", 60.0)
    restarted.restore("op", stored)
    assert report(restarted, 2, op=registrations(1, 2)) == ["reg-2"]
    assert report(restarted, 60, op=registrations(1, 2)) == ["reg-1"]


DELIVERIES: tuple[Any, ...] = (
    *(None, 5, "abc", {}, [], ["a"], ["a", "b", "c"], ["a", None, 0], [1, 2, 3], ["a", 1.0, 0, 0]),
)
EDITED = [{"version": 1, "delivered": {KEY: delivery}} for delivery in DELIVERIES]


@pytest.mark.parametrize(
    "data", [None, {}, [], {"version": 2, "delivered": {"a": 1}}, {"version": 1, "delivered": []}, *EDITED]
)
def test_unreadable_state_is_ignored(tracker, data):
    """Then registrations are reported again, which is harmless."""
    tracker.restore("op", data)
    assert report(tracker, 0, op=registrations(1)) == ["reg-1"]


def test_a_burst_is_reported_in_batches(tracker):
    """Each of them is one event; no registration is left out."""
    reported = []
    for now in range(4):
        batch = report(tracker, float(now), op=registrations(*range(500)))
        assert len(batch) <= MAX_BATCH
        reported += batch
    assert reported == [f"reg-{number}" for number in range(500)]


def test_tracking_is_limited(tracker, monkeypatch):
    """The newest go first, and the others are counted; they are reported when others are finished."""
    monkeypatch.setattr(redelivery, "MAX_TRACKED", 10)
    waiting, reported = list(range(25)), []
    for now in range(6):
        reported += [int(each.partition("-")[2]) for each in report(tracker, float(now), op=registrations(*waiting))]
        assert len(tracker.to_json("op")["delivered"]) <= 10
        assert tracker.over_capacity == max(0, len(waiting) - 10)
        waiting = [number for number in waiting if number not in reported[:-4]]
    assert sorted(reported) == list(range(25))


def test_unanswered_registrations_do_not_block_new_ones(tracker, monkeypatch):
    """However many there are."""
    monkeypatch.setattr(redelivery, "MAX_TRACKED", 10)
    for now in range(100):
        assert f"reg-{now}" in report(tracker, float(now), op=registrations(*range(now + 1)))
        assert len(tracker.to_json("op")["delivered"]) <= 10


def test_a_clock_that_was_a_year_ahead_does_no_harm(tracker):
    """The interval starts when the clock is corrected."""
    report(tracker, 31_536_000.0, op=registrations(1))
    assert report(tracker, 0.0, op=registrations(1)) == []
    assert report(tracker, 60.0, op=registrations(1)) == ["reg-1"]


def test_state_of_a_thousand_fits_into_the_store():
    """Airflow warns about values of more than 64 KB."""
    tracker = RedeliveryTracker("k", 60.0)
    for now in range(6):
        report(tracker, 1_795_000_000.5 + now, op=registrations(*range(1000)))
    stored = tracker.to_json("op")
    assert len(stored["delivered"]) == 1000
    assert len(json.dumps(stored)) < 65536
