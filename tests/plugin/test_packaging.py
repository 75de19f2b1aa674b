"""The plugin is cheap to import, and its scripts are in the wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "provider/sluice_provider/plugin/static"


def loaded_by(*lines, after):
    """The modules that these lines load in a fresh Python, beyond what `after` has loaded before them."""
    code = [after, "import sys", "before = set(sys.modules)", *lines, "print(*(set(sys.modules) - before))"]
    done = subprocess.run([sys.executable, "-c", "\n".join(code)], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.slow
def test_the_plugin_imports_little():
    """Every task, triggerer and DAG processor imports it: no web framework, no models, no application."""
    plugins = (
        "import airflow.sdk, airflow.providers.common.compat.sdk; airflow.providers.common.compat.sdk.AirflowPlugin"
    )
    more = loaded_by("import sluice_provider.plugin; sluice_provider.plugin.SluicePlugin", after=plugins)
    ours = {name for name in more if name.startswith("sluice_provider")}
    assert ours == {
        "sluice_provider.links",
        "sluice_provider.plugin",
        "sluice_provider.plugin.connection_test",
        "sluice_provider.compat",
        "sluice_provider.compat.lazy",
        "sluice_provider.redaction",
    }
    foreign = {name.split(".")[0] for name in more - ours}
    assert foreign.isdisjoint({"fastapi", "starlette", "sqlalchemy", "httpx", "pydantic", "uvicorn"})
    assert {name for name in more if name.startswith("airflow.")} <= {"airflow.sdk.bases.operatorlink"}


@pytest.mark.slow
def test_loaded_by_sees_imports():
    """So the test above can fail."""
    more = loaded_by("import sluice_provider.plugin.jobs_view", "import fastapi", after="pass")
    assert "fastapi" in more
    assert "airflow" not in loaded_by("import sluice_provider.plugin.jobs_view", after="import sluice_provider.plugin")


def test_the_scripts_are_in_the_wheel(tmp_path):
    """With everything that the page loads."""
    pytest.importorskip("hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    files = {f"sluice_provider/plugin/static/{path.name}" for path in STATIC.iterdir()}
    assert files
    assert files <= names


def test_the_page_is_self_contained_source():
    """No script, font or image of another host, and no build output."""
    for path in STATIC.iterdir():
        text = path.read_text()
        assert "http://" not in text, path.name
        assert "https://" not in text, path.name
        assert max(map(len, text.splitlines())) <= 120, f"{path.name} must be readable"
