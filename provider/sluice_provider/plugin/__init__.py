"""What Sluice adds to Airflow itself: listed by `airflow plugins`, and served by the API server.

Airflow finds it by the entry point `airflow.plugins`: plugins in the provider info are ignored by default, as providers
are discovered lazily. Every task imports it, so it must import nothing heavy: the web application below `/sluice` is
built at its first request, which happens in the API server only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice_provider.compat import AirflowPlugin
from sluice_provider.links import KaleidoscopeLink, KiliLink
from sluice_provider.plugin.connection_test import ConnectionTestMiddleware

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

PREFIX = "/sluice"
"""All routes of ours in the API server are below this path."""


class LazyApp:
    """An ASGI application that is built at its first request."""

    def __init__(self) -> None:
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is None:
            from sluice_provider.plugin.app import create_app

            self._app = create_app()
        await self._app(scope, receive, send)


class SluicePlugin(AirflowPlugin):
    """The provider's extra links, web application and pages.

    The pages are React apps, not iframes: an iframe could neither open links nor follow Airflow's theme. Their URLs are
    relative, so they work below any base path. The name of an app is also the name of its component in the script.
    """

    name = "sluice"
    operator_extra_links = [KaleidoscopeLink(), KiliLink()]
    fastapi_apps = [{"app": LazyApp(), "url_prefix": PREFIX, "name": "Sluice"}]
    fastapi_root_middlewares = [
        {"middleware": ConnectionTestMiddleware, "args": [], "kwargs": {}, "name": "Sluice: connection tests"}
    ]
    react_apps = [
        {
            "name": "Remote jobs",
            "bundle_url": "sluice/static/jobs.js",
            "destination": "nav",
            "category": "browse",
            "url_route": "sluice-jobs",
        },
        {
            "name": "Remote job",
            "bundle_url": "sluice/static/job.js",
            "destination": "task_instance",
            "url_route": "sluice-job",
        },
    ]
