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
        """From the file of records, if they come from one."""
        from sluice_provider.lineage import Datasets, FileDataset
        from sluice_provider.sources.readers import FileSource, open_source

        source = None if self.records is None else open_source(self.records)
        inputs = [FileDataset(source.name)] if isinstance(source, FileSource) else []
        return Datasets(inputs, [self.output_dataset()])

    def output_dataset(self) -> ServiceDataset:
        """The operation."""
        from sluice_provider.lineage import ServiceDataset

        return ServiceDataset(("operations", str(self.operation_id)))
