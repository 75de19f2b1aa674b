"""Bearer tokens and API keys as `httpx.Auth`, for the blocking and the async client alike.

`Bearer._steps` decides; `auth_steps.py` executes the steps, blocking or awaiting. One process requests one token,
however many threads, tasks and hooks need it at the same time. Tokens are kept in memory only. An expired token is
replaced by a new token request and never by a refresh token: a refresh token that two processes share is used twice
sooner or later, and then the whole family of tokens is revoked (RFC 6819, 5.2.2.3).
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any

import httpx

from sluice_provider import redaction
from sluice_provider.errors import (
    AuthenticationFailed,
    InvalidConnection,
    RateLimited,
    ServerError,
    UnexpectedResponse,
    Unreachable,
)
from sluice_provider.http.auth_steps import AcquireLock, AuthSteps, Step, Steps
from sluice_provider.http.drivers import TOKEN_REQUEST
from sluice_provider.http.flow import Blocking
from sluice_provider.http.responses import retry_after
from sluice_provider.redaction import excerpt

DEFAULT_LIFETIME = 3600.0
"""Seconds a token is valid if its endpoint does not say (RFC 6749, 5.1, makes `expires_in` optional)."""

MAX_LIFETIME = 7 * 86400.0
"""Seconds after which a token is replaced, however long its endpoint says that it is valid."""

EXPIRY_MARGIN = 60.0
"""Seconds before its expiry from which a token is no longer used (at most half of its lifetime)."""


class TokenCache:
    """One token of this process, and the lock under which it is replaced."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._token: str | None = None
        self._expires_at = 0.0

    def get(self) -> str | None:
        """The token, unless it has expired."""
        return self._token if time.monotonic() < self._expires_at else None

    def set(self, token: str, lifetime: float) -> None:
        self._token = token
        self._expires_at = time.monotonic() + max(lifetime - EXPIRY_MARGIN, lifetime / 2)

    def invalidate(self, token: str) -> None:
        """Forget a token that was rejected, unless it has been replaced already."""
        if self._token == token:
            self._token, self._expires_at = None, 0.0


_caches: dict[str, TokenCache] = {}
_caches_lock = threading.Lock()


def _token_cache(*credentials: Any) -> TokenCache:
    """This process's cache for these credentials, of which only a hash is kept."""
    key = hashlib.sha256(repr(credentials).encode()).hexdigest()
    with _caches_lock:
        return _caches.setdefault(key, TokenCache())


def clear_token_caches() -> None:
    """Forget all tokens. Called in a forked child, whose locks may be held by threads that it does not have."""
    global _caches_lock
    _caches_lock = threading.Lock()
    _caches.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=clear_token_caches)


_TIMEOUT = httpx.Timeout(30.0).as_dict()


class TokenEndpoint:
    """An OAuth 2.0 token endpoint (RFC 6749, 4.3 and 4.4): its request, and how its response is read.

    :param url: of the endpoint
    :param form: what is posted to it, secrets included
    :param headers: the connection's headers, sent with every request
    """

    def __init__(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> None:
        self.url = url
        self.form = form
        self.headers = headers
        for name, value in form.items():
            if name not in ("grant_type", "scope", "username", "client_id"):
                redaction.add(value)

    def request(self, headers: Mapping[str, str]) -> httpx.Request:
        return httpx.Request(
            "POST",
            self.url,
            data=dict(self.form),
            headers={**self.headers, **headers},
            extensions={TOKEN_REQUEST: True, "timeout": _TIMEOUT},
        )

    def token(self, response: httpx.Response) -> tuple[str, float]:
        """The access token and its lifetime in seconds.

        :raises AuthenticationFailed: the endpoint rejected the credentials
        :raises ServerError: the endpoint failed; the request that needs the token has not been sent
        :raises RateLimited: the endpoint got too many requests; likewise
        :raises UnexpectedResponse: the response holds no token
        """
        status, delay = response.status_code, retry_after(response.headers)
        if status >= 500:
            error = ServerError(f"the token endpoint returned {status}", status=status, retry_after=delay)
            error.maybe_applied = False
            raise error
        if status == 429:
            raise RateLimited("the token endpoint returned 429: too many requests", status=429, retry_after=delay)
        if status >= 300 or self._is_rejection(response):
            raise AuthenticationFailed(f"the token endpoint returned {status}: {self._reason(response)}", status=status)
        token = self._parse(response)
        if token is None:
            raise UnexpectedResponse(
                "the token endpoint's response has no access_token; check the connection's host and port"
            )
        return token

    def _parse(self, response: httpx.Response) -> tuple[str, float] | None:
        """Token and lifetime. Nothing of another response is kept, not even as the cause of an error."""
        try:
            body = json.loads(response.content, parse_constant=str)
            token, lifetime = body["access_token"], float(body.get("expires_in", DEFAULT_LIFETIME))
            return (token, min(lifetime, MAX_LIFETIME)) if fits_header(token) else None
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return None

    def _is_rejection(self, response: httpx.Response) -> bool:
        """Some endpoints reject with status 200: the body has an `error` and no token (RFC 6749, 5.2)."""
        try:
            body = json.loads(response.content)
        except (ValueError, RecursionError):
            return False
        return isinstance(body, dict) and bool(body.get("error")) and "access_token" not in body

    def _reason(self, response: httpx.Response) -> str:
        """The endpoint's own words, without the secrets that some endpoints repeat."""
        try:
            body = json.loads(response.content)
            reason = str(body.get("error_description") or body.get("message") or body.get("error") or "no reason given")
        except (ValueError, AttributeError, RecursionError):
            reason = "no reason given"
        return excerpt(reason, 300)


def fits_header(secret: str) -> bool:
    """Whether a token or key can be sent in a header (RFC 6750, 2.1, read generously)."""
    return secret.isascii() and secret.isprintable() and " " not in secret and secret != ""


class Iap:
    """Google Identity-Aware Proxy in front of a service: an OIDC token for its audience, besides the service's token.

    Uses google-auth's `fetch_id_token` (extra `iap`), which finds the machine's credentials.
    """

    LIFETIME = 50 * 60.0

    def __init__(self, audience: str) -> None:
        self.audience = audience

    @property
    def token_cache(self) -> TokenCache:
        return _token_cache("iap", self.audience)

    def fetch(self) -> str:
        """Blocks.

        :raises SluiceError: Google gave no token; nothing was sent to the service
        """
        try:
            from google.auth.exceptions import GoogleAuthError, TransportError
            from google.auth.transport.requests import Request
            from google.oauth2.id_token import fetch_id_token
        except ImportError:
            raise InvalidConnection(
                "the connection has an IAP audience (iap_audience), which needs google-auth: "
                "pip install 'airflow-provider-sluice[iap]'"
            ) from None
        try:
            token = str(fetch_id_token(Request(), self.audience))
        except TransportError as error:
            raise Unreachable(
                f"getting an IAP token from Google: {type(error).__name__}", maybe_applied=False
            ) from None
        except (GoogleAuthError, ValueError) as error:
            raise AuthenticationFailed(
                f"Google issued no IAP token for audience {self.audience}: {type(error).__name__}; "
                "check iap_audience in the connection and the machine's Google credentials"
            ) from None
        return token


class Bearer(AuthSteps):
    """A bearer token on every request, requested again once when it is rejected with 401.

    :param endpoint: where the token comes from
    :param apply_token: sets the headers of a request; its third argument is whether there is an IAP token as well
    :param iap: the Identity-Aware Proxy in front of the service, if any
    :param mask: called with each new token, to keep it out of logs
    """

    def __init__(
        self,
        endpoint: TokenEndpoint,
        apply_token: Callable[[httpx.Headers, str, bool], None],
        iap: Iap | None = None,
        mask: Callable[[str], object] = lambda _secret: None,
    ) -> None:
        self._endpoint = endpoint
        self._apply_token = apply_token
        self._iap = iap
        self._mask = mask

    @property
    def token_cache(self) -> TokenCache:
        return _token_cache(self._endpoint.url, sorted(self._endpoint.form.items()), self._iap and self._iap.audience)

    def _steps(self, request: httpx.Request) -> Steps:
        applied = yield from self._apply_tokens(request)
        response = yield request
        if response.status_code == 401:
            for cache, token in applied:
                cache.invalidate(token)
            yield from self._apply_tokens(request)
            yield request

    def _apply_tokens(self, request: httpx.Request) -> Generator[Step, Any, list[tuple[TokenCache, str]]]:
        """Set the request's headers, and return the tokens with their caches."""
        applied: list[tuple[TokenCache, str]] = []
        iap_headers: dict[str, str] = {}
        if self._iap is not None:
            token = yield from self._cached_or_new(self._iap.token_cache, self._request_iap_token(self._iap))
            applied.append((self._iap.token_cache, token))
            iap_headers = {"Authorization": f"Bearer {token}"}
        token = yield from self._cached_or_new(self.token_cache, self._request_token(iap_headers))
        applied.append((self.token_cache, token))
        request.headers.update(iap_headers)
        self._apply_token(request.headers, token, bool(iap_headers))
        return applied

    def _cached_or_new(
        self, cache: TokenCache, request_token: Generator[Step, Any, tuple[str, float]]
    ) -> Generator[Step, Any, str]:
        """The cached token, or a new one, which is requested only once for all that need it."""
        token = cache.get()
        if token is not None:
            request_token.close()
            return token
        yield AcquireLock(cache.lock)
        try:
            token = cache.get()
            if token is None:
                token, lifetime = yield from request_token
                redaction.add(token)
                yield Blocking(lambda: self._mask(token))
                cache.set(token, lifetime)
            return token
        finally:
            cache.lock.release()

    def _request_token(self, headers: Mapping[str, str]) -> Generator[Step, Any, tuple[str, float]]:
        response = yield self._endpoint.request(headers)
        return self._endpoint.token(response)

    def _request_iap_token(self, iap: Iap) -> Generator[Step, Any, tuple[str, float]]:
        token = yield Blocking(iap.fetch)
        return token, Iap.LIFETIME


class ApiKey(httpx.Auth):
    """A constant key in the Authorization header of every request.

    :param scheme: what precedes the key
    """

    def __init__(self, scheme: str, key: str) -> None:
        self._value = f"{scheme} {key}"
        redaction.add(key)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = self._value
        yield request
