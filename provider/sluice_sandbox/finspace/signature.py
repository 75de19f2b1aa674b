"""Signature Version 4, checked: is a request signed with a key that is known here, just now, and as it arrived?

By hand from AWS's documentation, "Create a signed AWS API request" (IAM User Guide): a canonical request, a string to
sign, a key derived by date, region and service. What it says of other services than S3 counts: the path is encoded
once more. The words of refusals are those that AWS services are known for.
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
WINDOW = 300.0  # seconds that a request may be old or early; AWS services allow 5 to 15 minutes
_UNRESERVED = "-_.~"
_HEADER = re.compile(
    rf"{ALGORITHM} Credential=(?P<key>[^/]+)/(?P<date>\d{{8}})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, ?"
    r"SignedHeaders=(?P<names>[a-z0-9;-]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)
_STAMP = "%Y%m%dT%H%M%SZ"


class SignatureError(Exception):
    """Not signed, or not well: the error type that AWS answers with, and its words."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind
        self.words = words


class SignedRequest(NamedTuple):
    """A request as it arrived, nothing decoded. Header names are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


class Key(NamedTuple):
    """An access key; with a session token it belongs to a session, which ends at some time of the remote's clock."""

    access_key: str
    secret_key: str
    token: str = ""
    expired: bool = False


def check(asked: SignedRequest, find: Callable[[str, str], Key | None], region: str, service: str, now: float) -> None:
    """
    :param find: the key by its access key and the session token that came with it
    :param now: seconds since 1970
    :raises Unsigned: in the order in which AWS complains
    """
    header = asked.headers.get("authorization", "")
    if not header:
        raise SignatureError("MissingAuthenticationTokenException", "Missing Authentication Token")
    parts = _HEADER.fullmatch(header)
    if parts is None:
        raise SignatureError("IncompleteSignatureException", "Authorization header is not a complete SigV4 header")
    key = find(parts["key"], asked.headers.get("x-amz-security-token", ""))
    if key is None:
        raise SignatureError("UnrecognizedClientException", "The security token included in the request is invalid.")
    if key.expired:
        raise SignatureError("ExpiredTokenException", "The security token included in the request is expired")
    _check_scope(parts, region, service)
    names = parts["names"].split(";")
    _check_names(asked.headers, names)
    stamp = asked.headers.get("x-amz-date", "")
    _check_time(stamp, parts["date"], now)
    if not hmac.compare_digest(_signature(asked, key, parts, names, stamp), parts["signature"]):
        raise SignatureError(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
            "Access Key and signing method. Consult the service documentation for details.",
        )


def _check_scope(parts: re.Match[str], region: str, service: str) -> None:
    for name, right in (("region", region), ("service", service)):
        if parts[name] != right:
            raise SignatureError("InvalidSignatureException", f"Credential should be scoped to a valid {name}.")


def _check_names(headers: Mapping[str, str], names: list[str]) -> None:
    """The host, the content type if there is one, and all X-Amz headers must be signed."""
    due = {name for name in headers if name in ("host", "content-type") or name.startswith("x-amz-")}
    missing = sorted(due - set(names))
    if missing or names != sorted(names):
        told = f"'{missing[0]}' must be" if missing else "the names of the headers must be sorted to be"
        raise SignatureError("InvalidSignatureException", f"{told} a 'SignedHeader' in the AWS Authorization.")


def _check_time(stamp: str, date: str, now: float) -> None:
    try:
        at = datetime.strptime(stamp, _STAMP).replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        raise SignatureError("IncompleteSignatureException", "X-Amz-Date must be in ISO8601 'basic format'") from None
    if not stamp.startswith(date):
        raise SignatureError("InvalidSignatureException", "Date in Credential scope does not match X-Amz-Date.")
    if at < now - WINDOW:
        raise SignatureError(
            "InvalidSignatureException",
            f"Signature expired: {stamp} is now earlier than {_stamp(now - WINDOW)} ({_stamp(now)} - 5 min.)",
        )
    if at > now + WINDOW:
        raise SignatureError(
            "InvalidSignatureException",
            f"Signature not yet current: {stamp} is still later than {_stamp(now + WINDOW)} ({_stamp(now)} + 5 min.)",
        )


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime(_STAMP)


def _signature(asked: SignedRequest, key: Key, parts: re.Match[str], names: list[str], stamp: str) -> str:
    scope = [parts["date"], parts["region"], parts["service"], "aws4_request"]
    hashed = hashlib.sha256(canonical(asked, names).encode()).hexdigest()
    text = "\n".join([ALGORITHM, stamp, "/".join(scope), hashed])
    return hmac.digest(_signing_key(key.secret_key, *scope), text.encode(), "sha256").hex()


@lru_cache(maxsize=64)
def _signing_key(secret_key: str, *scope: str) -> bytes:
    """The same for a whole day."""
    derived = f"AWS4{secret_key}".encode()
    for part in scope:
        derived = hmac.digest(derived, part.encode(), "sha256")
    return derived


def canonical(asked: SignedRequest, names: list[str]) -> str:
    """The canonical request."""
    headers = "".join(f"{name}:{' '.join(asked.headers.get(name, '').split())}\n" for name in names)
    path = quote(asked.path, safe=f"/{_UNRESERVED}") or "/"
    body = hashlib.sha256(asked.body).hexdigest()
    return "\n".join([asked.method, path, _query(asked.query), headers, ";".join(names), body])


def _query(query: str) -> str:
    """Sorted, decoded as the service does it (a plus is a space), and encoded in the one canonical way."""
    pairs = [each.partition("=")[::2] for each in query.split("&") if each]
    encoded = sorted(tuple(quote(unquote_plus(text), safe=_UNRESERVED) for text in pair) for pair in pairs)
    return "&".join("=".join(pair) for pair in encoded)
