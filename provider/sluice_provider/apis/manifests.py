"""What the tasks of all services return."""

from __future__ import annotations

from typing import Any

from sluice_provider.apis.payloads import JsonObject
from sluice_provider.jobs.record import PhaseRecord, times
from sluice_provider.jobs.spec import JobSpec


def phase_manifest(spec: JobSpec, phase: PhaseRecord, **members: Any) -> JsonObject:
    """The result of a job of one phase: its state, these members, what was fetched, the service's counts, and times.

    While the phase is running, only the members and the time of its submission are known.
    """
    outcome = phase.outcome or {"state": "running", "counts": {}}
    return {
        "service": spec.service,
        "state": outcome["state"],
        **members,
        **outcome.get("outputs", {}),
        **outcome["counts"],
        **times([phase]),
    }
