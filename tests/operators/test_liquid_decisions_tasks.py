"""Imports, exports and cancels in Liquid Decisions, as tasks: nothing twice, nothing lost, and files there whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from airflow.sdk import get_current_context
from uuid6 import uuid7

from sluice_provider.errors import InvalidInput, JobFailed, NotFound, OutcomeUnknown, TooLarge, UnexpectedResponse
from sluice_provider.jobs.question import CHOICES, Choice
from sluice_provider.jobs.state_line import state_line
from sluice_provider.operators.liquid_decisions import (
    LiquidDecisionsCancelJobOperator,
    LiquidDecisionsExportOperator,
    LiquidDecisionsImportOperator,
)
from tests.operators.airflow_harness import ProcessDied

pytestmark = pytest.mark.airflow

CANCELLED = ("Canceling", "Canceled")
"""The service cancels a job when it next comes to it, which on a busy machine may be before the test looks."""

COMPLETED = {"jobId": "e25a5d4b", "status": "Completed", "jobName": "Out", "reason": "", "recordsProcessed": "1"}
CONTACTS = "id,name\n1,Ada\n2,Ben\n3,Cy\n4,Di\n"
SECRETS = ("liquid-decisions-sandbox-password", "liquid-decisions-client-secret")


class Liquid:
    """What a test wants to see of the sandbox's Liquid Decisions."""

    def __init__(self, sandbox):
        self._sandbox = sandbox
        self.settings, self.requests, self.advance = sandbox.settings, sandbox.requests, sandbox.advance

    @property
    def state(self):
        return self._sandbox.state()["liquid_decisions"]

    @property
    def jobs(self):
        return self.state["jobs"]

    @property
    def names(self):
        return [job["fields"]["jobName"] for job in self.jobs]

    @property
    def contacts(self):
        """How often each arrived, by its name."""
        return {item["name"]: item["__arrivals"] for item in self.state["items"].get("Contact", [])}

    def request_count(self, path):
        return sum(path in each["path"] for each in self._sandbox.requests())

    def inject_fault(self, path, **fault):
        self._sandbox.faults([{"method": "POST", "path": path, "times": 10_000, **fault}])


@pytest.fixture
def liquid(sluice_sandbox):
    """The sandbox's Liquid Decisions."""
    return Liquid(sluice_sandbox)


@pytest.fixture
def contacts(tmp_path):
    """A file with four of them."""
    path = tmp_path / "contacts.csv"
    path.write_text(CONTACTS)
    return path


@pytest.fixture
def importing(airflow, contacts):
    """An import of them, with three retries; arguments as for the operator."""

    def make_task(**args):
        args = {"file": str(contacts), "item_type": "Contact", "job_name": "Nightly", "header_row": True, **args}
        return airflow.task(LiquidDecisionsImportOperator, task_id="import", retries=3, **args)

    return make_task


@pytest.fixture
def exporting(airflow, tmp_path):
    """An export of the accounts that are there, with three retries; arguments as for the operator."""

    def make_task(**args):
        args = {"item_type": "Account", "job_name": "Out", "destination": str(tmp_path / "out"), **args}
        return airflow.task(LiquidDecisionsExportOperator, task_id="export", retries=3, **args)

    return make_task


@pytest.fixture
def cancelling(airflow):
    """A task that cancels a job."""
    return lambda job_id, **args: airflow.task(
        LiquidDecisionsCancelJobOperator, task_id="cancel", job_id=job_id, retries=3, **args
    )


def killed():
    """Stops the worker."""
    get_current_context()["ti"].task.on_kill()
    raise ProcessDied


both = pytest.mark.parametrize("deferrable", [False, True], ids=["plain", "deferrable"])


# --- imports


@both
def test_an_import(importing, liquid, deferrable):
    """Submitted once, waited for, and logged in the same few lines in both modes."""
    task = importing(deferrable=deferrable).run()
    (job,) = liquid.jobs
    assert task.state == "success", task.error
    assert liquid.contacts == {"Ada": 1, "Ben": 1, "Cy": 1, "Di": 1}
    assert set(task.result) == {
        *("service", "state", "job_id", "item_type", "processed", "milliseconds", "file"),
        *("submitted_at", "ended_at", "seconds"),
    }
    assert task.result["processed"] == 4
    assert (task.result["job_id"], task.result["state"]) == (job["id"], "succeeded")
    assert task.result["file"].endswith("/contacts.csv")
    assert task.xcom("job_ids") == [job["id"]]


def test_the_request(importing, liquid, tmp_path):
    """Fields by the wiki's names; a mark in the name; the file and the template as files."""
    template = tmp_path / "template.json"
    template.write_text('{"id": "id", "name": "name"}')
    importing(template=str(template), merge=True, notification_email="ada@example.com").run()
    (job,) = liquid.jobs
    assert job["fields"].pop("jobName").startswith("Nightly [")
    assert job["fields"] == {
        "itemType": "Contact",
        "contentType": "plain/text",
        "merge": "True",
        "headerRow": "True",
        "notificationEmail": "ada@example.com",
    }
    parts = {name: (part["filename"], part["headers"]["content-type"]) for name, part in job["files"].items()}
    assert parts == {"file": ("contacts.csv", "plain/text"), "template": ("template.json", "application/json")}


def test_content_type_of_json(importing, liquid, tmp_path):
    """The content type is inferred from the name unless it is given."""
    for name, more in (("contacts.json", {}), ("contacts.data", {"content_type": "json"})):
        (tmp_path / name).write_text(json.dumps([{"id": "1", "name": "Ada"}]))
        assert importing(file=f"file://{tmp_path}/{name}", header_row=None, **more).run().state == "success"
    assert [job["fields"]["contentType"] for job in liquid.jobs] == ["application/json"] * 2


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"file": "/nowhere/contacts.csv"}, "no such file"),
        ({"file": ""}, "file must be the path or URL of a file"),
        ({"file": None}, "give exactly one of file and records: none was given"),
        ({"file": "None"}, "file is the string 'None': the XCom, parameter or variable"),
        ({"file": "/tmp/contacts.data"}, "has the unsupported extension '.data'"),
        ({"file": "nosuch://x/contacts.csv"}, "cannot be opened on this worker"),
        ({"template": "/nowhere/t.json"}, "template: /nowhere/t.json: no such file"),
        ({"content_type": "excel"}, "content_type must be"),
        ({"item_type": " "}, "item_type must be a non-empty string"),
        ({"job_name": None}, "job_name must be a non-empty string"),
        ({"on_unknown_outcome": "guess"}, "must be one of 'ask', 'fail', 'resubmit'"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_input(importing, liquid, args, words):
    """Is named, before anything is sent, and not tried again."""
    task = importing(**args).run()
    assert (task.state, type(task.error)) == ("failed", InvalidInput)
    assert words in str(task.error)
    assert liquid.requests() == []


def test_an_empty_file(importing, liquid, contacts):
    """Nothing is sent."""
    contacts.write_text("")
    task = importing().run()
    assert (task.state, "contacts.csv is empty" in str(task.error), liquid.requests()) == ("failed", True, [])


def test_a_folder(importing, liquid, tmp_path):
    """Is no file."""
    (tmp_path / "x.csv").mkdir()
    assert "is a directory" in str(importing(file=str(tmp_path / "x.csv")).run().error)


def test_rejected_immediately(importing, liquid, contacts):
    """With the job's name and the service's reason; not retried, as it would fail again."""
    contacts.write_text("id,name\n1\n")
    task = importing().run()
    assert (task.state, type(task.error), len(liquid.jobs)) == ("failed", JobFailed, 1)
    assert f"Liquid Decisions rejected {liquid.names[0]!r}" in str(task.error)
    assert "Rejected (Row 1 has 1 columns instead of 2)" in str(task.error)


def test_failed_immediately(importing, liquid, sluice_sandbox):
    """The rejection is a known outcome: the next try submits again, under another job name."""
    response = {"jobId": "7", "status": "Failed", "reason": "busy"}
    sluice_sandbox.faults([{"path": "batch/import", "status": 200, "body": response}])
    task = importing().run()
    assert (task.state, type(task.error)) == ("up_for_retry", JobFailed)
    first = str(task.error)
    assert task.retry().state == "success"
    assert len(liquid.names) == 1
    assert liquid.names[0] not in first


def test_rejected_later(importing, liquid):
    """Likewise, when it is found out while the job is watched."""
    task = importing(deferrable=True).defer()
    response = {**liquid.jobs[0]["response"], "status": "Rejected", "reason": "no such type"}
    liquid.inject_fault("batch/status", status=200, body=response)
    task.fire().worker_run()
    assert (task.state, type(task.error)) == ("failed", JobFailed)
    assert "Rejected (no such type); a retry would fail the same way" in str(task.error)


def test_a_failed_job_is_resubmitted_by_a_retry(importing, liquid):
    """With another mark, by the next try."""
    liquid.settings(fail_jobs=1)
    task = importing().run()
    assert (task.state, type(task.error)) == ("up_for_retry", JobFailed)
    assert "the item service did not answer" in str(task.error)
    assert task.retry().state == "success"
    assert [job["status"] for job in liquid.jobs] == ["Failed", "Completed"]
    assert len(set(liquid.names)) == 2


def test_too_large(importing, liquid):
    """413: nothing helps but another file."""
    liquid.settings(max_upload_bytes=100)
    task = importing().run()
    assert (task.state, type(task.error), liquid.jobs) == ("failed", TooLarge, [])
    assert liquid.request_count("batch/import") == 1


def test_the_reason_is_logged_on_every_change(importing, liquid):
    """One line each; the service stands still until its clock is moved."""
    liquid.settings(job_seconds=100_000)
    task = importing(deferrable=True).defer()
    assert task.logged("INFO", "Accepted (The file has been stored")
    liquid.advance(100_000)
    task.fire().worker_run()
    assert task.logged("INFO", "Completed (The job has been completed)")


# --- deaths and unknown outcomes


@pytest.mark.parametrize("moment", ["job written", "all written", "publishing", "end written"])
def test_a_recorded_job_is_never_resubmitted(importing, liquid, moment):
    """The worker dies, the next try goes on."""
    task = importing()
    with task.death(moment):
        task.run()
    assert task.retry().state == "success"
    assert set(liquid.contacts.values()) == {1}
    assert task.result["job_id"] == liquid.jobs[0]["id"]


@pytest.mark.parametrize("moment", ["before submitting", "after submitting"])
def test_an_unknown_outcome_fails_and_names_the_job(importing, liquid, moment):
    """It may be there: no retry, and a name by which a person can find it."""
    task = importing()
    with task.death(moment):
        task.run()
    task.retry()
    assert (task.state, type(task.error)) == ("failed", OutcomeUnknown)
    assert len(liquid.jobs) == (moment == "after submitting")
    for name in liquid.names:
        assert f"jobName is {name!r}" in str(task.error)


def test_cleared_before_the_unknown_outcome_was_found(importing, liquid):
    """The file may have arrived: the first clear reports that, and only the second one submits again."""
    task = importing()
    with task.death("after submitting"):
        task.run()
    task.clear().run()
    assert (task.state, type(task.error), len(liquid.jobs)) == ("failed", OutcomeUnknown, 1)
    assert task.clear().run().state == "success"
    assert len(liquid.jobs) == 2


def test_cleared_after_an_unknown_outcome(importing, liquid):
    """A person has checked, and wants it submitted again."""
    task = importing()
    with task.death("before submitting"):
        task.run()
    task.retry()
    assert task.clear().run().state == "success"
    assert len(liquid.jobs) == 1


def test_on_unknown_outcome_resubmit(importing, liquid):
    """With a new mark, and with a warning."""
    task = importing(on_unknown_outcome="resubmit")
    with task.death("after submitting"):
        task.run()
    task.retry()
    assert (task.state, len(set(liquid.names))) == ("success", 2)
    assert task.logged("WARNING", f"Submitting again: the outcome of {liquid.names[0]!r} is unknown")
    assert task.result["replaced_jobs"] == [{"id": None, "state": "outcome_unknown"}]


def _question(task):
    """What Airflow's Required Actions shows."""
    from airflow.models.hitl import HITLDetail
    from sqlalchemy.orm import object_session

    with task.row() as row:
        detail = object_session(row).get(HITLDetail, row.id)
        return detail.subject, detail.body, detail.options, detail.params


def _answer(task, choice, job_id=None):
    """As the API server does when a person presses a button."""
    from airflow.models.hitl import HITLDetail
    from airflow.models.trigger import handle_event_submit
    from airflow.sdk.timezone import utcnow
    from airflow.triggers.base import TriggerEvent
    from sqlalchemy.orm import object_session

    with task.row() as row:
        session = object_session(row)
        detail = session.get(HITLDetail, row.id)
        detail.responded_at, detail.responded_by = utcnow(), {"id": "ada", "name": "Ada"}
        detail.chosen_options, detail.params_input = [choice], {"job_id": job_id}
        handle_event_submit(TriggerEvent(detail.as_resume_event_payload()), task_instance=row, session=session)
    return task.run()


def test_input_about_what_became_of_a_lost_response(importing, liquid):
    """The file arrived and the answer did not: the task waits, and ends with the job that a person has found."""
    liquid.inject_fault("batch/import", drop="after")
    task = importing(on_unknown_outcome="ask").run()
    assert (task.state, len(liquid.jobs), task.summary["state"]) == ("awaiting_input", 1, "outcome_unknown")
    subject, body, options, params = _question(task)
    assert subject == "Liquid Decisions: was the import accepted?"
    assert f"jobName is {liquid.names[0]!r}" in body
    assert "`liquid_decisions_default`" in body
    assert (options, list(params)) == (list(CHOICES), ["job_id"])
    _answer(task, Choice.FOUND, f" {liquid.jobs[0]['id']} ")
    assert (task.state, task.result["job_id"], len(liquid.jobs)) == ("success", liquid.jobs[0]["id"], 1)
    assert set(liquid.contacts.values()) == {1}
    assert any("Ada answered" in line for line in task.history("outcome_unknown"))


@pytest.mark.parametrize(
    ("job_id", "problem"),
    [(None, "The id of the job is missing"), ("no-such-job", "no-such-job"), ("x" * 300, "too long")],
    ids=["none", "unknown", "long"],
)
def test_an_answer_that_cannot_be_used(importing, liquid, job_id, problem):
    """The log and the tab say why; nothing is submitted, and the right answer is still possible."""
    liquid.inject_fault("batch/import", drop="after")
    task = importing(on_unknown_outcome="ask").run()
    _answer(task, Choice.FOUND, job_id)
    assert (task.state, len(liquid.jobs)) == ("awaiting_input", 1)
    assert problem in task.summary["message"]
    assert task.logged("WARNING", "The last answer could not be used", problem)
    assert _answer(task, Choice.FOUND, liquid.jobs[0]["id"]).state == "success"


def test_another_job_is_not_adopted(importing, liquid):
    """The job of another task has another mark in its name."""
    other = importing().run().result["job_id"]
    liquid.inject_fault("batch/import", drop="after")
    task = importing(on_unknown_outcome="ask").run()
    _answer(task, Choice.FOUND, other)
    assert task.state == "awaiting_input"
    assert f"{other} is another job: its name is" in task.summary["message"]


def test_input_to_submit_again(importing, liquid, sluice_sandbox):
    """A person has seen that it is not there."""
    sluice_sandbox.faults([{"path": "batch/import", "drop": "before"}])
    task = importing(on_unknown_outcome="ask").run()
    assert (task.state, len(liquid.jobs)) == ("awaiting_input", 0)
    assert (_answer(task, Choice.SUBMIT_AGAIN).state, len(liquid.jobs)) == ("success", 1)
    assert task.result["replaced_jobs"] == [{"id": None, "state": "outcome_unknown"}]


def test_giving_up(importing, liquid):
    """The task fails without a retry, with both ways to go on."""
    liquid.inject_fault("batch/import", drop="after")
    task = importing(on_unknown_outcome="ask").run()
    _answer(task, Choice.GIVE_UP)
    assert (task.state, type(task.error), len(liquid.jobs)) == ("failed", OutcomeUnknown, 1)
    assert "mark this task as success; if not, clear this task to submit again" in str(task.error)


def test_clearing_a_task_that_waits_for_an_answer(importing, liquid, sluice_sandbox):
    """It asks again: a clear is no answer, so nothing is submitted a second time."""
    sluice_sandbox.faults([{"path": "batch/import", "drop": "after"}])
    task = importing(on_unknown_outcome="ask").run()
    task.clear().run()
    assert (task.state, len(liquid.jobs)) == ("awaiting_input", 1)
    assert (_answer(task, Choice.SUBMIT_AGAIN).state, len(liquid.jobs)) == ("success", 2)


def test_waiting_for_input_before_airflow_3_3(contacts, liquid, monkeypatch):
    """Before Airflow 3.3 the task says so before anything is sent."""
    monkeypatch.delattr("airflow.sdk.exceptions.TaskAwaitingInput")
    operator = LiquidDecisionsImportOperator(
        task_id="import", file=str(contacts), item_type="Contact", job_name="Nightly", on_unknown_outcome="ask"
    )
    with pytest.raises(InvalidInput, match=r"needs Airflow 3\.3"):
        operator.execute({})
    assert liquid.jobs == []


def test_a_lost_response(importing, liquid):
    """The file arrived, the answer did not: no second import, no retry."""
    liquid.inject_fault("batch/import", drop="after")
    task = importing().run()
    assert (task.state, type(task.error), len(liquid.jobs)) == ("failed", OutcomeUnknown, 1)
    assert f"whose jobName is {liquid.names[0]!r}" in str(task.error)


def test_a_lost_response_with_resubmit(importing, liquid, sluice_sandbox):
    """It is submitted again at once, and the result names the first one."""
    sluice_sandbox.faults([{"path": "batch/import", "drop": "after"}])
    task = importing(on_unknown_outcome="resubmit").run()
    assert (task.state, len(set(liquid.names))) == ("success", 2)
    assert task.result["replaced_jobs"] == [{"id": None, "state": "outcome_unknown"}]


def test_a_response_without_a_status(importing, liquid):
    """Malformed JSON after the upload: the outcome is unknown, and the job is named."""
    liquid.inject_fault("batch/import", status=200, body="<html>")
    task = importing().run()
    assert (task.state, type(task.error), liquid.request_count("batch/import")) == ("failed", OutcomeUnknown, 1)


def test_a_file_that_is_gone_by_the_next_try(importing, liquid, contacts):
    """It was submitted, so it is not needed any more."""
    task = importing()
    with task.death("all written"):
        task.run()
    contacts.unlink()
    assert task.retry().state == "success"
    assert len(liquid.jobs) == 1


def test_another_file_is_another_import(importing, liquid, contacts):
    """And the same bytes, written again, are not."""
    task = importing()
    with task.death("all written"):
        task.run()
    contacts.write_text(CONTACTS)
    with task.death("publishing"):
        task.retry()
    assert len(liquid.jobs) == 1
    contacts.write_text(CONTACTS + "5,Ed\n")
    task.retry()
    assert (task.state, len(liquid.jobs)) == ("success", 2)


# --- exports


@both
def test_an_export(exporting, liquid, tmp_path, deferrable):
    """Its files are in the folder, and the result has their paths."""
    liquid.settings(export_rows_per_file=1)
    task = exporting(deferrable=deferrable).run()
    assert task.state == "success", task.error
    job_id = liquid.jobs[0]["id"]
    assert task.result["files"] == [str(tmp_path / "out" / f"{job_id}-{number}.json") for number in (1, 2)]
    items = [item["data"]["name"] for path in task.result["files"] for item in json.loads(Path(path).read_text())]
    assert (items, task.result["processed"]) == (["Acme", "Birch"], 2)
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == [f"{job_id}-1.json", f"{job_id}-2.json"]


def test_an_export_as_csv(exporting, liquid):
    """Through a query and a template, with a header."""
    query = "SELECT name, city FROM Account ORDER BY name DESC"
    task = exporting(content_type="csv", sql_query=query, template="$city|$name", row_header=True).run()
    assert Path(task.result["files"][0]).read_text().splitlines() == ["city,name", "Oslo|Birch", "Ghent|Acme"]
    assert task.result["files"][0].endswith(".csv")


def test_a_template_from_a_file(exporting, liquid, tmp_path):
    """Its text is what is sent."""
    template = tmp_path / "line.vm"
    template.write_text("$name")
    task = exporting(content_type="csv", template=template).run()
    assert (task.state, liquid.jobs[0]["fields"]["template"]) == ("success", "$name")
    assert "no such file" in str(exporting(template=tmp_path / "other.vm").run().error)


@pytest.mark.parametrize(
    ("style", "sent"), [("json", '{"city": "Oslo"}'), ("python", "{'city': 'Oslo'}")], ids=["json", "python"]
)
def test_filters(exporting, liquid, style, sent):
    """As JSON, or as the published script writes them."""
    task = exporting(filters={"city": "Oslo"}, filters_style=style).run()
    assert (liquid.jobs[0]["fields"]["filters"], task.result["processed"]) == (sent, 1)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"sql_query": "SELECT 1", "filters": {"a": 1}}, "sql_query and filters are both set"),
        ({"filters": ["a"]}, "filters must be a dict"),
        ({"filters_style": "xml"}, "filters_style must be"),
        ({"content_type": "excel"}, "content_type must be"),
        ({"destination": "nosuch://x"}, "destination: nosuch://x: cannot be opened"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_input_of_an_export(exporting, liquid, args, words):
    """Is named, before anything is sent."""
    task = exporting(**args).run()
    assert (task.state, type(task.error), liquid.requests()) == ("failed", InvalidInput, [])
    assert words in str(task.error)


def test_prefer_query(exporting, liquid):
    """The service ignores the filters."""
    query = "SELECT name FROM Account"
    task = exporting(sql_query=query, filters={"city": "Oslo"}, prefer_query=True).run()
    assert task.result["processed"] == 2


def test_an_invalid_query(exporting, liquid):
    """With the service's message."""
    task = exporting(sql_query="SELEKT").run()
    assert (task.state, "The query cannot be run" in str(task.error)) == ("failed", True)


def test_no_links_in_the_status(exporting, liquid):
    """The result says so plainly, and the log."""
    liquid.settings(export_links="email")
    task = exporting(notification_email="ada@example.com").run()
    assert (task.state, task.result["files"]) == ("success", [])
    assert "contains no links" in task.result["note"]
    assert "ada@example.com" in task.result["note"]
    assert task.logged("WARNING", "No results were downloaded")


def test_no_destination(exporting, liquid):
    """Links are not given away."""
    task = exporting(destination=None).run()
    assert (task.state, task.result["files"]) == ("success", [])
    assert "links to 1 files; set destination to download them" in task.result["note"]


@pytest.mark.parametrize("where", ["links", "reason", "other_host"])
def test_no_link_in_any_log(exporting, liquid, where):
    """A link may grant access, so it is not logged; nor is any credential."""
    liquid.settings(export_links=where)
    task = exporting(deferrable=True).run()
    response = liquid.jobs[0]["response"]
    link = (response.get("links") or [response["reason"]])[0].rpartition("http://")[2]
    token = link.split("/export.")[0].rpartition("/")[2]
    words = "\n".join([*task.log, json.dumps(task.result), json.dumps(task.stored_values)])
    assert task.state == "success"
    assert token not in words
    assert "signature=" not in words
    assert not any(secret in words for secret in SECRETS)


def test_the_signature_of_a_link_is_masked(exporting, liquid):
    """Should anything below us log it."""
    from airflow.sdk.log import redact

    liquid.settings(export_links="other_host")
    assert exporting().run().state == "success"
    query = liquid.jobs[0]["response"]["links"][0].partition("?")[2]
    assert query.startswith("signature=")
    assert query not in redact(f"GET https://x/y?{query}")


def test_a_failed_download_leaves_nothing_and_is_retried(exporting, liquid, sluice_sandbox, tmp_path):
    """The next try submits no other export: it downloads the existing one."""
    sluice_sandbox.faults([{"method": "GET", "path": "download", "status": 503, "times": 5}])
    task = exporting().run()
    assert task.state == "up_for_retry"
    assert list((tmp_path / "out").glob("*")) == []
    assert task.retry().state == "success"
    assert (len(liquid.jobs), len(task.result["files"])) == (1, 1)


def test_a_result_link_that_is_no_url(exporting, liquid, sluice_sandbox):
    """Fails the task with an error of this package, which a retry may not meet again."""
    body = {**COMPLETED, "links": ["http://[::1/export.csv?signature=canary"]}
    sluice_sandbox.faults([{"path": "batch/status", "status": 200, "body": body, "times": 10}])
    task = exporting().run()
    assert (task.state, type(task.error)) == ("up_for_retry", UnexpectedResponse)
    assert "its link is not a URL" in str(task.error)


def test_results_at_a_host_that_is_not_permitted(exporting, liquid, sluice_connections, monkeypatch, tmp_path):
    """The task fails, with the host and the field to set; nothing is requested there, and no link is shown."""
    connection = json.loads(sluice_connections["liquid_decisions_default"])
    del connection["extra"]["result_hosts"]
    monkeypatch.setenv("AIRFLOW_CONN_LIQUID_DECISIONS_DEFAULT", json.dumps(connection))
    liquid.settings(export_links="other_host")
    task = exporting().run()
    words = "\n".join([*task.log, json.dumps(task.stored_values)])
    assert task.state == "failed"
    assert "leads to http://localhost:" in words
    assert "add localhost to result_hosts in the connection" in words
    assert "connection 'liquid_decisions_default'" in str(task.error)
    assert "signature=" not in words
    assert (liquid.request_count("download"), list((tmp_path / "out").glob("*"))) == (0, [])


def test_an_export_with_an_unknown_outcome(exporting, liquid):
    """An export changes nothing, so it is submitted again, unless the author says otherwise."""
    task = exporting()
    with task.death("after submitting"):
        task.run()
    assert (task.retry().state, len(liquid.jobs)) == ("success", 2)
    careful = exporting(on_unknown_outcome="fail")
    with careful.death("after submitting"):
        careful.run()
    assert type(careful.retry().error) is OutcomeUnknown


# --- cancelling


def test_a_user_ends_a_running_task(importing, liquid, clock):
    """Its job is cancelled, as far as the service can: lazily."""
    task = importing()

    def marked_failed():
        with task.row() as row:
            row.state = "failed"
        killed()

    clock.on_sleep = marked_failed
    task.run()
    assert isinstance(task.error, ProcessDied)
    assert liquid.jobs[0]["status"] in CANCELLED
    assert task.summary["state"] == "cancelling"
    liquid.advance(60)
    assert liquid.jobs[0]["status"] == "Canceled"


@pytest.mark.parametrize("state", ["running", "queued", "up_for_retry", "restarting", None])
def test_the_platform_stops_a_worker(importing, liquid, clock, state):
    """No user ended the task, so its job goes on and the next try reconnects to it: rows arrive once."""
    task = importing()

    def stopped():
        with task.row() as row:
            before, row.state = row.state, state
        try:
            killed()
        finally:
            with task.row() as row:
                row.state = before

    clock.on_sleep = stopped
    task.run()
    assert isinstance(task.error, ProcessDied)
    assert liquid.request_count("batch/cancel") == 0
    assert task.logged("WARNING", "continues in Liquid Decisions, and the next try reconnects")
    clock.on_sleep = lambda: None
    assert task.retry().state == "success"
    assert set(liquid.contacts.values()) == {1}


def test_airflow_does_not_answer(importing, liquid, clock, monkeypatch):
    """Then nothing is known, so nothing is cancelled."""
    from sluice_provider import compat

    def away(**_):
        raise OSError("no route to host")

    monkeypatch.setattr(compat, "get_task_states", away)
    clock.on_sleep = killed
    importing().run()
    assert liquid.request_count("batch/cancel") == 0


def test_a_superseded_try_cancels_nothing(importing, liquid, clock):
    """Airflow says failed, but of a newer try: this one cannot write its record any more."""
    task = importing()

    def superseded():
        with task.row() as row:
            row.state, row.id = "failed", uuid7()
        killed()

    clock.on_sleep = superseded
    task.worker_run()
    assert liquid.request_count("batch/cancel") == 0
    assert task.logged("WARNING", "The job could not be cancelled", "a newer try may be waiting")


def test_cleared_while_it_ran(importing, liquid):
    """The next try cancels the job, sees it cancelled, and submits again; the result names both."""
    liquid.settings(job_seconds=100)
    task = importing()
    with task.death("all written"):
        task.run()
    assert task.clear().run().state == "success"
    assert [job["status"] for job in liquid.jobs] == ["Canceled", "Completed"]
    assert task.result["replaced_jobs"] == [{"id": liquid.jobs[0]["id"], "state": "cancelled", "rows": 0}]
    assert set(liquid.contacts.values()) == {1}


def test_cleared_while_it_ran_and_over_before_it_could_be_cancelled(importing, liquid, clock):
    """What the user wants is there, once."""
    liquid.settings(job_seconds=100)
    task = importing()
    with task.death("all written"):
        task.run()
    clock.move(90)  # in its last slice a job cannot be cancelled any more
    assert task.clear().run().state == "success"
    assert [job["status"] for job in liquid.jobs] == ["Completed"]
    assert task.logged("WARNING", "had ended before it could be cancelled")


def test_cleared_while_it_ran_and_not_to_be_cancelled(importing, liquid):
    """With cancel_on_kill=False a cleared task reconnects."""
    task = importing(cancel_on_kill=False)
    with task.death("all written"):
        task.run()
    assert task.clear().run().state == "success"
    assert [job["status"] for job in liquid.jobs] == ["Completed"]


def test_a_killed_deferred_task_cancels_its_job(importing, liquid):
    """From the triggerer."""
    task = importing(deferrable=True).defer()
    trigger = task.trigger()
    with task.row() as row:
        row.state = "failed"
    task.in_triggerer(lambda one: one.on_kill(), trigger)
    assert liquid.jobs[0]["status"] in CANCELLED
    assert task.logged("INFO", "the task was marked failed: asked Liquid Decisions to cancel import")


def test_a_job_cancelled_by_another_user(importing, liquid, sluice_sandbox):
    """Ended badly, in its own words."""
    task = importing(deferrable=True).defer()
    sluice_sandbox.advance(1)
    liquid_cancel(sluice_sandbox, liquid.jobs[0]["id"])
    task.fire().worker_run()
    assert (task.state, type(task.error)) == ("up_for_retry", JobFailed)
    assert "Canceled (The job has been canceled)" in str(task.error)


def liquid_cancel(sandbox, job_id):
    """Another user cancels a job."""
    from sluice_provider.hooks.liquid_decisions import LiquidDecisionsHook

    LiquidDecisionsHook().cancel_job(job_id)


@both
def test_a_cancellation(importing, cancelling, liquid, deferrable):
    """Cancels, and waits until the job is over."""
    liquid.settings(job_seconds=100)
    importing(wait_for_completion=False).run()
    job_id = liquid.jobs[0]["id"]
    task = cancelling(job_id, deferrable=deferrable).run()
    assert task.state == "success", task.error
    assert (task.result["cancelled"], task.result["status"], task.result["state"]) == (True, "Canceled", "cancelled")
    assert (task.result["job_id"], liquid.contacts) == (job_id, {})


@pytest.mark.parametrize("at", [90, 200], ids=["in its last slice", "after its end"])
def test_a_cancellation_that_came_too_late(importing, cancelling, liquid, clock, at):
    """It is reported as such."""
    liquid.settings(job_seconds=100)
    importing(wait_for_completion=False).run()
    clock.move(at)
    task = cancelling(liquid.jobs[0]["id"]).run()
    assert (task.state, task.result["cancelled"], task.result["status"]) == ("success", False, "Completed")
    assert task.logged("WARNING", "had ended before it could be cancelled")


def test_cancelling_an_unknown_job(cancelling, liquid):
    """There is no such job."""
    task = cancelling("other").run()
    assert (task.state, type(task.error)) == ("failed", NotFound)
    assert type(cancelling("").run().error) is InvalidInput


# --- OpenLineage


def test_lineage(importing, exporting, liquid):
    """From the file into the items, and from the items into files."""
    pytest.importorskip("airflow.providers.openlineage")
    task = importing().run()
    facets = task.operator.get_openlineage_facets_on_complete(None)
    assert [each.name.endswith("contacts.csv") for each in facets.inputs] == [True]
    assert [each.name for each in facets.outputs] == ["item-types/Contact"]
    task = exporting().run()
    facets = task.operator.get_openlineage_facets_on_complete(None)
    assert ([each.name for each in facets.inputs], len(facets.outputs)) == (["item-types/Account"], 1)


# --- durable=False


@both
def test_not_durable(importing, liquid, deferrable):
    """One import in both modes, and the task state store has only what the page shows."""
    task = importing(durable=False, deferrable=deferrable).run()
    assert (task.state, len(liquid.jobs)) == ("success", 1), task.error
    assert task.result["job_id"] == liquid.jobs[0]["id"]
    assert set(task.head) == {"summary", "history"}
    assert task.summary["state"] == "succeeded"
    assert task.stored("sluice_record_state") == state_line(task.summary)
    assert task.history("submitted") == [f"import: {liquid.jobs[0]['id']}"]
    assert len(task.stored_values) == len(("head", "state", "history"))


@both
def test_not_durable_a_retry_submits_again(importing, liquid, deferrable):
    """Under another mark, whatever became of the job before; the page goes on with the history."""
    task = importing(durable=False, deferrable=deferrable)
    with task.death("publishing"):
        task.run()
    assert task.retry().state == "success", task.error
    assert (len(liquid.jobs), len(set(liquid.names))) == (2, 2)
    assert task.result["job_id"] == liquid.jobs[1]["id"]
    assert task.history("submitted") == [f"import: {job['id']}" for job in liquid.jobs]
    assert task.history("reconnected") == []
    assert not task.logged("Reconnecting")


def test_durable_again_after_a_try_that_was_not(importing, liquid):
    """The author changes the DAG between two tries: there is nothing to reconnect to, and from then on there is."""
    task = importing(durable=False)
    with task.death("publishing"):
        task.run()
    with task.death("publishing"):
        task.retry(durable=True)
    assert task.retry().state == "success", task.error
    assert len(liquid.jobs) == 2
    assert task.logged("Reconnecting")
