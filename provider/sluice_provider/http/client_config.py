"""From the fields of an Airflow connection to a client's configuration: pure functions, the same for all services."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import SplitResult, urlsplit, urlunsplit

import httpx

from sluice_provider import redaction
from sluice_provider.connection_fields import EXTRA_FIELDS, STANDARD, Field
from sluice_provider.errors import InvalidConnection
from sluice_provider.http.decoding import ACCEPT_ENCODING
from sluice_provider.http.limits import MEGABYTE, Limits
from sluice_provider.http.result_hosts import ResultHosts

if TYPE_CHECKING:
    from ssl import SSLContext

MAX_CONNECTIONS = 20
"""Of one client to its service. All of them are kept open between requests: to open one costs more than a request."""

ACCEPT = {"Accept": "application/json", "Accept-Encoding": ACCEPT_ENCODING}

HEADER_NAME = r"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
HEADER_VALUE = r"([!-~]+([ \t]+[!-~]+)*)?"
"""RFC 9110, 5.1 and 5.5. A client would reject other values only on sending, in a message that shows the value."""

SECRET_WORDS = ("password", "secret", "token", "api_key", "credential")
"""An undeclared field of an Extra with one of these words in its name is taken for a secret, too."""

RESERVED_PREFIXES = ("__", "extra__")
"""Names in an Extra that Airflow itself uses: a nested Extra, and the form fields of its older versions."""


class ConnectionFields(NamedTuple):
    """The fields of an Airflow connection, read as `connection_fields.py` declares them.

    Airflow stores an empty field of the form as null or "": it has its default then. The getters raise
    `InvalidConnection`, which names the connection and the field and never the value, as it may be a secret.
    """

    conn_id: str
    host: str | None = None
    port: int | None = None
    login: str | None = None
    password: str | None = None
    extra: Mapping[str, Any] = MappingProxyType({})

    def __repr__(self) -> str:
        return f"ConnectionFields(conn_id={self.conn_id!r}, host={self.host!r}, port={self.port!r})"

    def secrets(self) -> list[str]:
        """Every value that must not appear in a log."""
        named = [value for name, value in self.extra.items() if isinstance(value, str) and _is_secret(name)]
        pairs = ((self.login, self.password), (self.extra.get("proxy_login"), self.extra.get("proxy_password")))
        logins = [f"{login}:{password}" for login, password in pairs if login and password]
        headers = self.mapping("extra_headers").values()
        return [secret for secret in (self.password, *named, *logins, *headers) if secret]

    def text(self, name: str) -> str:
        value = self._value(name)
        if not isinstance(value, str):
            raise self.invalid(name, f"must be a string, not {type(value).__name__}")
        return value.strip()

    def flag(self, name: str) -> bool:
        value = str(self._value(name)).casefold()
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if value not in words:
            raise self.invalid(name, "must be true or false")
        return words[value]

    def seconds(self, name: str) -> float:
        try:
            number = float(self._value(name))
        except (TypeError, ValueError, OverflowError):
            number = -1.0
        if not 0 < number < 86400:
            raise self.invalid(name, "must be a number of seconds above 0 and below 86400")
        return number

    def bytes_of(self, name: str) -> int:
        """A number of megabytes, in bytes."""
        try:
            number = float(self._value(name))
        except (TypeError, ValueError, OverflowError):
            number = -1.0
        if not 0 < number <= 10_000:
            raise self.invalid(name, "must be a number of megabytes above 0, and at most 10000")
        return max(1, int(number * MEGABYTE))

    def mapping(self, name: str) -> dict[str, str]:
        """A JSON object of strings, given as an object or as its text."""
        value = self._value(name)
        if value == "":
            return {}
        try:
            value = json.loads(value) if isinstance(value, str) else value
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, Mapping) or not all(isinstance(each, str) for each in value.values()):
            raise self.invalid(name, 'must be a JSON object of strings, like {"X-Team": "chemistry"}')
        return dict(value)

    def required(self, field: Field) -> str:
        """The value of a standard field or of a string in Extra, which must not be empty."""
        value = getattr(self, field.name) if field.name in STANDARD else self.text(field.name)
        if not value or not value.strip():
            raise InvalidConnection(f"connection {self.conn_id!r}: the field {field.label} ({field.name}) is empty")
        return str(value.strip())

    def unknown(self, declared: Mapping[str, Field]) -> list[str]:
        """A sentence for each field in Extra that the connection type does not have, with the most similar one."""
        from difflib import get_close_matches

        known = [name for name in declared if name not in STANDARD]
        found = []
        for name in self.extra:
            if name not in known and not name.startswith(RESERVED_PREFIXES):
                similar = get_close_matches(name.casefold(), known, n=1)
                hint = f"; did you mean {similar[0]!r}?" if similar else "; it has no effect"
                found.append(f"connection {self.conn_id!r}: unknown field {name[:60]!r} in Extra{hint}")
        return found

    def invalid(self, name: str, problem: str) -> InvalidConnection:
        """Names the field and never its value, which may be a secret."""
        return InvalidConnection(f"connection {self.conn_id!r}: {name} {problem}")

    def _value(self, name: str) -> Any:
        value = self.extra.get(name)
        return EXTRA_FIELDS[name].default if value is None or value == "" else value


def _is_secret(name: str) -> bool:
    field = EXTRA_FIELDS.get(name)
    return field.secret if field else any(word in name.casefold() for word in SECRET_WORDS)


class ClientConfig(NamedTuple):
    """The address of a service, and how to connect to it.

    :param base_url: ends with a slash
    :param verify: check certificates; against `ca_bundle` (a path) if there is one
    :param connect_timeout: seconds
    :param read_timeout: seconds between two parts of a response; the same for sending
    :param limits: how long a request may take in all, and how much of a response is read
    :param result_hosts: other hosts that may be requested; None: no other
    """

    base_url: str
    verify: bool = True
    ca_bundle: str | None = None
    proxy: str | None = None
    proxy_auth: tuple[str, str] | None = None
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    limits: Limits = Limits()
    result_hosts: ResultHosts | None = None
    headers: Mapping[str, str] = MappingProxyType({})

    def __repr__(self) -> str:
        return f"ClientConfig(base_url={self.base_url!r})"

    @classmethod
    def from_connection(cls, fields: ConnectionFields, *, default_host: str, user_agent: str) -> ClientConfig:
        """:raises InvalidConnection: naming the field that cannot be used"""
        for secret in fields.secrets():
            redaction.add(secret)
        address = base_url(fields, default_host)
        return cls(
            base_url=address,
            verify=fields.flag("verify"),
            ca_bundle=_ca_bundle(fields),
            proxy=_proxy(fields),
            proxy_auth=_proxy_auth(fields),
            connect_timeout=fields.seconds("connect_timeout"),
            read_timeout=fields.seconds("read_timeout"),
            limits=_limits(fields),
            result_hosts=_result_hosts(fields, address),
            headers={"User-Agent": user_agent, **ACCEPT, **_extra_headers(fields)},
        )

    def options(self) -> dict[str, Any]:
        """Arguments for `httpx.Client` and `httpx.AsyncClient`."""
        options: dict[str, Any] = {
            "base_url": self.base_url,
            "verify": _ssl_context(self.ca_bundle) if self.verify and self.ca_bundle else self.verify,
            "timeout": httpx.Timeout(self.read_timeout, connect=self.connect_timeout),
            "headers": dict(self.headers),
            "limits": httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS),
        }
        if self.proxy:
            options["proxy"] = httpx.Proxy(self.proxy, auth=self.proxy_auth)
        return options


def _ssl_context(ca_bundle: str) -> SSLContext:
    import ssl

    return ssl.create_default_context(cafile=ca_bundle)


def base_url(fields: ConnectionFields, default_host: str) -> str:
    """`host` may be a host name or a URL with a path; `port` is added to either. Without a scheme it is https."""
    host = (fields.host or "").strip() or default_host
    parts = _split(host if "://" in host else f"https://{host}")
    if parts is None:
        raise fields.invalid("host", "is not a host name or URL")
    name, port = parts.hostname, parts.port
    if parts.scheme not in ("http", "https") or not name or any(c.isspace() for c in host):
        raise fields.invalid("host", "must be a host name, or a URL that starts with https:// or http://")
    if parts.username or parts.password:
        raise fields.invalid("host", "contains a user or password; put them into login and password")
    if parts.query or parts.fragment:
        raise fields.invalid("host", "must not have a query (?) or fragment (#)")
    if port and fields.port and port != fields.port:
        raise fields.invalid("host", f"has port {port}, but the field port is {fields.port}")
    port = port or fields.port
    shown = f"[{name}]" if ":" in name else name
    netloc = f"{shown}:{port}" if port else shown
    return urlunsplit((parts.scheme, netloc, parts.path.rstrip("/") + "/", "", ""))


def _split(url: str) -> SplitResult | None:
    """Its parts, or None if the HTTP client could not use it. No exception from here could show a password."""
    try:
        parts = urlsplit(url)
        _, _ = parts.port, httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        return None
    return parts


def _extra_headers(fields: ConnectionFields) -> dict[str, str]:
    headers = fields.mapping("extra_headers")
    for name, value in headers.items():
        if not re.fullmatch(HEADER_NAME, name) or not re.fullmatch(HEADER_VALUE, value):
            raise fields.invalid("extra_headers", "contains a header that is not plain ASCII on one line")
    return headers


def _limits(fields: ConnectionFields) -> Limits:
    return Limits(
        max_response_bytes=fields.bytes_of("max_response_mb"),
        request_timeout=fields.seconds("request_timeout"),
        transfer_timeout=fields.seconds("transfer_timeout"),
    )


def _result_hosts(fields: ConnectionFields, address: str) -> ResultHosts:
    try:
        return ResultHosts.parse(address, fields.text("result_hosts"))
    except ValueError:
        raise fields.invalid(
            "result_hosts",
            "contains what is neither a host name, a pattern (*.example.com), an address nor a network (10.0.0.0/8); "
            "names are written in ASCII, without scheme, port and path",
        ) from None


def _ca_bundle(fields: ConnectionFields) -> str | None:
    path = fields.text("ca_bundle")
    if path and not Path(path).is_file():
        raise fields.invalid("ca_bundle", "is not a file on this machine; workers, triggerers and API servers need it")
    if path:
        try:
            _ssl_context(path)
        except OSError:  # ssl.SSLError is one
            raise fields.invalid("ca_bundle", "is not a PEM file with certificates") from None
    return path or None


def _proxy(fields: ConnectionFields) -> str | None:
    proxy = fields.text("proxy")
    if not proxy:
        return None
    parts = _split(proxy)
    if parts is None or parts.scheme not in ("http", "https", "socks5", "socks5h") or not parts.hostname:
        raise fields.invalid("proxy", "must be a URL like http://proxy.example.com:3128")
    if parts.username or parts.password:
        raise fields.invalid("proxy", "contains a user or password; put them into proxy_login and proxy_password")
    if parts.scheme.startswith("socks") and find_spec("socksio") is None:
        raise fields.invalid("proxy", "is a SOCKS proxy, which needs: pip install 'httpx[socks]'")
    return proxy


def _proxy_auth(fields: ConnectionFields) -> tuple[str, str] | None:
    login, password = fields.text("proxy_login"), fields.text("proxy_password")
    return (login, password) if login else None
