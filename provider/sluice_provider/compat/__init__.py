"""What tasks and triggers use of Airflow beyond its public interface, and everything that depends on its version.

The public interface is `airflow.sdk`. All other names are imported here and in `server.py`, and nowhere else, so only
these two modules have to follow new versions of Airflow. Importing this one loads nothing of Airflow: each name is
imported when it is first used. Supported are Airflow 3.1 and newer.

A name of `LAZY_IMPORTS` that a module imports at its top is loaded with that module: that is needed for base classes;
import others inside functions.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sluice_provider import redaction
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
        AirflowTaskTimeout,
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
    "AirflowTaskTimeout",
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

LAZY_IMPORTS: Mapping[str, str] = {
    "AdvanceItem": "airflow.triggers.shared_stream",  # Airflow 3.3
    "AirflowException": _SDK,
    "AirflowFailException": _SDK,
    "AirflowNotFoundException": _SDK,
    "AirflowPlugin": _SDK,
    "AirflowRuntimeError": "airflow.sdk.exceptions",
    "AirflowSensorTimeout": _SDK,
    "AirflowSkipException": _SDK,
    "AirflowTaskTimeout": _SDK,
    "BaseEventTrigger": "airflow.triggers.base",
    "BaseTrigger": "airflow.triggers.base",
    "Dataset": "airflow.providers.common.compat.openlineage.facet",
    "RetryDecision": "airflow.sdk.definitions.retry_policy",  # Airflow 3.3
    "SharedStreamProducer": "airflow.triggers.shared_stream",  # Airflow 3.3
    "TriggerEvent": "airflow.triggers.base",
}
"""Names that can be imported from here, with the module that defines them."""

HAVE_RETRY_POLICY: bool
"""Whether operators take a `retry_policy` (Airflow 3.3). Before 3.3, only the type of an exception can prevent
retries."""

_lazy = lazy(__name__, LAZY_IMPORTS)


if not TYPE_CHECKING:  # else type checkers would give every name the type Any

    def __getattr__(name: str) -> Any:
        return _have_retry_policy() if name == "HAVE_RETRY_POLICY" else _lazy(name)


@cache
def _have_retry_policy() -> bool:
    from airflow.sdk import BaseOperator

    return "retry_policy" in inspect.signature(BaseOperator.__init__).parameters


# --- settings


def conf() -> Any:
    """Airflow's configuration, with `get`, `getint`, `getboolean` and so on."""
    return import_module(_SDK).conf


def default_deferrable() -> bool:
    """Whether operators that can defer do so by default (`[operators] default_deferrable`)."""
    return bool(conf().getboolean("operators", "default_deferrable", fallback=False))


def min_heartbeat_interval() -> int:
    """Minimum seconds between two heartbeats of a task (`[workers] min_heartbeat_interval`)."""
    return int(conf().getint("workers", "min_heartbeat_interval", fallback=5))


# --- secrets


def mask_secret(secret: str) -> None:
    """Keep a secret out of every log of this process and of its supervisor. May block.

    Airflow gets the secret only, not its encoded forms: its masker compiles all patterns anew with each one, which with
    all forms of 500 tokens takes 0.4 s for each further token (24 ms without). Our own texts are redacted before.
    """
    from airflow.sdk.log import mask_secret as mask

    redaction.add(secret)
    mask(secret)


def redact(text: str) -> str:
    """The text without the secrets that were masked in this process, and what has the form of one."""
    return redaction.redact(str(import_module(_SDK).redact(text)))


# --- XComs, stores and states


def base_xcom() -> type[BaseXCom]:
    """XComs in Airflow's database, whatever XCom backend is configured."""
    from airflow.sdk.bases.xcom import BaseXCom

    return BaseXCom


def asset_state_store(trigger: BaseEventTrigger) -> Any:
    """The store of the asset that this trigger watches, with `aget` and `aset`; None before Airflow 3.3."""
    return getattr(trigger, "asset_state_store", None)


def get_task_states(
    *, dag_id: str, task_ids: Sequence[str], run_ids: Sequence[str], map_index: int = -1
) -> Mapping[str, Mapping[str, Any]]:
    """The states of task instances, for a task or a trigger. Blocks.

    :return: states by run id and task id; a mapped instance's task id is followed by `_<map_index>`
    """
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states: Mapping[str, Mapping[str, Any]] = RuntimeTaskInstance.get_task_states(
        dag_id=dag_id, task_ids=list(task_ids), run_ids=list(run_ids), map_index=map_index
    )
    return states


# --- metrics


def task_stats() -> Any:
    """Metrics of a task."""
    return import_module(_SDK).Stats


def server_stats() -> Any:
    """Metrics of the triggerer and the API server: only their own copy of the module is configured there."""
    try:
        return import_module("airflow.observability.stats").Stats
    except ImportError:  # before Airflow 3.2
        return import_module("airflow.stats").Stats
