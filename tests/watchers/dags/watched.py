"""DAGs that watchers of the operation in SLUICE_E2E_OPERATION schedule."""

from __future__ import annotations

import os
import time
from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, task

from sluice_provider.errors import Conflict
from sluice_provider.events import events
from sluice_provider.hooks.kaleidoscope import KaleidoscopeHook
from sluice_provider.watchers import KaleidoscopeRegistrationTrigger

OPERATION = os.environ["SLUICE_E2E_OPERATION"]

registrations = Asset(
    "kaleidoscope_registrations",
    watchers=[
        AssetWatcher(
            name="files",
            trigger=KaleidoscopeRegistrationTrigger([OPERATION], poll_interval=1, repeat_after=8),
        )
    ],
)
drafts = Asset(
    "kaleidoscope_drafts",
    watchers=[
        AssetWatcher(
            name="drafts",
            trigger=KaleidoscopeRegistrationTrigger(
                [OPERATION], poll_interval=1, repeat_after=8, event_types=["registration_drafts_submitted"]
            ),
        )
    ],
)

with DAG("files", schedule=[registrations], max_active_runs=1):

    @task
    def process(**context: Any) -> dict[str, list[str]]:
        """Submit results for each event without results. Takes a while, so that later events have to wait."""
        time.sleep(2)
        hook, found = KaleidoscopeHook(), events(context)
        for each in found:
            try:
                hook.submit_results(each["operation_id"], str(each["file_id"]), "success")
            except Conflict:
                continue
        return {"ids": [each["id"] for each in found], "files": [str(each["file_id"]) for each in found]}

    process()

with DAG("drafts", schedule=[drafts]):

    @task
    def process_drafts() -> None:
        """Never runs: no drafts are submitted."""

    process_drafts()
