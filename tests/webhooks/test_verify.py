"""Who may deliver: the secret in a header, or a signature over a timestamp and the body."""

from __future__ import annotations

import hashlib
import hmac
import time

import pytest

from sluice_provider.errors import AuthenticationFailed, InvalidConnection
from sluice_provider.webhooks.verify import WINDOW, glance, seal, signature, verify

SECRET = "rather-a-long-secret"
BODY = b'{"event": "registration_submitted"}'
NOW = 1_795_000_000.0


def signed(body=BODY, secret=SECRET, at=NOW):
    """Headers of a delivery, signed as the documentation says, and not by the code under test."""
    timestamp = str(int(at))
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"x-sluice-timestamp": timestamp, "x-sluice-signature": f"v1={digest}"}


@pytest.mark.parametrize("signing", ["", "plain"])
def test_the_secret_itself_lets_in(signing):
    """In its header, and with nothing read of the body."""
    glance(seal("k", SECRET, signing), {"x-sluice-secret": SECRET}, NOW)
    verify(seal("k", SECRET, signing), {"x-sluice-secret": SECRET}, BODY, NOW)


@pytest.mark.parametrize("signing", ["", "hmac"])
def test_a_signature_lets_in(signing):
    """Over the timestamp and the body as they came."""
    verify(seal("k", SECRET, signing), signed(), BODY, NOW)


def test_headers_may_have_other_names():
    """A sender may have names of its own for the header."""
    verify(seal("k", SECRET, "plain", "Authorization"), {"authorization": SECRET}, BODY, NOW)
    headers = signed()
    headers["x-hub-signature"] = headers.pop("x-sluice-signature")
    verify(seal("k", SECRET, "hmac", "X-Hub-Signature"), headers, BODY, NOW)


def test_one_of_several_signatures_is_enough():
    """While a sender changes its secret it signs with both."""
    headers = signed()
    headers["x-sluice-signature"] = "v1=0000, " + headers["x-sluice-signature"]
    verify(seal("k", SECRET), headers, BODY, NOW)


@pytest.mark.parametrize(
    ("signing", "headers", "words"),
    [
        ("", {}, "neither"),
        ("", {"x-sluice-secret": SECRET[:-1]}, "wrong"),
        ("", {"x-sluice-secret": SECRET + "x"}, "wrong"),
        ("", {"x-sluice-secret": "pässword-in-latin-1"}, "wrong"),
        ("", {"x-sluice-secret": ""}, "wrong"),
        ("", signed(secret="another-secret-as-long"), "signature is wrong"),
        ("", signed(body=BODY + b" "), "signature is wrong"),
        ("", {**signed(), "x-sluice-timestamp": str(int(NOW) + 1)}, "signature is wrong"),
        ("", {**signed(), "x-sluice-signature": signed()["x-sluice-signature"][3:]}, "signature is wrong"),
        ("", {**signed(), "x-sluice-signature": ""}, "signature is wrong"),
        ("", {"x-sluice-signature": signed()["x-sluice-signature"]}, "no timestamp"),
        ("", {**signed(), "x-sluice-timestamp": "²"}, "no timestamp"),
        ("", {**signed(), "x-sluice-timestamp": "9" * 5000}, "no timestamp"),
        ("", {**signed(), "x-sluice-timestamp": "-1"}, "no timestamp"),
        ("", signed(at=NOW - WINDOW - 1), "replayed"),
        ("", signed(at=NOW + WINDOW + 1), "replayed"),
        ("hmac", {"x-sluice-secret": SECRET}, "not signed"),
        ("plain", signed(), "neither"),
    ],
)
def test_nothing_else_lets_in(signing, headers, words):
    """And what is wrong is said without the secret."""
    with pytest.raises(AuthenticationFailed, match=words) as refused:
        verify(seal("k", SECRET, signing), headers, BODY, NOW)
    assert SECRET not in str(refused.value)


def test_an_old_delivery_is_refused_before_its_body_is_read():
    """So that nobody can make us read."""
    for headers in ({}, signed(at=NOW - 3600), {"x-sluice-secret": "no"}):
        with pytest.raises(AuthenticationFailed):
            glance(seal("k", SECRET), headers, NOW)


@pytest.mark.parametrize(
    ("secret", "signing", "header", "words"),
    [
        ("short", "", "", "16 printable"),
        ("with a line break\nin it", "", "", "16 printable"),
        ("ünïcödé is not for headers", "", "", "16 printable"),
        (SECRET, "rsa", "", "webhook_signing"),
        (SECRET, "", "X-Other", "webhook_header"),
    ],
)
def test_a_connection_that_cannot_be_used_says_why(secret, signing, header, words):
    """And not what the secret is."""
    with pytest.raises(InvalidConnection, match=words) as refused:
        seal("kaleidoscope_default", secret, signing, header)
    assert secret not in str(refused.value)


def test_the_secret_is_not_shown():
    """By whatever prints the seal."""
    assert SECRET not in repr(seal("k", SECRET))
    assert SECRET not in signature(SECRET, "1", BODY)


def test_a_megabyte_is_checked_in_no_time():
    """What a stranger can make us do is little, also with a header that has a thousand signatures."""
    body = b"x" * 1024 * 1024
    headers = {"x-sluice-timestamp": str(int(NOW)), "x-sluice-signature": "v1=00," * 1000}
    started = time.monotonic()
    for _ in range(10):
        with pytest.raises(AuthenticationFailed):
            verify(seal("k", SECRET), headers, body, NOW)
    assert time.monotonic() - started < 2.0
