"""Authentication of webhooks: the secret in a header, or a signature over a timestamp and the body."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from sluice_provider.errors import AuthenticationFailed, InvalidConnection
from sluice_provider.webhooks.verify import MAX_CLOCK_SKEW, WebhookSecret, check_headers, signature, verify

SECRET = "rather-a-long-secret"
BODY = b'{"event": "registration_submitted"}'
NOW = 1_795_000_000.0


def signed_headers(body=BODY, secret=SECRET, at=NOW):
    """Headers of a signed delivery, made as the documentation says, and not by the code under test."""
    timestamp = str(int(at))
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"x-sluice-timestamp": timestamp, "x-sluice-signature": f"v1={digest}"}


def webhook_secret(signing="", header=""):
    """The receiver's configuration."""
    return WebhookSecret.validated("k", SECRET, signing, header)


def is_accepted(secret, headers, body=BODY):
    """Whether a delivery is authenticated."""
    try:
        verify(secret, headers, body, NOW)
    except AuthenticationFailed:
        return False
    return True


@pytest.mark.parametrize("signing", ["", "plain"])
def test_shared_secret_is_accepted(signing):
    """In its header, whatever the body is; another value is not."""
    assert is_accepted(webhook_secret(signing), {"x-sluice-secret": SECRET})
    assert is_accepted(webhook_secret(signing), {"x-sluice-secret": SECRET}, b"any other body")
    assert not is_accepted(webhook_secret(signing), {"x-sluice-secret": SECRET.upper()})


@pytest.mark.parametrize("signing", ["", "hmac"])
def test_signature_is_accepted(signing):
    """Over the timestamp and the raw body; not for another body."""
    assert is_accepted(webhook_secret(signing), signed_headers())
    assert not is_accepted(webhook_secret(signing), signed_headers(), BODY + b"\n")


def test_custom_header_names_are_accepted():
    """A sender may use its own name for the header. Then the default header does not count."""
    plain = webhook_secret("plain", "Authorization")
    assert is_accepted(plain, {"authorization": SECRET})
    assert not is_accepted(plain, {"x-sluice-secret": SECRET})
    headers = signed_headers()
    hmac_secret = webhook_secret("hmac", "X-Hub-Signature")
    assert not is_accepted(hmac_secret, headers)
    headers["x-hub-signature"] = headers.pop("x-sluice-signature")
    assert is_accepted(hmac_secret, headers)


def test_one_of_several_signatures_is_enough():
    """A sender that rotates its secret signs with both."""
    headers = signed_headers()
    headers["x-sluice-signature"] = "v1=0000, " + headers["x-sluice-signature"]
    assert is_accepted(webhook_secret(), headers)
    headers["x-sluice-signature"] = "v1=0000, v1=1111"
    assert not is_accepted(webhook_secret(), headers)


@pytest.mark.parametrize(
    ("signing", "headers", "message"),
    [
        ("", {}, "missing header: neither x-sluice-secret nor x-sluice-signature"),
        ("", {"x-sluice-secret": SECRET[:-1]}, "wrong secret in header x-sluice-secret"),
        ("", {"x-sluice-secret": SECRET + "x"}, "wrong secret"),
        ("", {"x-sluice-secret": "pässword-in-latin-1"}, "wrong secret"),
        ("", {"x-sluice-secret": ""}, "wrong secret"),
        ("", signed_headers(secret="another-secret-as-long"), "wrong signature in header x-sluice-signature"),
        ("", signed_headers(body=BODY + b" "), "wrong signature"),
        ("", {**signed_headers(), "x-sluice-timestamp": str(int(NOW) + 1)}, "wrong signature"),
        ("", {**signed_headers(), "x-sluice-signature": signed_headers()["x-sluice-signature"][3:]}, "wrong signature"),
        ("", {**signed_headers(), "x-sluice-signature": ""}, "wrong signature"),
        ("", {"x-sluice-signature": signed_headers()["x-sluice-signature"]}, "timestamp must be Unix time"),
        ("", {**signed_headers(), "x-sluice-timestamp": "²"}, "timestamp must be Unix time"),
        ("", {**signed_headers(), "x-sluice-timestamp": "9" * 5000}, "timestamp must be Unix time"),
        ("", {**signed_headers(), "x-sluice-timestamp": "-1"}, "timestamp must be Unix time"),
        ("", signed_headers(at=NOW - MAX_CLOCK_SKEW - 1), "replayed delivery"),
        ("", signed_headers(at=NOW + MAX_CLOCK_SKEW + 1), "replayed delivery"),
        ("hmac", {"x-sluice-secret": SECRET}, "missing signature: no header x-sluice-signature"),
        ("plain", signed_headers(), "missing header x-sluice-secret"),
    ],
)
def test_invalid_deliveries_are_rejected(signing, headers, message):
    """With the reason, and without the secret."""
    with pytest.raises(AuthenticationFailed, match=message) as caught:
        verify(webhook_secret(signing), headers, BODY, NOW)
    assert SECRET not in str(caught.value)


def test_headers_are_rejected_before_the_body_is_read():
    """So an unauthenticated sender cannot make the server read anything."""
    for headers in ({}, signed_headers(at=NOW - 3600), {"x-sluice-secret": "no"}):
        with pytest.raises(AuthenticationFailed):
            check_headers(webhook_secret(), headers, NOW)


@pytest.mark.parametrize(
    ("secret", "signing", "header", "message"),
    [
        ("short", "", "", "16 printable"),
        ("with a line break\nin it", "", "", "16 printable"),
        ("ünïcödé is not for headers", "", "", "16 printable"),
        (SECRET, "rsa", "", "webhook_signing"),
        (SECRET, "", "X-Other", "webhook_header"),
    ],
)
def test_invalid_configuration_is_explained(secret, signing, header, message):
    """Without showing the secret."""
    with pytest.raises(InvalidConnection, match=message) as caught:
        WebhookSecret.validated("kaleidoscope_default", secret, signing, header)
    assert secret not in str(caught.value)


def test_repr_does_not_show_the_secret():
    """Nor does a signature contain it."""
    assert SECRET not in repr(webhook_secret())
    assert SECRET not in signature(SECRET, "1", BODY)


def test_many_signatures_cost_one_digest(monkeypatch):
    """A header with a thousand wrong signatures makes the receiver hash the body once."""
    digests = []
    digest = hmac.new
    monkeypatch.setattr(hmac, "new", lambda *args: digests.append(args) or digest(*args))
    headers = {"x-sluice-timestamp": str(int(NOW)), "x-sluice-signature": "v1=00," * 1000}
    with pytest.raises(AuthenticationFailed):
        verify(webhook_secret(), headers, b"x" * 1024 * 1024, NOW)
    assert len(digests) == 1
