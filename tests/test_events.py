"""The events of a run, whether by webhook or by polling."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sluice_provider.errors import InvalidInput
from sluice_provider.events import event, events
from sluice_provider.webhooks.kaleidoscope import parse_file_registrations


def make_event(number, received_at="2026-11-20T10:00:00+00:00"):
    """One event."""
    listed = [{"id": f"reg-{number}", "file_id": f"f-{number}", "status": "pending"}]
    return parse_file_registrations("op", listed)[0].to_event("k", received_at)


def context(conf=None, **extras):
    """The part of a task's context that is read."""
    by_asset = {name: [SimpleNamespace(extra=extra) for extra in found] for name, found in extras.items()}
    return {"dag_run": SimpleNamespace(conf=conf), "triggering_asset_events": by_asset}


def test_a_run_that_a_webhook_started():
    """Its conf is the event."""
    assert events(context(make_event(1))) == [make_event(1)]
    assert event(context(make_event(1))) == make_event(1)


def test_a_run_that_an_asset_scheduled():
    """A webhook's event is the asset event's extra; a watcher's are a list in its payload."""
    watched = {"from_trigger": True, "payload": {"events": [make_event(2), make_event(3)]}}
    assert events(context(None, a=[make_event(1)], b=[watched])) == [make_event(1), make_event(2), make_event(3)]
    assert event(context({}, a=[{"from_trigger": True, "payload": make_event(1)}])) == make_event(1)


def test_duplicate_events_are_returned_once():
    """As first delivered, in the order in which they were received."""
    later = "2026-11-20T11:00:00+00:00"
    again = {"payload": {"events": [make_event(2, later), make_event(1, later)]}}
    found = events(context(None, a=[{"payload": {"events": [make_event(1)]}}, again]))
    assert found == [make_event(1), make_event(2, later)]


@pytest.mark.parametrize(
    "conf", [None, {}, {"id": "x"}, {"payload": 1}, {"events": "no"}, {"payload": {"events": [7]}}]
)
def test_a_run_that_was_started_for_another_reason(conf):
    """Manually, or by a schedule: the error says how to start it with an event."""
    assert events(context(conf)) == []
    with pytest.raises(InvalidInput, match="this run has no event: start it by a webhook"):
        event(context(conf))


def test_several_events_are_not_one():
    """The error names the function to use."""
    with pytest.raises(InvalidInput, match=r"events\(context\)"):
        event(context(None, a=[make_event(1), make_event(2)]))


def test_a_context_without_asset_events():
    """A run that was triggered may have no asset events in its context."""
    assert events({"dag_run": SimpleNamespace(conf=make_event(1))}) == [make_event(1)]
