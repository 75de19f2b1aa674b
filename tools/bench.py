"""`make bench`: what imports, reading, pushes, uploads and the record cost, each beside something comparable."""

from __future__ import annotations

import json
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
            "JSON Lines, streamed": lambda: sum(len(each.records) for each in FileSource(str(lines)).chunks()),
            "JSON, streamed": lambda: sum(len(each.records) for each in FileSource(str(whole)).chunks()),
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
    subprocess.run([sys.executable, Path(__file__).with_name("bench_imports.py")], check=True)
    reading()
    pushing()
    bench_record.recording()
    bench_uploads.uploading()
