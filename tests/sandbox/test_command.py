"""The command line, the `Sandbox` class, and what happens when an optional package is missing."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import zipfile
from dataclasses import fields
from pathlib import Path

import httpx
import pytest

from sluice_sandbox import INSTALL, Sandbox, __main__
from sluice_sandbox.settings import Settings

ROOT = Path(__file__).parents[2]


def _start(*options):
    command = [sys.executable, "-m", "sluice_sandbox", "--port", "0", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_until_a_signal(number):
    """One line when it is ready, exit code 0, and no other output."""
    process = _start("--settings", '{"job_seconds": 5}')
    line = process.stdout.readline()
    assert line.startswith("Sluice sandbox on http://127.0.0.1:")
    assert httpx.get(f"{line.split()[-1]}/control/settings").json()["job_seconds"] == 5
    process.send_signal(number)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0


def test_print_connections(capsys):
    """Lines for a shell, with the given port, which is not opened."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        __main__.main(["--port", str(port), "--print-connections"])
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    connections = {name: json.loads(value) for name, value in (assignment.split("=", 1) for _, assignment in lines)}
    assert {export for export, _ in lines} == {"export"}
    assert all(name.startswith("AIRFLOW_CONN_") for name in connections)
    assert (
        f":{port}/finspace"
        in connections.pop("AIRFLOW_CONN_AWS_DEFAULT")["extra"]["service_config"]["finspace"]["endpoint_url"]
    )
    assert {connection["port"] for connection in connections.values()} == {port}


@pytest.mark.parametrize("options", [["--settings", '{"nonsense": 1}'], ["--settings", "{"], ["--port", "taken"]])
def test_invalid_options(capsys, options):
    """Exit with a message on stderr, without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit) as stopped:
        __main__.main([option.replace("taken", str(taken.getsockname()[1])) for option in options])
    assert stopped.value.code != 0
    message = capsys.readouterr().err
    assert options[0] in message or "cannot listen on 127.0.0.1:" in message


def test_help_and_settings(capsys):
    """The help has the command's name; the list has every setting with its meaning on one line."""
    with pytest.raises(SystemExit) as stopped:
        __main__.main(["--help"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith("usage: python -m sluice_sandbox [-h]")
    __main__.main(["--list-settings"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [each.name for each in fields(Settings)]
    assert all(each.metadata["meaning"] in line for each, line in zip(fields(Settings), lines, strict=True))


# --- missing packages

HIDE = """
import sys
from importlib.machinery import PathFinder
find_spec = PathFinder.find_spec
PathFinder.find_spec = lambda name, *more: None if name.partition(".")[0] == {package!r} else find_spec(name, *more)
"""


def _start_without(package, code):
    """Start Python code in a process in which a package cannot be found."""
    path = os.pathsep.join([str(ROOT / "provider"), *filter(None, sys.path)])
    command = [sys.executable, "-c", HIDE.format(package=package) + code]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def _run_without(package, code):
    """Exit code, stdout and stderr of Python code that runs without a package."""
    with _start_without(package, code) as process:
        output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


RUN = "sys.argv[1:] = {options}; import runpy; runpy.run_module('sluice_sandbox', run_name='__main__')"


@pytest.mark.parametrize("package", ["uvicorn", "starlette"])
def test_the_server_without_a_package(package):
    """One line names the package and the command that installs it; the help does not need it."""
    assert _run_without(package, RUN.format(options=["--help"]))[0] == 0
    code, output, errors = _run_without(package, RUN.format(options=["--port", "0"]))
    assert (code, output) == (1, "")
    assert errors == f"Cannot start the sandbox: the sandbox needs the package '{package}': {INSTALL}\n"


def test_the_server_without_graphql_core():
    """A warning names Kili and the command to install; the other services work."""
    process = _start_without("graphql", RUN.format(options=["--port", "0"]))
    url = process.stdout.readline().split()[-1]
    assert httpx.get(f"{url}/control/state", trust_env=False).status_code == 200
    process.terminate()
    _, warning = process.communicate(timeout=20)
    assert warning == f"The Kili mock is disabled, as it needs graphql-core: {INSTALL}\n"


@pytest.mark.parametrize(
    ("package", "message"),
    [
        ("pytest", "sluice_provider.testing needs pytest: pip install pytest"),
        ("uvicorn", "the sandbox needs the package 'uvicorn': pip install 'airflow-provider-sluice[sandbox]'"),
    ],
)
def test_the_fixtures_without_a_package(package, message):
    """The import error says what to install."""
    code, _, errors = _run_without(package, "import sluice_provider.testing")
    assert (code, errors.splitlines()[-1]) == (1, f"ImportError: {message}")


def test_the_wheel_has_both_packages(tmp_path):
    """The provider and the sandbox, and an extra `sandbox` for what Airflow does not bring."""
    pytest.importorskip("hatchling")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], cwd=ROOT, check=True
    )
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = wheel.namelist()
        metadata = wheel.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    packages = {name.partition("/")[0] for name in names if not name.partition("/")[0].endswith(".dist-info")}
    assert packages == {"sluice_provider", "sluice_sandbox"}
    assert "sluice_sandbox/kaleidoscope/service.py" in names
    assert any(line.startswith("Requires-Dist: graphql-core") and "sandbox" in line for line in metadata.splitlines())


def test_two_sandboxes_are_independent():
    """Each has its own port and its own state."""
    with Sandbox(settings={"job_seconds": 9}) as one, Sandbox() as two:
        assert one.url != two.url
        found = [httpx.get(f"{each.url}/control/settings").json()["job_seconds"] for each in (one, two)]
    assert found == [9, 3]


def test_a_stopped_sandbox():
    """Its port is closed."""
    with Sandbox() as sandbox:
        httpx.get(sandbox.url)
    with pytest.raises(httpx.ConnectError):
        httpx.get(sandbox.url)
