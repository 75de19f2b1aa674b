"""Whether a delivery comes from who holds the secret: what every sender of webhooks has in common.

Two ways. Plain: a header holds the secret itself, for senders that can be given a header and nothing more. HMAC: a
header holds a signature over a timestamp and the body, which is worth nothing to whoever reads it later. `glance`
judges what the headers alone tell, so that a body from outside is not even read; `verify` judges everything.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import NamedTuple

from sluice_provider.errors import AuthenticationFailed, InvalidConnection

PLAIN = "plain"
HMAC = "hmac"

SECRET_HEADER = "x-sluice-secret"  # noqa: S105 - a name
SIGNATURE_HEADER = "x-sluice-signature"
TIMESTAMP_HEADER = "x-sluice-timestamp"

WINDOW = 300.0
"""Seconds that a signature is good for, in both directions: clocks differ, and deliveries are queued."""

SHORTEST = 16
"""Characters of a secret. A shorter one can be guessed by trying."""

VERSION = "v1="


class Seal(NamedTuple):
    """What the receiver knows of its sender. `repr` shows no secret.

    :param signing: "plain", "hmac", or "" for whichever of the two the delivery brings
    :param header: name of the header that holds the secret or the signature, in lower case; "" for ours
    """

    secret: str
    signing: str = ""
    header: str = ""

    def __repr__(self) -> str:
        return f"Seal(signing={self.signing!r}, header={self.header!r})"


def seal(conn_id: str, secret: str, signing: str = "", header: str = "") -> Seal:
    """:raises InvalidConnection: for a secret or a way of signing that cannot be used"""
    if len(secret) < SHORTEST or not secret.isascii() or not secret.isprintable():
        raise InvalidConnection(
            f"connection {conn_id!r}: webhook_secret must be {SHORTEST} printable ASCII characters or more; "
            "python -c 'import secrets; print(secrets.token_urlsafe(32))' makes a good one"
        )
    if signing not in ("", PLAIN, HMAC):
        raise InvalidConnection(f"connection {conn_id!r}: webhook_signing must be empty, {PLAIN!r} or {HMAC!r}")
    if header and not signing:
        raise InvalidConnection(f"connection {conn_id!r}: webhook_header needs webhook_signing, {PLAIN!r} or {HMAC!r}")
    return Seal(secret, signing, header.lower())


def glance(seal: Seal, headers: Mapping[str, str], now: float) -> None:
    """Judge the headers, of lower-case names, before the body is read. For a plain secret this is everything.

    :raises AuthenticationFailed: saying what is wrong, and nothing of the secret
    """
    if _signed(seal, headers):
        _check_time(headers, now)
        return
    given = headers.get(seal.header or SECRET_HEADER)
    if given is None:
        raise AuthenticationFailed("it brings neither a secret nor a signature")
    if not _same(given, seal.secret):
        raise AuthenticationFailed("its secret is wrong")


def verify(seal: Seal, headers: Mapping[str, str], body: bytes, now: float) -> None:
    """:raises AuthenticationFailed: saying what is wrong, and nothing of the secret"""
    glance(seal, headers, now)
    if not _signed(seal, headers):
        return
    right = signature(seal.secret, headers[TIMESTAMP_HEADER], body)  # once: a stranger may send a thousand to compare
    if not any(_same(one.strip(), right) for one in headers[seal.header or SIGNATURE_HEADER].split(",")):
        raise AuthenticationFailed("its signature is wrong")


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """`v1=` and the hex HMAC-SHA256 over the timestamp, a dot, and the body as it was sent."""
    return VERSION + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _signed(seal: Seal, headers: Mapping[str, str]) -> bool:
    """Whether the delivery is to be judged by a signature."""
    if seal.signing:
        if seal.signing == HMAC and (seal.header or SIGNATURE_HEADER) not in headers:
            raise AuthenticationFailed("it is not signed")
        return seal.signing == HMAC
    return SIGNATURE_HEADER in headers


def _check_time(headers: Mapping[str, str], now: float) -> None:
    text = headers.get(TIMESTAMP_HEADER, "")
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(2**63))):
        raise AuthenticationFailed("its signature has no timestamp in whole seconds since 1970")
    if abs(now - int(text)) > WINDOW:
        raise AuthenticationFailed(
            f"its timestamp is more than {WINDOW:.0f} s away from now: replayed, or a wrong clock"
        )


def _same(given: str, right: str) -> bool:
    """In a time that does not tell how much of it was right."""
    return hmac.compare_digest(given.encode(), right.encode())
