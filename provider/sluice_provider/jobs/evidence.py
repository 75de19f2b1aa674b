"""Who ended a task? A job is cancelled only if a *user* ended the try that waits for it.

Airflow stops processes for many reasons: a pod is evicted, a deployment replaces workers, three heartbeats were lost, a
newer try exists, the execution timeout is over, a trigger moves to another triggerer. Then the job continues, and the
next try reconnects. The state of the task instance is the evidence: failed, success, skipped or removed while its
process still runs means that a user marked it so. A clear is recognised by the next try.
"""

from __future__ import annotations

from typing import NamedTuple

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


def of_try(state: str | None) -> Evidence:
    """
    :param state: of the task instance; None if Airflow could not be queried
    """
    if state is None:
        return Evidence(False, "the state of the task could not be read from Airflow")
    if state in ENDED_BY_USER:
        return Evidence(True, ENDED_BY_USER[state])
    return Evidence(False, f"the state of the task is {state}, so no user ended it")


def of_deferral(state: str | None, worker_run_started_at: object, deferred_at: float) -> Evidence:
    """For a trigger, which may be a copy that outlived its deferral.

    :param worker_run_started_at: when the latest worker run of the task started, as the task recorded it
    :param deferred_at: when the task deferred to this trigger
    """
    found = of_try(state)
    if not found.user_ended:
        return found
    if not isinstance(worker_run_started_at, (int, float)) or worker_run_started_at > deferred_at:
        return Evidence(False, "the task has resumed since it deferred to this trigger")
    return found
