"""The command line and the `Sandbox` class."""

from __future__ import annotations

import json
import shlex
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from sluice_sandbox import Sandbox, __main__


def _start(*options):
    command = [sys.executable, "-m", "sluice_sandbox", "--port", "0", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_until_told_to_stop(number):
    """One line when it is ready, a clean end, no noise."""
    process = _start("--settings", '{"job_seconds": 5}')
    line = process.stdout.readline()
    assert line.startswith("Sluice sandbox on http://127.0.0.1:")
    assert httpx.get(f"{line.split()[-1]}/control/settings").json()["job_seconds"] == 5
    process.send_signal(number)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0


def test_print_connections(capsys):
    """Lines a shell can read, for the port that was asked for, without taking it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        __main__.main(["--port", str(port), "--print-connections"])
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    told = {name: json.loads(value) for name, value in (assignment.split("=", 1) for _, assignment in lines)}
    assert {export for export, _ in lines} == {"export"}
    assert all(name.startswith("AIRFLOW_CONN_") for name in told)
    assert (
        f":{port}/finspace"
        in told.pop("AIRFLOW_CONN_AWS_DEFAULT")["extra"]["service_config"]["finspace"]["endpoint_url"]
    )
    assert {connection["port"] for connection in told.values()} == {port}


@pytest.mark.parametrize("options", [["--settings", '{"nonsense": 1}'], ["--settings", "{"], ["--port", "taken"]])
def test_wrong_options_end_with_a_line(capsys, options):
    """No traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit) as stopped:
        __main__.main([option.replace("taken", str(taken.getsockname()[1])) for option in options])
    assert stopped.value.code != 0
    assert capsys.readouterr().err


def test_two_sandboxes_know_nothing_of_each_other():
    """Each has its own port and its own state."""
    with Sandbox(settings={"job_seconds": 9}) as one, Sandbox() as two:
        assert one.url != two.url
        found = [httpx.get(f"{each.url}/control/settings").json()["job_seconds"] for each in (one, two)]
    assert found == [9, 3]


def test_a_stopped_sandbox_is_gone():
    """Its port is free again."""
    with Sandbox() as sandbox:
        httpx.get(sandbox.url)
    with pytest.raises(httpx.ConnectError):
        httpx.get(sandbox.url)
