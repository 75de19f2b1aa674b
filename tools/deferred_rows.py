"""Deferred tasks in an Airflow database, made without a scheduler and workers: for `bench_triggerer.py`.

Run with the environment of that Airflow.
"""

from __future__ import annotations

import argparse
import time
from datetime import datetime, timedelta, timezone
from typing import Any

RUN = "run"


def job_trigger(number: int) -> Any:
    """Ours, for an import that was submitted an hour ago."""
    from sluice_provider.jobs import Job, JobGroup, JobRef, JobState
    from sluice_provider.triggers import JobTrigger

    now = time.time()
    job = JobRef("kaleidoscope", "import", (f"job-{number}",)).to_json()
    seen = JobGroup((Job(f"job-{number}", JobState.RUNNING, "processing"),)).digest
    return JobTrigger(
        "kaleidoscope", "kaleidoscope_default", job, now - 3600, poll_interval=60.0, deferred_at=now, seen=seen
    )


def sleeping_trigger(_number: int) -> Any:
    """Airflow's own, for comparison."""
    from airflow.providers.standard.triggers.temporal import DateTimeTrigger

    return DateTimeTrigger(datetime.now(timezone.utc) + timedelta(days=1))


def main() -> None:
    """Write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, required=True)
    parser.add_argument("--trigger", choices=["ours", "sleeping"], required=True)
    arguments = parser.parse_args()
    make_rows(arguments.jobs, job_trigger if arguments.trigger == "ours" else sleeping_trigger)


def make_rows(count: int, make_trigger: Any) -> None:
    """One DAG run with so many instances of one task, all deferred."""
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.trigger import Trigger
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState
    from sqlalchemy import select

    with create_session() as session:
        session.add(DagBundleModel(name="bench"))
    dag = _serialized_dag()
    with create_session() as session:
        first = session.scalars(select(TaskInstance).filter_by(dag_id="bench")).one()
        task, version = dag.get_task("wait"), first.dag_version_id
        for number in range(count):
            ti = first if not number else TaskInstance(task, run_id=RUN, map_index=number, dag_version_id=version)
            trigger = Trigger.from_object(make_trigger(number))
            session.add_all([trigger, ti])
            ti.state, ti.try_number, ti.trigger = TaskInstanceState.DEFERRED, 1, trigger
            ti.next_method = "execute_complete"


def _serialized_dag() -> Any:
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.sdk import DAG, BaseOperator
    from airflow.serialization.definitions.dag import SerializedDAG
    from airflow.serialization.serialized_objects import DagSerialization, LazyDeserializedDAG
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    with DAG("bench", schedule=None) as dag:
        BaseOperator(task_id="wait")
    with create_session() as session:
        lazy = LazyDeserializedDAG.from_dag(dag)
        SerializedDAG.bulk_write_to_db("bench", None, [lazy], session=session)
        SerializedDagModel.write_dag(lazy, bundle_name="bench", session=session)
    now = datetime.now(timezone.utc)
    serialized = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    serialized.create_dagrun(
        run_id=RUN,
        logical_date=now,
        data_interval=(now, now),
        run_after=now,
        run_type=DagRunType.MANUAL,
        triggered_by=DagRunTriggeredByType.TEST,
        state=DagRunState.RUNNING,
    )
    return serialized


if __name__ == "__main__":
    main()
