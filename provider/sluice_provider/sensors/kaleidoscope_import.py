"""The sensor for imports in Kaleidoscope."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from sluice_provider.jobs import JobRef, Work, judge_rejections
from sluice_provider.links import KaleidoscopeLink
from sluice_provider.sensors.base import JobSensor


class KaleidoscopeImportSensor(JobSensor):
    """Wait until an import in Kaleidoscope is over. Returns its id, state and counts.

    Rests on `get_import` of the vendor's client (kalbio `imports.py`).

    :param import_id: the import's id (templated)
    :param on_rejected_rows: what to do when the remote turned rows away: fail, warn or ignore
    :param kaleidoscope_conn_id: Airflow connection id
    """

    system = "kaleidoscope"
    template_fields: Sequence[str] = ("import_id", "kaleidoscope_conn_id")
    operator_extra_links = (KaleidoscopeLink(),)

    def __init__(
        self,
        *,
        import_id: str,
        on_rejected_rows: Literal["fail", "warn", "ignore"] = "fail",
        kaleidoscope_conn_id: str = "kaleidoscope_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kaleidoscope_conn_id = kaleidoscope_conn_id
        self.import_id = import_id
        self.on_rejected_rows = on_rejected_rows

    def reference(self) -> JobRef:
        return JobRef(self.system, "import", (self.import_id,))

    def judge(self, work: Work) -> None:
        judge_rejections(work, self.on_rejected_rows, self.log)
