"""Tasks that push into Kaleidoscope."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from sluice_provider.apis import kaleidoscope
from sluice_provider.assets import dataset_of, uri
from sluice_provider.calls.site import base_url
from sluice_provider.errors import InvalidInput, TooLarge
from sluice_provider.jobs import judge_rejections
from sluice_provider.journal import Story, digest
from sluice_provider.lineage import Name, file_dataset, lineage
from sluice_provider.links import KaleidoscopeLink
from sluice_provider.operators.asking import Asking, Phase
from sluice_provider.operators.base import JobOperator, times
from sluice_provider.operators.kaleidoscope_rows import check_sizes, in_batches, judged
from sluice_provider.sources.batches import Batch, joined
from sluice_provider.sources.opening import File, Source, open_source

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from sluice_provider.calls.flow import Flow
    from sluice_provider.jobs import Work
    from sluice_provider.journal import Intent


class KaleidoscopePushOperator(JobOperator):
    """Push records into Kaleidoscope, wait until they are imported, and return what became of them.

    Records are kept by their key fields there, so pushing the same again updates and never doubles.

    Returns `{"system", "state", "import_ids", "pushed", "created", "updated", "skipped", "rejected", "asked_at",
    "ended_at", "seconds", "url"}`; with `wait_for_completion=False` the counts of the remote are missing. Outlets get
    the same as their event's extra.

    Rests on `push_data` and `push_data_by_field_id` of the vendor's client (kalbio `imports.py`).

    :param records: a list of dicts, or the path or URL of a CSV, TSV, JSON, JSON Lines or Parquet file, also
        compressed, which is read in batches and never whole (templated)
    :param key_field_names: names of the fields that identify a record (templated)
    :param key_field_ids: ids of these fields, when the records name their fields by id (templated)
    :param source_id: the data source to import under; only with field names (templated)
    :param operation_id: the experiment or cycle to import into (templated)
    :param program_id: the program to import under (templated)
    :param record_view_id: the view to import into, with an operation; only with field names (templated)
    :param add_fields_to_record_view_ids: views that get the fields which are new; only with field names (templated)
    :param record_view_ids: with field ids, the views to import into; with field names it belongs to the older API
        and has no effect on current servers (templated)
    :param set_name: name of the record set (templated)
    :param on_rejected_rows: what to do when the remote turned rows away: fail (without a retry), warn or ignore
    :param batch_size: records in one request at the most
    :param max_bytes: bytes of one request at the most; a remote that refuses it as too large gets half of it
    :param kaleidoscope_conn_id: Airflow connection id
    :raises InvalidInput: before anything is sent, naming the record or the line
    :raises RowsRejected: the remote turned rows away
    :raises JobFailed: an import failed
    """

    system = "kaleidoscope"
    template_fields: Sequence[str] = (
        "records",
        "key_field_names",
        "key_field_ids",
        "source_id",
        "operation_id",
        "program_id",
        "record_view_id",
        "add_fields_to_record_view_ids",
        "record_view_ids",
        "set_name",
        "kaleidoscope_conn_id",
    )
    template_fields_renderers = {"records": "json"}
    operator_extra_links = (KaleidoscopeLink(),)

    def __init__(
        self,
        *,
        records: Any,
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
        batch_size: int = 1000,
        max_bytes: int = 900 * 1024,
        kaleidoscope_conn_id: str = "kaleidoscope_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kaleidoscope_conn_id = kaleidoscope_conn_id
        self.records = records
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
        self.batch_size = batch_size
        self.max_bytes = max_bytes

    # --- bad input

    def check(self) -> None:
        self._check_keys()
        self._check_ids()
        if self.on_rejected_rows not in ("fail", "warn", "ignore"):
            raise InvalidInput(f"on_rejected_rows must be 'fail', 'warn' or 'ignore', not {self.on_rejected_rows!r}")
        check_sizes(self.batch_size, self.max_bytes)

    def _check_keys(self) -> None:
        if bool(self.key_field_names) == bool(self.key_field_ids):
            raise InvalidInput("give either key_field_names or key_field_ids: the fields that identify a record")
        for name in ("key_field_names", "key_field_ids", "add_fields_to_record_view_ids", "record_view_ids"):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, str) or not all(isinstance(item, str) and item.strip() for item in value):
                raise InvalidInput(f"{name} must be a list of texts, not {value!r}")
            if len(set(value)) < len(value):
                raise InvalidInput(f"{name} names one of its items twice: {value!r}")

    def _check_ids(self) -> None:
        by_id = {"source_id", "record_view_id", "add_fields_to_record_view_ids"} if self.key_field_ids else set()
        for name in ("source_id", "operation_id", "program_id", "record_view_id", "set_name"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value.strip()):
                raise InvalidInput(f"{name} must be a text that is not empty, or be left out; it is {value!r}")
        for name in sorted(by_id):
            if getattr(self, name) is not None:
                raise InvalidInput(f"{name} goes with key_field_names only: the API takes none with field ids")
        if self.record_view_id is not None and self.operation_id is None:
            raise InvalidInput("record_view_id needs an operation_id: the view belongs to an operation")

    # --- input

    @cached_property
    def _source(self) -> Source:
        return open_source(self.records)

    @property
    def _keys(self) -> list[str]:
        return list(self.key_field_names or self.key_field_ids or ())

    @property
    def _target(self) -> dict[str, Any]:
        """Where the records go, as arguments of the API's flows."""
        names = ["operation_id", "program_id", "record_view_ids", "set_name"]
        if self.key_field_names:
            names += ["source_id", "record_view_id", "add_fields_to_record_view_ids"]
        return {name: getattr(self, name) for name in names}

    def fingerprint(self) -> str:
        """Reads all records once, so that nothing is sent when one of them is wrong."""
        content = hashlib.sha256()
        count = 0
        for place, record in self._source:
            content.update(judged(self._source, place, record, self._keys, self.max_bytes) + b"\n")
            count += 1
        if not count:
            raise InvalidInput(f"{self._source.name}: there are no records to push")
        self.log.info("%d records in %s are fit to be sent", count, self._source.name)
        return digest([self._keys, bool(self.key_field_names), self._target, self.conn_id, content.hexdigest()])

    # --- the one phase

    def plan(self, story: Story) -> Phase | None:
        if story.entry("push").ended:
            return None
        where = {"operation_id": self.operation_id} if self.operation_id else {}
        return Phase("push", "import", self._ask_all, self._doubt, where)

    def _doubt(self, asking: Asking, intent: Intent) -> None:
        """Records are kept by their keys, so to send the same ones again does no harm."""
        self.log.warning(
            "An earlier try sent %d records and did not learn what became of them; sending them again, which updates "
            "the same records (nothing is doubled)",
            intent.size,
        )
        del asking

    def _ask_all(self, asking: Asking) -> None:
        if self.record_view_ids and self.key_field_names:
            self.log.warning("record_view_ids has no effect on current servers; record_view_id and operation_id do")
        done = joined(part.stretch for part in asking.entry.parts)
        if done:
            self.log.info("Not sending again what was acknowledged before: %d records", sum(map(len, done)))
        for batch in in_batches(self._source, self.batch_size, self.max_bytes, done):
            self._push(asking, batch)

    def _push(self, asking: Asking, batch: Batch) -> None:
        try:
            import_id = asking.send(self._flow(batch), batch.start, len(batch.records))
        except TooLarge as error:
            if len(batch.records) == 1:
                raise
            self.log.warning("%s; sending these %d records in two halves", error, len(batch.records))
            for half in batch.halves():
                self._push(asking, half)
        else:
            self.log.info("Kaleidoscope accepted %d records as import %s", len(batch.records), import_id)

    def _flow(self, batch: Batch) -> Flow[str]:
        push = kaleidoscope.push_by_field_name if self.key_field_names else kaleidoscope.push_by_field_id
        return push(self._keys, batch.records, **self._target)

    # --- the end

    def judge(self, phase: Phase, work: Work) -> None:
        del phase
        judge_rejections(work, self.on_rejected_rows, self.log)

    def manifest(self, story: Story) -> dict[str, Any]:
        entry = story.entry("push")
        ended = entry.ended or {"state": "running", "counts": {}}
        return {
            "system": self.system,
            "state": ended["state"],
            "import_ids": list(entry.ids),
            "pushed": entry.size,
            **ended["counts"],
            **times([entry]),
            "url": self.job_url,
        }

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """OpenLineage asks for this by its name, once the task is over."""
        del task_instance
        address = base_url(self.hook.fields(), self.hook.default_host).rstrip("/")
        inputs = [file_dataset(self._source.name)] if isinstance(self._source, File) else []
        return lineage(address, self.result.get("import_ids", ()), inputs, [self._dataset(address)])

    def _dataset(self, address: str) -> Name:
        for kind in ("operation", "source", "program"):
            if value := getattr(self, f"{kind}_id"):
                return dataset_of(uri("kaleidoscope", address, f"{kind}s", value))
        return dataset_of(uri("kaleidoscope", address, "records"))
