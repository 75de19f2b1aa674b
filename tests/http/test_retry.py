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


def test_a_flow_is_a_conversation():
    """It asks for a call, is sent the reply and returns it; nothing else is needed to run it."""
    flow = send(READ)
    assert next(flow) == READ
    with pytest.raises(StopIteration) as end:
        flow.send(response(200, {"id": 7}))
    assert end.value.value.json() == {"id": 7}


def test_a_pause_stands_between_two_attempts():
    """After a passing error the flow asks to wait, says why, and then makes the very same call."""
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
    """The exact kind, with the status on it and the call in its words."""
    error = error_from(READ, response(status))
    assert type(error) is kind
    assert error.status == status
    assert f"GET things returned {status}" in str(error)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_good_statuses(status):
    """No error, also without a body."""
    assert error_from(READ, response(status, b"")) is None


def test_a_redirect_is_explained():
    """It is never followed with credentials, and the words name what is usually wrong."""
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
def test_the_remotes_own_words(body, code, words):
    """Wherever its framework puts code and message, and whatever a proxy answers in its place."""
    error = error_from(READ, response(400, body))
    assert error.code == code
    assert words in str(error)


def test_long_bodies_are_cut():
    """An error page of a megabyte does not end up in a log or in a database."""
    error = error_from(READ, response(500, "x" * 1_000_000))
    assert len(str(error)) < 400
    assert len(error.body) == 2000


def test_zod_details_are_kept():
    """The body of a refusal is on the error, so that the author can see which record was wrong."""
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
def test_what_no_database_takes_is_replaced(body, content):
    """PostgreSQL refuses NULs, and nobody can encode half characters; everything else is as it was."""
    assert response(200, body).json() == content


def test_not_json():
    """A good status with something else in it is a misunderstanding, with the beginning of what came."""
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
    """Seconds or a date, read against the remote's own clock; never negative; garbage says nothing."""
    headers = {"retry_after": value, "date": format_datetime(NOW, usegmt=True)}
    assert error_from(READ, response(429, **headers)).retry_after == seconds


def test_retry_after_without_a_date_header():
    """Then our own clock must do."""
    value = _http_date(100, datetime.now(timezone.utc))
    assert 90 < error_from(READ, response(503, retry_after=value)).retry_after <= 100


@pytest.mark.parametrize("value", ["1e30", "inf", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_retry_after_stays_a_duration(value):
    """However far off, it can be made into a delay of the next try."""
    assert timedelta(seconds=error_from(READ, response(429, retry_after=value)).retry_after) > timedelta(hours=1)


# --- again, or not


@pytest.mark.parametrize(
    "trouble", [response(500), response(503), response(429), Unreachable("gone"), Unreachable("", maybe_applied=False)]
)
def test_passing_errors_are_tried_again(trouble):
    """A repeatable call is made until it is answered."""
    played = run_flow(send(READ), trouble, trouble, response(200, 1))
    assert played.value.json() == 1
    assert played.calls == [READ] * 3
    assert len(played.pauses) == 2


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 409, 413, 422])
def test_refusals_are_not_tried_again(status):
    """One call, one error."""
    played = run_flow(send(READ), response(status))
    assert (played.error.status, len(played.calls), played.pauses) == (status, 1, [])


def test_attempts_end():
    """After five the last error is the caller's."""
    played = run_flow(send(READ), *[response(500, f"no {n}") for n in range(1, 6)])
    assert "no 5" in str(played.error)
    assert (len(played.calls), len(played.pauses)) == (5, 4)


def test_delays_grow():
    """Doubled each time, with jitter, and bounded."""
    patience = RetryPolicy(attempts=12)
    pauses = run_flow(send(READ, patience), *[response(500)] * 12).pauses
    for number, pause in enumerate(pauses):
        most = min(60.0, 2.0**number)
        assert most / 2 <= pause <= most


def test_a_remote_that_says_when_is_heeded():
    """Its Retry-After is the pause, to the second."""
    assert run_flow(send(READ), response(429, retry_after="11"), response()).pauses == [11.0]
    assert run_flow(send(READ), response(503, retry_after="0"), response()).pauses == [0.0]


def test_a_remote_that_wants_too_much_patience():
    """It gets none: the error is raised at once and carries the time, for the task's own retry."""
    played = run_flow(send(READ), response(429, retry_after="61"))
    assert isinstance(played.error, RateLimited)
    assert (played.error.retry_after, played.pauses) == (61.0, [])


@pytest.mark.parametrize("trouble", [response(500), response(503, retry_after="1"), Unreachable("connection lost")])
def test_an_order_that_may_have_arrived_is_in_doubt(trouble):
    """It is not sent twice, and the error keeps the cause."""
    played = run_flow(send(ORDER), trouble)
    assert isinstance(played.error, OutcomeUnknown)
    assert isinstance(played.error.__cause__, SluiceError)
    assert len(played.calls) == 1
    assert "POST things got no usable response" in str(played.error)


@pytest.mark.parametrize("trouble", [response(429), Unreachable("refused", maybe_applied=False)])
def test_an_order_that_did_not_arrive_is_sent_again(trouble):
    """Nothing was done, so nothing can be done twice."""
    assert run_flow(send(ORDER), trouble, response(200, 1)).value.json() == 1


def test_doubt_after_patience():
    """Also when an earlier attempt was harmless."""
    assert isinstance(run_flow(send(ORDER), response(429), response(502)).error, OutcomeUnknown)


def test_a_failure_before_sending_is_no_doubt():
    """A token endpoint that fails has not seen the order."""
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
def test_the_last_error_knows_what_may_have_been_done_before(answers, acted):
    """A refusal of the second attempt says nothing of the first, which was not answered."""
    played = run_flow(send(READ, RetryPolicy(attempts=2)), *answers)
    assert played.error.maybe_applied is acted


def test_no_attempt_begins_too_late():
    """An idempotency key lives only so long, and a pause that outlives it is not begun."""
    played = run_flow(send(READ, RetryPolicy(within=0.4, base=1.0)), response(503))
    assert (played.error.status, played.pauses, len(played.calls)) == (503, [], 1)
    assert len(run_flow(send(READ, RetryPolicy(within=60.0)), *[response(503)] * 5).calls) == 5


def test_a_remote_may_mean_something_else():
    """Its own verdict takes the place of the usual one."""
    played = run_flow(send(READ, error_from=lambda call, answer: NotFound(f"{call} {answer.status}")), response(200))
    assert (type(played.error), str(played.error)) == (NotFound, "GET things 200")


@pytest.mark.parametrize("header", ["x_request_id", "x_amzn_requestid"])
def test_the_request_has_a_name(header):
    """For the remote's support."""
    assert error_from(READ, response(500, {}, **{header: "r-1"})).request_id == "r-1"
