"""Liquid Decisions' hook in worker and triggerer, against the sandbox; its sleeps advance the sandbox's clock."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING, Any

from sluice_provider.hooks.liquid_decisions import LiquidDecisionsHook
from sluice_provider.http.bodies import FilePart
from tests.flows import FakeSleep

if TYPE_CHECKING:
    from sluice_provider.http.flow import Flow
    from sluice_provider.testing import SandboxClient

CSV = b"id,name\n1,Ada\n2,Ben\n3,Cy\n"


class FlowRunner:
    """Runs flows as a worker does, or as a triggerer does."""

    def __init__(self, name: str, sandbox: SandboxClient) -> None:
        self.name = name
        self.pauses = FakeSleep(sandbox.advance)
        self._sandbox = sandbox

    def __call__(self, flow: Flow[Any]) -> Any:
        hook = LiquidDecisionsHook()
        hook.sleep, hook.async_sleep = self.pauses, self.pauses.aio
        return hook.run(flow) if self.name == "worker" else asyncio.run(hook.arun(flow))

    @property
    def state(self) -> dict[str, Any]:
        """The state of the service."""
        state: dict[str, Any] = self._sandbox.state()["liquid_decisions"]
        return state

    def request_count(self, path: str) -> int:
        """How many requests arrived for a path."""
        return sum(path in each["path"] for each in self._sandbox.requests())


def file_part(content: bytes = CSV, name: str = "file", filename: str = "contacts.csv") -> FilePart:
    """A file of a form."""
    return FilePart(name, filename, "plain/text", lambda: io.BytesIO(content), len(content), filename)
