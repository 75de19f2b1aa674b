"""Registrations in Kaleidoscope as jobs, from the user's side: a file is registered, drafts are submitted.

Kaleidoscope has no idempotency keys, but everything that a request makes can be listed. So each of these jobs is one
request whose effect is searched for when its response is lost: `RegistrationPhase`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from sluice_provider.apis.kaleidoscope import registration as api
from sluice_provider.apis.kaleidoscope.drafts import get_draft_ids
from sluice_provider.apis.kaleidoscope.rejections import KeptRejections
from sluice_provider.apis.kaleidoscope.rows import REJECTION_POLICIES
from sluice_provider.apis.manifests import phase_manifest
from sluice_provider.apis.payloads import JsonObject
from sluice_provider.apis.validation import check_choice, check_id, check_ids
from sluice_provider.errors import Conflict, InvalidInput, OutcomeUnknown
from sluice_provider.http.flow import Flow
from sluice_provider.jobs.model import Job, JobGroup, check_rejections
from sluice_provider.jobs.polling import VISIBILITY_GRACE_SECONDS
from sluice_provider.jobs.record import Intent, JobRecord, PhaseRecord
from sluice_provider.jobs.spec import JobSpec, Phase, Prepared, ReconcileResult, Unit, Unknown, reconcile_by_search

Facts = Mapping[str, Any]
"""What was read before a request, and is kept in the task's record."""


class RegistrationRequest(Protocol):
    """One request to register something, or to report about a registration."""

    def prepare(self) -> Flow[Prepared]:
        """Read what is there before, as `facts`; or find what makes the request unnecessary."""

    def send(self, facts: Facts) -> Flow[str]:
        """Send it, and return the id of what it made."""

    def find(self, facts: Facts) -> Flow[str | None]:
        """Search once for what it made, which was not there before.

        :raises OutcomeUnknown: it cannot be found out, and a person must decide
        """


class RegistrationPhase(Phase):
    """One request that is not repeated blindly: when its response is lost, what is there now and was not there before
    is its effect. After a `Conflict` it is prepared again, as another client may have been faster.

    :param keep: names of the facts that the result needs
    :param visible_after: seconds after the request when its effect must be visible, if it has one
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
        self._visible_after = visible_after

    def prepare(self, unit: Unit, record: PhaseRecord) -> Flow[Prepared]:
        return self._request.prepare()

    def submit(self, unit: Unit, intent: Intent, record: PhaseRecord) -> Flow[str]:
        return self._request.send(record.facts)

    def reconcile(self, intent: Intent, record: PhaseRecord) -> Flow[ReconcileResult]:
        try:
            search = reconcile_by_search(lambda: self._request.find(record.facts), intent, self._visible_after)
            return (yield from search)
        except OutcomeUnknown as error:
            return Unknown(error)

    def settled(self, record: PhaseRecord) -> PhaseRecord:
        return record._replace(facts={name: record.facts[name] for name in self._keep if name in record.facts})


class RegistrationJob(JobSpec):
    """A job that ends with its registration, whose status is in the result."""

    service = "kaleidoscope"

    def fetch_outputs(self, phase: Phase, work: JobGroup) -> Flow[JsonObject]:
        return {"status": work.jobs[0].service_status}
        yield  # makes this a flow, though it sends nothing


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

    def preview(self) -> Flow[JsonObject]:
        """Whether the file is registered already."""
        reused = (yield from self.prepare()).found is not None
        if not reused:
            self.log.info("Would register file %s with operation %s", self.file_id, self.operation_id)
        return {"operation_id": self.operation_id, "file_id": self.file_id, "reused": reused}

    def fingerprint(self) -> Any:
        return ["register", self.operation_id, self.file_id]

    def next_phase(self, record: JobRecord) -> Phase | None:
        if record.phase("register").outcome:
            return None
        return RegistrationPhase("register", "registration", self.operation_id, self, keep=("reused",))

    def prepare(self) -> Flow[Prepared]:
        entries = yield from api.get_registration_files(self.operation_id)
        latest = api.latest_registration(entries, self.file_id)
        if latest is not None and latest.get("status") != "failed" and self.if_registered != "again":
            shown = (
                f"file {self.file_id} is registered with operation {self.operation_id} already, as {latest['id']} "
                f"(status {latest.get('status')})"
            )
            if self.if_registered == "fail":
                raise Conflict(f"{shown}; set if_registered='reuse' to wait for that registration")
            self.log.info("Nothing is submitted: %s", shown)
            return Prepared(found=str(latest["id"]), facts={"reused": True})
        before = [str(each["id"]) for each in entries if each.get("file_id") == self.file_id]
        return Prepared(facts={"before": before, "reused": False})

    def send(self, facts: Facts) -> Flow[str]:
        created = yield from api.register_file(self.operation_id, self.file_id)
        self.log.info("Kaleidoscope accepted file %s as registration %s", self.file_id, created["id"])
        return str(created["id"])

    def find(self, facts: Facts) -> Flow[str | None]:
        return api.find_registration(self.operation_id, self.file_id, facts.get("before") or ())

    def manifest(self, record: JobRecord) -> JsonObject:
        phase = record.phase("register")
        return phase_manifest(
            self,
            phase,
            operation_id=self.operation_id,
            file_id=self.file_id,
            registration_id=phase.ids[0],
            reused=bool(phase.facts.get("reused")),
        )


class SubmitDraftsJob(RegistrationJob):
    """
    :param record_ids: drafts to submit; None for all drafts of the operation
    :param validate_only: a dry run
    :param on_rejected_rows: what to do when the dry run rejected drafts: fail, warn or ignore
    """

    def __init__(
        self,
        *,
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

    def preview(self) -> Flow[JsonObject]:
        """Which drafts there are. :raises InvalidInput: there are none, or some of these are not there"""
        present = yield from get_draft_ids(self.operation_id)
        missing = [each for each in self.record_ids or () if each not in present]
        if missing or not present:
            what = f"has no draft {missing[0]}" if missing else "has no drafts"
            raise InvalidInput(f"operation {self.operation_id} {what} to submit")
        count = len(self.record_ids or present)
        verb = "validate" if self.validate_only else "submit"
        self.log.info("Would %s %d of %d drafts of operation %s", verb, count, len(present), self.operation_id)
        return {"operation_id": self.operation_id, "validate_only": self.validate_only, "drafts": count}

    def fingerprint(self) -> Any:
        return ["submit", self.operation_id, bool(self.validate_only), self.record_ids and sorted(self.record_ids)]

    def next_phase(self, record: JobRecord) -> Phase | None:
        return (
            None
            if record.phase("submit").outcome
            else RegistrationPhase("submit", "submission", self.operation_id, self)
        )

    def prepare(self) -> Flow[Prepared]:
        entries = yield from api.get_registration_submissions(self.operation_id)
        return Prepared(facts={"before": [str(each["id"]) for each in entries]})

    def send(self, facts: Facts) -> Flow[str]:
        submit = api.validate_drafts if self.validate_only else api.submit_drafts
        created = yield from submit(self.operation_id, self.record_ids)
        self.log.info("Kaleidoscope accepted the drafts as submission %s", created["id"])
        return str(created["id"])

    def find(self, facts: Facts) -> Flow[str | None]:
        found = yield from api.find_submissions(
            self.operation_id, facts.get("before") or (), self.record_ids, validation=bool(self.validate_only)
        )
        if len(found) > 1:
            raise OutcomeUnknown(
                f"the drafts of operation {self.operation_id} were submitted and no response came, and there are "
                f"{len(found)} new submissions that may be this one: {', '.join(found[:5])}. Another client submits "
                "drafts of this operation, too. Nothing was repeated. To go on, wait for the right one with "
                "KaleidoscopeRegistrationSensor and mark this task as success; or clear this task to submit again"
            )
        return found[0] if found else None

    def keep_rejections(self, phase: Phase, record: PhaseRecord, work: JobGroup) -> Flow[JsonObject]:
        return (yield from self.kept.of_job(self._whole(work.jobs[0].id), work))

    def _whole(self, submission_id: str) -> Flow[Job]:
        """With all rejections."""
        submission = yield from api.get_registration(self.operation_id, submission_id=submission_id)
        return api.registration_job(submission, shown=None)

    def check_result(self, phase: Phase, work: JobGroup) -> None:
        rest = "nothing was registered, because validate_only is set"
        check_rejections(work, self.on_rejected_rows, self.log, rest, self.kept.then())

    def manifest(self, record: JobRecord) -> JsonObject:
        phase = record.phase("submit")
        return phase_manifest(
            self,
            phase,
            operation_id=self.operation_id,
            validate_only=self.validate_only,
            submission_id=phase.ids[0],
        )
