"""DAGs for the browser tests. Their files are in the folder named by SLUICE_UI_DATA."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task

from sluice_provider.operators.kaleidoscope import KaleidoscopePushOperator
from sluice_provider.operators.liquid_decisions import LiquidDecisionsImportOperator

DATA = os.environ["SLUICE_UI_DATA"]
PUSH: dict[str, Any] = {
    "key_field_names": ["symbol"],
    "records": f"{DATA}/elements.csv",
    "retry_delay": timedelta(seconds=1),
}

with DAG("compounds", schedule=None):
    KaleidoscopePushOperator(task_id="push", **PUSH, deferrable=True)

with DAG("accounts", schedule=None):
    LiquidDecisionsImportOperator(
        task_id="import_accounts",
        file=f"{DATA}/accounts.csv",
        item_type="Account",
        job_name="Accounts",
        header_row=True,
        deferrable=True,
    )

with DAG("asked", schedule=None):
    LiquidDecisionsImportOperator(
        task_id="import_accounts",
        file=f"{DATA}/accounts.csv",
        item_type="Account",
        job_name="Asked",
        header_row=True,
        deferrable=True,
        on_unknown_outcome="ask",
    )

with DAG("plain", schedule=None):

    @task
    def loaded_modules() -> list[str]:
        """The modules of the plugin that this process has loaded."""
        return sorted(name for name in sys.modules if name.startswith("sluice_provider.plugin"))

    loaded_modules()
