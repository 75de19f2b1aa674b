"""Verification of signatures, with AWS's published example and botocore's signer."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone

import httpx
import pytest

from sluice_sandbox.finspace.signature import Key, SignatureError, SignedRequest, verify
from tests.sandbox.sigv4_client import sign

KEY = Key("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
AT = datetime(2015, 8, 30, 12, 36, tzinfo=timezone.utc).timestamp()


def example(**changes):
    """AWS's example `get-vanilla`, with changes."""
    header = (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        "SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
    )
    headers = {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z", "authorization": header}
    headers.update(changes.pop("headers", {}))
    return SignedRequest(**{"method": "GET", "path": "/", "query": "", "headers": headers, "body": b"", **changes})


def error_type_of(request, now=AT, key=KEY):
    """The error type, or None if the signature is valid."""
    try:
        verify(request, lambda name, _token: key if name == KEY.access_key else None, "us-east-1", "service", now)
    except SignatureError as error:
        return error.error_type
    return None


def test_the_published_example():
    """The signature in AWS's documentation is accepted."""
    assert error_type_of(example()) is None


@pytest.mark.parametrize(
    ("changes", "now", "kind"),
    [
        ({"method": "POST"}, AT, "InvalidSignatureException"),
        ({"path": "/other"}, AT, "InvalidSignatureException"),
        ({"query": "a=b"}, AT, "InvalidSignatureException"),
        ({"body": b"x"}, AT, "InvalidSignatureException"),
        ({"headers": {"host": "elsewhere"}}, AT, "InvalidSignatureException"),
        ({"headers": {"x-amz-target": "unsigned"}}, AT, "InvalidSignatureException"),
        ({"headers": {"content-type": "unsigned"}}, AT, "InvalidSignatureException"),
        ({"headers": {"x-amz-date": "20150831T123600Z"}}, AT + 86400, "InvalidSignatureException"),
        ({"headers": {"x-amz-date": "yesterday"}}, AT, "IncompleteSignatureException"),
        ({"headers": {"authorization": ""}}, AT, "MissingAuthenticationTokenException"),
        ({"headers": {"authorization": "Bearer x"}}, AT, "IncompleteSignatureException"),
        ({}, AT + 301, "InvalidSignatureException"),
        ({}, AT - 301, "InvalidSignatureException"),
        ({}, AT + 299, None),
    ],
)
def test_invalid_signatures(changes, now, kind):
    """Requests that were changed after signing, are too old or too early."""
    assert error_type_of(example(**changes), now) == kind


def test_keys():
    """Wrong secret, unknown key, expired session."""
    assert error_type_of(example(), key=KEY._replace(secret_key="other")) == "InvalidSignatureException"
    assert error_type_of(example(), key=None) == "UnrecognizedClientException"
    assert error_type_of(example(), key=KEY._replace(expired=True)) == "ExpiredTokenException"


# --- over HTTP


def status_and_type(request):
    """Status and error type."""
    response = httpx.request(**request)
    return response.status_code, response.headers.get("x-amzn-errortype")


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        ({"secret_key": "wrong"}, "InvalidSignatureException"),
        ({"access_key": "AKIAUNKNOWN"}, "UnrecognizedClientException"),
        ({"region": "us-east-1"}, "InvalidSignatureException"),
        ({"service": "s3"}, "InvalidSignatureException"),
        ({"token": "not-a-session"}, "UnrecognizedClientException"),
    ],
)
def test_wrong_keys(sluice_sandbox, keys, kind):
    """403, each with its error type."""
    assert status_and_type(sign(sluice_sandbox)) == (200, None)
    assert status_and_type(sign(sluice_sandbox, **keys)) == (403, kind)


def test_clock_skew(sluice_sandbox):
    """The client's or the service's clock is wrong: the limit is five minutes of real time."""
    sluice_sandbox.advance(100_000)
    assert status_and_type(sign(sluice_sandbox)) == (200, None)
    old = datetime.fromtimestamp(time.time() - 360, timezone.utc)
    assert status_and_type(sign(sluice_sandbox, moment=old)) == (403, "InvalidSignatureException")
    sluice_sandbox.settings(signature_clock_skew=360)
    assert status_and_type(sign(sluice_sandbox)) == (403, "InvalidSignatureException")


def test_a_tampered_body(sluice_sandbox):
    """The body differs from the signed one."""
    body = json.dumps({"databaseName": "db0", "clientToken": "t"}).encode()
    path = f"kx/environments/{sluice_sandbox.state()['finspace']['environment_id']}/databases"
    request = sign(sluice_sandbox, "POST", path, body)
    assert status_and_type({**request, "content": body.replace(b"db0", b"db1")}) == (403, "InvalidSignatureException")
    assert status_and_type(request) == (200, None)


def test_a_query_is_decoded_as_the_service_does(sluice_sandbox):
    """A space signed as %20 is accepted; a plus signed as a plus is not."""
    assert status_and_type(sign(sluice_sandbox, path="kx/environments?maxResults=5&nextToken=a%20b"))[0] == 400
    plus = sign(sluice_sandbox, path="kx/environments?maxResults=5&nextToken=a+b")
    assert status_and_type(plus) == (403, "InvalidSignatureException")


def test_a_session_token_expires(sluice_sandbox):
    """A session token is valid for `token_lifetime`."""
    session = sluice_sandbox.state()["finspace"]["session"]
    keys = {**session, "token": f"{session['token']}{int(time.time())}"}
    assert status_and_type(sign(sluice_sandbox, **keys)) == (200, None)
    sluice_sandbox.advance(3600)
    assert status_and_type(sign(sluice_sandbox, **keys)) == (403, "ExpiredTokenException")


def test_signatures_are_masked_in_the_request_log(sluice_sandbox):
    """Authorization and session token are masked; the client token is not secret."""
    session = sluice_sandbox.state()["finspace"]["session"]
    status_and_type(sign(sluice_sandbox, **{**session, "token": f"{session['token']}{int(time.time())}"}))
    [seen] = sluice_sandbox.requests()
    assert seen["headers"]["authorization"] == seen["headers"]["x-amz-security-token"] == "***"
