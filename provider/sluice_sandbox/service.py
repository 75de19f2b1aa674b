"""The interface of a mock service. To add one, write a subclass and list it in `services.py`."""

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
    """Where clients reach the sandbox."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """Without path and trailing slash."""
        return f"http://{self.host}:{self.port}"


class JobRow(NamedTuple):
    """A job as shown on the status page; `href` links to its details, if there are any."""

    job_id: str
    status: str
    rows: int
    outcome: str
    created_at: float
    href: str = ""


class Json(JSONResponse):
    """JSON in ASCII, so that a lone surrogate is sent as the escape it came in."""

    def render(self, content: Any) -> bytes:
        """Like JavaScript's well-formed JSON.stringify."""
        return json.dumps(content, separators=(",", ":")).encode()


class ErrorResponse(Exception):
    """An error to answer with, in the vendor's own format."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


class MockService(ABC):
    """One vendor's service. It handles the requests below `/<path>` and keeps all of its state in itself."""

    name: ClassVar[str]  # the key in `/control/state`
    title: ClassVar[str]  # on the status page

    def __init__(self, context: Context) -> None:
        self.context = context
        self.reset()

    @property
    def path(self) -> str:
        """First segment of every path."""
        return self.name.replace("_", "-")

    @abstractmethod
    def reset(self) -> None:
        """Restore the initial data."""

    @abstractmethod
    def routes(self) -> Sequence[BaseRoute]:
        """Routes below `/<path>`. The last one should match everything else and answer the vendor's 404."""

    def control_routes(self) -> Sequence[BaseRoute]:
        """Routes below `/control`: actions that a test can trigger in this service."""
        return ()

    @abstractmethod
    def rate_limited_response(self, seconds: int) -> Response:
        """The vendor's 429, with Retry-After in seconds."""

    @abstractmethod
    def credentials(self) -> dict[str, str]:
        """What a client logs in with."""

    @abstractmethod
    def connection(self, address: Address) -> tuple[str, dict[str, Any]]:
        """Connection id and Airflow connection for this service."""

    @abstractmethod
    def state(self, *, with_records: bool = True) -> dict[str, Any]:
        """All data, for tests that check that nothing is lost or duplicated."""

    @abstractmethod
    def jobs(self) -> list[JobRow]:
        """For the status page, newest first."""

    @abstractmethod
    def counts(self) -> dict[str, int]:
        """For the status page: the number of objects by kind."""
