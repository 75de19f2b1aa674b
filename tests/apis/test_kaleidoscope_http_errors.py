"""HTTP errors in worker and triggerer: the error raised, the number of requests, nothing lost or duplicated."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from sluice_provider.apis.kaleidoscope.endpoints import get_import, get_imports, get_programs, push_by_field_name
from sluice_provider.errors import (
    ClientError,
    Conflict,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    RateLimited,
    ServerError,
    TooLarge,
    UnexpectedResponse,
    Unreachable,
)
from sluice_provider.http.flow import Request
from sluice_provider.http.retry import send
from tests.flows import logged_requests

ROWS = [{"symbol": "H", "name": "Hydrogen"}, {"symbol": "He", "name": "Helium"}]
PUSH = r"/push/imports$"


def push():
    """Two records."""
    return push_by_field_name(["symbol"], ROWS)


def order():
    """The same, as a request that is not marked idempotent."""
    return send(Request("POST", "push/imports", json={"key_field_names": ["symbol"], "data": ROWS}))


def pushes(sandbox):
    """How often each record arrived, by its key."""
    return {record["key"]["symbol"]: record["pushes"] for record in sandbox.state()["kaleidoscope"]["records"]}


# --- refused: one request, one error


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ClientError),
        (403, PermissionDenied),
        (404, NotFound),
        (409, Conflict),
        (413, TooLarge),
        (422, ClientError),
    ],
)
def test_client_errors_are_not_retried(run, sluice_sandbox, status, kind):
    """With the service's message and code, without retry, and nothing was changed."""
    body = {"code": "WHY", "message": "because"}
    sluice_sandbox.faults([{"path": PUSH, "status": status, "body": body}])
    with pytest.raises(kind, match=f"POST push/imports returned {status}: because") as error:
        run(push())
    assert type(error.value) is kind
    assert (error.value.status, error.value.code, error.value.retryable) == (status, "WHY", False)
    assert (len(logged_requests(sluice_sandbox)), run.pauses) == (1, [])
    assert pushes(sluice_sandbox) == {}


def test_a_body_too_large(run, sluice_sandbox):
    """The service's documented limit."""
    sluice_sandbox.settings(max_body_bytes=100)
    with pytest.raises(TooLarge, match="Request body is too large"):
        run(push())
    assert len(logged_requests(sluice_sandbox)) == 1


def test_redirect_to_a_login_page(run, sluice_sandbox):
    """A redirect is not followed, and never with our token."""
    sluice_sandbox.faults([{"path": "programs", "status": 302, "headers": {"Location": f"{sluice_sandbox.url}/"}}])
    with pytest.raises(ClientError, match="302, a redirect"):
        run(get_programs())
    assert len(logged_requests(sluice_sandbox)) == 1


# --- passing: tried again until it is done


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize("flow", [get_programs, push])
def test_transient_errors_are_retried(run, sluice_sandbox, status, flow):
    """Twice bad, then good; what was done is done once."""
    sluice_sandbox.faults([{"path": f"{PUSH}|programs", "times": 2, "status": status, "body": "<html>"}])
    assert run(flow())
    assert [request["status"] for request in logged_requests(sluice_sandbox)] == [status, status, 200]
    assert 1.5 <= sum(run.pauses) <= 3.0
    assert pushes(sluice_sandbox) == ({"H": 1, "He": 1} if flow is push else {})


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (500, ServerError), (503, ServerError)])
def test_persistent_errors(run, sluice_sandbox, status, kind):
    """Five attempts, then an error that is retryable: Airflow may try again later."""
    sluice_sandbox.faults([{"path": PUSH, "times": 99, "status": status}])
    with pytest.raises(kind) as error:
        run(push())
    assert (len(logged_requests(sluice_sandbox)), len(run.pauses), error.value.retryable) == (5, 4, True)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_in_seconds(run, sluice_sandbox, status):
    """Is the pause."""
    sluice_sandbox.faults([{"path": "programs", "status": status, "headers": {"Retry-After": "17"}}])
    run(get_programs())
    assert run.pauses == [17.0]


def test_retry_after_as_a_date(run, sluice_sandbox):
    """Read against the Date of the answer."""
    date = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=40), usegmt=True)
    sluice_sandbox.faults([{"path": "programs", "status": 429, "headers": {"Retry-After": date}}])
    run(get_programs())
    assert run.pauses == [pytest.approx(40, abs=2)]


def test_retry_after_an_hour(run, sluice_sandbox):
    """Too long to hold a worker: the error says when, and the task's own retry waits."""
    sluice_sandbox.faults([{"path": "programs", "status": 429, "headers": {"Retry-After": "3600"}}])
    with pytest.raises(RateLimited) as error:
        run(get_programs())
    assert (error.value.retry_after, run.pauses) == (3600.0, [])


def test_a_real_rate_limit(run, sluice_sandbox):
    """One request a second, tokens included: everything gets through, later."""
    sluice_sandbox.settings(rate_limit=1)
    for _ in range(3):
        run(push())
    assert pushes(sluice_sandbox) == {"H": 3, "He": 3}
    assert set(run.pauses) == {1.0}


# --- lost


def test_connection_lost_before_the_request_was_processed(run, sluice_sandbox):
    """The connection closed and nothing was done: it is sent again and done once."""
    sluice_sandbox.faults([{"path": PUSH, "drop": "before"}])
    run(push())
    assert [request["status"] for request in logged_requests(sluice_sandbox)] == [None, 200]
    assert pushes(sluice_sandbox) == {"H": 1, "He": 1}


def test_connection_lost_after_the_request_was_processed(run, sluice_sandbox):
    """The answer was lost: it is sent again, arrives twice and is there once, because records are keyed."""
    sluice_sandbox.faults([{"path": PUSH, "drop": "after"}])
    import_id = run(push())
    assert pushes(sluice_sandbox) == {"H": 2, "He": 2}
    state = sluice_sandbox.state()["kaleidoscope"]
    assert (state["records_count"], len(state["imports"])) == (2, 2)
    assert run(get_import(import_id))["import_result"]["records_created"] == 0


@pytest.mark.parametrize(("drop", "landed"), [("before", 0), ("after", 1)])
def test_lost_response_of_a_request_that_is_not_idempotent(run, sluice_sandbox, drop, landed):
    """The client cannot tell them apart: one request, outcome unknown."""
    sluice_sandbox.faults([{"path": PUSH, "drop": drop}])
    with pytest.raises(OutcomeUnknown):
        run(order())
    assert (len(logged_requests(sluice_sandbox)), run.pauses) == (1, [])
    assert len(sluice_sandbox.state()["kaleidoscope"]["imports"]) == landed


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_server_error_of_a_request_that_is_not_idempotent(run, sluice_sandbox, status):
    """A gateway's 504 says nothing of what is behind it."""
    sluice_sandbox.faults([{"path": PUSH, "status": status}])
    with pytest.raises(OutcomeUnknown, match=f"returned {status}"):
        run(order())
    assert len(logged_requests(sluice_sandbox)) == 1


def test_rate_limit_of_a_request_that_is_not_idempotent(run, sluice_sandbox):
    """Was not done, so it is made again."""
    sluice_sandbox.faults([{"path": PUSH, "times": 2, "status": 429}])
    run(order())
    assert pushes(sluice_sandbox) == {"H": 1, "He": 1}


def test_a_service_that_drops_all_connections(run, sluice_sandbox):
    """Five attempts; whether they arrived is on the error."""
    sluice_sandbox.faults([{"path": PUSH, "times": 99, "drop": "before"}])
    with pytest.raises(Unreachable, match=r"POST push/imports: (RemoteProtocolError|ReadError)") as error:
        run(push())
    assert (len(logged_requests(sluice_sandbox)), error.value.maybe_applied, error.value.retryable) == (5, True, True)


# --- not the promised shape


@pytest.mark.parametrize(
    ("flow", "body"),
    [
        (push, "<html>Sign in</html>"),
        (push, ""),
        (push, {"status": "success"}),
        (push, ["an id"]),
        (get_programs, "<html>Sign in</html>"),
        (get_programs, {"programs": []}),
        (get_imports, {"data": []}),
    ],
)
def test_success_with_an_unexpected_body(run, sluice_sandbox, flow, body):
    """Said at once, with the beginning of what came; trying again would not change it."""
    fault = {"path": f"{PUSH}|programs|imports", "times": 9, "status": 200, "body": body}
    sluice_sandbox.faults([fault])
    with pytest.raises(UnexpectedResponse):
        run(flow())
    assert (len(logged_requests(sluice_sandbox)), run.pauses) == (1, [])


def test_unknown_import(run, sluice_sandbox):
    """One status check reports it; the poller decides how long that means "not yet"."""
    import_id = run(push())
    sluice_sandbox.settings(imports_not_found=True)
    with pytest.raises(NotFound):
        run(get_import(import_id))
