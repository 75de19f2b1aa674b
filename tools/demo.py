"""`make demo`: run every example DAG in a real Airflow against mock services, and show what happens.

Nothing is reached over the network and nothing is left behind: the sandbox and Airflow listen on loopback, keep what
they write in a temporary folder, and end with this program. Every DAG with the tag `demo` takes part.

A DAG that a connection names for its webhooks is not triggered from here. Instead the files of `data/handed_in` beside
the DAGs are registered in the sandbox, as a scientist would do, and the sandbox sends webhooks to Airflow.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_standalone import OVER, Standalone, StandaloneError
from processes import Program, clean_environment, free_ports
from retrying_client import RequestFailedError, RetryingClient

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import FrameType

Json = dict[str, Any]
DAGS = Path(__file__).resolve().parent.parent / "dags_examples"
HANDED_IN = Path("data/handed_in")
WEBHOOKS = {"kaleidoscope_default": "kaleidoscope_registration"}  # which connection's webhooks start which DAG
# Whole numbers in a task's result that do not count what the task did: durations and totals.
NOT_COUNTS = ("milliseconds", "total", "to_add", "to_remove", "left", "assets", "assets_before", "assets_after")
STATUS = ("status", "import_status")  # fields of a job in the sandbox's state
WIDTH = 99  # of everything that is printed, in columns


class Sandbox:
    """The mock services, as a program of their own."""

    def __init__(self, home: Path, job_seconds: float) -> None:
        (port,) = free_ports(1)
        self._command = [sys.executable, "-m", "sluice_sandbox", "--port", str(port)]
        self._env = clean_environment()
        self.url = f"http://127.0.0.1:{port}"
        settings = ["--settings", json.dumps({"job_seconds": job_seconds})]
        self.program = Program([*self._command, *settings], log=home / "sandbox.log", env=self._env)
        self._client = RetryingClient("The sandbox", self.url, timeout=10, gone=lambda: not self.program.running)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self.program.stop()

    def wait(self, seconds: float = 300) -> None:
        """Wait until it listens."""
        deadline = time.monotonic() + seconds
        while "Sluice sandbox on" not in self.program.tail():
            if time.monotonic() > deadline or not self.program.running:
                raise StandaloneError(f"The sandbox did not start. Its output ends with:\n{self.program.tail()}")
            time.sleep(0.1)

    def connections(self) -> dict[str, str]:
        """Return the connections to the sandbox as environment variables."""
        command = [*self._command, "--print-connections"]
        printed = subprocess.run(command, env=self._env, capture_output=True, text=True, check=True)
        return connections_in(printed.stdout)

    def state(self) -> Json:
        """Return what the mock services hold, without records."""
        return self._client.get("/control/state", {"records": "0"})

    def jobs(self) -> dict[str, str]:
        """Return the status of every job of the services, by its id."""
        return dict(jobs_in(self.state()))

    def register_files(self, folder: Path, url: str, secret: str) -> None:
        """Register every file of a folder in Kaleidoscope, which sends a webhook to this address for each."""
        settings = {"webhook_url": url, "webhook_secret": secret, "webhook_duplicates": 1}
        retries = {"webhook_retries": 20}  # Airflow may be busy for longer than a minute
        self._client.post("/control/settings", {**settings, **retries}, idempotent=True)
        for path in sorted(folder.glob("*.*")):
            file = {"file_name": path.name, "base64": base64.b64encode(path.read_bytes()).decode()}
            self._client.create("/control/kaleidoscope/registrations", file, partial(self._registration, path.name))

    def _registration(self, file_name: str) -> Json | None:
        """Return the registration of the file with this name, if there is one."""
        state = self.state()["kaleidoscope"]
        ids = {file["id"] for file in state["files"] if file["name"] == file_name}
        return next((each for each in state["registrations"] if each["file_id"] in ids), None)

    def webhooks_pending(self) -> bool:
        """Return whether a webhook is still to be delivered."""
        return any(not each["finished"] for each in self.state()["kaleidoscope"]["webhooks"])

    def trees(self) -> dict[str, Json]:
        """Return the files of every database that has some: path and size, by the name of the database."""
        return dict(trees_in(self._client.get("/control/state")))


@dataclass
class Run:
    """One run of a DAG, as far as it has come."""

    dag_id: str
    run_id: str
    state: str
    day: str = ""
    seconds: float = 0.0
    tasks: Counter[str] = field(default_factory=Counter)
    xcoms: str = ""
    jobs: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def over(self) -> bool:
        """Return whether it has ended."""
        return self.state in OVER


class DemoDags:
    """The DAGs of the demo and their runs, as of the last update."""

    def __init__(self, airflow: Standalone, sandbox: Sandbox, dags: Sequence[Json]) -> None:
        self._airflow = airflow
        self._sandbox = sandbox
        self._scheduled = {dag["dag_id"]: bool(dag["timetable_summary"]) for dag in dags}
        self.runs: dict[tuple[str, str], Run] = {}

    def start(self) -> None:
        """Unpause the DAGs, and trigger those that neither a schedule nor a webhook starts."""
        for dag_id, scheduled in self._scheduled.items():
            self._airflow.unpause(dag_id)
            if not scheduled and dag_id not in WEBHOOKS.values():
                self._airflow.trigger(dag_id)

    def update(self) -> bool:
        """Read the runs that have not ended. Return whether all runs have ended and no other will start."""
        # before the runs: a run that is created in between is then still due, and not overlooked
        due = {dag_id for dag_id, scheduled in self._scheduled.items() if scheduled and self._due(dag_id)}
        pending = self._sandbox.webhooks_pending()
        for dag_id in self._scheduled:
            for run in self._airflow.runs(dag_id):
                known = self.runs.get((dag_id, run["dag_run_id"]))
                if known is None or not known.over:
                    self.runs[dag_id, run["dag_run_id"]] = self._read(run)
        self._update_jobs()
        over = all(run.over for run in self.runs.values()) and not pending
        return over and not due and all(self.runs_of(dag_id) for dag_id in self._scheduled)

    def lines(self) -> list[str]:
        """Return one line per DAG with its progress."""
        return [progress_line(dag_id, self.runs_of(dag_id)) for dag_id in self._scheduled]

    def runs_of(self, dag_id: str) -> list[Run]:
        """Return the runs of a DAG seen so far."""
        return [run for run in self.runs.values() if run.dag_id == dag_id]

    def _due(self, dag_id: str) -> bool:
        """Return whether the scheduler will create another run at once."""
        due = self._airflow.get(f"dags/{dag_id}")["next_dagrun_run_after"]
        return due is not None and datetime.fromisoformat(due.replace("Z", "+00:00")) <= datetime.now(timezone.utc)

    def _update_jobs(self) -> None:
        """Read the jobs after the runs: then no run has succeeded while one of its jobs still seems to run."""
        statuses = self._sandbox.jobs()
        for run in self.runs.values():
            run.jobs = {job: status for job, status in statuses.items() if job in run.xcoms}

    def _read(self, run: Json) -> Run:
        dag_id, run_id = run["dag_id"], run["dag_run_id"]
        tasks = self._airflow.task_instances(dag_id, run_id)
        seen = Run(dag_id, run_id, run["state"], day=(run["logical_date"] or "")[:10], seconds=run["duration"] or 0.0)
        seen.tasks = Counter(task["state"] or "waiting" for task in tasks)
        for key, value in self._airflow.xcoms(dag_id, run_id):
            seen.xcoms += json.dumps(value) + "\n"
            if key == "return_value" and isinstance(value, dict):
                seen.counts.update({name: number for name, number in value.items() if is_count(name, number)})
        return seen


class Progress:
    """Lines that are rewritten in place on a terminal, and printed when they change elsewhere."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._last: list[str] = []

    def show(self, lines: Sequence[str]) -> None:
        """Show the lines of this moment."""
        if self._live:
            width = min(WIDTH, shutil.get_terminal_size().columns - 1)
            up = f"\x1b[{len(self._last)}A" if self._last else ""
            print(up + "".join(f"\x1b[2K{line[:width]}\n" for line in lines), end="")
        else:
            for line in lines:
                if line not in self._last:
                    print(line[:WIDTH])
        self._last = list(lines)


def is_count(name: str, value: object) -> bool:
    """Return whether this item of a task's result counts something, whichever service it is of."""
    return type(value) is int and name not in NOT_COUNTS


def connections_in(text: str) -> dict[str, str]:
    """Read `export NAME='value'` lines."""
    words = (shlex.split(line) for line in text.splitlines() if line.startswith("export "))
    return dict(word[1].split("=", 1) for word in words)


def webhook_secret() -> str:
    """Return a new secret, as Standard Webhooks wants it."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def with_webhooks(connections: Mapping[str, str], secret: str) -> dict[str, str]:
    """Add the webhook settings to the connections whose webhooks start a DAG."""
    found = dict(connections)
    for conn_id, dag_id in WEBHOOKS.items():
        name = f"AIRFLOW_CONN_{conn_id.upper()}"
        fields = json.loads(found[name])
        fields["extra"] = {**(fields.get("extra") or {}), "webhook_secret": secret, "webhook_dag_id": dag_id}
        found[name] = json.dumps(fields)
    return found


def jobs_in(state: Any) -> Iterator[tuple[str, str]]:
    """Find every job, whatever the service: an object with an id and a status."""
    if isinstance(state, list):
        for part in state:
            yield from jobs_in(part)
    if isinstance(state, dict):
        status = next((state[name] for name in STATUS if name in state), None)
        if isinstance(status, str) and isinstance(state.get("id"), str):
            yield state["id"], status
        for part in state.values():
            yield from jobs_in(part)


def trees_in(state: Any) -> Iterator[tuple[str, Json]]:
    """Find every tree of files that is not empty, whatever the service: an object with a name and files by path."""
    for part in state.values() if isinstance(state, dict) else state if isinstance(state, list) else ():
        yield from trees_in(part)
    if isinstance(state, dict) and isinstance(state.get("tree"), dict) and state["tree"]:
        yield str(state.get("name")), state["tree"]


def show_trees(trees: Mapping[str, Json]) -> None:
    """Print the folders of each tree with the number of files in them."""
    for name, files in trees.items():
        folders = Counter(path.rpartition("/")[0] + "/" for path in files)
        print(f"\n{name}: {len(files)} files, {sum(files.values())} bytes")
        for folder, count in sorted(folders.items()):
            print(f"  {folder:40} {count} {'file' if count == 1 else 'files'}")


def progress_line(dag_id: str, runs: Sequence[Run]) -> str:
    """Show the progress of a DAG: its latest run, the states of its tasks, and the statuses of its jobs."""
    if not runs:
        return f"  {dag_id:28} no run yet"
    run = runs[-1]
    parts = [run.day or f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}", run.state]
    parts.append(f"tasks: {_counted(run.tasks)}")
    if run.jobs:
        parts.append(f"jobs: {_counted(Counter(run.jobs.values()))}")
    return f"  {dag_id:28} " + "  ".join(parts)


def _counted(states: Counter[str]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items()))


def table(rows: Sequence[Sequence[str]]) -> str:
    """Align rows in columns below the first row as a heading; columns of numbers are aligned to the right."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    numeric = [all(_is_number(cell) for cell in column[1:]) for column in columns]

    def line(row: Sequence[str]) -> str:
        cells = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        return "  ".join(cells).rstrip()

    heading, *body = map(line, rows)
    return "\n".join([heading, "  ".join("-" * width for width in widths), *body])


def _is_number(cell: str) -> bool:
    return cell.replace(".", "", 1).isdigit() or cell == ""


def summary(runs: Sequence[Run]) -> str:
    """Return a table of all runs, with the counts in the results of their tasks, at most `WIDTH` columns wide."""
    rows = [["DAG", "day", "state", "seconds", "jobs"]]
    rows += [[run.dag_id, run.day, run.state, f"{run.seconds:.1f}", str(len(run.jobs) or "")] for run in runs]
    left = WIDTH - len("  ") - max(map(len, table(rows).splitlines()))
    wrapped = [["DAG", "day", "state", "seconds", "jobs", "results"]]
    for row, run in zip(rows[1:], runs, strict=True):
        counts = ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in run.counts.items())
        first, *others = textwrap.wrap(counts, max(left, 20)) or [""]
        wrapped += [[*row, first], *([*[""] * len(row), line] for line in others)]
    return table(wrapped)


def show_failures(airflow: Standalone, runs: Sequence[Run], lines: int = 40) -> None:
    """Print the end of the log of every task that failed."""
    for run in runs:
        for task in airflow.task_instances(run.dag_id, run.run_id) if run.state != "success" else []:
            if task["state"] == "failed":
                log = airflow.logs(run.dag_id, run.run_id, task["task_id"], task["try_number"], task["map_index"])
                print(f"\nThe end of the log of {run.dag_id}.{task['task_id']}, try {task['try_number']}:")
                print("\n".join(log.splitlines()[-lines:]))


def run_all(airflow: Standalone, sandbox: Sandbox, secret: str, timeout: float) -> bool:
    """Run every demo DAG to its end and show the progress. Return whether all succeeded."""
    dags = [dag for dag in airflow.wait_dags() if "demo" in {tag["name"] for tag in dag["tags"]}]
    if not dags:
        raise StandaloneError(f"no DAG in {airflow.dags} has the tag 'demo'")
    print(f"Running {len(dags)} DAGs")
    demo_dags, progress = DemoDags(airflow, sandbox, dags), Progress()
    demo_dags.start()
    for conn_id in WEBHOOKS:
        sandbox.register_files(
            airflow.dags / HANDED_IN, f"{airflow.url}/sluice/webhooks/kaleidoscope/{conn_id}", secret
        )

    def finished() -> bool | None:
        done = demo_dags.update()
        progress.show(demo_dags.lines())
        return done or None

    airflow.wait("the DAGs to finish", finished, timeout, every=1)
    runs = list(demo_dags.runs.values())
    print(f"\n{summary(runs)}")
    show_trees(sandbox.trees())
    show_failures(airflow, runs)
    return all(run.state == "success" for run in runs)


def demo(home: Path, args: argparse.Namespace) -> int:
    """Start everything, run the DAGs, and keep running until Ctrl-C, unless `--exit` is given."""
    started = time.monotonic()
    with Sandbox(home, args.job_seconds) as sandbox:
        sandbox.wait()
        print(f"Sandbox with the mock services: {sandbox.url}")
        print("Starting Airflow, which takes about 20 seconds")
        secret = webhook_secret()
        env = with_webhooks(sandbox.connections(), secret)
        with Standalone(args.dags, env=env, home=home / "airflow") as airflow:
            print(f"Airflow: {airflow.url}, ready after {time.monotonic() - started:.0f} s")
            try:
                fine = run_all(airflow, sandbox, secret, args.timeout)
            except RequestFailedError as error:
                outputs = f"The end of Airflow's output:\n{airflow.tail()}\nOf the sandbox's:\n{sandbox.program.tail()}"
                raise StandaloneError(f"{error}\n{outputs}") from error
            print(
                f"\n{'Every DAG succeeded' if fine else 'Not every DAG succeeded'}, {time.monotonic() - started:.0f} s"
            )
            if not args.exit:
                print(f"Airflow: {airflow.url}\nSandbox: {sandbox.url}\nPress Ctrl-C to stop both")
                with suppress(KeyboardInterrupt):
                    while airflow.running and sandbox.program.running:
                        time.sleep(1)
            print("Stopping")
    return 0 if fine else 1


def main(argv: Sequence[str]) -> int:
    """Run the demo. Whichever way it ends, everything it started ends with it."""
    parser = argparse.ArgumentParser(prog="make demo ARGS=...", description="Run the example DAGs against the sandbox.")
    parser.add_argument(
        "--exit", action="store_true", help="stop when the DAGs have finished, with exit code 0 if all succeeded"
    )
    parser.add_argument("--dags", type=Path, default=DAGS, help="folder with the DAGs (default: dags_examples)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep Airflow's home with all logs in this folder")
    parser.add_argument(
        "--job-seconds", type=float, default=10.0, help="how long a job of a service takes (default: 10)"
    )
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for all DAGs to finish (default: 600)")
    args = parser.parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a log file shows at once what a terminal would
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts with it ignored
    try:
        with tempfile.TemporaryDirectory(prefix="sluice-demo-") as temporary:
            home = args.keep or Path(temporary)
            home.mkdir(parents=True, exist_ok=True)
            return demo(home.resolve(), args)
    except (StandaloneError, RequestFailedError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped")
        return 130


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
