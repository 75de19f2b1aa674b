"""Downloads from Kaleidoscope, as the operators request them: the rules for arguments, the file, and the request."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from sluice_provider.apis.kaleidoscope import files as api
from sluice_provider.apis.validation import check_exactly_one, check_id, check_ids, check_text
from sluice_provider.errors import InvalidInput
from sluice_provider.http.flow import Flow
from sluice_provider.sources.file_names import safe_file_name
from sluice_provider.sources.output_files import AtomicFile, split_file_path

log = logging.getLogger(__name__)


class Download:
    """One file that is downloaded.

    :param operation_id: the operation that it belongs to, or None
    """

    log: Any = log
    """The task's log, once a task runs it."""

    def __init__(self, operation_id: str | None) -> None:
        self.operation_id = operation_id

    @property
    def locator(self) -> Mapping[str, str]:
        """What is needed beside `linked` for the link to Kaleidoscope's web UI."""
        return {"operation_id": self.operation_id} if self.operation_id else {}

    @property
    def linked(self) -> tuple[str, str]:
        """What the link leads to where there is no operation: its type, and its id."""
        raise NotImplementedError

    def validate(self) -> None:
        """:raises InvalidInput: before anything is requested"""
        raise NotImplementedError

    def target_file(self) -> AtomicFile:
        """The file to write. :raises InvalidInput: it cannot be written there"""
        raise NotImplementedError

    def request(self, target: AtomicFile) -> Flow[str]:
        """A flow that downloads the file, and returns its content type."""
        raise NotImplementedError

    def manifest(self) -> dict[str, Any]:
        """What the task's result has beside what all downloads have."""
        raise NotImplementedError


class FileDownload(Download):
    """A file, by its id. Arguments are those of `KaleidoscopeDownloadFileOperator`."""

    def __init__(
        self, file_id: str, destination: Any, path: Any, file_name: str | None, operation_id: str | None
    ) -> None:
        super().__init__(operation_id)
        self._file_id = file_id
        self._destination = destination
        self._path = path
        self._file_name = file_name

    @property
    def linked(self) -> tuple[str, str]:
        return "file", self._file_id

    def validate(self) -> None:
        check_id("file_id", self._file_id)
        check_id("operation_id", self.operation_id, optional=True)
        check_exactly_one(destination=self._destination, path=self._path)
        if self._path is not None and self._file_name is not None:
            raise InvalidInput("file_name goes with destination only: path names the file already")
        if self._destination is not None and not str(self._destination).strip():
            raise InvalidInput("destination must be the path or URL of a folder, and is empty")

    def target_file(self) -> AtomicFile:
        if self._path is not None:
            return AtomicFile(*split_file_path(self._path, "path"), "path")
        name = safe_file_name(self._file_name, self._file_id)
        if self._file_name is not None and name != self._file_name:
            self.log.warning(
                "%r from Kaleidoscope is saved as %r: the name holds unsafe characters", self._file_name, name
            )
        folder = str(self._destination).strip().rstrip("/")
        return AtomicFile(f"{folder}/{safe_file_name(self._file_id, 'file')}", name)

    def request(self, target: AtomicFile) -> Flow[str]:
        return api.download_file(self._file_id, target, self.operation_id)

    def manifest(self) -> dict[str, Any]:
        return {"operation_id": self.operation_id, "file_id": self._file_id, "file_name": self._file_name}


class RecordsExport(Download):
    """Records as a CSV file. Arguments are those of `KaleidoscopeExportRecordsOperator`."""

    FILTERS = ("view_field_filters", "view_field_sorts", "entity_field_filters", "entity_field_sorts")

    def __init__(
        self,
        entity_slice_id: str,
        path: Any,
        *,
        record_view_id: str | None,
        operation_id: str | None,
        program_id: str | None,
        record_set_ids: Sequence[str] | None,
        identifier_ids: Sequence[str] | None,
        view_field_ids: Sequence[str] | None,
        search_text: str | None,
        filters: dict[str, Any] | None,
    ) -> None:
        super().__init__(operation_id)
        self._entity_slice_id = entity_slice_id
        self._path = path
        self._record_view_id = record_view_id
        self._program_id = program_id
        self._record_set_ids = record_set_ids
        self._identifier_ids = identifier_ids
        self._view_field_ids = view_field_ids
        self._search_text = search_text
        self._filters = filters

    @property
    def linked(self) -> tuple[str, str]:
        if self._record_view_id:
            return "record_view", self._record_view_id
        return "entity_slice", self._entity_slice_id

    def validate(self) -> None:
        check_id("entity_slice_id", self._entity_slice_id)
        check_id("record_view_id", self._record_view_id, optional=True)
        check_id("operation_id", self.operation_id, optional=True)
        check_id("program_id", self._program_id, optional=True)
        check_text("search_text", self._search_text, optional=True)
        check_ids("record_set_ids", self._record_set_ids)
        check_ids("identifier_ids", self._identifier_ids)
        check_ids("view_field_ids", self._view_field_ids)
        filters = self._filters
        if filters is not None and not (isinstance(filters, dict) and set(filters) <= {*self.FILTERS}):
            raise InvalidInput(f"filters must be a dict with some of {', '.join(self.FILTERS)}, not {filters!r:.200}")

    def target_file(self) -> AtomicFile:
        return AtomicFile(*split_file_path(self._path, "path"), "path")

    def request(self, target: AtomicFile) -> Flow[str]:
        return api.export_records(
            split_file_path(self._path, "path")[1],
            self._entity_slice_id,
            target,
            record_view_id=self._record_view_id,
            operation_id=self.operation_id,
            program_id=self._program_id,
            record_set_ids=self._record_set_ids,
            identifier_ids=self._identifier_ids,
            view_field_ids=self._view_field_ids,
            search_text=self._search_text,
            **(self._filters or {}),
        )

    def manifest(self) -> dict[str, Any]:
        return {"entity_slice_id": self._entity_slice_id, "operation_id": self.operation_id}
