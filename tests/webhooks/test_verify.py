"""Authentication of webhooks: signed as Standard Webhooks, or by the secret in a header."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from sluice_provider.errors import AuthenticationFailed, InvalidConnection
from sluice_provider.webhooks.verify import MAX_CLOCK_SKEW, WebhookSecret, check_headers, sign, verify

KEY = b"a key of twenty-four byt"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
PLAIN_SECRET = "rather-a-long-secret"
BODY = b'{"event": "registration_submitted"}'
NOW = 1_795_000_000.0


def signed_headers(body=BODY, key=KEY, at=NOW, message_id="msg_1"):
    """Headers of a signed delivery, made as the specification says, and not by the code under test."""
    timestamp = str(int(at))
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": message_id, "webhook-timestamp": timestamp, "webhook-signature": signature}


def standard(secret=SECRET):
    """The receiver's configuration for Standard Webhooks."""
    return WebhookSecret.validated("k", secret)


def plain(header=""):
    """The receiver's configuration for a secret in a header."""
    return WebhookSecret.validated("k", PLAIN_SECRET, "plain", header)


def is_accepted(secret, headers, body=BODY, now=NOW):
    """Whether a delivery is authenticated."""
    try:
        verify(secret, headers, body, now)
    except AuthenticationFailed:
        return False
    return True


def test_the_example_of_the_reference_libraries_is_accepted():
    """The vector that the libraries of Standard Webhooks test with; its secret has the prefix or not."""
    signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": signature,
    }
    for secret in ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"):
        assert is_accepted(standard(secret), headers, b'{"test": 2432232314}', 1614265330.0)
        assert not is_accepted(standard(secret), headers, b'{"test": 2432232315}', 1614265330.0)
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert sign(key, headers["webhook-id"], "1614265330", b'{"test": 2432232314}') == signature


def test_a_signature_is_accepted_for_its_message_only():
    """It covers the id, the timestamp and the raw body, which need not be text."""
    assert is_accepted(standard(), signed_headers())
    assert is_accepted(standard(), signed_headers(b"\xff\x00"), b"\xff\x00")
    assert not is_accepted(standard(), signed_headers(), BODY + b"\n")
    assert not is_accepted(standard(), {**signed_headers(), "webhook-id": "msg_2"})
    assert not is_accepted(standard(), {**signed_headers(), "webhook-timestamp": str(int(NOW) + 1)})


def test_one_of_several_signatures_is_enough():
    """A sender that changes its secret signs with both; signatures of other versions stand beside it."""
    old, new = signed_headers(key=b"x" * 24), signed_headers()
    signatures = f"v1a,abc {old['webhook-signature']} {new['webhook-signature']}"
    assert is_accepted(standard(), {**new, "webhook-signature": signatures})
    wrong = f"v1a,abc {old['webhook-signature']} v1,AAAA"
    assert not is_accepted(standard(), {**new, "webhook-signature": wrong})
    of_another_version = new["webhook-signature"].replace("v1,", "v1a,")
    assert not is_accepted(standard(), {**new, "webhook-signature": of_another_version})


def test_a_plain_secret_is_accepted():
    """In its header, whatever the body is; another value is not. A sender may use its own name for the header."""
    assert is_accepted(plain(), {"x-sluice-secret": PLAIN_SECRET})
    assert is_accepted(plain(), {"x-sluice-secret": PLAIN_SECRET}, b"any other body")
    assert not is_accepted(plain(), {"x-sluice-secret": PLAIN_SECRET.upper()})
    assert is_accepted(plain("Authorization"), {"authorization": PLAIN_SECRET})
    assert not is_accepted(plain("Authorization"), {"x-sluice-secret": PLAIN_SECRET})


def test_a_format_does_not_accept_the_other():
    """A connection that expects signatures is not opened by the secret itself, nor the other way round."""
    assert not is_accepted(standard(), {"x-sluice-secret": SECRET})
    assert not is_accepted(plain(), signed_headers(key=PLAIN_SECRET.encode()))


def without(name):
    """A signed delivery's headers without this one."""
    return {each: value for each, value in signed_headers().items() if each != name}


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "missing header webhook-id, webhook-timestamp, webhook-signature"),
        (without("webhook-id"), "missing header webhook-id"),
        (without("webhook-timestamp"), "missing header webhook-timestamp"),
        (without("webhook-signature"), "missing header webhook-signature"),
        ({**signed_headers(), "webhook-signature": ""}, "missing header webhook-signature"),
        ({**signed_headers(), "webhook-signature": "v1"}, "no signature of version v1"),
        ({**signed_headers(), "webhook-signature": "v2,abc v1a,abc"}, "no signature of version v1"),
        ({**signed_headers(), "webhook-signature": "v1,a,b"}, "wrong signature in header webhook-signature"),
        ({**signed_headers(), "webhook-signature": "v1,p\xe4ssword-in-latin-1"}, "wrong signature"),
        (signed_headers(key=b"another key of 24 bytes."), "wrong signature"),
        (signed_headers(body=BODY + b" "), "wrong signature"),
        (signed_headers(message_id="x" * 257), "longer than 256 characters"),
        ({**signed_headers(), "webhook-timestamp": "²"}, "timestamp must be Unix time"),
        ({**signed_headers(), "webhook-timestamp": "9" * 5000}, "timestamp must be Unix time"),
        ({**signed_headers(), "webhook-timestamp": "-1"}, "timestamp must be Unix time"),
        ({**signed_headers(), "webhook-timestamp": f"{NOW}"}, "timestamp must be Unix time"),
        (signed_headers(at=NOW - MAX_CLOCK_SKEW - 1), "replayed delivery"),
        (signed_headers(at=NOW + MAX_CLOCK_SKEW + 1), "replayed delivery"),
    ],
)
def test_unsigned_deliveries_are_rejected(headers, message):
    """With the reason, and without the secret."""
    with pytest.raises(AuthenticationFailed, match=message) as caught:
        verify(standard(), headers, BODY, NOW)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "missing header x-sluice-secret"),
        ({"x-sluice-secret": PLAIN_SECRET[:-1]}, "wrong secret in header x-sluice-secret"),
        ({"x-sluice-secret": PLAIN_SECRET + "x"}, "wrong secret"),
        ({"x-sluice-secret": "pässword-in-latin-1"}, "wrong secret"),
        ({"x-sluice-secret": ""}, "wrong secret"),
    ],
)
def test_wrong_plain_secrets_are_rejected(headers, message):
    """With the reason, and without the secret."""
    with pytest.raises(AuthenticationFailed, match=message) as caught:
        verify(plain(), headers, BODY, NOW)
    assert PLAIN_SECRET not in str(caught.value)


def test_headers_are_rejected_before_the_body_is_read():
    """So a sender that cannot be authentic does not make the server read anything."""
    for headers in ({}, signed_headers(at=NOW - 3600), {**signed_headers(), "webhook-signature": "v1a,x"}):
        with pytest.raises(AuthenticationFailed):
            check_headers(standard(), headers, NOW)
    with pytest.raises(AuthenticationFailed):
        check_headers(plain(), {"x-sluice-secret": "no"}, NOW)


@pytest.mark.parametrize(
    ("secret", "format", "header", "message"),
    [
        ("short", "plain", "", "16 printable"),
        ("with a line break\nin it", "plain", "", "16 printable"),
        ("ünïcödé is not for headers", "plain", "", "16 printable"),
        (PLAIN_SECRET, "", "", "24 bytes in base64.*generate one with"),
        ("whsec_" + base64.b64encode(KEY[:-1]).decode(), "standard", "", "24 bytes in base64"),
        (SECRET + "!", "standard", "", "24 bytes in base64"),
        ("ünïcödé " * 9, "standard", "", "24 bytes in base64"),
        (SECRET, "rsa", "", "webhook_format must be one of standard, plain"),
        (SECRET, "", "X-Other", "webhook_header is used with webhook_format 'plain' only"),
    ],
)
def test_invalid_configuration_is_explained(secret, format, header, message):  # noqa: A002
    """Without showing the secret."""
    with pytest.raises(InvalidConnection, match=message) as caught:
        WebhookSecret.validated("kaleidoscope_default", secret, format, header)
    assert secret not in str(caught.value)


def test_repr_does_not_show_the_secret():
    """Nor does a signature contain it."""
    assert PLAIN_SECRET not in repr(plain())
    assert KEY.decode() not in repr(standard())
    assert SECRET not in repr(standard())


def test_many_signatures_cost_one_digest(monkeypatch):
    """A header with a thousand wrong signatures makes the receiver hash the body once."""
    digests = []
    digest = hmac.new
    monkeypatch.setattr(hmac, "new", lambda *args: digests.append(args) or digest(*args))
    headers = {"webhook-id": "m", "webhook-timestamp": str(int(NOW)), "webhook-signature": "v1,00 " * 1000}
    with pytest.raises(AuthenticationFailed):
        verify(standard(), headers, b"x" * 1024 * 1024, NOW)
    assert len(digests) == 1
