"""What a response means: the error that it stands for, in the service's own words, or none."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from datetime import timezone
from email.utils import parsedate_to_datetime

from sluice_provider.errors import REFUSALS, ClientError, ServerError, SluiceError
from sluice_provider.http.flow import Request, Response

LONGEST_RETRY_AFTER = 7 * 86400.0
"""Seconds. A remote that asks for more means "never", and Airflow cannot add every number to a date."""

REQUEST_IDS = ("x-request-id", "x-amzn-requestid")
"""Headers in which gateways and clouds name a request, for whoever has to ask the remote's support about it."""

ErrorFrom = Callable[[Request, Response], "SluiceError | None"]
"""Tells the error that a reply stands for, or None for a good one."""


def error_from(call: Request, reply: Response) -> SluiceError | None:
    """The error that a reply stands for, or None for a good one."""
    if reply.status < 300:
        return None
    if reply.status < 400:
        return ClientError(
            f"{call} answered {reply.status}, a redirect: does the connection's host name the API itself, "
            "with the right scheme, and is no login page in front of it?",
            status=reply.status,
        )
    kind = ServerError if reply.status >= 500 else REFUSALS.get(reply.status, ClientError)
    code, words = _words(reply)
    return kind(
        f"{call} answered {reply.status}" + (f": {words}" if words else ""),
        status=reply.status,
        code=code,
        body=reply.text[:2000],
        retry_after=retry_after(reply.headers),
        request_id=next((reply.headers[name] for name in REQUEST_IDS if name in reply.headers), None),
    )


def _words(reply: Response) -> tuple[str | None, str]:
    """The remote's own code and message, wherever its framework puts them."""
    try:
        body = json.loads(reply.body)
    except (ValueError, RecursionError):
        return None, _plain(reply.text[:1000])[:300]
    if not isinstance(body, dict):
        return None, _plain(str(body)[:1000])[:300]
    code = body.get("code") or body.get("error")
    message = body.get("message") or body.get("error_description") or body.get("error") or ""
    return (_plain(str(code)) if code else None), _plain(str(message)[:1000])[:500]


def _plain(text: str) -> str:
    """In one line, and without what steers a terminal or cannot be encoded: it goes into logs and databases."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in " ".join(text.split()))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Retry-After in seconds (RFC 9110, 10.2.3). A date is read against the remote's own clock where it tells it."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = _instant(value) - (_instant(headers["date"]) if "date" in headers else time.time())
        except ValueError:
            return None
    return None if math.isnan(seconds) else min(max(0.0, seconds), LONGEST_RETRY_AFTER)


def _instant(date: str) -> float:
    """Seconds since 1970. An HTTP date is UTC, also in the old form that does not say so."""
    moment = parsedate_to_datetime(date)
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
