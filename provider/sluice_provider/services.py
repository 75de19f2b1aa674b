"""The remote systems, one line each. Everything that is there once per system loops over this list."""

from __future__ import annotations

from typing import NamedTuple


class Service(NamedTuple):
    """:param name: module name in every room
    :param title: the remote's name for people
    :param hook: class name in `hooks/<name>.py`
    :param conn_type: Airflow connection type
    :param default_conn_id: Airflow connection id when the author gives none
    """

    name: str
    title: str
    hook: str
    conn_type: str
    default_conn_id: str

    @property
    def hook_path(self) -> str:
        return f"sluice_provider.hooks.{self.name}.{self.hook}"


SERVICES = (
    Service("kaleidoscope", "Kaleidoscope", "KaleidoscopeHook", "kaleidoscope", "kaleidoscope_default"),
    Service("kili", "Kili", "KiliHook", "kili", "kili_default"),
    Service(
        "liquid_decisions", "Liquid Decisions", "LiquidDecisionsHook", "liquid_decisions", "liquid_decisions_default"
    ),
    Service("finspace", "Amazon FinSpace", "FinSpaceHook", "aws", "aws_default"),
)

BY_NAME = {service.name: service for service in SERVICES}
