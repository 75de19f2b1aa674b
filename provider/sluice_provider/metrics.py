"""Metrics of remote jobs, sent to Airflow's own metrics backend, if one is configured.

| name | type | tags | what |
|---|---|---|---|
| `sluice.job.started` | counter | service, job_type | a service accepted a job |
| `sluice.job.finished` | counter | service, job_type, state | a job has ended |
| `sluice.job.duration` | timer, ms | service, job_type, state | from the submission to its end |
| `sluice.job.reconnected` | counter | service, job_type | a later try continues with the job of an earlier one |
| `sluice.job.outcome_unknown` | counter | service, job_type | a submission got no response |
| `sluice.status_check` | counter | service, job_type | one poll of a job, in the worker or in the triggerer |
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
    """Increment a counter, from a task."""
    _send(compat.task_stats, "incr", f"sluice.{name}", tags=_tags(ref, tags))


def finished(ref: JobRef, state: str, seconds: float) -> None:
    """A job has ended, `seconds` after its submission."""
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
    """A job must not fail because of a metrics backend that is misconfigured, down, or rejects a name."""
    try:
        getattr(stats(), how)(*figures, tags=tags)
    except Exception as error:  # noqa: BLE001 - no error of the backend may fail the job
        log.debug("Metric %s was not sent: %r", figures[0], error)


def _tags(ref: JobRef, more: dict[str, str]) -> dict[str, str]:
    return {"service": ref.service, "job_type": ref.job_type, **more}
