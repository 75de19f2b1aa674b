"""The services, one entry each. Whatever exists once for each service loops over this list.

Every Airflow process imports this module when it discovers providers, so it imports nothing.
"""

from __future__ import annotations


class Service:
    """One service.

    :param name: the name of its module in each layer
    :param title: its name for people
    :param hook: class name in `hooks/<name>.py`
    :param conn_type: Airflow connection type
    :param default_conn_id: Airflow connection id if the author gives none
    :param docs_url: the vendor's documentation
    :param tag: in Airflow's list of integrations
    """

    def __init__(
        self,
        name: str,
        title: str,
        hook: str,
        conn_type: str,
        default_conn_id: str,
        docs_url: str = "",
        tag: str = "service",
    ) -> None:
        self.name = name
        self.title = title
        self.hook = hook
        self.conn_type = conn_type
        self.default_conn_id = default_conn_id
        self.docs_url = docs_url
        self.tag = tag

    @property
    def hook_path(self) -> str:
        return f"sluice_provider.hooks.{self.name}.{self.hook}"


SERVICES = (
    Service(
        "kaleidoscope",
        "Kaleidoscope",
        "KaleidoscopeHook",
        "kaleidoscope",
        "kaleidoscope_default",
        "https://api.docs.kaleidoscope.bio",
    ),
    Service("kili", "Kili", "KiliHook", "kili", "kili_default", "https://docs.kili-technology.com"),
    Service(
        "liquid_decisions",
        "Liquid Decisions",
        "LiquidDecisionsHook",
        "liquid_decisions",
        "liquid_decisions_default",
        "https://github.com/LiquidAnalytics/ld-api-examples/wiki/Batch-Import-and-Export",
    ),
    Service(
        "finspace",
        "Amazon FinSpace",
        "FinSpaceHook",
        "aws",
        "aws_default",
        "https://docs.aws.amazon.com/finspace/latest/management-api/",
        tag="aws",
    ),
)

BY_NAME = {service.name: service for service in SERVICES}
