"""A record that somebody edited stops no task: fields that are only for people are validated on read."""

from __future__ import annotations

from typing import Any

import pytest

from sluice_provider.jobs.record import JobRecord, events_from_json
from sluice_provider.jobs.storage import KEY, RecordStorage

ANYTHING: tuple[Any, ...] = (None, True, 7, 1e400, float("nan"), 10**400, "text", "\ud800", [], [[]], {}, {"a": {}})


class Values(dict):
    """A fake task state store."""

    def set(self, key, value):
        """As the store does."""
        self[key] = value


@pytest.mark.parametrize("value", ANYTHING, ids=repr)
@pytest.mark.parametrize("name", ["ids", "counts", "message", "state", "service_status", "updated_at"])
def test_a_summary_with_anything_in_it(name, value):
    """It is loaded, and saved again with the new values."""
    values = Values()
    RecordStorage(values).save(JobRecord("f", summary={"state": "running"}))
    values[KEY]["summary"] = {"state": "running", name: value}
    storage = RecordStorage(values)
    storage.save(storage.load().with_summary(5.0, done=3))
    assert values[KEY]["summary"]["done"] == 3


@pytest.mark.parametrize("value", [*ANYTHING[:6], "text", [], {}], ids=repr)
def test_a_history_with_any_time_in_it(value):
    """Entries without a valid time are left out, the others are read."""
    events = events_from_json([[value, "status", "a"], [5, "status", "b"], value])
    assert [event.text for event in events][-1:] == ["b"]
    assert len(events) == (2 if value == 7 else 1)
