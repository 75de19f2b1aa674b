"""What OpenLineage is told of a finished push. Nothing of it is imported unless OpenLineage asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

Name = tuple[str, str]
"""A dataset as OpenLineage names it: namespace and name."""


def file_dataset(path: str) -> Name:
    """By OpenLineage's naming conventions: `s3://bucket` and `key`; `file` and an absolute path."""
    parts = urlsplit(path)
    if "://" not in path or parts.scheme == "file":
        return "file", parts.path or path
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", parts.path.lstrip("/")


def lineage(
    source: str, ids: Sequence[str], inputs: Sequence[Name], outputs: Sequence[Name]
) -> OperatorLineage[Any, Any]:
    """
    :param source: the remote's address
    :param ids: the remote's ids of the work
    """
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import Dataset
    from openlineage.client.facet_v2 import external_query_run

    facet = external_query_run.ExternalQueryRunFacet(externalQueryId=",".join(ids), source=source)
    return OperatorLineage(
        inputs=[Dataset(namespace=namespace, name=name) for namespace, name in inputs],
        outputs=[Dataset(namespace=namespace, name=name) for namespace, name in outputs],
        run_facets={"externalQuery": facet},
    )
