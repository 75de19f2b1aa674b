"""Nothing that was started is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import processes

# It starts a child in a process group of its own, as Airflow's tasks are, and says the ids of both.
FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], preexec_fn=lambda: os.setpgid(0, 0))
print(os.getpid(), child.pid, flush=True)
time.sleep(60)
"""
OWNER = """
import sys, time
from pathlib import Path
from processes import Program
Program([sys.executable, "-c", {family!r}], log=Path({log!r}))
time.sleep(60)
"""


def _family(log: Path) -> list[int]:
    """Wait until the program has printed the ids of its processes."""
    deadline = time.monotonic() + 60
    while not (log.exists() and log.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return [int(pid) for pid in log.read_text().split()]


def _gone(pids: list[int], seconds: float = 10) -> bool:
    """Wait until none of the processes lives; a zombie that nobody has collected is dead."""
    deadline = time.monotonic() + seconds
    while any(pid in pids and not state.startswith("Z") for pid, state in processes._processes()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_stop_ends_all_descendants(tmp_path: Path) -> None:
    """Also those in a process group of their own."""
    with processes.Program([sys.executable, "-c", FAMILY], log=tmp_path / "log") as program:
        pids = _family(program.log)
        assert program.running
    assert _gone(pids, seconds=0)
    assert not program.running


def test_the_owner_being_killed_ends_all_descendants(tmp_path: Path) -> None:
    """kill -9 leaves no time to clean up; the keeper does."""
    log = tmp_path / "log"
    script = OWNER.format(family=FAMILY, log=str(log))
    env = {**os.environ, "PYTHONPATH": str(Path(processes.__file__).parent)}
    owner = subprocess.Popen([sys.executable, "-c", script], env=env)
    pids = _family(log)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert _gone(pids)


def test_a_program_that_ignores_term_is_killed(tmp_path: Path) -> None:
    """Asking nicely has an end."""
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdout is not None
    child.stdout.readline()
    processes.end_session(child.pid, term_seconds=0.2)
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()


def test_a_program_that_ends_by_itself_is_noticed(tmp_path: Path) -> None:
    """What it wrote is there to be shown."""
    with processes.Program([sys.executable, "-c", "print('bye')"], log=tmp_path / "log") as program:
        program._keeper.wait(10)
        assert not program.running
        assert program.tail() == "bye"


def test_the_callers_settings_do_not_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    """An Airflow that is configured around us is another Airflow."""
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "x")
    monkeypatch.setenv("PYTHONPATH", "/x")
    monkeypatch.setenv("NO_PROXY", "example.org")
    env = processes.clean_environment()
    assert "AIRFLOW__CORE__EXECUTOR" not in env
    assert "PYTHONPATH" not in env
    assert env["NO_PROXY"] == "example.org,127.0.0.1,localhost"


def test_free_ports_are_different() -> None:
    """Asked for together, so that none is given twice."""
    assert len(set(processes.free_ports(5))) == 5
