"""What the operators that submit jobs to Kaleidoscope have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sluice_provider.links import KaleidoscopeLink
from sluice_provider.runtime.operator import RemoteJobOperator

if TYPE_CHECKING:
    from sluice_provider.lineage import Datasets, ServiceDataset


class KaleidoscopeOperator(RemoteJobOperator):
    """Writes to an operation in Kaleidoscope, perhaps from records."""

    service = "kaleidoscope"
    operator_extra_links = (KaleidoscopeLink(),)

    operation_id: Any
    records: Any = None

    def datasets(self) -> Datasets:
        """From the files of records, if they come from any."""
        from sluice_provider.lineage import Datasets, FileDataset
        from sluice_provider.sources.records import paths_of

        return Datasets([FileDataset(path) for path in paths_of(self.records)], [self.output_dataset()])

    def output_dataset(self) -> ServiceDataset:
        """The operation."""
        from sluice_provider.lineage import ServiceDataset

        return ServiceDataset(("operations", str(self.operation_id)))
