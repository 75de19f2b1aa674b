"""Sluice: push data into remote platforms that work in the background, from Apache Airflow.

Every Airflow process imports this module to discover the provider, so it holds strings only and imports nothing.
"""

from __future__ import annotations

__all__ = ["__version__", "get_provider_info"]

__version__ = "0.1.0"


def get_provider_info() -> dict[str, object]:
    """What Airflow shows and loads of this provider; see `airflow/provider_info.schema.json`."""
    return {
        "package-name": "airflow-provider-sluice",
        "name": "Sluice",
        "description": "Push data into remote platforms that work in the background: nothing twice, nothing lost.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": "Kaleidoscope",
                "external-doc-url": "https://api.docs.kaleidoscope.bio",
                "tags": ["service"],
            },
            {
                "integration-name": "Kili",
                "external-doc-url": "https://docs.kili-technology.com",
                "tags": ["service"],
            },
            {
                "integration-name": "Liquid Decisions",
                "external-doc-url": "https://github.com/LiquidAnalytics/ld-api-examples/wiki/Batch-Import-and-Export",
                "tags": ["service"],
            },
            {
                "integration-name": "Amazon FinSpace",
                "external-doc-url": "https://docs.aws.amazon.com/finspace/latest/management-api/",
                "tags": ["aws"],
            },
        ],
        **{room: _modules(room) for room in ("hooks", "operators", "sensors")},
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
        "connection-types": [_kaleidoscope(), _kili(), _liquid_decisions()],
    }


def _modules(room: str) -> list[dict[str, object]]:
    """One module in each room for each remote."""
    names = {
        "Kaleidoscope": "kaleidoscope",
        "Kili": "kili",
        "Liquid Decisions": "liquid_decisions",
        "Amazon FinSpace": "finspace",
    }
    return [
        {"integration-name": title, "python-modules": [f"sluice_provider.{room}.{name}"]}
        for title, name in names.items()
    ]


def _kaleidoscope() -> dict[str, object]:
    return {
        "connection-type": "kaleidoscope",
        "hook-name": "Kaleidoscope",
        "hook-class-name": "sluice_provider.hooks.kaleidoscope.KaleidoscopeHook",
        "ui-field-behaviour": {
            "hidden-fields": ["schema"],
            "relabeling": {"login": "Client ID", "password": "Client secret"},
            "placeholders": {
                "host": "api.kaleidoscope.bio, or a URL with a path",
                "port": "443",
                "login": "the API client's id",
                "password": "the API client's secret",
            },
        },
        "conn-fields": {
            "web_url": _text("Web address", "Of Kaleidoscope for people, for the links on tasks"),
            "iap_audience": _text("IAP audience", "Client id of the Identity-Aware Proxy in front of the API, if any"),
            **_webhook_fields(),
            **_shared_fields(),
        },
    }


def _webhook_fields() -> dict[str, object]:
    """What makes a connection receive webhooks."""
    return {
        "webhook_secret": _text(
            "Webhook secret", "Known to the sender, too; 16 characters or more. Empty: no webhooks", format="password"
        ),
        "webhook_dag_id": _text(
            "Webhook DAG",
            'Which DAG an event starts; or a JSON object: {"registration_submitted": "files", "*": "rest"}',
        ),
        "webhook_asset": _text(
            "Webhook asset", "Instead of a DAG: URI or name of an asset that DAGs take by partition"
        ),
        "webhook_signing": {
            "label": "Webhook signing",
            "description": "How a delivery proves itself; empty: by either",
            "schema": {"type": ["string", "null"], "enum": ["plain", "hmac"]},
        },
        "webhook_header": _text("Webhook header", "Which header holds the secret or the signature, if it is not ours"),
    }


def _kili() -> dict[str, object]:
    return {
        "connection-type": "kili",
        "hook-name": "Kili",
        "hook-class-name": "sluice_provider.hooks.kili.KiliHook",
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "login"],
            "relabeling": {"host": "Endpoint", "password": "API key"},
            "placeholders": {
                "host": "https://cloud.kili-technology.com/api/label/v2/graphql",
                "port": "443",
                "password": "an API key of the user whom Airflow acts for",
            },
        },
        "conn-fields": {
            "web_url": _text("Web address", "Of Kili for people, for the links on tasks; usually the endpoint's host"),
            **_shared_fields(),
        },
    }


def _liquid_decisions() -> dict[str, object]:
    return {
        "connection-type": "liquid_decisions",
        "hook-name": "Liquid Decisions",
        "hook-class-name": "sluice_provider.hooks.liquid_decisions.LiquidDecisionsHook",
        "ui-field-behaviour": {
            "hidden-fields": ["schema"],
            "relabeling": {},
            "placeholders": {"host": "your-company.example.com, or a URL with a path", "port": "443"},
        },
        "conn-fields": {
            "community": _text("Community", "Name of the community; it goes into the scope of the token"),
            "client_id": _text("Client ID", "As issued by Liquid Decisions"),
            "client_secret": _text("Client secret", "As issued by Liquid Decisions", format="password"),
            **_shared_fields(),
        },
    }


def _shared_fields() -> dict[str, object]:
    """Connection fields that all remotes have."""
    return {
        "verify": {
            "label": "Verify TLS",
            "description": "Check the remote's certificate",
            "schema": {"type": ["boolean", "null"], "default": True},
        },
        "ca_bundle": _text("CA bundle", "Path of a PEM file with the authorities to trust, on workers and triggerers"),
        "proxy": _text("Proxy", "URL of an HTTP proxy, without user and password"),
        "proxy_login": _text("Proxy login", ""),
        "proxy_password": _text("Proxy password", "", format="password"),
        "connect_timeout": _seconds("Connect timeout", "Seconds until a connection must stand (10)"),
        "read_timeout": _seconds("Read timeout", "Seconds between two pieces of an answer (60)"),
        "extra_headers": _text("Extra headers", 'JSON object, sent with every request: {"X-Team": "chemistry"}'),
    }


def _text(label: str, description: str, **more: str) -> dict[str, object]:
    return {"label": label, "description": description, "schema": {"type": ["string", "null"], **more}}


def _seconds(label: str, description: str) -> dict[str, object]:
    return {"label": label, "description": description, "schema": {"type": ["number", "null"], "minimum": 1}}
