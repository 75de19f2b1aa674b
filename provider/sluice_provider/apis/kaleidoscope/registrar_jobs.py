"""Registrations in Kaleidoscope as jobs, from the registrar's side: a status is reported, and results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sluice_provider.apis.checked_rows import CheckedRows
from sluice_provider.apis.kaleidoscope import registration as api
from sluice_provider.apis.kaleidoscope.registration_jobs import Facts, RegistrationJob, RegistrationPhase
from sluice_provider.apis.kaleidoscope.result_rows import one_result_per_record
from sluice_provider.apis.manifests import phase_manifest
from sluice_provider.apis.payloads import JsonObject
from sluice_provider.apis.validation import check_choice, check_exactly_one, check_id, check_strings, check_text
from sluice_provider.errors import Conflict, JobFailed, OutcomeUnknown
from sluice_provider.http.flow import Flow
from sluice_provider.jobs.model import JobGroup, JobState, check_rejections
from sluice_provider.jobs.record import JobRecord
from sluice_provider.jobs.spec import JobSpec, Phase, Prepared


class Registration(NamedTuple):
    """A registered file, or a submission of drafts. The other id is None."""

    operation_id: str
    file_id: str | None
    submission_id: str | None

    def validate(self) -> None:
        """:raises InvalidInput: an id is wrong, or it is not exactly one of the two"""
        check_id("operation_id", self.operation_id)
        check_exactly_one(file_id=self.file_id, submission_id=self.submission_id)
        check_id("file_id", self.file_id, optional=True)
        check_id("submission_id", self.submission_id, optional=True)

    @property
    def id(self) -> str:
        return str(self.file_id if self.submission_id is None else self.submission_id)

    def get(self) -> Flow[JsonObject]:
        """As it is now. :raises NotFound: there is none"""
        return api.get_registration(*self)


class PushStatusJob(JobSpec):
    """Reporting a status is idempotent, so a lost response needs no wait for a late request; but the status of a
    registration that is over by then is not changed."""

    service = "kaleidoscope"

    def __init__(self, registration: Registration, *, status: str, message: str | None) -> None:
        self.registration = registration
        self.status = status
        self.message = message

    def validate(self) -> None:
        self.registration.validate()
        check_text("message", self.message, optional=True)
        check_choice("status", self.status, api.STATUSES)

    def preview(self) -> Flow[JsonObject]:
        """The registration's status now."""
        now = yield from self.registration.get()
        current = now.get("status")
        if api.registration_job(now).state.over:
            self.log.warning("Registration %s is over (status %s): its status would not be changed", now["id"], current)
        else:
            self.log.info("Would change the status of registration %s from %s to %s", now["id"], current, self.status)
        return {**self.registration._asdict(), "reported": self.status, "current_status": current}

    def fingerprint(self) -> Any:
        return ["status", self.registration._asdict(), self.status, self.message]

    def next_phase(self, record: JobRecord) -> Phase | None:
        if record.phase("status").outcome:
            return None
        return RegistrationPhase("status", "status", self.registration.operation_id, self, visible_after=0.0)

    def prepare(self) -> Flow[Prepared]:
        return Prepared()
        yield  # makes this a flow, though it sends nothing

    def send(self, facts: Facts) -> Flow[str]:
        target = self.registration
        push = api.push_status if target.submission_id is None else api.push_submission_status
        yield from push(target.operation_id, target.id, self.status, self.message)
        return target.id

    def find(self, facts: Facts) -> Flow[str | None]:
        now = yield from self.registration.get()
        arrived = now.get("status") == self.status and (self.message is None or api.status_message(now) == self.message)
        if not arrived and api.registration_job(now).state.over:
            self.log.warning(
                "Registration %s is over (status %s): its status is not changed", now["id"], now.get("status")
            )
            arrived = True
        return self.registration.id if arrived else None

    def manifest(self, record: JobRecord) -> JsonObject:
        return phase_manifest(self, record.phase("status"), **self.registration._asdict(), reported=self.status)


class SubmitResultsJob(RegistrationJob):
    """
    :param records: results of single records, or None; the API takes them in one request
    :param if_ended: what to do if the registration is over before results were sent: `fail` or `send`
    """

    service = "kaleidoscope"
    success_states = frozenset({JobState.SUCCEEDED, JobState.FAILED})

    def __init__(
        self,
        registration: Registration,
        records: Any,
        *,
        status: str,
        message: str | None,
        key_field_names: Sequence[str] | None,
        if_ended: str,
    ) -> None:
        self.registration = registration
        self.rows = None if records is None else CheckedRows(records, one_result_per_record())
        self.status = status
        self.message = message
        self.key_field_names = key_field_names
        self.if_ended = if_ended

    def validate(self) -> None:
        self.registration.validate()
        check_text("message", self.message, optional=True)
        check_choice("status", self.status, api.RESULT_STATUSES)
        check_choice("if_ended", self.if_ended, ("fail", "send"))
        check_strings("key_field_names", self.key_field_names)

    def preview(self) -> Flow[JsonObject]:
        """Whether the registration takes results."""
        facts = (yield from self.prepare()).facts
        what = f"report {self.status} for registration {facts['registration_id']}, now {facts['status']}"
        if self.rows is None:
            self.log.info("Would %s", what)
        else:
            self.rows.log_first(self.log, what)
        return {**self.registration._asdict(), "reported": self.status, "records": facts["records"]}

    def fingerprint(self) -> Any:
        keys = self.key_field_names and list(self.key_field_names)
        rows = self.rows and self.rows.digest
        return ["results", self.registration._asdict(), self.status, self.message, keys, rows]

    def next_phase(self, record: JobRecord) -> Phase | None:
        if record.phase("results").outcome:
            return None
        job_type = "registration" if self.registration.submission_id is None else "submission"
        keep = ("registration_id", "records")
        return RegistrationPhase("results", job_type, self.registration.operation_id, self, keep=keep)

    def prepare(self) -> Flow[Prepared]:
        now = yield from self.registration.get()
        if api.registration_job(now).state.over and self.if_ended == "fail":
            raise Conflict(
                f"registration {now['id']} of operation {self.registration.operation_id} is over (status "
                f"{now.get('status')}), so it has results already; set if_ended='send' to send these all the same"
            )
        before = {name: str(now.get(name) or "") for name in ("status", "updated_at")}
        records = 0 if self.rows is None else self.rows.total
        return Prepared(facts={"registration_id": str(now["id"]), **before, "records": records})

    def send(self, facts: Facts) -> Flow[str]:
        target = self.registration
        submit = api.submit_results if target.submission_id is None else api.submit_submission_results
        records = None if self.rows is None else self.rows.encoded()
        yield from submit(target.operation_id, target.id, self.status, self.message, self.key_field_names, records)
        self.log.info("Kaleidoscope accepted the results of registration %s", facts["registration_id"])
        return str(facts["registration_id"])

    def find(self, facts: Facts) -> Flow[str | None]:
        now = yield from self.registration.get()
        if now["id"] != facts["registration_id"]:
            raise OutcomeUnknown(
                f"results were sent for registration {facts['registration_id']} and no response came, and file "
                f"{self.registration.file_id} has been registered again since, as {now['id']}. Nothing was repeated. "
                f"Check in Kaleidoscope whether {facts['registration_id']} has its results: if so, mark this task as "
                "success; clear this task to send the results to the new registration"
            )
        return str(now["id"]) if api.results_arrived(facts, now) else None

    def check_result(self, phase: Phase, work: JobGroup) -> None:
        """A registration for which an error was reported is expected to fail."""
        check_rejections(work, "warn", self.log)
        if work.state is JobState.FAILED and self.status == "success":
            error = JobFailed(
                f"the results were delivered with status success, and the registration failed all the same: {work}"
            )
            error.retryable = False  # the results were delivered, and are not sent again
            raise error

    def manifest(self, record: JobRecord) -> JsonObject:
        phase = record.phase("results")
        ids: JsonObject = {}
        if self.registration.submission_id is None:
            ids = {"registration_id": phase.facts.get("registration_id") or phase.ids[0]}
        records = int(phase.facts.get("records") or 0)
        return phase_manifest(self, phase, **self.registration._asdict(), reported=self.status, **ids, records=records)

    def close(self) -> None:
        if self.rows is not None:
            self.rows.close()
