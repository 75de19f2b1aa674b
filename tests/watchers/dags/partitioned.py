"""A DAG that webhooks schedule by way of an asset, a run for each partition key."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Asset, PartitionedAssetTimetable, task

from sluice_provider.events import event

handed_in = Asset("handed_in", uri="sluice://tests/handed_in")

with DAG("partitioned", schedule=PartitionedAssetTimetable(assets=handed_in)):

    @task
    def answer(**context: Any) -> dict[str, list[str]]:
        """Note which event it was."""
        found = event(context)
        return {"ids": [found["id"]], "files": [str(found["file_id"])]}

    answer()
