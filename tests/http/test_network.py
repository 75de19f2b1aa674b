"""Proxies and certificates, blocking and awaiting, with real servers on this machine."""

from __future__ import annotations

import ipaddress
import ssl
from base64 import b64encode
from datetime import datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sluice_provider.apis.kaleidoscope.endpoints import get_active_workspace
from sluice_provider.errors import ClientError, Unreachable
from sluice_provider.http.client_config import ConnectionFields
from sluice_provider.http.flow import Request
from sluice_provider.http.retry import send
from tests.flows import FlowRunner, client_options
from tests.loopback import Answer, kaleidoscope, serve

both = pytest.mark.parametrize("name", ["worker", "triggerer"])


def client(name, url, **extra):
    """A client for this address, with this extra in its connection."""
    fields = ConnectionFields("c", url, None, "id", "a-client-secret", {"verify": False, **extra})
    return FlowRunner(name, client_options(fields))


# --- proxy


def guarded(request):
    """A forwarding proxy that requires credentials, with the service behind it."""
    if request.headers.get("proxy-authorization") != f"Basic {b64encode(b'me:proxy-pw').decode()}":
        return Answer(407, "who are you?")
    if request.method == "CONNECT":
        return Answer(502, "no tunnels here")
    return kaleidoscope(request)


@pytest.fixture
def proxy():
    """Listens; the hosts named in these tests do not exist."""
    with serve(guarded) as server:
        yield server


@both
def test_everything_goes_through_the_proxy(name, proxy):
    """Token requests, too; with the proxy's own credentials, which the service does not see."""
    run = client(name, "http://kal.invalid/api", proxy=proxy.url, proxy_login="me", proxy_password="proxy-pw")
    assert run(get_active_workspace()) == {}
    targets = [request.target for request in proxy.seen]
    assert targets == ["http://kal.invalid/api/auth/oauth/token", "http://kal.invalid/api/workspaces/active"]
    assert proxy.seen[1].headers["authorization"] == "Bearer loopback-access-token"


@both
def test_a_proxy_that_rejects_the_credentials(name, proxy):
    """Its 407 is not retried."""
    run = client(name, "http://kal.invalid", proxy=proxy.url)
    run.options["auth"] = None
    with pytest.raises(ClientError, match="407: who are you"):
        run(get_active_workspace())
    assert len(proxy.seen) == 1


@both
def test_https_uses_a_tunnel(name, proxy):
    """The proxy of an https service gets the host name only, and no token."""
    run = client(name, "https://kal.invalid", proxy=proxy.url, proxy_login="me", proxy_password="proxy-pw")
    with pytest.raises(Unreachable, match="ProxyError"):
        run(get_active_workspace())
    assert {(request.method, request.target) for request in proxy.seen} == {("CONNECT", "kal.invalid:443")}
    assert all("authorization" not in request.headers for request in proxy.seen)


@both
def test_a_request_whose_tunnel_was_rejected_was_not_applied(name, proxy):
    """The service has received nothing, so even a request that is not idempotent is sent again."""
    run = client(name, "https://kal.invalid", proxy=proxy.url)
    run.options["auth"] = None
    with pytest.raises(Unreachable) as error:
        run(send(Request("POST", "orders", json={})))
    assert (len(proxy.seen), error.value.maybe_applied) == (5, False)


# --- TLS


def _certificate(subject, key, issuer, issuer_key, *, is_ca):
    now = datetime.now(timezone.utc)
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in (subject, issuer)]
    return (
        x509.CertificateBuilder()
        .subject_name(names[0])
        .issuer_name(names[1])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _pem(thing):
    if isinstance(thing, x509.Certificate):
        return thing.public_bytes(serialization.Encoding.PEM)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return thing.private_bytes(*form)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A house's own authority, and a server certificate signed by it: the folder with both."""
    folder = tmp_path_factory.mktemp("tls")
    house, server = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    (folder / "ca.pem").write_bytes(_pem(_certificate("house", house, "house", house, is_ca=True)))
    signed = _certificate("127.0.0.1", server, "house", house, is_ca=False)
    (folder / "server.pem").write_bytes(_pem(server) + _pem(signed))
    return folder


@pytest.fixture
def secure(authority):
    """The service, behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem")
    with serve(kaleidoscope, tls=context) as server:
        yield server


@both
def test_an_unknown_authority_is_not_trusted(name, secure):
    """Nothing is sent, and the message names the certificate."""
    run = client(name, secure.url, verify=True)
    with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED") as error:
        run(get_active_workspace())
    assert secure.seen == []
    assert not error.value.maybe_applied


@both
@pytest.mark.parametrize("verify", [True, None])
def test_a_private_authority(name, secure, authority, verify):
    """Is trusted if the connection names it."""
    run = client(name, secure.url, verify=verify, ca_bundle=str(authority / "ca.pem"))
    assert run(get_active_workspace()) == {}


@both
def test_without_verification(name, secure, authority):
    """Any certificate is accepted, whatever the bundle says."""
    assert client(name, secure.url)(get_active_workspace()) == {}
    assert client(name, secure.url, ca_bundle=str(authority / "ca.pem"))(get_active_workspace()) == {}
