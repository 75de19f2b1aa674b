from tests.operators.life import airflow, clock, push, remote  # noqa: F401
