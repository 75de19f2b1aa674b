"""What depends on the version of Airflow: it is there, and nothing is loaded before somebody asks for it."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from sluice_provider import compat
from sluice_provider.compat import server

MODULES = [compat, server]


@pytest.mark.parametrize("module", MODULES)
def test_importing_it_loads_nothing_of_airflow(module):
    """Every process that reads a DAG file does so."""
    code = f"import {module.__name__}, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name.split(".")[0] for name in done.stdout.split()}.isdisjoint({"airflow", "fastapi", "sqlalchemy"})


@pytest.mark.airflow
@pytest.mark.parametrize(("module", "name"), [(module, name) for module in MODULES for name in module.LAZY_IMPORTS])
def test_what_it_names_is_there(module, name):
    """In the newest Airflow. Older ones lack some, which only code for newer ones asks for."""
    assert getattr(module, name) is getattr(import_module(module.LAZY_IMPORTS[name]), name)


@pytest.mark.parametrize("module", MODULES)
def test_what_is_named_can_be_imported_by_that_name(module):
    """The list for type checkers and the one for Python agree."""
    assert set(module.LAZY_IMPORTS) <= set(module.__all__)
    assert set(module.__all__) - set(module.LAZY_IMPORTS) - {"HAVE_RETRY_POLICY"} <= set(vars(module))
    with pytest.raises(AttributeError, match=rf"module '{module.__name__}' has no attribute 'Nothing'"):
        _ = module.Nothing


@pytest.mark.airflow
def test_airflow_has_retry_policies():
    """As of 3.3."""
    assert compat.HAVE_RETRY_POLICY is True


def test_settings_are_read(monkeypatch):
    """With Airflow's own defaults, and as they are set."""
    assert (compat.default_deferrable(), compat.min_heartbeat_interval()) == (False, 5)
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    monkeypatch.setenv("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", "2")
    assert (compat.default_deferrable(), compat.min_heartbeat_interval()) == (True, 2)


def test_masked_secrets_are_redacted():
    """In a text that is kept elsewhere than in a log."""
    compat.mask_secret("c0mpat-secret")
    assert compat.redact("it was c0mpat-secret") == "it was ***"


def test_servers_count_where_airflow_has_it(monkeypatch):
    """Before Airflow 3.2, under another name."""
    assert hasattr(compat.server_stats(), "incr")
    found = []

    def older(name):
        found.append(name)
        if name == "airflow.observability.stats":
            raise ModuleNotFoundError(name)
        return import_module("airflow.observability.stats")

    monkeypatch.setattr(compat, "import_module", older)
    assert hasattr(compat.server_stats(), "incr")
    assert found == ["airflow.observability.stats", "airflow.stats"]


def test_tasks_count():
    """With the SDK's own copy."""
    assert hasattr(compat.task_stats(), "incr")


def test_a_trigger_without_a_store_has_none():
    """Before Airflow 3.3."""
    assert compat.asset_state_store(object()) is None


def test_states_are_asked_for_as_airflow_takes_it(monkeypatch):
    """By keyword, and with lists."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    asked = []
    monkeypatch.setattr(
        RuntimeTaskInstance,
        "get_task_states",
        staticmethod(lambda **given: asked.append(given) or {"r": {"t": "failed"}}),
    )
    assert compat.get_task_states(dag_id="d", task_ids=("t",), run_ids=("r",)) == {"r": {"t": "failed"}}
    assert asked == [{"dag_id": "d", "task_ids": ["t"], "run_ids": ["r"], "map_index": -1}]
    assert compat.base_xcom().__name__ == "BaseXCom"
