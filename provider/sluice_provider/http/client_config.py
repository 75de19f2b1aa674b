"""From the fields of an Airflow connection to where and how to connect: a pure function, the same for all systems."""

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

from sluice_provider.errors import InvalidConnection

if TYPE_CHECKING:
    from ssl import SSLContext

HEADER_NAME = r"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
HEADER_VALUE = r"([!-~]+([ \t]+[!-~]+)*)?"
"""RFC 9110, 5.1 and 5.5. What does not fit would be refused only when it is sent, in words that show the value."""


class ConnectionFields(NamedTuple):
    """What an Airflow connection holds. The UI stores a field that was left empty as null or ""."""

    conn_id: str
    host: str | None = None
    port: int | None = None
    login: str | None = None
    password: str | None = None
    extra: Mapping[str, Any] = MappingProxyType({})

    def __repr__(self) -> str:
        return f"Fields(conn_id={self.conn_id!r}, host={self.host!r}, port={self.port!r})"

    def secrets(self) -> list[str]:
        """Everything in here that no log may show."""
        words = ("password", "secret", "token", "api_key", "credential")
        named = [v for name, v in self.extra.items() if isinstance(v, str) and any(w in name.casefold() for w in words)]
        return [s for s in (self.password, *named, *self.mapping("extra_headers").values()) if s]

    def text(self, name: str, default: str = "") -> str:
        value = self.extra.get(name)
        if value is None or value == "":
            return default
        if not isinstance(value, str):
            raise self.bad(name, f"must be text, not {type(value).__name__}")
        return value.strip()

    def flag(self, name: str, *, default: bool) -> bool:
        value = self.extra.get(name)
        if value is None or value == "":
            return default
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if str(value).casefold() not in words:
            raise self.bad(name, "must be true or false")
        return words[str(value).casefold()]

    def seconds(self, name: str, default: float) -> float:
        value = self.extra.get(name)
        if value is None or value == "":
            return default
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = -1.0
        if not 0 < number < 86400:
            raise self.bad(name, "must be a number of seconds above 0")
        return number

    def mapping(self, name: str) -> dict[str, str]:
        """A JSON object of texts, given as an object or as its text."""
        value = self.extra.get(name)
        if value is None or value == "":
            return {}
        try:
            value = json.loads(value) if isinstance(value, str) else value
        except ValueError:
            value = None
        if not isinstance(value, Mapping) or not all(isinstance(v, str) for v in value.values()):
            raise self.bad(name, 'must be a JSON object of texts, like {"X-Team": "chemistry"}')
        return dict(value)

    def need(self, name: str, value: str | None, label: str) -> str:
        if not value or not value.strip():
            raise InvalidConnection(f"connection {self.conn_id!r}: the field {label} ({name}) is empty")
        return value.strip()

    def bad(self, name: str, what: str) -> InvalidConnection:
        """Names the field and never its value, which may be a secret."""
        return InvalidConnection(f"connection {self.conn_id!r}: {name} {what}")


class ClientConfig(NamedTuple):
    """Where a remote is and how to get there.

    :param base_url: ends with a slash
    :param verify: check certificates; against `ca_bundle` (a path) where one is given
    :param connect_timeout: seconds
    :param read_timeout: seconds between two pieces of an answer; the same for sending
    """

    base_url: str
    verify: bool = True
    ca_bundle: str | None = None
    proxy: str | None = None
    proxy_auth: tuple[str, str] | None = None
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    headers: Mapping[str, str] = MappingProxyType({})

    def __repr__(self) -> str:
        return f"Site(base_url={self.base_url!r})"

    def options(self) -> dict[str, Any]:
        """Arguments for `httpx.Client` and `httpx.AsyncClient`."""
        options: dict[str, Any] = {
            "base_url": self.base_url,
            "verify": self._trust(),
            "timeout": httpx.Timeout(self.read_timeout, connect=self.connect_timeout),
            "headers": dict(self.headers),
            "limits": httpx.Limits(max_connections=100, max_keepalive_connections=20),
        }
        if self.proxy:
            options["proxy"] = httpx.Proxy(self.proxy, auth=self.proxy_auth)
        return options

    def _trust(self) -> Any:
        return _context(self.ca_bundle) if self.verify and self.ca_bundle else self.verify


def _context(ca_bundle: str) -> SSLContext:
    import ssl

    return ssl.create_default_context(cafile=ca_bundle)


def site(fields: ConnectionFields, *, default_host: str, user_agent: str) -> ClientConfig:
    """:raises InvalidConnection: naming the field that cannot be used"""
    headers = {"User-Agent": user_agent, "Accept": "application/json", **_extra_headers(fields)}
    return ClientConfig(
        base_url=base_url(fields, default_host),
        verify=fields.flag("verify", default=True),
        ca_bundle=_ca_bundle(fields),
        proxy=_proxy(fields),
        proxy_auth=_proxy_auth(fields),
        connect_timeout=fields.seconds("connect_timeout", 10.0),
        read_timeout=fields.seconds("read_timeout", 60.0),
        headers=headers,
    )


def base_url(fields: ConnectionFields, default_host: str) -> str:
    """`host` may be a bare name or a whole URL with a path; `port` is put into either. Without a scheme it is https."""
    host = (fields.host or "").strip() or default_host
    parts = _split(host if "://" in host else f"https://{host}")
    if parts is None:
        raise fields.bad("host", "is not a host name or URL")
    name, port = parts.hostname, parts.port
    if parts.scheme not in ("http", "https") or not name or any(c.isspace() for c in host):
        raise fields.bad("host", "must be a host name, or a URL that starts with https:// or http://")
    if parts.username or parts.password:
        raise fields.bad("host", "holds a user or password; put them into login and password")
    if parts.query or parts.fragment:
        raise fields.bad("host", "must not have a query (?) or fragment (#)")
    if port and fields.port and port != fields.port:
        raise fields.bad("host", f"names port {port} while the field port says {fields.port}")
    port = port or fields.port
    shown = f"[{name}]" if ":" in name else name
    netloc = f"{shown}:{port}" if port else shown
    return urlunsplit((parts.scheme, netloc, parts.path.rstrip("/") + "/", "", ""))


def _split(url: str) -> SplitResult | None:
    """Its parts, or None if the HTTP client could not use it. Nothing is raised here that could show a password."""
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
            raise fields.bad("extra_headers", "holds a header that is not plain ASCII on one line")
    return headers


def _ca_bundle(fields: ConnectionFields) -> str | None:
    path = fields.text("ca_bundle")
    if path and not Path(path).is_file():
        raise fields.bad("ca_bundle", "is not a file on this machine; workers and triggerers all need it")
    if path:
        try:
            _context(path)
        except OSError:  # ssl.SSLError is one
            raise fields.bad("ca_bundle", "is not a PEM file with certificates that can be read here") from None
    return path or None


def _proxy(fields: ConnectionFields) -> str | None:
    proxy = fields.text("proxy")
    if not proxy:
        return None
    parts = _split(proxy)
    if parts is None or parts.scheme not in ("http", "https", "socks5", "socks5h") or not parts.hostname:
        raise fields.bad("proxy", "must be a URL like http://proxy.example.com:3128")
    if parts.username or parts.password:
        raise fields.bad("proxy", "holds a user or password; put them into proxy_login and proxy_password")
    if parts.scheme.startswith("socks") and find_spec("socksio") is None:
        raise fields.bad("proxy", "is a SOCKS proxy, which needs: pip install 'httpx[socks]'")
    return proxy


def _proxy_auth(fields: ConnectionFields) -> tuple[str, str] | None:
    login, password = fields.text("proxy_login"), fields.text("proxy_password")
    return (login, password) if login else None
