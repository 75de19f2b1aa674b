"""A fake job for tests of the lifecycle: one phase or several, each of a number of units."""

from __future__ import annotations

from sluice_provider.jobs.record import JobRecord, PhaseRecord
from sluice_provider.jobs.spec import JobSpec, Phase, RepeatRequest, Unit


class EchoPhase(Phase):
    """
    :param units: the number of requests
    """

    def __init__(self, name="echo", *, units=1, last=True):
        super().__init__(name, "echo", last=last)
        self._units = units

    def units(self, record: PhaseRecord):
        for number in range(len(record.submissions), self._units):
            yield Unit(number, 1)

    def submit(self, unit, intent, record):
        return f"job-{unit.start}"
        yield

    def reconcile(self, intent, record):
        return RepeatRequest("the request is idempotent")
        yield


class GroupedPhase(EchoPhase):
    """Its requests are idempotent."""

    grouped = True


class EchoJob(JobSpec):
    """
    :param phases: in order
    """

    service = "echo"

    def __init__(self, *phases):
        self._phases = phases or (EchoPhase(),)

    def fingerprint(self):
        return ["echo"]

    def next_phase(self, record: JobRecord):
        return next((phase for phase in self._phases if not record.phase(phase.name).outcome), None)

    def manifest(self, record: JobRecord):
        return {"ids": [each for phase in record.phases for each in phase.ids]}
