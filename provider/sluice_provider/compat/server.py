"""What the plugin in the API server uses of Airflow beyond its public interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sluice_provider.compat.lazy import lazy

if TYPE_CHECKING:
    from airflow.api.common.trigger_dag import trigger_dag
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.common.dagbag import create_dag_bag
    from airflow.api_fastapi.common.db.common import SessionDep
    from airflow.api_fastapi.core_api.security import (
        ReadableTIFilterDep,
        requires_access_dag,
    )
    from airflow.assets.manager import asset_manager
    from airflow.exceptions import DagRunAlreadyExists
    from airflow.models.asset import (
        AssetEvent,
        AssetModel,
        PartitionedAssetKeyLog,
    )
    from airflow.models.dag import DagModel
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunTriggeredByType

__all__ = [
    "AssetEvent",
    "AssetModel",
    "DagAccessEntity",
    "DagModel",
    "DagRunAlreadyExists",
    "DagRunTriggeredByType",
    "PartitionedAssetKeyLog",
    "ReadableTIFilterDep",
    "SessionDep",
    "TaskInstance",
    "XComModel",
    "asset_manager",
    "create_dag_bag",
    "create_session",
    "get_auth_manager",
    "requires_access_dag",
    "secrets_backends",
    "task_state_store_model",
    "trigger_dag",
]

LAZY_IMPORTS = {
    "AssetEvent": "airflow.models.asset",
    "AssetModel": "airflow.models.asset",
    "DagAccessEntity": "airflow.api_fastapi.auth.managers.models.resource_details",
    "DagModel": "airflow.models.dag",
    "DagRunAlreadyExists": "airflow.exceptions",
    "DagRunTriggeredByType": "airflow.utils.types",
    "PartitionedAssetKeyLog": "airflow.models.asset",  # Airflow 3.2
    "ReadableTIFilterDep": "airflow.api_fastapi.core_api.security",
    "SessionDep": "airflow.api_fastapi.common.db.common",
    "TaskInstance": "airflow.models.taskinstance",
    "XComModel": "airflow.models.xcom",
    "asset_manager": "airflow.assets.manager",
    "create_dag_bag": "airflow.api_fastapi.common.dagbag",
    "create_session": "airflow.utils.session",
    "get_auth_manager": "airflow.api_fastapi.app",
    "requires_access_dag": "airflow.api_fastapi.core_api.security",
    "trigger_dag": "airflow.api.common.trigger_dag",
}
"""Names that can be imported from here, with the module that defines them."""

if not TYPE_CHECKING:
    __getattr__ = lazy(__name__, LAZY_IMPORTS)


def task_state_store_model() -> Any:
    """The table of the task state store; None before Airflow 3.3."""
    try:
        from airflow.models.task_state_store import TaskStateStoreModel
    except ImportError:
        return None
    return TaskStateStoreModel


def secrets_backends() -> Sequence[Any]:
    """The backends in which Airflow looks up connections, in the order of the search. Blocks."""
    from airflow.sdk.execution_time.supervisor import ensure_secrets_backend_loaded

    return ensure_secrets_backend_loaded()
