from tests.operators.airflow_harness import airflow, clock, push, service  # noqa: F401
from tests.operators.kaleidoscope_registrations import (  # noqa: F401
    push_status,
    register_file,
    stage_drafts,
    submit_drafts,
    submit_results,
    workspace,
)
from tests.operators.kili_fixtures import add, kili, sync  # noqa: F401
