"""What Kaleidoscope's tasks read and write, as OpenLineage names it."""

from __future__ import annotations

from typing import Any

from sluice_provider.assets import dataset_of, uri
from sluice_provider.lineage import Name, file_dataset
from sluice_provider.sources.readers import FileSource, open_source


def operation(address: str, operation_id: str) -> Name:
    """The experiment or cycle."""
    return dataset_of(uri("kaleidoscope", address, "operations", operation_id))


def read_from(records: Any) -> list[Name]:
    """The file that rows came from, if they came from one."""
    source = None if records is None else open_source(records)
    return [file_dataset(source.name)] if isinstance(source, FileSource) else []
