"""Extra links on a task, to its job in the service's own web UI."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperatorLink


class JobLink(BaseOperatorLink):
    """What the links of all systems share."""

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Called in the worker at the end of every leg of the task; the operator knows the address by then."""
        del ti_key
        return str(getattr(operator, "job_url", ""))


class KaleidoscopeLink(JobLink):
    """The operation, or the import, in Kaleidoscope. There from the moment that the import is accepted."""

    name = "Kaleidoscope"


class KiliLink(JobLink):
    """The project in Kili. There from the moment that the connection is known."""

    name = "Kili"
