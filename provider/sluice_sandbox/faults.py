"""Trouble to order: an answer that is late, wrong, or never comes, for requests that match."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from sluice_sandbox.settings import InvalidControlInput

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Fault:
    """What happens to the next `times` requests of this method and path, after `skip` of them were let through."""

    method: str | None = None  # None: any
    path: str = ""  # a regular expression, searched for in the whole path
    times: int = 1
    skip: int = 0
    status: int | None = None  # answered instead of doing the work
    headers: dict[str, str] | None = None
    body: Any = None  # a text as it is, anything else as JSON
    drop: str | None = None  # "before": nothing is done; "after": it is done, the answer is lost; "middle": half of it
    delay: float = 0.0  # real seconds before anything else; shorter if the client goes away

    def __post_init__(self) -> None:
        for name, (right, meaning) in _RULES.items():
            value = getattr(self, name)
            absent = value is None and getattr(Fault, name) is None
            if not absent and not right(value):
                raise InvalidControlInput(f"{name} of a fault is {meaning}, not {value!r}")
        if not (self.status or self.drop or self.delay):
            raise InvalidControlInput("a fault needs one of status, drop, delay")
        if self.status and self.drop:
            raise InvalidControlInput("a fault has a status or a drop, not both")

    def matches(self, method: str, path: str) -> bool:
        """Whether this request is meant."""
        return self.method in (None, method) and re.search(self.path, path) is not None

    def response(self) -> Response:
        """The answer given instead of the real one."""
        status, headers = self.status or 500, self.headers
        if self.body is None or isinstance(self.body, str):
            return Response(self.body or "", status, headers, media_type="text/plain")
        return JSONResponse(self.body, status, headers)

    def __str__(self) -> str:
        parts = [
            self.delay and f"delay {self.delay}",
            self.status and f"status {self.status}",
            self.drop and f"drop {self.drop}",
        ]
        return ", ".join(part for part in parts if part)


def _is_pattern(value: Any) -> bool:
    try:
        re.compile(value)
    except (re.error, TypeError):
        return False
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < float("inf")


def _is_headers(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "method": (lambda value: isinstance(value, str) and value.isupper(), "an HTTP method in capitals"),
    "path": (_is_pattern, "a regular expression"),
    "times": (lambda value: type(value) is int and value > 0, "a whole number from 1"),
    "skip": (lambda value: type(value) is int and value >= 0, "a whole number from 0"),
    "status": (lambda value: type(value) is int and 200 <= value <= 599, "an HTTP status from 200 to 599"),
    "headers": (_is_headers, "an object of texts"),
    "drop": (lambda value: value in ("before", "middle", "after"), '"before", "middle" or "after"'),
    "delay": (_is_number, "a number of seconds from 0"),
}


class Faults:
    """The trouble that is still to come, in order: the first that matches happens."""

    def __init__(self) -> None:
        self._pending: list[Fault] = []

    def replace(self, wanted: object) -> None:
        """Exactly these from now on; an empty list clears."""
        if not isinstance(wanted, list):
            raise InvalidControlInput("faults are a JSON list")
        self._pending = [_fault(each) for each in wanted]

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that befalls this request, if any; its count goes down."""
        for fault in self._pending:
            if not fault.matches(method, path):
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            fault.times -= 1
            self._pending = [each for each in self._pending if each.times]
            return fault
        return None

    def clear(self) -> None:
        """No more trouble."""
        self._pending = []

    def to_json(self) -> list[dict[str, Any]]:
        """Those pending, with what is left of their counts."""
        return [{name: value for name, value in asdict(fault).items() if value is not None} for fault in self._pending]


def _fault(wanted: object) -> Fault:
    names = [field.name for field in fields(Fault)]
    if not isinstance(wanted, dict):
        raise InvalidControlInput(f"a fault is a JSON object with some of {', '.join(names)}")
    unknown = sorted(set(wanted) - set(names))
    if unknown:
        raise InvalidControlInput(f"a fault has no {', '.join(unknown)}; it has {', '.join(names)}")
    return Fault(**wanted)
