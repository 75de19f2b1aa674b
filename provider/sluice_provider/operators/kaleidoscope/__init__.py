"""Tasks that work with Kaleidoscope. This is where they are imported from, whichever module they are written in."""

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
    # Airflow writes this into its database, and OpenLineage's settings name operators by it.
    globals()[_name].__module__ = __name__
