from tests.operators.airflow_harness import airflow, clock, push, remote  # noqa: F401
from tests.operators.kili_fixtures import add, kili, sync  # noqa: F401
from tests.operators.registration_life import desk, register, report, stage, submit, tell  # noqa: F401
