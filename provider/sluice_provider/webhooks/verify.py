"""Authentication of webhook deliveries, the same for all senders.

Two formats. `standard`: Standard Webhooks (https://www.standardwebhooks.com), a signature over an id, a timestamp and
the body, which is useless to anybody who reads it later. `plain`: a header holds the shared secret itself, for senders
that can only be configured with a header. `check_headers` checks what the headers alone can prove, so the body of a
sender that cannot be authentic is never read; `verify` checks everything.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import NamedTuple

from sluice_provider.errors import AuthenticationFailed, InvalidConnection

STANDARD = "standard"
PLAIN = "plain"
FORMATS = (STANDARD, PLAIN)

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"
SECRET_HEADER = "x-sluice-secret"  # noqa: S105 - a header name

SECRET_PREFIX = "whsec_"  # noqa: S105
SIGNATURE_VERSION = "v1"
"""HMAC-SHA256. Others (`v1a`, with public keys) may stand beside it and are not looked at."""

MAX_CLOCK_SKEW = 300.0
"""Seconds that a signature is valid for, in both directions: clocks differ, and deliveries are queued."""

MIN_KEY_BYTES = 24
"""Of a signing key, as the specification requires."""

MIN_SECRET_LENGTH = 16
"""Characters of a plain secret. A shorter one can be guessed by trying."""

MAX_ID_LENGTH = 256

GENERATE_KEY = "python -c 'import base64, os; print(\"whsec_\" + base64.b64encode(os.urandom(32)).decode())'"


class WebhookSecret(NamedTuple):
    """The secret shared with a sender, and how the sender proves that it has it. `repr` does not show the secret.

    :param secret: the key that signs, decoded, or the bytes that the plain format's header holds
    :param format: one of `FORMATS`
    :param header: name of the plain format's header, in lower case
    """

    secret: bytes
    format: str = STANDARD
    header: str = SECRET_HEADER

    def __repr__(self) -> str:
        return f"WebhookSecret(format={self.format!r}, header={self.header!r})"

    @classmethod
    def validated(cls, conn_id: str, secret: str, format: str = "", header: str = "") -> WebhookSecret:  # noqa: A002
        """
        :param format: "" for `STANDARD`
        :param header: "" for `SECRET_HEADER`
        :raises InvalidConnection: the secret is malformed or too weak, or the format is unknown
        """
        problem = _problem(secret, format or STANDARD, header)
        if problem:
            raise InvalidConnection(f"connection {conn_id!r}: {problem}")
        if format == PLAIN:
            return cls(secret.encode(), PLAIN, header.lower() or SECRET_HEADER)
        return cls(_key_of(secret))


def _problem(secret: str, format: str, header: str) -> str:  # noqa: A002
    """What is wrong with a configuration, without the secret; "" if nothing is."""
    if format not in FORMATS:
        return f"webhook_format must be one of {', '.join(FORMATS)}, or empty for {STANDARD}"
    if format == STANDARD and header:
        return f"webhook_header is used with webhook_format {PLAIN!r} only; leave it empty"
    if format == STANDARD and len(_key_of(secret)) < MIN_KEY_BYTES:
        return (
            f"webhook_secret must be {SECRET_PREFIX} and at least {MIN_KEY_BYTES} bytes in base64, as Standard "
            f"Webhooks wants it; copy it from the sender, or generate one with: {GENERATE_KEY}"
        )
    if format == PLAIN and (len(secret) < MIN_SECRET_LENGTH or not secret.isascii() or not secret.isprintable()):
        return (
            f"webhook_secret must be at least {MIN_SECRET_LENGTH} printable ASCII characters; generate one with: "
            "python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    return ""


def _key_of(secret: str) -> bytes:
    """The key in a secret of Standard Webhooks; its prefix may be missing. Empty if it is malformed."""
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return b""


def check_headers(secret: WebhookSecret, headers: Mapping[str, str], now: float) -> None:
    """Check the headers (names in lower case) before the body is read. For the plain format this is the whole check.

    :param now: Unix time in seconds
    :raises AuthenticationFailed: with the reason, without the secret
    """
    if secret.format == PLAIN:
        given = headers.get(secret.header)
        if given is None:
            raise AuthenticationFailed(f"missing header {secret.header}")
        if not hmac.compare_digest(given.encode(), secret.secret):
            raise AuthenticationFailed(f"wrong secret in header {secret.header}")
        return
    if missing := [name for name in (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER) if not headers.get(name)]:
        raise AuthenticationFailed(f"missing header {', '.join(missing)}: not signed as Standard Webhooks")
    if len(headers[ID_HEADER]) > MAX_ID_LENGTH:
        raise AuthenticationFailed(f"header {ID_HEADER} is longer than {MAX_ID_LENGTH} characters")
    _check_timestamp(headers[TIMESTAMP_HEADER], now)
    if not _signatures(headers):
        raise AuthenticationFailed(f"header {SIGNATURE_HEADER} has no signature of version {SIGNATURE_VERSION}")


def verify(secret: WebhookSecret, headers: Mapping[str, str], body: bytes, now: float) -> None:
    """Check everything. One valid signature of several is enough: a sender that changes its secret signs with both.

    :param now: Unix time in seconds
    :raises AuthenticationFailed: with the reason, without the secret
    """
    check_headers(secret, headers, now)
    if secret.format == PLAIN:
        return
    # Computed once: an unauthenticated sender may send a thousand signatures to compare with.
    expected = sign(secret.secret, headers[ID_HEADER], headers[TIMESTAMP_HEADER], body).encode()
    if not any(hmac.compare_digest(each.encode(), expected) for each in _signatures(headers)):
        raise AuthenticationFailed(f"wrong signature in header {SIGNATURE_HEADER}")


def sign(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """`v1,` and, in base64, the HMAC-SHA256 of the id, the timestamp and the raw body, with dots between them."""
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"{SIGNATURE_VERSION},{base64.b64encode(digest).decode()}"


def _signatures(headers: Mapping[str, str]) -> list[str]:
    return [each for each in headers[SIGNATURE_HEADER].split() if each.startswith(f"{SIGNATURE_VERSION},")]


def _check_timestamp(text: str, now: float) -> None:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(2**63))):
        raise AuthenticationFailed(f"header {TIMESTAMP_HEADER} must be Unix time in whole seconds")
    if abs(now - int(text)) > MAX_CLOCK_SKEW:
        raise AuthenticationFailed(
            f"header {TIMESTAMP_HEADER} is more than {MAX_CLOCK_SKEW:.0f} s off: replayed delivery, or a wrong clock"
        )
