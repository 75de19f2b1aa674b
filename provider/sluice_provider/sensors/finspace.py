"""Sensors for Amazon FinSpace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sluice_provider.runtime.sensor import RemoteJobSensor

if TYPE_CHECKING:
    from sluice_provider.jobs.watched_job import WatchedJob


class FinSpaceChangesetSensor(RemoteJobSensor):
    """Wait until a changeset of a kdb database has ended.

    It has ended with the status COMPLETED or FAILED; every other status is running. A changeset that does not exist two
    minutes after the wait began counts as failed. If it failed, the sensor fails with the service's reason; it is
    retried only if the service reports a transient cause (an internal error, insufficient resources).

    Returns `{"ids", "state", "put", "deleted"}`: the changeset's id, and the numbers of its changes by type.

    Based on GetKxChangeset of API version 2021-03-12.

    :param environment_id: the kdb environment (templated)
    :param database_name: the database in it (templated)
    :param changeset_id: the changeset's id (templated)
    :param aws_conn_id: Airflow connection id, of type `aws`
    :param region_name: used instead of the connection's (templated)
    """

    __supports_durable_execution = True

    service = "finspace"
    conn_arg = "aws_conn_id"
    template_fields: Sequence[str] = ("environment_id", "database_name", "changeset_id", "aws_conn_id", "region_name")

    def __init__(
        self,
        *,
        environment_id: str,
        database_name: str,
        changeset_id: str,
        aws_conn_id: str = "aws_default",
        region_name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.environment_id = environment_id
        self.database_name = database_name
        self.changeset_id = changeset_id
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name

    @property
    def locator(self) -> Mapping[str, str]:
        from sluice_provider.apis.finspace.job_types import changeset_locator

        return changeset_locator(self.environment_id, self.database_name, self.region_name)

    def job(self) -> WatchedJob:
        from sluice_provider.apis.finspace.watched_jobs import WatchedChangeset

        return WatchedChangeset(self.changeset_id, self.locator)
