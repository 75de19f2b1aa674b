"""Verification of Signature Version 4: a known key, a current time, and a request that was not changed.

Written from AWS's documentation, "Create a signed AWS API request" (IAM User Guide): canonical request, string to sign,
and a key derived from date, region and service. The rules for services other than S3 apply: the path is encoded twice.
Error messages are those that AWS services are known to send.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import datetime, timezone
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote_plus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ALGORITHM = "AWS4-HMAC-SHA256"
MAX_SKEW = 300.0  # seconds that a request may be too old or too early; AWS services allow 5 to 15 minutes
_UNRESERVED = "-_.~"
_HEADER = re.compile(
    rf"{ALGORITHM} Credential=(?P<key>[^/]+)/(?P<date>\d{{8}})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, ?"
    r"SignedHeaders=(?P<names>[a-z0-9;-]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)
_STAMP = "%Y%m%dT%H%M%SZ"


class SignatureError(Exception):
    """No signature, or an invalid one: error type and message of AWS's response."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.message = message


class SignedRequest(NamedTuple):
    """A request as received, not decoded. Header names are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


class Key(NamedTuple):
    """An access key, with the session token if it is a temporary one."""

    access_key: str
    secret_key: str
    token: str = ""
    expired: bool = False


def verify(
    request: SignedRequest, find_key: Callable[[str, str], Key | None], region: str, service: str, now: float
) -> None:
    """
    :param find_key: gives the key for an access key and a session token
    :param now: the service's time in seconds since 1970
    :raises SignatureError: with the first error in the order in which AWS checks
    """
    header = request.headers.get("authorization", "")
    if not header:
        raise SignatureError("MissingAuthenticationTokenException", "Missing Authentication Token")
    parts = _HEADER.fullmatch(header)
    if parts is None:
        raise SignatureError("IncompleteSignatureException", "Authorization header is not a complete SigV4 header")
    key = find_key(parts["key"], request.headers.get("x-amz-security-token", ""))
    if key is None:
        raise SignatureError("UnrecognizedClientException", "The security token included in the request is invalid.")
    if key.expired:
        raise SignatureError("ExpiredTokenException", "The security token included in the request is expired")
    _check_scope(parts, region, service)
    names = parts["names"].split(";")
    _check_names(request.headers, names)
    stamp = request.headers.get("x-amz-date", "")
    _check_time(stamp, parts["date"], now)
    if not hmac.compare_digest(_signature(request, key, parts, names, stamp), parts["signature"]):
        raise SignatureError(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
            "Access Key and signing method. Consult the service documentation for details.",
        )


def _check_scope(parts: re.Match[str], region: str, service: str) -> None:
    for name, expected in (("region", region), ("service", service)):
        if parts[name] != expected:
            raise SignatureError("InvalidSignatureException", f"Credential should be scoped to a valid {name}.")


def _check_names(headers: Mapping[str, str], names: list[str]) -> None:
    """Host, content type (if there is one) and all X-Amz headers must be signed."""
    required = {name for name in headers if name in ("host", "content-type") or name.startswith("x-amz-")}
    missing = sorted(required - set(names))
    if missing or names != sorted(names):
        what = f"'{missing[0]}' must be" if missing else "the names of the headers must be sorted to be"
        raise SignatureError("InvalidSignatureException", f"{what} a 'SignedHeader' in the AWS Authorization.")


def _check_time(stamp: str, date: str, now: float) -> None:
    try:
        at = datetime.strptime(stamp, _STAMP).replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        raise SignatureError("IncompleteSignatureException", "X-Amz-Date must be in ISO8601 'basic format'") from None
    if not stamp.startswith(date):
        raise SignatureError("InvalidSignatureException", "Date in Credential scope does not match X-Amz-Date.")
    if at < now - MAX_SKEW:
        raise SignatureError(
            "InvalidSignatureException",
            f"Signature expired: {stamp} is now earlier than {_stamp(now - MAX_SKEW)} ({_stamp(now)} - 5 min.)",
        )
    if at > now + MAX_SKEW:
        raise SignatureError(
            "InvalidSignatureException",
            f"Signature not yet current: {stamp} is still later than {_stamp(now + MAX_SKEW)} ({_stamp(now)} + 5 min.)",
        )


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime(_STAMP)


def _signature(request: SignedRequest, key: Key, parts: re.Match[str], names: list[str], stamp: str) -> str:
    scope = [parts["date"], parts["region"], parts["service"], "aws4_request"]
    hashed = hashlib.sha256(canonical(request, names).encode()).hexdigest()
    text = "\n".join([ALGORITHM, stamp, "/".join(scope), hashed])
    return hmac.digest(_signing_key(key.secret_key, *scope), text.encode(), "sha256").hex()


@lru_cache(maxsize=64)
def _signing_key(secret_key: str, *scope: str) -> bytes:
    """Cached, as it stays the same for a day."""
    derived = f"AWS4{secret_key}".encode()
    for part in scope:
        derived = hmac.digest(derived, part.encode(), "sha256")
    return derived


def canonical(request: SignedRequest, names: list[str]) -> str:
    """The canonical request, to be hashed."""
    headers = "".join(f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in names)
    path = quote(request.path, safe=f"/{_UNRESERVED}") or "/"
    body = hashlib.sha256(request.body).hexdigest()
    return "\n".join([request.method, path, _query(request.query), headers, ";".join(names), body])


def _query(query: str) -> str:
    """The canonical query: decoded as the service does it (a plus is a space), sorted, and encoded."""
    pairs = [each.partition("=")[::2] for each in query.split("&") if each]
    encoded = sorted(tuple(quote(unquote_plus(text), safe=_UNRESERVED) for text in pair) for pair in pairs)
    return "&".join("=".join(pair) for pair in encoded)
