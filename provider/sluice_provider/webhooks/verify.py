"""Authentication of webhook deliveries, the same for all senders.

Two methods. `plain`: a header holds the shared secret itself, for senders that can only be configured with a header.
`hmac`: a header holds a signature over a timestamp and the body, which is useless to anybody who reads it later.
`check_headers` checks what the headers alone can prove, so the body of an unauthenticated sender is never read;
`verify` checks everything.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import NamedTuple

from sluice_provider.errors import AuthenticationFailed, InvalidConnection

PLAIN = "plain"
HMAC = "hmac"

SECRET_HEADER = "x-sluice-secret"  # noqa: S105 - a header name
SIGNATURE_HEADER = "x-sluice-signature"
TIMESTAMP_HEADER = "x-sluice-timestamp"

MAX_CLOCK_SKEW = 300.0
"""Seconds that a signature is valid for, in both directions: clocks differ, and deliveries are queued."""

MIN_SECRET_LENGTH = 16
"""Characters. A shorter secret can be guessed by trying."""

SIGNATURE_PREFIX = "v1="


class WebhookSecret(NamedTuple):
    """The secret shared with a sender, and how the sender proves that it has it. `repr` does not show the secret.

    :param signing: "plain", "hmac", or "" for whichever of the two a delivery uses
    :param header: name of the header with the secret or the signature, in lower case; "" for the default header
    """

    secret: str
    signing: str = ""
    header: str = ""

    def __repr__(self) -> str:
        return f"WebhookSecret(signing={self.signing!r}, header={self.header!r})"

    @classmethod
    def validated(cls, conn_id: str, secret: str, signing: str = "", header: str = "") -> WebhookSecret:
        """:raises InvalidConnection: the secret is too weak, or the signing method is unknown"""
        if len(secret) < MIN_SECRET_LENGTH or not secret.isascii() or not secret.isprintable():
            raise InvalidConnection(
                f"connection {conn_id!r}: webhook_secret must be at least {MIN_SECRET_LENGTH} printable ASCII "
                "characters; generate one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
            )
        if signing not in ("", PLAIN, HMAC):
            raise InvalidConnection(f"connection {conn_id!r}: webhook_signing must be {PLAIN!r}, {HMAC!r} or empty")
        if header and not signing:
            raise InvalidConnection(
                f"connection {conn_id!r}: webhook_header also requires webhook_signing, {PLAIN!r} or {HMAC!r}"
            )
        return cls(secret, signing, header.lower())


def check_headers(secret: WebhookSecret, headers: Mapping[str, str], now: float) -> None:
    """Check the headers (names in lower case) before the body is read. For the plain method this is the whole check.

    :raises AuthenticationFailed: with the reason, without the secret
    """
    if _is_signed(secret, headers):
        _check_timestamp(headers, now)
        return
    header = secret.header or SECRET_HEADER
    given = headers.get(header)
    if given is None:
        raise AuthenticationFailed(
            f"missing header {header}" if secret.signing else f"missing header: neither {header} nor {SIGNATURE_HEADER}"
        )
    if not _equal(given, secret.secret):
        raise AuthenticationFailed(f"wrong secret in header {header}")


def verify(secret: WebhookSecret, headers: Mapping[str, str], body: bytes, now: float) -> None:
    """:raises AuthenticationFailed: with the reason, without the secret"""
    check_headers(secret, headers, now)
    if not _is_signed(secret, headers):
        return
    # Computed once: an unauthenticated sender may send a thousand signatures to compare with.
    expected = signature(secret.secret, headers[TIMESTAMP_HEADER], body)
    header = secret.header or SIGNATURE_HEADER
    if not any(_equal(candidate.strip(), expected) for candidate in headers[header].split(",")):
        raise AuthenticationFailed(f"wrong signature in header {header}")


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """`v1=` and the hex HMAC-SHA256 of the timestamp, a dot, and the raw body."""
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return SIGNATURE_PREFIX + digest


def _is_signed(secret: WebhookSecret, headers: Mapping[str, str]) -> bool:
    """Whether the delivery is authenticated by a signature.

    :raises AuthenticationFailed: a signature is required and there is none
    """
    if not secret.signing:
        return SIGNATURE_HEADER in headers
    header = secret.header or SIGNATURE_HEADER
    if secret.signing == HMAC and header not in headers:
        raise AuthenticationFailed(f"missing signature: no header {header}")
    return secret.signing == HMAC


def _check_timestamp(headers: Mapping[str, str], now: float) -> None:
    text = headers.get(TIMESTAMP_HEADER, "")
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(2**63))):
        raise AuthenticationFailed(f"header {TIMESTAMP_HEADER} must be Unix time in whole seconds")
    if abs(now - int(text)) > MAX_CLOCK_SKEW:
        raise AuthenticationFailed(
            f"header {TIMESTAMP_HEADER} is more than {MAX_CLOCK_SKEW:.0f} s off: replayed delivery, or a wrong clock"
        )


def _equal(given: str, expected: str) -> bool:
    """In constant time."""
    return hmac.compare_digest(given.encode(), expected.encode())
