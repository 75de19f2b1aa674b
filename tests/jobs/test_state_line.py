"""The line of a record: fixed columns, whatever the summary is, so that SQL can compare and group it."""

from __future__ import annotations

import json
import re

import pytest

from sluice_provider.jobs.state_line import ENDED_AT, SERVICE, STATE, STATE_WIDTH, TIME_WIDTH, state_line, time_column

SUMMARY = {
    "service": "kaleidoscope",
    "state": "succeeded",
    "submitted_at": 1764374400.0,
    "ended_at": 1764374460.5,
    "updated_at": 1764374461.0,
}
LAYOUT = re.compile(r"\d{13}\.\d{3} \d{13}\.\d{3} .{15} [\w.-]{1,100}", re.ASCII)


def test_the_line():
    """As it is stored."""
    assert state_line(SUMMARY) == "0001764374400.000 0001764374460.500 succeeded       kaleidoscope"


def test_columns():
    """SQL takes them by these positions."""
    line = state_line(SUMMARY)
    assert line[ENDED_AT : ENDED_AT + TIME_WIDTH] == "0001764374460.500"
    assert line[STATE : STATE + STATE_WIDTH].rstrip() == "succeeded"
    assert line[SERVICE:] == "kaleidoscope"


@pytest.mark.parametrize("state", ["submitting", "running", "cancelling", "not_found"])
def test_a_job_that_has_not_ended(state):
    """Has no end, even if an earlier phase had one."""
    assert state_line({**SUMMARY, "state": state})[ENDED_AT:STATE].strip() == time_column(0)


@pytest.mark.parametrize("state", ["submitted", "outcome_unknown", "failed", "of_a_newer_one"])
def test_an_end_without_a_time(state):
    """Is the last update: the page must be able to leave it out of a later time range."""
    line = state_line({**SUMMARY, "state": state, "ended_at": None, "submitted_at": None})
    assert line[:STATE].split() == [time_column(SUMMARY["updated_at"])] * 2


def test_times_sort_as_texts():
    """Also those of tests with small clocks, and negative and huge ones."""
    times = [-5, 0.0, 0.5, 9, 10, 1e9, 1764374400.0, 1764374400.001, 1e12, 1e15, 1e300]
    assert [time_column(each) for each in times] == sorted(time_column(each) for each in times)
    assert {len(time_column(each)) for each in times} == {TIME_WIDTH}


@pytest.mark.parametrize(
    "value",
    [None, True, 10**400, float("nan"), float("inf"), -1, "x" * 900, "\ud800", "a b\n%_'\"\\", [], {}, 1e300],
    ids=lambda value: repr(value)[:20],
)
@pytest.mark.parametrize("name", [*SUMMARY])
def test_any_summary_gives_a_line(name, value):
    """Of the same layout, short, and the same as JSON."""
    line = state_line({**SUMMARY, name: value})
    assert LAYOUT.fullmatch(line)
    assert json.dumps(line) == f'"{line}"'
