"""Tasks that download files from Kaleidoscope. A download changes nothing there, so a retry downloads again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sluice_provider.apis.kaleidoscope import files as api
from sluice_provider.apis.validation import check_exactly_one, check_id, check_ids, check_text
from sluice_provider.compat import HAVE_RETRY_POLICY
from sluice_provider.errors import InvalidInput
from sluice_provider.http.client_config import base_url
from sluice_provider.jobs.record import iso
from sluice_provider.lineage import Datasets, FileDataset, ServiceDataset, lineage
from sluice_provider.links import KaleidoscopeLink
from sluice_provider.runtime.retry import DEFAULT
from sluice_provider.runtime.task import RemoteTask, fail_for_good
from sluice_provider.sources.file_names import safe_file_name
from sluice_provider.sources.output_files import AtomicFile, split_file_path

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from sluice_provider.http.flow import Flow


class DownloadOperator(RemoteTask):
    """What the tasks that download a file have in common.

    :param retry_policy: Airflow 3.3: by default an error that a retry cannot help is not retried
    """

    service = "kaleidoscope"
    operator_extra_links = (KaleidoscopeLink(),)

    kaleidoscope_conn_id: str
    operation_id: str | None

    def __init__(self, *, retry_policy: Any = DEFAULT, **kwargs: Any) -> None:
        if HAVE_RETRY_POLICY:
            kwargs["retry_policy"] = retry_policy
        super().__init__(**kwargs)
        self.result: dict[str, Any] = {}

    def validate(self) -> None:
        """Check the rendered arguments. :raises InvalidInput: before anything is requested"""
        raise NotImplementedError

    def target_file(self) -> AtomicFile:
        """The file to write."""
        raise NotImplementedError

    def download(self, target: AtomicFile) -> Flow[str]:
        """A flow that downloads the file, and returns its content type."""
        raise NotImplementedError

    def result_members(self) -> dict[str, Any]:
        """What the result has beside what all downloads have."""
        raise NotImplementedError

    def execute(self, context: Context) -> dict[str, Any]:
        with fail_for_good(not HAVE_RETRY_POLICY):
            self.validate()
            target, started = self.target_file(), time.time()
            content_type = self.hook.run(self.download(target))
            ended = time.time()
            self.result = {
                "service": self.service,
                "state": "succeeded",
                **self.result_members(),
                "path": target.path,
                "bytes": target.size,
                "sha256": target.sha256,
                "content_type": content_type,
                "submitted_at": iso(started),
                "ended_at": iso(ended),
                "seconds": round(ended - started, 1),
                "url": self.job_url,
            }
        self.log.info("Downloaded %d bytes to %s", target.size, target.path)
        for outlet in self.outlets:
            if hasattr(outlet, "uri"):
                context["outlet_events"][outlet].extra.update(self.result)
        self.hook.close()
        return self.result

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Called by OpenLineage, by this name, once the task is over."""
        del task_instance
        address = base_url(self.hook.fields(), self.hook.default_host).rstrip("/")
        datasets = Datasets([self.input_dataset()], [FileDataset(self.result["path"])])
        return lineage(self.service, address, [], datasets)

    def input_dataset(self) -> ServiceDataset:
        """What is read, for OpenLineage."""
        raise NotImplementedError


class KaleidoscopeDownloadFileOperator(DownloadOperator):
    """Download a file from Kaleidoscope, streamed, into any folder that ObjectStoragePath reaches.

    The file is there whole or not at all: it is written under a temporary name and renamed at the end. Its name in
    Kaleidoscope cannot lead out of the folder: only the last part of `file_name` is used, cleaned of misleading
    characters, and each file has a folder of its own below `destination`, named by its id, so that two of the same name
    do not replace each other.

    Returns `{"service", "state", "operation_id", "file_id", "file_name", "path", "bytes", "sha256", "content_type",
    "submitted_at", "ended_at", "seconds", "url"}`, which `sluice_provider.files.local_copy` takes as it is; the times
    are those of the download. Outlets get the same as their event's extra.

    Rests on `download_file` of the vendor's client (kalbio `files.py`).

    :param file_id: the file (templated)
    :param destination: folder to download it into; it becomes `destination/file_id/file_name` ... (templated)
    :param path: ... or the path of the file to write (templated)
    :param file_name: the file's name, as in the event; without it, its id (templated)
    :param operation_id: the operation that the file belongs to; scopes the download (templated)
    :param kaleidoscope_conn_id: Airflow connection id
    :raises InvalidInput: before anything is requested
    :raises NotFound: there is no such file
    """

    template_fields: Sequence[str] = (
        "file_id",
        "destination",
        "path",
        "file_name",
        "operation_id",
        "kaleidoscope_conn_id",
    )

    def __init__(
        self,
        *,
        file_id: str,
        destination: Any = None,
        path: Any = None,
        file_name: str | None = None,
        operation_id: str | None = None,
        kaleidoscope_conn_id: str = "kaleidoscope_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kaleidoscope_conn_id = kaleidoscope_conn_id
        self.file_id = file_id
        self.destination = destination
        self.path = path
        self.file_name = file_name
        self.operation_id = operation_id

    def validate(self) -> None:
        check_id("file_id", self.file_id)
        check_id("operation_id", self.operation_id, optional=True)
        check_exactly_one(destination=self.destination, path=self.path)
        if self.path is not None and self.file_name is not None:
            raise InvalidInput("file_name goes with destination only: path names the file already")
        if self.destination is not None and not str(self.destination).strip():
            raise InvalidInput("destination must be the path or URL of a folder, and is empty")
        self.target_file()

    def target_file(self) -> AtomicFile:
        if self.path is not None:
            return AtomicFile(*split_file_path(self.path, "path"), "path")
        name = safe_file_name(self.file_name, self.file_id)
        if self.file_name is not None and name != self.file_name:
            self.log.warning(
                "%r from Kaleidoscope is saved as %r: the name holds unsafe characters", self.file_name, name
            )
        folder = str(self.destination).strip().rstrip("/")
        return AtomicFile(f"{folder}/{safe_file_name(self.file_id, 'file')}", name)

    def download(self, target: AtomicFile) -> Flow[str]:
        locator = {"operation_id": self.operation_id} if self.operation_id else {}
        self.job_url = self.hook.job_url("file", self.file_id, locator, self.hook.fields())
        return api.download_file(self.file_id, target, self.operation_id)

    def result_members(self) -> dict[str, Any]:
        return {"operation_id": self.operation_id, "file_id": self.file_id, "file_name": self.file_name}

    def input_dataset(self) -> ServiceDataset:
        return ServiceDataset(("files", self.file_id))


class KaleidoscopeExportRecordsOperator(DownloadOperator):
    """Download records from Kaleidoscope as a CSV file, streamed, to any path that ObjectStoragePath reaches.

    The file is there whole or not at all: it is written under a temporary name and renamed at the end.

    Returns `{"service", "state", "entity_slice_id", "operation_id", "path", "bytes", "sha256", "content_type",
    "submitted_at", "ended_at", "seconds", "url"}`, which `sluice_provider.files.local_copy` takes as it is; the times
    are those of the download. Outlets get the same as their event's extra.

    Rests on `pull_data` of the vendor's client (kalbio `exports.py`).

    :param entity_slice_id: what kind of records (templated)
    :param path: path or URL of the CSV file to write (templated)
    :param record_view_id: only the records of this view (templated)
    :param operation_id: only the records of this experiment or cycle (templated)
    :param program_id: only the records of this program (templated)
    :param record_set_ids: only the records of these sets (templated)
    :param identifier_ids: only these identifiers (templated)
    :param view_field_ids: the view's fields to export (templated)
    :param search_text: only records that hold this text (templated)
    :param filters: `{"view_field_filters": ..., "view_field_sorts": ..., "entity_field_filters": ...,
        "entity_field_sorts": ...}`, each a list of `{"field_id", "filter_type", ...}` or `{"field_id", "descending"}`
        (templated)
    :param kaleidoscope_conn_id: Airflow connection id
    :raises InvalidInput: before anything is requested
    """

    template_fields: Sequence[str] = (
        "entity_slice_id",
        "path",
        "record_view_id",
        "operation_id",
        "program_id",
        "record_set_ids",
        "identifier_ids",
        "view_field_ids",
        "search_text",
        "filters",
        "kaleidoscope_conn_id",
    )
    template_fields_renderers = {"filters": "json"}

    def __init__(
        self,
        *,
        entity_slice_id: str,
        path: Any,
        record_view_id: str | None = None,
        operation_id: str | None = None,
        program_id: str | None = None,
        record_set_ids: Sequence[str] | None = None,
        identifier_ids: Sequence[str] | None = None,
        view_field_ids: Sequence[str] | None = None,
        search_text: str | None = None,
        filters: dict[str, Any] | None = None,
        kaleidoscope_conn_id: str = "kaleidoscope_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kaleidoscope_conn_id = kaleidoscope_conn_id
        self.entity_slice_id = entity_slice_id
        self.path = path
        self.record_view_id = record_view_id
        self.operation_id = operation_id
        self.program_id = program_id
        self.record_set_ids = record_set_ids
        self.identifier_ids = identifier_ids
        self.view_field_ids = view_field_ids
        self.search_text = search_text
        self.filters = filters

    FILTERS = ("view_field_filters", "view_field_sorts", "entity_field_filters", "entity_field_sorts")

    def validate(self) -> None:
        check_id("entity_slice_id", self.entity_slice_id)
        check_id("record_view_id", self.record_view_id, optional=True)
        check_id("operation_id", self.operation_id, optional=True)
        check_id("program_id", self.program_id, optional=True)
        check_text("search_text", self.search_text, optional=True)
        check_ids("record_set_ids", self.record_set_ids)
        check_ids("identifier_ids", self.identifier_ids)
        check_ids("view_field_ids", self.view_field_ids)
        if self.filters is not None and not (isinstance(self.filters, dict) and set(self.filters) <= {*self.FILTERS}):
            raise InvalidInput(
                f"filters must be a dict with some of {', '.join(self.FILTERS)}, not {self.filters!r:.200}"
            )
        self.target_file()

    def target_file(self) -> AtomicFile:
        return AtomicFile(*split_file_path(self.path, "path"), "path")

    def download(self, target: AtomicFile) -> Flow[str]:
        locator = {"operation_id": self.operation_id} if self.operation_id else {}
        kind, job_id = ("record_view", self.record_view_id) if self.record_view_id else ("", self.entity_slice_id)
        self.job_url = self.hook.job_url(kind or "entity_slice", job_id, locator, self.hook.fields())
        return api.export_records(
            split_file_path(self.path, "path")[1],
            self.entity_slice_id,
            target,
            record_view_id=self.record_view_id,
            operation_id=self.operation_id,
            program_id=self.program_id,
            record_set_ids=self.record_set_ids,
            identifier_ids=self.identifier_ids,
            view_field_ids=self.view_field_ids,
            search_text=self.search_text,
            **(self.filters or {}),
        )

    def result_members(self) -> dict[str, Any]:
        return {"entity_slice_id": self.entity_slice_id, "operation_id": self.operation_id}

    def input_dataset(self) -> ServiceDataset:
        return ServiceDataset(("operations", self.operation_id) if self.operation_id else ("records",))
