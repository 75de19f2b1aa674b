"""The operator that stages drafts in Kaleidoscope: rows on an operation's staging table, not registered yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from sluice_provider.operators.kaleidoscope.base import KaleidoscopeOperator
from sluice_provider.records import mapped, wrap_function

if TYPE_CHECKING:
    from sluice_provider.apis.kaleidoscope.drafts_job import StageDraftsJob


class KaleidoscopeStageDraftsOperator(KaleidoscopeOperator):
    """Stage rows as drafts on an operation in Kaleidoscope, wait until they are imported, and return the counts.

    The same rows staged twice are two drafts each, so no row is staged again that may have been staged: rows are
    uploaded as an import first, which makes no drafts, and the import is then run by its id. If the response to running
    it is lost, the import's status decides: it is run again only if it was not run. Rows are read once and checked,
    into a temporary file on the worker (`TMPDIR`), before the first is sent.

    Returns `{"service", "state", "operation_id", "import_ids", "staged", "replaced", "created", "updated", "skipped",
    "rejected", "submitted_at", "ended_at", "seconds", "url"}`: `staged` rows were sent, `replaced` old drafts were
    archived; with `wait_for_completion=False` the service's counts (`created` to `rejected`) are missing. Of more than
    100 imports it has `import_count` and `first_import_ids` instead of `import_ids`. Outlets get the same as their
    event's extra.

    Rests on `stage_drafts` of the vendor's client (kalbio `registration.py`, since 0.7.0).

    :param operation_id: the experiment or cycle; its activity definition must have table-based registration (templated)
    :param records: a list of dicts; the path or URL of a CSV, TSV, JSON, JSON Lines or Parquet file, also compressed,
        of a folder, or a pattern; `Files` or a `SqlQuery`; a frame of pandas, polars or Arrow; or a function that
        returns or yields any of these, called when the task runs (docs/records.md). Files and queries are streamed
        (templated)
    :param columns: the columns to take, as a list of names, or as a dict that renames them, `{"csv name": "field"}`;
        `"*": "*"` in it stands for all others (templated)
    :param constants: fields that every record gets, with their values (templated)
    :param key_field_names: names of the staging table's key fields in the records, without the one that Kaleidoscope
        manages itself; all other fields must be data fields of the staging table (templated)
    :param replace_existing: archive the old drafts once the first rows are staged
    :param on_rejected_rows: what to do when Kaleidoscope rejected rows: fail (without a retry), warn or ignore
    :param rejected_to: path or URL of a file for the rejected rows, all of them, with the reasons: `.csv`, `.jsonl` or
        `.parquet` (docs/records.md). The result then has `rejected_to`, which is None if none was rejected, and
        `rejected_rows` (templated)
    :param batch_size: records in one import at the most
    :param max_bytes: bytes of one request at the most; a request that Kaleidoscope finds too large is halved
    :param kaleidoscope_conn_id: Airflow connection id
    :raises InvalidInput: before anything is sent, naming the record or the line
    :raises RowsRejected: Kaleidoscope rejected rows
    :raises JobFailed: an import failed
    :raises OutcomeUnknown: it cannot be found out whether an import was run
    """

    __supports_durable_execution = True

    template_fields: Sequence[str] = (
        "operation_id",
        "records",
        "columns",
        "constants",
        "key_field_names",
        "rejected_to",
        "kaleidoscope_conn_id",
    )
    template_fields_renderers = {"records": "json"}
    template_ext: Sequence[str] = (".sql",)

    def __init__(
        self,
        *,
        operation_id: str,
        records: Any,
        columns: Mapping[str, str] | Sequence[str] | None = None,
        constants: Mapping[str, Any] | None = None,
        key_field_names: Sequence[str],
        replace_existing: bool = False,
        on_rejected_rows: Literal["fail", "warn", "ignore"] = "fail",
        rejected_to: Any = None,
        batch_size: int = 1000,
        max_bytes: int = 900 * 1024,
        kaleidoscope_conn_id: str = "kaleidoscope_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kaleidoscope_conn_id = kaleidoscope_conn_id
        self.operation_id = operation_id
        self.records = wrap_function(records)
        self.columns = columns
        self.constants = constants
        self.key_field_names = key_field_names
        self.replace_existing = replace_existing
        self.on_rejected_rows = on_rejected_rows
        self.rejected_to = rejected_to
        self.batch_size = batch_size
        self.max_bytes = max_bytes

    def job(self) -> StageDraftsJob:
        from sluice_provider.apis.kaleidoscope.drafts_job import StageDraftsJob

        return StageDraftsJob(
            mapped(self.records, self.columns, self.constants),
            operation_id=self.operation_id,
            key_field_names=self.key_field_names,
            replace_existing=self.replace_existing,
            on_rejected_rows=self.on_rejected_rows,
            rejected_to=self.rejected_to,
            batch_size=self.batch_size,
            max_bytes=self.max_bytes,
        )
