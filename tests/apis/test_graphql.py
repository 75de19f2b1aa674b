"""GraphQL on canned answers: what is tried how often, and what an answer means."""

from __future__ import annotations

import pytest

from sluice_provider.apis.kili.graphql import mutate, operation_name, query
from sluice_provider.errors import (
    AuthenticationFailed,
    ClientError,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    RateLimited,
    ServerError,
    TooLarge,
    Unreachable,
)
from tests.flows import response, run_flow

GOOD = response(200, {"data": {"data": 7}})
UNFORWARDED = "upstream connect error or disconnect/reset before headers. reset reason: connection failure"


def errors(message, code=None, status=200, **more):
    """An answer of GraphQL that is an error."""
    extensions = {"extensions": {"code": code}} if code else {}
    return response(status, {"errors": [{"message": message, **extensions, **more}], "data": None})


def times(kind, answer):
    """How often it is sent while the answer stays the same, and the error in the end."""
    played = run_flow(kind("graphql", "query thing { data: thing }", {}), *[answer] * 20)
    return len(played.calls), type(played.error)


TABLE = {
    "401 plain": (response(401, "no"), (1, AuthenticationFailed), (1, AuthenticationFailed)),
    "401 GraphQL": (errors("no", status=401), (1, AuthenticationFailed), (1, AuthenticationFailed)),
    "429": (response(429, "slow"), (8, RateLimited), (8, RateLimited)),
    "521": (response(521, "down"), (8, ServerError), (8, ServerError)),
    "never sent": (Unreachable("refused", maybe_applied=False), (8, Unreachable), (8, Unreachable)),
    "503 unforwarded": (response(503, UNFORWARDED), (8, ServerError), (8, ServerError)),
    "503 no upstream": (response(503, "no healthy upstream"), (8, ServerError), (8, ServerError)),
    "503 retried": (response(503, f"retried and the latest {UNFORWARDED}"), (5, ServerError), (1, OutcomeUnknown)),
    "503": (response(503, ""), (5, ServerError), (1, OutcomeUnknown)),
    "502": (response(502, ""), (5, ServerError), (1, OutcomeUnknown)),
    "500": (response(500, ""), (1, ServerError), (1, OutcomeUnknown)),
    "504": (response(504, ""), (2, ServerError), (1, OutcomeUnknown)),
    "524": (response(524, ""), (2, ServerError), (1, OutcomeUnknown)),
    "read timeout": (Unreachable("x: ReadTimeout: y"), (2, Unreachable), (1, OutcomeUnknown)),
    "dropped": (Unreachable("x: RemoteProtocolError: y"), (5, Unreachable), (1, OutcomeUnknown)),
    "200 not JSON": (response(200, "<html>"), (5, ServerError), (1, OutcomeUnknown)),
    "200 no data": (response(200, {"data": None}), (5, ServerError), (1, OutcomeUnknown)),
    "transient": (errors("Failed to fetch data connection"), (5, ServerError), (1, OutcomeUnknown)),
    "Flagsmith": (errors("Invalid request made to Flagsmith API x"), (5, ServerError), (1, OutcomeUnknown)),
    "internal": (errors("oops", "INTERNAL_SERVER_ERROR", 500), (1, ServerError), (1, OutcomeUnknown)),
    "429 GraphQL": (errors("slow", status=429), (8, RateLimited), (8, RateLimited)),
    "429 GraphQL, a code": (errors("slow", "RATE_LIMITED", 429), (8, RateLimited), (8, RateLimited)),
    "500 GraphQL": (errors("oops", status=500), (1, ServerError), (1, OutcomeUnknown)),
    "500 GraphQL, a code": (errors("oops", "SOMETHING_ELSE", 500), (1, ServerError), (1, OutcomeUnknown)),
    "502 GraphQL": (errors("oops", status=502), (5, ServerError), (1, OutcomeUnknown)),
    "503 GraphQL": (errors("oops", status=503), (5, ServerError), (1, OutcomeUnknown)),
    "504 GraphQL": (errors("oops", status=504), (2, ServerError), (1, OutcomeUnknown)),
    "200 GraphQL": (errors("no"), (1, ClientError), (1, ClientError)),
    "400 GraphQL": (errors("no", status=400), (1, ClientError), (1, ClientError)),
    "404 GraphQL": (errors("no", status=404), (1, NotFound), (1, NotFound)),
    "413 GraphQL": (errors("no", status=413), (1, TooLarge), (1, TooLarge)),
    "bad input": (errors("no", "BAD_USER_INPUT", 500), (1, ClientError), (1, ClientError)),
    "no GraphQL": (errors("no", "GRAPHQL_PARSE_FAILED", 500), (1, ClientError), (1, ClientError)),
    "invalid query": (errors("no", "GRAPHQL_VALIDATION_FAILED", 500), (1, ClientError), (1, ClientError)),
    "forbidden": (errors("no", "FORBIDDEN"), (1, PermissionDenied), (1, PermissionDenied)),
    "not found": (errors("no", "NOT_FOUND"), (1, NotFound), (1, NotFound)),
    "400": (response(400, "bad"), (1, ClientError), (1, ClientError)),
    "403": (response(403, "bad"), (1, PermissionDenied), (1, PermissionDenied)),
    "404": (response(404, "bad"), (1, NotFound), (1, NotFound)),
    "413": (response(413, "bad"), (1, TooLarge), (1, TooLarge)),
}


@pytest.mark.parametrize(("answer", "attempts", "changed"), TABLE.values(), ids=TABLE)
def test_numbers_of_attempts(answer, attempts, changed):
    """A query a few times; a mutation again only when it certainly was not run."""
    assert times(query, answer) == attempts
    assert times(mutate, answer) == changed


def test_requests_that_were_not_executed_are_retried_for_two_minutes():
    """About as long as the vendor's client does, and no longer."""
    played = run_flow(query("graphql", "query thing { data: thing }", {}), *[response(521, "")] * 20)
    assert 60 < sum(played.pauses) < 180


def test_retry_after_header():
    """Retry-After, for a mutation too: nothing was done."""
    played = run_flow(mutate("graphql", "mutation x { data: x }", {}), response(429, "", retry_after="7"), GOOD)
    assert (played.value, played.pauses) == (7, [7.0])


def test_retry_after_in_a_graphql_error():
    """The same in a body of GraphQL."""
    slow = response(429, {"errors": [{"message": "slow", "extensions": {}}]}, retry_after="7")
    played = run_flow(mutate("graphql", "mutation x { data: x }", {}), slow, GOOD)
    assert (played.value, played.pauses) == (7, [7.0])


@pytest.mark.parametrize("status", [200, 400, 500])
def test_data_is_accepted_with_any_status(status):
    """As the vendor's client reads it."""
    assert run_flow(query("graphql", "query x { data: x }", {}), response(status, {"data": {"data": [1]}})).value == [1]


def test_message_of_an_error():
    """Code, path and message are on it, and in its words."""
    answer = errors("Project is archived", "BAD_USER_INPUT", path=["data", 0, "id"])
    error = run_flow(query("graphql", "query dataConnection($a: ID!) { data: x }", {}), answer).error
    assert (error.code, error.path, error.status) == ("BAD_USER_INPUT", "data.0.id", 200)
    assert str(error) == "query dataConnection failed: Project is archived (BAD_USER_INPUT, at data.0.id)"
    assert not error.retryable


@pytest.mark.parametrize(
    "body", [{"errors": ["broken"]}, {"errors": "broken"}, {"errors": [{}]}, {"errors": [{"extensions": 1}]}], ids=str
)
def test_an_error_of_any_shape_is_an_error(body):
    """Also one without extensions, which the vendor's client stumbles over."""
    assert isinstance(run_flow(query("graphql", "query x { data: x }", {}), response(200, body)).error, ClientError)


def test_the_name_of_a_document():
    """For logs and errors."""
    assert operation_name("\n  mutation addDataConnection($data: X!) { data: y }") == "mutation addDataConnection"
    assert operation_name("query viewer { data: viewer { id } }") == "query viewer"


def test_the_request():
    """The document and its variables, and no operationName."""
    [call] = run_flow(query("graphql", "query x { data: x }", {"where": {"id": "a"}}), GOOD).calls
    assert (call.method, call.path, call.idempotent) == ("POST", "graphql", True)
    assert call.json == {"query": "query x { data: x }", "variables": {"where": {"id": "a"}}}
    assert run_flow(mutate("graphql", "mutation x { data: x }", {}), GOOD).calls[0].idempotent is False
