"""How many waiting jobs one triggerer carries: a real triggerer, a real Airflow database, tasks that are deferred.

    make bench-triggerer
    make bench-triggerer ARGS="--jobs 5000 --steady 120"

The rows are made by SQL, and the service is `job_sink.py`, whose jobs never end. In turn: Airflow's own trigger that
only sleeps, for comparison; our trigger at a service without a listing; at a service with one. PostgreSQL is needed
(SLUICE_TEST_POSTGRES names another server than 127.0.0.1:5432). CPU is that of the processes, so it depends little on
what else the machine does; the load is printed beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil  # type: ignore[import-untyped]  # Airflow brings it
from sqlalchemy import create_engine, make_url, text

from processes import Program, clean_environment, free_ports

SERVER = os.environ.get("SLUICE_TEST_POSTGRES", "postgresql+psycopg2://postgres@127.0.0.1:5432/postgres")
ROWS = Path(__file__).with_name("deferred_rows.py")
OURS, SLEEPING = "ours", "sleeping"
PATIENCE = 300.0


@contextmanager
def database() -> Iterator[str]:
    """The URL of a new database, which is gone afterwards."""
    name = f"sluice_bench_{uuid.uuid4().hex[:12]}"
    server = create_engine(SERVER, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield make_url(SERVER).set(database=name).render_as_string(hide_password=False)
    finally:
        with server.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        server.dispose()


class Sink:
    """`job_sink.py` in a process of its own."""

    def __init__(self, folder: Path, jobs: int, *, lists: bool) -> None:
        self.port, self._control = free_ports(2)
        script = Path(__file__).with_name("job_sink.py")
        options = ["--jobs", str(jobs), "--port", str(self.port), "--control-port", str(self._control)]
        command = [sys.executable, str(script), *options, *(["--list"] if lists else [])]
        self.program = Program(command, log=folder / "sink.log")

    def counts(self, path: str = "counts") -> dict[str, Any]:
        """Its counters."""
        deadline = time.monotonic() + 30
        while True:
            try:
                with urlopen(f"http://127.0.0.1:{self._control}/{path}", timeout=30) as response:
                    found: dict[str, Any] = json.load(response)
                    return found
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)


class Triggerer:
    """A real one, of two processes: the supervisor, and the runner with the event loop."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.log = folder / "triggerer.log"
        self.program = Program([sys.executable, "-m", "airflow", "triggerer"], log=self.log, env=env, cwd=folder)
        self.supervisor, self.runner = self._wait_for_processes()

    def _wait_for_processes(self) -> tuple[psutil.Process, psutil.Process]:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            family = psutil.Process(self.program.pid).children(recursive=True)
            for process in family:  # the runner is forked, and talks to the supervisor by its standard input
                with suppress(OSError, psutil.Error):
                    supervisor = process.parent()
                    socket = str(Path(f"/proc/{process.pid}/fd/0").readlink()).startswith("socket:")
                    if socket and supervisor is not None and "triggerer" in supervisor.cmdline():
                        return supervisor, process
            time.sleep(0.2)
        raise SystemExit(f"The triggerer did not start. The end of its log:\n{self.program.tail()}")

    def cpu(self) -> tuple[float, float]:
        """CPU seconds of runner and supervisor."""
        runner, supervisor = (sum(each.cpu_times()[:2]) for each in (self.runner, self.supervisor))
        return runner, supervisor

    def rss(self) -> int:
        """Resident bytes of the runner."""
        return int(self.runner.memory_info().rss)

    def stalls(self) -> list[float]:
        """Seconds for which Airflow's watchdog saw the event loop blocked, over 0.2 s each."""
        return [
            float(each) for each in re.findall(r"blocked for ([0-9.]+) seconds", self.log.read_text("utf-8", "replace"))
        ]

    def count(self, words: str) -> int:
        """How often this is in its log."""
        return self.log.read_text("utf-8", "replace").count(words)


class Measurement:
    """One triggerer with so many deferred tasks."""

    def __init__(self, arguments: argparse.Namespace, trigger: str, *, lists: bool) -> None:
        self.jobs, self.steady, self.outage = arguments.jobs, arguments.steady, arguments.outage
        self.trigger, self.lists = trigger, lists

    def run(self) -> None:
        """Print what was measured."""
        with tempfile.TemporaryDirectory(prefix="sluice-bench-") as name, database() as url:
            folder = Path(name)
            sink = Sink(folder, self.jobs, lists=self.lists)
            env = environment(folder, url, sink.port, self.jobs)
            subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], env=env, check=True, capture_output=True)
            with sink.program:
                triggerer = Triggerer(folder, env)
                with triggerer.program:
                    self._measure(triggerer, sink, env, url)

    def _measure(self, triggerer: Triggerer, sink: Sink, env: dict[str, str], url: str) -> None:
        engine = create_engine(url)
        wait_until(lambda: triggerer.count("Starting the triggerer") or triggerer.log.stat().st_size > 0)
        time.sleep(10)  # until its own start is over
        empty, (runner, supervisor), started = triggerer.rss(), triggerer.cpu(), time.time()
        command = [sys.executable, str(ROWS), "--jobs", str(self.jobs), "--trigger", self.trigger]
        subprocess.run(command, env=env, check=True, capture_output=True)
        deferred_at = time.time()
        wait_until(lambda: scalar(engine, "SELECT count(*) FROM trigger WHERE triggerer_id IS NULL") == 0)
        taken = time.time()
        print(f"  all triggers taken {taken - deferred_at:.1f} s after they were there")
        if self.trigger == OURS:
            wait_until(lambda: sink.counts()["polled"] >= self.jobs)
            print(f"  all jobs polled {sink.counts()['polled_last_at'] - deferred_at:.1f} s after they were there")
        time.sleep(max(0.0, 75 - (time.time() - taken)))
        used = [b - a for a, b in zip((runner, supervisor), triggerer.cpu(), strict=True)]
        print(f"  until then ({time.time() - started:.0f} s): {cpu_seconds(used)}")
        print(f"  event loop blocked over 0.2 s: {described(triggerer.stalls())}")
        self._print_steady(triggerer, sink, empty)
        if self.trigger == OURS and self.outage:
            self._print_outage(triggerer, sink, engine)

    def _print_steady(self, triggerer: Triggerer, sink: Sink, empty: int) -> None:
        stalls, before, cpu = len(triggerer.stalls()), sink.counts(), triggerer.cpu()
        time.sleep(self.steady)
        after, used = sink.counts(), [b - a for a, b in zip(cpu, triggerer.cpu(), strict=True)]
        runner, supervisor = (each / self.steady for each in used)
        print(f"  steady, {self.steady} s: runner {runner:.1%} of a core, supervisor {supervisor:.1%}")
        requests = after["single"] + after["pages"] - before["single"] - before["pages"]
        if self.trigger == OURS:
            ideal = self.jobs / 100 if self.lists else self.jobs
            print(
                f"    {requests} requests ({requests / (ideal * self.steady / 60):.2f} times a batch poller's"
                f" {ideal:.0f} a minute), {after['most_open']} connections at most, {after['opened']} opened in all"
            )
        print(f"    event loop blocked over 0.2 s: {described(triggerer.stalls()[stalls:])}")
        print(f"    {(triggerer.rss() - empty) / self.jobs / 1024:.0f} KiB a job ({triggerer.rss() >> 20} MiB)")

    def _print_outage(self, triggerer: Triggerer, sink: Sink, engine: Any) -> None:
        cpu, stalls = triggerer.cpu(), len(triggerer.stalls())
        sink.counts(f"refuse?{self.outage}")
        time.sleep(self.outage + 1)
        back = sink.counts()
        time.sleep(75)
        after, used = sink.counts(), [b - a for a, b in zip(cpu, triggerer.cpu(), strict=True)]
        waiting = scalar(engine, "SELECT count(*) FROM task_instance WHERE state = 'deferred'")
        print(
            f"  service away for {self.outage} s: {waiting} of {self.jobs} tasks still wait; after it at most "
            f"{after['most_per_second']} requests a second, {after['opened'] - back['opened']} connections opened, "
            f"{after['most_open']} at most"
        )
        print(f"    {cpu_seconds(used)}; blocked: {described(triggerer.stalls()[stalls:])}")
        print(f"    PoolTimeout in the log: {triggerer.count('PoolTimeout')}")


def environment(folder: Path, url: str, port: int, jobs: int) -> dict[str, str]:
    """Of an Airflow with this database, and a connection to the sink."""
    connection = {
        "conn_type": "kaleidoscope",
        "host": f"http://127.0.0.1:{port}",
        "login": "client",
        "password": "client-secret",
    }
    return clean_environment() | {
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
        "AIRFLOW__TRIGGERER__CAPACITY": str(jobs * 2),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_ports(1)[0]),
        "AIRFLOW_CONN_KALEIDOSCOPE_DEFAULT": json.dumps(connection),
    }


def scalar(engine: Any, statement: str) -> int:
    """The only value of a query."""
    with engine.connect() as connection:
        return int(connection.execute(text(statement)).scalar())


def wait_until(done: Any) -> None:
    """:raises SystemExit: it takes too long"""
    deadline = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > deadline:
            raise SystemExit("Waited too long; something is wrong")
        time.sleep(0.25)


def cpu_seconds(used: list[float]) -> str:
    """Of runner and supervisor."""
    return f"runner {used[0]:.1f} s CPU, supervisor {used[1]:.1f} s"


def described(stalls: list[float]) -> str:
    """How many, and the longest."""
    return f"{len(stalls)} times, at most {max(stalls):.2f} s" if stalls else "never"


def main() -> None:
    """Measure one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--steady", type=int, default=120, help="seconds of the steady state")
    parser.add_argument("--outage", type=int, default=60, help="seconds for which the service refuses connections")
    parser.add_argument("--only", choices=["sleeping", "single", "list"], help="one of the three")
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 65536), most))  # Airflow keeps a log file open per trigger
    cases = {
        "sleeping": ("Airflow's trigger that only sleeps", SLEEPING, False),
        "single": ("our trigger, a service without a listing", OURS, False),
        "list": ("our trigger, a service with a listing", OURS, True),
    }
    for name, (title, trigger, lists) in cases.items():
        if arguments.only in (None, name):
            print(
                f"\n{title}, {arguments.jobs} tasks, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
                flush=True,
            )
            Measurement(arguments, trigger, lists=lists).run()


if __name__ == "__main__":
    main()
