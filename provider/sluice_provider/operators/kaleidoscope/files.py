"""Tasks that download files from Kaleidoscope. A download changes nothing there, so a retry downloads again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sluice_provider.compat import HAVE_RETRY_POLICY
from sluice_provider.links import KaleidoscopeLink
from sluice_provider.runtime.retry import DEFAULT
from sluice_provider.runtime.task import RemoteTask, fail_for_good

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from sluice_provider.apis.kaleidoscope.downloads import Download, FileDownload, RecordsExport
    from sluice_provider.lineage import ServiceDataset


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

    def job(self) -> Download:
        """The download, by the rendered arguments."""
        raise NotImplementedError

    def execute(self, context: Context) -> dict[str, Any]:
        from sluice_provider.jobs.record import iso

        with fail_for_good(not HAVE_RETRY_POLICY):
            job = self.job()
            job.log = self.log
            job.validate()
            target, started = job.target_file(), time.time()
            self.job_url = self.hook.job_url(*job.linked, job.locator, self.hook.fields())
            content_type = self.hook.run(job.request(target))
            ended = time.time()
            self.result = {
                "service": self.service,
                "state": "succeeded",
                **job.manifest(),
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
        from sluice_provider.http.client_config import base_url
        from sluice_provider.lineage import Datasets, FileDataset, lineage

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

    def job(self) -> FileDownload:
        from sluice_provider.apis.kaleidoscope.downloads import FileDownload

        return FileDownload(self.file_id, self.destination, self.path, self.file_name, self.operation_id)

    def input_dataset(self) -> ServiceDataset:
        from sluice_provider.lineage import ServiceDataset

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

    def job(self) -> RecordsExport:
        from sluice_provider.apis.kaleidoscope.downloads import RecordsExport

        return RecordsExport(
            self.entity_slice_id,
            self.path,
            record_view_id=self.record_view_id,
            operation_id=self.operation_id,
            program_id=self.program_id,
            record_set_ids=self.record_set_ids,
            identifier_ids=self.identifier_ids,
            view_field_ids=self.view_field_ids,
            search_text=self.search_text,
            filters=self.filters,
        )

    def input_dataset(self) -> ServiceDataset:
        from sluice_provider.lineage import ServiceDataset

        return ServiceDataset(("operations", self.operation_id) if self.operation_id else ("records",))
