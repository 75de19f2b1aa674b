from tests.operators.airflow_harness import airflow, clock, push, service  # noqa: F401
