"""
### Keep a kdb database up to date, a day at a time

A run covers one day, its data interval. From a bucket it puts that day's partition and the symbol file, which
enumerates the symbols of all partitions, into a kdb database; then it deletes the partition that has become too old.

- The three changes are one changeset: the database has all of them or none. They are made in the order given.
- A run can be repeated, or backfilled, at any time: putting the same partition again replaces it, and deleting one
  that is not there changes nothing. `max_active_runs=1` keeps the days in order.
- While FinSpace works, the task is deferred and holds no worker slot. After a failure the next try reconnects to the
  changeset: it is submitted with a client token that is recorded before, so it is never created twice.
- A list of more than 32 changes would become several changesets, each awaited before the next.

The environment and the bucket are those of the sandbox; in your own DAG they are your own.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.sdk import DAG
from airflow.timetables.interval import CronDataIntervalTimetable

from sluice_provider.operators.finspace import FinSpaceCreateChangesetOperator, delete, put

HDB = "s3://sluice-market-data/hdb"
DAY = "{{ data_interval_start.strftime('%Y.%m.%d') }}"
TOO_OLD = "{{ data_interval_start.subtract(days=2).strftime('%Y.%m.%d') }}"

with DAG(
    "finspace_daily_partition",
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
    start_date=pendulum.datetime(2026, 3, 2, tz="UTC"),
    end_date=pendulum.datetime(2026, 3, 4, tz="UTC"),
    catchup=True,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["sluice", "demo", "finspace"],
    doc_md=__doc__,
) as dag:
    FinSpaceCreateChangesetOperator(
        task_id="change",
        environment_id="sluicesandbox4kdbx2026",
        database_name="ticks",
        ensure_database=True,
        change_requests=[
            put(f"{HDB}/{DAY}/", f"/{DAY}/"),
            put(f"{HDB}/sym", "/"),
            delete(f"/{TOO_OLD}/"),
        ],
        deferrable=True,
    )


if __name__ == "__main__":
    dag.test(logical_date=pendulum.datetime(2026, 3, 3, tz="UTC"))
