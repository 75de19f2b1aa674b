"""Faults that tests inject (`POST /control/faults`): a delayed, wrong, truncated or missing response."""

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
    """What happens to the next `times` matching requests, after the first `skip` of them."""

    method: str | None = None  # None: any
    path: str = ""  # a regular expression, searched in the whole path
    times: int = 1
    skip: int = 0
    status: int | None = None  # answered instead of handling the request
    headers: dict[str, str] | None = None  # with `status`
    body: Any = None  # with `status`; a string is sent as it is, anything else as JSON
    drop: str | None = None  # "before": not handled; "after": handled, no response; "middle": half of the response
    delay: float = 0.0  # real seconds before anything else; shorter if the client disconnects

    def __post_init__(self) -> None:
        for name, (valid, meaning) in _VALIDATORS.items():
            value = getattr(self, name)
            absent = value is None and getattr(Fault, name) is None
            if not absent and not valid(value):
                raise InvalidControlInput(f"{name} of a fault must be {meaning}, not {value!r}")
        if not (self.status or self.drop or self.delay):
            raise InvalidControlInput("a fault needs one of status, drop, delay")
        if self.status and self.drop:
            raise InvalidControlInput("a fault has either status or drop, not both")

    def matches(self, method: str, path: str) -> bool:
        """Whether the fault applies to this request."""
        return self.method in (None, method) and re.search(self.path, path) is not None

    def response(self) -> Response:
        """The response sent instead of the service's."""
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


_VALIDATORS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "method": (lambda value: isinstance(value, str) and value.isupper(), "an HTTP method in upper case"),
    "path": (_is_pattern, "a regular expression"),
    "times": (lambda value: type(value) is int and value > 0, "an integer, 1 or greater"),
    "skip": (lambda value: type(value) is int and value >= 0, "an integer, 0 or greater"),
    "status": (lambda value: type(value) is int and 200 <= value <= 599, "an HTTP status from 200 to 599"),
    "headers": (_is_headers, "an object of strings"),
    "drop": (lambda value: value in ("before", "middle", "after"), '"before", "middle" or "after"'),
    "delay": (_is_number, "a number of seconds, 0 or greater"),
}


class Faults:
    """The pending faults in order; the first that matches a request is applied."""

    def __init__(self) -> None:
        self._pending: list[Fault] = []

    def replace(self, faults: object) -> None:
        """Replace all pending faults; an empty list removes them.

        :raises InvalidControlInput: a fault is invalid; nothing is replaced
        """
        if not isinstance(faults, list):
            raise InvalidControlInput("faults must be a JSON list")
        self._pending = [_parse(each) for each in faults]

    def take(self, method: str, path: str) -> Fault | None:
        """The fault for this request, if there is one; its counter goes down."""
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
        """Remove all."""
        self._pending = []

    def to_json(self) -> list[dict[str, Any]]:
        """The pending faults with their remaining counts."""
        return [{name: value for name, value in asdict(fault).items() if value is not None} for fault in self._pending]


def _parse(fault: object) -> Fault:
    names = [field.name for field in fields(Fault)]
    if not isinstance(fault, dict):
        raise InvalidControlInput(f"a fault must be a JSON object with some of {', '.join(names)}")
    unknown = sorted(set(fault) - set(names))
    if unknown:
        raise InvalidControlInput(f"unknown member of a fault: {', '.join(unknown)}; known: {', '.join(names)}")
    return Fault(**fault)
