"""`make bench`: what importing the operators costs, and what a push costs, each beside something to compare it with."""

from __future__ import annotations

import compileall
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import bench_record
import bench_uploads
import sluice_provider
from sluice_provider.services import SERVICES

BASE = "from airflow.sdk import DAG, BaseOperator"
LAYERS = ("operators", "sensors", "hooks")
OURS = "import " + ", ".join(f"sluice_provider.{layer}.{service.name}" for service in SERVICES for layer in LAYERS)
TRIGGERS = OURS + ", sluice_provider.triggers"
OTHERS = {
    "requests": "import requests",
    "standard operators (python)": "import airflow.providers.standard.operators.python",
}
RUNS = 15


def marginal(statement: str) -> float:
    """Milliseconds that a statement costs after the base import: median of forked children of one process."""
    script = f"""
import os, time
{BASE}
times = []
for _ in range({RUNS}):
    out, into = os.pipe()
    if os.fork() == 0:
        start = time.perf_counter()
        {statement}
        os.write(into, str(time.perf_counter() - start).encode())
        os._exit(0)
    os.wait()
    times.append(float(os.read(out, 64)))
print(sorted(times)[{RUNS // 2}] * 1000)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=_environment()
    )
    return float(done.stdout.split()[-1])


def base() -> float:
    """Milliseconds of the base import itself, in a fresh process."""
    script = f"import time; start = time.perf_counter(); {BASE}; print((time.perf_counter() - start) * 1000)"
    times = [
        float(
            subprocess.run(
                [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=_environment()
            ).stdout.split()[-1]
        )
        for _ in range(3)
    ]
    return statistics.median(times)


def _environment() -> dict[str, str]:
    home = Path(tempfile.gettempdir()) / "sluice_bench_home"
    home.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return {**kept, "AIRFLOW_HOME": str(home)}


def imports() -> None:
    """With bytecode in place, as pip leaves it."""
    compileall.compile_dir(str(Path(sluice_provider.__file__).parent), quiet=2)
    whole = base()
    print(f"\nImport, marginal to `{BASE}` ({whole:.0f} ms), median of {RUNS} forks")
    for name, statement in {"operators, sensors, hooks": OURS, "... and the trigger": TRIGGERS, **OTHERS}.items():
        cost = marginal(statement)
        print(f"  {name:32} {cost:7.1f} ms   x {1 + cost / whole:.3f}")


def timed(action: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and MiB of peak memory growth, of one call (measured in two runs: tracing costs time)."""
    start = time.perf_counter()
    action()
    seconds = time.perf_counter() - start
    tracemalloc.start()
    action()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return seconds, peak / 2**20


def reading(rows: int = 200_000) -> None:
    """Our streamed readers beside the standard library's whole ones, on the same files."""
    from sluice_provider.sources.readers import FileSource

    with tempfile.TemporaryDirectory() as folder:
        lines, whole = Path(folder) / "rows.jsonl", Path(folder) / "rows.json"
        records = [{"id": f"C{n:07}", "name": f"compound {n}", "weight": n / 7} for n in range(rows)]
        lines.write_text("\n".join(map(json.dumps, records)))
        whole.write_text(json.dumps(records))
        del records
        print(f"\nReading {rows} records, {whole.stat().st_size / 2**20:.0f} MiB: streamed, and whole by json.load")
        rows_of = {
            "JSON Lines, streamed": lambda: sum(1 for _ in FileSource(str(lines))),
            "JSON, streamed": lambda: sum(1 for _ in FileSource(str(whole))),
            "JSON, json.load": lambda: len(json.loads(whole.read_text())),
        }
        for name, action in rows_of.items():
            seconds, peak = timed(action)
            print(f"  {name:32} {seconds:7.2f} s   {peak:8.1f} MiB peak")


def pushing(rows: int = 20_000) -> None:
    """The flow and its driver beside bare httpx, the same requests to the same sandbox, taking turns."""
    import httpx

    from sluice_provider.apis.kaleidoscope import endpoints as kaleidoscope
    from sluice_provider.http.drivers import drive
    from sluice_sandbox import Sandbox

    records = [{"name": f"compound {n}", "molecular_weight": n / 7} for n in range(rows)]
    parts = [records[at : at + 1000] for at in range(0, rows, 1000)]
    with Sandbox(port=0) as sandbox:
        base_url = f"{sandbox.url}/kaleidoscope/"
        state = httpx.get(f"{sandbox.url}/control/state").json()["credentials"]["kaleidoscope"]
        grant = httpx.post(f"{base_url}auth/oauth/token", data={"grant_type": "client_credentials", **state}).json()
        headers = {"X-Kal-Authorization": f"Bearer {grant['access_token']}"}
        with httpx.Client(base_url=base_url, headers=headers, timeout=60) as client:

            def bare() -> None:
                for part in parts:
                    body = {"key_field_names": ["name"], "data": part}
                    client.post("push/imports", json=body).raise_for_status()

            def ours() -> None:
                for part in parts:
                    drive(kaleidoscope.push_by_field_name(["name"], part), client, time.sleep)

            bare()
            turns = [(_seconds(bare), _seconds(ours)) for _ in range(5)]
    plain, flow = (statistics.median(column) for column in zip(*turns, strict=True))
    print(f"\nPushing {rows} records in {len(parts)} requests to the sandbox, median of 5 turns")
    print(f"  bare httpx {plain:.2f} s, flow and driver {flow:.2f} s: x {flow / plain:.2f}")


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


if __name__ == "__main__":
    imports()
    reading()
    pushing()
    bench_record.recording()
    bench_uploads.uploading()
