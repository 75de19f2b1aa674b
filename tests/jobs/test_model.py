"""Jobs, references and events: plain data that is stored and read by other versions."""

from __future__ import annotations

import itertools
import json
import logging

import pytest

from sluice_provider.errors import RowsRejected, TimedOut, UnexpectedResponse, Unreachable
from sluice_provider.jobs import (
    Job,
    JobGroup,
    JobRef,
    JobState,
    Rejection,
    StatusObserver,
    WaitResult,
    WaitStatus,
    check_rejections,
    read_event,
)
from sluice_provider.jobs.model import MAX_LOGGED_REJECTIONS

RUNNING, NOT_FOUND, OK, BAD, STOPPED = (
    JobState.RUNNING,
    JobState.NOT_FOUND,
    JobState.SUCCEEDED,
    JobState.FAILED,
    JobState.CANCELLED,
)
REF = JobRef("kaleidoscope", "import", ("a", "b"), {"operation_id": "op"})


def work(*states):
    """Jobs in these states."""
    return JobGroup(tuple(Job(str(number), state) for number, state in enumerate(states)))


# --- states


def test_which_states_are_final():
    """A job that is not found may still become visible."""
    assert {state for state in JobState if state.over} == {OK, BAD, STOPPED}


@pytest.mark.parametrize("states", [each for size in (1, 2, 3) for each in itertools.product(JobState, repeat=size)])
def test_the_state_of_several_jobs(states):
    """Not over while any job is not; then the worst state; a success only if all are."""
    together = work(*states)
    assert together.over == together.state.over == all(state.over for state in states)
    assert (together.state is OK) == (set(states) == {OK})
    if together.over:
        assert together.state is next(worst for worst in (BAD, STOPPED, OK) if worst in states)
    else:
        assert together.state is (RUNNING if RUNNING in states else NOT_FOUND)


def test_counts_are_summed():
    """By name, also where a job lacks one."""
    parts = (Job("a", OK, counts={"created": 2, "rejected": 1}), Job("b", OK, counts={"created": 3}), Job("c", OK))
    assert JobGroup(parts).counts == {"created": 5, "rejected": 1}


def test_jobs_as_text():
    """One job with the service's status and message; several as a count, with the first that failed."""
    assert str(Job("i1", RUNNING)) == "i1 running"
    assert str(JobGroup((Job("i1", BAD, "failed", "no such field"),))) == "i1 failed (no such field)"
    assert str(work(OK, RUNNING)) == "1 of 2 jobs ended"
    assert str(work(OK, BAD, *[BAD] * 5)) == "7 of 7 jobs ended, not successful: 1 failed; 2 failed; 3 failed"


# --- references


def test_a_reference_survives_json():
    """Also after it was serialized as text."""
    for ref in (REF, JobRef("kaleidoscope", "import", ("a",))):
        assert JobRef.from_json(json.loads(json.dumps(ref.to_json()))) == ref


GARBAGE = [None, 7, "text", [], {}, [1, 2], {"service": "kaleidoscope"}, pytest.param(object(), id="an object")]
GOOD = REF.to_json()


@pytest.mark.parametrize(
    "data",
    [
        *GARBAGE,
        *({name: value for name, value in GOOD.items() if name != missing} for missing in GOOD),
        {**GOOD, "ids": []},
        {**GOOD, "ids": "abc"},
        {**GOOD, "ids": {"a": 1}},
        {**GOOD, "ids": 7},
        {**GOOD, "ids": [7]},
        {**GOOD, "ids": [None]},
        {**GOOD, "service": None},
        {**GOOD, "job_type": 7},
        {**GOOD, "locator": None},
        {**GOOD, "locator": ["operation_id"]},
        {**GOOD, "locator": {"operation_id": 7}},
    ],
    ids=str,
)
def test_an_invalid_reference(data):
    """Is rejected at once, with an error that says so."""
    with pytest.raises(UnexpectedResponse):
        JobRef.from_json(data)


# --- events


@pytest.mark.parametrize("status", WaitStatus)
def test_a_result_survives_json(status):
    """Also after it was serialized as text."""
    outcome = WaitResult(status, REF, "words")
    assert WaitResult.from_event(json.loads(json.dumps(outcome.to_event()))) == outcome


def test_an_event_may_lack_its_message():
    """And may have more fields: an older or a newer version sent it."""
    event = {**WaitResult(WaitStatus.OVER, REF).to_event(), "added_later": 1}
    del event["message"]
    assert WaitResult.from_event(event) == WaitResult(WaitStatus.OVER, REF)


BAD_EVENTS = [
    *GARBAGE,
    {"status": "over"},
    {"status": "splendid", "job": GOOD},
    {"status": None, "job": GOOD},
    {"status": ["over"], "job": GOOD},
    {"status": "over", "job": None},
    {"status": "over", "job": {**GOOD, "ids": []}},
]


@pytest.mark.parametrize("event", BAD_EVENTS, ids=str)
def test_an_invalid_event(event):
    """Is an error, not a success."""
    with pytest.raises(UnexpectedResponse):
        WaitResult.from_event(event)
    outcome, event_error = read_event(event)
    assert outcome is None
    assert isinstance(event_error, UnexpectedResponse)


@pytest.mark.parametrize(
    ("status", "job_type"),
    [(WaitStatus.OVER, None), (WaitStatus.TIMED_OUT, TimedOut), (WaitStatus.GAVE_UP, Unreachable)],
)
def test_the_error_of_an_event(status, job_type):
    """If the jobs turn out not to be over: with the trigger's message."""
    outcome, event_error = read_event(WaitResult(status, REF, "words").to_event())
    assert outcome.job == REF
    assert type(event_error) is (job_type or type(None))
    assert job_type is None or str(event_error) == "words"


# --- logging status checks


def test_changes_are_logged_once_at_info(caplog):
    """A changed status at INFO, an unchanged one at DEBUG."""
    caplog.set_level(logging.DEBUG)
    observer = StatusObserver(logging.getLogger("task"), "Kaleidoscope", REF)
    for states in ([RUNNING], [RUNNING], [OK], [OK]):
        observer(work(*states))
    assert [record.levelname for record in caplog.records] == ["INFO", "DEBUG", "INFO", "DEBUG"]
    assert caplog.messages[2] == "Kaleidoscope import 0 succeeded"


# --- rejected rows


def rejected(count):
    """A successful job with this number of rejected rows."""
    first = tuple(Rejection(str(n), "density", "'heavy'", "invalid_format") for n in range(min(count, 100)))
    return JobGroup((Job("i", OK, counts={"rejected": count}, rejections=first),))


@pytest.mark.parametrize("policy", ["fail", "warn", "ignore"])
def test_nothing_rejected(policy, caplog):
    """Nothing is logged, whatever the policy."""
    check_rejections(rejected(0), policy, logging.getLogger("task"))
    check_rejections(work(OK), policy, logging.getLogger("task"))
    assert caplog.messages == []


def test_the_policy_to_fail(caplog):
    """The error names the first rows and what to do; each row is logged."""
    with pytest.raises(
        RowsRejected, match=r"2 rows were rejected \(row 0: density='heavy': invalid_format; row 1"
    ) as bad:
        check_rejections(rejected(2), "fail", logging.getLogger("task"))
    assert "all other rows were imported" in str(bad.value)
    assert not bad.value.retryable
    assert len(caplog.messages) == 2


def test_the_policy_to_warn(caplog):
    """Twenty rows are logged one by one, the rest is counted."""
    check_rejections(rejected(5000), "warn", logging.getLogger("task"))
    assert len(caplog.messages) == MAX_LOGGED_REJECTIONS + 1
    assert caplog.messages[-1] == "... and more: 5000 rows were rejected in all"
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_the_policy_to_ignore(caplog):
    """Nothing is logged."""
    check_rejections(rejected(5000), "ignore", logging.getLogger("task"))
    assert caplog.messages == []
