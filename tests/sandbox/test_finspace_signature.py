"""The sandbox's check of signatures, against AWS's published example and against botocore's signer."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone

import httpx
import pytest

from sluice_sandbox.finspace.signature import Key, SignatureError, SignedRequest, verify
from tests.sandbox.signed import sign

KEY = Key("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
AT = datetime(2015, 8, 30, 12, 36, tzinfo=timezone.utc).timestamp()


def example(**changes):
    """AWS's own example `get-vanilla`, or one that differs from it."""
    header = (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        "SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
    )
    headers = {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z", "authorization": header}
    headers.update(changes.pop("headers", {}))
    return SignedRequest(**{"method": "GET", "path": "/", "query": "", "headers": headers, "body": b"", **changes})


def error_type_of(request, now=AT, key=KEY):
    """None, or the error type."""
    try:
        verify(request, lambda name, _token: key if name == KEY.access_key else None, "us-east-1", "service", now)
    except SignatureError as error:
        return error.error_type
    return None


def test_the_published_example():
    """The signature that AWS's documentation computes is the one that is computed here."""
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
def test_anything_else_is_refused(changes, now, kind):
    """Whatever was changed after signing, and whatever is too old or too early."""
    assert error_type_of(example(**changes), now) == kind


def test_keys():
    """Wrong secret, unknown key, session that ended."""
    assert error_type_of(example(), key=KEY._replace(secret_key="other")) == "InvalidSignatureException"
    assert error_type_of(example(), key=None) == "UnrecognizedClientException"
    assert error_type_of(example(), key=KEY._replace(expired=True)) == "ExpiredTokenException"


# --- over HTTP


def told(request):
    """Status and error type."""
    answer = httpx.request(**request)
    return answer.status_code, answer.headers.get("x-amzn-errortype")


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
    """403, and each its error type."""
    assert told(sign(sluice_sandbox)) == (200, None)
    assert told(sign(sluice_sandbox, **keys)) == (403, kind)


def test_a_skewed_clock(sluice_sandbox):
    """The client's is wrong, or the remote's: five minutes are the limit, in real time whatever a test's clock says."""
    sluice_sandbox.advance(100_000)
    assert told(sign(sluice_sandbox)) == (200, None)
    old = datetime.fromtimestamp(time.time() - 360, timezone.utc)
    assert told(sign(sluice_sandbox, moment=old)) == (403, "InvalidSignatureException")
    sluice_sandbox.settings(signature_clock_skew=360)
    assert told(sign(sluice_sandbox)) == (403, "InvalidSignatureException")


def test_a_tampered_body(sluice_sandbox):
    """Signed was another one."""
    body = json.dumps({"databaseName": "db0", "clientToken": "t"}).encode()
    path = f"kx/environments/{sluice_sandbox.state()['finspace']['environment_id']}/databases"
    request = sign(sluice_sandbox, "POST", path, body)
    assert told({**request, "content": body.replace(b"db0", b"db1")}) == (403, "InvalidSignatureException")
    assert told(request) == (200, None)


def test_a_query_is_decoded_as_the_service_does(sluice_sandbox):
    """A space that was signed as %20 may not arrive as a plus that was signed as a plus."""
    assert told(sign(sluice_sandbox, path="kx/environments?maxResults=5&nextToken=a%20b"))[0] == 400
    plus = sign(sluice_sandbox, path="kx/environments?maxResults=5&nextToken=a+b")
    assert told(plus) == (403, "InvalidSignatureException")


def test_a_session_ends(sluice_sandbox):
    """A session token is good as long as `token_lifetime` says."""
    session = sluice_sandbox.state()["finspace"]["session"]
    keys = {**session, "token": f"{session['token']}{int(time.time())}"}
    assert told(sign(sluice_sandbox, **keys)) == (200, None)
    sluice_sandbox.advance(3600)
    assert told(sign(sluice_sandbox, **keys)) == (403, "ExpiredTokenException")


def test_the_log_of_requests_shows_no_signature(sluice_sandbox):
    """Authorization and session tokens are cut, client tokens are not secret."""
    session = sluice_sandbox.state()["finspace"]["session"]
    told(sign(sluice_sandbox, **{**session, "token": f"{session['token']}{int(time.time())}"}))
    [seen] = sluice_sandbox.requests()
    assert seen["headers"]["authorization"] == seen["headers"]["x-amz-security-token"] == "***"
