"""The fields of each connection type, declared once.

These declarations give the connection form (`get_provider_info`), the parsing and its defaults
(`http/client_config.py`), the check for unknown fields in Extra, the fields that are masked in logs, and the tables of
docs/connections.md (`tools/connection_docs.py`). Every Airflow process imports this module when it discovers providers,
so it imports nothing.

FinSpace uses the Amazon provider's connection type `aws`, which that provider describes and checks.
"""

from __future__ import annotations

STANDARD = ("host", "port", "login", "password", "schema")
"""Fields that every Airflow connection has. All others are in its Extra."""


class Field:
    """One field of a connection.

    :param name: one of `STANDARD`, or a key in Extra
    :param label: its label in the form
    :param description: in the form and in the documentation
    :param type: `string`, `boolean`, `seconds`, `megabytes`, or `object` (a JSON object of strings, as such or as its
        text)
    :param default: its value if the field is empty
    :param required: whether the hook needs it
    :param secret: whether it is masked in logs and in the form
    :param harmless: whether it has no say in where secrets are sent, how, and who can read them
    :param placeholder: what an empty standard field shows in the form
    :param choices: the values that it may have
    """

    def __init__(
        self,
        name: str,
        label: str,
        description: str,
        *,
        type: str = "string",  # noqa: A002 - its name in JSON schema
        default: object = "",
        required: bool = False,
        secret: bool = False,
        harmless: bool = False,
        placeholder: str = "",
        choices: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.label = label
        self.description = description
        self.type = type
        self.default = default
        self.required = required
        self.secret = secret
        self.harmless = harmless
        self.placeholder = placeholder
        self.choices = choices

    def form(self) -> dict[str, object]:
        """As `conn-fields` describes it: Airflow stores an empty field as null."""
        schema: dict[str, object] = {"type": [FORM_TYPES[self.type], "null"]}
        if self.type == "boolean":
            schema["default"] = self.default
        if self.type in ("seconds", "megabytes"):
            schema["minimum"] = 1
        if self.choices:
            schema["enum"] = list(self.choices)
        if self.secret:
            schema["format"] = "password"
        return {"label": self.label, "description": self.description, "schema": schema}


FORM_TYPES = {"string": "string", "boolean": "boolean", "seconds": "number", "megabytes": "number", "object": "string"}


def _by_name(*fields: Field) -> dict[str, Field]:
    return {field.name: field for field in fields}


CLIENT = (
    Field("verify", "Verify TLS", "Check the server's certificate.", type="boolean", default=True),
    Field(
        "ca_bundle",
        "CA bundle",
        "Path of a PEM file with the certificate authorities to trust, on workers, triggerers and API servers.",
    ),
    Field("proxy", "Proxy", "URL of an HTTP proxy, without login and password."),
    Field("proxy_login", "Proxy login", "User name for the proxy."),
    Field("proxy_password", "Proxy password", "Password for the proxy.", secret=True),
    Field(
        "connect_timeout",
        "Connect timeout (s)",
        "Maximum time for opening a connection.",
        type="seconds",
        default=10,
        harmless=True,
    ),
    Field(
        "read_timeout",
        "Read timeout (s)",
        "Maximum time between two parts of a response.",
        type="seconds",
        default=60,
        harmless=True,
    ),
    Field(
        "request_timeout",
        "Request timeout (s)",
        "Maximum time for a whole request, from opening the connection to the end of the response.",
        type="seconds",
        default=300,
        harmless=True,
    ),
    Field(
        "transfer_timeout",
        "Transfer timeout (s)",
        "Maximum time for a whole request that sends or receives a file.",
        type="seconds",
        default=21600,
        harmless=True,
    ),
    Field(
        "max_response_mb",
        "Maximum response (MB)",
        "Maximum size of a response that is read into memory, decompressed. Downloaded files are not limited.",
        type="megabytes",
        default=64,
        harmless=True,
    ),
    Field(
        "extra_headers",
        "Extra headers",
        'JSON object of headers that are sent with every request: {"X-Team": "chemistry"}.',
        type="object",
    ),
)
"""What all connection types of this package have."""

WEBHOOKS = (
    Field(
        "webhook_secret",
        "Webhook secret",
        "Secret shared with the sender of webhooks: whsec_ and 24 bytes or more in base64, or, for the plain format, "
        "16 characters or more. Empty: webhooks are off.",
        secret=True,
    ),
    Field(
        "webhook_dag_id",
        "Webhook DAG",
        "DAG that a webhook starts, or a JSON object with a DAG for each event: "
        '{"registration_submitted": "files", "*": "rest"}.',
        harmless=True,
    ),
    Field(
        "webhook_asset",
        "Webhook asset",
        "Instead of a DAG: URI or name of an asset that schedules DAGs by partition.",
        harmless=True,
    ),
    Field(
        "webhook_format",
        "Webhook format",
        "How a delivery is authenticated: signed as Standard Webhooks (standard), or by the secret itself in a header "
        "(plain), for senders that cannot sign. Empty: standard.",
        choices=("standard", "plain"),
    ),
    Field(
        "webhook_header",
        "Webhook header",
        "Plain format only: name of the header with the secret. Empty: X-Sluice-Secret.",
    ),
)

PORT = Field("port", "Port", "TCP port; it may also be part of the host.", placeholder="443")

RESULT_HOSTS = Field(
    "result_hosts",
    "Result hosts",
    "Other hosts to which the service's links and redirects to files may lead: names, patterns (*.example.com), "
    "addresses and networks, separated by commas. An internal host needs its name and its address or network: "
    "files.example.com, 10.1.0.0/16. Empty: the connection's own host only.",
)
"""Of the services whose links are followed. Kili's lead to Azure containers, whose own hosts need not be listed."""

KALEIDOSCOPE = _by_name(
    Field(
        "host",
        "Host",
        "Host name or URL of the API. Empty: api.kaleidoscope.bio.",
        placeholder="api.kaleidoscope.bio, or a URL with a path",
    ),
    PORT,
    Field("login", "Client ID", "Client id of the API client.", required=True, placeholder="client id"),
    Field(
        "password",
        "Client secret",
        "Client secret of the API client.",
        required=True,
        secret=True,
        placeholder="client secret",
    ),
    Field("web_url", "Web UI URL", "URL of Kaleidoscope's web UI; without it, tasks have no link to their job."),
    Field(
        "iap_audience",
        "IAP audience",
        "OAuth client id of Google's Identity-Aware Proxy, if the API is behind one (needs the extra iap).",
    ),
    *WEBHOOKS,
    RESULT_HOSTS,
    *CLIENT,
)

KILI = _by_name(
    Field(
        "host",
        "Endpoint",
        "URL of the GraphQL endpoint, or its host name. Empty: https://cloud.kili-technology.com/api/label/v2/graphql.",
        placeholder="https://cloud.kili-technology.com/api/label/v2/graphql",
    ),
    PORT,
    Field(
        "password",
        "API key",
        "API key of the user that Airflow acts as.",
        required=True,
        secret=True,
        placeholder="API key",
    ),
    Field("web_url", "Web UI URL", "URL of Kili's web UI, for links on tasks. Empty: the endpoint's host."),
    RESULT_HOSTS,
    *CLIENT,
)

LIQUID_DECISIONS = _by_name(
    Field(
        "host",
        "Host",
        "Host name or URL of the API; each customer has its own.",
        required=True,
        placeholder="your-company.example.com, or a URL with a path",
    ),
    PORT,
    Field("login", "Login", "User name.", required=True),
    Field("password", "Password", "Password of the user.", required=True, secret=True),
    Field("community", "Community", "Name of the community; it becomes part of the token's scope.", required=True),
    Field("client_id", "Client ID", "OAuth client id, if Liquid Decisions issued one."),
    Field("client_secret", "Client secret", "OAuth client secret, if Liquid Decisions issued one.", secret=True),
    RESULT_HOSTS,
    *CLIENT,
)

CONNECTION_TYPES: dict[str, dict[str, Field]] = {
    "kaleidoscope": KALEIDOSCOPE,
    "kili": KILI,
    "liquid_decisions": LIQUID_DECISIONS,
}

EXTRA_FIELDS = {
    name: field for fields in CONNECTION_TYPES.values() for name, field in fields.items() if name not in STANDARD
}
"""Every field that can be in an Extra, by its name, which means the same in all connection types."""


def form(conn_type: str) -> dict[str, object]:
    """A connection type's form, as `connection-types` of the provider info describes it."""
    fields = CONNECTION_TYPES[conn_type]
    standard = [field for field in fields.values() if field.name in STANDARD]
    return {
        "ui-field-behaviour": {
            "hidden-fields": [name for name in STANDARD if name not in fields],
            "relabeling": {field.name: field.label for field in standard if field.label != field.name.capitalize()},
            "placeholders": {field.name: field.placeholder for field in standard if field.placeholder},
        },
        "conn-fields": {name: field.form() for name, field in fields.items() if name not in STANDARD},
    }
