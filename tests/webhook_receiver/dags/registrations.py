"""DAGs that webhooks start. Nobody runs them here."""

from __future__ import annotations

from airflow.sdk import DAG, Asset, PartitionedAssetTimetable, task

PARTITIONED = Asset("registrations", uri="sluice://registrations")
PLAIN = Asset("plain", uri="sluice://plain")


@task
def take() -> None:
    """Take the event."""


with DAG("files", schedule=None):
    take()

with DAG("drafts", schedule=None):
    take()

with DAG("by_asset", schedule=PartitionedAssetTimetable(assets=PARTITIONED)):
    take()

with DAG("by_plain_asset", schedule=[PLAIN]):
    take()
