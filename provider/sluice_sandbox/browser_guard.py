"""Keeps web pages of other sites out: a browser on this machine can send their requests to the sandbox, whose control
API needs no login."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sluice_sandbox.loopback import is_loopback
from sluice_sandbox.service import Json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

CONTROL = "/control/"

OWN_SITE = ("same-origin", "none")
"""Values of Sec-Fetch-Site for a page of the sandbox itself, and for an address that a user typed."""


class BrowserGuard:
    """ASGI middleware.

    :param loopback_only: the sandbox listens on a loopback address, so Host must be one: a page whose name leads to
        this machine (DNS rebinding) would else be of the same origin
    """

    def __init__(self, app: ASGIApp, *, loopback_only: bool) -> None:
        self._app = app
        self._loopback_only = loopback_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        refusal = self._refusal(scope)
        app = self._app if refusal is None else Json({"error": refusal[1]}, refusal[0])
        await app(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if self._loopback_only and not is_loopback(_host_name(headers)):
            return 403, "the sandbox listens on a loopback address, and the Host header is another one"
        if not scope["path"].startswith(CONTROL):
            return None
        if _is_cross_origin(headers):
            return 403, "web pages of other sites must not use the control API"
        if scope["method"] == "POST" and not _is_json(headers):
            return 415, "the control API takes JSON only: set the header Content-Type to application/json"
        return None


def _host_name(headers: Mapping[str, str]) -> str:
    try:
        return urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _is_cross_origin(headers: Mapping[str, str]) -> bool:
    """Origin says which page sends a POST, and Sec-Fetch-Site from where any request comes; programs send neither."""
    origin = headers.get("origin")
    other = origin is not None and origin.partition("://")[2] != headers.get("host")
    return other or headers.get("sec-fetch-site", "none") not in OWN_SITE


def _is_json(headers: Mapping[str, str]) -> bool:
    """Another site's page cannot send this type without asking first, which the sandbox does not permit."""
    return headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
