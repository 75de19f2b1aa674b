"""An auth manager for one test: one user may not see one DAG, which Airflow's simple one cannot say."""

from __future__ import annotations

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

HIDDEN = "daily_partition"


class WalledAuthManager(SimpleAuthManager):
    """Wally stands behind a wall."""

    def is_authorized_dag(self, *, user, details=None, **rest):
        """As everybody, but for one DAG."""
        if user.username == "wally" and details is not None and details.id == HIDDEN:
            return False
        return super().is_authorized_dag(user=user, details=details, **rest)
