"""The state of a record in one line, by which the jobs page counts, filters and sorts records in SQL.

    submitted_at      ended_at          state           service
    0001764374400.000 0001764374460.500 succeeded       kaleidoscope

All columns but the last one have a fixed width. So SQL takes each one by its position, and compares times as text: it
parses no JSON and converts no text to a number, which would fail for a line that a user has edited.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sluice_provider.jobs.record import number

UNFINISHED = ("submitting", "running", "cancelling", "not_found")
"""The states that may change while the task waits. A job in another one has ended, or is no longer polled."""

TIME_WIDTH, STATE_WIDTH, MAX_SERVICE_LENGTH = 17, 15, 100
ENDED_AT = TIME_WIDTH + 1
STATE = ENDED_AT + TIME_WIDTH + 1
SERVICE = STATE + STATE_WIDTH + 1
"""Where these columns begin, counted from 0."""


def state_line(summary: Mapping[str, Any]) -> str:
    """The line of a record with this summary. The job of an unfinished record ended at 0."""
    state = _word(summary.get("state") or "submitting")
    updated_at = number(summary.get("updated_at"))
    submitted_at = number(summary.get("submitted_at")) or updated_at
    ended_at = 0.0 if state in UNFINISHED else number(summary.get("ended_at")) or updated_at
    service = _word(summary.get("service") or "unknown")
    times = f"{time_column(submitted_at)} {time_column(ended_at)}"
    return f"{times} {state[:STATE_WIDTH]:{STATE_WIDTH}} {service[:MAX_SERVICE_LENGTH]}"


def _word(value: Any) -> str:
    """Without what separates columns, and what JSON would write in more characters."""
    return re.sub(r"[^\w.-]", "_", str(value), flags=re.ASCII)


def time_column(seconds: float) -> str:
    """Unix seconds in a fixed width: such texts sort like times."""
    return f"{min(max(seconds, 0.0), 1e12):0{TIME_WIDTH}.3f}"
