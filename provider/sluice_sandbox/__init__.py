"""The remotes, pretended well enough for their vendors' own clients: `python -m sluice_sandbox`.

Written from the vendors' documentation and clients, never from ours, so that it cannot share a misreading of ours.
"""

from __future__ import annotations

from sluice_sandbox.server import Sandbox

__all__ = ["Sandbox"]
