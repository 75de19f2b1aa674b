"""From a connection's fields to an address and its settings: what is understood, and what is refused in which words."""

from __future__ import annotations

import asyncio
import json
import ssl

import httpx
import pytest

from sluice_provider.connection_fields import KALEIDOSCOPE
from sluice_provider.errors import InvalidConnection
from sluice_provider.http.client_config import ClientConfig, ConnectionFields, base_url

DEFAULT = "https://api.example.com"
CANARY = "canary-4711"


def connection(host=None, port=None, **extra):
    """A connection with these fields."""
    return ConnectionFields("kal", host, port, "login", "password", extra)


def made(**extra):
    """The client configuration of a connection with this extra."""
    return ClientConfig.from_connection(connection(**extra), default_host=DEFAULT, user_agent="tests/1")


# --- host and port


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [
        (None, None, "https://api.example.com/"),
        ("", None, "https://api.example.com/"),
        ("  ", 8443, "https://api.example.com:8443/"),
        ("kal.example.com", None, "https://kal.example.com/"),
        (" kal.example.com ", None, "https://kal.example.com/"),
        ("kal.example.com", 8443, "https://kal.example.com:8443/"),
        ("kal.example.com:8443", None, "https://kal.example.com:8443/"),
        ("kal.example.com:8443", 8443, "https://kal.example.com:8443/"),
        ("kal.example.com/api/v1", None, "https://kal.example.com/api/v1/"),
        ("kal.example.com/api/", 81, "https://kal.example.com:81/api/"),
        ("http://kal.example.com", None, "http://kal.example.com/"),
        ("https://kal.example.com//", None, "https://kal.example.com/"),
        ("http://127.0.0.1/kaleidoscope", 8765, "http://127.0.0.1:8765/kaleidoscope/"),
        ("HTTPS://KAL.Example.com/API", None, "https://kal.example.com/API/"),
        ("http://[::1]", 80, "http://[::1]:80/"),
        ("[::1]:81", None, "https://[::1]:81/"),
        ("localhost", 0, "https://localhost/"),
    ],
)
def test_host_and_port(host, port, url):
    """A host name or a URL, with or without a path; the port may be in either field."""
    assert base_url(connection(host, port), DEFAULT) == url


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [
        ("ftp://h", None, "must be a host name, or a URL that starts with https"),
        ("https:///path", None, "must be a host name"),
        ("two words", None, "must be a host name"),
        ("new\nline", None, "is not a host name or URL"),
        ("h:81", 82, "has port 81, but the field port is 82"),
        ("h:eighty", None, "is not a host name or URL"),
        ("h:99999", None, "is not a host name or URL"),
        ("http://[::1", None, "is not a host name or URL"),
        ("nul\0", None, "is not a host name or URL"),
        ("☃︎.example", None, "is not a host name or URL"),
        ("https://h/path\x01", None, "is not a host name or URL"),
        (f"https://user:{CANARY}@h", None, "put them into login and password"),
        (f"{CANARY}@h", None, "put them into login and password"),
        (f"https://h?token={CANARY}", None, "must not have a query"),
        (f"https://h/#{CANARY}", None, "must not have a query"),
    ],
)
def test_invalid_hosts(host, port, words):
    """Rejected before anything is sent, naming connection and field, and never the value."""
    with pytest.raises(InvalidConnection, match=words) as error:
        base_url(connection(host, port), DEFAULT)
    assert str(error.value).startswith("connection 'kal': host ")
    assert CANARY not in str(error.value)


@pytest.mark.parametrize("host", ["h", "h/p", "http://h:81/p/q"])
def test_paths_stay_below_the_base_url(host):
    """A request's path is appended to the base URL's own path."""
    url = base_url(connection(host), DEFAULT)
    request = httpx.Client(base_url=url, verify=False).build_request("GET", "imports/1")
    assert str(request.url) == url + "imports/1"


# --- what all systems share


def test_defaults():
    """The configuration of an empty connection."""
    place = made()
    assert (place.verify, place.ca_bundle, place.proxy, place.proxy_auth) == (True, None, None, None)
    assert (place.connect_timeout, place.read_timeout) == (10.0, 60.0)
    accepted = {"Accept": "application/json", "Accept-Encoding": "gzip, deflate"}
    assert place.headers == {"User-Agent": "tests/1", **accepted}


EMPTY = ["verify", "ca_bundle", "proxy", "proxy_login", "proxy_password", "connect_timeout", "extra_headers"]


@pytest.mark.parametrize("empty", [None, ""])
def test_empty_fields_have_their_default(empty):
    """The UI stores an empty field as null or as an empty string."""
    assert made(**dict.fromkeys(EMPTY, empty)) == made()


@pytest.mark.parametrize(
    ("value", "verify"),
    [(True, True), (False, False), ("true", True), ("False", False), ("0", False), (1, True), ("yes", True)],
)
def test_verify(value, verify):
    """A boolean, also as a string, as some ways of writing a connection store it."""
    assert made(verify=value).verify is verify


@pytest.mark.parametrize(("value", "seconds"), [(3, 3.0), (2.5, 2.5), ("7", 7.0)])
def test_timeouts(value, seconds):
    """Numbers, also as strings; both are set on the client."""
    place = made(connect_timeout=value, read_timeout=value)
    assert place.options()["timeout"] == httpx.Timeout(seconds)
    assert made(connect_timeout=value).options()["timeout"] == httpx.Timeout(60.0, connect=seconds)


@pytest.mark.parametrize("given", [{"X-Team": "chemistry", "X-None": ""}, '{"X-Team": "chemistry", "X-None": ""}'])
def test_extra_headers(given):
    """An object or its text; they may replace the default headers."""
    assert made(extra_headers=given).headers["X-Team"] == "chemistry"
    assert made(extra_headers={"User-Agent": "mine"}).headers["User-Agent"] == "mine"


def test_proxy():
    """Its address and its credentials are fields of their own."""
    place = made(proxy="http://proxy.example.com:3128", proxy_login="me", proxy_password=CANARY)
    proxy = place.options()["proxy"]
    assert (str(proxy.url), proxy.auth) == ("http://proxy.example.com:3128", ("me", CANARY))
    assert made(proxy="http://p:1", proxy_password=CANARY).proxy_auth is None


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("verify", "perhaps", "must be true or false"),
        ("verify", 2, "must be true or false"),
        ("ca_bundle", "/nowhere/ca.pem", "is not a file on this machine"),
        ("ca_bundle", __file__, "is not a PEM file"),
        ("ca_bundle", 7, "must be a string, not int"),
        ("proxy", "proxy.example.com:3128", "must be a URL like"),
        ("proxy", "ftp://proxy.example.com", "must be a URL like"),
        ("proxy", "http://[::1", "must be a URL like"),
        ("proxy", "http://h:port", "must be a URL like"),
        ("proxy", "http://", "must be a URL like"),
        ("proxy", ["http://h"], "must be a string, not list"),
        ("proxy", f"http://me:{CANARY}@h", "put them into proxy_login and proxy_password"),
        ("proxy", f"http://{CANARY}@h", "put them into proxy_login and proxy_password"),
        ("proxy_password", {"secret": CANARY}, "must be a string, not dict"),
        ("connect_timeout", 0, "must be a number of seconds above 0"),
        ("connect_timeout", -1, "must be a number of seconds above 0"),
        ("connect_timeout", "soon", "must be a number of seconds above 0"),
        ("read_timeout", "nan", "must be a number of seconds above 0"),
        ("read_timeout", "inf", "must be a number of seconds above 0"),
        ("read_timeout", [1], "must be a number of seconds above 0"),
        ("extra_headers", f"X-Secret: {CANARY}", "must be a JSON object of strings"),
        ("extra_headers", f'["{CANARY}"]', "must be a JSON object of strings"),
        ("extra_headers", {"X-Number": 7}, "must be a JSON object of strings"),
        ("extra_headers", {"X-Secret": f"{CANARY}\r\nX-More: 1"}, "not plain ASCII on one line"),
        ("extra_headers", {"X-Secret": f" {CANARY}"}, "not plain ASCII on one line"),
        ("extra_headers", {"X-Secret": f"{CANARY}\0"}, "not plain ASCII on one line"),
        ("extra_headers", {"X-Secret": f"ü{CANARY}"}, "not plain ASCII on one line"),
        ("extra_headers", {"X Secret": CANARY}, "not plain ASCII on one line"),
        ("extra_headers", {"": CANARY}, "not plain ASCII on one line"),
    ],
)
def test_invalid_fields(name, value, words):
    """Rejected by name; the value, which may be a secret, is not in the message."""
    if name == "proxy_password":
        value = {"proxy_login": "me", name: value}
    with pytest.raises(InvalidConnection, match=words) as error:
        made(**(value if name == "proxy_password" else {name: value}))
    assert f"connection 'kal': {name} " in str(error.value)
    assert CANARY not in str(error.value)


def test_a_socks_proxy_says_what_it_needs(monkeypatch):
    """Instead of an import error from httpx."""
    monkeypatch.setattr("sluice_provider.http.client_config.find_spec", lambda _name: None)
    with pytest.raises(InvalidConnection, match=r"needs: pip install 'httpx\[socks\]'"):
        made(proxy="socks5://proxy.example.com:1080")


def test_a_valid_ca_bundle(tmp_path):
    """Becomes the only set of trusted authorities; without verification it is not read."""
    pem = tmp_path / "ca.pem"
    pem.write_text(ssl.DER_cert_to_PEM_cert(ssl.create_default_context().get_ca_certs(binary_form=True)[0]))
    assert len(made(ca_bundle=str(pem)).options()["verify"].get_ca_certs()) == 1
    assert made(ca_bundle=str(pem), verify=False).options()["verify"] is False


@pytest.mark.parametrize("kind", [httpx.Client, httpx.AsyncClient])
def test_the_clients_accept_the_options(kind):
    """Both client classes, all options."""
    place = made(verify=False, proxy="http://p:1", proxy_login="me", proxy_password="pw", extra_headers={"X-A": "1"})
    client = kind(**place.options())
    assert client.base_url == httpx.URL("https://api.example.com/")
    assert client.headers["X-A"] == "1"
    client.close() if kind is httpx.Client else asyncio.run(client.aclose())


# --- secrets


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_required_field(value):
    """Named as the form labels it."""
    with pytest.raises(InvalidConnection, match=r"connection 'kal': the field Client ID \(login\) is empty"):
        connection()._replace(login=value).required(KALEIDOSCOPE["login"])


def test_a_required_field_is_stripped():
    """A space that was copied along is not part of the credentials."""
    assert connection()._replace(login=" me ").required(KALEIDOSCOPE["login"]) == "me"


def test_secrets_of_a_connection():
    """The password, fields that are declared or named as secrets, and every extra header; nothing that is empty."""
    extra = {
        "proxy_password": "s1",
        "client_secret": "s2",
        "API_KEY": "s3",
        "session_token": "s4",
        "web_url": "https://kal.example.com",
        "extra_headers": json.dumps({"X-Key": "s5", "X-Empty": ""}),
        "old_password": "",
        "token_count": 3,
    }
    assert ConnectionFields("kal", password="s0", extra=extra).secrets() == ["s0", "s1", "s2", "s3", "s4", "s5"]
    assert ConnectionFields("kal").secrets() == []
