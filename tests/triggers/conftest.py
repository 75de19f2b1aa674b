from operators.life import airflow, clock, push, remote  # noqa: F401
from sluice_provider.testing import _sluice_server, sluice_connections, sluice_sandbox  # noqa: F401
