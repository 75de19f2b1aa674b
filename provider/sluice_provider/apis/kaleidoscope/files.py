"""Kaleidoscope's API: downloads of files and records.

Everything here rests on the vendor's published clients (kalbio `files.py`, `exports.py`), and on the page
https://kaleidoscope.readme.io/reference/get_records-export-csv that they name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sluice_provider.apis.paths import segment
from sluice_provider.apis.payloads import drop_none
from sluice_provider.http.bodies import AtomicFile
from sluice_provider.http.flow import Flow, Request
from sluice_provider.http.retry import send

ANY_CONTENT = {"Accept": "*/*"}
EXPORT_READ_TIMEOUT = 300.0
"""Seconds until the first byte: Kaleidoscope makes the file while the request waits. kalbio's timeout is the same."""


def download_file(file_id: str, into: AtomicFile, activity_id: str | None = None) -> Flow[str]:
    """Download a file, and return its content type (kalbio `files.py`). Idempotent.

    :param activity_id: the operation, or other activity, that the file belongs to: the download is scoped to it
    :raises NotFound: the workspace, or the activity, has no such file
    """
    file = segment(file_id, "file_id")
    path = f"files/{file}" if activity_id is None else f"activities/{segment(activity_id, 'activity_id')}/file/{file}"
    reply = yield from send(Request("GET", path, into=into, headers=ANY_CONTENT, idempotent=True))
    return reply.headers.get("content-type", "")


def export_records(
    filename: str,
    entity_slice_id: str,
    into: AtomicFile,
    record_view_id: str | None = None,
    view_field_ids: Sequence[str] | None = None,
    identifier_ids: Sequence[str] | None = None,
    record_set_ids: Sequence[str] | None = None,
    program_id: str | None = None,
    operation_id: str | None = None,
    view_field_filters: Any = None,
    view_field_sorts: Any = None,
    entity_field_filters: Any = None,
    entity_field_sorts: Any = None,
    search_text: str | None = None,
) -> Flow[str]:
    """Download records as CSV, and return the content type (kalbio `exports.py: pull_data`). Idempotent.

    Lists of ids are sent separated by commas, filters and sorts as JSON.
    """
    params: Mapping[str, str] = drop_none(
        filename=filename,
        entity_slice_id=entity_slice_id,
        record_view_id=record_view_id,
        view_field_ids=_comma_separated(view_field_ids),
        identifier_ids=_comma_separated(identifier_ids),
        record_set_ids=_comma_separated(record_set_ids),
        program_id=program_id,
        operation_id=operation_id,
        view_field_filters=_json_text(view_field_filters),
        view_field_sorts=_json_text(view_field_sorts),
        entity_field_filters=_json_text(entity_field_filters),
        entity_field_sorts=_json_text(entity_field_sorts),
        search_text=search_text,
    )
    call = Request(
        "GET",
        "records/export/csv",
        params=params,
        into=into,
        headers=ANY_CONTENT,
        read_timeout=EXPORT_READ_TIMEOUT,
        idempotent=True,
    )
    reply = yield from send(call)
    return reply.headers.get("content-type", "")


def _comma_separated(ids: Sequence[str] | None) -> str | None:
    return None if ids is None else ",".join(ids)


def _json_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
