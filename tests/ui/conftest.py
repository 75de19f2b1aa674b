"""A real Chromium for the tests of what people see. None is ever downloaded: who has none is told what is missing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

FLAGS = (
    "--no-sandbox",  # as root there is no other way
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
NAMES = ("chromium", "google-chrome", "chromium-browser", "google-chrome-stable")


@pytest.fixture(scope="session")
def browser():
    """Headless, of this machine. Its network is Airflow and the sandbox."""
    api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install '.[ui]'")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"needs a browser on PATH: one of {', '.join(NAMES)}")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def errors():
    """What scripts of the page complained of; a test that expects none looks at its end."""
    return []


@pytest.fixture
def page(browser, errors):
    """A page of a browser that nobody has used before."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, timezone_id="UTC")
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []


@pytest.fixture
def picture(page, tmp_path):
    """Takes pictures of the page, into the folder that SLUICE_UI_PICTURES names if it does."""
    folder = Path(os.environ.get("SLUICE_UI_PICTURES") or tmp_path)

    def take(name):
        path = folder / f"{name}.png"
        page.screenshot(path=path, animations="disabled")
        assert path.stat().st_size > 10_000
        return path

    return take
