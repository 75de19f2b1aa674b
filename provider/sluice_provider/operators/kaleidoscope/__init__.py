"""Operators for Kaleidoscope. Import them from here, not from the modules that define them."""

from __future__ import annotations

from sluice_provider.operators.kaleidoscope.drafts import KaleidoscopeStageDraftsOperator
from sluice_provider.operators.kaleidoscope.files import (
    KaleidoscopeDownloadFileOperator,
    KaleidoscopeExportRecordsOperator,
)
from sluice_provider.operators.kaleidoscope.push import KaleidoscopePushOperator
from sluice_provider.operators.kaleidoscope.registration import (
    KaleidoscopeRegisterFileOperator,
    KaleidoscopeSubmitDraftsOperator,
)
from sluice_provider.operators.kaleidoscope.results import (
    KaleidoscopePushRegistrationStatusOperator,
    KaleidoscopeSubmitRegistrationResultsOperator,
)

__all__ = [
    "KaleidoscopeDownloadFileOperator",
    "KaleidoscopeExportRecordsOperator",
    "KaleidoscopePushOperator",
    "KaleidoscopePushRegistrationStatusOperator",
    "KaleidoscopeRegisterFileOperator",
    "KaleidoscopeStageDraftsOperator",
    "KaleidoscopeSubmitDraftsOperator",
    "KaleidoscopeSubmitRegistrationResultsOperator",
]

for _name in __all__:
    # The public path: Airflow's database and OpenLineage's settings name operators by it.
    globals()[_name].__module__ = __name__
