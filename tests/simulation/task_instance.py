"""Airflow as far as a task can see it: one task instance, its tries, its store, its triggers. As measured in 3.3.2:

- A task instance gets a new id when a try has failed, and when it is cleared; the store takes values from the current
  id only. XComs are cleared when a new try begins.
- Marking a running or deferred task tells its process, or its trigger, to stop a few seconds later.
"""

from __future__ import annotations

from itertools import count
from typing import Any


class Rejected(Exception):
    """Airflow's API does not take this: it comes from a try that is not the latest one, or the API is away."""


class TaskInstance:
    """
    :param retries: how often a failed try is followed by another one
    """

    def __init__(self, retries: int) -> None:
        self._ids = count(1)
        self._retries = retries
        self.id = next(self._ids)
        self.try_number = 0
        self.max_tries = retries
        self.clear_number = 0
        self.state = "scheduled"
        self.store: dict[str, Any] = {}
        self.xcoms: dict[str, Any] = {}
        self.user_ended: list[str] = []
        self.clears = 0

    @property
    def over(self) -> bool:
        return self.state in ("success", "failed")

    # --- what the scheduler and the API do

    def begin_try(self) -> int:
        self.try_number += 1
        self.state, self.xcoms = "running", {}
        return self.id

    def resume(self) -> int:
        self.state = "running"
        return self.id

    def defer(self, ti_id: int) -> bool:
        if ti_id != self.id or self.state != "running":
            return False
        self.state = "deferred"
        return True

    def end(self, ti_id: int, state: str, *, retry: bool = True) -> bool:
        """A process reports its end, or Airflow misses its heartbeats. What comes from an old try is ignored."""
        if self.state == "restarting":  # whichever process it was: the executor has seen it end
            self.state = "scheduled"
            return True
        if ti_id != self.id:
            return False
        if self.state not in ("running", "deferred"):
            return False
        if state == "failed" and retry and self.try_number <= self.max_tries:
            self.state, self.id = "up_for_retry", next(self._ids)
        else:
            self.state = state
        return True

    # --- what a user does

    def mark(self, state: str) -> None:
        self.state = state
        self.user_ended.append(state)

    def clear(self) -> None:
        self.clears += 1
        self.clear_number += 1
        self.id = next(self._ids)
        self.max_tries = self.try_number + self._retries
        self.state = "restarting" if self.state == "running" else "scheduled"


class Store:
    """The task state store as one process sees it."""

    def __init__(self, ti: TaskInstance, ti_id: int) -> None:
        self._ti = ti
        self._ti_id = ti_id

    def get(self, key: str) -> Any:
        return self._ti.store.get(key) if self._ti_id == self._ti.id else None

    def set(self, key: str, value: Any) -> None:
        if self._ti_id != self._ti.id:
            raise Rejected("404: task instance not found")
        self._ti.store[key] = value
