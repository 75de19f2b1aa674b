"""Who ended a task? A job is cancelled only if a *user* ended the try that watches it.

Airflow tells processes to stop for many reasons: a pod is evicted, a deployment replaces workers, three heartbeats were
lost, a newer try exists, the execution timeout is over. Then the job is left alone, and the next try reconnects. What
Airflow says of the task instance is the evidence: failed, succeeded, skipped or removed while a process still works for
it means that a user marked it so. A clear is recognised by the next try.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sluice_provider.runtime import compat

ENDED_BY_USER = {
    "failed": "the task was marked failed",
    "success": "the task was marked success",
    "skipped": "the task was marked skipped",
    "removed": "the task was removed from its DAG",
}


class Evidence(NamedTuple):
    """:param why: for the log"""

    user_ended: bool
    why: str


def evidence(ti: Any) -> Evidence:
    """What Airflow says. May block: it asks the supervisor, and that the API server."""
    try:
        states = compat.get_task_states(
            dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
        )
        state = str(states[ti.run_id][ti.task_id if ti.map_index < 0 else f"{ti.task_id}_{ti.map_index}"])
    except Exception as error:  # noqa: BLE001 - whatever it is, we do not know the state, and so do not cancel
        return Evidence(False, f"Airflow could not be asked for the state of the task: {error!r}")
    if state in ENDED_BY_USER:
        return Evidence(True, ENDED_BY_USER[state])
    return Evidence(False, f"the state of the task is {state}, so no user ended it")
