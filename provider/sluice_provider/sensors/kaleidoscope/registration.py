"""Sensors for registrations in Kaleidoscope that another task or person submitted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from sluice_provider.sensors.kaleidoscope.base import KaleidoscopeSensor

if TYPE_CHECKING:
    from sluice_provider.jobs.watched_job import WatchedJob


class KaleidoscopeRegistrationSensor(KaleidoscopeSensor):
    """Wait until a registration in Kaleidoscope is over: of a file, or of a submission of drafts.

    A file that is not registered yet, or a submission that does not exist yet, is waited for. Of a file that was
    registered several times, the last registration counts. A registration that failed fails the sensor; where it was a
    dry run and rejected drafts, `on_rejected_rows` says what that means.

    Returns `{"ids", "state", "status", "records", "rejected"}`: the id of the registration or submission, and `records`
    of a submission only.

    Rests on `get_registration_files` and `get_registration_submissions` of the vendor's client (kalbio
    `registration.py`).

    :param operation_id: the experiment or cycle (templated)
    :param file_id: the file ... (templated)
    :param submission_id: ... or the submission (templated)
    :param on_rejected_rows: what to do when a dry run rejected drafts: fail, warn or ignore
    :param rejected_to: path or URL of a file for the rejected rows, all of them, with the reasons: `.csv`, `.jsonl` or
        `.parquet` (docs/records.md). The result then has `rejected_to`, which is None if none was rejected, and
        `rejected_rows` (templated)
    :param kaleidoscope_conn_id: Airflow connection id
    """

    __supports_durable_execution = True

    template_fields: Sequence[str] = ("operation_id", "file_id", "submission_id", "rejected_to", "kaleidoscope_conn_id")

    def __init__(
        self,
        *,
        operation_id: str,
        file_id: str | None = None,
        submission_id: str | None = None,
        on_rejected_rows: Literal["fail", "warn", "ignore"] = "fail",
        rejected_to: Any = None,
        kaleidoscope_conn_id: str = "kaleidoscope_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kaleidoscope_conn_id = kaleidoscope_conn_id
        self.operation_id = operation_id
        self.file_id = file_id
        self.submission_id = submission_id
        self.on_rejected_rows = on_rejected_rows
        self.rejected_to = rejected_to

    def job(self) -> WatchedJob:
        from sluice_provider.apis.kaleidoscope.registrar_jobs import Registration
        from sluice_provider.apis.kaleidoscope.watched_jobs import WatchedRegistration

        registration = Registration(self.operation_id, self.file_id, self.submission_id)
        return WatchedRegistration(registration, self.on_rejected_rows, self.rejected_to)


class KaleidoscopeDraftsSensor(KaleidoscopeSensor):
    """Wait until each of an operation's drafts in Kaleidoscope has a result.

    Returns `{"ids", "state", "status", "drafts", "rejected", ...}`: the operation's id, a sentence, the number of
    drafts, how many were rejected, and how many have each of Kaleidoscope's statuses (`completed`, `failed`, ...).

    Rests on `get_draft_statuses` of the vendor's client (kalbio `registration.py`, since 0.7.0).

    :param operation_id: the experiment or cycle (templated)
    :param record_ids: the drafts; without it, all drafts of the operation: those that are there when the wait begins,
        and those that are staged meanwhile. Drafts that were registered before leave no trace (templated)
    :param validate_only: wait for the results of a dry run; else for those of the registration
    :param on_rejected_rows: what to do when drafts were rejected: fail, warn or ignore
    :param rejected_to: path or URL of a file for the rejected rows, all of them, with the reasons: `.csv`, `.jsonl` or
        `.parquet` (docs/records.md). The result then has `rejected_to`, which is None if none was rejected, and
        `rejected_rows` (templated)
    :param kaleidoscope_conn_id: Airflow connection id
    """

    __supports_durable_execution = True

    template_fields: Sequence[str] = ("operation_id", "record_ids", "rejected_to", "kaleidoscope_conn_id")

    def __init__(
        self,
        *,
        operation_id: str,
        record_ids: Sequence[str] | None = None,
        validate_only: bool = False,
        on_rejected_rows: Literal["fail", "warn", "ignore"] = "fail",
        rejected_to: Any = None,
        kaleidoscope_conn_id: str = "kaleidoscope_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kaleidoscope_conn_id = kaleidoscope_conn_id
        self.operation_id = operation_id
        self.record_ids = record_ids
        self.validate_only = validate_only
        self.on_rejected_rows = on_rejected_rows
        self.rejected_to = rejected_to

    def job(self) -> WatchedJob:
        from sluice_provider.apis.kaleidoscope.watched_jobs import WatchedDrafts

        return WatchedDrafts(
            self.operation_id, self.record_ids, self.validate_only, self.on_rejected_rows, self.rejected_to
        )
