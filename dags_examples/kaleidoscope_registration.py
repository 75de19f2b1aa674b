"""
### Check what is submitted for registration

Somebody registers a file in Kaleidoscope, which sends a webhook, and the webhook starts a run of this DAG. The file is
downloaded, each row is checked in plain Python, and the results are sent to Kaleidoscope. A file that cannot be read at
all gets a result, too: an error that says why.

The event is the run's `dag_run.conf`; `events` finds it also where an asset of a watcher has scheduled the run. It was
confirmed with Kaleidoscope before the run was made, and a webhook that is delivered twice makes one run.

For this the connection has a `webhook_secret`, shared with the sender, and `webhook_dag_id` with the id of this DAG;
webhooks go to `https://<airflow>/sluice/webhooks/kaleidoscope/kaleidoscope_default`.
"""

from __future__ import annotations

import csv
import os
import re
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, task

from sluice_provider.events import event
from sluice_provider.files import local_copy
from sluice_provider.operators.kaleidoscope import (
    KaleidoscopeDownloadFileOperator,
    KaleidoscopeSubmitRegistrationResultsOperator,
)

# With more than one worker, storage that all of them reach (s3://...).
FOLDER = Path(os.environ.get("AIRFLOW_HOME") or tempfile.gettempdir()) / "registrations"
ATOM = r"[A-Z][a-z]?\d*"


class Unreadable(Exception):
    """No row of the file can be read."""


@task(multiple_outputs=True)
def take(**context: Any) -> dict[str, Any]:
    """Return the event that started this run: which file, of which operation."""
    found = event(context)
    return {name: found[name] for name in ("operation_id", "file_id", "file_name")}


@task(multiple_outputs=True)
def check(download: dict[str, Any]) -> dict[str, Any]:
    """Check the file: a result for each of its rows, or an error that says why there is none."""
    with local_copy(download) as path:
        try:
            records = [result_of(row) for row in rows_of(path)]
        except Unreadable as error:
            return {"status": "error", "message": str(error), "records": []}
    wrong = sum(record["status"] == "error" for record in records)
    return {"status": "success", "message": f"{len(records)} rows checked, {wrong} wrong", "records": records}


def rows_of(path: Path) -> list[dict[str, str]]:
    """Read the rows of a CSV file, each of which is about one record."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise Unreadable(f"This is no CSV file: {error}") from error
    if not rows or not {"record_id", "name", "formula"} <= set(rows[0]):
        raise Unreadable("The file needs the columns record_id, name and formula, and at least one row")
    for row in rows:
        row["record_id"] = (row["record_id"] or "").strip()
    if not all(row["record_id"] for row in rows):
        raise Unreadable("A row has no record_id")
    if len({row["record_id"] for row in rows}) < len(rows):
        raise Unreadable("The same record_id is there more than once")
    return rows


def result_of(row: dict[str, str]) -> dict[str, Any]:
    """Check one row."""
    if re.fullmatch(f"({ATOM})+", row["formula"] or ""):
        data = {"name": row["name"], "formula": row["formula"]}
        return {"record_id": row["record_id"], "status": "matched", "data": data}
    problem = f"{row['formula']!r} is no chemical formula"
    return {"record_id": row["record_id"], "status": "error", "error_message": problem}


with DAG(
    "kaleidoscope_registration",
    schedule=None,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    tags=["sluice", "demo", "kaleidoscope"],
    doc_md=__doc__,
) as dag:
    taken = take()
    download = KaleidoscopeDownloadFileOperator(
        task_id="download",
        file_id=taken["file_id"],
        file_name=taken["file_name"],
        destination=str(FOLDER),
    )
    checked = check(download.output)
    KaleidoscopeSubmitRegistrationResultsOperator(
        task_id="answer",
        operation_id=taken["operation_id"],
        file_id=taken["file_id"],
        status=checked["status"],
        message=checked["message"],
        records=checked["records"],
        key_field_names=["name"],
    )
