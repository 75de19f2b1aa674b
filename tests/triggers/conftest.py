from tests.operators.airflow_harness import airflow, clock, push, remote  # noqa: F401
