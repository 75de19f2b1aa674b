"""Sensors for Kaleidoscope. Import them from here, not from the modules that define them."""

from __future__ import annotations

from sluice_provider.sensors.kaleidoscope.imports import KaleidoscopeImportSensor
from sluice_provider.sensors.kaleidoscope.registration import KaleidoscopeDraftsSensor, KaleidoscopeRegistrationSensor

__all__ = ["KaleidoscopeDraftsSensor", "KaleidoscopeImportSensor", "KaleidoscopeRegistrationSensor"]

for _name in __all__:
    globals()[_name].__module__ = __name__
