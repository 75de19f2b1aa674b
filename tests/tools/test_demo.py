"""What the demo reads and writes."""

from __future__ import annotations

import json
from collections import Counter

import pytest

import demo


def test_table_sets_text_left_and_numbers_right() -> None:
    """The columns line up, and no line ends in spaces."""
    assert demo.table([["DAG", "pushed"], ["a", "118"], ["longer", "7"]]).splitlines() == [
        "DAG     pushed",
        "------  ------",
        "a          118",
        "longer       7",
    ]


def test_connections_are_read_as_a_shell_would() -> None:
    """The sandbox prints lines for a shell; quotes within the JSON survive."""
    text = 'Sluice sandbox\nexport AIRFLOW_CONN_A=\'{"host": "x=y"}\'\n'
    assert demo.connections_in(text) == {"AIRFLOW_CONN_A": '{"host": "x=y"}'}


@pytest.mark.parametrize("key", ["import_status", "status"])
def test_remote_jobs_are_found_wherever_they_are(key: str) -> None:
    """A remote that is added later shows up by itself."""
    state = {"somewhere": {"imports": [{"id": "1", key: "processing"}], "fields": [{"id": "2"}]}, "clock": {"now": 1}}
    assert list(demo.jobs_in(state)) == [("1", "processing")]


def test_line_tells_the_latest_run() -> None:
    """One line says where a DAG is."""
    old = demo.Run("d", "1", "success", day="2026-03-02")
    new = demo.Run("d", "2", "running", day="2026-03-03", tasks=Counter(deferred=1), jobs={"x": "processing"})
    line = demo.line_of("d", [old, new])
    assert " ".join(line.split()) == "d 2026-03-03 running tasks: 1 deferred remote jobs: 1 processing"


def test_line_of_a_dag_without_runs() -> None:
    """Before the scheduler has made a run there is nothing to tell yet."""
    assert demo.line_of("d", []).split() == ["d", "waiting"]


def test_summary_has_a_row_for_every_run() -> None:
    """Counts of all tasks of a run are added up, ids are cut short."""
    run = demo.Run("d", "1", "success", seconds=3.04, counts=Counter(pushed=118), jobs={"0123456789": "completed"})
    assert demo.summary([run]).splitlines()[-1].split() == ["d", "success", "118", "3.0", "01234567"]


def test_summary_has_a_column_for_every_count() -> None:
    """Each remote counts by its own names; where it has none of a name, nothing stands."""
    runs = [demo.Run("a", "1", "success", counts=Counter(pushed=3)), demo.Run("b", "1", "success", counts=Counter(x=0))]
    heading, _, first, second = demo.summary(runs).splitlines()
    assert heading.split() == ["DAG", "day", "state", "pushed", "x", "seconds", "remote", "jobs"]
    assert (first.split()[2:], second.split()[2:]) == (["3", "0.0"], ["0", "0.0"])


def test_what_is_a_count() -> None:
    """Whole numbers, but for times; a truth is no number."""
    result = {"pushed": 3, "milliseconds": 40, "seconds": 1.5, "cancelled": True, "state": "succeeded", "skipped": 0}
    assert [name for name, value in result.items() if demo.is_count(name, value)] == ["pushed", "skipped"]


def test_trees_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever in a remote's state they are; empty ones are not."""
    trees = [{"name": "empty", "tree": {}}, {"name": "ticks", "tree": {"/sym": 15, "/d/trade/a": 5, "/d/trade/b": 5}}]
    demo.show_trees(dict(demo.trees_in({"remote": {"databases": trees}, "other": [1]})))
    lines = capsys.readouterr().out.split("\n")
    assert [line.split() for line in lines if line] == [
        ["ticks:", "3", "files,", "25", "bytes"],
        ["/", "1", "file"],
        ["/d/trade/", "2", "files"],
    ]


def test_a_connection_receives_webhooks() -> None:
    """What it had before it keeps; the others are as they were."""
    before = {"AIRFLOW_CONN_KALEIDOSCOPE_DEFAULT": '{"host": "h", "extra": {"a": 1}}', "AIRFLOW_CONN_X": "{}"}
    found = demo.receiving(before, "a secret")
    extra = {"a": 1, "webhook_secret": "a secret", "webhook_dag_id": "kaleidoscope_registration"}
    assert json.loads(found["AIRFLOW_CONN_KALEIDOSCOPE_DEFAULT"]) == {"host": "h", "extra": extra}
    assert found["AIRFLOW_CONN_X"] == "{}"
