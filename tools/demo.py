"""`make demo`: run every example DAG in a real Airflow against mock services, and show what happens.

Nothing is reached over the network and nothing is left behind: the sandbox and Airflow listen on loopback, keep what
they write in a temporary folder, and end with this program. Every DAG with the tag `demo` takes part.

A DAG that a connection names for its webhooks is not started from here. Instead somebody hands in, in the sandbox, the
files that are in `data/handed_in` beside the DAGs, and the sandbox sends webhooks to Airflow.
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
# Whole numbers in a task's result that do not count what was done: times, and how things stand.
STANDING = ("milliseconds", "total", "to_add", "to_remove", "left", "assets", "assets_before", "assets_after")
STATUS = ("status", "import_status")  # under one of these a remote job keeps its state


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

    def wait(self, seconds: float = 30) -> None:
        """Wait until it listens."""
        deadline = time.monotonic() + seconds
        while "Sluice sandbox on" not in self.program.tail():
            if time.monotonic() > deadline or not self.program.running:
                raise StandaloneError(f"The sandbox did not start. It wrote:\n{self.program.tail()}")
            time.sleep(0.1)

    def connections(self) -> dict[str, str]:
        """Return the environment that leads Airflow here."""
        command = [*self._command, "--print-connections"]
        told = subprocess.run(command, env=self._env, capture_output=True, text=True, check=True)
        return connections_in(told.stdout)

    def state(self) -> Json:
        """Return what the remotes hold."""
        return self._client.get("/control/state", {"records": "0"})

    def jobs(self) -> dict[str, str]:
        """Return the state of every remote job by its id."""
        return dict(jobs_in(self.state()))

    def hand_in(self, folder: Path, url: str, secret: str) -> None:
        """Let somebody register every file of a folder, and let webhooks tell of it at this address."""
        settings = {"webhook_url": url, "webhook_secret": secret, "webhook_signing": "hmac", "webhook_duplicates": 1}
        patient = {"webhook_retries": 20}  # Airflow may be busy for longer than a minute
        self._client.post("/control/settings", {**settings, **patient}, idempotent=True)
        for path in sorted(folder.glob("*.*")):
            file = {"file_name": path.name, "base64": base64.b64encode(path.read_bytes()).decode()}
            self._client.create("/control/kaleidoscope/registrations", file, partial(self._registration, path.name))

    def _registration(self, file_name: str) -> Json | None:
        """Return the registration of the file with this name, if there is one."""
        state = self.state()["kaleidoscope"]
        ids = {file["id"] for file in state["files"] if file["name"] == file_name}
        return next((each for each in state["registrations"] if each["file_id"] in ids), None)

    def telling(self) -> bool:
        """Say whether a webhook is still on its way."""
        return any(not each["finished"] for each in self.state()["kaleidoscope"]["webhooks"])

    def trees(self) -> dict[str, Json]:
        """Return the files of every remote that keeps files, by the name of what keeps them."""
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
    jobs: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def over(self) -> bool:
        """Say whether nothing more will happen."""
        return self.state in OVER


class Show:
    """The DAGs of the demo, and what can be seen of them at this moment."""

    def __init__(self, airflow: Standalone, sandbox: Sandbox, dags: Sequence[Json]) -> None:
        self._airflow = airflow
        self._sandbox = sandbox
        self._scheduled = {dag["dag_id"]: bool(dag["timetable_summary"]) for dag in dags}
        self.runs: dict[tuple[str, str], Run] = {}

    def start(self) -> None:
        """Let the DAGs go: a schedule brings its own runs, and so do webhooks; the others get one."""
        for dag_id, scheduled in self._scheduled.items():
            self._airflow.unpause(dag_id)
            if not scheduled and dag_id not in WEBHOOKS.values():
                self._airflow.trigger(dag_id)

    def look(self) -> bool:
        """Look once at everything that is not over. Say whether it all is."""
        jobs = self._sandbox.jobs()
        # before the runs: a run that is made in between is then still due, and not overlooked
        due = {dag_id for dag_id, scheduled in self._scheduled.items() if scheduled and self._due(dag_id)}
        telling = self._sandbox.telling()
        for dag_id in self._scheduled:
            for run in self._airflow.runs(dag_id):
                known = self.runs.get((dag_id, run["dag_run_id"]))
                if known is None or not known.over:
                    self.runs[dag_id, run["dag_run_id"]] = self._see(run, jobs)
        over = all(run.over for run in self.runs.values()) and not telling
        return over and not due and all(self.runs_of(dag_id) for dag_id in self._scheduled)

    def lines(self) -> list[str]:
        """Say in one line per DAG where it is."""
        return [line_of(dag_id, self.runs_of(dag_id)) for dag_id in self._scheduled]

    def runs_of(self, dag_id: str) -> list[Run]:
        """Return the runs of a DAG seen so far."""
        return [run for run in self.runs.values() if run.dag_id == dag_id]

    def _due(self, dag_id: str) -> bool:
        """Say whether the scheduler is going to make another run at once."""
        due = self._airflow.get(f"dags/{dag_id}")["next_dagrun_run_after"]
        return due is not None and datetime.fromisoformat(due.replace("Z", "+00:00")) <= datetime.now(timezone.utc)

    def _see(self, run: Json, jobs: Mapping[str, str]) -> Run:
        dag_id, run_id = run["dag_id"], run["dag_run_id"]
        tasks = self._airflow.task_instances(dag_id, run_id)
        seen = Run(dag_id, run_id, run["state"], day=(run["logical_date"] or "")[:10], seconds=run["duration"] or 0.0)
        seen.tasks = Counter(task["state"] or "waiting" for task in tasks)
        for key, value in self._airflow.xcoms(dag_id, run_id):
            text = json.dumps(value)
            seen.jobs |= {job: state for job, state in jobs.items() if job in text}
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
            width = shutil.get_terminal_size().columns - 1
            up = f"\x1b[{len(self._last)}A" if self._last else ""
            print(up + "".join(f"\x1b[2K{line[:width]}\n" for line in lines), end="")
        else:
            for line in lines:
                if line not in self._last:
                    print(line)
        self._last = list(lines)


def is_count(name: str, value: object) -> bool:
    """Say whether this part of a task's result counts something, whichever remote it is of."""
    return type(value) is int and name not in STANDING


def connections_in(text: str) -> dict[str, str]:
    """Read `export NAME='value'` lines."""
    words = (shlex.split(line) for line in text.splitlines() if line.startswith("export "))
    return dict(word[1].split("=", 1) for word in words)


def receiving(connections: Mapping[str, str], secret: str) -> dict[str, str]:
    """Make those connections receive webhooks whose webhooks start a DAG."""
    found = dict(connections)
    for conn_id, dag_id in WEBHOOKS.items():
        name = f"AIRFLOW_CONN_{conn_id.upper()}"
        fields = json.loads(found[name])
        fields["extra"] = {**(fields.get("extra") or {}), "webhook_secret": secret, "webhook_dag_id": dag_id}
        found[name] = json.dumps(fields)
    return found


def jobs_in(state: Any) -> Iterator[tuple[str, str]]:
    """Find every remote job, whatever the remote: a thing with an id and a status."""
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
    """Find every tree that is not empty, whatever the remote: a thing with a name and files by their paths."""
    for part in state.values() if isinstance(state, dict) else state if isinstance(state, list) else ():
        yield from trees_in(part)
    if isinstance(state, dict) and isinstance(state.get("tree"), dict) and state["tree"]:
        yield str(state.get("name")), state["tree"]


def show_trees(trees: Mapping[str, Json]) -> None:
    """Print each tree, a folder a line, with how many files are right in it."""
    for name, files in trees.items():
        folders = Counter(path.rpartition("/")[0] + "/" for path in files)
        print(f"\n{name}: {len(files)} files, {sum(files.values())} bytes")
        for folder, count in sorted(folders.items()):
            print(f"  {folder:40} {count} {'file' if count == 1 else 'files'}")


def line_of(dag_id: str, runs: Sequence[Run]) -> str:
    """Say where a DAG is: its latest run, the states of its tasks, and of its remote jobs."""
    if not runs:
        return f"  {dag_id:32} waiting"
    run = runs[-1]
    told = [run.day or "run", run.state]
    told.append(f"tasks: {_counted(run.tasks)}")
    if run.jobs:
        told.append(f"remote jobs: {_counted(Counter(run.jobs.values()))}")
    return f"  {dag_id:32} " + "  ".join(told)


def _counted(states: Counter[str]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items()))


def table(rows: Sequence[Sequence[str]]) -> str:
    """Set rows in columns, the first row as a heading; columns of numbers stand to the right."""
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
    """Set the outcome of all runs in a table."""
    names = list(dict.fromkeys(name for run in runs for name in run.counts))
    rows = [["DAG", "day", "state", *names, "seconds", "remote jobs"]]
    for run in runs:
        counts = [str(run.counts[name]) if name in run.counts else "" for name in names]
        jobs = " ".join(job[:8] for job in run.jobs)
        rows.append([run.dag_id, run.day, run.state, *counts, f"{run.seconds:.1f}", jobs])
    return table(rows)


def show_failures(airflow: Standalone, runs: Sequence[Run], lines: int = 40) -> None:
    """Print the end of the log of every task that failed."""
    for run in runs:
        for task in airflow.task_instances(run.dag_id, run.run_id) if run.state != "success" else []:
            if task["state"] == "failed":
                log = airflow.logs(run.dag_id, run.run_id, task["task_id"], task["try_number"], task["map_index"])
                print(f"\nThe end of the log of {run.dag_id}.{task['task_id']}, try {task['try_number']}:")
                print("\n".join(log.splitlines()[-lines:]))


def run_all(airflow: Standalone, sandbox: Sandbox, secret: str, timeout: float) -> bool:
    """Run every demo DAG to its end, showing how it goes. Say whether all succeeded."""
    dags = [dag for dag in airflow.wait_dags() if "demo" in {tag["name"] for tag in dag["tags"]}]
    if not dags:
        raise StandaloneError(f"no DAG in {airflow.dags} has the tag 'demo'")
    print(f"Running {len(dags)} DAGs")
    show, progress = Show(airflow, sandbox, dags), Progress()
    show.start()
    for conn_id in WEBHOOKS:
        sandbox.hand_in(airflow.dags / HANDED_IN, f"{airflow.url}/sluice/webhooks/kaleidoscope/{conn_id}", secret)

    def look() -> bool | None:
        done = show.look()
        progress.show(show.lines())
        return done or None

    airflow.wait("the DAGs to finish", look, timeout, every=1)
    runs = list(show.runs.values())
    print(f"\n{summary(runs)}")
    show_trees(sandbox.trees())
    show_failures(airflow, runs)
    return all(run.state == "success" for run in runs)


def demo(home: Path, args: argparse.Namespace) -> int:
    """Start everything, run the DAGs, and stay up unless told otherwise."""
    started = time.monotonic()
    with Sandbox(home, args.job_seconds) as sandbox:
        sandbox.wait()
        print(f"Sandbox with the mock services: {sandbox.url}")
        print("Starting Airflow, which takes about 20 seconds")
        secret = secrets.token_urlsafe(32)
        env = receiving(sandbox.connections(), secret)
        with Standalone(args.dags, env=env, home=home / "airflow") as airflow:
            print(f"Airflow: {airflow.url}, ready after {time.monotonic() - started:.0f} s")
            try:
                fine = run_all(airflow, sandbox, secret, args.timeout)
            except RequestFailedError as error:
                wrote = f"Airflow wrote last:\n{airflow.tail()}\nThe sandbox wrote last:\n{sandbox.program.tail()}"
                raise StandaloneError(f"{error}\n{wrote}") from error
            print(
                f"\n{'Every DAG succeeded' if fine else 'Not every DAG succeeded'}, {time.monotonic() - started:.0f} s"
            )
            if not args.exit:
                print(f"Airflow: {airflow.url}\nSandbox: {sandbox.url}\nCtrl-C ends both")
                with suppress(KeyboardInterrupt):
                    while airflow.running and sandbox.program.running:
                        time.sleep(1)
            print("Stopping")
    return 0 if fine else 1


def main(argv: Sequence[str]) -> int:
    """Run the demo; whichever way it ends, everything it started ends with it."""
    parser = argparse.ArgumentParser(prog="make demo ARGS=...", description="Run the example DAGs against the sandbox.")
    parser.add_argument("--exit", action="store_true", help="end when the DAGs have, with 0 only if all succeeded")
    parser.add_argument("--dags", type=Path, default=DAGS, help="folder with the DAGs (default: dags_examples)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep Airflow's home with all logs in this folder")
    parser.add_argument("--job-seconds", type=float, default=6.0, help="how long a remote job takes (default: 6)")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds until all DAGs must be over")
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
