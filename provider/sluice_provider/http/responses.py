"""The error that a response stands for, in the service's own words, and Retry-After."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from datetime import timezone
from email.utils import parsedate_to_datetime

from sluice_provider.errors import CLIENT_ERRORS, ClientError, ServerError, SluiceError, UnexpectedResponse
from sluice_provider.http.flow import Request, Response
from sluice_provider.redaction import excerpt

LONGEST_RETRY_AFTER = 7 * 86400.0
"""Seconds. A longer delay means "never", and Airflow cannot add every number to a date."""

REQUEST_IDS = ("x-request-id", "x-amzn-requestid")
"""Headers in which gateways and clouds name a request; the service's support asks for it."""

ErrorFrom = Callable[[Request, Response], "SluiceError | None"]
"""From a request and its response: the error that the response stands for, or None if it is a success."""


def error_from(request: Request, response: Response) -> SluiceError | None:
    """The error that a response stands for by its status, or None if it is a success."""
    status = response.status
    if status < 300:
        return None
    if status < 400:
        return ClientError(
            f"{request} returned {status}, a redirect: check that the connection's host is the API itself, with the "
            "right scheme (https or http), and that no login page is in front of it",
            status=status,
        )
    error_class = ServerError if status >= 500 else CLIENT_ERRORS.get(status, ClientError)
    code, message = _code_and_message(response)
    return error_class(
        f"{request} returned {status}" + (f": {message}" if message else ""),
        status=status,
        code=code,
        body=response.text[:2000],
        retry_after=retry_after(response.headers),
        request_id=next((response.headers[name] for name in REQUEST_IDS if name in response.headers), None),
    )


def _code_and_message(response: Response) -> tuple[str | None, str]:
    """The service's own code and message, wherever its framework puts them."""
    try:
        body = response.json()
    except UnexpectedResponse:
        return None, _excerpt(response.text, 300)
    if not isinstance(body, dict):
        return None, _excerpt(body, 300)
    code = body.get("code") or body.get("error")
    message = body.get("message") or body.get("error_description") or body.get("error") or ""
    return (_excerpt(code, 300) if code else None), _excerpt(message, 500)


def _excerpt(value: object, length: int) -> str:
    """Redacted before anything else: white space, escapes and cuts would hide a secret from the redaction."""
    return _printable(excerpt(value if isinstance(value, str) else str(value), 1000))[:length]


def _printable(text: str) -> str:
    """In one line, without control characters or what cannot be encoded: it goes into logs and databases."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in " ".join(text.split()))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Retry-After in seconds (RFC 9110, 10.2.3). A date is compared with the service's own clock if it sent one."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = _timestamp(value) - (_timestamp(headers["date"]) if "date" in headers else time.time())
        except (ValueError, TypeError, OverflowError):  # a date without a zone that a machine has
            return None
    return None if math.isnan(seconds) else min(max(0.0, seconds), LONGEST_RETRY_AFTER)


def _timestamp(date: str) -> float:
    """Seconds since 1970. An HTTP date is in UTC, also in the old format without a zone."""
    moment = parsedate_to_datetime(date)
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
