"""A real Chromium for the tests of the UI. It is never downloaded: without one, the tests are skipped."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

FLAGS = (
    "--no-sandbox",  # required when running as root
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
    """This machine's browser, headless."""
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
    """Uncaught errors of the page's scripts; each test that uses `page` fails if there are any."""
    return []


@pytest.fixture
def page(browser, errors):
    """A page in a new browser profile."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, timezone_id="UTC")
    page = context.new_page()
    page.set_default_timeout(180_000)  # a whole Airflow on a busy machine is slow
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []


@pytest.fixture
def picture(page, tmp_path):
    """Takes a screenshot of the page, in the folder named by SLUICE_UI_PICTURES if it is set."""
    folder = Path(os.environ.get("SLUICE_UI_PICTURES") or tmp_path)

    def take(name):
        path = folder / f"{name}.png"
        page.screenshot(path=path, animations="disabled")
        assert path.stat().st_size > 10_000
        return path

    return take
