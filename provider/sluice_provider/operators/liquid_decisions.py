"""Tasks that import into Liquid Decisions, export from it, and cancel jobs there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Literal
from urllib.parse import urlsplit

from sluice_provider.apis.liquid_decisions import endpoints as liquid_decisions
from sluice_provider.apis.liquid_decisions.batch_jobs import CancelJob, ExportJob, ImportJob
from sluice_provider.errors import InvalidInput
from sluice_provider.hooks.base import mask
from sluice_provider.http.bodies import FilePart
from sluice_provider.lineage import Datasets, FileDataset, ServiceDataset
from sluice_provider.runtime.operator import RemoteJobOperator
from sluice_provider.sources.input_files import AtomicFile, InputFile

KINDS_OF_FILE = {".csv": "csv", ".txt": "csv", ".json": "json"}
SUFFIX = r"(\.(csv|tsv|txt|jsonl?|xml|zip|gz)){1,2}$"
SUFFIXES = {"application/json": ".json"}


class LiquidDecisionsImportOperator(RemoteJobOperator):
    """Import a file of items into Liquid Decisions, wait until it is done, and return what became of it.

    The file is streamed, so its size does not matter; if it changes meanwhile, it is never sent whole. A file that is
    sent twice is imported twice, so nothing is sent again that may have arrived, unless `on_unknown_outcome` says so;
    the job's name gets a mark by which a person can find it, as in `Contacts [3f9c02a1be]`.

    Returns `{"service", "state", "job_id", "item_type", "processed", "milliseconds", "file", "submitted_at",
    "ended_at", "seconds"}`: `processed` counts items, `file` is its path; with `wait_for_completion=False` these two
    and `milliseconds` are missing. Outlets get the same as their event's extra.

    Rests on the wiki page "Batch Import and Export" of LiquidAnalytics/ld-api-examples, and on `batchImport.py`.

    :param file: path or URL of a CSV or JSON file, anything that ObjectStoragePath opens (templated)
    :param item_type: the type of the items, as in the schema (templated)
    :param job_name: what to call the job there (templated)
    :param content_type: `csv`, `json` or a media type; by default by the file's extension
    :param template: path or URL of the template for a CSV file (templated)
    :param merge: merge with the items that are there, instead of overriding them
    :param header_row: whether a CSV file begins with a header
    :param notification_email: who gets the service's e-mail when the job is over (templated)
    :param on_unknown_outcome: if the file was sent and no response came: `fail` without a retry, until a user clears
        the task; or `resubmit` at once, which imports twice if it did arrive the first time
    :param liquid_decisions_conn_id: Airflow connection id
    :raises InvalidInput: before anything is sent, or the file changed while it was sent
    :raises OutcomeUnknown: no response came; with the job's name to look for, and what to do then
    :raises JobFailed: the job was rejected (not retried), failed, or was cancelled
    """

    __supports_durable_execution = True

    service = "liquid_decisions"
    template_fields: Sequence[str] = (
        "file",
        "item_type",
        "job_name",
        "template",
        "notification_email",
        "liquid_decisions_conn_id",
    )

    def __init__(
        self,
        *,
        file: Any,
        item_type: str,
        job_name: str,
        content_type: str | None = None,
        template: Any = None,
        merge: bool = False,
        header_row: bool | None = None,
        notification_email: str | None = None,
        on_unknown_outcome: Literal["fail", "resubmit"] = "fail",
        liquid_decisions_conn_id: str = "liquid_decisions_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.liquid_decisions_conn_id = liquid_decisions_conn_id
        self.file = file
        self.item_type = item_type
        self.job_name = job_name
        self.content_type = content_type
        self.template = template
        self.merge = merge
        self.header_row = header_row
        self.notification_email = notification_email
        self.on_unknown_outcome = on_unknown_outcome

    def job(self) -> ImportJob:
        file = InputFile(self.file, "file")
        template = None if self.template is None else InputFile(self.template, "template")
        file_type = self._content_type(file)

        def parts() -> tuple[FilePart, FilePart | None]:
            # The published script calls its template JSON, whatever is in it.
            second = _part("template", template, liquid_decisions.JSON) if template else None
            return _part("file", file, file_type, {"Expires": "0"}), second

        return ImportJob(
            shown=file.name,
            file_type=file_type,
            parts=parts,
            fingerprint=lambda: [file.fingerprint, template and template.fingerprint],
            merge=self.merge,
            header_row=self.header_row,
            item_type=self.item_type,
            job_name=self.job_name,
            content_type=self.content_type,
            notification_email=self.notification_email,
            on_unknown_outcome=self.on_unknown_outcome,
        )

    def _content_type(self, file: InputFile) -> str:
        """As the import wants it."""
        word = self.content_type or KINDS_OF_FILE.get(file.suffix)
        if word is None:
            raise InvalidInput(f"file: {file.name} has an unsupported file extension: say what it is by content_type")
        return liquid_decisions.content_type_of(word, text=liquid_decisions.IMPORTED_TEXT)

    def datasets(self) -> Datasets:
        source = FileDataset(InputFile(self.file, "file").name)
        return Datasets([source], [ServiceDataset(("item-types", self.item_type))])


def _part(name: str, blob: InputFile, content_type: str, headers: Mapping[str, str] | None = None) -> FilePart:
    shown = f"{name}: {blob.name}"
    return FilePart(name, blob.filename, content_type, blob.open_unchanged, blob.size, shown, headers or {})


class LiquidDecisionsExportOperator(RemoteJobOperator):
    """Export items from Liquid Decisions, wait until it is done, and download the files.

    The wiki promises links to the results, valid for a week, and leaves open whether they stand in the job's status or
    only in the e-mail. Where the status carries links they are fetched into `destination`, streamed, each file there
    whole or not at all; where it carries none the result says so in `note`. Credentials go to the connection's own host
    only. A link may let anybody in, so none is logged or returned.

    Returns `{"service", "state", "job_id", "item_type", "processed", "milliseconds", "files", "note", "submitted_at",
    "ended_at", "seconds"}`: `files` are paths, `note` is there only if nothing was fetched; with
    `wait_for_completion=False` all from `processed` to `note` are missing. Outlets get the same as their event's
    extra.

    Rests on the wiki page "Batch Import and Export" of LiquidAnalytics/ld-api-examples, and on `batchExport.py`.

    :param item_type: the type of the items, as in the schema (templated)
    :param job_name: what to call the job there (templated)
    :param content_type: `csv`, `json` or a media type
    :param sql_query: a query whose rows are exported (templated)
    :param filters: only items that match are exported: a dict, or the text of one; values may be path expressions like
        `/Workflow/processStatus[Editing]` (templated)
    :param prefer_query: both a query and filters are given and meant; the service ignores the filters then
    :param filters_style: how a dict of filters is written: as JSON, or as Python writes it, which the published script
        does
    :param template: the Velocity template that turns an item into a line of CSV: its text, or a `Path` to a file with
        it (templated)
    :param row_header: whether a CSV file begins with a header
    :param notification_email: who gets the service's e-mail when the job is over (templated)
    :param destination: directory to fetch the results into, anything that ObjectStoragePath reaches (templated)
    :param on_unknown_outcome: if an export was submitted and no response came: `resubmit` at once, as an export changes
        nothing there, or `fail` without a retry
    :param liquid_decisions_conn_id: Airflow connection id
    :raises InvalidInput: before anything is sent
    :raises OutcomeUnknown: no response came, with `on_unknown_outcome="fail"`
    :raises JobFailed: the job was rejected (not retried), failed, or was cancelled
    """

    __supports_durable_execution = True

    service = "liquid_decisions"
    template_fields: Sequence[str] = (
        "item_type",
        "job_name",
        "sql_query",
        "filters",
        "template",
        "notification_email",
        "destination",
        "liquid_decisions_conn_id",
    )
    template_fields_renderers = {"sql_query": "sql", "filters": "json"}

    def __init__(
        self,
        *,
        item_type: str,
        job_name: str,
        content_type: str = "json",
        sql_query: str | None = None,
        filters: Mapping[str, Any] | str | None = None,
        prefer_query: bool = False,
        filters_style: Literal["json", "python"] = "json",
        template: Any = None,
        row_header: bool | None = None,
        notification_email: str | None = None,
        destination: Any = None,
        on_unknown_outcome: Literal["fail", "resubmit"] = "resubmit",
        liquid_decisions_conn_id: str = "liquid_decisions_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.liquid_decisions_conn_id = liquid_decisions_conn_id
        self.item_type = item_type
        self.job_name = job_name
        self.content_type = content_type
        self.sql_query = sql_query
        self.filters = filters
        self.prefer_query = prefer_query
        self.filters_style = filters_style
        self.template = template
        self.row_header = row_header
        self.notification_email = notification_email
        self.destination = destination
        self.on_unknown_outcome = on_unknown_outcome

    def job(self) -> ExportJob:
        if self.destination is not None:
            AtomicFile(str(self.destination), "probe")
        return ExportJob(
            sql_query=self.sql_query,
            filters=self.filters,
            prefer_query=self.prefer_query,
            filters_style=self.filters_style,
            template=self._template,
            row_header=self.row_header,
            atomic_file=None if self.destination is None else self._atomic_file,
            item_type=self.item_type,
            job_name=self.job_name,
            content_type=self.content_type,
            notification_email=self.notification_email,
            on_unknown_outcome=self.on_unknown_outcome,
        )

    def _template(self) -> str | None:
        from_file = isinstance(self.template, PathLike) or hasattr(self.template, "fs")
        return InputFile(self.template, "template").text() if from_file else self.template or None

    def _atomic_file(self, job_id: str, number: int, link: str) -> AtomicFile:
        """The file's name is ours: what a service calls it could lead anywhere, and replace anything."""
        parts = urlsplit(link)
        if parts.query:
            mask(parts.query)
        known = re.search(SUFFIX, parts.path.lower())
        suffix = known[0] if known else self._usual_suffix
        return AtomicFile(str(self.destination), f"{_safe(job_id)}-{number}{suffix}")

    @property
    def _usual_suffix(self) -> str:
        content_type = liquid_decisions.content_type_of(self.content_type, text=liquid_decisions.EXPORTED_TEXT)
        return SUFFIXES.get(content_type, ".csv")

    def datasets(self) -> Datasets:
        files = [FileDataset(path) for path in self.result.get("files", ())]
        return Datasets([ServiceDataset(("item-types", self.item_type))], files)


def _safe(job_id: str) -> str:
    return "".join(each if each.isascii() and (each.isalnum() or each in "-_") else "_" for each in job_id)


class LiquidDecisionsCancelJobOperator(RemoteJobOperator):
    """Cancel a job in Liquid Decisions, wait until the job is over, and return how it ended.

    Liquid Decisions cancels a job "next time it is up for processing", so it may complete all the same. Then the task
    succeeds, too, with `cancelled` false in its result and a warning in its log.

    Returns `{"service", "state", "job_id", "cancelled", "status", "reason", "processed", "milliseconds",
    "submitted_at", "ended_at", "seconds"}`: `cancelled` is a bool, `status` and `reason` are the service's words
    for the job's end.

    Rests on `batchCancel.py` of LiquidAnalytics/ld-api-examples, and on its wiki page "Batch Import and Export".

    :param job_id: the job's id (templated)
    :param liquid_decisions_conn_id: Airflow connection id
    """

    __supports_durable_execution = True

    service = "liquid_decisions"
    template_fields: Sequence[str] = ("job_id", "liquid_decisions_conn_id")

    def __init__(
        self, *, job_id: str, liquid_decisions_conn_id: str = "liquid_decisions_default", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.liquid_decisions_conn_id = liquid_decisions_conn_id
        self.job_id = job_id

    def job(self) -> CancelJob:
        return CancelJob(self.job_id)
