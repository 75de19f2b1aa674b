"""What was asked of the remotes, kept for tests and for the page, with every secret cut before it is shown."""

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

KEPT_REQUESTS = 20_000
KEPT_BYTES = 64 * 1024 * 1024  # of bodies; the oldest lose theirs first

# Names, not values. A bare "token" is not among them: FinSpace's clientToken is no secret and tests want to see it.
_SECRET = re.compile(
    r"authorization|cookie|secret|passw|signature|credential|assertion|api[-_]?key"
    r"|(access|refresh|id|auth|api|security|session|sas)[-_]?token|^sig$",
    re.IGNORECASE,
)


@dataclass(slots=True)
class LoggedRequest:
    """One request. The body stays as it came; it is read only when somebody looks."""

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
        """As `/control/requests` shows it; `status` is null where no answer was given."""
        return {
            "method": self.method,
            "path": self.path,
            "query": _cut(dict(parse_qsl(self.query, keep_blank_values=True)), secrets),
            "headers": _cut(dict(self.headers), secrets),
            "body_size": self.body_size,
            "json": _cut(self._content(), secrets),
            "status": self.status,
            "fault": self.fault,
            "time": self.time,
        }

    def _content(self) -> Any:
        """The body of a JSON or form request; anything else, and anything broken, is not shown at all."""
        kind = dict(self.headers).get("content-type", "")
        try:
            text = (self.body or b"").decode()
            return dict(parse_qsl(text)) if "form-urlencoded" in kind else json.loads(text)
        except ValueError:
            return None


class RequestLog:
    """The requests of all remotes, oldest first."""

    def __init__(self) -> None:
        self._seen: deque[LoggedRequest] = deque(maxlen=KEPT_REQUESTS)
        self._bodies: deque[LoggedRequest] = deque()
        self._bytes = 0
        self.secrets: set[str] = set()  # what is cut whatever it is called

    def note(self, scope: Scope, body: bytes, now: float) -> LoggedRequest:
        """Write a request down as it comes in; its status is filled in later."""
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        query = scope["query_string"].decode("latin-1")
        seen = LoggedRequest(scope["method"], scope["path"], query, headers, body, len(body), now)
        self._seen.append(seen)
        self._keep(seen)
        return seen

    def _keep(self, seen: LoggedRequest) -> None:
        if seen.body_size:
            self._bodies.append(seen)
            self._bytes += seen.body_size
        while self._bytes > KEPT_BYTES:
            oldest = self._bodies.popleft()
            self._bytes -= oldest.body_size
            oldest.body = None

    def to_json(self) -> list[dict[str, Any]]:
        """All of them, secrets cut."""
        return [seen.to_json(self.secrets) for seen in self._seen]

    def latest(self, count: int) -> list[LoggedRequest]:
        """The newest first."""
        return list(self._seen)[: -count - 1 : -1]

    def clear(self) -> None:
        """Forget them all, but not what is secret."""
        secrets = self.secrets
        self.__init__()  # type: ignore[misc]
        self.secrets = secrets


def _cut(content: Any, secrets: Collection[str] = ()) -> Any:
    if isinstance(content, dict):
        return {name: "***" if _SECRET.search(name) else _cut(value, secrets) for name, value in content.items()}
    if isinstance(content, list):
        return [_cut(item, secrets) for item in content]
    if isinstance(content, str) and any(secret in content for secret in secrets):
        return "***"
    return content
