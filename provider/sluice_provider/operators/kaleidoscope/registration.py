"""Operators for the user's side of a registration in Kaleidoscope: they register a file, or submit drafts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from sluice_provider.operators.kaleidoscope.base import KaleidoscopeOperator

if TYPE_CHECKING:
    from sluice_provider.apis.kaleidoscope.registration_jobs import RegisterFileJob, SubmitDraftsJob


class KaleidoscopeRegisterFileOperator(KaleidoscopeOperator):
    """Register a file with an operation in Kaleidoscope, wait until the registrar has reported, and return the
    result.

    A file that is registered already, and not failed, is not registered again: the task waits for that registration. If
    the response is lost, the operation's registrations are searched before the file is registered again.

    Returns `{"service", "state", "operation_id", "file_id", "registration_id", "reused", "status", "rejected",
    "submitted_at", "ended_at", "seconds", "url"}`; with `wait_for_completion=False` `status` and `rejected` are
    missing. Outlets get the same as their event's extra.

    Rests on `register_file` of the vendor's client (kalbio `registration.py`, since 0.4.0).

    :param operation_id: the experiment or cycle (templated)
    :param file_id: an uploaded file (templated)
    :param if_registered: what to do with a file that is registered with this operation already: `reuse` that one,
        `fail`, or register it `again`; a registration that failed is never reused
    :param kaleidoscope_conn_id: Airflow connection id
    :raises Conflict: it is registered already, with `if_registered="fail"`
    :raises JobFailed: the registration failed; with the registrar's errors on single records
    """

    __supports_durable_execution = True

    template_fields: Sequence[str] = ("operation_id", "file_id", "kaleidoscope_conn_id")

    def __init__(
        self,
        *,
        operation_id: str,
        file_id: str,
        if_registered: Literal["reuse", "fail", "again"] = "reuse",
        kaleidoscope_conn_id: str = "kaleidoscope_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kaleidoscope_conn_id = kaleidoscope_conn_id
        self.operation_id = operation_id
        self.file_id = file_id
        self.if_registered = if_registered

    def job(self) -> RegisterFileJob:
        from sluice_provider.apis.kaleidoscope.registration_jobs import RegisterFileJob

        return RegisterFileJob(operation_id=self.operation_id, file_id=self.file_id, if_registered=self.if_registered)


class KaleidoscopeSubmitDraftsOperator(KaleidoscopeOperator):
    """Submit drafts of an operation in Kaleidoscope for registration, or for a dry run, wait until the registrar has
    reported, and return the result.

    If the response is lost, the operation's submissions are searched before the drafts are submitted again.

    Returns `{"service", "state", "operation_id", "validate_only", "submission_id", "status", "records", "rejected",
    "submitted_at", "ended_at", "seconds", "url"}`; with `wait_for_completion=False` `status` and the counts are
    missing. Outlets get the same as their event's extra.

    Rests on `submit_drafts` and `validate_drafts` of the vendor's client (kalbio `registration.py`, since 0.7.0).

    :param operation_id: the experiment or cycle (templated)
    :param record_ids: drafts to submit; without it, all drafts of the operation (templated)
    :param validate_only: have the registrar validate each draft, and register nothing
    :param on_rejected_rows: what to do when a dry run rejected drafts: fail (without a retry), warn or ignore; a
        registration that failed always fails the task
    :param rejected_to: path or URL of a file for the rejected rows, all of them, with the reasons: `.csv`, `.jsonl` or
        `.parquet` (docs/records.md). The result then has `rejected_to`, which is None if none was rejected, and
        `rejected_rows` (templated)
    :param kaleidoscope_conn_id: Airflow connection id
    :raises RowsRejected: the dry run rejected drafts
    :raises JobFailed: the submission failed; with the registrar's errors on single drafts
    :raises OutcomeUnknown: the response was lost, and several new submissions may be this one
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

    def job(self) -> SubmitDraftsJob:
        from sluice_provider.apis.kaleidoscope.registration_jobs import SubmitDraftsJob

        return SubmitDraftsJob(
            operation_id=self.operation_id,
            record_ids=self.record_ids,
            validate_only=self.validate_only,
            on_rejected_rows=self.on_rejected_rows,
            rejected_to=self.rejected_to,
        )
