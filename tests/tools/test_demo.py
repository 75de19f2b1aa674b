"""What the demo reads and prints."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

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
def test_jobs_are_found_anywhere_in_the_state(key: str) -> None:
    """Also those of a service that is added later."""
    state = {"somewhere": {"imports": [{"id": "1", key: "processing"}], "fields": [{"id": "2"}]}, "clock": {"now": 1}}
    assert list(demo.jobs_in(state)) == [("1", "processing")]


def test_the_progress_line_shows_the_latest_run() -> None:
    """With the states of its tasks and of its jobs."""
    old = demo.Run("d", "1", "success", day="2026-03-02")
    new = demo.Run("d", "2", "running", day="2026-03-03", tasks=Counter(deferred=1), jobs={"x": "processing"})
    line = demo.progress_line("d", [old, new])
    assert " ".join(line.split()) == "d 2026-03-03 running tasks: 1 deferred jobs: 1 processing"


def test_the_progress_line_of_a_dag_without_runs() -> None:
    """As before the scheduler has created one."""
    assert demo.progress_line("d", []).split() == ["d", "no", "run", "yet"]


def test_summary_has_a_row_for_every_run() -> None:
    """With the number of its jobs and the counts of all its tasks."""
    run = demo.Run("d", "1", "success", seconds=3.04, counts=Counter(pushed=118), jobs={"0123456789": "completed"})
    assert demo.summary([run]).splitlines()[-1].split() == ["d", "success", "3.0", "1", "pushed", "118"]


def test_nothing_is_wider_than_99_columns() -> None:
    """However much there is to show: results go on in further lines."""
    counts = Counter({f"number_of_things_{number}": 10**6 for number in range(9)})
    run = demo.Run("kaleidoscope_recurring_push", "1", "success", "2026-03-02", 1234.5, counts=counts)
    lines = demo.summary([run, demo.Run("a", "1", "failed")]).splitlines()
    assert max(map(len, lines)) <= demo.WIDTH < 100
    assert " ".join(" ".join(line.split()) for line in lines).count("number of things") == 9


class OneRun:
    """Airflow and the sandbox with one run, which ends while it is read, and its job with it."""

    job = "processing"

    def runs(self, _dag_id: str) -> list[demo.Json]:
        """The run has succeeded."""
        self.job = "completed"
        return [{"dag_id": "d", "dag_run_id": "1", "state": "success", "logical_date": None, "duration": 1.0}]

    def task_instances(self, *_: str) -> list[demo.Json]:
        """So has its task."""
        return [{"state": "success"}]

    def xcoms(self, *_: str) -> list[tuple[str, object]]:
        """With the id of its job."""
        return [("job_ids", ["job-1"])]

    def webhooks_pending(self) -> bool:
        """None."""
        return False

    def jobs(self) -> dict[str, str]:
        """As it stands."""
        return {"job-1": self.job}


def test_no_run_succeeds_while_its_job_is_shown_as_running() -> None:
    """The jobs are read after the runs."""
    both: Any = OneRun()
    dags = demo.DemoDags(both, both, [{"dag_id": "d", "timetable_summary": None}])
    assert dags.update()
    assert dags.lines()[0].split()[3:] == ["success", "tasks:", "1", "success", "jobs:", "1", "completed"]


def test_what_is_a_count() -> None:
    """Whole numbers that are not durations; a boolean is none."""
    result = {"pushed": 3, "milliseconds": 40, "seconds": 1.5, "cancelled": True, "state": "succeeded", "skipped": 0}
    assert [name for name, value in result.items() if demo.is_count(name, value)] == ["pushed", "skipped"]


def test_files_are_listed_by_folder(capsys: pytest.CaptureFixture[str]) -> None:
    """Trees are found anywhere in a service's state; empty ones are left out."""
    trees = [{"name": "empty", "tree": {}}, {"name": "ticks", "tree": {"/sym": 15, "/d/trade/a": 5, "/d/trade/b": 5}}]
    demo.show_trees(dict(demo.trees_in({"service": {"databases": trees}, "other": [1]})))
    lines = capsys.readouterr().out.split("\n")
    assert [line.split() for line in lines if line] == [
        ["ticks:", "3", "files,", "25", "bytes"],
        ["/", "1", "file"],
        ["/d/trade/", "2", "files"],
    ]


def test_webhook_settings_are_added_to_a_connection() -> None:
    """Its other settings, and other connections, stay as they are."""
    before = {"AIRFLOW_CONN_KALEIDOSCOPE_DEFAULT": '{"host": "h", "extra": {"a": 1}}', "AIRFLOW_CONN_X": "{}"}
    found = demo.with_webhooks(before, "a secret")
    extra = {"a": 1, "webhook_secret": "a secret", "webhook_dag_id": "kaleidoscope_registration"}
    assert json.loads(found["AIRFLOW_CONN_KALEIDOSCOPE_DEFAULT"]) == {"host": "h", "extra": extra}
    assert found["AIRFLOW_CONN_X"] == "{}"
