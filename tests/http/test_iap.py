"""Google's Identity-Aware Proxy in front of a service: two tokens on every request."""

from __future__ import annotations

import base64
import json
import sys
import time
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from sluice_provider.apis.kaleidoscope.endpoints import get_active_workspace
from sluice_provider.errors import AuthenticationFailed, InvalidConnection
from sluice_provider.http.auth import Iap
from sluice_provider.http.client_config import ConnectionFields
from tests.flows import FlowRunner, client_options
from tests.loopback import Answer, kaleidoscope, serve

AUDIENCE = "1234.apps.googleusercontent.com"


def _jwt() -> str:
    """As much of an identity token as Google's library looks at."""
    parts = ({"alg": "RS256"}, {"aud": AUDIENCE, "iat": int(time.time()), "exp": int(time.time()) + 3600})
    head = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*head, "c2lnbmF0dXJl"])


ID_TOKEN = _jwt()


def metadata(request):
    """Google's metadata server, as found from inside Google's machines."""
    parts = urlsplit(request.target)
    flavor = ("Metadata-Flavor", "Google")
    if request.headers.get("metadata-flavor") != "Google":
        return Answer(403)
    if parts.path.endswith("/default/"):
        return Answer(200, {"email": "worker@example.com"}, (flavor,))
    if parts.path.endswith("/default/identity") and parse_qs(parts.query)["audience"] == [AUDIENCE]:
        return Answer(200, ID_TOKEN, (flavor,))
    return Answer(200, "", (flavor,))


def identities(google):
    """The identity tokens it was asked for."""
    return [request for request in google.seen if "/identity" in request.target]


@pytest.fixture
def google(monkeypatch):
    """This machine is one of Google's, as far as its library can see."""
    library = pytest.importorskip("google.auth.compute_engine._metadata", reason="google-auth is not installed")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with serve(metadata) as server:
        monkeypatch.setenv("GCE_METADATA_IP", server.address)
        monkeypatch.setattr(library, "_GCE_METADATA_HOST", server.address)
        yield server


@pytest.fixture(params=["worker", "triggerer"])
def behind(request):
    """A client of a service behind the proxy, and the service itself."""
    with serve(kaleidoscope) as service:
        fields = ConnectionFields("c", service.url, None, "id", "a-client-secret", {"verify": False})
        yield FlowRunner(request.param, client_options(fields, Iap(AUDIENCE))), service


def test_two_tokens(behind, google):
    """Google's in Authorization, also on token requests; the service's in its own header."""
    run, service = behind
    run(get_active_workspace())
    run(get_active_workspace())
    grant, *calls = service.seen
    assert grant.headers["authorization"] == f"Bearer {ID_TOKEN}"
    assert len(calls) == 2
    for call in calls:
        assert call.headers["authorization"] == f"Bearer {ID_TOKEN}"
        assert call.headers["x-kal-authorization"] == "Bearer loopback-access-token"
    assert len(identities(google)) == 1


def test_both_tokens_are_replaced_on_401(behind, google):
    """It is unknown which of them was rejected."""
    run, service = behind
    run(get_active_workspace())
    auth = run.options["auth"]
    request = httpx.Request("GET", f"{service.url}/workspaces/active")
    flow = auth.sync_auth_flow(request)
    next(flow)
    assert flow.send(httpx.Response(401)).url.path == "/auth/oauth/token"
    flow.close()
    assert len(identities(google)) == 2


def test_a_machine_without_google_credentials(behind, google, monkeypatch):
    """Not one of Google's machines, and no service account either."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/to/be/found.json")
    run, service = behind
    with pytest.raises(AuthenticationFailed, match=f"no IAP token for audience {AUDIENCE}"):
        run(get_active_workspace())
    assert service.seen == []


def test_google_fails(behind, monkeypatch):
    """A metadata server that does not respond is a transient failure: nothing was sent, and it is retried."""
    transport = pytest.importorskip("google.auth.exceptions", reason="google-auth is not installed")
    token = pytest.importorskip("google.oauth2.id_token")
    answers = [transport.TransportError("no route"), transport.TransportError("no route"), ID_TOKEN]

    def fetch(_request, _audience):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(token, "fetch_id_token", fetch)
    run, service = behind
    run(get_active_workspace())
    assert len(run.pauses) == 2
    assert len(service.seen) == 2


def test_without_googles_library(behind, monkeypatch):
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "google.oauth2.id_token", None)
    run, service = behind
    with pytest.raises(InvalidConnection, match=r"pip install 'airflow-provider-sluice\[iap\]'"):
        run(get_active_workspace())
    assert service.seen == []
