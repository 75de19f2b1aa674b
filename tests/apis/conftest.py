"""In these tests jobs are over at once, unless a test says how long they take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sluice_provider.http.client_config import ConnectionFields
    from sluice_provider.testing import SandboxClient


@pytest.fixture
def fields(fields: ConnectionFields, sluice_sandbox: SandboxClient) -> ConnectionFields:
    """The connection to a service whose jobs take no time."""
    sluice_sandbox.settings(job_seconds=0)
    return fields
