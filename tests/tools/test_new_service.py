"""`tools/new_service.py`: what it writes is a service that keeps every rule, and whose own tests pass."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import new_service

ROOT = Path(__file__).parents[2]
PARTS = ("provider", "tests", "tools", "dags_examples", "docs", "pyproject.toml", "Makefile", "README.md")
pytestmark = pytest.mark.slow

NAME, TITLE = "acme_cloud", "Acme Cloud"


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A copy of the repository, with one service more."""
    root = tmp_path_factory.mktemp("repository")
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, root / part, ignore=shutil.ignore_patterns("__pycache__", "*.png", "ui", "e2e"))
        else:
            shutil.copy(source, root / part)
    new_service.write(root, NAME, TITLE)
    return root


def run(root, *command):
    """A Python module there; what it says, if it fails."""
    environment = {**os.environ, "PYTHONPATH": str(root / "provider")}
    environment = {name: value for name, value in environment.items() if not name.startswith("AIRFLOW")}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-8000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def test_style_and_formatting(repository):
    """As `make lint` checks them."""
    run(repository, "ruff", "check", ".")
    run(repository, "ruff", "format", "--check", ".")


def test_types(repository):
    """As `make types` checks them, in what is new."""
    provider = repository / "provider"
    new = [path for path in provider.rglob("*.py") if NAME in path.relative_to(provider).as_posix()]
    assert len(new) == 9
    run(repository, "mypy", "--follow-imports=silent", *map(str, new))


@pytest.mark.airflow
def test_its_own_tests(repository):
    """The architecture test, and what was written for the service: in the worker, in the triggerer and as tasks."""
    new = [str(path) for path in (repository / "tests").rglob(f"test_*{NAME}*.py")]
    assert len(new) == 3
    output = run(repository, "pytest", "tests/test_architecture.py", *new)
    assert " passed" in output
    assert "skipped" not in output


def test_its_simulation(repository):
    """Its jobs are submitted once, whatever dies or gets lost."""
    run(repository, "tests.simulation.explore", "--service", NAME, "--schedules", "300")


def test_the_same_service_again(repository):
    """Nothing is overwritten."""
    with pytest.raises(new_service.Failed, match="is there already"):
        new_service.write(repository, NAME, TITLE)


@pytest.mark.parametrize(
    ("name", "title"), [("Acme", "Acme"), ("acme-cloud", "Acme"), ("1st", "First"), ("acme", "24"), ("acme", 'A"b')]
)
def test_names_that_cannot_be(name, title, tmp_path):
    """Refused before anything is written."""
    with pytest.raises(new_service.Failed, match="must be"):
        new_service.write(tmp_path, name, title)
    assert list(tmp_path.iterdir()) == []


def test_lists_that_have_changed(tmp_path):
    """A list of services that is not found any more is named, and nothing is written."""
    for part in ("provider", "tests"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__", "*.png"))
    services = tmp_path / "provider/sluice_provider/services.py"
    services.write_text(services.read_text().replace("BY_NAME", "OTHER_NAME"))
    with pytest.raises(new_service.Failed, match=r"services\.py: no place for an entry"):
        new_service.write(tmp_path, NAME, TITLE)
    assert not (tmp_path / "dags_examples").exists()
