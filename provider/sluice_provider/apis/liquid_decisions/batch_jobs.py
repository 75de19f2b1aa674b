"""The jobs that import a file into Liquid Decisions and export items from it.

Liquid Decisions has neither idempotency keys nor a listing, so a job whose response was lost cannot be found again. A
unique suffix is added to the job's name, by which a user can look for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Protocol

from sluice_provider.apis.liquid_decisions import endpoints as api
from sluice_provider.apis.liquid_decisions.rows_file import RowsFile
from sluice_provider.apis.manifests import phase_manifest
from sluice_provider.apis.payloads import JsonObject
from sluice_provider.apis.validation import check_choice, check_text, shown
from sluice_provider.errors import InvalidInput
from sluice_provider.http.bodies import AtomicFile, FilePart
from sluice_provider.http.flow import Flow
from sluice_provider.jobs.model import JobGroup
from sluice_provider.jobs.record import Intent, JobRecord, PhaseRecord
from sluice_provider.jobs.spec import JobSpec, Phase, ReconcileResult, Resubmit, Unit, unknown_outcome


class BatchOptions(NamedTuple):
    """The arguments that imports and exports share.

    :param content_type: an alias or a media type; None if the file's extension decides
    :param on_unknown_outcome: `ask`, `fail` or `resubmit`
    """

    item_type: str
    job_name: str
    content_type: str | None
    notification_email: str | None
    on_unknown_outcome: str

    def validate(self) -> None:
        """:raises InvalidInput: naming the argument"""
        check_text("item_type", self.item_type)
        check_text("job_name", self.job_name)
        check_text("notification_email", self.notification_email, optional=True)
        check_text("content_type", self.content_type, optional=True)
        check_choice("on_unknown_outcome", self.on_unknown_outcome, ("ask", "fail", "resubmit"))


class _SubmitBatchJob(Phase):
    """One request, which must not be repeated if its outcome is unknown."""

    def __init__(self, spec: BatchJob) -> None:
        super().__init__(spec.job_type, spec.job_type)
        self._spec = spec

    def submit(self, unit: Unit, intent: Intent, record: PhaseRecord) -> Flow[str]:
        name = self._spec.job_name_for(intent)
        job_id = yield from self._spec.request(name)
        self._spec.log.info("Liquid Decisions accepted %r as job %s", name, job_id)
        return job_id

    def mark(self, intent: Intent) -> str:
        return self._spec.job_name_for(intent)

    def reconcile(self, intent: Intent, record: PhaseRecord) -> Flow[ReconcileResult]:
        return self._spec.effect_of(intent)
        yield  # makes this a generator


class BatchJob(JobSpec):
    """What imports and exports share.

    :cvar job_type: the job type, and the name of the only phase
    """

    service = "liquid_decisions"
    job_type: ClassVar[str]

    def __init__(self, options: BatchOptions) -> None:
        self.options = options

    def validate(self) -> None:
        self.options.validate()

    def next_phase(self, record: JobRecord) -> Phase | None:
        return None if record.phase(self.job_type).outcome else _SubmitBatchJob(self)

    def request(self, job_name: str) -> Flow[str]:
        """Submit the job, and return its id."""
        raise NotImplementedError

    def job_name_for(self, intent: Intent) -> str:
        """The job's name with a unique suffix, by which a user can find the job."""
        return f"{self.options.job_name} [{intent.key[:10]}]"

    def effect_of(self, intent: Intent) -> ReconcileResult:
        name = self.job_name_for(intent)
        if self.options.on_unknown_outcome == "resubmit":
            return Resubmit(f"the outcome of {name!r} is unknown, and on_unknown_outcome is 'resubmit'")
        return unknown_outcome(
            "Liquid Decisions", f"{self.job_type} {name!r}", f"a job whose jobName is {name!r}", intent
        )

    def manifest(self, record: JobRecord) -> JsonObject:
        phase = record.phase(self.job_type)
        return phase_manifest(self, phase, job_id=phase.ids[0], item_type=self.options.item_type)


class ImportContent(NamedTuple):
    """What is imported.

    :param path: the file's path, for the result; None for records
    :param file_type: its content type, as the service spells it
    :param header_row: whether a CSV file has a header row; None if it was not given
    :param parts: makes the parts of the form: the file and, for a CSV file, its template
    :param fingerprint: of the file and the template
    :param rows: of records: the file that is made of them
    """

    path: str | None
    file_type: str
    header_row: bool | None
    parts: Callable[[], tuple[FilePart, FilePart | None]]
    fingerprint: Callable[[], list[Any]]
    rows: RowsFile | None = None


class ImportJob(BatchJob):
    """Imports a file."""

    job_type = "import"

    def __init__(self, *, options: BatchOptions, content: ImportContent, merge: bool) -> None:
        super().__init__(options)
        self._content = content
        self._merge = merge

    def fingerprint(self) -> Any:
        content = self._content
        found = [content.fingerprint(), self.options.item_type, content.file_type, self._merge, content.header_row]
        if content.rows is not None:
            self.log.info("%s", content.rows.rows.description)
        return found

    def preview(self) -> Flow[JsonObject]:
        content, found = self._content, {"item_type": self.options.item_type}
        file, _ = content.parts()
        what = f"import {file.shown} as {self.options.item_type}, {content.file_type} of {file.size} bytes"
        if content.rows is None:
            self.log.info("Would %s", what)
            return {**found, "file": content.path, "bytes": file.size}
        content.rows.rows.log_first(self.log, what)
        return {**found, "records": content.rows.rows.total, "bytes": file.size}
        yield  # makes this a generator

    def request(self, job_name: str) -> Flow[str]:
        file, template = self._content.parts()
        return api.import_file(
            file,
            self.options.item_type,
            job_name,
            self._content.file_type,
            template,
            self._merge,
            self._content.header_row,
            self.options.notification_email,
        )

    def fetch_outputs(self, phase: Phase, work: JobGroup) -> Flow[JsonObject]:
        return {"file": self._content.path} if self._content.path is not None else {}
        yield  # makes this a generator

    def close(self) -> None:
        if self._content.rows is not None:
            self._content.rows.close()


class ResultFile(AtomicFile, Protocol):
    """A file that the results are downloaded to."""

    @property
    def path(self) -> str: ...


class ExportJob(BatchJob):
    """Exports items into files.

    :param template: returns the template's text; called when the arguments are checked
    :param result_file: makes the file to download to, by the job's id, the file's number and its link; None if nothing
        is to be downloaded
    """

    job_type = "export"

    def __init__(
        self,
        *,
        options: BatchOptions,
        sql_query: str | None,
        filters: Mapping[str, Any] | str | None,
        prefer_query: bool,
        filters_style: str,
        template: Callable[[], str | None],
        row_header: bool | None,
        result_file: Callable[[str, int, str], ResultFile] | None,
    ) -> None:
        super().__init__(options)
        self._sql_query = sql_query
        self._filters = filters
        self._prefer_query = prefer_query
        self._filters_style = filters_style
        self._template = template
        self._row_header = row_header
        self._result_file = result_file

    def validate(self) -> None:
        super().validate()
        if self._sql_query and self._filters and not self._prefer_query:
            raise InvalidInput(
                "sql_query and filters are both set, but Liquid Decisions ignores filters if there is a query. Remove "
                "one of them, or set prefer_query=True to send both"
            )
        if self._filters is not None and not isinstance(self._filters, (str, Mapping)):
            raise InvalidInput(f"filters must be a dict or a string, not {shown(self._filters)}")
        check_choice("filters_style", self._filters_style, ("json", "python"))
        _ = self.arguments

    @cached_property
    def arguments(self) -> JsonObject:
        """The arguments of `export`, except the job's name."""
        python_style = self._filters_style == "python"
        return {
            "item_type": self.options.item_type,
            "content_type": api.content_type_of(str(self.options.content_type), text=api.EXPORTED_TEXT),
            "sql_query": self._sql_query or None,
            "filters": api.format_filters(self._filters, python_style=python_style) if self._filters else None,
            "template": self._template(),
            "row_header": self._row_header,
            "notification_email": self.options.notification_email,
        }

    def fingerprint(self) -> Any:
        return self.arguments

    def preview(self) -> Flow[JsonObject]:
        self.log.info(
            "Would export with %s", {name: value for name, value in self.arguments.items() if value is not None}
        )
        return {"item_type": self.options.item_type}
        yield  # makes this a generator

    def request(self, job_name: str) -> Flow[str]:
        return api.export(job_name=job_name, **self.arguments)

    def fetch_outputs(self, phase: Phase, work: JobGroup) -> Flow[JsonObject]:
        if not work.links:
            recipient = self.options.notification_email or "the user of the connection"
            return self._nothing_downloaded(
                f"the job's status contains no links to the results; they may be in the e-mail to {recipient}"
            )
        if self._result_file is None:
            return self._nothing_downloaded(
                f"the job's status contains links to {len(work.links)} files; set destination to download them"
            )
        paths = []
        for number, link in enumerate(work.links, 1):
            file = self._result_file(work.jobs[0].id, number, link)
            yield from api.fetch(link, file)
            self.log.info("Downloaded result file %d of %d to %s", number, len(work.links), file.path)
            paths.append(file.path)
        return {"files": paths}

    def _nothing_downloaded(self, reason: str) -> JsonObject:
        self.log.warning("No results were downloaded: %s", reason)
        return {"files": [], "note": reason}
