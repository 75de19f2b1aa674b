"""The remotes the sandbox pretends to be, one line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice_provider.sandbox.finspace import FinSpace
from sluice_provider.sandbox.kaleidoscope import Kaleidoscope

if TYPE_CHECKING:
    from sluice_provider.sandbox.remote import Remote

REMOTES: tuple[type[Remote], ...] = (Kaleidoscope, FinSpace)
