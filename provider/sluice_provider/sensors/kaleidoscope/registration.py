"""Sensors for registrations in Kaleidoscope that another task or person submitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sluice_provider.apis.kaleidoscope.drafts import DraftSelection, get_draft_ids
from sluice_provider.apis.kaleidoscope.registrar_jobs import Registration
from sluice_provider.apis.kaleidoscope.rows import REJECTION_POLICIES
from sluice_provider.apis.validation import check_choice, check_id, check_ids
from sluice_provider.errors import SluiceError
from sluice_provider.http.flow import Flow
from sluice_provider.jobs import JobGroup, JobRef, check_rejections
from sluice_provider.jobs.record import NOTHING
from sluice_provider.jobs.spec import Phase
from sluice_provider.links import KaleidoscopeLink
from sluice_provider.runtime.sensor import RemoteJobSensor, WatchedJob

OTHER_ROWS = "all other records are valid"


class KaleidoscopeRegistrationSensor(RemoteJobSensor):
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
    :param kaleidoscope_conn_id: Airflow connection id
    """

    __supports_durable_execution = True

    service = "kaleidoscope"
    operator_extra_links = (KaleidoscopeLink(),)
    template_fields: Sequence[str] = ("operation_id", "file_id", "submission_id", "kaleidoscope_conn_id")

    def __init__(
        self,
        *,
        operation_id: str,
        file_id: str | None = None,
        submission_id: str | None = None,
        on_rejected_rows: Literal["fail", "warn", "ignore"] = "fail",
        kaleidoscope_conn_id: str = "kaleidoscope_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kaleidoscope_conn_id = kaleidoscope_conn_id
        self.operation_id = operation_id
        self.file_id = file_id
        self.submission_id = submission_id
        self.on_rejected_rows = on_rejected_rows

    def job(self) -> WatchedJob:
        registration = Registration(self.operation_id, self.file_id, self.submission_id)
        return _WatchedRegistration(registration, self.on_rejected_rows)


class KaleidoscopeDraftsSensor(RemoteJobSensor):
    """Wait until each of an operation's drafts in Kaleidoscope has a result.

    Returns `{"ids", "state", "status", "drafts", "rejected", ...}`: the operation's id, a sentence, the number of
    drafts, how many were rejected, and how many have each of Kaleidoscope's statuses (`completed`, `failed`, ...).

    Rests on `get_draft_statuses` of the vendor's client (kalbio `registration.py`, since 0.7.0).

    :param operation_id: the experiment or cycle (templated)
    :param record_ids: the drafts; without it, all drafts of the operation: those that are there when the wait begins,
        and those that are staged meanwhile. Drafts that were registered before leave no trace (templated)
    :param validate_only: wait for the results of a dry run; else for those of the registration
    :param on_rejected_rows: what to do when drafts were rejected: fail, warn or ignore
    :param kaleidoscope_conn_id: Airflow connection id
    """

    __supports_durable_execution = True

    service = "kaleidoscope"
    operator_extra_links = (KaleidoscopeLink(),)
    template_fields: Sequence[str] = ("operation_id", "record_ids", "kaleidoscope_conn_id")

    def __init__(
        self,
        *,
        operation_id: str,
        record_ids: Sequence[str] | None = None,
        validate_only: bool = False,
        on_rejected_rows: Literal["fail", "warn", "ignore"] = "fail",
        kaleidoscope_conn_id: str = "kaleidoscope_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kaleidoscope_conn_id = kaleidoscope_conn_id
        self.operation_id = operation_id
        self.record_ids = record_ids
        self.validate_only = validate_only
        self.on_rejected_rows = on_rejected_rows

    def job(self) -> WatchedJob:
        return _WatchedDrafts(self.operation_id, self.record_ids, self.validate_only, self.on_rejected_rows)


class _WatchedRegistration(WatchedJob):
    """Of a file, or of a submission of drafts."""

    service = "kaleidoscope"

    def __init__(self, registration: Registration, on_rejected_rows: str) -> None:
        self.registration = registration
        self.on_rejected_rows = on_rejected_rows

    def validate(self) -> None:
        self.registration.validate()
        check_choice("on_rejected_rows", self.on_rejected_rows, REJECTION_POLICIES)

    def reference(self) -> JobRef:
        job_type = "registered_file" if self.registration.submission_id is None else "awaited_submission"
        locator = {"operation_id": self.registration.operation_id}
        return JobRef(self.service, job_type, (self.registration.id,), locator)

    def check_result(self, phase: Phase, work: JobGroup) -> None:
        del phase
        check_rejections(work, self.on_rejected_rows, self.log, OTHER_ROWS)

    def result(self, work: JobGroup) -> dict[str, Any]:
        return {**super().result(work), "status": work.jobs[0].service_status}


class _WatchedDrafts(_WatchedRegistration):
    """All drafts of an operation, or some of them."""

    def __init__(
        self, operation_id: str, record_ids: Sequence[str] | None, validate_only: bool, on_rejected_rows: str
    ) -> None:
        self.operation_id = operation_id
        self.record_ids = record_ids
        self.validate_only = validate_only
        self.on_rejected_rows = on_rejected_rows

    def validate(self) -> None:
        check_id("operation_id", self.operation_id)
        check_ids("record_ids", self.record_ids)
        check_choice("on_rejected_rows", self.on_rejected_rows, REJECTION_POLICIES)

    def reference(self) -> JobRef:
        selection = DraftSelection(tuple(self.record_ids or ()), validation=bool(self.validate_only))
        locator = {"operation_id": self.operation_id, **selection.to_locator()}
        return JobRef(self.service, "drafts", (self.operation_id,), locator)

    def initial_locator(self) -> Flow[Mapping[str, str]]:
        """The drafts that are there when the wait begins: they leave the operation when they are registered."""
        if self.record_ids is not None:
            return NOTHING
        try:
            present = yield from get_draft_ids(self.operation_id)
        except SluiceError as error:
            self.log.warning(
                "The drafts of operation %s could not be listed before the wait, so drafts that are registered before "
                "the first status check are not waited for: %s",
                self.operation_id,
                error,
            )
            return NOTHING
        return DraftSelection(present=present).to_locator()
