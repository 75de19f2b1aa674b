"""Redirects of downloads: resolved against the URL that answered, and typed errors for odd ones."""

from __future__ import annotations

import io

import pytest

from sluice_provider.errors import ClientError, SluiceError, UnexpectedResponse
from sluice_provider.http.flow import Request
from sluice_provider.http.redirects import follow
from sluice_provider.http.retry import send
from tests.flows import FlowRunner, response, run_flow
from tests.http.sink import sink


@pytest.fixture
def server():
    """Redirects everything outside `/api/moved` to what a test sets."""
    with sink() as state:
        yield state


@pytest.fixture(params=["worker", "triggerer"])
def client(request, server):
    """A client of an API below `/api/`."""
    return FlowRunner(request.param, {"base_url": f"{server.url}/api/"})


class Kept:
    """A file in memory."""

    def __init__(self) -> None:
        self.content = b""

    def begin(self):
        kept, buffer = self, io.BytesIO()
        buffer.close = lambda: setattr(kept, "content", buffer.getvalue())
        return buffer

    def commit(self):
        """Nothing."""

    def rollback(self):
        self.content = b""


def get(path, **more):
    """A download."""
    return send(Request("GET", path, into=Kept(), idempotent=True, **more))


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/store/1", "/store/1"),
        ("store/1", "/api/files/store/1"),
        ("../store/1", "/api/store/1"),
        ("?part=2", "/api/files/1?part=2"),
        ("{url}/store/1", "/store/1"),
        ("//{address}/store/1", "/store/1"),
        ("/store/1?signature=a%2Bb", "/store/1?signature=a%2Bb"),
    ],
)
def test_redirects_are_relative_to_the_url_that_answered(client, server, location, target):
    """And not to the connection's base URL. The first request's query belongs to the first request."""
    location = location.format(url=server.url, address=server.url.partition("//")[2])
    answers = [(302, {"Location": location}, b""), (200, {}, b"content")]
    server.answer = lambda _path: answers.pop(0)
    client(get("files/1", params={"format": "csv"}))
    assert [each["path"] for each in server.arrived] == ["/api/files/1?format=csv", target]


def test_redirects_of_redirects(client, server):
    """Each is relative to the one before."""
    answers = [(302, {"Location": "/a/b"}, b""), (307, {"Location": "c"}, b""), (200, {}, b"content")]
    server.answer = lambda _path: answers.pop(0)
    client(get("files/1"))
    assert [each["path"] for each in server.arrived] == ["/api/files/1", "/a/b", "/a/c"]


def test_a_redirected_request_in_errors():
    """Names the first request and the host of the last one: its path may grant access, as user and query may."""
    request = Request("GET", "files/1", into=Kept())
    for location in ("https://a.example/canary", "https://me:canary@files.example:8443/canary?signature=canary"):
        request = follow(request, response(302, "", location=location)._replace(url="https://service/files/1"))
    assert str(request) == "GET files/1 (redirected to https://files.example:8443)"


ODD = {
    "IPv6": ("http://[::1", "not a URL"),
    "IPv6 with letters": ("http://[zz]/", "not a URL"),
    "port": ("http://host:port/", "not a URL"),
    "port out of range": ("http://host:99999/", "neither the connection's own host"),
    "long": ("/" + "x" * 100_000, "it has 100,001 characters, and at most 8,192 are read"),
    "tab": ("http://exa\tmple.com/", "contains a space or a control character"),
    "NUL": ("/a\0b", "contains a space or a control character"),
    "line break": ("/a\r\nX-Evil: 1", "contains a space or a control character"),
    "space": ("/a b", "contains a space or a control character"),
    "surrogate": ("/\ud800", "not a URL|control character"),
    "long label": (f"http://{'a' * 64}.example.com/", "leads to http://aaaa"),
    "scheme": ("file:///etc/passwd", "it has no host"),
    "other scheme": ("ftp://example.com/", "only http and https are supported"),
}


@pytest.mark.parametrize(("location", "words"), ODD.values(), ids=ODD)
def test_odd_locations(client, server, location, words):
    """A typed error that says what is wrong with it, whatever the header contains; never another exception."""
    redirect = response(302, "", location=location)._replace(url=f"{server.url}/api/files/1")

    def flow():
        yield from send(follow(Request("GET", "files/1", into=Kept(), idempotent=True), redirect))

    with pytest.raises(SluiceError, match=words):
        client(flow())
    assert server.arrived == []


@pytest.mark.parametrize(
    "location",
    ["http://[::1", "http:\\\\evil.example", "javascript:1", "data:,x", "http://xn--a/", "http://h:p/", "//[x]/"],
)
@pytest.mark.parametrize("into", [None, Kept()], ids=["request", "download"])
def test_odd_locations_on_the_wire(client, server, location, into):
    """The HTTP library reads the header before we do, also if the redirect is not followed."""
    server.answer = lambda _path: (302, {"Location": location}, b"")
    with pytest.raises(SluiceError, match=r"GET files/1 returned .*a redirect") as error:
        client(send(Request("GET", "files/1", into=into, idempotent=True)))
    assert isinstance(error.value, (UnexpectedResponse, ClientError))
    assert (len(server.arrived), client.pauses) == (1, [])


@pytest.mark.parametrize("location", ["http://[::1", "javascript:1", "http://xn--a/"])
def test_a_redirect_with_an_odd_location_is_a_response(client, server, location):
    """So the outcome of a request that is not idempotent is not unknown."""
    server.answer = lambda _path: (302, {"Location": location}, b"")
    with pytest.raises(UnexpectedResponse):
        client(send(Request("GET", "orders")))


def test_the_error_is_not_transient():
    """Sending the request again five times would not help; a later try may."""
    flow = send(Request("GET", "files/1", into=Kept(), idempotent=True))
    played = run_flow(flow, response(302, "", location="http://[::1")._replace(url="http://service/files/1"))
    assert isinstance(played.error, UnexpectedResponse)
    assert (len(played.calls), played.pauses) == (1, [])
