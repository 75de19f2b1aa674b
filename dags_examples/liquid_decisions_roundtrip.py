"""
### Every night: import two files into Liquid Decisions, export what changed that day

The accounts come as CSV, the visits as JSON. Both are streamed, whatever their size, and imported at the same time;
Liquid Decisions works in the background, and while it does the tasks are deferred and hold no worker slot.

Then what changed in the data interval of the run is exported. The task waits for the job, fetches its results into a
folder of that day, each file whole or not at all, and returns their paths.

- A job's name ends with a mark, like `Accounts [3f9c02a1be]`. If the response to an import is lost, its outcome is
  unknown, and Liquid Decisions cannot be queried for it: the task fails and names the job by this mark. It is not sent
  again, as that could import it twice. An export changes nothing, so it is submitted again.
- Files and destination may be anything that Airflow's ObjectStoragePath reaches, such as `s3://bucket/exports`.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pendulum
from airflow.sdk import DAG
from airflow.timetables.interval import CronDataIntervalTimetable

from sluice_provider.operators.liquid_decisions import LiquidDecisionsExportOperator, LiquidDecisionsImportOperator

DATA = Path(__file__).parent / "data"
EXPORTS = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "exports"


with DAG(
    "liquid_decisions_roundtrip",
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
    start_date=pendulum.datetime(2026, 3, 2, tz="UTC"),
    end_date=pendulum.datetime(2026, 3, 2, tz="UTC"),
    catchup=True,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30), "deferrable": True},
    tags=["sluice", "demo", "liquid_decisions"],
    doc_md=__doc__,
) as dag:
    accounts = LiquidDecisionsImportOperator(
        task_id="import_accounts",
        file=str(DATA / "accounts.csv"),
        item_type="Account",
        job_name="Accounts",
        header_row=True,
    )
    visits = LiquidDecisionsImportOperator(
        task_id="import_visits", file=str(DATA / "visits.json"), item_type="Visit", job_name="Visits", merge=True
    )
    changed = LiquidDecisionsExportOperator(
        task_id="export_changed_visits",
        item_type="Visit",
        job_name="Visits of {{ data_interval_start | ds }}",
        content_type="csv",
        row_header=True,
        sql_query="""
            SELECT id, account, outcome, minutes FROM Visit
            WHERE changed >= '{{ data_interval_start | ds }}' AND changed < '{{ data_interval_end | ds }}'
        """,
        destination=f"{EXPORTS}/{{{{ data_interval_start | ds }}}}",
    )
    [accounts, visits] >> changed


if __name__ == "__main__":
    dag.test(logical_date=pendulum.datetime(2026, 3, 2, tz="UTC"))
