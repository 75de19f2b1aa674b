"""Kaleidoscope's API: files as they are, brought home.

Every fact rests on the vendor's published clients (kalbio `files.py`, `exports.py`), and on the page
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

ANYTHING = {"Accept": "*/*"}
EXPORTING = 300.0
"""Seconds that an export may take to begin: Kaleidoscope makes it while we wait, and kalbio waits as long."""


def download_file(file_id: str, into: AtomicFile, activity_id: str | None = None) -> Flow[str]:
    """Bring a file home, and return its content type (kalbio `files.py`). Reading changes nothing: repeatable.

    :param activity_id: the operation, or other activity, that the file belongs to: the download is scoped to it
    :raises NotFound: no such file is known there
    """
    file = segment(file_id, "file_id")
    path = f"files/{file}" if activity_id is None else f"activities/{segment(activity_id, 'activity_id')}/file/{file}"
    reply = yield from send(Request("GET", path, into=into, headers=ANYTHING, idempotent=True))
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
    """Bring records home as CSV, and return the content type (kalbio `exports.py: pull_data`). Reading changes nothing:
    repeatable. Lists of ids go out separated by commas, filters and sorts as JSON text.
    """
    params: Mapping[str, str] = drop_none(
        filename=filename,
        entity_slice_id=entity_slice_id,
        record_view_id=record_view_id,
        view_field_ids=_listed(view_field_ids),
        identifier_ids=_listed(identifier_ids),
        record_set_ids=_listed(record_set_ids),
        program_id=program_id,
        operation_id=operation_id,
        view_field_filters=_text(view_field_filters),
        view_field_sorts=_text(view_field_sorts),
        entity_field_filters=_text(entity_field_filters),
        entity_field_sorts=_text(entity_field_sorts),
        search_text=search_text,
    )
    call = Request(
        "GET",
        "records/export/csv",
        params=params,
        into=into,
        headers=ANYTHING,
        read_timeout=EXPORTING,
        idempotent=True,
    )
    reply = yield from send(call)
    return reply.headers.get("content-type", "")


def _listed(ids: Sequence[str] | None) -> str | None:
    return None if ids is None else ",".join(ids)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
