"""DAGs that push while a whole Airflow runs. Where their files lie is said by SLUICE_E2E_DATA."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pendulum
from airflow.sdk import DAG
from airflow.timetables.interval import CronDataIntervalTimetable

from sluice_provider.operators.kaleidoscope import KaleidoscopePushOperator
from sluice_provider.operators.liquid_decisions import LiquidDecisionsImportOperator
from sluice_provider.sensors.kaleidoscope import KaleidoscopeImportSensor

DATA = os.environ["SLUICE_E2E_DATA"]
MARK, PID = Path(os.environ["SLUICE_E2E_MARK"]), Path(DATA) / "pid"
PUSH: dict[str, Any] = {
    "task_id": "push",
    "key_field_names": ["symbol"],
    "retries": 2,
    "retry_delay": timedelta(seconds=1),
}


class KilledPush(KaleidoscopePushOperator):
    """Dies as by kill -9, on its first try, while it waits for the import that it has submitted."""

    def execute(self, context: Any) -> Any:
        """Wait, or die."""
        if not MARK.exists():
            self.hook.sleep = self._die
        return super().execute(context)

    def _die(self, _seconds: float) -> None:
        MARK.touch()
        os.kill(os.getpid(), signal.SIGKILL)


class ImportThatReportsItsPid(LiquidDecisionsImportOperator):
    """Writes its process id, so that it can be sent a signal as a platform does."""

    def execute(self, context: Any) -> Any:
        """Import."""
        PID.write_text(str(os.getpid()))
        return super().execute(context)


with DAG("deferred", schedule=None):
    pushed = KaleidoscopePushOperator(**PUSH, records=f"{DATA}/elements.csv", deferrable=True)
    KaleidoscopeImportSensor(
        task_id="wait", import_id="{{ ti.xcom_pull('push')['import_ids'][0] }}", mode="reschedule", poke_interval=2
    ).set_upstream(pushed)

with DAG("killed", schedule=None):
    KilledPush(**PUSH, records=f"{DATA}/elements.csv")

with DAG("watched", schedule=None):
    KaleidoscopePushOperator(**PUSH, records=f"{DATA}/elements.csv", deferrable=True)

with DAG("ended", schedule=None):
    KaleidoscopePushOperator(**PUSH, records=f"{DATA}/elements.csv", deferrable=True)

for name in ("marked", "stopped"):
    with DAG(name, schedule=None):
        ImportThatReportsItsPid(
            task_id="push",
            file=f"{DATA}/contacts.csv",
            item_type="Contact",
            job_name=name,
            header_row=True,
            poll_interval=5,
            retries=2,
            retry_delay=timedelta(seconds=1),
        )

with DAG(
    "recurring",
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
    start_date=pendulum.datetime(2026, 3, 2, tz="UTC"),
    end_date=pendulum.datetime(2026, 3, 3, tz="UTC"),
    catchup=True,
    max_active_runs=1,
):
    KaleidoscopePushOperator(
        **PUSH,
        records=f"{DATA}/{{{{ data_interval_start | ds }}}}.csv",
        set_name="{{ data_interval_start | ds }} to {{ data_interval_end | ds }}",
        deferrable=True,
    )
