"""The remotes the sandbox pretends to be, one line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice_provider.sandbox.finspace import FinSpace
from sluice_provider.sandbox.kaleidoscope import Kaleidoscope
from sluice_provider.sandbox.kili import Kili
from sluice_provider.sandbox.liquid_decisions import LiquidDecisions

if TYPE_CHECKING:
    from sluice_provider.sandbox.remote import Remote

REMOTES: tuple[type[Remote], ...] = (Kaleidoscope, Kili, LiquidDecisions, FinSpace)
