"""The operator that pushes records into Kaleidoscope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from sluice_provider.operators.kaleidoscope.base import KaleidoscopeOperator
from sluice_provider.records import mapped, wrap_function

if TYPE_CHECKING:
    from sluice_provider.apis.kaleidoscope.push_job import PushJob
    from sluice_provider.lineage import ServiceDataset


class KaleidoscopePushOperator(KaleidoscopeOperator):
    """Push records into Kaleidoscope, wait until they are imported, and return the counts.

    Kaleidoscope identifies records by their key fields, so pushing the same records again updates them. They are read
    once and checked, into a temporary file on the worker (`TMPDIR`), before the first is sent. Which batches were
    accepted is recorded about once a second, so after a failure those of the last moments are sent again.

    Returns `{"service", "state", "import_ids", "pushed", "created", "updated", "skipped", "rejected", "submitted_at",
    "ended_at", "seconds", "url"}`: `pushed` records were sent; with `wait_for_completion=False` the service's counts
    (`created` to `rejected`) are missing. Of more than 100 imports it has `import_count` and `first_import_ids` instead
    of `import_ids`. Outlets get the same as their event's extra.

    Rests on `push_data` and `push_data_by_field_id` of the vendor's client (kalbio `imports.py`).

    :param records: a list of dicts; the path or URL of a CSV, TSV, JSON, JSON Lines or Parquet file, also compressed,
        of a folder, or a pattern; `Files` or a `SqlQuery`; a frame of pandas, polars or Arrow; or a function that
        returns or yields any of these, called when the task runs (docs/records.md). Files and queries are streamed
        (templated)
    :param columns: the columns to take, as a list of names, or as a dict that renames them, `{"csv name": "field"}`;
        `"*": "*"` in it stands for all others (templated)
    :param constants: fields that every record gets, with their values (templated)
    :param key_field_names: names of the fields that identify a record (templated)
    :param key_field_ids: ids of these fields, when the records name their fields by id (templated)
    :param source_id: the data source to import under; only with field names (templated)
    :param operation_id: the experiment or cycle to import into (templated)
    :param program_id: the program to import under (templated)
    :param record_view_id: the view to import into, with an operation; only with field names (templated)
    :param add_fields_to_record_view_ids: views to add new fields to; only with field names (templated)
    :param record_view_ids: with field ids, the views to import into; with field names it belongs to the older API
        and has no effect on current servers (templated)
    :param set_name: name of the record set (templated)
    :param on_rejected_rows: what to do when Kaleidoscope rejected rows: fail (without a retry), warn or ignore
    :param rejected_to: path or URL of a file for the rejected rows, all of them, with the reasons: `.csv`, `.jsonl` or
        `.parquet` (docs/records.md). The result then has `rejected_to`, which is None if none was rejected, and
        `rejected_rows` (templated)
    :param on_unknown_field: what to do with fields that Kaleidoscope does not have: `fail` before anything is sent, let
        Kaleidoscope `create` them (with field names only), or `drop` them. Without it, they are not looked for, and
        sent. Reads Kaleidoscope's fields first
    :param check_types: fail before anything is sent if a value does not fit the type of its field (number, boolean,
        date); else Kaleidoscope rejects such rows
    :param batch_size: records in one request at the most
    :param max_bytes: bytes of one request at the most; a request that Kaleidoscope finds too large is halved
    :param max_in_flight: requests at the same time, 20 at the most; fewer while Kaleidoscope answers that there are too
        many
    :param kaleidoscope_conn_id: Airflow connection id
    :raises InvalidInput: before anything is sent, naming the record or the line
    :raises RowsRejected: Kaleidoscope rejected rows
    :raises JobFailed: an import failed
    """

    __supports_durable_execution = True

    template_fields: Sequence[str] = (
        "records",
        "columns",
        "constants",
        "key_field_names",
        "key_field_ids",
        "source_id",
        "operation_id",
        "program_id",
        "record_view_id",
        "add_fields_to_record_view_ids",
        "record_view_ids",
        "set_name",
        "rejected_to",
        "kaleidoscope_conn_id",
    )
    template_fields_renderers = {"records": "json"}
    template_ext: Sequence[str] = (".sql",)

    def __init__(
        self,
        *,
        records: Any,
        columns: Mapping[str, str] | Sequence[str] | None = None,
        constants: Mapping[str, Any] | None = None,
        key_field_names: Sequence[str] | None = None,
        key_field_ids: Sequence[str] | None = None,
        source_id: str | None = None,
        operation_id: str | None = None,
        program_id: str | None = None,
        record_view_id: str | None = None,
        add_fields_to_record_view_ids: Sequence[str] | None = None,
        record_view_ids: Sequence[str] | None = None,
        set_name: str | None = None,
        on_rejected_rows: Literal["fail", "warn", "ignore"] = "fail",
        rejected_to: Any = None,
        on_unknown_field: Literal["fail", "create", "drop"] | None = None,
        check_types: bool = False,
        batch_size: int = 1000,
        max_bytes: int = 900 * 1024,
        max_in_flight: int = 16,
        kaleidoscope_conn_id: str = "kaleidoscope_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kaleidoscope_conn_id = kaleidoscope_conn_id
        self.records = wrap_function(records)
        self.columns = columns
        self.constants = constants
        self.key_field_names = key_field_names
        self.key_field_ids = key_field_ids
        self.source_id = source_id
        self.operation_id = operation_id
        self.program_id = program_id
        self.record_view_id = record_view_id
        self.add_fields_to_record_view_ids = add_fields_to_record_view_ids
        self.record_view_ids = record_view_ids
        self.set_name = set_name
        self.on_rejected_rows = on_rejected_rows
        self.rejected_to = rejected_to
        self.on_unknown_field = on_unknown_field
        self.check_types = check_types
        self.batch_size = batch_size
        self.max_bytes = max_bytes
        self.max_in_flight = max_in_flight

    def job(self) -> PushJob:
        from sluice_provider.apis.kaleidoscope.push_job import PushJob, Target

        target = Target(
            self.key_field_names,
            self.key_field_ids,
            self.source_id,
            self.operation_id,
            self.program_id,
            self.record_view_id,
            self.add_fields_to_record_view_ids,
            self.record_view_ids,
            self.set_name,
        )
        return PushJob(
            mapped(self.records, self.columns, self.constants),
            target,
            on_rejected_rows=self.on_rejected_rows,
            rejected_to=self.rejected_to,
            on_unknown_field=self.on_unknown_field,
            check_types=self.check_types,
            batch_size=self.batch_size,
            max_bytes=self.max_bytes,
            max_in_flight=self.max_in_flight,
        )

    def output_dataset(self) -> ServiceDataset:
        """The narrowest of what the records were pushed into."""
        from sluice_provider.lineage import ServiceDataset

        destinations = {"operations": self.operation_id, "sources": self.source_id, "programs": self.program_id}
        found = ((segment, value) for segment, value in destinations.items() if value)
        return ServiceDataset(next(found, ("records",)))
