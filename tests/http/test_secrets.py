"""Canaries: distinctive secrets go through failures of every kind, and none may come out in words."""

from __future__ import annotations

import asyncio
import logging
import traceback

import httpx
import pytest

from sluice_provider.apis.kaleidoscope.endpoints import push_by_field_name
from sluice_provider.errors import SluiceError
from sluice_provider.http.auth import Bearer, Iap, TokenEndpoint
from sluice_provider.http.client_config import ClientConfig, ConnectionFields, base_url
from sluice_provider.http.drivers import adrive, drive
from sluice_provider.http.flow import Request
from sluice_provider.http.retry import RetryPolicy, send
from tests.flows import client_options
from tests.loopback import Answer, serve

CANARIES = {
    "client secret": "canary-client-secret",
    "token": "canary-access-token",
    "refresh token": "canary-refresh-token",
    "proxy password": "canary-proxy-password",
    "header": "canary-header-value",
}
TOKEN_REQUEST = {"access_token": CANARIES["token"], "refresh_token": CANARIES["refresh token"], "expires_in": 3600}


def fields_to(url, **extra):
    """A connection whose every secret is a canary."""
    secret = {
        "proxy_login": "me",
        "proxy_password": CANARIES["proxy password"],
        "extra_headers": {"X-Key": CANARIES["header"]},
        "verify": False,
    }
    return ConnectionFields("kal", url, None, "login", CANARIES["client secret"], {**secret, **extra})


def words_of(error):
    """All that a log, a UI or a database could show of an error and of those behind it."""
    seen, queue = [], [error]
    while queue:
        one = queue.pop()
        seen += [str(one), repr(one), repr(vars(one)), repr(one.args)]
        queue += [other for other in (one.__cause__, one.__context__) if other is not None]
    return "\n".join([*seen, *traceback.format_exception(error)])


def no_canary_in(text):
    """Says which of them came out."""
    assert [name for name, canary in CANARIES.items() if canary in text] == []


@pytest.fixture
def log(caplog):
    """Everything that anybody logs while the test runs: ours, httpx's, asyncio's."""
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("httpcore").setLevel(logging.DEBUG)
        yield caplog


def token_echo(request):
    """A token endpoint that repeats what it was sent."""
    del request
    return Answer(401, {"error_description": f"bad client_secret {CANARIES['client secret']}"})


def granted(then):
    """A service that issues tokens, and returns this for everything else."""
    return lambda request: Answer(200, TOKEN_REQUEST) if "oauth" in request.target else then


FAILURES = {
    "good": granted(Answer(200, {"import_id": "i1"})),
    "grant refused": token_echo,
    "grant broken": lambda _: Answer(500, TOKEN_REQUEST),
    "grant throttled": lambda _: Answer(429, TOKEN_REQUEST),
    "grant is a page": lambda _: Answer(200, "<html>" + CANARIES["client secret"]),
    "grant without token": lambda _: Answer(200, {"refresh_token": CANARIES["refresh token"]}),
    "grant of a broken token": lambda _: Answer(200, {"access_token": CANARIES["token"] + "\n"}),
    "grant of a bad life": lambda _: Answer(200, {**TOKEN_REQUEST, "expires_in": CANARIES["token"]}),
    **{str(status): granted(Answer(status, {"message": "no"})) for status in (302, 400, 401, 403, 404, 409, 413, 422)},
    **{str(status): granted(Answer(status, "no")) for status in (429, 500, 503)},
    "not JSON": granted(Answer(200, "<html>")),
    "no id": granted(Answer(200, {})),
}


def outcome(client, options, flow):
    """The words of its error, if it failed."""
    try:
        if client == "worker":
            with httpx.Client(**options) as client:
                drive(flow, client, lambda _: None)
        else:
            asyncio.run(_awaited(options, flow))
    except SluiceError as error:
        return words_of(error)
    return ""


async def _awaited(options, flow):
    async with httpx.AsyncClient(**options) as client:
        return await adrive(flow, client, lambda _: asyncio.sleep(0))


@pytest.mark.parametrize("client", ["worker", "triggerer"])
@pytest.mark.parametrize("failure", FAILURES)
def test_responses(client, failure, log):
    """Whatever the service returns, to a token request or another one."""
    with serve(FAILURES[failure]) as remote:
        flow = push_by_field_name(["symbol"], [{"symbol": "H"}])
        words = outcome(client, client_options(fields_to(remote.url)), flow)
    assert remote.seen[0].headers["x-key"] == CANARIES["header"], "the canary was not even sent"
    no_canary_in(words)
    no_canary_in(log.text)
    assert log.records


@pytest.mark.parametrize("client", ["worker", "triggerer"])
@pytest.mark.parametrize("status", [200, 407, 502])
def test_proxies(client, status, log):
    """Whatever a proxy returns, for http and for https."""
    with serve(lambda _request: Answer(status, TOKEN_REQUEST)) as proxy:
        for remote in ("http://kal.invalid", "https://kal.invalid"):
            options = client_options(fields_to(remote, proxy=proxy.url))
            no_canary_in(outcome(client, options, send(Request("GET", "x", idempotent=True), RetryPolicy(attempts=2))))
    no_canary_in(log.text)
    assert any("proxy-authorization" in request.headers for request in proxy.seen)


def test_an_unreachable_service(log):
    """Neither in the error nor in the logged sleeps."""
    for client in ("worker", "triggerer"):
        no_canary_in(outcome(client, client_options(fields_to("http://127.0.0.1:9")), send(Request("GET", "x"))))
    no_canary_in(log.text)


@pytest.mark.parametrize(
    "extra",
    [
        {"proxy": f"http://me:{CANARIES['proxy password']}@h"},
        {"proxy": f"me:{CANARIES['proxy password']}@h"},
        {"proxy": f"http://me:{CANARIES['proxy password']}@[::1"},
        {"proxy": f"http://me:{CANARIES['proxy password']}"},
        {"extra_headers": f"X-Key: {CANARIES['header']}"},
        {"extra_headers": {"X-Key": CANARIES["header"] + "\n"}},
        {"proxy_password": [CANARIES["proxy password"]]},
    ],
    ids=str,
)
def test_invalid_connections(extra):
    """Neither in the message nor in chained exceptions."""
    with pytest.raises(SluiceError) as error:
        ClientConfig.from_connection(fields_to("http://h", **extra), default_host="", user_agent="")
    no_canary_in(words_of(error.value))


@pytest.mark.parametrize("host", ["https://me:{}@[::1", "me:{}", "https://h:{}@", "me:{}@h"])
def test_a_host_with_a_password(host):
    """Rejected without repeating it."""
    with pytest.raises(SluiceError) as error:
        base_url(fields_to(host.format(CANARIES["client secret"])), "")
    no_canary_in(words_of(error.value))


def test_representations():
    """The repr of an object that holds a secret does not show it."""
    fields = fields_to("http://h", proxy="http://p:1")
    place = ClientConfig.from_connection(fields, default_host="", user_agent="")
    grant = TokenEndpoint("http://h/token", {"client_secret": CANARIES["client secret"]}, place.headers)
    bearer = Bearer(grant, lambda *_: None, Iap("audience"))
    bearer.token_cache.set(CANARIES["token"], 3600)
    shown = [
        fields,
        place,
        grant,
        bearer,
        bearer.token_cache,
        Request("GET", "x"),
        httpx.Client(**client_options(fields)),
    ]
    for thing in shown:
        no_canary_in(f"{thing!r} {thing}")
    no_canary_in(f"{fields} {[fields]} {(place,)}")
