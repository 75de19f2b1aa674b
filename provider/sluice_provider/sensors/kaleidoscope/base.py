"""What the sensors for Kaleidoscope have in common."""

from __future__ import annotations

from sluice_provider.links import KaleidoscopeLink
from sluice_provider.runtime.sensor import RemoteJobSensor


class KaleidoscopeSensor(RemoteJobSensor):
    """Waits for something in Kaleidoscope."""

    service = "kaleidoscope"
    operator_extra_links = (KaleidoscopeLink(),)
