"""The sensor for imports in Kaleidoscope."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from sluice_provider.sensors.kaleidoscope.base import KaleidoscopeSensor

if TYPE_CHECKING:
    from sluice_provider.jobs.watched_job import WatchedJob


class KaleidoscopeImportSensor(KaleidoscopeSensor):
    """Wait until an import in Kaleidoscope is over.

    Returns `{"ids", "state", "created", "updated", "skipped", "rejected"}`: the import's id, and counts of records.

    Rests on `get_import` of the vendor's client (kalbio `imports.py`).

    :param import_id: the import's id (templated)
    :param on_rejected_rows: what to do when Kaleidoscope rejected rows: fail, warn or ignore
    :param rejected_to: path or URL of a file for the rejected rows, all of them, with the reasons: `.csv`, `.jsonl` or
        `.parquet` (docs/records.md). The result then has `rejected_to`, which is None if none was rejected, and
        `rejected_rows` (templated)
    :param kaleidoscope_conn_id: Airflow connection id
    :raises RowsRejected: Kaleidoscope rejected rows
    """

    __supports_durable_execution = True

    template_fields: Sequence[str] = ("import_id", "rejected_to", "kaleidoscope_conn_id")

    def __init__(
        self,
        *,
        import_id: str,
        on_rejected_rows: Literal["fail", "warn", "ignore"] = "fail",
        rejected_to: Any = None,
        kaleidoscope_conn_id: str = "kaleidoscope_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kaleidoscope_conn_id = kaleidoscope_conn_id
        self.import_id = import_id
        self.on_rejected_rows = on_rejected_rows
        self.rejected_to = rejected_to

    def job(self) -> WatchedJob:
        from sluice_provider.apis.kaleidoscope.watched_jobs import WatchedImport

        return WatchedImport(self.import_id, self.on_rejected_rows, self.rejected_to)
