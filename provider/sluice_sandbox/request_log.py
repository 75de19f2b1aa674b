"""The requests to all services, kept for tests and for the status page. Secrets are masked before they are shown."""

from __future__ import annotations

import json
import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import Scope

MAX_REQUESTS = 20_000
MAX_BODY_BYTES = 64 * 1024 * 1024  # of all bodies together; the oldest are dropped first

# Names, not values. A bare "token" is not among them: FinSpace's clientToken is no secret and tests read it.
_SECRET = re.compile(
    r"authorization|cookie|secret|passw|signature|credential|assertion|api[-_]?key"
    r"|(access|refresh|id|auth|api|security|session|sas)[-_]?token|^sig$",
    re.IGNORECASE,
)


@dataclass(slots=True)
class LoggedRequest:
    """One request. The body is kept as received and parsed only when it is shown."""

    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: bytes | None
    body_size: int
    time: float
    status: int | None = None
    fault: str | None = None

    def to_json(self, secrets: Collection[str] = ()) -> dict[str, Any]:
        """As `/control/requests` shows it; `status` is null if there was no response."""
        return {
            "method": self.method,
            "path": self.path,
            "query": _masked(dict(parse_qsl(self.query, keep_blank_values=True)), secrets),
            "headers": _masked(dict(self.headers), secrets),
            "body_size": self.body_size,
            "json": _masked(self._content(), secrets),
            "status": self.status,
            "fault": self.fault,
            "time": self.time,
        }

    def _content(self) -> Any:
        """The parsed body of a JSON or form request; None for other or malformed content."""
        content_type = dict(self.headers).get("content-type", "")
        try:
            text = (self.body or b"").decode()
            return dict(parse_qsl(text)) if "form-urlencoded" in content_type else json.loads(text)
        except ValueError:
            return None


class RequestLog:
    """The latest requests to all services, oldest first."""

    def __init__(self) -> None:
        self._requests: deque[LoggedRequest] = deque(maxlen=MAX_REQUESTS)
        self._with_body: deque[LoggedRequest] = deque()
        self._body_bytes = 0
        self.secrets: set[str] = set()  # values that are masked whatever their name

    def add(self, scope: Scope, body: bytes, now: float) -> LoggedRequest:
        """Log a request as it arrives; its status is set later."""
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        query = scope["query_string"].decode("latin-1")
        logged = LoggedRequest(scope["method"], scope["path"], query, headers, body, len(body), now)
        self._requests.append(logged)
        self._limit_bodies(logged)
        return logged

    def _limit_bodies(self, logged: LoggedRequest) -> None:
        if logged.body_size:
            self._with_body.append(logged)
            self._body_bytes += logged.body_size
        while self._body_bytes > MAX_BODY_BYTES:
            oldest = self._with_body.popleft()
            self._body_bytes -= oldest.body_size
            oldest.body = None

    def to_json(self) -> list[dict[str, Any]]:
        """All requests, secrets masked."""
        return [logged.to_json(self.secrets) for logged in self._requests]

    def latest(self, count: int) -> list[LoggedRequest]:
        """The latest requests, newest first."""
        return list(self._requests)[: -count - 1 : -1]

    def clear(self) -> None:
        """Remove all requests, but keep the list of secrets."""
        secrets = self.secrets
        self.__init__()  # type: ignore[misc]
        self.secrets = secrets


def _masked(content: Any, secrets: Collection[str] = ()) -> Any:
    if isinstance(content, dict):
        return {name: "***" if _SECRET.search(name) else _masked(value, secrets) for name, value in content.items()}
    if isinstance(content, list):
        return [_masked(item, secrets) for item in content]
    if isinstance(content, str) and any(secret in content for secret in secrets):
        return "***"
    return content
