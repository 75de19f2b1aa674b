"""Run mock services for Kaleidoscope, Kili, Liquid Decisions and Amazon FinSpace on one port.

The page at / shows jobs and the latest requests; tests control the services below /control.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import sluice_sandbox
from sluice_sandbox.loopback import is_loopback
from sluice_sandbox.settings import InvalidControlInput, describe_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sluice_sandbox import Sandbox


OPEN_TO_OTHERS = (
    "Warning: the sandbox listens on {}, where other machines may reach it. Whoever does can read and change all of it "
    "through /control, which needs no login; without --host it listens on 127.0.0.1 only."
)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run. Exits with one line on stderr if a package, the port or a setting is wrong."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.list_settings:
        print(describe_settings())
        return
    sandbox = _create(parser, options)
    if options.print_connections:
        for conn_id, connection in sandbox.connections().items():
            print(f"export AIRFLOW_CONN_{conn_id.upper()}='{connection}'")
        return
    if find_spec("graphql") is None:
        message = "The Kili mock is disabled, as it needs graphql-core"
        print(f"{message}: {sluice_sandbox.INSTALL}", file=sys.stderr, flush=True)
    if not is_loopback(options.host):
        print(OPEN_TO_OTHERS.format(options.host), file=sys.stderr, flush=True)
    print(f"Sluice sandbox on {sandbox.url}", flush=True)
    sandbox.serve()


def _create(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Sandbox:
    host, port = options.host, options.port
    try:
        return sluice_sandbox.Sandbox(
            host,
            port,
            settings=options.settings,
            webhooks_anywhere=options.webhooks_anywhere,
            bind=not options.print_connections,
        )
    except ImportError as error:
        parser.exit(1, f"Cannot start the sandbox: {error}\n")
    except InvalidControlInput as error:
        parser.exit(1, f"Cannot start the sandbox: invalid --settings: {error}\n")
    except OSError as error:
        parser.exit(1, f"Cannot start the sandbox: cannot listen on {host}:{port}: {error.strerror or error}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m sluice_sandbox", description=__doc__)
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; with one that is not a loopback address, other machines can use the sandbox "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--port", default=8765, type=int, help="port to listen on, 0 for a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--settings",
        default={},
        type=json.loads,
        metavar="JSON",
        help="settings to start with, as in POST /control/settings: '{\"job_seconds\": 5}'",
    )
    parser.add_argument(
        "--webhooks-anywhere",
        action="store_true",
        help="let the setting webhook_url lead to other hosts than this machine",
    )
    parser.add_argument("--list-settings", action="store_true", help="print all settings with their meaning and exit")
    parser.add_argument(
        "--print-connections",
        action="store_true",
        help="print Airflow connections to this address as `export AIRFLOW_CONN_...` lines and exit",
    )
    return parser


if __name__ == "__main__":
    main()
