"""A DAG that webhooks start by an asset, with a run for each partition key."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Asset, PartitionedAssetTimetable, task

from sluice_provider.events import event

registrations = Asset("partitioned_registrations", uri="sluice://tests/registrations")

with DAG("partitioned", schedule=PartitionedAssetTimetable(assets=registrations)):

    @task
    def process(**context: Any) -> dict[str, list[str]]:
        """Return which event it was."""
        found = event(context)
        return {"ids": [found["id"]], "files": [str(found["file_id"])]}

    process()
