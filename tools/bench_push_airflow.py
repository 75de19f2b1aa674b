"""What the durable record of a push costs in a real Airflow: scheduler, API server, execution API, PostgreSQL.

    make bench-push-airflow
    python tools/bench_push_airflow.py --batches 10000

A task pushes so many small batches into a service on loopback. Measured in the task: the wall time of `execute`, and
how much of it writing the record takes; and what was written. PostgreSQL is needed (SLUICE_TEST_POSTGRES names another
server than 127.0.0.1:5432).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import bench_push
from airflow_standalone import Standalone
from bench_triggerer import database

DAG = '''
"""A push that measures itself."""
import json
import time

import pendulum
from airflow.sdk import DAG

from sluice_provider.jobs.storage import RecordStorage
from sluice_provider.operators.kaleidoscope import KaleidoscopePushOperator
from sluice_provider.runtime.store import TaskRecords

found = {"writes": 0, "bytes": 0, "largest": 0, "record": 0.0}


def saved(original):
    def save(self, *args):
        start = time.perf_counter()
        original(self, *args)
        found["record"] += time.perf_counter() - start

    return save


def counted(original):
    def write(self, key, value):
        original(self, key, value)
        size = len(json.dumps(value))
        found.update(writes=found["writes"] + 1, bytes=found["bytes"] + size, largest=max(found["largest"], size))

    return write


class MeasuredPushOperator(KaleidoscopePushOperator):
    def execute(self, context):
        TaskRecords.save, RecordStorage.write = saved(TaskRecords.save), counted(RecordStorage.write)
        wall, cpu = time.perf_counter(), time.process_time()
        super().execute(context)
        return {**found, "wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


with DAG("bench_push", schedule=None, start_date=pendulum.datetime(2024, 1, 1)):
    MeasuredPushOperator(task_id="push", records=FILE, key_field_names=["name"], batch_size=SIZE, retries=0)
'''


def pushing(batches: int, size: int, latency: float) -> None:
    """One run of the DAG."""
    with tempfile.TemporaryDirectory() as folder, database() as url:
        dags, rows = Path(folder) / "dags", Path(folder) / "rows.csv"
        dags.mkdir()
        bench_push.write_csv(rows, batches * size)
        (dags / "bench_push.py").write_text(DAG.replace("FILE", repr(str(rows))).replace("SIZE", str(size)))
        command = [sys.executable, bench_push.__file__, "serve", "0", str(latency)]
        service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert service.stdout is not None
            host = f"http://127.0.0.1:{int(service.stdout.readline())}"
            connection = {"conn_type": "kaleidoscope", "host": host, "login": "id", "password": "secret"}
            env = {
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
                "AIRFLOW_CONN_KALEIDOSCOPE_DEFAULT": json.dumps(connection),
            }
            with Standalone(dags, env=env) as airflow:
                airflow.wait_dags()
                airflow.unpause("bench_push")
                run_id = airflow.trigger("bench_push")
                airflow.wait_run("bench_push", run_id, timeout=1800)
                found = airflow.xcom("bench_push", run_id, "push")
                logs = "".join(path.read_text() for path in airflow.home.rglob("attempt=1.log"))
        finally:
            service.kill()
            service.wait()
    print(f"{batches} batches of {size} rows, latency {latency * 1000:.0f} ms, load {os.getloadavg()[0]:.1f}")
    share = found["record"] / found["wall"]
    print(f"  execute {found['wall']:.1f} s (CPU {found['cpu']:.1f} s), writing the record {share:.1%} of it")
    size_of = f"{found['bytes'] / 1e6:.2f} MB, the largest value {found['largest'] / 1e3:.1f} KB"
    print(f"  {found['writes']} writes of {size_of}")
    print(f"  warnings about large values in the task's log: {len(re.findall('max_value_storage_bytes', logs))}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batches", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--size", type=int, default=10, help="rows in a batch")
    parser.add_argument("--latency", type=float, default=0.02, help="seconds")
    options = parser.parse_args()
    for count in options.batches:
        pushing(count, options.size, options.latency)
