"""`make bench-imports`: what DAG files pay for importing this provider and others, and for being parsed.

Airflow parses each DAG file again and again, each time in a process of its own that is forked from one in which the
Task SDK is loaded. Here, too, each measurement is made in a forked child of a process that has imported the base, with
bytecode in place. The cases take turns, so that what else the machine does meets all of them.
"""

from __future__ import annotations

import argparse
import compileall
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

BASE = "from airflow.sdk import DAG, BaseOperator"
ROOT = Path(__file__).parents[1]
PROVIDER = ROOT / "provider" / "sluice_provider"
EXAMPLES = ROOT / "dags_examples"
SERVICES = ("kaleidoscope", "kili", "liquid_decisions", "finspace")

OURS = {
    "one operator (Kili)": "from sluice_provider.operators.kili import KiliSyncCloudStorageOperator",
    "one operator (Kaleidoscope)": "from sluice_provider.operators.kaleidoscope import KaleidoscopePushOperator",
    "one hook (Kaleidoscope)": "from sluice_provider.hooks.kaleidoscope import KaleidoscopeHook",
    "all operators, sensors, hooks": "import "
    + ", ".join(f"sluice_provider.{layer}.{name}" for layer in ("operators", "sensors", "hooks") for name in SERVICES),
}
PEERS = {
    "PythonOperator": "from airflow.providers.standard.operators.python import PythonOperator",
    "HttpOperator": "from airflow.providers.http.operators.http import HttpOperator",
    "GlueJobOperator": "from airflow.providers.amazon.aws.operators.glue import GlueJobOperator",
    "DbtCloudRunJobOperator": "from airflow.providers.dbt.cloud.operators.dbt import DbtCloudRunJobOperator",
    "requests": "import requests",
}
EMPTY = "empty DAG"
FILES = {
    EMPTY: "from airflow.sdk import DAG, BaseOperator\n\nwith DAG('empty'):\n    BaseOperator(task_id='one')\n",
    "one KiliSyncCloudStorageOperator": "from airflow.sdk import DAG\n"
    f"{OURS['one operator (Kili)']}\n\nwith DAG('kili'):\n"
    "    KiliSyncCloudStorageOperator(task_id='one', cloud_storage_connection_id='c')\n",
    "one @task": "from airflow.sdk import DAG, task\n\nwith DAG('task'):\n    task(lambda: 1, task_id='one')()\n",
    "one HttpOperator": f"from airflow.sdk import DAG\n{PEERS['HttpOperator']}\n\nwith DAG('http'):\n"
    "    HttpOperator(task_id='one')\n",
    "one GlueJobOperator": f"from airflow.sdk import DAG\n{PEERS['GlueJobOperator']}\n\nwith DAG('glue'):\n"
    "    GlueJobOperator(task_id='one', job_name='j')\n",
}
"""DAG files of one task each, by what they contain."""


class Cost(NamedTuple):
    """Of one forked child: milliseconds by the clock and of CPU, and the number of modules that were loaded."""

    wall: float
    cpu: float
    modules: int


def forked(action: Callable[[], object]) -> Cost | str:
    """What an action costs in a child of this process, or why it failed there."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(out)
        os.write(into, json.dumps(_measured(action)).encode())
        os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as stream:
        text = stream.read()
    os.waitpid(child, 0)
    found = json.loads(text)
    return found if isinstance(found, str) else Cost(*found)


def _measured(action: Callable[[], object]) -> Cost | str:
    known, started, cpu = len(sys.modules), time.perf_counter(), time.process_time()
    try:
        action()
    except Exception as error:  # noqa: BLE001 - a case that cannot be measured is left out, with its reason
        return f"{type(error).__name__}: {error}"
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    return Cost(wall * 1000, cpu * 1000, len(sys.modules) - known)


def medians(cases: dict[str, Callable[[], object]], runs: int) -> dict[str, Cost | str]:
    """The median cost of each case, all of them in turn; for a case that fails, why."""
    turns = [{name: forked(action) for name, action in cases.items()} for _ in range(runs)]
    return {name: _median([turn[name] for turn in turns]) for name in cases}


def _median(costs: list[Cost | str]) -> Cost | str:
    failed = [cost for cost in costs if isinstance(cost, str)]
    measured = [cost for cost in costs if isinstance(cost, Cost)]
    return failed[0] if failed else Cost(*(statistics.median(column) for column in zip(*measured, strict=True)))


def imports(runs: int) -> None:
    """Marginal to the base: what a DAG file's import statement costs."""
    actions = {name: _executing(statement) for name, statement in {**OURS, **PEERS}.items()}
    print(f"\nImport, marginal to `{BASE}`, median of {runs} forked processes")
    _table(medians(actions, runs), next(iter(OURS)))


def parsing(runs: int) -> None:
    """By Airflow's own DagBag, imports included."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"dag_{number}.py" for number, name in enumerate(FILES)}
        for name, path in paths.items():
            path.write_text(FILES[name])
        paths.update({f"example {path.stem}": path for path in sorted(EXAMPLES.glob("*.py"))})
        print(f"\nParsing of a DAG file, imports included, median of {runs} forked processes")
        _table(medians({name: _parsing(path) for name, path in paths.items()}, runs), EMPTY)


def _executing(statement: str) -> Callable[[], object]:
    code = compile(statement, "<import>", "exec")
    return lambda: exec(code, {})


def _parsing(path: Path) -> Callable[[], object]:
    from airflow.dag_processing.dagbag import DagBag

    def parse() -> None:
        bag = DagBag(path, safe_mode=False)
        if bag.import_errors or not bag.dags:
            raise RuntimeError(str(bag.import_errors or "no DAG in it").strip().splitlines()[-1])

    return parse


def _table(costs: dict[str, Cost | str], reference: str) -> None:
    compared = costs[reference]
    assert isinstance(compared, Cost), f"{reference}: {compared}"
    for name, cost in costs.items():
        if isinstance(cost, str):
            print(f"  {name:42} not measured: {cost}")
        else:
            ratio = f"x {cost.cpu / compared.cpu:.1f}"
            print(f"  {name:42} {cost.wall:7.1f} ms {cost.cpu:7.1f} ms CPU {cost.modules:5.0f} modules {ratio:>8}")
    print(f"  (x: times the CPU of {reference!r}, which other processes disturb less than the clock)")


def _prepare(peers: str | None) -> None:
    """The process that is forked from: the base is loaded, settings are Airflow's defaults, bytecode is in place."""
    for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
        del os.environ[name]
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="sluice_bench_")
    os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "ERROR"
    for folder in filter(None, (str(PROVIDER), peers)):
        compileall.compile_dir(folder, quiet=2)
    if peers:
        sys.path.append(peers)
    started = time.perf_counter()
    exec(BASE, {})
    print(f"Base import {(time.perf_counter() - started) * 1000:.0f} ms; load {os.getloadavg()[0]:.1f}")
    gc.freeze()  # as the DAG processor does before it forks


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what DAG files pay for imports.")
    parser.add_argument("--runs", type=int, default=15, help="forked processes for each case")
    parser.add_argument("--peers", metavar="FOLDER", help="further providers, as `pip install --target` puts them")
    options = parser.parse_args()
    _prepare(options.peers)
    imports(options.runs)
    from airflow.dag_processing import dagbag  # noqa: F401 - part of the DAG processor, not of a file

    gc.freeze()
    parsing(options.runs)
    print(f"\nLoad at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
