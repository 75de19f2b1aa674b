"""The events of a run, from wherever they came."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sluice_provider.errors import InvalidInput
from sluice_provider.events import event, events
from sluice_provider.webhooks.kaleidoscope import registered_files


def told(number, at="2026-11-20T10:00:00+00:00"):
    """One event."""
    listed = [{"id": f"reg-{number}", "file_id": f"f-{number}", "status": "pending"}]
    return registered_files("op", listed)[0].to_event("k", at)


def context(conf=None, **extras):
    """A task's context, as far as it matters."""
    by_asset = {name: [SimpleNamespace(extra=extra) for extra in found] for name, found in extras.items()}
    return {"dag_run": SimpleNamespace(conf=conf), "triggering_asset_events": by_asset}


def test_a_run_that_a_webhook_started():
    """Its conf is the event."""
    assert events(context(told(1))) == [told(1)]
    assert event(context(told(1))) == told(1)


def test_a_run_that_an_asset_scheduled():
    """From the webhook it is the event's extra, from a watcher there are some below its payload."""
    watched = {"from_trigger": True, "payload": {"events": [told(2), told(3)]}}
    assert events(context(None, a=[told(1)], b=[watched])) == [told(1), told(2), told(3)]
    assert event(context({}, a=[{"from_trigger": True, "payload": told(1)}])) == told(1)


def test_an_event_that_was_told_twice_is_there_once():
    """As it was told first, in the order in which they were taken."""
    later = "2026-11-20T11:00:00+00:00"
    again = {"payload": {"events": [told(2, later), told(1, later)]}}
    found = events(context(None, a=[{"payload": {"events": [told(1)]}}, again]))
    assert found == [told(1), told(2, later)]


@pytest.mark.parametrize(
    "conf", [None, {}, {"id": "x"}, {"payload": 1}, {"events": "no"}, {"payload": {"events": [7]}}]
)
def test_a_run_that_was_started_for_something_else(conf):
    """By hand, or by the clock."""
    assert events(context(conf)) == []
    with pytest.raises(InvalidInput, match="0 events"):
        event(context(conf))


def test_several_are_not_one():
    """The author is told which function is meant."""
    with pytest.raises(InvalidInput, match=r"events\(context\)"):
        event(context(None, a=[told(1), told(2)]))


def test_without_assets_there_is_the_conf():
    """A run that was triggered may have no asset events in its context."""
    assert events({"dag_run": SimpleNamespace(conf=told(1))}) == [told(1)]
