"""Fixtures for all tests: the sandbox on a free port, and flows in worker and triggerer without real sleeping."""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import resource
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from sluice_provider import redaction
from sluice_provider.http.auth import clear_token_caches
from sluice_provider.http.client_config import ConnectionFields
from tests.airflow_markers import forbid_unmarked_airflow, needs_airflow, note_markers, start_order, worker_group
from tests.flows import FakeSleep, FlowRunner, client_options, finspace_options
from tests.tls import share_tls_contexts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sluice_provider.testing import SandboxClient

pytest_plugins = ["sluice_provider.testing"]

_HOME = tempfile.TemporaryDirectory(prefix="sluice-tests-")


def pytest_configure(config: pytest.Config) -> None:
    """Airflow gets an empty home directory; loopback is never reached through a proxy."""
    os.environ.setdefault("AIRFLOW_HOME", _HOME.name)
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
    config.add_cleanup(forbid_unmarked_airflow())
    config.add_cleanup(share_tls_contexts())


@pytest.hookimpl(optionalhook=True)  # also without pytest-xdist
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: two workers more than processors, as two of them mostly wait for Airflow's processes."""
    return (os.cpu_count() or 2) + 2


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what this Airflow cannot run; group what must run in one worker, and start with the slowest."""
    version = importlib.metadata.version("apache-airflow-core")
    skip = pytest.mark.skip(reason=f"tasks are run by the API of Airflow 3.3, this is {version}")
    for item in items:
        if needs_airflow(item) and tuple(map(int, version.split(".")[:2])) < (3, 3):
            item.add_marker(skip)
        if config.pluginmanager.hasplugin("xdist"):
            item.add_marker(pytest.mark.xdist_group(worker_group(item)))
    items.sort(key=start_order)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Ungrouped tests would start an Airflow each: a pytest that pytest-xdist cannot group in must not go unnoticed.

    What was collected stays until the end, so the garbage collector need not go through it (a tenth of the CPU).
    """
    gc.freeze()
    if session.config.getoption("loadgroup", False) and any("@" not in item.nodeid for item in session.items):
        raise pytest.UsageError("pytest-xdist did not group the tests: install the pytest of constraints.txt")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Note which markers the running test has."""
    note_markers(item)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the processor time of this process and its finished children: unlike the duration, it does not depend on
    what else the machine does."""
    if config.getoption("numprocesses", None) is None and config.option.collectonly is False:
        usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        seconds = sum(each.ru_utime + each.ru_stime for each in usage)
        terminalreporter.write_line(f"CPU: {seconds:.1f} s")


@pytest.fixture(autouse=True)
def _empty_token_caches() -> None:
    """No token of one test is there in another."""
    clear_token_caches()


@pytest.fixture(autouse=True)
def _forget_secrets() -> Iterator[None]:
    """No secret of one test is masked in another, where a leak would then go unnoticed. Besides, Airflow compiles all
    secrets that it knows into one pattern, again for each new one."""
    redaction.clear()
    module = sys.modules.get("airflow.sdk._shared.secrets_masker.secrets_masker")
    if module is None:
        yield
        return
    masker = module._secrets_masker()
    patterns, replacer = set(masker.patterns), masker.replacer
    yield
    masker.patterns, masker.replacer = patterns, replacer


@pytest.fixture
def fields(sluice_sandbox: SandboxClient) -> ConnectionFields:
    """The connection that leads to the sandbox's Kaleidoscope."""
    connection = json.loads(sluice_sandbox.connections()["kaleidoscope_default"])
    return ConnectionFields(
        "kaleidoscope_default",
        connection["host"],
        connection["port"],
        connection["login"],
        connection["password"],
        {"verify": False},  # nothing to verify on plain HTTP, and loading authorities takes time
    )


@pytest.fixture(params=["worker", "triggerer"])
def run(request: pytest.FixtureRequest, sluice_sandbox: SandboxClient, fields: ConnectionFields) -> FlowRunner:
    """Runs a flow against the sandbox as a worker does, and as a triggerer does."""
    return FlowRunner(request.param, client_options(fields), FakeSleep(sluice_sandbox.advance))


@pytest.fixture(params=["worker", "triggerer"])
def kdb(request: pytest.FixtureRequest, sluice_sandbox: SandboxClient) -> FlowRunner:
    """Runs a flow against the sandbox's FinSpace, whose changesets end at the first poll, in worker and triggerer."""
    sluice_sandbox.settings(job_seconds=0)
    return FlowRunner(request.param, finspace_options(sluice_sandbox), FakeSleep(sluice_sandbox.advance))


@pytest.fixture
def worker(sluice_sandbox: SandboxClient, fields: ConnectionFields) -> FlowRunner:
    """Runs flows as in a worker only, for what worker and triggerer have in common."""
    return FlowRunner("worker", client_options(fields), FakeSleep(sluice_sandbox.advance))


@pytest.fixture
def object_store() -> Iterator[None]:
    """An object store, for lack of a real one: in memory."""
    from airflow.sdk.io import attach
    from fsspec.implementations.memory import MemoryFileSystem

    attach("memory", fs=MemoryFileSystem())
    yield
    MemoryFileSystem.store.clear()
