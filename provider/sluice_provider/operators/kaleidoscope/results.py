"""Operators for the registrar's side of a registration in Kaleidoscope: they report a status, or results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from sluice_provider.operators.kaleidoscope.base import KaleidoscopeOperator
from sluice_provider.records import mapped, wrap_function

if TYPE_CHECKING:
    from sluice_provider.apis.kaleidoscope.registrar_jobs import PushStatusJob, SubmitResultsJob


class KaleidoscopePushRegistrationStatusOperator(KaleidoscopeOperator):
    """Set the status of a registered file or a submission in Kaleidoscope, and return at once.

    If the response is lost, the registration is read, and the status is sent again unless it has arrived or the
    registration is over.

    Returns `{"service", "state", "operation_id", "file_id", "submission_id", "reported", "submitted_at", "ended_at",
    "seconds", "url"}`. Outlets get the same as their event's extra.

    Rests on `push_status` and `push_submission_status` of the vendor's client (kalbio `registration.py`, since 0.4.0
    and 0.7.0).

    :param operation_id: the experiment or cycle (templated)
    :param status: `pending`, `validated`, `validation_failed`, `submitted`, `completed` or `failed` (templated)
    :param file_id: the registered file ... (templated)
    :param submission_id: ... or the submission (templated)
    :param message: shown with the status (templated)
    :param kaleidoscope_conn_id: Airflow connection id
    """

    __supports_durable_execution = True

    template_fields: Sequence[str] = (
        "operation_id",
        "status",
        "file_id",
        "submission_id",
        "message",
        "kaleidoscope_conn_id",
    )

    def __init__(
        self,
        *,
        operation_id: str,
        status: str,
        file_id: str | None = None,
        submission_id: str | None = None,
        message: str | None = None,
        kaleidoscope_conn_id: str = "kaleidoscope_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kaleidoscope_conn_id = kaleidoscope_conn_id
        self.operation_id = operation_id
        self.status = status
        self.file_id = file_id
        self.submission_id = submission_id
        self.message = message

    def job(self) -> PushStatusJob:
        from sluice_provider.apis.kaleidoscope.registrar_jobs import PushStatusJob, Registration

        registration = Registration(self.operation_id, self.file_id, self.submission_id)
        return PushStatusJob(registration, status=self.status, message=self.message)


class KaleidoscopeSubmitRegistrationResultsOperator(KaleidoscopeOperator):
    """Report the results of a registered file or a submission to Kaleidoscope.

    All results are read once and checked before any is sent. The API takes them in one request. If its response
    is lost, the registration is read for up to two minutes, and the results are sent again only if they have not
    arrived.

    Returns `{"service", "state", "operation_id", "file_id", "submission_id", "reported", "registration_id", "records",
    "submitted_at", "ended_at", "seconds", "url"}`, where only files have a `registration_id`; with
    `wait_for_completion=True` also `status`, Kaleidoscope's status of the registration, and `rejected`.
    Outlets get the same as their event's extra.

    Rests on `submit_results` and `submit_submission_results` of the vendor's client (kalbio `registration.py`).

    :param operation_id: the experiment or cycle (templated)
    :param status: of the whole: `success` or `error` (templated)
    :param file_id: the registered file ... (templated)
    :param submission_id: ... or the submission (templated)
    :param records: results for single records, from any source that a push takes (docs/records.md): each with
        `record_id`, `status` (a word of your own), and optionally `error_message` and `data`, a dict; other fields
        become the data (templated)
    :param columns: the columns to take, as a list of names, or as a dict that renames them, `{"csv name": "field"}`;
        `"*": "*"` in it stands for all others (templated)
    :param constants: fields that every record gets, with their values (templated)
    :param key_field_names: names of the key fields in the data (templated)
    :param message: to show with the results (templated)
    :param if_ended: what to do if the registration is over before results were sent: `fail`, or `send` them
    :param wait_for_completion: wait until Kaleidoscope has processed the results; else return when it has accepted them
    :param kaleidoscope_conn_id: Airflow connection id
    :raises InvalidInput: before anything is sent, naming the record or the line
    :raises Conflict: the registration has its results already
    :raises JobFailed: the registration failed though success was reported, with `wait_for_completion`
    :raises OutcomeUnknown: the response was lost, and the file has been registered again since
    """

    __supports_durable_execution = True

    template_fields: Sequence[str] = (
        "operation_id",
        "status",
        "file_id",
        "submission_id",
        "records",
        "columns",
        "constants",
        "key_field_names",
        "message",
        "kaleidoscope_conn_id",
    )
    template_fields_renderers = {"records": "json"}
    template_ext: Sequence[str] = (".sql",)

    def __init__(
        self,
        *,
        operation_id: str,
        status: str,
        file_id: str | None = None,
        submission_id: str | None = None,
        records: Any = None,
        columns: Mapping[str, str] | Sequence[str] | None = None,
        constants: Mapping[str, Any] | None = None,
        key_field_names: Sequence[str] | None = None,
        message: str | None = None,
        if_ended: Literal["fail", "send"] = "fail",
        wait_for_completion: bool = False,
        kaleidoscope_conn_id: str = "kaleidoscope_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(wait_for_completion=wait_for_completion, **kwargs)
        self.kaleidoscope_conn_id = kaleidoscope_conn_id
        self.operation_id = operation_id
        self.status = status
        self.file_id = file_id
        self.submission_id = submission_id
        self.records = wrap_function(records)
        self.columns = columns
        self.constants = constants
        self.key_field_names = key_field_names
        self.message = message
        self.if_ended = if_ended

    def job(self) -> SubmitResultsJob:
        from sluice_provider.apis.kaleidoscope.registrar_jobs import Registration, SubmitResultsJob

        return SubmitResultsJob(
            Registration(self.operation_id, self.file_id, self.submission_id),
            mapped(self.records, self.columns, self.constants),
            status=self.status,
            message=self.message,
            key_field_names=self.key_field_names,
            if_ended=self.if_ended,
        )
