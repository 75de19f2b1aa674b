"""Runs the vendor's own client against the sandbox, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

VERSION = "26.2.4"
SESSION = Path(__file__).with_name("sandbox") / "kili_session.py"
FOLDER = Path(os.environ.get("SLUICE_VENDOR_DIR", Path(sys.prefix) / "vendor")) / f"kili-{VERSION}"


def session(url: str, home: Path, *arguments: str) -> Any:
    """The report of a session; skipped where the client is not installed."""
    if not FOLDER.is_dir():
        pytest.skip(f"kili {VERSION} is not in {FOLDER.parent}; make install puts it there")
    # Its own schema cache, its own configuration, and none of its switches.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KILI_")}
    environment |= {"PYTHONPATH": str(FOLDER), "NO_PROXY": "*", "HOME": str(home), "USERPROFILE": str(home)}
    command = [sys.executable, str(SESSION), url, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.split("report:")[1]) if "report:" in done.stdout else None
