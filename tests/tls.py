"""Certificate authorities are loaded once for all tests: httpx loads them for every client, in 20 ms of CPU or more."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any
from unittest import mock

import httpx
from httpx._transports import default

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable


def share_tls_contexts() -> Callable[[], None]:
    """Let all clients with httpx's default settings share one TLS context. Return what ends that."""

    @cache
    def shared(trust_env: bool, _file: str | None, _folder: str | None) -> ssl.SSLContext:
        return httpx.create_ssl_context(trust_env=trust_env)

    def create(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
        if verify is True and cert is None:
            return shared(trust_env, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
        return httpx.create_ssl_context(verify=verify, cert=cert, trust_env=trust_env)

    patch = mock.patch.object(default, "create_ssl_context", create)
    patch.start()
    return patch.stop
