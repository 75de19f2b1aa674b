"""The list of mock services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice_sandbox.finspace.service import FinSpace
from sluice_sandbox.kaleidoscope.service import Kaleidoscope
from sluice_sandbox.kili.service import Kili
from sluice_sandbox.liquid_decisions.service import LiquidDecisions

if TYPE_CHECKING:
    from sluice_sandbox.service import MockService

MOCK_SERVICES: tuple[type[MockService], ...] = (Kaleidoscope, Kili, LiquidDecisions, FinSpace)
