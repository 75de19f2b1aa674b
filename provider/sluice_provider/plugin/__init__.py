"""What Sluice adds to Airflow itself, for `airflow plugins` to list and for the API server to serve.

Airflow finds it by the entry point `airflow.plugins`: what provider info says of plugins is ignored by default, as
providers are discovered lazily. It is imported by every task, so nothing heavy may be.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import AirflowPlugin

from sluice_provider.links import KaleidoscopeLink, KiliLink


class SluicePlugin(AirflowPlugin):
    """The provider's extra links."""

    name = "sluice"
    operator_extra_links = [KaleidoscopeLink(), KiliLink()]
