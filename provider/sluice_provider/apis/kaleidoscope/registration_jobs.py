"""What both sides of a registration in Kaleidoscope ask for, as jobs: a file is registered, drafts are submitted; a
status is reported, and results.

Kaleidoscope has no idempotency keys, but it can be asked what is there. So each of them is one request that is found by
looking when its answer is lost: `OneRequest`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from sluice_provider.apis.kaleidoscope import registration as api
from sluice_provider.apis.kaleidoscope.rows import REJECTION_POLICIES, CheckedRows
from sluice_provider.apis.validation import (
    check_choice,
    check_exactly_one,
    check_id,
    check_ids,
    check_strings,
    check_text,
)
from sluice_provider.errors import Conflict, JobFailed, OutcomeUnknown
from sluice_provider.http.bodies import EncodedRows
from sluice_provider.http.flow import Flow
from sluice_provider.jobs.model import JobGroup, JobState, check_rejections
from sluice_provider.jobs.polling import VISIBILITY_GRACE_SECONDS
from sluice_provider.jobs.record import Intent, JobRecord, PhaseRecord, times
from sluice_provider.jobs.spec import JobSpec, Phase, Prepared, ReconcileResult, Unit, Unknown, reconcile_by_search

Raw = dict[str, Any]
Facts = Mapping[str, Any]

NO_JOB: Mapping[str, Any] = {"state": "running", "counts": {}}


class RegistrationRequest(Protocol):
    """One request."""

    def prepare(self) -> Flow[Prepared]:
        """What is there before, as `facts`; or what is there already and will do."""

    def send(self, facts: Facts) -> Flow[str]:
        """Submit it, and return the id of what it made."""

    def find(self, facts: Facts) -> Flow[str | None]:
        """One look for what it made, by what was there before.

        :raises OutcomeUnknown: it cannot be told, and a person must decide
        """


class OneRequest(Phase):
    """A request that is not repeated blindly: when its answer is lost, whatever is there now and was not there before
    is what it made. When somebody else was faster, what is there is asked for once more.

    :param keep: facts that the result needs
    :param landed: seconds after which not to see its effect means that it has none
    """

    prepare_again_on = (Conflict,)

    def __init__(
        self,
        name: str,
        job_type: str,
        operation_id: str,
        request: RegistrationRequest,
        *,
        keep: Collection[str] = (),
        visible_after: float = VISIBILITY_GRACE_SECONDS,
    ) -> None:
        super().__init__(name, job_type, {"operation_id": operation_id})
        self._request = request
        self._keep = keep
        self._landed = visible_after

    def prepare(self, unit: Unit, record: PhaseRecord) -> Flow[Prepared]:
        return self._request.prepare()

    def submit(self, unit: Unit, intent: Intent, record: PhaseRecord) -> Flow[str]:
        return self._request.send(record.facts)

    def reconcile(self, intent: Intent, record: PhaseRecord) -> Flow[ReconcileResult]:
        try:
            return (yield from reconcile_by_search(lambda: self._request.find(record.facts), intent, self._landed))
        except OutcomeUnknown as error:
            return Unknown(error)

    def settled(self, record: PhaseRecord) -> PhaseRecord:
        return record._replace(facts={name: record.facts[name] for name in self._keep if name in record.facts})


def _manifest(spec: JobSpec, phase: PhaseRecord, arguments: Raw, ids: Raw) -> Raw:
    outcome = phase.outcome or NO_JOB
    told = {"service": spec.service, "state": outcome["state"], **arguments, **ids}
    return {**told, **outcome.get("outputs", {}), **outcome["counts"], **times([phase])}


class RegistrationJob(JobSpec):
    """One that ends with its registration, whose own status is in the result."""

    service = "kaleidoscope"

    def fetch_outputs(self, phase: Phase, work: JobGroup) -> Flow[Raw]:
        return {"status": work.jobs[0].service_status}
        yield  # a flow, though one without a call


# --- the user's side ------------------------------------------------------------------------------------------------


class RegisterFileJob(RegistrationJob):
    """
    :param if_registered: what to do with a file that is registered already: `reuse`, `fail` or `again`
    """

    def __init__(self, *, operation_id: str, file_id: str, if_registered: str) -> None:
        self.operation_id = operation_id
        self.file_id = file_id
        self.if_registered = if_registered

    def validate(self) -> None:
        check_id("operation_id", self.operation_id)
        check_id("file_id", self.file_id)
        check_choice("if_registered", self.if_registered, ("reuse", "fail", "again"))

    def fingerprint(self) -> Any:
        return ["register", self.operation_id, self.file_id]

    def next_phase(self, record: JobRecord) -> Phase | None:
        if record.phase("register").outcome:
            return None
        return OneRequest("register", "registration", self.operation_id, self, keep=("reused",))

    def prepare(self) -> Flow[Prepared]:
        entries = yield from api.get_registration_files(self.operation_id)
        there = api.newest(entries, self.file_id)
        if there is not None and there.get("status") != "failed" and self.if_registered != "again":
            shown = f"file {self.file_id} is registered already, as {there['id']} ({there.get('status')})"
            if self.if_registered == "fail":
                raise Conflict(f"{shown}; if_registered='reuse' would continue with that")
            self.log.info("The %s", shown)
            return Prepared(found=str(there["id"]), facts={"reused": True})
        before = [str(each["id"]) for each in entries if each.get("file_id") == self.file_id]
        return Prepared(facts={"before": before, "reused": False})

    def send(self, facts: Facts) -> Flow[str]:
        made = yield from api.register_file(self.operation_id, self.file_id)
        self.log.info("Kaleidoscope accepted file %s as registration %s", self.file_id, made["id"])
        return str(made["id"])

    def find(self, facts: Facts) -> Flow[str | None]:
        return api.find_registration(self.operation_id, self.file_id, facts.get("before") or ())

    def manifest(self, record: JobRecord) -> Raw:
        phase = record.phase("register")
        ids = {"registration_id": phase.ids[0], "reused": bool(phase.facts.get("reused"))}
        return _manifest(self, phase, {"operation_id": self.operation_id, "file_id": self.file_id}, ids)


class SubmitDraftsJob(RegistrationJob):
    """
    :param record_ids: drafts to submit; None for all drafts of the operation
    :param validate_only: a dry run
    :param on_rejected_rows: what to do when the dry run rejected drafts: fail, warn or ignore
    """

    def __init__(
        self, *, operation_id: str, record_ids: Sequence[str] | None, validate_only: bool, on_rejected_rows: str
    ) -> None:
        self.operation_id = operation_id
        self.record_ids = record_ids
        self.validate_only = validate_only
        self.on_rejected_rows = on_rejected_rows

    def validate(self) -> None:
        check_id("operation_id", self.operation_id)
        check_ids("record_ids", self.record_ids)
        check_choice("on_rejected_rows", self.on_rejected_rows, REJECTION_POLICIES)

    def fingerprint(self) -> Any:
        return ["submit", self.operation_id, bool(self.validate_only), self.record_ids and sorted(self.record_ids)]

    def next_phase(self, record: JobRecord) -> Phase | None:
        return None if record.phase("submit").outcome else OneRequest("submit", "submission", self.operation_id, self)

    def prepare(self) -> Flow[Prepared]:
        entries = yield from api.get_registration_submissions(self.operation_id)
        return Prepared(facts={"before": [str(each["id"]) for each in entries]})

    def send(self, facts: Facts) -> Flow[str]:
        submit = api.validate_drafts if self.validate_only else api.submit_drafts
        made = yield from submit(self.operation_id, self.record_ids)
        self.log.info("Kaleidoscope accepted the drafts as submission %s", made["id"])
        return str(made["id"])

    def find(self, facts: Facts) -> Flow[str | None]:
        found = yield from api.find_submissions(
            self.operation_id, facts.get("before") or (), self.record_ids, validation=bool(self.validate_only)
        )
        if len(found) > 1:
            raise OutcomeUnknown(
                f"the answer to a submission was lost, and operation {self.operation_id} has {len(found)} new ones "
                f"that may be ours ({', '.join(found[:5])}): somebody else submits there, too. Wait for the right one "
                "by KaleidoscopeRegistrationSensor and mark this task as success, or clear it to submit again"
            )
        return found[0] if found else None

    def check_result(self, phase: Phase, work: JobGroup) -> None:
        check_rejections(work, self.on_rejected_rows, self.log, "nothing was registered, as validate_only says")

    def manifest(self, record: JobRecord) -> Raw:
        phase = record.phase("submit")
        arguments = {"operation_id": self.operation_id, "validate_only": self.validate_only}
        return _manifest(self, phase, arguments, {"submission_id": phase.ids[0]})


# --- the registrar's side -------------------------------------------------------------------------------------------


class Registration:
    """What the registrar reports about: a file, or a submission of drafts."""

    def __init__(self, operation_id: str, file_id: str | None, submission_id: str | None) -> None:
        self.operation_id = operation_id
        self.file_id = file_id
        self.submission_id = submission_id

    def validate(self) -> None:
        check_id("operation_id", self.operation_id)
        check_exactly_one(file_id=self.file_id, submission_id=self.submission_id)
        check_id("file_id", self.file_id, optional=True)
        check_id("submission_id", self.submission_id, optional=True)

    @property
    def id(self) -> str:
        return str(self.file_id if self.submission_id is None else self.submission_id)

    @property
    def arguments(self) -> Raw:
        return {"operation_id": self.operation_id, "file_id": self.file_id, "submission_id": self.submission_id}

    def get(self) -> Flow[Raw]:
        """As it is now. :raises NotFound: there is none"""
        return api.get_registration(self.operation_id, self.file_id, self.submission_id)


class PushStatusJob(JobSpec):
    """To report a status twice is to report it once. So when the answer is lost nobody waits for a late request; but a
    registration that is over by then is left as it is."""

    service = "kaleidoscope"

    def __init__(self, registration: Registration, *, status: str, message: str | None) -> None:
        self.registration = registration
        self.status = status
        self.message = message

    def validate(self) -> None:
        self.registration.validate()
        check_text("message", self.message, optional=True)
        check_choice("status", self.status, api.STATUSES)

    def fingerprint(self) -> Any:
        return ["status", self.registration.arguments, self.status, self.message]

    def next_phase(self, record: JobRecord) -> Phase | None:
        if record.phase("status").outcome:
            return None
        return OneRequest("status", "status", self.registration.operation_id, self, visible_after=0.0)

    def prepare(self) -> Flow[Prepared]:
        return Prepared()
        yield  # a flow, though one without a call

    def send(self, facts: Facts) -> Flow[str]:
        about = self.registration
        push = api.push_status if about.submission_id is None else api.push_submission_status
        yield from push(about.operation_id, about.id, self.status, self.message)
        return about.id

    def find(self, facts: Facts) -> Flow[str | None]:
        now = yield from self.registration.get()
        arrived = now.get("status") == self.status and (self.message is None or api.message_of(now) == self.message)
        if not arrived and api.registration_job(now).state.over:
            self.log.warning("The registration is over (%s): its status is left as it is", now.get("status"))
            arrived = True
        return self.registration.id if arrived else None

    def manifest(self, record: JobRecord) -> Raw:
        return _manifest(self, record.phase("status"), {**self.registration.arguments, "reported": self.status}, {})


class SubmitResultsJob(RegistrationJob):
    """
    :param rows: results for single records, or None; they go out in one request, as the API has it
    :param if_ended: what to do when the registration is over before results were sent: `fail` or `send`
    """

    service = "kaleidoscope"
    success_states = frozenset({JobState.SUCCEEDED, JobState.FAILED})

    def __init__(
        self,
        registration: Registration,
        rows: CheckedRows | None,
        *,
        status: str,
        message: str | None,
        key_field_names: Sequence[str] | None,
        if_ended: str,
    ) -> None:
        self.registration = registration
        self.rows = rows
        self.status = status
        self.message = message
        self.key_field_names = key_field_names
        self.if_ended = if_ended

    def validate(self) -> None:
        self.registration.validate()
        check_text("message", self.message, optional=True)
        check_choice("status", self.status, api.RESULTS)
        check_choice("if_ended", self.if_ended, ("fail", "send"))
        check_strings("key_field_names", self.key_field_names)

    def fingerprint(self) -> Any:
        keys = self.key_field_names and list(self.key_field_names)
        rows = self.rows and self.rows.digest
        return ["results", self.registration.arguments, self.status, self.message, keys, rows]

    def next_phase(self, record: JobRecord) -> Phase | None:
        if record.phase("results").outcome:
            return None
        job_type = "registration" if self.registration.submission_id is None else "submission"
        keep = ("registration_id", "records")
        return OneRequest("results", job_type, self.registration.operation_id, self, keep=keep)

    def prepare(self) -> Flow[Prepared]:
        now = yield from self.registration.get()
        if api.registration_job(now).state.over and self.if_ended == "fail":
            raise Conflict(
                f"registration {now['id']} is over already ({now.get('status')}), so it has its results; "
                "if_ended='send' would send these all the same"
            )
        before = {name: str(now.get(name) or "") for name in ("status", "updated_at")}
        records = 0 if self.rows is None else self.rows.count
        return Prepared(facts={"registration_id": str(now["id"]), **before, "records": records})

    def send(self, facts: Facts) -> Flow[str]:
        about = self.registration
        submit = api.submit_results if about.submission_id is None else api.submit_submission_results
        records = None if self.rows is None else EncodedRows(self.rows.all())
        yield from submit(about.operation_id, about.id, self.status, self.message, self.key_field_names, records)
        self.log.info("Kaleidoscope accepted the results of registration %s", facts["registration_id"])
        return str(facts["registration_id"])

    def find(self, facts: Facts) -> Flow[str | None]:
        now = yield from self.registration.get()
        if now["id"] != facts["registration_id"]:
            raise OutcomeUnknown(
                f"the answer to the results was lost, and file {self.registration.file_id} was registered again "
                f"meanwhile, as {now['id']}: look whether {facts['registration_id']} has its results; clear this task "
                "to send them to the new one, or mark it as success"
            )
        return str(now["id"]) if api.took_results(facts, now) else None

    def check_result(self, phase: Phase, work: JobGroup) -> None:
        """Where an error was reported, the registration is meant to fail."""
        check_rejections(work, "warn", self.log)
        if work.state is JobState.FAILED and self.status == "success":
            error = JobFailed(f"success was reported, and the registration failed: {work}")
            error.retryable = False  # the results were delivered, and are not sent again
            raise error

    def manifest(self, record: JobRecord) -> Raw:
        phase = record.phase("results")
        ids: Raw = {"records": int(phase.facts.get("records") or 0)}
        if self.registration.submission_id is None:
            ids = {"registration_id": phase.facts.get("registration_id") or phase.ids[0], **ids}
        return _manifest(self, phase, {**self.registration.arguments, "reported": self.status}, ids)

    def close(self) -> None:
        if self.rows is not None:
            self.rows.close()
