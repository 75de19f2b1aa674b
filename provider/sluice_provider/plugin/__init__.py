"""What Sluice adds to Airflow itself, for `airflow plugins` to list and for the API server to serve.

Airflow finds it by the entry point `airflow.plugins`: what provider info says of plugins is ignored by default, as
providers are discovered lazily. It is imported by every task, so nothing heavy may be: the web application below
`/sluice` is built when its first request arrives, which happens in the API server only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sluice_provider.compat import AirflowPlugin
from sluice_provider.links import KaleidoscopeLink, KiliLink
from sluice_provider.plugin.connection_test import EmptyPort

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
    """The provider's extra links, web application and pages.

    The pages are Airflow's own kind, not frames: a frame would neither open links nor have Airflow's theme. Their
    addresses are relative, so that they hold below any base path. A name is also the name of the script's component.
    """

    name = "sluice"
    operator_extra_links = [KaleidoscopeLink(), KiliLink()]
    fastapi_apps = [{"app": SluiceApp(), "url_prefix": PREFIX, "name": "Sluice"}]
    fastapi_root_middlewares = [{"middleware": EmptyPort, "args": [], "kwargs": {}, "name": "Sluice: empty ports"}]
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
