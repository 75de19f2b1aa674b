"""A DAG that a watcher of SLUICE_E2E_OPERATION schedules: it answers what waits, and notes what it was told."""

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
others = Asset(
    "kaleidoscope_others",
    watchers=[
        AssetWatcher(
            name="drafts",
            trigger=KaleidoscopeRegistrationTrigger(
                [OPERATION], poll_interval=1, repeat_after=8, event_types=["registration_drafts_submitted"]
            ),
        )
    ],
)

with DAG("watched", schedule=[registrations], max_active_runs=1):

    @task
    def answer(**context: Any) -> dict[str, list[str]]:
        """Send results for what was not answered before; not quickly, so that events must wait for each other."""
        time.sleep(2)
        hook, told = KaleidoscopeHook(), events(context)
        for each in told:
            try:
                hook.submit_results(each["operation_id"], str(each["file_id"]), "success")
            except Conflict:
                continue
        return {"ids": [each["id"] for each in told], "files": [str(each["file_id"]) for each in told]}

    answer()

with DAG("watched_others", schedule=[others]):

    @task
    def nothing() -> None:
        """Is never told of files."""

    nothing()
