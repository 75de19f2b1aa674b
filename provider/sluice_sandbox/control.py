"""The control interface, for tests and benchmarks: reset, requests, faults, settings, state, and what a remote adds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from sluice_sandbox.service import Json
from sluice_sandbox.settings import iso

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from sluice_sandbox.context import Context
    from sluice_sandbox.service import MockService


def routes(context: Context, remotes: Sequence[MockService]) -> list[BaseRoute]:
    """Everything below `/control`."""
    control = Control(context, remotes)
    return [
        Route("/control/reset", control.reset, methods=["POST"]),
        Route("/control/requests", control.requests, methods=["GET"]),
        Route("/control/faults", control.faults, methods=["GET", "POST"]),
        Route("/control/settings", control.settings, methods=["GET", "POST"]),
        Route("/control/state", control.state, methods=["GET"]),
        *(route for remote in remotes for route in remote.control_routes()),
    ]


class Control:
    """What a test may do to the sandbox, and see of it."""

    def __init__(self, context: Context, remotes: Sequence[MockService]) -> None:
        self._context = context
        self._remotes = remotes

    async def reset(self, _request: Request) -> Json:
        """Back to the start: what the remotes hold, tokens, settings, clock, faults, requests seen."""
        self._context.reset()
        for remote in self._remotes:
            remote.reset()
        return Json({"reset": True})

    async def requests(self, request: Request) -> Json:
        """The requests seen, oldest first; `?clear=1` forgets them after telling."""
        seen = self._context.request_log.to_json()
        if request.query_params.get("clear") == "1":
            self._context.request_log.clear()
        return Json(seen)

    async def faults(self, request: Request) -> Json:
        """POST replaces the pending faults; both answer with those pending."""
        return await self._told(request, self._context.faults.replace, self._context.faults)

    async def settings(self, request: Request) -> Json:
        """POST changes some settings; both answer with all of them."""
        return await self._told(request, self._context.settings.change, self._context.settings)

    async def _told(self, request: Request, change: Any, thing: Any) -> Json:
        if request.method == "POST":
            try:
                change(json.loads(await request.body()))
            except ValueError as problem:  # Wrong is one, and so is broken JSON
                return Json({"error": str(problem)}, 400)
        return Json(thing.to_json())

    async def state(self, request: Request) -> Json:
        """What every remote holds; `?records=0` leaves the records themselves out."""
        with_records = request.query_params.get("records") != "0"
        now = self._context.clock.now()
        return Json(
            {
                "clock": {"now": now, "iso": iso(now), "advance": self._context.settings.clock_advance},
                "credentials": {remote.name: remote.credentials() for remote in self._remotes},
                **{remote.name: remote.state(with_records=with_records) for remote in self._remotes},
            }
        )
