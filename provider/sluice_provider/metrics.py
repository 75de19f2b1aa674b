"""Figures of remote jobs among Airflow's own metrics: they go wherever those go, and nowhere if those do.

| name | kind | tags | what |
|---|---|---|---|
| `sluice.job.started` | counter | system, kind | a remote accepted a job |
| `sluice.job.finished` | counter | system, kind, state | a job was seen to be over |
| `sluice.job.duration` | timer, ms | system, kind, state | from the asking to that moment |
| `sluice.job.reconnected` | counter | system, kind | a later try found the job of an earlier one |
| `sluice.job.outcome_unknown` | counter | system, kind | nobody knew whether an earlier asking was heard |
| `sluice.status_check` | counter | system, kind | one look at a job |
| `sluice.rate_limited` | counter | system | a remote asked to be called less often |
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sluice_provider.runtime import compat

if TYPE_CHECKING:
    from sluice_provider.jobs import JobRef

log = logging.getLogger(__name__)


def count(name: str, ref: JobRef, **tags: str) -> None:
    """Count one, from a task."""
    _tell(compat.task_stats, "incr", f"sluice.{name}", tags=_tags(ref, tags))


def finished(ref: JobRef, state: str, seconds: float) -> None:
    """A job is over, so many seconds after it was asked for."""
    count("job.finished", ref, state=state)
    took = timedelta(seconds=max(0.0, seconds))
    _tell(compat.task_stats, "timing", "sluice.job.duration", took, tags=_tags(ref, {"state": state}))


def looked(ref: JobRef) -> None:
    """One look at a job, from the triggerer."""
    _tell(compat.server_stats, "incr", "sluice.status_check", tags=_tags(ref, {}))


def throttled(system: str, *, task: bool) -> None:
    """A remote asked to be called less often."""
    _tell(compat.task_stats if task else compat.server_stats, "incr", "sluice.rate_limited", tags={"system": system})


def _tell(stats: Callable[[], Any], how: str, *figures: Any, tags: dict[str, str]) -> None:
    """No job may suffer from a backend that is set up wrongly, cannot be reached, or refuses a name."""
    try:
        getattr(stats(), how)(*figures, tags=tags)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is not the job's trouble
        log.debug("%s could not be counted: %r", figures[0], error)


def _tags(ref: JobRef, more: dict[str, str]) -> dict[str, str]:
    return {"system": ref.system, "kind": ref.kind, **more}
