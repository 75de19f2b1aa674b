"""Tasks on the registrar's side of a registration in Kaleidoscope: how far it is, and what became of the records."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from sluice_provider.apis import kaleidoscope_registration as api
from sluice_provider.apis.kaleidoscope_rules import check_choice, check_ids, check_lists, check_texts
from sluice_provider.calls.body import encode
from sluice_provider.errors import Conflict, InvalidInput, JobFailed, OutcomeUnknown
from sluice_provider.jobs import JobState, judge_rejections
from sluice_provider.journal import digest
from sluice_provider.lineage import Name, file_dataset
from sluice_provider.operators.kaleidoscope_once import OnceOperator
from sluice_provider.sources.opening import File, Source, open_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sluice_provider.calls.flow import Flow
    from sluice_provider.jobs import Work
    from sluice_provider.journal import Entry
    from sluice_provider.operators.asking import Asking, Phase


class RegistrarOperator(OnceOperator):
    """What the registrar's tasks have in common: they are about a file, or about a submission of drafts."""

    file_id: str | None
    submission_id: str | None
    status: str
    message: str | None

    def check(self) -> None:
        if (self.file_id is None) == (self.submission_id is None):
            raise InvalidInput("give either file_id or submission_id: what the webhook's event names")
        check_ids(self, "operation_id", "submission_id" if self.file_id is None else "file_id")
        check_texts(self, "message")

    def told(self) -> dict[str, Any]:
        return {
            "operation_id": self.operation_id,
            "file_id": self.file_id,
            "submission_id": self.submission_id,
            "reported": self.status,
        }

    def registration(self) -> Flow[dict[str, Any]]:
        """As it is now. :raises NotFound: there is none"""
        return api.get_registration(self.operation_id, self.file_id, self.submission_id)

    def ids(self, entry: Entry) -> dict[str, Any]:
        return {} if self.file_id is None else {"registration_id": entry.note.get("registration_id", entry.ids[0])}


class KaleidoscopePushRegistrationStatusOperator(RegistrarOperator):
    """Tell Kaleidoscope how far the registrar is with a file or a submission, and return at once.

    A registration that is over by the time that this is found to have been lost is left as it is.

    Returns `{"system", "state", "operation_id", "file_id", "submission_id", "reported", "asked_at", "ended_at",
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

    phase = "status"
    kind = "status"
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

    def check(self) -> None:
        super().check()
        check_choice(self, "status", api.STATUSES)

    def fingerprint(self) -> str:
        return digest([super().fingerprint(), self.message])

    def prepare(self, asking: Asking) -> str | None:
        del asking
        return None

    def request(self, asking: Asking) -> Flow[str]:
        del asking
        if self.submission_id is not None:
            yield from api.push_submission_status(self.operation_id, self.submission_id, self.status, self.message)
            return self.submission_id
        yield from api.push_status(self.operation_id, str(self.file_id), self.status, self.message)
        return str(self.file_id)

    def find(self, note: Mapping[str, str]) -> Flow[str | None]:
        del note
        now = yield from self.registration()
        arrived = now.get("status") == self.status and (self.message is None or api.message_of(now) == self.message)
        if not arrived and api.registration_job(now).state.over:
            self.log.warning("The registration is over (%s): its status is left as it is", now.get("status"))
            arrived = True
        return (self.submission_id or self.file_id) if arrived else None

    def ids(self, entry: Entry) -> dict[str, Any]:
        del entry
        return {}

    def bring(self, phase: Phase, work: Work) -> dict[str, Any]:
        del phase, work
        return {}


class KaleidoscopeSubmitRegistrationResultsOperator(RegistrarOperator):
    """Report to Kaleidoscope what became of the records of a file or a submission.

    Everything is judged before anything is sent. The API takes results in one request. When its answer is lost, the
    registration is read, and results are sent again only if it has not taken them.

    Returns `{"system", "state", "operation_id", "file_id", "submission_id", "reported", "registration_id", "records",
    "asked_at", "url", ...}`; with `wait_for_completion=True` also `status`, the remote's word for how the registration
    ended. Outlets get the same as their event's extra.

    Rests on `submit_results` and `submit_submission_results` of the vendor's client (kalbio `registration.py`).

    :param operation_id: the experiment or cycle (templated)
    :param status: of the whole: `success` or `error` (templated)
    :param file_id: the registered file ... (templated)
    :param submission_id: ... or the submission (templated)
    :param records: results for single records: a list of dicts, or the path or URL of a CSV, TSV, JSON, JSON Lines or
        Parquet file; each with `record_id`, `status` (a word of your own), and if you like `error_message` and `data`,
        a dict; other fields become the data (templated)
    :param key_field_names: names of the key fields in the data (templated)
    :param message: to show with the results (templated)
    :param if_ended: what to do when the registration is over before results were sent: `fail`, or `send` them
    :param wait_for_completion: wait until the remote has worked the results in; else return when it has accepted them
    :param kaleidoscope_conn_id: Airflow connection id
    :raises InvalidInput: before anything is sent, naming the record or the line
    :raises Conflict: the registration has its results already
    :raises JobFailed: the registration failed though success was reported, with `wait_for_completion`
    """

    phase = "results"
    wanted = frozenset({JobState.SUCCEEDED, JobState.FAILED})
    template_fields: Sequence[str] = (
        "operation_id",
        "status",
        "file_id",
        "submission_id",
        "records",
        "key_field_names",
        "message",
        "kaleidoscope_conn_id",
    )
    template_fields_renderers = {"records": "json"}

    def __init__(
        self,
        *,
        operation_id: str,
        status: str,
        file_id: str | None = None,
        submission_id: str | None = None,
        records: Any = None,
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
        self.records = records
        self.key_field_names = key_field_names
        self.message = message
        self.if_ended = if_ended

    @property
    def kind(self) -> str:
        return "registration" if self.submission_id is None else "submission"

    # --- before anything is sent

    def check(self) -> None:
        super().check()
        check_choice(self, "status", api.RESULTS)
        check_choice(self, "if_ended", ("fail", "send"))
        check_lists(self, "key_field_names")

    @cached_property
    def _source(self) -> Source | None:
        return None if self.records is None else open_source(self.records)

    @cached_property
    def _records(self) -> list[dict[str, Any]] | None:
        """All of them: they go out in one request."""
        return None if self._source is None else list(self._judged(self._source))

    def _judged(self, source: Source) -> Iterator[dict[str, Any]]:
        places: dict[str, str] = {}
        for place, record in source:
            try:
                result = api.result_record(_with_data(record))
                encode(result)
            except InvalidInput as error:
                raise InvalidInput(f"{source.name}: {place} {error}") from None
            before = places.setdefault(result["record_id"], place)
            if before != place:
                raise InvalidInput(f"{source.name}: {place} and {before} are both for record {result['record_id']!r}")
            yield result

    def fingerprint(self) -> str:
        content = hashlib.sha256()
        for record in self._records or ():
            content.update(encode(record) + b"\n")
        keys = self.key_field_names and list(self.key_field_names)
        return digest([super().fingerprint(), self.message, keys, content.hexdigest(), self.records is None])

    # --- asking

    def prepare(self, asking: Asking) -> str | None:
        now = asking.run(self.registration())
        if api.registration_job(now).state.over and self.if_ended == "fail":
            raise Conflict(
                f"registration {now['id']} is over already ({now.get('status')}), so it has its results; "
                "if_ended='send' would send these all the same"
            )
        asking.note(
            registration_id=str(now["id"]),
            status=str(now.get("status") or ""),
            updated_at=str(now.get("updated_at") or ""),
            records=str(len(self._records or ())),
        )
        return None

    def request(self, asking: Asking) -> Flow[str]:
        what = (self.status, self.message, self.key_field_names, self._records)
        if self.submission_id is not None:
            yield from api.submit_submission_results(self.operation_id, self.submission_id, *what)
        else:
            yield from api.submit_results(self.operation_id, str(self.file_id), *what)
        return asking.entry.note["registration_id"]

    def find(self, note: Mapping[str, str]) -> Flow[str | None]:
        now = yield from self.registration()
        if now["id"] != note["registration_id"]:
            raise OutcomeUnknown(
                f"the answer to the results was lost, and file {self.file_id} was registered again meanwhile, "
                f"as {now['id']}: look whether {note['registration_id']} has its results; clear this task to send them "
                "to the new one, or mark it as success"
            )
        return str(now["id"]) if api.took_results(note, now) else None

    # --- the end

    def judge(self, phase: Phase, work: Work) -> None:
        """Where an error was reported, the registration is meant to fail."""
        del phase
        judge_rejections(work, "warn", self.log)
        if work.state is JobState.FAILED and self.status == "success":
            error = JobFailed(f"success was reported, and the registration failed: {work}")
            error.hopeless = True  # the results were delivered, and are not sent again
            raise error

    def ids(self, entry: Entry) -> dict[str, Any]:
        return {**super().ids(entry), "records": int(entry.note.get("records", "0"))}

    def datasets(self, operation: Name) -> tuple[list[Name], list[Name]]:
        return [file_dataset(self._source.name)] if isinstance(self._source, File) else [], [operation]


def _with_data(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """In a file of cells, data may be the text of a JSON object."""
    data = record.get("data")
    if not isinstance(data, str):
        return record
    import json

    try:
        return {**record, "data": json.loads(data)}
    except ValueError:
        raise InvalidInput(f"has a field 'data' that is not a JSON object: {data!r:.60}") from None
