"""Operators that import into Liquid Decisions, export from it, and cancel its jobs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from sluice_provider.compat import mask_secret
from sluice_provider.errors import InvalidInput
from sluice_provider.records import mapped, wrap_function
from sluice_provider.runtime.operator import RemoteJobOperator

if TYPE_CHECKING:
    from sluice_provider.apis.liquid_decisions.batch_jobs import BatchOptions, ExportJob, ImportContent, ImportJob
    from sluice_provider.apis.liquid_decisions.cancel_job import CancelJob
    from sluice_provider.http.bodies import FilePart
    from sluice_provider.lineage import Datasets
    from sluice_provider.sources.input_files import InputFile
    from sluice_provider.sources.output_files import AtomicFile

CONTENT_TYPES_BY_EXTENSION = {".csv": "csv", ".txt": "csv", ".json": "json"}
FILE_HEADERS = {"Expires": "0"}
"""Of the file's part, as the published script sends it."""
RESULT_EXTENSIONS = r"(\.(csv|tsv|txt|jsonl?|xml|zip|gz)){1,2}$"
"""File extensions that are kept from the path of a result's link."""


class LiquidDecisionsImportOperator(RemoteJobOperator):
    """Import items into Liquid Decisions, from a file or from records, wait until the job has ended, and return its
    result.

    A file is sent as it is. Records are read once, checked, and written to a temporary file on the worker (`TMPDIR`),
    as CSV with a header or as a JSON list. Either is streamed, so its size does not matter; if a file changes during
    the upload, the upload is aborted. What is sent twice is imported twice, so a request that may have been received is
    not repeated unless `on_unknown_outcome` allows it. The job's name gets a unique suffix by which a user can find the
    job, as in `Contacts [3f9c02a1be]`.

    Returns `{"service", "state", "job_id", "item_type", "processed", "milliseconds", "file", "submitted_at",
    "ended_at", "seconds"}`: `processed` is the number of items, `file` the path, which is missing for records; with
    `wait_for_completion=False` `processed`, `milliseconds` and `file` are missing. The result is also the extra of the
    outlets' asset events.

    Based on the wiki page "Batch Import and Export" of LiquidAnalytics/ld-api-examples, and on `batchImport.py`.

    :param file: path or URL of a CSV or JSON file, in any storage that ObjectStoragePath supports (templated)
    :param records: instead of `file`: items from any source of docs/records.md, such as a `SqlQuery`, a frame, or a
        folder of files (templated)
    :param columns: the columns to take, as a list of names, or as a dict that renames them, `{"csv name": "field"}`;
        `"*": "*"` in it stands for all others (templated)
    :param constants: fields that every record gets, with their values (templated)
    :param item_type: the type of the items, as in the schema (templated)
    :param job_name: the job's name in Liquid Decisions (templated)
    :param content_type: `csv`, `json` or a media type; by default it is derived from the file's extension, and `csv`
        for records
    :param template: path or URL of the template for a CSV file (templated)
    :param merge: merge with existing items instead of overwriting them
    :param header_row: whether a CSV file has a header row; records always have one
    :param notification_email: recipient of the service's e-mail when the job has ended (templated)
    :param on_unknown_outcome: if the file was sent and no response came: `fail` without a retry, until a user clears
        the task; `ask`: wait in Airflow's Required Actions, holding no slot, for a person who finds the job in the
        service, submits again or gives up (Airflow 3.3); or `resubmit` immediately, which imports the file twice if
        the first request was received
    :param liquid_decisions_conn_id: Airflow connection id
    :raises InvalidInput: an argument is invalid (nothing was sent), or the file changed during the upload
    :raises OutcomeUnknown: no response came; the message says which job to look for, and what to do
    :raises JobFailed: the job was rejected (not retried), failed, or was cancelled
    """

    __supports_durable_execution = True

    service = "liquid_decisions"
    template_fields: Sequence[str] = (
        "file",
        "records",
        "columns",
        "constants",
        "item_type",
        "job_name",
        "template",
        "notification_email",
        "liquid_decisions_conn_id",
    )
    template_fields_renderers = {"records": "json"}
    template_ext: Sequence[str] = (".sql",)

    def __init__(
        self,
        *,
        file: Any = None,
        records: Any = None,
        columns: Mapping[str, str] | Sequence[str] | None = None,
        constants: Mapping[str, Any] | None = None,
        item_type: str,
        job_name: str,
        content_type: str | None = None,
        template: Any = None,
        merge: bool = False,
        header_row: bool | None = None,
        notification_email: str | None = None,
        on_unknown_outcome: Literal["ask", "fail", "resubmit"] = "fail",
        liquid_decisions_conn_id: str = "liquid_decisions_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.liquid_decisions_conn_id = liquid_decisions_conn_id
        self.file = file
        self.records = wrap_function(records)
        self.columns = columns
        self.constants = constants
        self.item_type = item_type
        self.job_name = job_name
        self.content_type = content_type
        self.template = template
        self.merge = merge
        self.header_row = header_row
        self.notification_email = notification_email
        self.on_unknown_outcome = on_unknown_outcome

    def job(self) -> ImportJob:
        from sluice_provider.apis.liquid_decisions.batch_jobs import ImportJob
        from sluice_provider.apis.validation import check_exactly_one

        check_exactly_one(file=self.file, records=self.records)
        return ImportJob(
            options=_batch_options(self),
            content=self._file() if self.records is None else self._rows(),
            merge=self.merge,
        )

    def _file(self) -> ImportContent:
        from sluice_provider.apis.liquid_decisions.batch_jobs import ImportContent
        from sluice_provider.sources.input_files import InputFile

        if self.columns or self.constants:
            raise InvalidInput("columns and constants go with records, not with file: a file is sent as it is")
        file = InputFile(self.file, "file")
        file_type = self._content_type(file)
        template, template_part = self._template()
        return ImportContent(
            path=file.name,
            file_type=file_type,
            header_row=self.header_row,
            parts=lambda: (_file_part("file", file, file_type, FILE_HEADERS), template_part()),
            fingerprint=lambda: [file.fingerprint, template and template.fingerprint],
        )

    def _rows(self) -> ImportContent:
        from sluice_provider.apis.liquid_decisions.batch_jobs import ImportContent
        from sluice_provider.apis.liquid_decisions.endpoints import IMPORTED_TEXT, JSON, content_type_of
        from sluice_provider.apis.liquid_decisions.rows_file import RowsFile

        file_type = content_type_of(self.content_type or "csv", text=IMPORTED_TEXT)
        if self.header_row is False:
            raise InvalidInput("header_row goes with file: records always have a header row")
        rows = RowsFile(mapped(self.records, self.columns, self.constants), "json" if file_type == JSON else "csv")
        template, template_part = self._template()
        return ImportContent(
            path=None,
            file_type=file_type,
            header_row=None if file_type == JSON else True,
            parts=lambda: (rows.part(file_type, FILE_HEADERS), template_part()),
            fingerprint=lambda: [rows.fingerprint, template and template.fingerprint],
            rows=rows,
        )

    def _template(self) -> tuple[InputFile | None, Callable[[], FilePart | None]]:
        from sluice_provider.apis.liquid_decisions.endpoints import JSON
        from sluice_provider.sources.input_files import InputFile

        template = None if self.template is None else InputFile(self.template, "template")
        # The published script sends its template as JSON, whatever its format.
        return template, lambda: _file_part("template", template, JSON) if template else None

    def _content_type(self, file: InputFile) -> str:
        """The content type as the service spells it."""
        from sluice_provider.apis.liquid_decisions.endpoints import IMPORTED_TEXT, content_type_of

        content_type = self.content_type or CONTENT_TYPES_BY_EXTENSION.get(file.extension)
        if content_type is None:
            raise InvalidInput(
                f"file: {file.name} has the unsupported extension {file.extension!r}; supported are "
                f"{', '.join(CONTENT_TYPES_BY_EXTENSION)}. Set content_type to 'csv', 'json' or a media type"
            )
        return content_type_of(content_type, text=IMPORTED_TEXT)

    def datasets(self) -> Datasets:
        from sluice_provider.lineage import Datasets, FileDataset, ServiceDataset
        from sluice_provider.sources.input_files import InputFile
        from sluice_provider.sources.records import paths_of

        paths = paths_of(self.records) if self.file is None else [InputFile(self.file, "file").name]
        return Datasets([FileDataset(path) for path in paths], [ServiceDataset(("item-types", self.item_type))])


def _file_part(name: str, file: InputFile, content_type: str, headers: Mapping[str, str] | None = None) -> FilePart:
    from sluice_provider.http.bodies import FilePart

    label = f"{name}: {file.name}"
    return FilePart(name, file.filename, content_type, file.open_unchanged, file.size, label, headers or {})


class LiquidDecisionsExportOperator(RemoteJobOperator):
    """Export items from Liquid Decisions, wait until the job has ended, and download the result files.

    According to the wiki there are links to the results, valid for a week; it does not say whether they are in the
    job's status or only in the e-mail. If the status contains links, the files are streamed to `destination`, and a
    file appears there only when it is complete; if not, the result's `note` says so. Credentials are sent only to the
    connection's own host. A link may grant access to anyone, so none is logged or returned.

    Returns `{"service", "state", "job_id", "item_type", "processed", "milliseconds", "files", "note", "submitted_at",
    "ended_at", "seconds"}`: `files` are paths, `note` is present only if nothing was downloaded; with
    `wait_for_completion=False` the members from `processed` to `note` are missing. The result is also the extra of the
    outlets' asset events.

    Based on the wiki page "Batch Import and Export" of LiquidAnalytics/ld-api-examples, and on `batchExport.py`.

    :param item_type: the type of the items, as in the schema (templated)
    :param job_name: the job's name in Liquid Decisions (templated)
    :param content_type: `csv`, `json` or a media type
    :param sql_query: a query whose rows are exported (templated)
    :param filters: export only items that match: a dict, or its text; values may be path expressions like
        `/Workflow/processStatus[Editing]` (templated)
    :param prefer_query: allow both `sql_query` and `filters`; the service then ignores the filters
    :param filters_style: how a dict of filters is written: as JSON, or like Python's `str(dict)`, as the published
        script does
    :param template: the Velocity template that turns an item into a CSV row: its text, or a `Path` to a file with it
        (templated)
    :param row_header: whether a CSV file gets a header row
    :param notification_email: recipient of the service's e-mail when the job has ended (templated)
    :param destination: directory to download the results to, in any storage that ObjectStoragePath supports (templated)
    :param on_unknown_outcome: if an export was submitted and no response came: `resubmit` immediately, as an export
        changes nothing in the service, `ask` a person as for an import, or `fail` without a retry
    :param liquid_decisions_conn_id: Airflow connection id
    :raises InvalidInput: an argument is invalid; nothing was sent
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
        on_unknown_outcome: Literal["ask", "fail", "resubmit"] = "resubmit",
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
        from sluice_provider.apis.liquid_decisions.batch_jobs import ExportJob
        from sluice_provider.sources.output_files import AtomicFile

        if self.destination is not None:
            AtomicFile(str(self.destination), "probe")  # raises an error now if the destination is not usable
        return ExportJob(
            options=_batch_options(self),
            sql_query=self.sql_query,
            filters=self.filters,
            prefer_query=self.prefer_query,
            filters_style=self.filters_style,
            template=self._template_text,
            row_header=self.row_header,
            result_file=None if self.destination is None else self._result_file,
        )

    def _template_text(self) -> str | None:
        from sluice_provider.sources.input_files import InputFile

        from_file = isinstance(self.template, PathLike) or hasattr(self.template, "fs")
        return InputFile(self.template, "template").text() if from_file else self.template or None

    def _result_file(self, job_id: str, number: int, link: str) -> AtomicFile:
        """The name is not the service's: that could contain a path, or be the name of an existing file."""
        from sluice_provider.sources.output_files import AtomicFile

        path, _, query = link.partition("#")[0].partition("?")  # the link may be no valid URL
        if query:
            mask_secret(query)
        match = re.search(RESULT_EXTENSIONS, path.lower())
        extension = match[0] if match else self._default_extension
        return AtomicFile(str(self.destination), f"{_safe_name(job_id)}-{number}{extension}")

    @property
    def _default_extension(self) -> str:
        from sluice_provider.apis.liquid_decisions.endpoints import EXPORTED_TEXT, JSON, content_type_of

        return ".json" if content_type_of(self.content_type, text=EXPORTED_TEXT) == JSON else ".csv"

    def datasets(self) -> Datasets:
        from sluice_provider.lineage import Datasets, FileDataset, ServiceDataset

        files = [FileDataset(path) for path in self.result.get("files", ())]
        return Datasets([ServiceDataset(("item-types", self.item_type))], files)


def _safe_name(job_id: str) -> str:
    """The id with every character replaced that is not an ASCII letter, a digit, `-` or `_`."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", job_id)


def _batch_options(operator: LiquidDecisionsImportOperator | LiquidDecisionsExportOperator) -> BatchOptions:
    from sluice_provider.apis.liquid_decisions.batch_jobs import BatchOptions

    return BatchOptions(
        operator.item_type,
        operator.job_name,
        operator.content_type,
        operator.notification_email,
        operator.on_unknown_outcome,
    )


class LiquidDecisionsCancelJobOperator(RemoteJobOperator):
    """Cancel a job in Liquid Decisions, wait until that job has ended, and return how it ended.

    Liquid Decisions cancels a job "next time it is up for processing", so it may complete before. The task succeeds
    then, too, with `cancelled` false in its result and a warning in its log.

    Returns `{"service", "state", "job_id", "cancelled", "status", "reason", "processed", "milliseconds",
    "submitted_at", "ended_at", "seconds"}`: `cancelled` is a bool; `status` and `reason` are those that
    the service returned.

    Based on `batchCancel.py` of LiquidAnalytics/ld-api-examples, and on its wiki page "Batch Import and Export".

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
        from sluice_provider.apis.liquid_decisions.cancel_job import CancelJob

        return CancelJob(self.job_id)
