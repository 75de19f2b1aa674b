"""Write the skeleton of a further service: `python tools/new_service.py acme "Acme"`.

It is a REST service with OAuth client credentials and one asynchronous job, in all layers, with a mock service, an
example DAG, a page of docs, tests and scenarios of the simulation, all of which pass. CONTRIBUTING.md says how to go on
from there. The templates are in `tools/service_template/`, at the paths where their results go.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import NamedTuple

TEMPLATES = Path(__file__).parent / "service_template"
PLACEHOLDER = "acme"
"""Stands for the service's name in the paths of templates."""


class Insertion(NamedTuple):
    """A line, or several, for a list that names all services.

    :param path: of the file
    :param anchor: a regular expression; the lines are put before what it finds, or at the end of the file's imports
    :param text: a template
    """

    path: str
    anchor: str
    text: str


IMPORTS = r"(?=^from )"
"""Anywhere among the imports: ruff sorts them."""

FIELDS = "provider/sluice_provider/connection_fields.py"
WORLD = "tests/simulation/world.py"
LEDGER = "tests/simulation/ledger.py"
SCENARIOS = "tests/simulation/scenarios.py"
MEASURE = "tests/simulation/measure.py"

SERVICE = """    Service(
        "$name",
        "$title",
        "${prefix}Hook",
        "$name",
        "${name}_default",
        "https://docs.$path.example",
    ),
"""

CONNECTION = """$NAME = _by_name(
    Field(
        "host",
        "Host",
        "Host name or URL of the API. Empty: api.$path.example.",
        placeholder="api.$path.example, or a URL with a path",
    ),
    PORT,
    Field("login", "Client ID", "Client id of the API client.", required=True, placeholder="client id"),
    Field(
        "password",
        "Client secret",
        "Client secret of the API client.",
        required=True,
        secret=True,
        placeholder="client secret",
    ),
    *CLIENT,
)

"""

PAGE = """## $title

Connection type `$name`, default id `${name}_default`. *Test connection* shows the account that the credentials belong
to.

<!-- fields: $name -->
<!-- end -->

"""

JOBS = """    if isinstance(mock_service, $prefix):
        now = mock_service.context.clock.now()
        return [
            ServiceJob(
                job.id,
                "job",
                job.reference,
                job.status(now),
                now >= job.ends_at,
                job.created_at,
                job.cancelled_at is not None,
                (str(job.settings),),
                job.processed(now),
            )
            for job in mock_service.submitted.values()
        ]
"""

INSERTIONS = (
    Insertion("provider/sluice_provider/services.py", r"(?<=\n)\)\n\nBY_NAME", SERVICE),
    Insertion(FIELDS, r"CONNECTION_TYPES: ", CONNECTION),
    Insertion(FIELDS, r'    "kaleidoscope": KALEIDOSCOPE,', '    "$name": $NAME,\n'),
    Insertion("docs/connections.md", r"## Kili\n", PAGE),
    Insertion("provider/sluice_sandbox/services.py", IMPORTS, "from sluice_sandbox.$name.service import $prefix\n"),
    Insertion("provider/sluice_sandbox/services.py", r"(?<=FinSpace)\)", ", $prefix"),
    Insertion(WORLD, IMPORTS, "from sluice_sandbox.$name.service import $prefix\n"),
    Insertion(WORLD, r'    "kili": lambda', '    "$name": $prefix,\n'),
    Insertion(LEDGER, IMPORTS, "from sluice_sandbox.$name.service import $prefix\n"),
    Insertion(LEDGER, r"    assert isinstance\(mock_service, FinSpace\)\n    return \[", JOBS),
    Insertion(LEDGER, r"        Kili: \(connections,\)", "        $prefix: (),\n"),
    Insertion(SCENARIOS, IMPORTS, "from tests.simulation import $name\n"),
    Insertion(SCENARIOS, r'    "kaleidoscope": KALEIDOSCOPE,', '    "$name": $name.SCENARIOS,\n'),
    Insertion(MEASURE, IMPORTS, "from tests.simulation import $name\n"),
    Insertion(MEASURE, r'(?<=\n)    "kaleidoscope": ', '    "$name": $name.exercise,\n'),
)


class Failed(Exception):
    """Nothing was written; the text says why."""


def variables(name: str, title: str) -> dict[str, str]:
    """What the templates may use.

    :raises Failed: the name is no module name, or the title no name
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise Failed(f"NAME must be a module name in lower case, like liquid_decisions, not {name!r}")
    prefix = "".join(word[0].upper() + word[1:] for word in re.findall(r"[A-Za-z0-9]+", title))
    if not prefix or not prefix[0].isalpha() or set(title) & set("\"'\\$\n"):
        raise Failed(f"TITLE must be the service's name for people, like 'Liquid Decisions', not {title!r}")
    return {"name": name, "NAME": name.upper(), "prefix": prefix, "title": title, "path": name.replace("_", "-")}


def files(root: Path, names: dict[str, str]) -> dict[Path, str]:
    """The new files with their content.

    :raises Failed: one of them is there already
    """
    found = {}
    for template in sorted(TEMPLATES.rglob("*.tmpl")):
        relative = template.relative_to(TEMPLATES).with_suffix("").as_posix()
        path = root / relative.replace(PLACEHOLDER, names["name"])
        if path.exists():
            raise Failed(f"{path} is there already")
        found[path] = Template(template.read_text()).substitute(names)
    return found


def entries(root: Path, names: dict[str, str]) -> dict[Path, str]:
    """The files that list all services, with their new content.

    :raises Failed: the place for an entry is not found
    """
    changed: dict[Path, str] = {}
    for insertion in INSERTIONS:
        path = root / insertion.path
        text = changed.get(path) or path.read_text()
        place = re.search(insertion.anchor, text, re.MULTILINE)
        if place is None:
            raise Failed(f"{insertion.path}: no place for an entry before {insertion.anchor!r}; adapt {__file__}")
        entry = Template(insertion.text).substitute(names)
        changed[path] = text[: place.start()] + entry + text[place.start() :]
    return changed


def write(root: Path, name: str, title: str) -> tuple[list[Path], list[Path]]:
    """Write the service: all of it, or nothing.

    :return: new files, and changed ones
    :raises Failed: nothing was written
    """
    names = variables(name, title)
    new, changed = files(root, names), entries(root, names)
    for path, text in {**new, **changed}.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    _format([path for path in (*new, *changed) if path.suffix == ".py"])
    _update_connection_docs(root)
    return list(new), list(changed)


def _format(paths: list[Path]) -> None:
    """Names differ in length, so only the formatter knows where lines break."""
    for command in (["check", "--quiet", "--select", "I", "--fix"], ["format", "--quiet"]):
        subprocess.run([sys.executable, "-m", "ruff", *command, *map(str, paths)], check=True)


def _update_connection_docs(root: Path) -> None:
    """The table of the connection's fields, from their declarations."""
    environment = {**os.environ, "PYTHONPATH": str(root / "provider")}
    subprocess.run([sys.executable, root / "tools" / "connection_docs.py"], env=environment, check=True)


def report(root: Path, new: list[Path], changed: list[Path]) -> Iterator[str]:
    """For the command line."""
    yield from (f"new      {path.relative_to(root)}" for path in new)
    yield from (f"changed  {path.relative_to(root)}" for path in changed)
    yield "next: CONTRIBUTING.md, 'Adding a fifth service'; run make lint types test-fast"


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the skeleton of a further service.")
    parser.add_argument("name", metavar="NAME", help="module name, like liquid_decisions")
    parser.add_argument("title", metavar="TITLE", help="name for people, like 'Liquid Decisions'")
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="of the repository")
    options = parser.parse_args()
    try:
        new, changed = write(options.root, options.name, options.title)
    except Failed as failure:
        print(failure, file=sys.stderr)
        return 1
    print(*report(options.root, new, changed), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
