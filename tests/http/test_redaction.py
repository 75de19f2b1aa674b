"""A service that repeats the whole request, in every encoding: nothing secret of it is in an error or in a log."""

from __future__ import annotations

import json
import logging
import re
from base64 import b64encode
from urllib.parse import quote, quote_plus

import pytest

from sluice_provider import redaction
from sluice_provider.apis.kaleidoscope.endpoints import get_import, push_by_field_name
from sluice_provider.apis.kili.graphql import graphql_error_from
from sluice_provider.errors import SluiceError, UnexpectedResponse
from sluice_provider.http.flow import Request
from sluice_provider.http.responses import error_from
from sluice_provider.jobs import Job, JobState
from sluice_provider.jobs.model import Rejection
from sluice_provider.jobs.polling import without_secrets
from tests.flows import client_options, response
from tests.http.test_secrets import CANARIES, TOKEN_REQUEST, fields_to, log, no_canary_in, outcome, words_of
from tests.loopback import Answer, serve

__all__ = ["log"]

SECRET = 'pass/word "with" ü & 100%'


def encodings(text):
    """The forms in which a service may repeat a text."""
    data = text.encode()
    return {
        "plain": text,
        "json": json.dumps(text),
        "json with escaped slashes": json.dumps(text).replace("/", "\\/"),
        "repr": repr(text),
        "url": quote(text, safe=""),
        "path": quote(text),
        "form": quote_plus(text),
        "lower case": re.sub("%..", lambda each: each[0].lower(), quote(text, safe="")),
        "base64": b64encode(data).decode(),
        "base64 behind a login": b64encode(b"me:" + data).decode(),
        "base64 in the middle": b64encode(b"user:" + data + b":end").decode(),
        "base64 elsewhere": b64encode(b"login:" + data + b"x").decode(),
    }


@pytest.mark.parametrize("form", encodings(SECRET))
@pytest.mark.parametrize("offset", [0, 1950, 1990])
def test_every_form_is_removed_before_the_cut(form, offset):
    """Also where a part of it would be left: no six characters of it in a row are in the error."""
    redaction.add(SECRET)
    shown = encodings(SECRET)[form]
    error = error_from(Request("GET", "x"), response(400, "-" * offset + f" {shown} " + "-" * 900))
    inner = shown.strip("\"'")[8:-8]
    assert not any(inner[at : at + 6] in words_of(error) for at in range(len(inner) - 5))
    assert "---" in words_of(error), "what is not secret is still there"


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer {}",
        "{{'x-kal-authorization': 'Bearer {}'}}",
        '{{"access_token": "{}"}}',
        '{{\\"client_secret\\": \\"{}\\"}}',
        "Authorization: X-API-Key: {}",
        "grant_type=password&password={}&x=1",
        "X-Amz-Security-Token: {}",
        "see https://files.example.com/a/b?X-Amz-Signature={}&x=1",
        "https://me:{}@proxy.example.com/",
        "not found: https://files.example.com/{}/part?sig=1",
    ],
)
def test_secrets_that_this_process_never_saw(text):
    """A service repeats the token of the worker that submitted the job, in the process that resumes."""
    unknown = "Tk9-unknown-4711"
    assert unknown not in str(UnexpectedResponse(text.format(unknown)))


@pytest.mark.parametrize(
    "text",
    [
        "check Client secret (password) in the connection",
        "the token endpoint returned 401: invalid_client",
        "password: must not be empty; token: is missing",
        "Basic validation of the row failed: see https://docs.example.com/imports/rows",
        "GET imports/3f2b8c1e-7a64-4c0e-9d3b-5e1f2a3b4c5d returned 404",
    ],
)
def test_other_words_stay(text):
    """A message still says what is wrong."""
    redaction.add("abc12")
    assert str(UnexpectedResponse(text)) == text


def test_a_short_secret_is_not_looked_for_inside_of_words():
    """Else a header "prod1" would be cut out of "prod12"."""
    redaction.add("prod1")
    assert str(UnexpectedResponse("prod1, prod12, xprod1")) == "***, prod12, xprod1"


def echo(request):
    """Issues a token; returns everything else as it came, in body, headers and reason."""
    if "oauth" in request.target:
        return Answer(200, TOKEN_REQUEST)
    everything = {"target": request.target, **dict(request.headers)}
    encoded = b64encode(json.dumps(everything).encode()).decode()
    return Answer(
        500, {"message": f"{everything} {encoded}", "code": str(everything)}, (("X-Request-Id", str(everything)),)
    )


@pytest.mark.parametrize("client", ["worker", "triggerer"])
def test_an_echo(client, log):
    """The token and the connection's headers, as they are and in Base64."""
    with serve(echo) as service:
        words = outcome(client, client_options(fields_to(service.url)), push_by_field_name(["s"], [{"s": "H"}]))
    assert "***" in words
    no_canary_in(words + log.text)
    sent = json.dumps(dict.fromkeys(("a", "bb", "ccc"), f"Bearer {CANARIES['token']}"))
    assert not any(form in words for form in redaction.forms_of(CANARIES["token"])), sent


@pytest.mark.parametrize("client", ["worker", "triggerer"])
@pytest.mark.parametrize("status", [200, 202])
def test_an_echo_instead_of_a_job(client, status, log):
    """A response whose status is a success, and whose beginning an error shows."""

    def answer(request):
        echoed = echo(request)
        return echoed if "oauth" in request.target else Answer(status, echoed.body)

    with serve(answer) as service:
        words = outcome(client, client_options(fields_to(service.url)), get_import("i"))
    assert "***" in words
    no_canary_in(words + log.text)


def test_graphql_errors():
    """They have status 200, and a reader of their own."""
    redaction.add("canary-api-key")
    message = "x" * 490 + "canary-api-key"
    body = {"errors": [{"message": message, "extensions": {"code": "canary-api-key"}, "path": ["canary-api-key"]}]}
    assert "canary-" not in words_of(graphql_error_from(Request("POST", "x"), response(200, body)))


def test_the_status_of_a_job():
    """Its words go into logs, XComs, events and the record."""
    redaction.add("canary-api-key")
    job = Job(
        "i",
        JobState.FAILED,
        "failed canary-api-key",
        "sent canary-api-key to https://h/x?sig=1",
        rejections=(Rejection("1", "canary-api-key", "canary-api-key", "canary-api-key"),),
    )
    assert "canary" not in str(without_secrets(job)) + str(without_secrets(job).rejections)
    assert without_secrets(job).message == "sent *** to https://h/***"


def test_links_of_the_service(log):
    """HTTP libraries log the URLs that they request: neither path nor query of another host's link is shown."""
    link = "http://127.0.0.1:9/results/canary-path-of-a-link/part?sig=canary-signature-of-a-link"
    logger = logging.getLogger("httpx")
    redaction.add_link(link)
    logger.info('HTTP Request: %s %s "%s"', "GET", link, "HTTP/1.1 200 OK")
    assert "canary" not in log.text
    assert "canary" not in str(SluiceError("failed: /results/canary-path-of-a-link/part"))


def test_secrets_are_bounded(monkeypatch):
    """A triggerer gets a token an hour from each service, for months."""
    monkeypatch.setattr(redaction, "MAX_SECRETS", 10)
    redactor = redaction.Redactor()
    for number in range(100):
        redactor.add(f"token-{number:04}")
    assert redactor.redact_known("token-0001 token-0099") == "token-0001 ***"


def test_values():
    """Strings at any depth; other values stay."""
    redaction.add("canary-api-key")
    assert redaction.redact_value({"a": ["canary-api-key", 1, None, ("x",)]}) == {"a": ["***", 1, None, ["x"]]}


def test_a_form_of_two_secrets_outlives_one_of_them(monkeypatch):
    """The oldest secret is forgotten; what the next one has in common with it is still removed."""
    monkeypatch.setattr(redaction, "MAX_SECRETS", 2)
    known = redaction.Redactor()
    for secret in ("a b/c d", "a%20b%2Fc%20d", "another-one"):  # the second is a form of the first
        known.add(secret)
    assert known.redact_known("a b/c d, a%20b%2Fc%20d, another-one") == "***, ***, ***"
    known.add("one-more-secret")
    assert known.redact_known("a b/c d, a%20b%2Fc%20d, another-one") == "a b/c d, a%20b%2Fc%20d, ***"


def test_the_longest_form_is_removed_and_short_ones_only_as_words():
    """A secret that begins like another one leaves nothing of it."""
    known = redaction.Redactor()
    for secret in ("secret-1", "secret-1-and-more", "12345"):
        known.add(secret)
    assert (
        known.redact_known("secret-1-and-more secret-1! x12345 12345, 123456 12345")
        == "*** ***! x12345 ***, 123456 ***"
    )
