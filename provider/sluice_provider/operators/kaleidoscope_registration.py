"""Tasks on the user's side of a registration in Kaleidoscope: a file is registered, drafts are submitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from sluice_provider.apis import kaleidoscope_registration as api
from sluice_provider.apis.kaleidoscope_rules import POLICIES, check_choice, check_ids, check_list_of_ids
from sluice_provider.errors import Conflict, OutcomeUnknown
from sluice_provider.jobs import judge_rejections
from sluice_provider.journal import digest
from sluice_provider.operators.kaleidoscope_once import OnceOperator

if TYPE_CHECKING:
    from sluice_provider.calls.flow import Flow
    from sluice_provider.jobs import Work
    from sluice_provider.journal import Entry, Journal, Story
    from sluice_provider.operators.asking import Asking, Phase


class RegistrationOperator(OnceOperator):
    """What registering a file and submitting drafts have in common: the registrar's errors on single records."""

    def _end(self, journal: Journal, story: Story, phase: Phase, entry: Entry, work: Work) -> None:
        if work.state not in self.wanted:
            judge_rejections(work, "warn", self.log)
        super()._end(journal, story, phase, entry, work)


class KaleidoscopeRegisterFileOperator(RegistrationOperator):
    """Register a file with an operation in Kaleidoscope, wait until the registrar has reported, and return what became
    of it.

    A file that is registered already, and not failed, is not registered again: the task goes on with what is there.

    Returns `{"system", "state", "operation_id", "file_id", "registration_id", "reused", "status", "rejected",
    "asked_at", "ended_at", "seconds", "url"}`; with `wait_for_completion=False` `status` and `rejected` are missing.
    Outlets get the same as their event's extra.

    Rests on `register_file` of the vendor's client (kalbio `registration.py`, since 0.4.0).

    :param operation_id: the experiment or cycle (templated)
    :param file_id: an uploaded file (templated)
    :param if_registered: what to do with a file that is registered with this operation already: `reuse` what is there,
        `fail`, or register it `again`; a registration that failed is never reused
    :param kaleidoscope_conn_id: Airflow connection id
    :raises Conflict: it is registered already, with `if_registered="fail"`
    :raises JobFailed: the registration failed; with the registrar's errors on single records
    """

    phase = "register"
    kind = "registration"
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

    def check(self) -> None:
        check_ids(self, "operation_id", "file_id")
        check_choice(self, "if_registered", ("reuse", "fail", "again"))

    def told(self) -> dict[str, Any]:
        return {"operation_id": self.operation_id, "file_id": self.file_id}

    def prepare(self, asking: Asking) -> str | None:
        entries = asking.run(api.get_registration_files(self.operation_id))
        there = api.newest(entries, self.file_id)
        if there is not None and there.get("status") != "failed" and self.if_registered != "again":
            shown = f"file {self.file_id} is registered already, as {there['id']} ({there.get('status')})"
            if self.if_registered == "fail":
                raise Conflict(f"{shown}; if_registered='reuse' would go on with that")
            self.log.info("The %s", shown)
            asking.note(reused="yes")
            return str(there["id"])
        asking.entry.note.pop("reused", None)
        asking.note(before=" ".join(str(each["id"]) for each in entries if each.get("file_id") == self.file_id))
        return None

    def request(self, asking: Asking) -> Flow[str]:
        del asking
        return _id_of(api.register_file(self.operation_id, self.file_id))

    def find(self, note: Mapping[str, str]) -> Flow[str | None]:
        return api.find_registration(self.operation_id, self.file_id, note.get("before", "").split())

    def ids(self, entry: Entry) -> dict[str, Any]:
        return {"registration_id": entry.ids[0], "reused": "reused" in entry.note}


class KaleidoscopeSubmitDraftsOperator(RegistrationOperator):
    """Submit drafts of an operation in Kaleidoscope for registration, or for a dry run, wait until the registrar has
    reported, and return what became of them.

    Returns `{"system", "state", "operation_id", "validate_only", "submission_id", "status", "records", "rejected",
    "asked_at", "ended_at", "seconds", "url"}`; with `wait_for_completion=False` `status` and the counts are missing.
    Outlets get the same as their event's extra.

    Rests on `submit_drafts` and `validate_drafts` of the vendor's client (kalbio `registration.py`, since 0.7.0).

    :param operation_id: the experiment or cycle (templated)
    :param record_ids: drafts to submit; without it, all drafts of the operation (templated)
    :param validate_only: ask the registrar for a verdict on each draft, and register nothing
    :param on_rejected_rows: what to do when a dry run turned drafts away: fail (without a retry), warn or ignore; a
        registration that failed always fails the task
    :param kaleidoscope_conn_id: Airflow connection id
    :raises RowsRejected: the dry run turned drafts away
    :raises JobFailed: the submission failed; with the registrar's errors on single drafts
    """

    phase = "submit"
    kind = "submission"
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

    def check(self) -> None:
        check_ids(self, "operation_id")
        check_list_of_ids(self, "record_ids")
        check_choice(self, "on_rejected_rows", POLICIES)

    def told(self) -> dict[str, Any]:
        return {"operation_id": self.operation_id, "validate_only": self.validate_only}

    def fingerprint(self) -> str:
        return digest([super().fingerprint(), self.record_ids and sorted(self.record_ids)])

    def prepare(self, asking: Asking) -> str | None:
        entries = asking.run(api.get_registration_submissions(self.operation_id))
        asking.note(before=" ".join(str(each["id"]) for each in entries))
        return None

    def request(self, asking: Asking) -> Flow[str]:
        del asking
        submit = api.validate_drafts if self.validate_only else api.submit_drafts
        return _id_of(submit(self.operation_id, self.record_ids))

    def find(self, note: Mapping[str, str]) -> Flow[str | None]:
        found = yield from api.find_submissions(
            self.operation_id, note.get("before", "").split(), self.record_ids, validation=bool(self.validate_only)
        )
        if len(found) > 1:
            raise OutcomeUnknown(
                f"the answer to a submission was lost, and operation {self.operation_id} has {len(found)} new ones "
                f"that may be ours ({', '.join(found[:5])}): somebody else submits there, too. Wait for the right one "
                "by KaleidoscopeRegistrationSensor and mark this task as success, or clear it to submit again"
            )
        return found[0] if found else None

    def judge(self, phase: Phase, work: Work) -> None:
        del phase
        judge_rejections(work, self.on_rejected_rows, self.log, "nothing was registered, as validate_only says")

    def ids(self, entry: Entry) -> dict[str, Any]:
        return {"submission_id": entry.ids[0]}


def _id_of(flow: Flow[dict[str, Any]]) -> Flow[str]:
    return str((yield from flow)["id"])
