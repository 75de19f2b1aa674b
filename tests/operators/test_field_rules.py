"""Fields that Kaleidoscope does not have, and values that do not fit, are found before anything is sent."""

from __future__ import annotations

from datetime import date, datetime

import pytest

from sluice_provider.errors import InvalidInput
from sluice_sandbox.kaleidoscope.fields import stable_id

pytestmark = pytest.mark.airflow

ROWS = [{"symbol": "H", "name": "Hydrogen"}, {"symbol": "He", "name": "Helium", "colour": "none", "odour": "none"}]


def sent(service):
    """All rows that were sent."""
    return [row for push in service.pushes for row in push["data"]]


def test_an_unknown_field_fails(push, service):
    """Named with its record, and with the field that may be meant."""
    task = push(records=[ROWS[0], {"symbol": "He", "nmae": "Helium"}], on_unknown_field="fail").run()
    assert isinstance(task.error, InvalidInput)
    assert "record 2 has the field 'nmae', which Kaleidoscope does not have (it has 'name')" in str(task.error)
    assert task.state == "failed"
    assert service.pushes == []


def test_unknown_fields_are_dropped(push, service):
    """From every row, and the log says which."""
    task = push(records=ROWS, on_unknown_field="drop").run()
    assert task.state == "success", task.error
    assert sent(service) == [ROWS[0], {"symbol": "He", "name": "Helium"}]
    assert task.logged("WARNING", "are left out: colour, odour")


@pytest.mark.parametrize("policy", ["create", None])
def test_unknown_fields_are_created(push, service, policy):
    """As without the argument, which reads no fields, but the log says which."""
    task = push(records=ROWS, on_unknown_field=policy).run()
    assert task.state == "success", task.error
    assert sent(service) == ROWS
    assert task.logged("WARNING", "will be created by Kaleidoscope: colour, odour") is bool(policy)
    assert any("data_fields" in each["path"] for each in service.requests()) is bool(policy)


def test_fields_by_id(push, service):
    """Are compared by id; what has no id cannot be created."""
    symbol, name = stable_id("key_field", "symbol"), stable_id("data_field", "name")
    rows = [{symbol: "H", name: "Hydrogen", "colour": "none"}]
    task = push(records=rows, key_field_names=None, key_field_ids=[symbol], on_unknown_field="drop").run()
    assert task.state == "success", task.error
    assert sent(service) == [{symbol: "H", name: "Hydrogen"}]
    task = push(records=rows, key_field_names=None, key_field_ids=[symbol], on_unknown_field="create").run()
    assert "on_unknown_field='create' goes with key_field_names only" in str(task.error)


def test_an_unknown_key_field(push, service):
    """Is found before the rows are read."""
    task = push(key_field_names=["symbl"], on_unknown_field="fail").run()
    assert "Kaleidoscope has no key field 'symbl' (it has 'symbol')" in str(task.error)


@pytest.mark.parametrize(
    ("field", "value", "fits"),
    [
        *[("atomic_number", value, True) for value in (1, 1.5, "1", "-1e5", None, "")],
        *[("atomic_number", value, False) for value in ("one", True, "nan", [1], "1,5")],
        *[("radioactive", value, True) for value in (True, "true", "False")],
        *[("radioactive", value, False) for value in (1, "yes", "0")],
        *[("registered_on", value, True) for value in (date(2026, 3, 1), datetime(2026, 3, 1), "2026-03-01")],
        *[("registered_on", value, False) for value in ("1.3.2026", 20260301, "March")],
        *[("name", value, True) for value in (1, True, "x")],
    ],
)
def test_types(push, service, field, value, fits):
    """What Kaleidoscope would reject, and nothing else, names the record and the type."""
    task = push(records=[{"symbol": "H"}, {"symbol": "He", field: value}], check_types=True).run()
    if fits:
        assert task.state == "success", task.error
        return
    assert f"record 2 has {field}={value!r}, and the type of this field is" in str(task.error)
    assert service.pushes == []


def test_a_retry_with_another_policy_begins_anew(push, service, tmp_path):
    """Other rows are sent of the same file."""
    path = tmp_path / "a.csv"
    path.write_text("symbol,colour\nH,none\nHe,none\n")
    task = push(records=str(path), batch_size=1)
    with task.death("after submitting", nth=1):
        task.worker_run()
    task.retry(on_unknown_field="drop")
    assert task.state == "success", task.error
    assert sent(service)[1:] == [{"symbol": "H"}, {"symbol": "He"}]


def test_a_dry_run_names_unknown_fields(push, service):
    """In its result."""
    task = push(records=ROWS, on_unknown_field="create", dry_run=True).run()
    assert task.result["unknown_fields"] == ["colour", "odour"]
    assert service.pushes == []


def test_rejected_rows_of_a_deferred_task(push, service, tmp_path):
    """The rows are read again after the deferral, with the same rules."""
    path = tmp_path / "rejected.jsonl"
    task = push(
        records=[{"symbol": "H", "atomic_number": "one", "colour": "none"}],
        on_unknown_field="drop",
        on_rejected_rows="warn",
        rejected_to=str(path),
        deferrable=True,
    ).run()
    assert task.state == "success", task.error
    assert '"symbol": "H", "atomic_number": "one", "_rejected_reason"' in path.read_text()


@pytest.mark.parametrize("args", [{"on_unknown_field": "ignore"}, {"on_unknown_field": True}])
def test_invalid_policies(push, service, args):
    """Before anything is read."""
    assert "on_unknown_field must be one of 'fail', 'create', 'drop'" in str(push(**args).run().error)
    assert service.requests() == []
