"""Extra links on a task, to its job in the service's own web UI."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperatorLink


class JobLink(BaseOperatorLink):
    """A link to the job of a task."""

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Called by Airflow in the worker whenever the task defers or ends; the operator has its job's URL by then."""
        del ti_key
        return str(getattr(operator, "job_url", ""))


class KaleidoscopeLink(JobLink):
    """A link to the operation, or else the import, in Kaleidoscope's web UI. It appears when the import is accepted."""

    name = "Kaleidoscope"


class KiliLink(JobLink):
    """A link to the project in Kili's web UI. It appears when the project is known."""

    name = "Kili"
