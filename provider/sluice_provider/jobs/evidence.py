"""Who ended a task? A job is cancelled only if a *user* ended the very try that works for it.

Airflow tells processes to stop for many reasons: a pod is evicted, a deployment replaces workers, three heartbeats
were lost, a newer try exists, the execution timeout is over, a trigger moves to another triggerer. Then the job is left
alone, and the next try reconnects. What Airflow says of the task instance is the evidence: failed, succeeded, skipped
or removed while a process still works for it means that a user marked it so. A clear is recognised by the next try.
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
    :param state: of the task instance, as Airflow says; None if it could not be asked
    """
    if state is None:
        return Evidence(False, "Airflow could not be asked for the state of the task")
    if state in ENDED_BY_USER:
        return Evidence(True, ENDED_BY_USER[state])
    return Evidence(False, f"the state of the task is {state}, so no user ended it")


def of_deferral(state: str | None, leg_started_at: object, deferred_at: float) -> Evidence:
    """For a trigger, which may be a copy that outlived its deferral.

    :param leg_started_at: when the latest leg of the task began, as the task has noted
    :param deferred_at: when the task deferred to this trigger
    """
    found = of_try(state)
    if not found.user_ended:
        return found
    if not isinstance(leg_started_at, (int, float)) or leg_started_at > deferred_at:
        return Evidence(False, "the task has resumed since it deferred to this trigger")
    return found
