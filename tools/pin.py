"""Write constraints.txt: one tested version of everything, for every Python we support.

    python tools/pin.py python3.10 python3.11 python3.12 python3.13

Give the oldest patch release of each that people still have (Debian's 3.11 is 3.11.2), as some packages ask for more.
Each interpreter is asked what pip would install for the package with its `ui` extra, which has `dev` in it, and the
pinned Airflow, in an empty throw-away environment and without installing anything. What they agree on becomes one
line; where they differ, each version gets a marker. Run it to move to newer versions, then run `make lint types test`
on every Python.
Where the packages come from is pip's own configuration and is not written down.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
AIRFLOW = "apache-airflow==3.3.2"
BUILD = ("hatchling", "editables")  # an editable install needs both
CLIENTS = ("kalbio==0.2.4",)  # tested in the same environment, so what is pinned must suit them
HEADER = """\
# Tested versions of everything `make` installs. Written by tools/pin.py, do not edit.
"""

Pins = dict[str, str]


def canonical(name: str) -> str:
    """Spell a project's name the one way that compares equal."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins_of(report: Mapping[str, Any]) -> Pins:
    """Read the versions out of pip's installation report, leaving out the package itself and the vendors' clients."""
    chosen = (item["metadata"] for item in report["install"])
    pins = {canonical(meta["name"]): meta["version"] for meta in chosen}
    elsewhere = {"airflow-provider-sluice", *(canonical(client.partition("==")[0]) for client in CLIENTS)}
    return {name: version for name, version in pins.items() if name not in elsewhere}


def merge(by_python: Mapping[str, Pins]) -> list[str]:
    """Turn {"3.10": pins, ...} into constraint lines, with markers only where the Pythons differ."""
    lines: list[str] = []
    for name in sorted({name for pins in by_python.values() for name in pins}):
        pythons_of: dict[str, list[str]] = defaultdict(list)
        for python, pins in by_python.items():
            if name in pins:
                pythons_of[pins[name]].append(python)
        if len(pythons_of) == 1:  # also when some Pythons do not need it: a constraint asks for nothing
            lines.append(f"{name}=={next(iter(pythons_of))}")
            continue
        for version, pythons in pythons_of.items():
            marker = " or ".join(f'python_version == "{python}"' for python in pythons)
            lines.append(f"{name}=={version} ; {marker}")
    return lines


def resolve(python: str) -> tuple[str, Pins]:
    """Ask one interpreter's pip what it would install; return its version and the pins."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([python, "-m", "venv", folder], check=True)
        inside = f"{folder}/bin/python"
        version = "import sys; print('%d.%d' % sys.version_info[:2])"
        found = subprocess.run([inside, "-c", version], check=True, capture_output=True, text=True)
        report = Path(folder, "report.json")
        wanted = ["--editable", f"{ROOT}[ui]", AIRFLOW, *BUILD, *CLIENTS]
        options = ["--quiet", "--dry-run", "--ignore-installed", "--report", str(report)]
        subprocess.run([inside, "-m", "pip", "install", *options, *wanted], check=True)
        return found.stdout.strip(), pins_of(json.loads(report.read_text()))


def main(argv: Sequence[str]) -> int:
    """Resolve on every interpreter given and write the merged file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pythons", nargs="+", metavar="PYTHON", help="one interpreter per supported Python")
    parser.add_argument("--output", type=Path, default=ROOT / "constraints.txt")
    args = parser.parse_args(argv)
    by_python: dict[str, Pins] = {}
    for python in args.pythons:
        version, pins = resolve(python)
        by_python[version] = pins
        print(f"Python {version}: {len(pins)} packages")
    args.output.write_text(HEADER + "\n".join(merge(by_python)) + "\n")
    print(f"wrote {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
