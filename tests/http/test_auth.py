"""Tokens: one grant for the whole process, however many want one, and never a token that was refused."""

from __future__ import annotations

import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import httpx
import pytest

from sluice_provider.apis.kaleidoscope.endpoints import get_programs
from sluice_provider.errors import AuthenticationFailed, RateLimited, ServerError, UnexpectedResponse, Unreachable
from sluice_provider.http import auth
from sluice_provider.http.drivers import adrive, drive
from sluice_provider.http.flow import Request
from sluice_provider.http.retry import send
from tests.flows import client_options, logged_requests

GRANTS = "oauth/token"
SLOW_GRANT = {"path": GRANTS, "delay": 0.05}
REVOKED = {"path": "programs", "status": 401}


@pytest.fixture
def options(fields):
    """For clients that lead to the sandbox."""
    return client_options(fields)


def in_threads(options, count):
    """So many threads, each with its own client and its own idea of who gets the token."""

    def work(_number):
        with httpx.Client(**options) as client:
            return drive(get_programs(), client, lambda _: None)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


async def in_tasks(options, count):
    """So many tasks on one client."""
    async with httpx.AsyncClient(**options) as client:
        return await asyncio.gather(*(adrive(get_programs(), client, asyncio.sleep) for _ in range(count)))


# --- one grant


def test_fifty_threads_request_one_token(options, sluice_sandbox):
    """They need one at the same time; one thread requests it."""
    sluice_sandbox.faults([SLOW_GRANT])
    assert all(in_threads(options, 50))
    assert len(logged_requests(sluice_sandbox, GRANTS)) == 1


def test_two_hundred_tasks_request_one_token(options, sluice_sandbox):
    """Likewise on one event loop."""
    sluice_sandbox.faults([SLOW_GRANT])
    assert all(asyncio.run(in_tasks(options, 200)))
    assert len(logged_requests(sluice_sandbox, GRANTS)) == 1


def test_threads_and_tasks_request_one_token(options, sluice_sandbox):
    """Two event loops and twenty threads in one process share it."""
    sluice_sandbox.faults([SLOW_GRANT])
    with ThreadPoolExecutor(3) as pool:
        work = [pool.submit(in_threads, options, 20)]
        work += [pool.submit(lambda: asyncio.run(in_tasks(options, 30))) for _ in range(2)]
        assert all(all(each.result()) for each in work)
    assert len(logged_requests(sluice_sandbox, GRANTS)) == 1


def test_a_revoked_token_is_replaced_once(options, sluice_sandbox):
    """Fifty threads get a 401 at the same time; one of them requests a new token."""
    in_threads(options, 1)
    sluice_sandbox.advance(4000)
    assert all(in_threads(options, 50))
    assert len(logged_requests(sluice_sandbox, GRANTS)) == 2


def test_other_credentials_have_another_token(fields, run, sluice_sandbox):
    """A token is used only with the credentials that it was issued for."""
    run(get_programs())
    run.options = client_options(fields._replace(password="wrong"))
    with pytest.raises(AuthenticationFailed):
        run(get_programs())


def test_token_requests_have_the_connections_headers(fields, run, sluice_sandbox):
    """A gateway in front of the service guards the token endpoint, too."""
    run.options = client_options(fields._replace(extra={"verify": False, "extra_headers": {"X-Team": "chemistry"}}))
    run(get_programs())
    assert [request["headers"]["x-team"] for request in sluice_sandbox.requests()] == ["chemistry"] * 2
    assert {request["headers"]["user-agent"] for request in sluice_sandbox.requests()} == {"tests"}


# --- its life


def test_tokens_are_cached(run, sluice_sandbox):
    """Several flows, several clients, one token request."""
    for _ in range(3):
        run(get_programs())
    assert len(logged_requests(sluice_sandbox, GRANTS)) == 1


@pytest.mark.parametrize(("life", "used_until"), [(3600.0, 3540.0), (100.0, 50.0), (10.0, 5.0)])
def test_tokens_are_replaced_before_they_expire(monkeypatch, life, used_until):
    """A minute early, or after half of a short lifetime."""
    clock = SimpleNamespace(monotonic=lambda: clock.now, now=1000.0)
    monkeypatch.setattr(auth, "time", clock)
    token_cache = auth.TokenCache()
    token_cache.set("token", life)
    clock.now += used_until - 0.001
    assert token_cache.get() == "token"
    clock.now += 0.002
    assert token_cache.get() is None


def test_refresh_tokens_are_never_used(run, sluice_sandbox):
    """Also when the access token has expired: two processes with one refresh token would revoke each other's."""
    for _ in range(3):
        run(get_programs())
        sluice_sandbox.advance(4000)
    grants = [request["json"]["grant_type"] for request in logged_requests(sluice_sandbox, GRANTS)]
    assert grants == ["client_credentials"] * 3


# --- refused


def test_a_rejected_token_is_replaced(run, sluice_sandbox):
    """Once, and the same request is sent again with the new one."""
    sluice_sandbox.faults([REVOKED])
    assert run(get_programs())
    assert len(logged_requests(sluice_sandbox, GRANTS)) == 2
    assert [request["status"] for request in logged_requests(sluice_sandbox)] == [401, 200]


def test_a_late_rejection_keeps_the_new_token(options):
    """A thread that learns last that the old token is invalid uses the one that another thread got meanwhile."""

    def granted(name):
        return httpx.Response(200, json={"access_token": name, "expires_in": 3600})

    first, second = (httpx.Request("GET", f"http://remote/{number}") for number in (1, 2))
    one, two = (options["auth"].sync_auth_flow(request) for request in (first, second))
    assert next(one).url.path.endswith(GRANTS)
    assert one.send(granted("old")) is first
    assert next(two) is second
    assert one.send(httpx.Response(401)).url.path.endswith(GRANTS)
    assert one.send(granted("new")) is first
    assert two.send(httpx.Response(401)) is second
    assert {request.headers["Authorization"] for request in (first, second)} == {"Bearer new"}


def test_a_second_rejection_is_final(run, sluice_sandbox):
    """Then the token is not the reason: one more token request, then the service's own words."""
    sluice_sandbox.faults([{**REVOKED, "times": 2, "body": {"code": "UNAUTHORIZED", "message": "who are you?"}}])
    with pytest.raises(AuthenticationFailed, match="who are you") as refusal:
        run(get_programs())
    assert refusal.value.code == "UNAUTHORIZED"
    assert len(logged_requests(sluice_sandbox, GRANTS)) == 2
    assert len(logged_requests(sluice_sandbox)) == 2
    assert run.pauses == []


def test_the_body_is_sent_again_with_the_new_token(run, sluice_sandbox):
    """A request that was rejected for its token was not applied, so it is sent again even if it is not idempotent."""
    sluice_sandbox.faults([{**REVOKED, "path": "push/imports"}])
    body = {"key_field_names": ["symbol"], "data": [{"symbol": "H"}]}
    assert run(send(Request("POST", "push/imports", json=body))).status == 200
    assert [request["json"] for request in logged_requests(sluice_sandbox)] == [body, body]


# --- the token endpoint fails


def test_a_wrong_secret(fields, run, sluice_sandbox):
    """Raises the token endpoint's reason, and sends nothing else."""
    run.options = client_options(fields._replace(password="not-the-secret"))
    with pytest.raises(
        AuthenticationFailed, match="the token endpoint returned 401: Client authentication failed"
    ) as refusal:
        run(get_programs())
    assert refusal.value.status == 401
    assert len(sluice_sandbox.requests()) == 1


ORDER = Request("POST", "push/imports", json={"key_field_names": ["symbol"], "data": [{"symbol": "H"}]})


@pytest.mark.parametrize(
    "fault",
    [{"status": 500}, {"status": 503}, {"status": 429}, {"drop": "before"}, {"drop": "after"}],
    ids=str,
)
def test_a_request_whose_token_request_failed_was_not_applied(run, sluice_sandbox, fault):
    """The request itself was never sent, so even one that is not idempotent is sent later."""
    sluice_sandbox.faults([{"path": GRANTS, "times": 2, **fault}])
    assert run(send(ORDER)).status == 200
    assert (len(run.pauses), len(logged_requests(sluice_sandbox))) == (2, 1)
    assert len(sluice_sandbox.state()["kaleidoscope"]["imports"]) == 1


@pytest.mark.parametrize(("status", "kind"), [(500, ServerError), (429, RateLimited)])
def test_a_token_endpoint_that_keeps_failing(run, sluice_sandbox, status, kind):
    """Five attempts, then its own error."""
    sluice_sandbox.faults([{"path": GRANTS, "times": 9, "status": status}])
    with pytest.raises(kind, match=f"the token endpoint returned {status}"):
        run(send(ORDER))
    assert len(sluice_sandbox.requests()) == 5


def test_retry_after_of_the_token_endpoint(run, sluice_sandbox):
    """Is respected, too."""
    sluice_sandbox.faults([{"path": GRANTS, "status": 429, "headers": {"Retry-After": "9"}}])
    run(get_programs())
    assert run.pauses == [9.0]


def test_a_lost_token_response_is_named(run, sluice_sandbox):
    """The message says that the token request, not the request itself, got no response."""
    sluice_sandbox.faults([{"path": GRANTS, "times": 9, "drop": "before"}])
    with pytest.raises(Unreachable, match="getting a token for GET programs") as error:
        run(get_programs())
    assert not error.value.maybe_applied


@pytest.mark.parametrize(
    "body",
    [
        "<html>sign in</html>",
        [],
        {},
        {"access_token": None},
        {"access_token": ""},
        {"access_token": 7},
        {"access_token": "two\nlines"},
        {"access_token": "tökén"},
        {"access_token": "good", "expires_in": "soon"},
        {"access_token": "good", "expires_in": None},
    ],
    ids=str,
)
def test_a_token_response_without_a_token(run, sluice_sandbox, body):
    """An HTML page, or a token that does not fit into a header: nothing is sent with it."""
    sluice_sandbox.faults([{"path": GRANTS, "status": 200, "body": body}])
    with pytest.raises(UnexpectedResponse, match="has no access_token; check the connection's host"):
        run(get_programs())
    assert logged_requests(sluice_sandbox) == []


@pytest.mark.parametrize("secret", ["kal-1234-secret", "a b+c/d=e%f", "sluice-sandbox-and-more"])
def test_echoed_secrets_are_removed(fields, run, sluice_sandbox, secret):
    """Some endpoints repeat what they were sent, verbatim or quoted; the secret may begin with the login."""
    run.options = client_options(fields._replace(password=secret))
    echo = f"{fields.login} with {secret} ({httpx.QueryParams({'client_secret': secret})}) is not known"
    sluice_sandbox.faults([{"path": GRANTS, "status": 400, "body": {"error_description": echo}}])
    with pytest.raises(AuthenticationFailed) as refusal:
        run(get_programs())
    assert f"{fields.login} with *** (client_secret=***) is not known" in str(refusal.value)


# --- the lock


def test_a_cancelled_task_releases_the_lock(options, sluice_sandbox):
    """A trigger that is cancelled during a token request does not stop all others."""

    async def cancelled():
        async with httpx.AsyncClient(**options) as client:
            first = asyncio.create_task(adrive(get_programs(), client, asyncio.sleep))
            while not logged_requests(sluice_sandbox, GRANTS):  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(0.005)
            second = asyncio.create_task(adrive(get_programs(), client, asyncio.sleep))
            third = asyncio.create_task(adrive(get_programs(), client, asyncio.sleep))
            await asyncio.sleep(0.02)
            second.cancel()
            first.cancel()
            await asyncio.wait_for(asyncio.wait([first, second]), 5)
            assert await asyncio.wait_for(third, 5)

    sluice_sandbox.faults([{"path": GRANTS, "delay": 60}])
    asyncio.run(cancelled())
    assert not options["auth"].token_cache.lock.locked()
    assert len(logged_requests(sluice_sandbox, GRANTS)) == 2


def test_a_failed_token_request_releases_the_lock(options, sluice_sandbox):
    """The next in line requests a token itself."""
    sluice_sandbox.faults([{"path": GRANTS, "status": 400}, SLOW_GRANT])
    with pytest.raises(AuthenticationFailed):
        in_threads(options, 1)
    assert all(in_threads(options, 3))
    assert not options["auth"].token_cache.lock.locked()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_its_own_locks(options):
    """The thread that held a lock during the fork does not exist in the child."""
    with options["auth"].token_cache.lock, auth._caches_lock:
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            try:
                with httpx.Client(**options) as client:
                    os._exit(0 if drive(get_programs(), client, lambda _: None) else 3)
            finally:
                os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_caches_hold_hashes_only(options):
    """The keys of the token caches do not contain the credentials."""
    in_threads(options, 1)
    assert options["auth"].token_cache.get()
    assert all(len(name) == 64 and "secret" not in name for name in auth._caches)


def test_each_token_is_masked(fields, run):
    """Before its first use, in worker and triggerer."""
    masked = []
    run.options["auth"] = auth.Bearer(
        run.options["auth"]._endpoint,
        lambda headers, token, _: headers.update({"X-Kal-Authorization": f"Bearer {token}"}),
        mask=masked.append,
    )
    run(get_programs())
    assert masked == [run.options["auth"].token_cache.get()]
