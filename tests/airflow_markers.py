"""Which tests need Airflow, which of them share a worker, and in which order they start.

A test that uses Airflow without the marker for it fails. So `make test-fast`, which leaves these markers out, stays
fast without a list of files.
"""

from __future__ import annotations

import subprocess
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

PROCESSES = ("standalone", "ui")
"""Markers of tests that start Airflow processes."""
IN_PROCESS = ("airflow", *PROCESSES)
"""Markers of tests that may use Airflow's metadata database."""

_current: pytest.Item | None = None


class UnmarkedAirflowError(AssertionError):
    """A test uses Airflow and does not have the marker for it."""


def has_marker(item: pytest.Item, *names: str) -> bool:
    """Whether the test has one of these markers."""
    return any(item.get_closest_marker(name) for name in names)


def needs_airflow(item: pytest.Item) -> bool:
    """Whether the test runs tasks, or starts Airflow processes."""
    return has_marker(item, *IN_PROCESS)


def note_markers(item: pytest.Item) -> None:
    """Remember the running test."""
    global _current
    _current = item


def require_marker(*names: str) -> None:
    """Fail unless the running test has one of these markers. Outside of tests everything is allowed."""
    if _current is not None and not has_marker(_current, *names):
        advice = f"add `pytestmark = pytest.mark.{names[0]}`, see the markers in pyproject.toml"
        raise UnmarkedAirflowError(f"{_current.nodeid} uses Airflow: {advice}")


def forbid_unmarked_airflow() -> Callable[[], None]:
    """Let only marked tests start Airflow processes. Return what ends that."""
    original = subprocess.Popen.__init__

    def start(self: Any, args: Any, *more: Any, **options: Any) -> None:
        if isinstance(args, (list, tuple)) and "airflow" in args:
            require_marker(*PROCESSES, "airflow")
        original(self, args, *more, **options)

    patch = mock.patch.object(subprocess.Popen, "__init__", start)
    patch.start()
    return patch.stop


def worker_group(item: pytest.Item) -> str:
    """The tests of one group run in one worker, one after the other.

    Tests with Airflow processes are two groups, so that at most two of these run at a time. A slow test is a group of
    its own. All others stay with their file, whose fixtures they share.
    """
    if has_marker(item, *PROCESSES):
        return "end-to-end" if PurePath(item.path).parent.name == "e2e" else "servers"
    return item.nodeid if has_marker(item, "slow") else item.nodeid.partition("::")[0]


def start_order(item: pytest.Item) -> int:
    """What takes longest starts first."""
    return 0 if has_marker(item, *PROCESSES) else 1 if has_marker(item, "slow") else 2
