"""Metrics of remote jobs among Airflow's own: they go wherever those go, and nowhere if those do.

| name | kind | tags | what |
|---|---|---|---|
| `sluice.job.started` | counter | service, kind | a service accepted a job |
| `sluice.job.finished` | counter | service, kind, state | a job was seen to be over |
| `sluice.job.duration` | timer, ms | service, kind, state | from the submission until then |
| `sluice.job.reconnected` | counter | service, kind | a later try continues with the job of an earlier one |
| `sluice.job.outcome_unknown` | counter | service, kind | a request got no response: its outcome has to be found out |
| `sluice.status_check` | counter | service, kind | one poll of a job, in the worker or in the triggerer |
| `sluice.rate_limited` | counter | service | a service asked for fewer requests (429) |
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sluice_provider import compat

if TYPE_CHECKING:
    from sluice_provider.jobs import JobRef

log = logging.getLogger(__name__)


def count(name: str, ref: JobRef, **tags: str) -> None:
    """Count one, from a task."""
    _send(compat.task_stats, "incr", f"sluice.{name}", tags=_tags(ref, tags))


def finished(ref: JobRef, state: str, seconds: float) -> None:
    """A job is over, so many seconds after it was submitted."""
    count("job.finished", ref, state=state)
    took = timedelta(seconds=max(0.0, seconds))
    _send(compat.task_stats, "timing", "sluice.job.duration", took, tags=_tags(ref, {"state": state}))


def status_checked(ref: JobRef) -> None:
    """One poll of a job, from the triggerer."""
    _send(compat.server_stats, "incr", "sluice.status_check", tags=_tags(ref, {}))


def rate_limited(service: str, *, task: bool) -> None:
    """A service asked for fewer requests."""
    _send(compat.task_stats if task else compat.server_stats, "incr", "sluice.rate_limited", tags={"service": service})


def _send(stats: Callable[[], Any], how: str, *figures: Any, tags: dict[str, str]) -> None:
    """No job may suffer from a backend that is set up wrongly, cannot be reached, or refuses a name."""
    try:
        getattr(stats(), how)(*figures, tags=tags)
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not harm the job
        log.debug("%s could not be counted: %r", figures[0], error)


def _tags(ref: JobRef, more: dict[str, str]) -> dict[str, str]:
    return {"service": ref.service, "job_type": ref.job_type, **more}
