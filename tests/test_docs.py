"""The documentation names only what exists: files, headings, modules, names and make targets."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FOR_MAINTAINERS = [page for page in PAGES if page.name in ("CONTRIBUTING.md", "architecture.md", "decisions.md")]
PLACES = (ROOT, ROOT / "provider", ROOT / "provider" / "sluice_provider")
TOP = {path.name for place in PLACES for path in place.iterdir()}

CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
OF_OTHERS = {"BaseOperator", "DagRun", "NamedTuple", "TaskAwaitingInput"}
"""Names of Python and Airflow."""


def title(page):
    return page.relative_to(ROOT).as_posix()


def prose(page):
    """A page without its blocks of code."""
    return CODE.sub("", page.read_text())


def words(page):
    """What stands in backticks."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def anchors(page):
    """The headings of a page as GitHub makes addresses of them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def names_in_code():
    """Every identifier of the provider, the sandbox and the tests, in one set."""
    folders = (ROOT / "provider", ROOT / "tests", ROOT / "tools")
    return {
        name for folder in folders for path in folder.rglob("*.py") for name in re.findall(r"\w+", path.read_text())
    }


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_links_lead_somewhere(page):
    """Files and headings of this repository; other addresses are not requested."""
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_paths_exist(page):
    """Strings that look like paths of this repository, from its root or from a package."""
    for word in words(page):
        if not re.fullmatch(r"[\w.]+(/[\w.*-]+)*/?", word) or word.split("/")[0] not in TOP or "acme" in word:
            continue
        assert any(list(place.glob(word.rstrip("/"))) for place in PLACES), word


@pytest.mark.parametrize("page", FOR_MAINTAINERS, ids=title)
def test_names_in_pictures_exist(page):
    """Classes in blocks that are neither code nor commands."""
    pictures = [block for block in CODE.findall(page.read_text()) if block.startswith("```\n")]
    for name in re.findall(r"\b[A-Z][a-z]+[A-Z]\w+", "".join(pictures)):
        assert name in names_in_code(), name


@pytest.mark.parametrize("page", FOR_MAINTAINERS, ids=title)
def test_names_exist(page):
    """Names of classes, and calls, that the pages for maintainers speak of."""
    for word in words(page):
        name = re.fullmatch(r"([A-Z][a-z]+[A-Z]\w+|[a-z_]+(?=\())(\(.*\))?", word)
        if name and name[1] not in OF_OTHERS:
            assert name[1] in names_in_code(), word


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_modules_exist(page):
    """Dotted names of the provider and the sandbox."""
    for name in re.findall(r"\bsluice_(?:provider|sandbox)(?:\.\w+)+", page.read_text()):
        parts = name.split(".")
        path = ROOT.joinpath("provider", *parts)
        parent = path.parent
        found = [path.is_dir(), path.with_suffix(".py").is_file(), parent.with_suffix(".py").is_file()]
        found.append((parent / "__init__.py").is_file() and parts[-1] in (parent / "__init__.py").read_text())
        assert any(found), name


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_make_targets_exist(page):
    """Those that are shown as commands."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in re.findall(r"^\$ make ([a-z -]+)", page.read_text(), re.MULTILINE):
        assert set(line.split()) <= targets, line
