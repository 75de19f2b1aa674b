"""
### Push a table into Kaleidoscope

The chemical elements, out of a CSV file, become records in Kaleidoscope. Records are kept by their key, here the
element's symbol: pushing the table a second time updates the same 118 records.

Kaleidoscope imports in the background. While it does, the task is deferred and holds no worker slot; it succeeds when
the import has, and fails when a row was rejected. Its result has the numbers of records created and updated.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, task

from sluice_provider.operators.kaleidoscope import KaleidoscopePushOperator

DATA = Path(__file__).parent / "data"
log = logging.getLogger(__name__)


@task
def show(pushed: dict[str, Any]) -> None:
    """Log the result."""
    log.info("%(pushed)s rows pushed: %(created)s records created, %(updated)s updated", pushed)


with DAG(
    "kaleidoscope_push_elements",
    schedule=None,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    tags=["sluice", "demo", "kaleidoscope"],
    doc_md=__doc__,
) as dag:
    push = KaleidoscopePushOperator(
        task_id="push",
        records=str(DATA / "elements.csv"),
        key_field_names=["symbol"],
        set_name="Periodic table",
        deferrable=True,
    )
    show(push.output)


if __name__ == "__main__":
    dag.test()
