"""The control API below `/control` for tests and benchmarks: reset, requests, faults, settings, state.

Services add routes of their own (`MockService.control_routes`). Invalid input is answered 400 with `{"error": ...}`.
There is no login; `browser_guard.py` refuses pages of other sites, and what is not JSON.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from sluice_sandbox.service import Json
from sluice_sandbox.settings import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from sluice_sandbox.context import Context
    from sluice_sandbox.faults import Faults
    from sluice_sandbox.service import MockService
    from sluice_sandbox.settings import Settings


def routes(context: Context, services: Sequence[MockService]) -> list[BaseRoute]:
    """All routes below `/control`."""
    control = Control(context, services)
    return [
        Route("/control/reset", control.reset, methods=["POST"]),
        Route("/control/requests", control.requests, methods=["GET", "POST"]),
        Route("/control/faults", control.faults, methods=["GET", "POST"]),
        Route("/control/settings", control.settings, methods=["GET", "POST"]),
        Route("/control/state", control.state, methods=["GET"]),
        *(route for service in services for route in service.control_routes()),
    ]


class Control:
    """Handlers of the control API."""

    def __init__(self, context: Context, services: Sequence[MockService]) -> None:
        self._context = context
        self._services = services

    async def reset(self, _request: Request) -> Json:
        """Restore the initial state: data, tokens, settings, clock, faults and the request log."""
        self._context.reset()
        for service in self._services:
            service.reset()
        return Json({"reset": True})

    async def requests(self, request: Request) -> Json:
        """The logged requests, oldest first; POST clears the log afterwards."""
        logged = self._context.request_log.to_json()
        if request.method == "POST":
            self._context.request_log.clear()
        return Json(logged)

    async def faults(self, request: Request) -> Json:
        """POST replaces the pending faults; GET and POST return the pending ones."""
        return await _get_or_change(request, self._context.faults.replace, self._context.faults)

    async def settings(self, request: Request) -> Json:
        """POST changes some settings; GET and POST return all of them."""
        return await _get_or_change(request, self._context.change_settings, self._context.settings)

    async def state(self, request: Request) -> Json:
        """The data of all services; `?records=0` leaves out the records themselves."""
        with_records = request.query_params.get("records") != "0"
        now = self._context.clock.now()
        return Json(
            {
                "clock": {"now": now, "iso": iso(now), "advance": self._context.settings.clock_advance},
                "credentials": {service.name: service.credentials() for service in self._services},
                **{service.name: service.state(with_records=with_records) for service in self._services},
            }
        )


async def _get_or_change(request: Request, change: Callable[[Any], None], subject: Faults | Settings) -> Json:
    if request.method == "POST":
        try:
            change(json.loads(await request.body()))
        except ValueError as error:  # InvalidControlInput, or a body that is not JSON
            return Json({"error": str(error)}, 400)
    return Json(subject.to_json())
