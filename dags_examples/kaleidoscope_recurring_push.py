"""
### Push every day what came in that day

A run covers one day, its data interval: from `data_interval_start` up to, but not including, `data_interval_end`. It
pushes the measurements of that day and no others, so a run can be repeated, or backfilled, at any time later.

- `catchup=True` backfills the days since `start_date`, here three days in March 2026, `max_active_runs=1` one after
  the other: a sample that was measured again must end with its later value.
- `CronDataIntervalTimetable` gives a run the day before as its interval. A bare `"@daily"` does not in Airflow 3:
  there both ends of the interval are the same moment.
- A day on which nothing was measured is skipped: `short_circuit` passes rows on, but not an empty list.
- A failed run is retried. If Kaleidoscope has accepted the rows already, the next try reconnects to the import instead
  of pushing them twice.

The rows are passed from task to task by XCom, which is right for a day's worth of small ones. For many, let the first
task write a file to storage that all workers can read, and return its path.
"""

from __future__ import annotations

import csv
from datetime import timedelta
from pathlib import Path

import pendulum
from airflow.sdk import DAG, task
from airflow.timetables.interval import CronDataIntervalTimetable

from sluice_provider.operators.kaleidoscope import KaleidoscopePushOperator

MEASUREMENTS = Path(__file__).parent / "data" / "measurements.csv"


@task.short_circuit
def rows_of_the_day(
    data_interval_start: pendulum.DateTime | None = None, data_interval_end: pendulum.DateTime | None = None
) -> list[dict[str, str]]:
    """Select the measurements taken in the run's data interval, which Airflow passes in. None of them: no push."""
    if data_interval_start is None or data_interval_end is None:
        raise ValueError("this run has no data interval; trigger it with a logical date")
    with MEASUREMENTS.open(newline="") as file:
        return [
            row
            for row in csv.DictReader(file)
            if data_interval_start <= pendulum.parse(row["measured_at"]) < data_interval_end
        ]


with DAG(
    "kaleidoscope_recurring_push",
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
    start_date=pendulum.datetime(2026, 3, 2, tz="UTC"),
    end_date=pendulum.datetime(2026, 3, 4, tz="UTC"),
    catchup=True,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["sluice", "demo", "kaleidoscope"],
    doc_md=__doc__,
) as dag:
    KaleidoscopePushOperator(
        task_id="push",
        records=rows_of_the_day(),
        key_field_names=["id"],
        set_name="Measurements of {{ data_interval_start | ds }}",
        deferrable=True,
    )


if __name__ == "__main__":
    dag.test(logical_date=pendulum.datetime(2026, 3, 3, tz="UTC"))
