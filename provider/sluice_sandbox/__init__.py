"""Mock services for Kaleidoscope, Kili, Liquid Decisions and Amazon FinSpace: `python -m sluice_sandbox`.

They are written from the vendors' documentation and checked with the vendors' own clients. They import nothing of
`sluice_provider`, so that both cannot share one misreading of an API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sluice_sandbox.server import Sandbox

__all__ = ["INSTALL", "Sandbox"]

INSTALL = "pip install 'airflow-provider-sluice[sandbox]'"


def __getattr__(name: str) -> Any:
    """Import the server on first use, so that `--help` works and a missing package is named in one line."""
    if name != "Sandbox":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from sluice_sandbox.server import Sandbox
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("sluice"):
            raise
        raise ImportError(f"the sandbox needs the package {error.name!r}: {INSTALL}", name=error.name) from error
    return Sandbox
