"""Redirects, which are followed only for downloads: a file may be kept elsewhere than the API."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from sluice_provider.errors import UnexpectedResponse
from sluice_provider.http.flow import NOTHING, Request, Response

MAX_REDIRECTS = 5

LONGEST_LOCATION = 8192
"""Characters. RFC 9110, 4.1 recommends that at least 8,000 be supported."""


def is_redirect(response: Response) -> bool:
    return response.status in (301, 302, 303, 307, 308) and "location" in response.headers


def follow(request: Request, response: Response) -> Request:
    """The request that a redirect leads to. Its URL is the whole one: the query of the first request is not added.

    :param response: with the URL that answered, against which Location is resolved (RFC 9110, 10.2.2)
    :raises UnexpectedResponse: Location is not a URL
    """
    location = response.headers["location"]
    try:
        target = urljoin(response.url, location)
        problem = _problem(location) or ("" if urlsplit(target).netloc else "it has no host")
    except ValueError as error:
        problem = str(error)
    if problem:
        raise UnexpectedResponse(
            f"{request} returned {response.status}, a redirect whose Location is not a URL: {problem}"
        )
    return request._replace(path=target, params=NOTHING, redirected=True, name=_name(request, target))


def _name(request: Request, target: str) -> str:
    """With the host that it leads to; the path may grant access, as the query may."""
    parts = urlsplit(target)
    first, _, _ = str(request).partition(" (redirected to ")
    return f"{first} (redirected to {parts.scheme}://{parts.netloc.rpartition('@')[2]})"


def _problem(location: str) -> str:
    if len(location) > LONGEST_LOCATION:
        return f"it has {len(location):,} characters, and at most {LONGEST_LOCATION:,} are read"
    if not location.isprintable() or " " in location:
        return "it contains a space or a control character"
    return ""
