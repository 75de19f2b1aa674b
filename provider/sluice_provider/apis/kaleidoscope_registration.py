"""Kaleidoscope's API for registrations: what was handed in and waits for results.

Every fact rests on the vendor's published client, kalbio 0.2.4 to 0.7.0 (`kalbio/registration.py`).
"""

from __future__ import annotations

from typing import Any

from sluice_provider.apis.base import segment
from sluice_provider.calls.flow import Call, Flow, send
from sluice_provider.errors import Misunderstood

Raw = dict[str, Any]


def get_registration_files(operation_id: str) -> Flow[list[Raw]]:
    """The files registered in an operation, with their `record_errors` (kalbio `get_registration_files`)."""
    return (yield from _listed(f"operations/{segment(operation_id, 'operation_id')}/registrations"))


def get_registration_submissions(operation_id: str) -> Flow[list[Raw]]:
    """The submissions of drafts of an operation, newest first (kalbio `get_registration_submissions`)."""
    return (yield from _listed(f"operations/{segment(operation_id, 'operation_id')}/registration_submissions"))


def _listed(path: str) -> Flow[list[Raw]]:
    reply = yield from send(Call("GET", path, repeatable=True))
    answer = reply.json()
    if not isinstance(answer, list):
        raise Misunderstood(f"GET {path} answered with something that is not a JSON list: {reply.text!r:.200}")
    return answer
