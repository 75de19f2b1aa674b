"""What people may have done to a stored record stops no task: what only tells people is read with suspicion."""

from __future__ import annotations

import pytest

from sluice_provider.jobs.record import JobRecord, events_from_json
from sluice_provider.jobs.storage import KEY, RecordStorage

ANYTHING = (None, True, 7, 1e400, float("nan"), 10**400, "text", "\ud800", [], [[]], {}, {"a": {}})


class Values(dict):
    """Keys and values as the task state store keeps them."""

    def set(self, key, value):
        """As the store does."""
        self[key] = value


@pytest.mark.parametrize("value", ANYTHING, ids=repr)
@pytest.mark.parametrize("name", ["ids", "counts", "message", "state", "service_status", "updated_at"])
def test_a_summary_with_anything_in_it(name, value):
    """Is read, and written again with what is known now."""
    values = Values()
    RecordStorage(values).save(JobRecord("f", summary={"state": "running"}))
    values[KEY]["summary"] = {"state": "running", name: value}
    storage = RecordStorage(values)
    storage.save(storage.load().with_summary(5.0, done=3))
    assert values[KEY]["summary"]["done"] == 3


@pytest.mark.parametrize("value", [*ANYTHING[:6], "text", [], {}], ids=repr)
def test_a_history_with_any_time_in_it(value):
    """What has no time is no event; the others are read."""
    events = events_from_json([[value, "status", "a"], [5, "status", "b"], value])
    assert [event.text for event in events][-1:] == ["b"]
    assert len(events) == (2 if value == 7 else 1)
