"""The OpenLineage metadata of a finished task. The `openlineage` packages are imported only when they are used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from sluice_provider.assets import dataset_of, uri

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage


class FileDataset(NamedTuple):
    """A file, by its path or URL."""

    path: str

    def name(self, service: str, address: str) -> tuple[str, str]:
        """By OpenLineage's naming conventions: `s3://bucket` and `key`; `file` and an absolute path."""
        del service, address
        parts = urlsplit(self.path)
        if "://" not in self.path or parts.scheme == "file":
            return "file", parts.path or self.path
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", parts.path.lstrip("/")


class ServiceDataset(NamedTuple):
    """Something in the task's service, by the path segments of its asset's URI (`assets.SHAPES`)."""

    segments: tuple[str, ...]

    def name(self, service: str, address: str) -> tuple[str, str]:
        """The same name as its asset."""
        return dataset_of(uri(service.replace("_", "-"), address, *self.segments))


Dataset = FileDataset | ServiceDataset


class Datasets(NamedTuple):
    """The datasets that a task read and wrote."""

    inputs: Sequence[Dataset] = ()
    outputs: Sequence[Dataset] = ()


def lineage(service: str, address: str, ids: Sequence[str], datasets: Datasets) -> OperatorLineage[Any, Any]:
    """
    :param service: a name in `services.py`
    :param address: the base URL of its API
    :param ids: the service's ids of the jobs
    """
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client import event_v2
    from openlineage.client.facet_v2 import external_query_run

    def named(found: Sequence[Dataset]) -> list[event_v2.Dataset]:
        names = (dataset.name(service, address) for dataset in found)
        return [event_v2.Dataset(namespace=namespace, name=name) for namespace, name in names]

    facet = external_query_run.ExternalQueryRunFacet(externalQueryId=",".join(ids), source=address)
    return OperatorLineage(
        inputs=named(datasets.inputs), outputs=named(datasets.outputs), run_facets={"externalQuery": facet}
    )
