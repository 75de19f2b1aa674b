"""One call: what its answers mean, and when it is made again. No client, no network."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from sluice_provider.errors import (
    AuthenticationFailed,
    ClientError,
    Conflict,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    RateLimited,
    ServerError,
    SluiceError,
    TooLarge,
    UnexpectedResponse,
    Unreachable,
)
from sluice_provider.http.flow import Request, Sleep
from sluice_provider.http.responses import error_from
from sluice_provider.http.retry import RetryPolicy, send
from tests.flows import response, run_flow

READ = Request("GET", "things", idempotent=True)
ORDER = Request("POST", "things", json={"a": 1})


def test_a_flow_yields_a_request():
    """It is sent the response and returns it; nothing else is needed to run it."""
    flow = send(READ)
    assert next(flow) == READ
    with pytest.raises(StopIteration) as end:
        flow.send(response(200, {"id": 7}))
    assert end.value.value.json() == {"id": 7}


def test_attempts_are_separated_by_a_sleep():
    """After a transient error the flow yields a sleep with its reason, and then the same request."""
    flow = send(READ)
    next(flow)
    pause = flow.send(response(503, "down"))
    assert isinstance(pause, Sleep)
    assert "GET things returned 503: down; attempt 1 of 5" in pause.why
    assert next(flow) == READ


# --- what a status means


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, ClientError),
        (304, ClientError),
        (400, ClientError),
        (401, AuthenticationFailed),
        (403, PermissionDenied),
        (404, NotFound),
        (409, Conflict),
        (413, TooLarge),
        (418, ClientError),
        (422, ClientError),
        (429, RateLimited),
        (500, ServerError),
        (503, ServerError),
        (599, ServerError),
    ],
)
def test_each_status_has_its_error(status, kind):
    """The exact class, with the status on it and the request in its message."""
    error = error_from(READ, response(status))
    assert type(error) is kind
    assert error.status == status
    assert f"GET things returned {status}" in str(error)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_successful_statuses(status):
    """No error, also without a body."""
    assert error_from(READ, response(status, b"")) is None


def test_a_redirect_is_explained():
    """It is never followed with credentials, and the message names the usual causes."""
    error = error_from(ORDER, response(302, "", location="https://login.example.com"))
    assert "check that the connection's host is the API itself" in str(error)


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({"code": "FST_ERR_VALIDATION", "message": "body/data Required"}, "FST_ERR_VALIDATION", "body/data Required"),
        ({"statusCode": 400, "error": "Bad Request", "message": "no"}, "Bad Request", "no"),
        ({"error": "invalid_request", "error_description": "which?"}, "invalid_request", "which?"),
        ({"error": "only this"}, "only this", "only this"),
        ({"code": 17}, "17", "400"),
        (["a", "list"], None, "['a', 'list']"),
        ("<html>\n  <h1>Bad\n gateway</h1></html>", None, "<html> <h1>Bad gateway</h1></html>"),
        (b"\xff\xfe", None, "\ufffd"),
        (b"", None, "returned 400"),
    ],
)
def test_the_services_own_message(body, code, words):
    """Wherever its framework puts code and message, and whatever a proxy returns instead."""
    error = error_from(READ, response(400, body))
    assert error.code == code
    assert words in str(error)


def test_long_bodies_are_cut():
    """An error page of a megabyte does not end up in a log or in a database."""
    error = error_from(READ, response(500, "x" * 1_000_000))
    assert len(str(error)) < 400
    assert len(error.body) == 2000


def test_zod_details_are_kept():
    """The body of a rejection is on the error, so that the author can see which record was invalid."""
    issues = {"issues": [{"path": ["data", 3], "message": "Required"}]}
    error = error_from(ORDER, response(400, {"message": "no", "details": issues}))
    assert '"path": ["data", 3]' in error.body


@pytest.mark.parametrize(
    ("body", "content"),
    [
        (rb'{"a\u0000b": ["\u0000", 1, null]}', {"a\ufffdb": ["\ufffd", 1, None]}),
        (rb'{"message": "half \ud83d of it"}', {"message": "half \ufffd of it"}),
        (rb'["\uDE00\uD83D"]', ["\ufffd\ufffd"]),
        (rb'["\ud83d\ude00", "\\u0000"]', ["\U0001f600", "\\u0000"]),
    ],
)
def test_characters_that_databases_reject_are_replaced(body, content):
    """PostgreSQL rejects NULs, and lone surrogates cannot be encoded; everything else is unchanged."""
    assert response(200, body).json() == content


def test_not_json():
    """A success whose body is not JSON is an UnexpectedResponse, with the beginning of the body."""
    with pytest.raises(UnexpectedResponse, match=r"the response \(status 200\) is not JSON; it begins: '<html>"):
        response(200, "<html>" + "x" * 9999).json()


# --- Retry-After


def _http_date(seconds: float, now: datetime) -> str:
    return format_datetime(now + timedelta(seconds=seconds), usegmt=True)


NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 7.5 ", 7.5),
        ("0", 0.0),
        ("-3", 0.0),
        (_http_date(90, NOW), 90.0),
        (_http_date(-90, NOW), 0.0),
        ("Fri Jan  2 03:05:05 2026", 60.0),
        ("soon", None),
        ("", None),
        ("nan", None),
    ],
)
def test_retry_after(value, seconds):
    """Seconds or a date, compared with the service's own clock; never negative; an invalid value is ignored."""
    headers = {"retry_after": value, "date": format_datetime(NOW, usegmt=True)}
    assert error_from(READ, response(429, **headers)).retry_after == seconds


def test_retry_after_without_a_date_header():
    """The local clock is used."""
    value = _http_date(100, datetime.now(timezone.utc))
    assert 90 < error_from(READ, response(503, retry_after=value)).retry_after <= 100


@pytest.mark.parametrize("value", ["1e30", "inf", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_retry_after_stays_a_duration(value):
    """However far off, it can be added to a date."""
    assert timedelta(seconds=error_from(READ, response(429, retry_after=value)).retry_after) > timedelta(hours=1)


# --- again, or not


@pytest.mark.parametrize(
    "trouble", [response(500), response(503), response(429), Unreachable("gone"), Unreachable("", maybe_applied=False)]
)
def test_transient_errors_are_retried(trouble):
    """An idempotent request is sent until there is a response."""
    result = run_flow(send(READ), trouble, trouble, response(200, 1))
    assert result.value.json() == 1
    assert result.calls == [READ] * 3
    assert len(result.pauses) == 2


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 409, 413, 422])
def test_rejections_are_not_retried(status):
    """One request, one error."""
    result = run_flow(send(READ), response(status))
    assert (result.error.status, len(result.calls), result.pauses) == (status, 1, [])


def test_attempts_end():
    """After five attempts the last error is raised."""
    result = run_flow(send(READ), *[response(500, f"no {n}") for n in range(1, 6)])
    assert "no 5" in str(result.error)
    assert (len(result.calls), len(result.pauses)) == (5, 4)


def test_delays_grow():
    """Doubled each time, with jitter, and bounded."""
    patience = RetryPolicy(attempts=12)
    pauses = run_flow(send(READ, patience), *[response(500)] * 12).pauses
    for number, pause in enumerate(pauses):
        most = min(60.0, 2.0**number)
        assert most / 2 <= pause <= most


def test_retry_after_is_the_delay():
    """To the second."""
    assert run_flow(send(READ), response(429, retry_after="11"), response()).pauses == [11.0]
    assert run_flow(send(READ), response(503, retry_after="0"), response()).pauses == [0.0]


def test_a_long_retry_after_is_not_waited_for():
    """The error is raised at once and carries the time, for the task's own retry."""
    result = run_flow(send(READ), response(429, retry_after="61"))
    assert isinstance(result.error, RateLimited)
    assert (result.error.retry_after, result.pauses) == (61.0, [])


@pytest.mark.parametrize("trouble", [response(500), response(503, retry_after="1"), Unreachable("connection lost")])
def test_a_request_that_may_have_been_applied_is_not_repeated(trouble):
    """The outcome is unknown, and the error keeps the cause."""
    result = run_flow(send(ORDER), trouble)
    assert isinstance(result.error, OutcomeUnknown)
    assert isinstance(result.error.__cause__, SluiceError)
    assert len(result.calls) == 1
    assert "POST things got no usable response" in str(result.error)


@pytest.mark.parametrize("trouble", [response(429), Unreachable("refused", maybe_applied=False)])
def test_a_request_that_was_not_applied_is_repeated(trouble):
    """Also if it is not idempotent."""
    assert run_flow(send(ORDER), trouble, response(200, 1)).value.json() == 1


def test_the_outcome_may_become_unknown_later():
    """Also when an earlier attempt was harmless."""
    assert isinstance(run_flow(send(ORDER), response(429), response(502)).error, OutcomeUnknown)


def test_a_request_that_failed_before_it_was_sent_was_not_applied():
    """A token endpoint that fails has not received the request."""
    early = ServerError("the token endpoint returned 500", status=500)
    early.maybe_applied = False
    assert run_flow(send(ORDER), early, response(200, 1)).error is None


@pytest.mark.parametrize(
    ("answers", "acted"),
    [
        ([Unreachable("lost"), response(404)], True),
        ([response(503), response(409)], True),
        ([Unreachable("down", maybe_applied=False), response(404)], False),
        ([response(429), response(404)], False),
        ([response(404)], False),
        ([Unreachable("lost"), Unreachable("down", maybe_applied=False)], True),
    ],
)
def test_the_last_error_remembers_earlier_attempts(answers, acted):
    """A rejection of the second attempt says nothing about the first, which got no response."""
    result = run_flow(send(READ, RetryPolicy(attempts=2)), *answers)
    assert result.error.maybe_applied is acted


def test_no_attempt_starts_too_late():
    """An idempotency key has a lifetime, and a sleep that would exceed it is not started."""
    result = run_flow(send(READ, RetryPolicy(within=0.4, base=1.0)), response(503))
    assert (result.error.status, result.pauses, len(result.calls)) == (503, [], 1)
    assert len(run_flow(send(READ, RetryPolicy(within=60.0)), *[response(503)] * 5).calls) == 5


def test_a_service_may_read_its_responses_itself():
    """`error_from` replaces the default."""
    result = run_flow(send(READ, error_from=lambda call, answer: NotFound(f"{call} {answer.status}")), response(200))
    assert (type(result.error), str(result.error)) == (NotFound, "GET things 200")


@pytest.mark.parametrize("header", ["x_request_id", "x_amzn_requestid"])
def test_the_error_has_the_request_id(header):
    """For the service's support."""
    assert error_from(READ, response(500, {}, **{header: "r-1"})).request_id == "r-1"
