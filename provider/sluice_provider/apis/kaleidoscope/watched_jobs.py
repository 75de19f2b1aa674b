"""What the sensors for Kaleidoscope wait for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sluice_provider.apis.kaleidoscope.drafts import DraftSelection, get_draft_ids, get_drafts
from sluice_provider.apis.kaleidoscope.endpoints import get_import, import_job
from sluice_provider.apis.kaleidoscope.registrar_jobs import Registration
from sluice_provider.apis.kaleidoscope.registration import registration_job
from sluice_provider.apis.kaleidoscope.rejections import KeptRejections
from sluice_provider.apis.kaleidoscope.rows import REJECTION_POLICIES
from sluice_provider.apis.validation import check_choice, check_id, check_ids
from sluice_provider.errors import SluiceError
from sluice_provider.http.flow import Flow
from sluice_provider.jobs import Job, JobGroup, JobRef, check_rejections
from sluice_provider.jobs.record import NOTHING, PhaseRecord
from sluice_provider.jobs.spec import Phase
from sluice_provider.jobs.watched_job import WatchedJob

OTHER_ROWS = "all other records are valid"


class WatchedImport(WatchedJob):
    """An import of records."""

    service = "kaleidoscope"

    def __init__(self, import_id: str, on_rejected_rows: str, rejected_to: Any = None) -> None:
        self.kept = KeptRejections(rejected_to)
        self.import_id = import_id
        self.on_rejected_rows = on_rejected_rows

    def validate(self) -> None:
        check_id("import_id", self.import_id)
        self.kept.validate()
        check_choice("on_rejected_rows", self.on_rejected_rows, REJECTION_POLICIES)

    def reference(self) -> JobRef:
        return JobRef(self.service, "import", (self.import_id,))

    def keep_rejections(self, phase: Phase, record: PhaseRecord, work: JobGroup) -> Flow[dict[str, Any]]:
        del phase, record
        return (yield from self.kept.of_job(self._whole(), work))

    def _whole(self) -> Flow[Job]:
        return import_job((yield from get_import(self.import_id)), shown=None)

    def check_result(self, phase: Phase, work: JobGroup) -> None:
        del phase
        check_rejections(work, self.on_rejected_rows, self.log, then=self.kept.then())


class WatchedRegistration(WatchedJob):
    """A registration, of a file or of a submission of drafts."""

    service = "kaleidoscope"

    def __init__(self, registration: Registration, on_rejected_rows: str, rejected_to: Any = None) -> None:
        self.kept = KeptRejections(rejected_to)
        self.registration = registration
        self.on_rejected_rows = on_rejected_rows

    def validate(self) -> None:
        self.registration.validate()
        self.kept.validate()
        check_choice("on_rejected_rows", self.on_rejected_rows, REJECTION_POLICIES)

    def reference(self) -> JobRef:
        job_type = "registered_file" if self.registration.submission_id is None else "awaited_submission"
        locator = {"operation_id": self.registration.operation_id}
        return JobRef(self.service, job_type, (self.registration.id,), locator)

    def keep_rejections(self, phase: Phase, record: PhaseRecord, work: JobGroup) -> Flow[dict[str, Any]]:
        return (yield from self.kept.of_job(self._whole({**phase.locator, **record.locator}), work))

    def _whole(self, locator: Mapping[str, str]) -> Flow[Job]:
        """With all rejections."""
        del locator
        return registration_job((yield from self.registration.get()), shown=None)

    def check_result(self, phase: Phase, work: JobGroup) -> None:
        del phase
        check_rejections(work, self.on_rejected_rows, self.log, OTHER_ROWS, self.kept.then())

    def result(self, work: JobGroup) -> dict[str, Any]:
        return {**super().result(work), "status": work.jobs[0].service_status}


class WatchedDrafts(WatchedRegistration):
    """All drafts of an operation, or some of them."""

    def __init__(
        self,
        operation_id: str,
        record_ids: Sequence[str] | None,
        validate_only: bool,
        on_rejected_rows: str,
        rejected_to: Any = None,
    ) -> None:
        self.kept = KeptRejections(rejected_to)
        self.operation_id = operation_id
        self.record_ids = record_ids
        self.validate_only = validate_only
        self.on_rejected_rows = on_rejected_rows

    def validate(self) -> None:
        check_id("operation_id", self.operation_id)
        check_ids("record_ids", self.record_ids)
        self.kept.validate()
        check_choice("on_rejected_rows", self.on_rejected_rows, REJECTION_POLICIES)

    def reference(self) -> JobRef:
        selection = DraftSelection(tuple(self.record_ids or ()), validation=bool(self.validate_only))
        locator = {"operation_id": self.operation_id, **selection.to_locator()}
        return JobRef(self.service, "drafts", (self.operation_id,), locator)

    def _whole(self, locator: Mapping[str, str]) -> Flow[Job]:
        return get_drafts(self.operation_id, locator, shown=None)

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
