import pytest

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


@pytest.fixture
def object_store():
    """An object store, for lack of a real one: in memory."""
    from airflow.sdk.io import attach
    from fsspec.implementations.memory import MemoryFileSystem

    attach("memory", fs=MemoryFileSystem())
    yield
    MemoryFileSystem.store.clear()
