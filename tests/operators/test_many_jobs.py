"""Many jobs of one task: how many requests they cost, and what of them is stored."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.airflow

COUNT = 120


def rows(count=COUNT):
    """As many records, each of which becomes an import."""
    return [{"symbol": f"X{number}", "name": "x", "atomic_number": number} for number in range(count)]


def status_checks(sandbox):
    """Requests that read imports."""
    return [each for each in sandbox.requests() if each["method"] == "GET" and "imports" in each["path"]]


@pytest.mark.parametrize("deferrable", [False, True])
def test_many_imports_cost_few_requests(push, service, sluice_sandbox, deferrable):
    """They are listed, and the result counts them."""
    service.settings(job_seconds=40)
    task = push(records=rows(), batch_size=1, deferrable=deferrable).run()
    assert task.state == "success", task.error
    assert len(status_checks(sluice_sandbox)) < COUNT
    assert (task.result["created"], task.result["import_count"]) == (COUNT, COUNT)
    assert len(task.result["first_import_ids"]) == 20
    assert "import_ids" not in task.result
    assert (len(task.xcom("job_ids")), task.xcom("job_count")) == (20, COUNT)
    assert task.summary["id_count"] == COUNT


def test_what_is_stored_of_many_imports_is_small(push, service):
    """The head of the record has the first ids; what has succeeded is counted."""
    service.settings(job_seconds=40)
    task = push(records=rows(30), batch_size=1, deferrable=True).defer()
    assert len(task.trigger().job["ids"]) == 30
    task.fire().worker_run()
    assert task.state == "success", task.error
    assert (task.phase.ended.number, task.phase.unfinished_ids) == (30, ())
    assert task.phase.ended.counts["created"] == 30
    assert len(json.dumps(task.head)) < 5_000
