"""Sluice: Apache Airflow operators for services that run long jobs in the background.

Every Airflow process imports this module to discover the provider, so it imports nothing but two light modules.
"""

from __future__ import annotations

__all__ = ["__version__", "get_provider_info"]

__version__ = "0.1.0"


def get_provider_info() -> dict[str, object]:
    """What Airflow shows and loads of this provider; see `airflow/provider_info.schema.json`."""
    from sluice_provider.connection_fields import CONNECTION_TYPES, form
    from sluice_provider.services import SERVICES

    return {
        "package-name": "airflow-provider-sluice",
        "name": "Sluice",
        "description": "Operators for long jobs in Kaleidoscope, Kili, Liquid Decisions and Amazon FinSpace, "
        "which are neither lost nor submitted twice.",
        "versions": [__version__],
        "integrations": [
            {"integration-name": service.title, "external-doc-url": service.docs_url, "tags": [service.tag]}
            for service in SERVICES
        ],
        **{
            layer: [
                {
                    "integration-name": service.title,
                    "python-modules": [f"sluice_provider.{layer}.{service.name}"],
                }
                for service in SERVICES
            ]
            for layer in ("hooks", "operators", "sensors")
        },
        "triggers": [
            {"integration-name": "Sluice", "python-modules": ["sluice_provider.triggers", "sluice_provider.watchers"]}
        ],
        "extra-links": ["sluice_provider.links.KaleidoscopeLink", "sluice_provider.links.KiliLink"],
        "asset-uris": [
            {
                "schemes": ["kaleidoscope", "kili", "liquid-decisions", "finspace"],
                "handler": "sluice_provider.assets.sanitize_uri",
                "factory": "sluice_provider.assets.create_asset",
                "to_openlineage_converter": "sluice_provider.assets.convert_asset_to_openlineage",
            }
        ],
        "connection-types": [
            {
                "connection-type": service.conn_type,
                "hook-name": service.title,
                "hook-class-name": service.hook_path,
                **form(service.conn_type),
            }
            for service in SERVICES
            if service.conn_type in CONNECTION_TYPES
        ],
    }
