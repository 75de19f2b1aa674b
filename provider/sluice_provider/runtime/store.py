"""Where records are stored: Airflow's task state store (3.3 and later), which outlives the worker, retries and
clearing; before 3.3 XComs, which only outlive a deferral.

Airflow gives a task instance a new id with every new try and every clear, and accepts values from the current id only.
So an accepted write proves that no newer try had started by then: a process of an older try cannot write an intent, and
without one nothing is submitted.
"""

from __future__ import annotations

from typing import Any

from sluice_provider.compat import redact
from sluice_provider.jobs.record import JobRecord, digest
from sluice_provider.jobs.storage import KEY, RecordStorage, is_summary_only


class XComValues:
    """Values in XComs of this task instance. A new try finds none."""

    def __init__(self, ti: Any) -> None:
        self._ti = ti

    def get(self, key: str) -> Any:
        return self._ti.xcom_pull(task_ids=self._ti.task_id, key=key, map_indexes=self._ti.map_index)

    def set(self, key: str, value: Any) -> None:
        self._ti.xcom_push(key=key, value=value)


def save_for_page(context: Any, record: JobRecord) -> None:
    """Write what the jobs page shows of a task that has no record. A record of an earlier try is kept."""
    store = context.get("task_state_store")
    values = store if store is not None else XComValues(context["ti"])
    head = values.get(KEY)
    if head is None or is_summary_only(head):
        storage = RecordStorage(values, redact, summary_only=True)
        storage.load()
        storage.save(record)


class TaskRecords:
    """The record of one task instance.

    :param context: the task's context
    :param durable: a retry can load it; else the task state store gets only what the jobs page shows
    """

    def __init__(self, context: Any, *, durable: bool = True) -> None:
        self._ti = context["ti"]
        self._durable = durable
        store = context.get("task_state_store")
        xcoms = XComValues(self._ti)
        self._storage = RecordStorage(store if store is not None and durable else xcoms, redact)
        self._page: RecordStorage | None = None
        if store is not None and not durable:
            self._page = RecordStorage(store, redact, summary_only=True)
        # Both numbers rise when this task is cleared; each of them alone also changes for other reasons.
        clears = int(getattr(context["dag_run"], "clear_number", 0) or 0)
        self.clears = clears, int(getattr(self._ti, "max_tries", 0) or 0)

    def seed(self, fingerprint: str) -> str:
        """Of the idempotency keys, new after every clear. If tries do not reconnect, each try has its own keys: with
        the old key a service would return the old job."""
        ti = self._ti
        try_number = [] if self._durable else [ti.try_number]
        return digest([ti.dag_id, ti.run_id, ti.task_id, ti.map_index, self.clears, fingerprint, *try_number])[:32]

    def load(self) -> JobRecord | None:
        record = self._storage.load()
        if self._page is not None:
            self._page.load()
            self._page.continue_with(record)
        return record

    def save(self, record: JobRecord, only: str = "") -> None:
        self._storage.save(record, only)
        if self._page is not None and not only:
            self._page.save(record)
