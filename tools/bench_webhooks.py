"""How many webhooks the receiver takes: so many files are registered at once, each announced twice, by several senders.

    python tools/bench_webhooks.py --files 1000 --senders 16
    python tools/bench_webhooks.py --database postgresql+psycopg2://postgres@127.0.0.1/empty --workers 2

Sandbox, receiver and database share this machine, so the figure is what one small machine does in all.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx

from airflow_api_server import ApiServer
from demo import webhook_secret, with_webhooks
from sluice_sandbox import Sandbox

DAG = """
from airflow.sdk import DAG, task

with DAG("kaleidoscope_registration", schedule=None):

    @task
    def take():
        pass

    take()
"""
PATIENCE = 600.0


def burst(files: int, senders: int, database: str | None, workers: int) -> str:
    """Let it happen, and say how it went."""
    secret = webhook_secret()
    with Sandbox() as sandbox, httpx.Client(base_url=sandbox.url, trust_env=False, timeout=60) as http:
        env = {f"AIRFLOW_CONN_{name.upper()}": found for name, found in sandbox.connections().items()}
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "dag.py").write_text(DAG)
            with ApiServer(Path(folder), env=with_webhooks(env, secret), database=database, workers=workers) as server:
                url = f"{server.url}/sluice/webhooks/kaleidoscope/kaleidoscope_default"
                settings = {"webhook_url": url, "webhook_secret": secret}
                more = {"webhook_duplicates": 1, "webhook_retries": 1000, "webhook_retry_delay": 0.5}
                http.post("/control/settings", json={**settings, **more}).raise_for_status()
                burst = {"files": files, "concurrency": senders}
                started = time.monotonic()
                http.post("/control/kaleidoscope/burst", json=burst).raise_for_status()
                deliveries = _wait(http)
                seconds = time.monotonic() - started
                [(runs,)] = server.rows("SELECT count(DISTINCT run_id) FROM dag_run")
                answers = Counter(line.split("status_code=")[1].split()[0] for line in _posts(server.log()))
    if runs != files:
        raise SystemExit(f"{files} files were registered, and there are {runs} runs")
    return (
        f"{len(deliveries)} webhooks of {files} registrations by {senders} senders: {seconds:.1f} s, "
        f"{len(deliveries) / seconds:.0f} a second, {runs} runs; answers: {json.dumps(dict(sorted(answers.items())))}"
    )


def _wait(http: httpx.Client) -> list[dict[str, object]]:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        deliveries = http.get("/control/state", params={"records": 0}).json()["kaleidoscope"]["webhooks"]
        if deliveries and all(each["finished"] for each in deliveries):
            return list(deliveries)
        time.sleep(0.5)
    raise SystemExit(f"not every webhook was taken in {PATIENCE:.0f} s")


def _posts(log: str) -> list[str]:
    return [line for line in log.splitlines() if "method=POST path=/sluice/webhooks" in line]


def main() -> None:
    """Once, as asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--senders", type=int, default=16)
    parser.add_argument("--database", help="SQLAlchemy URL of an empty database (default: SQLite)")
    parser.add_argument("--workers", type=int, default=1, help="processes of the API server")
    options = parser.parse_args()
    sys.stdout.write(burst(options.files, options.senders, options.database, options.workers) + "\n")


if __name__ == "__main__":
    main()
