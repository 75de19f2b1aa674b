"""Tokens as `httpx.Auth`, for the blocking and the awaiting client alike.

The decision is made once, in `Bearer._steps`; `steps.py` takes the steps, blocking or awaiting.
One process asks for one token, however many threads, tasks and hooks want one at the same time. Tokens live in memory
only. A token that ran out is replaced by a new grant and never by a refresh token: a refresh token that two processes
hold is presented twice sooner or later, and then the whole family is revoked (RFC 6819, 5.2.2.3).
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

import httpx

from sluice_provider.errors import (
    AuthenticationFailed,
    InvalidConnection,
    RateLimited,
    ServerError,
    UnexpectedResponse,
    Unreachable,
)
from sluice_provider.http.auth_steps import AcquireLock, AuthSteps, Step, Steps
from sluice_provider.http.drivers import GRANT
from sluice_provider.http.flow import Blocking
from sluice_provider.http.responses import retry_after

LIFE = 3600.0
"""Seconds a token is taken to be good for when its endpoint does not say (RFC 6749, 5.1, leaves it out, too)."""

EARLY = 60.0
"""Seconds before its end from which a token is not used any more (at most half of its life)."""


class TokenCache:
    """One token of this process, and the lock under which it is replaced."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.token: str | None = None
        self.good_until = 0.0

    def fresh(self) -> str | None:
        return self.token if time.monotonic() < self.good_until else None

    def put(self, token: str, life: float) -> str:
        self.token, self.good_until = token, time.monotonic() + max(life - EARLY, life / 2)
        return token

    def drop(self, token: str) -> None:
        """Forget a token that was refused, unless somebody has replaced it already."""
        if self.token == token:
            self.token, self.good_until = None, 0.0


_purses: dict[str, TokenCache] = {}
_purses_lock = threading.Lock()


def _purse(*parts: Any) -> TokenCache:
    """The process's purse for these credentials, which are kept only as a hash."""
    name = hashlib.sha256(repr(parts).encode()).hexdigest()
    with _purses_lock:
        return _purses.setdefault(name, TokenCache())


def forget_tokens() -> None:
    """Start with empty purses. Called in a forked child, whose locks may be held by threads it does not have."""
    global _purses_lock
    _purses_lock = threading.Lock()
    _purses.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_tokens)


_TIMEOUT = httpx.Timeout(30.0).as_dict()


class Grant:
    """An OAuth 2.0 token request (RFC 6749, 4.3 and 4.4).

    :param url: the token endpoint
    :param form: what is posted to it, secrets included
    :param headers: of the site, which go with every request
    """

    def __init__(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> None:
        self.url = url
        self.form = form
        self.headers = headers

    def request(self, headers: Mapping[str, str]) -> httpx.Request:
        return httpx.Request(
            "POST",
            self.url,
            data=dict(self.form),
            headers={**self.headers, **headers},
            extensions={GRANT: True, "timeout": _TIMEOUT},
        )

    def token(self, response: httpx.Response) -> tuple[str, float]:
        """The access token and its life in seconds.

        :raises AuthenticationFailed: the endpoint said no
        :raises ServerError: the endpoint failed; nothing that the token was wanted for has been sent
        :raises RateLimited: the endpoint is asked too often; likewise
        :raises UnexpectedResponse: it answered something else
        """
        later = retry_after(response.headers)
        if response.status_code >= 500:
            broken = ServerError(
                f"the token endpoint answered {response.status_code}", status=response.status_code, retry_after=later
            )
            broken.sent = False
            raise broken
        if response.status_code == 429:
            raise RateLimited("the token endpoint answered 429: too many requests", status=429, retry_after=later)
        if response.status_code >= 300 or self._denied(response):
            raise AuthenticationFailed(
                f"the token endpoint answered {response.status_code}: {self._words(response)}; "
                "check the login and the password of the connection",
                status=response.status_code,
            )
        granted = self._read(response)
        if granted is None:
            raise UnexpectedResponse("the token endpoint answered without an access_token: is this the right host?")
        return granted

    def _read(self, response: httpx.Response) -> tuple[str, float] | None:
        """Token and life. Of an answer that is something else nothing is kept, not even as the cause of an error."""
        try:
            body = json.loads(response.content)
            token, life = body["access_token"], float(body.get("expires_in", LIFE))
            return (token, life) if wearable(token) else None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def _denied(self, response: httpx.Response) -> bool:
        """Some endpoints say no with a good status: an `error` stands where the token should (RFC 6749, 5.2)."""
        try:
            body = json.loads(response.content)
        except ValueError:
            return False
        return isinstance(body, dict) and bool(body.get("error")) and "access_token" not in body

    def _words(self, response: httpx.Response) -> str:
        """The endpoint's own words, without the secrets that some echo."""
        try:
            body = json.loads(response.content)
            words = str(body.get("error_description") or body.get("message") or body.get("error") or "no reason given")
        except (ValueError, AttributeError):
            words = "no reason given"
        told = [value for name, value in self.form.items() if name not in ("grant_type", "scope")]
        for value in sorted(told, key=len, reverse=True):
            for shown in (value, quote(value, safe=""), quote_plus(value)):
                words = words.replace(shown, "***") if len(value) > 3 else words
        return words[:300]


def wearable(secret: str) -> bool:
    """Whether a token or key fits into a header (RFC 6750, 2.1, read generously)."""
    return secret.isascii() and secret.isprintable() and " " not in secret and secret != ""


class Iap:
    """Google Identity-Aware Proxy in front of a remote: an OIDC token for its audience, beside the remote's own.

    Rests on google-auth's `fetch_id_token` (extra `iap`), which finds the credentials of the machine by itself.
    """

    LIFE = 50 * 60.0

    def __init__(self, audience: str) -> None:
        self.audience = audience

    @property
    def purse(self) -> TokenCache:
        return _purse("iap", self.audience)

    def fetch(self) -> str:
        try:
            from google.auth.exceptions import GoogleAuthError, TransportError
            from google.auth.transport.requests import Request
            from google.oauth2.id_token import fetch_id_token
        except ImportError:
            raise InvalidConnection(
                "the connection names an IAP audience, which needs google-auth: "
                "pip install 'airflow-provider-sluice[iap]'"
            ) from None
        try:
            token = str(fetch_id_token(Request(), self.audience))
        except TransportError as error:
            raise Unreachable(f"getting an IAP token: {type(error).__name__}", sent=False) from None
        except (GoogleAuthError, ValueError) as error:
            raise AuthenticationFailed(f"no IAP token for audience {self.audience}: {type(error).__name__}") from None
        return token


class Bearer(AuthSteps):
    """A bearer token from a grant, put on every request, and granted anew once when it is refused with 401.

    :param grant: how to get one
    :param wear: puts the token on a request's headers; is told whether an IAP token is worn as well
    :param iap: the proxy in front, if there is one
    :param mask: is told each token, so that no log ever shows it
    """

    def __init__(
        self,
        grant: Grant,
        wear: Callable[[httpx.Headers, str, bool], None],
        iap: Iap | None = None,
        mask: Callable[[str], object] = lambda _secret: None,
    ) -> None:
        self._grant = grant
        self._wear = wear
        self._iap = iap
        self._mask = mask

    @property
    def purse(self) -> TokenCache:
        return _purse(self._grant.url, sorted(self._grant.form.items()), self._iap and self._iap.audience)

    def _steps(self, request: httpx.Request) -> Steps:
        worn = yield from self._dress(request)
        response = yield request
        if response.status_code == 401:
            for purse, token in worn:
                purse.drop(token)
            yield from self._dress(request)
            yield request

    def _dress(self, request: httpx.Request) -> Generator[Step, Any, list[tuple[TokenCache, str]]]:
        """Put the tokens on the request, and tell which they are."""
        worn: list[tuple[TokenCache, str]] = []
        gate: dict[str, str] = {}
        if self._iap is not None:
            token = yield from self._kept(self._iap.purse, self._ask_iap(self._iap))
            worn.append((self._iap.purse, token))
            gate = {"Authorization": f"Bearer {token}"}
        token = yield from self._kept(self.purse, self._ask(gate))
        worn.append((self.purse, token))
        request.headers.update(gate)
        self._wear(request.headers, token, bool(gate))
        return worn

    def _kept(self, purse: TokenCache, ask: Generator[Step, Any, tuple[str, float]]) -> Generator[Step, Any, str]:
        """The purse's token, or a new one, for which only one of all who want it asks."""
        token = purse.fresh()
        if token is not None:
            ask.close()
            return token
        yield AcquireLock(purse.lock)
        try:
            token = purse.fresh()
            if token is None:
                token, life = yield from ask
                yield Blocking(lambda: self._mask(token))
                purse.put(token, life)
            return token
        finally:
            purse.lock.release()

    def _ask(self, gate: Mapping[str, str]) -> Generator[Step, Any, tuple[str, float]]:
        response = yield self._grant.request(gate)
        return self._grant.token(response)

    def _ask_iap(self, iap: Iap) -> Generator[Step, Any, tuple[str, float]]:
        token = yield Blocking(iap.fetch)
        return token, Iap.LIFE


class ApiKey(httpx.Auth):
    """A key that does not change, in the Authorization header of every request.

    :param scheme: what the remote wants to read before the key
    """

    def __init__(self, scheme: str, key: str) -> None:
        self._value = f"{scheme} {key}"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = self._value
        yield request
