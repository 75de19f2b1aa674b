"""The only place that imports what Airflow does not promise, and the only one with version checks."""

from __future__ import annotations

import inspect
from typing import Any

from airflow.sdk import BaseOperator

HAVE_RETRY_POLICY = "retry_policy" in inspect.signature(BaseOperator.__init__).parameters


def redact(text: str) -> str:
    from airflow.providers.common.compat.sdk import redact as airflow_redact

    return str(airflow_redact(text))


def base_xcom() -> Any:
    from airflow.sdk.bases.xcom import BaseXCom

    return BaseXCom


def get_task_states(**what: Any) -> Any:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    return RuntimeTaskInstance.get_task_states(**what)


def default_deferrable() -> bool:
    from airflow.providers.common.compat.sdk import conf

    return bool(conf.getboolean("operators", "default_deferrable", fallback=False))


def min_heartbeat_interval() -> float:
    from airflow.providers.common.compat.sdk import conf

    return float(conf.getint("workers", "min_heartbeat_interval", fallback=5))


def fail_exception() -> type[Exception]:
    from airflow.providers.common.compat.sdk import AirflowFailException

    return AirflowFailException


def skip_exception() -> type[Exception]:
    from airflow.providers.common.compat.sdk import AirflowSkipException

    return AirflowSkipException


def sensor_timeout() -> type[Exception]:
    from airflow.providers.common.compat.sdk import AirflowSensorTimeout

    return AirflowSensorTimeout
