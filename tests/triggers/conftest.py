from operators.life import _sluice_server, airflow, clock, push, sluice_connections, sluice_sandbox  # noqa: F401
