"""
### Push in batches, and wait elsewhere

150 compounds out of a JSON Lines file, 40 at a time: each batch is an import of its own in Kaleidoscope, and the task
waits for all of them.

Then the same rows are pushed again by a task that does not wait. It returns the ids of the imports that it submitted,
and one sensor for each import waits in its place. Other tasks could run meanwhile. Since records are kept by their key,
the second push changes nothing.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, task

from sluice_provider.operators.kaleidoscope import KaleidoscopePushOperator
from sluice_provider.sensors.kaleidoscope import KaleidoscopeImportSensor

COMPOUNDS = Path(__file__).parent / "data" / "compounds.jsonl"


@task
def imports_of(pushed: dict[str, Any]) -> list[str]:
    """Return the ids of the imports that a push submitted, for the sensors to be mapped over."""
    ids: list[str] = pushed["import_ids"]
    return ids


with DAG(
    "kaleidoscope_push_compounds",
    schedule=None,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    tags=["sluice", "demo", "kaleidoscope"],
    doc_md=__doc__,
) as dag:
    push = KaleidoscopePushOperator(
        task_id="push",
        records=str(COMPOUNDS),
        key_field_names=["name"],
        set_name="Compounds",
        batch_size=40,
        deferrable=True,
    )
    push_again = KaleidoscopePushOperator(
        task_id="push_again",
        records=str(COMPOUNDS),
        key_field_names=["name"],
        set_name="Compounds",
        batch_size=75,
        wait_for_completion=False,
    )
    wait = KaleidoscopeImportSensor.partial(task_id="wait", deferrable=True).expand(
        import_id=imports_of(push_again.output)
    )
    push >> push_again


if __name__ == "__main__":
    dag.test()
