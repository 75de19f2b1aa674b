"""What an import, an export and a cancellation in Liquid Decisions are, as jobs.

Liquid Decisions has no idempotency keys and no listing: a request whose answer was lost cannot be found again. The
job's name gets a mark by which a person can look for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, ClassVar

from sluice_provider.apis.liquid_decisions import endpoints as api
from sluice_provider.apis.validation import check_choice, check_text
from sluice_provider.errors import InvalidInput
from sluice_provider.http.bodies import AtomicFile, FilePart
from sluice_provider.http.flow import Flow
from sluice_provider.jobs.model import JobGroup, JobState
from sluice_provider.jobs.record import Intent, JobRecord, PhaseRecord, times
from sluice_provider.jobs.spec import JobSpec, Phase, ReconcileResult, RepeatRequest, Resubmit, Unit, unknown_outcome

Raw = dict[str, Any]


class _OneRequest(Phase):
    """One request that must not be repeated blindly."""

    def __init__(self, spec: BatchJob) -> None:
        super().__init__(spec.job_type, spec.job_type)
        self._spec = spec

    def submit(self, unit: Unit, intent: Intent, record: PhaseRecord) -> Flow[str]:
        name = self._spec.job_name_for(intent)
        job_id = yield from self._spec.request(name)
        self._spec.log.info("Liquid Decisions accepted %r as job %s", name, job_id)
        return job_id

    def reconcile(self, intent: Intent, record: PhaseRecord) -> Flow[ReconcileResult]:
        return self._spec.unknown(intent)
        yield  # a flow, though one without a call


class BatchJob(JobSpec):
    """What an import and an export have in common.

    :cvar job_type: the job type, and the name of the one phase
    :param on_unknown_outcome: `fail` or `resubmit`
    """

    service = "liquid_decisions"
    job_type: ClassVar[str]

    def __init__(
        self,
        *,
        item_type: str,
        job_name: str,
        content_type: str | None,
        notification_email: str | None,
        on_unknown_outcome: str,
    ) -> None:
        self.item_type = item_type
        self.job_name = job_name
        self.content_type = content_type
        self.notification_email = notification_email
        self.on_unknown_outcome = on_unknown_outcome

    def validate(self) -> None:
        check_text("item_type", self.item_type)
        check_text("job_name", self.job_name)
        check_text("notification_email", self.notification_email, optional=True)
        check_text("content_type", self.content_type, optional=True)
        check_choice("on_unknown_outcome", self.on_unknown_outcome, ("fail", "resubmit"))

    def next_phase(self, record: JobRecord) -> Phase | None:
        return None if record.phase(self.job_type).outcome else _OneRequest(self)

    def request(self, job_name: str) -> Flow[str]:
        """What submits the job."""
        raise NotImplementedError

    def job_name_for(self, intent: Intent) -> str:
        """The job's name, with a mark by which a person can find it: the service has no listing to be searched."""
        return f"{self.job_name} [{intent.key[:10]}]"

    def unknown(self, intent: Intent) -> ReconcileResult:
        name = self.job_name_for(intent)
        if self.on_unknown_outcome == "resubmit":
            return Resubmit(f"the outcome of {name!r} is unknown, and on_unknown_outcome is 'resubmit'")
        return unknown_outcome(
            "Liquid Decisions", f"{self.job_type} {name!r}", f"a job whose jobName is {name!r}", intent
        )

    def manifest(self, record: JobRecord) -> Raw:
        phase = record.phase(self.job_type)
        outcome = phase.outcome or {"state": "running", "counts": {}}
        return {
            "service": self.service,
            "state": outcome["state"],
            "job_id": phase.ids[0],
            "item_type": self.item_type,
            **outcome["counts"],
            **outcome.get("outputs", {}),
            **times([phase]),
        }


class ImportJob(BatchJob):
    """An import of a file.

    :param shown: what the result calls the file
    :param file_type: its content type, as the import wants it
    :param parts: opens the file and, for a CSV file, its template; called when they are sent
    :param fingerprint: of the file and the template
    """

    job_type = "import"

    def __init__(
        self,
        *,
        shown: str,
        file_type: str,
        parts: Callable[[], tuple[FilePart, FilePart | None]],
        fingerprint: Callable[[], list[Any]],
        merge: bool,
        header_row: bool | None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self._shown = shown
        self._file_type = file_type
        self._parts = parts
        self._fingerprint = fingerprint
        self._merge = merge
        self._header_row = header_row

    def fingerprint(self) -> Any:
        return [self._fingerprint(), self.item_type, self._file_type, self._merge, self._header_row]

    def request(self, job_name: str) -> Flow[str]:
        file, template = self._parts()
        return api.import_file(
            file,
            self.item_type,
            job_name,
            self._file_type,
            template,
            self._merge,
            self._header_row,
            self.notification_email,
        )

    def fetch_outputs(self, phase: Phase, work: JobGroup) -> Flow[Raw]:
        return {"file": self._shown}
        yield  # a flow, though one without a call


class ExportJob(BatchJob):
    """An export of items into files.

    An export changes nothing in the service, so a request whose outcome is unknown is submitted again by default.

    :param landing: makes where a file of results goes, by the job's id, the file's number and its link; None where
        nothing is to be fetched
    :param template: its text, read when the arguments are checked
    """

    job_type = "export"

    def __init__(
        self,
        *,
        sql_query: str | None,
        filters: Mapping[str, Any] | str | None,
        prefer_query: bool,
        filters_style: str,
        template: Callable[[], str | None],
        row_header: bool | None,
        atomic_file: Callable[[str, int, str], AtomicFile] | None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self._sql_query = sql_query
        self._filters = filters
        self._prefer_query = prefer_query
        self._filters_style = filters_style
        self._template = template
        self._row_header = row_header
        self._atomic_file = atomic_file

    def validate(self) -> None:
        super().validate()
        if self._sql_query and self._filters and not self._prefer_query:
            raise InvalidInput(
                "give either sql_query or filters: Liquid Decisions disregards filters beside a query; "
                "prefer_query=True says that this is meant"
            )
        if self._filters is not None and not isinstance(self._filters, (str, Mapping)):
            raise InvalidInput(f"filters must be a dict, or the text of one, not a {type(self._filters).__name__}")
        check_choice("filters_style", self._filters_style, ("json", "python"))
        _ = self.arguments

    @cached_property
    def arguments(self) -> Raw:
        """All of the flow's, but the name."""
        python_style = self._filters_style == "python"
        return {
            "item_type": self.item_type,
            "content_type": api.content_type_of(str(self.content_type), text=api.EXPORTED_TEXT),
            "sql_query": self._sql_query or None,
            "filters": api.filters_text(self._filters, python_style=python_style) if self._filters else None,
            "template": self._template(),
            "row_header": self._row_header,
            "notification_email": self.notification_email,
        }

    def fingerprint(self) -> Any:
        return self.arguments

    def request(self, job_name: str) -> Flow[str]:
        return api.export(job_name=job_name, **self.arguments)

    def fetch_outputs(self, phase: Phase, work: JobGroup) -> Flow[Raw]:
        if not work.links:
            who = self.notification_email or "whoever Liquid Decisions writes to"
            return self._noted(f"the job's status has no links to the results; they may be in the e-mail to {who}")
        if self._atomic_file is None:
            return self._noted(f"the job's status has links to {len(work.links)} files; destination fetches them")
        paths = []
        for number, link in enumerate(work.links, 1):
            atomic_file: Any = self._atomic_file(work.jobs[0].id, number, link)
            yield from api.fetch(link, atomic_file)
            self.log.info("Fetched %s", atomic_file.path)
            paths.append(atomic_file.path)
        return {"files": paths}

    def _noted(self, note: str) -> Raw:
        self.log.warning("Nothing was fetched: %s", note)
        return {"files": [], "note": note}


class _Cancel(Phase):
    """To ask again does no harm."""

    send_window = float("inf")

    def __init__(self, job_id: str) -> None:
        super().__init__("cancel", "job")
        self._job_id = job_id

    def submit(self, unit: Unit, intent: Intent, record: PhaseRecord) -> Flow[str]:
        return api.cancelled(self._job_id)

    def reconcile(self, intent: Intent, record: PhaseRecord) -> Flow[ReconcileResult]:
        return RepeatRequest("to ask for a cancellation twice does no harm")
        yield  # a flow, though one without a call


class CancelJob(JobSpec):
    """The cancellation of somebody's job; it is over when that job is."""

    service = "liquid_decisions"
    success_states = frozenset({JobState.SUCCEEDED, JobState.CANCELLED, JobState.FAILED})

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id

    def fingerprint(self) -> Any:
        return [self._job_id]

    def next_phase(self, record: JobRecord) -> Phase | None:
        return None if record.phase("cancel").outcome else _Cancel(self._job_id)

    def fetch_outputs(self, phase: Phase, work: JobGroup) -> Flow[Raw]:
        job = work.jobs[0]
        if job.state is not JobState.CANCELLED:
            self.log.warning("The job was over before it could be cancelled: %s", job)
        return {"cancelled": job.state is JobState.CANCELLED, "status": job.service_status, "reason": job.message}
        yield  # a flow, though one without a call

    def manifest(self, record: JobRecord) -> Raw:
        phase = record.phase("cancel")
        outcome = phase.outcome or {"state": "running", "counts": {}}
        told = {"service": self.service, "state": outcome["state"], "job_id": phase.ids[0]}
        return {**told, **outcome["counts"], **outcome.get("outputs", {}), **times([phase])}
