"""Human in the loop: a task that waits for a person's answer in Airflow's Required Actions (Airflow 3.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn


def can_wait_for_input() -> bool:
    """Whether a task can wait for a person without a worker, a trigger or a triggerer (Airflow 3.3)."""
    from airflow.sdk import exceptions

    return hasattr(exceptions, "TaskAwaitingInput")


def wait_for_input(
    ti: Any, *, subject: str, body: str, options: Sequence[str], fields: Mapping[str, str], method: str
) -> NoReturn:
    """End this worker run; the answer resumes the task in `method`, with the answer as `event`.

    :param body: Markdown
    :param options: the buttons
    :param fields: text fields with their titles; they may be left empty
    """
    from airflow.sdk import Param
    from airflow.sdk.exceptions import TaskAwaitingInput
    from airflow.sdk.execution_time.hitl import upsert_hitl_detail

    # A field that must not be null would disable the buttons until it is filled.
    params = {name: Param(None, type=["null", "string"], title=title).serialize() for name, title in fields.items()}
    upsert_hitl_detail(ti_id=ti.id, options=list(options), subject=subject, body=body, params=params)
    raise TaskAwaitingInput(method_name=method)
