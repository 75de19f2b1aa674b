"""What Sluice adds to Airflow itself, for `airflow plugins` to list and for the API server to serve.

Airflow finds it by the entry point `airflow.plugins`: what provider info says of plugins is ignored by default, as
providers are discovered lazily. It is imported by every task, so nothing heavy may be: the web application below
`/sluice` is built when its first request arrives, which happens in the API server only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from airflow.providers.common.compat.sdk import AirflowPlugin

from sluice_provider.links import KaleidoscopeLink, KiliLink

PREFIX = "/sluice"
"""Everything that the API server serves for us is below this path."""


class SluiceApp:
    """An ASGI application that is built at its first request."""

    def __init__(self) -> None:
        self._app: Any = None

    async def __call__(self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[..., Any]) -> None:
        if self._app is None:
            from sluice_provider.plugin.app import create_app

            self._app = create_app()
        await self._app(scope, receive, send)


class SluicePlugin(AirflowPlugin):
    """The provider's extra links and web application."""

    name = "sluice"
    operator_extra_links = [KaleidoscopeLink(), KiliLink()]
    fastapi_apps = [{"app": SluiceApp(), "url_prefix": PREFIX, "name": "Sluice"}]
