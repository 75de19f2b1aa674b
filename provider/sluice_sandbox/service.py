"""What the sandbox asks of a pretended remote. A new one is a module with a subclass, and a line in `remotes.py`."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from sluice_sandbox.context import Context


class Address(NamedTuple):
    """Where clients find the sandbox."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """Without a path and without a slash at the end."""
        return f"http://{self.host}:{self.port}"


class JobRow(NamedTuple):
    """A remote job as a person sees it on the page; `href` leads to more, if there is more."""

    job_id: str
    status: str
    rows: int
    outcome: str
    created_at: float
    href: str = ""


class Json(JSONResponse):
    """JSON in ASCII, so that half a surrogate pair, which JSON may hold, comes out as it came in."""

    def render(self, content: Any) -> bytes:
        """As JavaScript's well-formed JSON.stringify does it."""
        return json.dumps(content, separators=(",", ":")).encode()


class ErrorResponse(Exception):
    """The remote says no. Carries the answer in the remote's own shape, since every vendor has another."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


class MockService(ABC):
    """One pretended vendor. It is handed only requests below `/<path>`, and keeps all it knows in itself."""

    name: ClassVar[str]  # the key in `/control/state`
    title: ClassVar[str]

    def __init__(self, context: Context) -> None:
        self.context = context
        self.reset()

    @property
    def path(self) -> str:
        """First part of every path."""
        return self.name.replace("_", "-")

    @abstractmethod
    def reset(self) -> None:
        """Back to what it starts with."""

    @abstractmethod
    def routes(self) -> Sequence[BaseRoute]:
        """Below `/<path>`. The last should catch what is left, in the vendor's way of saying 404."""

    def control_routes(self) -> Sequence[BaseRoute]:
        """Below `/control`: what a test may make happen in this remote, besides what the settings say."""
        return ()

    @abstractmethod
    def rate_limited_response(self, seconds: int) -> Response:
        """The vendor's 429."""

    @abstractmethod
    def credentials(self) -> dict[str, str]:
        """How to get in."""

    @abstractmethod
    def connection(self, address: Address) -> tuple[str, dict[str, Any]]:
        """Connection id and Airflow connection that lead here."""

    @abstractmethod
    def state(self, *, with_records: bool = True) -> dict[str, Any]:
        """What it holds, for tests that assert that nothing is lost or doubled."""

    @abstractmethod
    def jobs(self) -> list[JobRow]:
        """For the page, newest first."""

    @abstractmethod
    def counts(self) -> dict[str, int]:
        """For the page: how much of what it holds."""
