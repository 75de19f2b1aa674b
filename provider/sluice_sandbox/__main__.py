"""The command line: serve until told to stop, or print the connections that lead here."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from sluice_sandbox.server import Sandbox
from sluice_sandbox.settings import InvalidControlInput

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Serve, or only print; a port that is taken or a wrong setting ends with one plain line."""
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        sandbox = Sandbox(options.host, options.port, settings=options.settings, bind=not options.print_connections)
    except (OSError, InvalidControlInput) as problem:
        parser.exit(1, f"cannot start the sandbox on {options.host}:{options.port}: {problem}\n")
    if options.print_connections:
        for conn_id, connection in sandbox.connections().items():
            print(f"export AIRFLOW_CONN_{conn_id.upper()}='{connection}'")
    else:
        print(f"Sluice sandbox on {sandbox.url}", flush=True)
        sandbox.serve()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m sluice_sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument(
        "--port", default=8765, type=int, help="port to listen on, 0 for a free one (default %(default)s)"
    )
    parser.add_argument(
        "--settings", default={}, type=json.loads, help="as POST /control/settings: '{\"job_seconds\": 5}'"
    )
    parser.add_argument("--print-connections", action="store_true", help="print AIRFLOW_CONN_... lines and exit")
    return parser


if __name__ == "__main__":
    main()
