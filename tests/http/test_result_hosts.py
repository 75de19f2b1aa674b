"""Where links and redirects may lead: by name, by address, after names were resolved, and with TLS."""

from __future__ import annotations

import asyncio
import datetime
import io
import re
import socket
import ssl

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sluice_provider.errors import AddressRefused, Unreachable
from sluice_provider.http.flow import Request
from sluice_provider.http.network import configure_client
from sluice_provider.http.result_hosts import ResultHosts
from sluice_provider.http.retry import send
from tests.flows import FlowRunner
from tests.http.sink import sink
from tests.loopback import Answer, serve

OWN = "https://api.example.com:8443/v1/"
LISTED = "files.example.com, *.store.example, 203.0.113.9\n10.1.0.0/16 fd00::/8"


def refusal(url, listed="", own=OWN):
    """Why a URL is refused, or "" if it is not."""
    try:
        ResultHosts.parse(own, listed).check(httpx.URL(url))
    except AddressRefused as error:
        return str(error)
    return ""


# --- before anything is looked up


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com:8443/x",
        "https://api.example.com/x",
        "https://API.example.com./x",
        "https://files.example.com/x",
        "https://files.example.com:9000/x",
        "https://a.store.example/x",
        "https://a.b.store.example/x",
        "https://203.0.113.9/x",
        "https://10.1.2.3/x",
        "https://[fd00::1]/x",
        "https://[::ffff:10.1.2.3]/x",
    ],
)
def test_permitted(url):
    """The connection's own host, at its port or the standard one, and what is listed."""
    assert refusal(url, LISTED) == ""


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/",
        "https://api.example.com:22/",
        "https://api.example.com.evil.example/",
        "https://evilfiles.example.com/",
        "https://files.example.com.evil.example/",
        "https://files-example.com/",
        "https://store.example/",
        "https://203.0.113.10/",
        "https://10.2.0.1/",
        "https://127.0.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://0.0.0.0/",
        "https://user:api.example.com@evil.example/",
    ],
)
def test_refused(url):
    """Everything else; the message names host, reason and field."""
    assert "neither the connection's own host and port nor listed in result_hosts" in refusal(url, LISTED)
    assert f"add {httpx.URL(url).host} to result_hosts in the connection" in refusal(url, LISTED)


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "0x7f.1", "127.0.1", "017700000001"])
def test_numbers_are_not_names(host):
    """Resolvers read them as addresses, so a pattern does not permit them."""
    assert refusal(f"https://{host}/", "*")


def test_http_only_where_the_connection_is_http():
    """What was encrypted stays encrypted, also at a listed host and at home."""
    assert "it is not encrypted (http)" in refusal("http://files.example.com/", LISTED)
    assert "it is not encrypted (http)" in refusal("http://api.example.com/")
    assert refusal("https://files.example.com/", LISTED, own="http://api.example.com/") == ""
    assert refusal("http://files.example.com/", LISTED, own="http://api.example.com/") == ""


@pytest.mark.parametrize("url", ["ftp://api.example.com/", "file:///etc/passwd", "gopher://files.example.com/"])
def test_other_schemes(url):
    """Are refused by name."""
    assert "only http and https are supported" in refusal(url, LISTED)


def test_the_path_is_not_shown():
    """It may grant access."""
    message = refusal("https://me:canary@evil.example:99/canary/x?s=canary")
    assert "https://evil.example:99," in message
    assert "canary" not in message


@pytest.mark.parametrize(
    "listed", ["https://files.example.com", "files.example.com:443", "files/x", "10.0.0.0/99", "ü.example", "[::1]"]
)
def test_what_cannot_be_listed(listed):
    """The entry is in the error."""
    with pytest.raises(ValueError, match=f"^{re.escape(listed)}$"):
        ResultHosts.parse(OWN, f"good.example {listed}")


# --- after names were resolved

ADDRESSES = {
    "loopback": "127.0.0.1",
    "loopback 2": "127.8.8.8",
    "loopback 6": "::1",
    "mapped": "::ffff:127.0.0.1",
    "NAT64": "64:ff9b::7f00:1",
    "6to4": "2002:7f00:1::",
    "link-local": "169.254.169.254",
    "link-local 6": "fe80::1%2",
    "private 10": "10.0.0.1",
    "private 172": "172.16.0.1",
    "private 192": "192.168.0.1",
    "private 6": "fd00::1",
    "shared": "100.64.0.1",
    "unspecified": "0.0.0.0",
    "unspecified 6": "::",
    "multicast": "224.0.0.1",
    "multicast 6": "ff0e::1",
    "broadcast": "255.255.255.255",
    "reserved": "240.0.0.1",
}


@pytest.mark.parametrize("address", ADDRESSES.values(), ids=ADDRESSES)
def test_internal_addresses(address):
    """A name does not permit them, whoever listed the name; the address does."""
    hosts = ResultHosts.parse(OWN, "files.example.com")
    with pytest.raises(AddressRefused) as error:
        hosts.permitted("files.example.com", [address])
    assert f"its name leads to {address}, which is not an address of the internet" in str(error.value)
    plain = address.partition("%")[0]
    if plain not in ("::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "fe80::1"):
        assert ResultHosts.parse(OWN, plain).permitted("files.example.com", [address]) == [address]


def test_a_name_without_addresses():
    """Is unreachable, and not refused."""
    assert ResultHosts.parse(OWN, "files.example.com").permitted("files.example.com", []) == []


def test_a_name_that_is_too_long():
    """Is no name, so it is not compared with patterns, which would take long."""
    assert refusal(f"https://{'a.' * 20_000}example/", "*a*a*a*a*a*b, *")


def test_only_some_addresses_of_a_name():
    """The others are not connected to."""
    hosts = ResultHosts.parse(OWN, "files.example.com")
    found = ["::1", "93.184.216.34", "10.0.0.1", "2606:2800:220:1:248:1893:25c8:1946"]
    assert hosts.permitted("files.example.com", found) == [found[1], found[3]]


# --- real connections

BOTH = pytest.mark.parametrize("name", ["worker", "triggerer"])


class Discarded:
    """A file that nobody reads."""

    def begin(self):
        return io.BytesIO()

    def commit(self):
        """Nothing."""

    def rollback(self):
        """Nothing."""


def get(url):
    """A download."""
    return send(Request("GET", url, into=Discarded(), idempotent=True))


@pytest.fixture
def dns(monkeypatch):
    """Names and their addresses, in order; each look-up is counted. After the first one, `rebound` has the answers."""
    names, rebound, looked_up, original = {}, {}, [], socket.getaddrinfo

    def resolve(host, port, *args, **more):
        host = host.decode() if isinstance(host, bytes) else host
        if host not in names:
            return original(host, port, *args, **more)
        addresses = rebound.get(host, names[host]) if host in looked_up else names[host]
        looked_up.append(host)
        return [each for address in addresses for each in original(address, port, *args, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    resolve.names, resolve.rebound, resolve.looked_up = names, rebound, looked_up
    return resolve


@pytest.fixture
def internal():
    """A service of the worker's network."""
    with sink() as state:
        yield state


@pytest.fixture
def service():
    """The connection's own host, which redirects everything below `/moved` to what a test sets."""
    with sink() as state:
        yield state


def port_of(server):
    return server.url.rpartition(":")[2]


@BOTH
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
def test_a_link_into_the_network(name, service, internal, host):
    """Nothing arrives there, not even a connection for the link itself."""
    run = FlowRunner(name, {"base_url": f"{service.url}/api/"})
    with pytest.raises(AddressRefused, match=f":{port_of(internal)}, to which nothing was sent"):
        run(get(f"http://{host}:{port_of(internal)}/admin"))
    assert (internal.arrived, run.pauses) == ([], [])


@BOTH
def test_a_redirect_into_the_network(name, service, internal):
    """The first request is the connection's own; the second one is not sent."""
    service.answer = lambda _path: (302, {"Location": f"{internal.url}/admin"}, b"")
    run = FlowRunner(name, {"base_url": f"{service.url}/api/"})
    with pytest.raises(AddressRefused):
        run(get("files/1"))
    assert (len(service.arrived), internal.arrived) == (1, [])


@BOTH
def test_a_name_that_leads_into_the_network(name, service, internal, dns):
    """Though the name matches a pattern."""
    dns.names["files.example.com"] = ["127.0.0.1"]
    run = FlowRunner(name, {"base_url": service.url}, result_hosts="*.example.com")
    with pytest.raises(AddressRefused, match=r"files\.example\.com.*its name leads to 127\.0\.0\.1"):
        run(get(f"http://files.example.com:{port_of(internal)}/admin"))
    assert (internal.arrived, run.pauses) == ([], [])


@BOTH
def test_the_address_that_was_checked_is_the_one_connected_to(name, service, internal, dns):
    """A second look-up would lead into the network: there is none."""
    dns.names["files.example.com"], dns.rebound["files.example.com"] = ["127.0.0.2"], ["127.0.0.1"]
    run = FlowRunner(name, {"base_url": service.url}, result_hosts="files.example.com 127.0.0.2")
    with pytest.raises(Unreachable, match="ConnectError"):
        run(_once(f"http://files.example.com:{port_of(internal)}/admin"))
    assert (internal.arrived, dns.looked_up) == ([], ["files.example.com"])


def _once(url):
    """One attempt."""
    yield Request("GET", url, into=Discarded())


@BOTH
def test_a_listed_internal_host(name, service, internal, dns):
    """Its name and its address are listed; the Host header has the name. The next address is tried if one fails."""
    dns.names["files.example.com"] = ["::1", "127.0.0.2", "127.0.0.1"]
    run = FlowRunner(name, {"base_url": service.url}, result_hosts="files.example.com, 127.0.0.0/8")
    run(get(f"http://files.example.com:{port_of(internal)}/x"))
    (arrived,) = internal.arrived
    assert arrived["headers"]["host"] == f"files.example.com:{port_of(internal)}"


@BOTH
def test_a_name_that_does_not_exist(name, service):
    """Is as unreachable as any other."""
    run = FlowRunner(name, {"base_url": service.url}, result_hosts="*")
    for host in ("no.such.host.invalid", "a" * 63 + ".invalid"):
        with pytest.raises(Unreachable, match="ConnectError"):
            run(get(f"http://{host}/x"))


@BOTH
def test_a_name_that_is_not_resolved_in_time(name, service, monkeypatch):
    """Is as unreachable as a host that does not answer."""

    def too_slow(*_args, **_more):
        raise asyncio.TimeoutError

    run = FlowRunner(name, {"base_url": service.url}, result_hosts="files.invalid")
    monkeypatch.setattr(socket, "getaddrinfo", too_slow)
    with pytest.raises(Unreachable, match="ConnectTimeout: the name was not resolved in time"):
        run(get("http://files.invalid/x"))


@BOTH
def test_the_connections_own_host_may_be_internal(name, service, dns):
    """An administrator chose it. Links to it are followed."""
    dns.names["kal.internal"] = ["127.0.0.1"]
    run = FlowRunner(name, {"base_url": f"http://kal.internal:{port_of(service)}/api/"}, result_hosts="*.example.com")
    run(get(f"http://kal.internal:{port_of(service)}/files/1"))
    assert service.arrived[0]["path"] == "/files/1"


@BOTH
def test_the_name_of_the_certificate(name, service, dns, tmp_path):
    """TLS checks the name of the link, not the address that was connected to."""
    context, authority = certificates(tmp_path, "files.example.com")
    dns.names.update({"files.example.com": ["127.0.0.1"], "other.example.com": ["127.0.0.1"]})
    names = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    with serve(lambda _request: Answer(200, "content"), tls=context) as store:
        port = store.address.rpartition(":")[2]
        verify = ssl.create_default_context(cafile=str(authority))
        run = FlowRunner(name, {"base_url": service.url, "verify": verify}, result_hosts="*.example.com 127.0.0.1")
        run(get(f"https://files.example.com:{port}/x"))
        with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
            run(get(f"https://other.example.com:{port}/x"))
        assert [each.headers["host"] for each in store.seen] == [f"files.example.com:{port}"]
    assert set(names) == {"files.example.com", "other.example.com"}


def certificates(folder, host):
    """A TLS context for this name, and the file of the authority that signed its certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(private + public)
    (folder / "ca.pem").write_bytes(public)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context, folder / "ca.pem"


@BOTH
def test_a_proxy_resolves_names_itself(name, service):
    """Names are checked here; what they lead to is the proxy's to permit."""
    with serve(lambda _request: Answer(200, "content")) as proxy:
        run = FlowRunner(name, {"base_url": "http://kal.invalid", "proxy": proxy.url}, result_hosts="files.invalid")
        run(get("http://files.invalid/x"))
        with pytest.raises(AddressRefused):
            run(get("http://127.0.0.1/x"))
        assert [each.target for each in proxy.seen] == ["http://files.invalid/x"]


@BOTH
def test_proxies_of_the_environment_are_still_used(name, service, monkeypatch):
    """Also with listed hosts, for which the HTTP client has a network backend of ours; not for names in NO_PROXY."""
    with serve(lambda _request: Answer(200, "content")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        run = FlowRunner(name, {"base_url": service.url}, result_hosts="files.invalid, localhost, 127.0.0.1")
        run(get("http://files.invalid/x"))
        run(get(f"http://localhost:{port_of(service)}/y"))
        assert [each.target for each in proxy.seen] == ["http://files.invalid/x"]
    assert [each["path"] for each in service.arrived] == ["/y"]


@BOTH
def test_addresses_are_checked_beside_a_proxy_of_the_environment(name, service, internal, dns, monkeypatch):
    """What NO_PROXY exempts is connected to from here, and so is checked here."""
    dns.names["files.example.com"] = ["127.0.0.1"]
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "example.com,127.0.0.1")
    monkeypatch.setenv("no_proxy", "example.com,127.0.0.1")
    run = FlowRunner(name, {"base_url": service.url}, result_hosts="*.example.com")
    with pytest.raises(AddressRefused):
        run(get(f"http://files.example.com:{port_of(internal)}/x"))
    assert internal.arrived == []


def test_an_http_library_that_cannot_be_checked():
    """Nothing is requested then, rather than without a check and a deadline."""
    client = httpx.Client(base_url=OWN)
    del client._transport._pool._network_backend
    with pytest.raises(RuntimeError, match="takes no network backend"):
        configure_client(client, ResultHosts.parse(OWN, "*"))
