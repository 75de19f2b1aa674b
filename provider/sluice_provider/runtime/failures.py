"""What the Remote jobs page shows of tasks whose end the lifecycle does not see: they failed before it began, or
Airflow ended them by a timeout."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sluice_provider import compat

if TYPE_CHECKING:
    from sluice_provider.runtime.run import JobRun
    from sluice_provider.runtime.task import RemoteJobTask


@contextmanager
def shown_on_page(
    task: RemoteJobTask, context: Any, run: Callable[[], JobRun | None], *, prefix: str = ""
) -> Iterator[None]:
    """Write why a task failed, if nothing else does. No error of writing replaces the error of the task.

    :param run: this worker run, once it has begun
    :param prefix: of the message of a task that failed before its lifecycle began
    """
    try:
        yield
    except BaseException as error:  # Airflow's timeout of a task is no Exception
        begun = run()
        record = begun.execution.record if begun is not None else None
        if begun is not None and record is not None:
            if isinstance(error, (compat.AirflowSensorTimeout, compat.AirflowTaskTimeout)):
                begun.note_end(f"{type(error).__name__}: {error}")
        elif isinstance(error, Exception) and not isinstance(error, compat.AirflowSkipException):
            _save_failure(task, context, error, prefix)
        raise


def _save_failure(task: RemoteJobTask, context: Any, error: Exception, prefix: str) -> None:
    from sluice_provider.jobs.record import HistoryEvent, JobRecord
    from sluice_provider.runtime.store import save_for_page

    now = time.time()
    summary = {"service": task.service, "conn_id": task.conn_id, "state": "failed", "message": f"{prefix}{error}"}
    record = JobRecord("", summary={**summary, "ids": [], "submitted_at": None, "ended_at": now, "updated_at": now})
    try:
        save_for_page(context, record._replace(history=(HistoryEvent(round(now, 3), "error", f"{prefix}{error}"),)))
    except Exception as unwritten:  # noqa: BLE001 - the task's own error is what counts
        task.log.warning("Why this task failed could not be written for the page Remote jobs: %r", unwritten)
