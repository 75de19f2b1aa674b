"""What the sensors for Kili wait for."""

from __future__ import annotations

from collections.abc import Mapping

from sluice_provider.apis.kili import endpoints as api
from sluice_provider.apis.validation import check_choice, check_id, check_whole_number
from sluice_provider.http.flow import Flow
from sluice_provider.jobs import JobRef
from sluice_provider.jobs.watched_job import WatchedJob

STATUSES = ("CONNECTED", "DISCONNECTED", "CHECKING")


class WatchedIntegration(WatchedJob):
    """An integration, until it has the given status."""

    service = "kili"

    def __init__(self, integration_id: str, status: str) -> None:
        self._integration_id = integration_id
        self._status = status

    def validate(self) -> None:
        check_id("cloud_storage_integration_id", self._integration_id)
        check_choice("status", self._status, STATUSES)

    def reference(self) -> JobRef:
        return JobRef(self.service, "integration", (self._integration_id,), {"status": self._status})


class WatchedConnection(WatchedJob):
    """A connection, until it is idle."""

    service = "kili"

    def __init__(self, connection_id: str) -> None:
        self._connection_id = connection_id

    def validate(self) -> None:
        check_id("cloud_storage_connection_id", self._connection_id)

    def initial_locator(self) -> Flow[Mapping[str, str]]:
        """The project, for the link, and when the differences were last computed before the wait."""
        status = yield from api.get_connection_status(self._connection_id)
        return {"project_id": status.project_id, "last_check": status.last_check}

    def reference(self) -> JobRef:
        return JobRef(self.service, "connection", (self._connection_id,))


class WatchedDifference(WatchedConnection):
    """A connection, until its bucket has new files."""

    def __init__(self, connection_id: str, minimum: int) -> None:
        super().__init__(connection_id)
        self._minimum = minimum

    def validate(self) -> None:
        super().validate()
        check_whole_number("minimum", self._minimum, 1)

    def reference(self) -> JobRef:
        return JobRef(self.service, "difference", (self._connection_id,), {"minimum": str(self._minimum)})
