"""Job metrics reach Airflow's metrics backend with the documented names and tags."""

from __future__ import annotations

from collections import Counter

import pytest
from airflow._shared.observability.metrics.base_stats_logger import NoStatsLogger

from tests.operators.airflow_harness import ELEMENTS

pytestmark = pytest.mark.airflow


class Recorder(NoStatsLogger):
    """A backend of Airflow's metrics that remembers."""

    def __init__(self):
        super().__init__()
        self.counted = Counter()
        self.timed = []

    def incr(self, stat, count=1, rate=1, *, tags=None):
        """A counter."""
        self.counted[stat, tuple(sorted((tags or {}).items()))] += count

    def timing(self, stat, dt, *, tags=None):
        """A timer."""
        self.timed.append((stat, dt, tags))

    def of(self, name, **tags):
        """How often this was counted."""
        return self.counted[f"sluice.{name}", tuple(sorted(tags.items()))]


@pytest.fixture
def figures(monkeypatch):
    """Whatever is counted in tasks and in the triggerer, which have a copy of Airflow's module each."""
    from airflow._shared.observability.metrics import stats as server
    from airflow.sdk._shared.observability.metrics import stats as task

    recorder = Recorder()
    for module in (server, task):
        monkeypatch.setattr(module, "_get_backend", lambda: recorder)
    return recorder


IMPORT = {"service": "kaleidoscope", "job_type": "import"}


def test_a_job_is_counted(push, service, figures):
    """Once when it starts, once when it is over, with its status checks and its time between."""
    service.settings(job_seconds=20)
    push().run()
    assert figures.of("job.started", **IMPORT) == 1
    assert figures.of("job.finished", state="succeeded", **IMPORT) == 1
    assert figures.of("status_check", **IMPORT) == service.polls
    (name, took, tags), *more = [each for each in figures.timed if each[0].startswith("sluice.")]
    assert (name, tags, more) == ("sluice.job.duration", {**IMPORT, "state": "succeeded"}, [])
    assert 20 <= took.total_seconds() < 40


def test_every_part_is_a_job(push, figures):
    """Three requests start three imports."""
    push(batch_size=1).run()
    assert figures.of("job.started", **IMPORT) == len(ELEMENTS)


def test_status_checks_of_the_triggerer_are_counted(push, service, figures):
    """Through the copy of the module that is set up there."""
    service.settings(job_seconds=20)
    task = push(deferrable=True).defer()
    before = figures.of("status_check", **IMPORT)
    task.event()
    assert figures.of("status_check", **IMPORT) > before


def test_a_failure_is_counted_by_its_state(push, service, figures):
    """And is no success."""
    service.settings(fail_imports=1)
    push().run()
    assert figures.of("job.finished", state="failed", **IMPORT) == 1
    assert figures.of("job.finished", state="succeeded", **IMPORT) == 0


def test_unknown_outcomes_and_reconnects_are_counted(push, service, figures):
    """A try that died between the request and its response, and one that died while waiting."""
    task = push()
    with task.death("after submitting"):
        task.run()
    with task.death("publishing"):
        task.retry()
    task.retry()
    assert figures.of("job.outcome_unknown", **IMPORT) == 1
    assert figures.of("job.reconnected", **IMPORT) == 1


def test_rate_limits_are_counted(push, service, figures):
    """Each time that the service says so, and whatever comes of it."""
    service.inject_fault("POST", "/push/imports", status=429, times=2)
    push().run()
    assert figures.of("rate_limited", service="kaleidoscope") == 2
