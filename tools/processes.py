"""Programs that leave nothing behind: `Program` starts one in a session of its own and ends everything in it.

    with Program([sys.executable, "-m", "http.server"], log=Path("server.log")) as program: ...

Between us and the program stands a keeper, this file run as a script. It holds the reading end of a pipe whose writing
end is ours. When we close it, or when we die in whatever way (kill -9 included), the keeper sees the end of the pipe
and ends the session. So there is one way to stop, and it is the same one that cleans up after a crash.
"""

from __future__ import annotations

import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import FrameType

TERM_SECONDS = 8.0  # how long a session may take to end after TERM before it is killed; Airflow mostly takes 3 to 5
PORTS = range(10_000, 30_000)  # below the ephemeral ports of Linux (32768), macOS and Windows (49152)
LEAKY = ("AIRFLOW", "_AIRFLOW", "OPENLINEAGE", "OTEL_", "PYTHON")  # a caller's settings that would change what we run


class Program:
    """A running program with all its descendants."""

    def __init__(
        self, command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        self.log = log
        with log.open("ab") as out:
            self._keeper = subprocess.Popen(
                [sys.executable, __file__, *command],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                env=None if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,  # Ctrl-C in the terminal must reach us only
            )

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The keeper's, whose descendants the program's processes are."""
        return self._keeper.pid

    @property
    def running(self) -> bool:
        """Say whether the program is still there."""
        return self._keeper.poll() is None

    def stop(self) -> None:
        """End the program and everything it started, and return when all of it is gone."""
        if self._keeper.stdin is not None:
            self._keeper.stdin.close()
        self._keeper.wait()

    def kill(self) -> None:
        """End it as by kill -9, and everything it started: no process of it gets to say a last word."""
        self._keeper.send_signal(signal.SIGUSR1)
        self._keeper.wait()

    def tail(self, lines: int = 30) -> str:
        """Return the last lines the program wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def free_ports(count: int) -> list[int]:
    """Return loopback ports that are free at the moment, all different.

    They are none that the system gives to outgoing connections: those are taken again before a server has started.
    """
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"fewer than {count} loopback ports are free")


def clean_environment() -> dict[str, str]:
    """Return the caller's environment without what would leak into Airflow, and with loopback never proxied."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(LEAKY)}
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", "")])
    env["PYTHONUNBUFFERED"] = "1"
    for name in ("NO_PROXY", "no_proxy"):
        env[name] = ",".join(filter(None, [env.get(name), "127.0.0.1,localhost"]))
    return env


def members(session: int) -> list[int]:
    """Return the living processes of a session. A process group is not enough: Airflow's tasks have their own."""
    return [pid for pid, state in _processes() if not state.startswith("Z") and _session_of(pid) == session]


def end_session(session: int, term_seconds: float = TERM_SECONDS) -> None:
    """Ask everything in a session to end, wait, and kill what is left. Zombies (of a careless init) do not count."""
    deadline = time.monotonic() + term_seconds
    _signal(members(session), signal.SIGTERM)
    while left := members(session):
        if time.monotonic() > deadline:
            _signal(left, signal.SIGKILL)
        time.sleep(0.1)


def _processes() -> Iterable[tuple[int, str]]:
    """List every process with its state, also where there is no /proc."""
    if not Path("/proc/self/stat").exists():
        listing = subprocess.run(["ps", "-A", "-o", "pid=,stat="], capture_output=True, text=True, check=True)
        return [(int(pid), state) for pid, state in map(str.split, listing.stdout.splitlines())]
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended while we looked
            # the name in parentheses may hold anything, also spaces; the state follows the last ")"
            found.append((int(stat.parent.name), stat.read_text(errors="replace").rpartition(")")[2].strip()))
    return found


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def keep(command: Sequence[str]) -> int:
    """Be the keeper: run a command until it ends or standard input does, then end its session."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a background job starts with it ignored, and children inherit that
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    signal.signal(signal.SIGUSR1, lambda *_: _signal(members(child.pid), signal.SIGKILL))
    try:
        while child.poll() is None and not select.select([sys.stdin], [], [], 0.2)[0]:
            pass
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        end_session(child.pid)
    return child.wait()


if __name__ == "__main__":
    sys.exit(keep(sys.argv[1:]))
