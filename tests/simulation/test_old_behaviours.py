"""The simulation finds what was measured to go wrong in the first version: each old behaviour is put back."""

from __future__ import annotations

from contextlib import contextmanager
from unittest import mock

import pytest

from sluice_provider.apis.checked_rows import CheckedRows
from sluice_provider.apis.kili import add_connection_job as kili_add_jobs
from sluice_provider.apis.liquid_decisions import batch_jobs as liquid_decisions_jobs
from sluice_provider.errors import OutcomeUnknown
from sluice_provider.jobs import events, evidence, lifecycle, storage
from sluice_provider.jobs.record import PhaseRecord
from sluice_provider.jobs.spec import Found, NoEffect, Unknown
from tests.simulation.explore import explore
from tests.simulation.scenarios import SCENARIOS

pytestmark = pytest.mark.slow

MOST = 3_000


@contextmanager
def any_signal_is_a_users():
    """`on_kill` cancels at any SIGTERM: platform stops, lost heartbeats, a superseded try."""
    with mock.patch.object(evidence, "of_try", return_value=evidence.Evidence(True, "stopped")):
        yield


@contextmanager
def searches_once():
    """A retry after a death searches once, and adds at once if it finds nothing."""

    def reconcile(search, _intent):
        found = yield from search()
        return NoEffect() if found is None else Found(found)

    with mock.patch.object(kili_add_jobs, "reconcile_by_search", reconcile):
        yield


@contextmanager
def fails_without_a_search():
    """A process that loses a response fails without retry."""
    submission_failed = lifecycle.Lifecycle._submission_failed

    def failing(self, record, event):
        if event.error.maybe_applied and not self._open(record)[0].grouped:
            return self._fail(record, OutcomeUnknown(str(event.error)), event.now)
        return submission_failed(self, record, event)

    with mock.patch.dict(lifecycle._STEPS, {events.SubmissionFailed: failing}):
        yield


@contextmanager
def lost_export_is_final():
    """An export whose response was lost fails the task, though an export changes nothing."""

    def effect_of(_self, intent):
        return Unknown(OutcomeUnknown(f"{intent.key} was submitted and no response came"))

    with mock.patch.object(liquid_decisions_jobs.ExportJob, "effect_of", effect_of):
        yield


@contextmanager
def every_state_but_deferred_is_a_users():
    """The trigger's `on_kill` takes every state but "deferred" for a user's act."""

    def of_deferral(state, _leg, _deferred_at):
        return evidence.Evidence(state != "deferred", f"the task is {state}")

    with mock.patch.object(evidence, "of_deferral", of_deferral):
        yield


@contextmanager
def unknown_fields_are_errors():
    """`Entry(**data)`: a field that a newer version has written fails every try."""

    read = storage.phase_from_json

    def strict(data):
        if isinstance(data, dict) and (strange := set(data) - set(PhaseRecord._fields) - {"submitted"}):
            raise TypeError(f"unexpected keyword argument {strange.pop()!r}")
        return read(data)

    with mock.patch.object(storage, "phase_from_json", strict):
        yield


@contextmanager
def completeness_is_read_from_the_head_only():
    """A death after the log says that a failed part is to be submitted again, and before the head says so, ends the
    phase without that part."""
    fold = storage._LogReplay.record

    def without_attempts(self, head):
        self._attempts.clear()
        return fold(self, head)

    with mock.patch.object(storage._LogReplay, "record", without_attempts):
        yield


@contextmanager
def a_new_log_is_written_over_the_old_one():
    """Work that is submitted again writes its log in the place of the earlier one, of which the head still speaks."""
    begin = storage._Log.begin

    def in_one_place(self, seed):
        begin(self, seed)
        self.second = False

    with mock.patch.object(storage._Log, "begin", in_one_place):
        yield


@contextmanager
def the_source_is_read_twice():
    """Once for the checks and the fingerprint, and once more for what is sent."""
    units = CheckedRows.units

    def read_again(self, *args):
        _ = self.digest
        self._spooled = self._spool()
        return units(self, *args)

    with mock.patch.object(CheckedRows, "units", read_again):
        yield


@pytest.mark.parametrize(
    ("service", "name", "old"),
    [
        ("liquid_decisions", "import", any_signal_is_a_users),
        ("kili", "add", searches_once),
        ("kili", "add", fails_without_a_search),
        ("liquid_decisions", "export", lost_export_is_final),
        ("liquid_decisions", "import, deferred", every_state_but_deferred_is_a_users),
        ("finspace", "changesets", unknown_fields_are_errors),
        ("kaleidoscope", "push, an import fails", completeness_is_read_from_the_head_only),
        ("liquid_decisions", "import", a_new_log_is_written_over_the_old_one),
        ("kaleidoscope", "push, the source changes", the_source_is_read_twice),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_an_old_behaviour_is_found(service, name, old):
    """Within so many schedules; the shortest one that shows it is printed."""
    scenarios = [each for each in SCENARIOS[service] if each.name.startswith(name)]
    with old():
        found = explore(scenarios, MOST)
    assert found.failure is not None
    print(f"found after {found.schedules} schedules\n{found.failure}")
