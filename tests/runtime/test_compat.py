"""What depends on the version of Airflow: it exists, and nothing is imported before it is used."""

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
def test_every_name_exists(module, name):
    """In the newest Airflow. Older ones lack some, which only code for newer ones uses."""
    assert getattr(module, name) is getattr(import_module(module.LAZY_IMPORTS[name]), name)


@pytest.mark.parametrize("module", MODULES)
def test_every_name_can_be_imported(module):
    """The list for type checkers and the one for Python agree."""
    assert set(module.LAZY_IMPORTS) <= set(module.__all__)
    assert set(module.__all__) - set(module.LAZY_IMPORTS) - {"HAVE_RETRY_POLICY"} <= set(vars(module))
    with pytest.raises(AttributeError, match=rf"module '{module.__name__}' has no attribute 'Nothing'"):
        _ = module.Nothing


@pytest.mark.airflow
def test_airflow_has_retry_policies():
    """As of 3.3."""
    assert compat.HAVE_RETRY_POLICY is True


def test_settings(monkeypatch):
    """Airflow's defaults, and configured values."""
    assert (compat.default_deferrable(), compat.min_heartbeat_interval()) == (False, 5)
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    monkeypatch.setenv("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", "2")
    assert (compat.default_deferrable(), compat.min_heartbeat_interval()) == (True, 2)


def test_mcalls_secrets_are_redacted():
    """In strings that are stored, as in logs."""
    compat.mask_secret("c0mpat-secret")
    assert compat.redact("it was c0mpat-secret") == "it was ***"


def test_metrics_of_servers(monkeypatch):
    """Before Airflow 3.2 their module has another name."""
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


def test_metrics_of_tasks():
    """From the SDK's own copy."""
    assert hasattr(compat.task_stats(), "incr")


def test_a_trigger_without_an_asset_state_store():
    """Before Airflow 3.3."""
    assert compat.asset_state_store(object()) is None


def test_the_arguments_of_get_task_states(monkeypatch):
    """Keywords, and lists."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    calls = []
    monkeypatch.setattr(
        RuntimeTaskInstance,
        "get_task_states",
        staticmethod(lambda **given: calls.append(given) or {"r": {"t": "failed"}}),
    )
    assert compat.get_task_states(dag_id="d", task_ids=("t",), run_ids=("r",)) == {"r": {"t": "failed"}}
    assert calls == [{"dag_id": "d", "task_ids": ["t"], "run_ids": ["r"], "map_index": -1}]
    assert compat.base_xcom().__name__ == "BaseXCom"
