"""Operators that change databases of Amazon FinSpace's Managed kdb."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sluice_provider.apis.finspace.change_requests import MAX_REQUESTS, ChangeRequest, delete, put
from sluice_provider.runtime.operator import RemoteJobOperator

if TYPE_CHECKING:
    from sluice_provider.apis.finspace.changeset_job import ChangesetJob
    from sluice_provider.lineage import Datasets

__all__ = ["ChangeRequest", "FinSpaceCreateChangesetOperator", "delete", "put"]


class FinSpaceCreateChangesetOperator(RemoteJobOperator):
    """Change a kdb database: copy files from S3 to it, and delete files from it, in the given order.

    More change requests than fit into one changeset become several changesets, each submitted when the one before has
    completed. No changeset is created twice: each is submitted with a client token that is stored in the task's record,
    and once the service may have forgotten the token (after ten minutes), the database's changesets are searched
    instead. A task that is cleared between its first and its last changeset continues; one that is cleared after its
    end makes all changes again.

    Returns `{"service", "state", "environment_id", "database_name", "changeset_ids", "put", "deleted", "changesets",
    "submitted_at", "ended_at", "seconds"}`; `changesets` contains the changes of each: `{"id", "put": [database paths],
    "deleted": [database paths]}`. With `dry_run`, `state` is "planned". The result is also the extra of the outlets'
    asset events.

    Based on CreateKxChangeset and GetKxChangeset of API version 2021-03-12. AWS ended the hosted service on 2026-10-07;
    the connection's `endpoint_url` names the server to use instead.

    :param environment_id: the kdb environment (templated)
    :param database_name: the database in it (templated)
    :param change_requests: dicts in the API's own spelling, `{"changeType": "PUT", "s3Path": "s3://bucket/db/sym",
        "dbPath": "/"}`, or made by `put` and `delete` of this module (templated)
    :param client_token: used instead of the token that the task generates; within ten minutes the service returns the
        same changeset for the same token, also to another task or after a clear (templated)
    :param max_requests_per_changeset: at most 32, which is the service's limit
    :param ensure_database: create the database first if it does not exist
    :param aws_conn_id: Airflow connection id, of type `aws`
    :param region_name: used instead of the connection's (templated)
    :raises InvalidInput: a change request is invalid; the message has its index and the rule. Nothing was submitted
    :raises JobFailed: a changeset failed; with the service's reason. Not retried if a new one would fail the same way
    """

    __supports_durable_execution = True

    service = "finspace"
    conn_arg = "aws_conn_id"
    template_fields: Sequence[str] = (
        "environment_id",
        "database_name",
        "change_requests",
        "client_token",
        "aws_conn_id",
        "region_name",
    )
    template_fields_renderers = {"change_requests": "json"}

    def __init__(
        self,
        *,
        environment_id: str,
        database_name: str,
        change_requests: Sequence[Mapping[str, Any]],
        client_token: str | None = None,
        max_requests_per_changeset: int = MAX_REQUESTS,
        ensure_database: bool = False,
        aws_conn_id: str = "aws_default",
        region_name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.environment_id = environment_id
        self.database_name = database_name
        self.change_requests = change_requests
        self.client_token = client_token
        self.max_requests_per_changeset = max_requests_per_changeset
        self.ensure_database = ensure_database
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name

    @property
    def locator(self) -> Mapping[str, str]:
        from sluice_provider.apis.finspace.job_types import changeset_locator

        return changeset_locator(self.environment_id, self.database_name, self.region_name)

    def job(self) -> ChangesetJob:
        from sluice_provider.apis.finspace.changeset_job import ChangesetJob

        return ChangesetJob(
            environment_id=self.environment_id,
            database_name=self.database_name,
            change_requests=self.change_requests,
            client_token=self.client_token,
            max_requests=self.max_requests_per_changeset,
            ensure_database=self.ensure_database,
            region_name=self.region_name,
        )

    def datasets(self) -> Datasets:
        from sluice_provider.lineage import Datasets, FileDataset, ServiceDataset

        sources = {FileDataset(request["s3Path"]) for request in self.change_requests if "s3Path" in request}
        database = ServiceDataset(("environments", self.environment_id, "databases", self.database_name))
        return Datasets(sorted(sources), [database])
