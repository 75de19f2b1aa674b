"""The state of a task instance, for `jobs.evidence`."""

from __future__ import annotations

import logging
from typing import Any

from sluice_provider import compat

log = logging.getLogger(__name__)


def task_state(ti: Any) -> str | None:
    """The state of a task instance; None if it cannot be read. Blocks: the request goes through the supervisor to the
    API server."""
    try:
        states = compat.get_task_states(
            dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
        )
        return str(states[ti.run_id][ti.task_id if ti.map_index < 0 else f"{ti.task_id}_{ti.map_index}"])
    except Exception as error:  # noqa: BLE001 - after any error the state is unknown, so nothing is cancelled
        log.warning("The state of the task could not be read from Airflow: %r", error)
        return None
