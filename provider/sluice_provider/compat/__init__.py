"""What a task or a trigger needs from Airflow and Airflow does not promise, and everything that depends on its version.

Airflow promises the names in `airflow.sdk`. All others are imported here and in `server.py`, and nowhere else, so a
new version of Airflow changes these two modules. Importing this one loads nothing of Airflow: each name is imported
when somebody asks for it. Supported are Airflow 3.1 and newer.

Where a module imports a name of `PLACES` at its top, it is loaded with that module: base classes are, others should be
imported inside functions.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sluice_provider.compat.lazy import lazy

if TYPE_CHECKING:
    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.providers.common.compat.sdk import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowPlugin,
        AirflowSensorTimeout,
        AirflowSkipException,
    )
    from airflow.sdk.bases.xcom import BaseXCom
    from airflow.sdk.definitions.retry_policy import RetryDecision
    from airflow.sdk.exceptions import AirflowRuntimeError
    from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent
    from airflow.triggers.shared_stream import AdvanceItem, SharedStreamProducer

__all__ = [
    "HAVE_RETRY_POLICY",
    "AdvanceItem",
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowPlugin",
    "AirflowRuntimeError",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "BaseEventTrigger",
    "BaseTrigger",
    "Dataset",
    "RetryDecision",
    "SharedStreamProducer",
    "TriggerEvent",
    "asset_state_store",
    "base_xcom",
    "conf",
    "default_deferrable",
    "get_task_states",
    "mask_secret",
    "min_heartbeat_interval",
    "redact",
    "server_stats",
    "task_stats",
]

_SDK = "airflow.providers.common.compat.sdk"

PLACES: Mapping[str, str] = {
    "AdvanceItem": "airflow.triggers.shared_stream",  # Airflow 3.3
    "AirflowException": _SDK,
    "AirflowFailException": _SDK,
    "AirflowNotFoundException": _SDK,
    "AirflowPlugin": _SDK,
    "AirflowRuntimeError": "airflow.sdk.exceptions",
    "AirflowSensorTimeout": _SDK,
    "AirflowSkipException": _SDK,
    "BaseEventTrigger": "airflow.triggers.base",
    "BaseTrigger": "airflow.triggers.base",
    "Dataset": "airflow.providers.common.compat.openlineage.facet",
    "RetryDecision": "airflow.sdk.definitions.retry_policy",  # Airflow 3.3
    "SharedStreamProducer": "airflow.triggers.shared_stream",  # Airflow 3.3
    "TriggerEvent": "airflow.triggers.base",
}
"""Names that are importable from here, with the module that has them."""

HAVE_RETRY_POLICY: bool
"""Whether operators take a `retry_policy` (Airflow 3.3). Where not, only the type of an exception ends all tries."""

_lazy = lazy(__name__, PLACES)


if not TYPE_CHECKING:  # else every name would be one of any type

    def __getattr__(name: str) -> Any:
        return _have_retry_policy() if name == "HAVE_RETRY_POLICY" else _lazy(name)


def _have_retry_policy() -> bool:
    from airflow.sdk import BaseOperator

    return "retry_policy" in inspect.signature(BaseOperator.__init__).parameters


# --- settings


def conf() -> Any:
    """Airflow's configuration, with `get`, `getint`, `getboolean` and so on."""
    return import_module(_SDK).conf


def default_deferrable() -> bool:
    """Whether operators that can defer do so unless told otherwise (`[operators] default_deferrable`)."""
    return bool(conf().getboolean("operators", "default_deferrable", fallback=False))


def min_heartbeat_interval() -> int:
    """Seconds between two heartbeats of a task at the least (`[workers] min_heartbeat_interval`)."""
    return int(conf().getint("workers", "min_heartbeat_interval", fallback=5))


# --- secrets


def mask_secret(secret: str) -> None:
    """Keep a secret out of every log of this process and of its supervisor. May block."""
    from airflow.sdk.log import mask_secret as mask

    mask(secret)


def redact(text: str) -> str:
    """Return the text without the secrets that were masked in this process."""
    return str(import_module(_SDK).redact(text))


# --- what is stored


def base_xcom() -> type[BaseXCom]:
    """XComs as Airflow's database keeps them, whatever XCom backend is configured."""
    from airflow.sdk.bases.xcom import BaseXCom

    return BaseXCom


def asset_state_store(trigger: BaseEventTrigger) -> Any:
    """The store of the asset that this trigger watches, with `aget` and `aset`; None before Airflow 3.3."""
    return getattr(trigger, "asset_state_store", None)


def get_task_states(
    *, dag_id: str, task_ids: Sequence[str], run_ids: Sequence[str], map_index: int = -1
) -> Mapping[str, Mapping[str, Any]]:
    """Ask Airflow for the states of task instances, from a task or a trigger. Blocks.

    :return: states by run id and task id; a mapped instance's task id is followed by `_<map_index>`
    """
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states: Mapping[str, Mapping[str, Any]] = RuntimeTaskInstance.get_task_states(
        dag_id=dag_id, task_ids=list(task_ids), run_ids=list(run_ids), map_index=map_index
    )
    return states


# --- metrics


def task_stats() -> Any:
    """Where a task counts."""
    return import_module(_SDK).Stats


def server_stats() -> Any:
    """Where the triggerer and the API server count: they have a copy of their own, and only that is set up there."""
    try:
        return import_module("airflow.observability.stats").Stats
    except ImportError:  # before Airflow 3.2
        return import_module("airflow.stats").Stats
