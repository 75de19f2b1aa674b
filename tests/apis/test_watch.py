"""Looking at several jobs as one piece of work, and ids as parts of paths."""

from __future__ import annotations

import pytest

from faces import play
from sluice_provider.apis.base import segment
from sluice_provider.apis.kaleidoscope import KINDS, push_by_field_name
from sluice_provider.calls.flow import wait
from sluice_provider.errors import InvalidInput, NotFound, PermissionDenied
from sluice_provider.jobs import Job, JobRef, JobState
from sluice_provider.jobs.polling import GRACE, JobPoller, JobType, cancel

REF = JobRef("test", "import", ("a", "b"), {"project": "p"})


class Remote:
    """Jobs that are where a test says, and who asked for them."""

    def __init__(self, **jobs):
        self.jobs = jobs
        self.looks = []
        self.cancelled = []
        self.kind = JobType("import", self.look, self.cancel)

    def look(self, job_id, where):
        self.looks.append((job_id, where["project"]))
        state = self.jobs[job_id]
        if isinstance(state, Exception):
            raise state
        return Job(job_id, state)
        yield

    def cancel(self, job_id, where):
        self.cancelled.append((job_id, where["project"]))
        return
        yield

    def watch(self, age=0.0):
        return JobPoller(self.kind, REF, lambda: age)


def test_all_parts_are_looked_at():
    """In their order, each told where it is."""
    remote = Remote(a=JobState.SUCCEEDED, b=JobState.RUNNING)
    work = play(remote.watch().poll()).value
    assert [job.id for job in work.jobs] == ["a", "b"]
    assert remote.looks == [("a", "p"), ("b", "p")]
    assert not work.over


def test_what_has_ended_is_not_asked_for_again():
    """It cannot change any more."""
    remote = Remote(a=JobState.FAILED, b=JobState.RUNNING)
    watch = remote.watch()
    play(watch.poll())
    remote.jobs["b"] = JobState.SUCCEEDED
    assert play(watch.poll()).value.over
    assert [job_id for job_id, _ in remote.looks] == ["a", "b", "b"]


@pytest.mark.parametrize(
    ("age", "state"), [(0.0, JobState.NOT_FOUND), (GRACE - 1, JobState.NOT_FOUND), (GRACE, JobState.FAILED)]
)
def test_an_unknown_id(age, state):
    """Not yet, for two minutes; afterwards it is gone, and that is an end."""
    work = play(Remote(a=NotFound("who?"), b=JobState.SUCCEEDED).watch(age).poll()).value
    assert work.jobs[0].state is state
    assert work.over == (state is JobState.FAILED)


def test_other_errors_are_not_news():
    """They go to whoever waits."""
    assert isinstance(play(Remote(a=PermissionDenied("no"), b=JobState.RUNNING).watch().poll()).error, PermissionDenied)


def test_an_import_that_vanishes(run, sluice_sandbox):
    """On both faces: after the grace it has failed, with the remote's words."""
    import_id = run(push_by_field_name(["symbol"], [{"symbol": "H"}]))
    sluice_sandbox.settings(forget_imports=True)
    age = lambda: sum(run.pauses)  # noqa: E731 - pauses are all the time that passes
    watch = JobPoller(KINDS["import"], JobRef("kaleidoscope", "import", (import_id,)), age)
    work = run(wait(watch.poll, lambda work: work.over, age=age))
    assert work.state is JobState.FAILED
    assert "lost" in str(work)
    assert "answered 404" in work.jobs[0].message
    assert sum(run.pauses) >= GRACE


def test_an_import_is_waited_for(run, sluice_sandbox):
    """From created to completed on the remote's clock, which our pauses move."""
    sluice_sandbox.settings(job_seconds=90)
    import_ids = tuple(run(push_by_field_name(["symbol"], [{"symbol": symbol}])) for symbol in ("H", "He"))
    age = lambda: sum(run.pauses)  # noqa: E731
    watch = JobPoller(KINDS["import"], JobRef("kaleidoscope", "import", import_ids), age)
    told = []
    work = run(wait(watch.poll, lambda work: work.over, age=age, tell=told.append))
    assert work.counts["created"] == 2
    assert 90 <= sum(run.pauses) <= 90 * 1.15
    assert {job.word for news in told for job in news.jobs} == {"created", "processing", "completed"}


def test_cancelling():
    """Every part, where the remote can."""
    remote = Remote()
    assert play(cancel(remote.kind, REF)).value is True
    assert remote.cancelled == [("a", "p"), ("b", "p")]


def test_cancelling_where_it_cannot():
    """Says so, and asks nobody."""
    assert play(cancel(KINDS["import"], REF)).value is False


@pytest.mark.parametrize(
    ("value", "quoted"), [("a-1", "a-1"), ("a/b", "a%2Fb"), ("é?#", "%C3%A9%3F%23"), ("...", "...")]
)
def test_segment(value, quoted):
    """One segment of a path, whatever is in it."""
    assert segment(value, "id") == quoted


@pytest.mark.parametrize("value", ["", "  ", ".", "..", None, 7, ["a"]])
def test_bad_segments(value):
    """They would name another endpoint, or none."""
    with pytest.raises(InvalidInput, match="import_id must be a non-empty id"):
        segment(value, "import_id")
