"""What the sensor for Amazon FinSpace waits for."""

from __future__ import annotations

from collections.abc import Mapping

from sluice_provider.apis.finspace import validation as rules
from sluice_provider.jobs import JobRef
from sluice_provider.jobs.watched_job import WatchedJob


class WatchedChangeset(WatchedJob):
    """A changeset."""

    service = "finspace"

    def __init__(self, changeset_id: str, locator: Mapping[str, str]) -> None:
        self._changeset_id = changeset_id
        self._locator = locator

    def validate(self) -> None:
        rules.check_database(self._locator["environment_id"], self._locator["database_name"])
        rules.CHANGESET_ID.check("changeset_id", self._changeset_id)

    @property
    def locator(self) -> Mapping[str, str]:
        return self._locator

    def reference(self) -> JobRef:
        return JobRef(self.service, "changeset", (self._changeset_id,), self._locator)
