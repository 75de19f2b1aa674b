"""An auth manager for tests: one user may not read one DAG, which Airflow's simple auth manager cannot express."""

from __future__ import annotations

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

HIDDEN_DAG = "daily_partition"


RESTRICTED_USER = "rita"


class RestrictedAuthManager(SimpleAuthManager):
    """As Airflow's simple one, but `RESTRICTED_USER` may not read `HIDDEN_DAG`."""

    def is_authorized_dag(self, *, user, details=None, **rest):
        """Whether the user may access the DAG."""
        if user.username == RESTRICTED_USER and details is not None and details.id == HIDDEN_DAG:
            return False
        return super().is_authorized_dag(user=user, details=details, **rest)
