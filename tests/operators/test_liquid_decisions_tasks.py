"""Imports, exports and cancels in Liquid Decisions, as tasks: nothing twice, nothing lost, and files there whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from airflow.sdk import get_current_context
from uuid6 import uuid7

from sluice_provider.errors import InvalidInput, JobFailed, NotFound, OutcomeUnknown, TooLarge
from sluice_provider.operators.liquid_decisions import (
    LiquidDecisionsCancelJobOperator,
    LiquidDecisionsExportOperator,
    LiquidDecisionsImportOperator,
)
from tests.operators.airflow_harness import ProcessDied

pytestmark = pytest.mark.airflow

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

    def asked(self, path):
        return sum(path in each["path"] for each in self._sandbox.requests())

    def trouble(self, path, **fault):
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

    def begin(**args):
        args = {"file": str(contacts), "item_type": "Contact", "job_name": "Nightly", "header_row": True, **args}
        return airflow.life(LiquidDecisionsImportOperator, task_id="import", retries=3, **args)

    return begin


@pytest.fixture
def exporting(airflow, tmp_path):
    """An export of the accounts that are there, with three retries; arguments as for the operator."""

    def begin(**args):
        args = {"item_type": "Account", "job_name": "Out", "destination": str(tmp_path / "out"), **args}
        return airflow.life(LiquidDecisionsExportOperator, task_id="export", retries=3, **args)

    return begin


@pytest.fixture
def cancelling(airflow):
    """A task that cancels a job."""
    return lambda job_id, **args: airflow.life(
        LiquidDecisionsCancelJobOperator, task_id="cancel", job_id=job_id, retries=3, **args
    )


def killed():
    """What happens to a worker that is told to stop."""
    get_current_context()["ti"].task.on_kill()
    raise ProcessDied


both = pytest.mark.parametrize("deferrable", [False, True], ids=["plain", "deferrable"])


# --- imports


@both
def test_an_import(importing, liquid, deferrable):
    """Asked for once, waited for, and told in a few words that are the same in both modes."""
    life = importing(deferrable=deferrable).go()
    (job,) = liquid.jobs
    assert life.state == "success", life.error
    assert liquid.contacts == {"Ada": 1, "Ben": 1, "Cy": 1, "Di": 1}
    assert set(life.result) == {
        *("service", "state", "job_id", "item_type", "processed", "milliseconds", "file"),
        *("submitted_at", "ended_at", "seconds"),
    }
    assert life.result["processed"] == 4
    assert (life.result["job_id"], life.result["state"]) == (job["id"], "succeeded")
    assert life.result["file"].endswith("/contacts.csv")
    assert life.xcom("job_ids") == [job["id"]]


def test_the_request(importing, liquid, tmp_path):
    """Fields by the wiki's names; a mark in the name; the file and the template as files."""
    template = tmp_path / "template.json"
    template.write_text('{"id": "id", "name": "name"}')
    importing(template=str(template), merge=True, notification_email="ada@example.com").go()
    (job,) = liquid.jobs
    assert job["fields"].pop("jobName").startswith("Nightly [")
    assert job["fields"] == {
        "itemType": "Contact",
        "contentType": "plain/text",
        "merge": "True",
        "headerRow": "True",
        "notificationEmail": "ada@example.com",
    }
    told = {name: (part["filename"], part["headers"]["content-type"]) for name, part in job["files"].items()}
    assert told == {"file": ("contacts.csv", "plain/text"), "template": ("template.json", "application/json")}


def test_content_type_of_json(importing, liquid, tmp_path):
    """The content type is inferred from the name unless it is given."""
    for name, more in (("contacts.json", {}), ("contacts.data", {"content_type": "json"})):
        (tmp_path / name).write_text(json.dumps([{"id": "1", "name": "Ada"}]))
        assert importing(file=f"file://{tmp_path}/{name}", header_row=None, **more).go().state == "success"
    assert [job["fields"]["contentType"] for job in liquid.jobs] == ["application/json"] * 2


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"file": "/nowhere/contacts.csv"}, "no such file"),
        ({"file": ""}, "file must be the path or URL of a file"),
        ({"file": None}, "file must be the path or URL of a file"),
        ({"file": "None"}, "file is the string 'None': the XCom, parameter or variable"),
        ({"file": "/tmp/contacts.data"}, "has the unsupported extension '.data'"),
        ({"file": "nosuch://x/contacts.csv"}, "cannot be opened on this worker"),
        ({"template": "/nowhere/t.json"}, "template: /nowhere/t.json: no such file"),
        ({"content_type": "excel"}, "content_type must be"),
        ({"item_type": " "}, "item_type must be a non-empty string"),
        ({"job_name": None}, "job_name must be a non-empty string"),
        ({"on_unknown_outcome": "guess"}, "must be one of 'fail', 'resubmit'"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_input(importing, liquid, args, words):
    """Is named, before anything is sent, and not tried again."""
    life = importing(**args).go()
    assert (life.state, type(life.error)) == ("failed", InvalidInput)
    assert words in str(life.error)
    assert liquid.requests() == []


def test_an_empty_file(importing, liquid, contacts):
    """Nothing is sent."""
    contacts.write_text("")
    life = importing().go()
    assert (life.state, "contacts.csv is empty" in str(life.error), liquid.requests()) == ("failed", True, [])


def test_a_folder(importing, liquid, tmp_path):
    """Is no file."""
    (tmp_path / "x.csv").mkdir()
    assert "is a directory" in str(importing(file=str(tmp_path / "x.csv")).go().error)


def test_rejected_immediately(importing, liquid, contacts):
    """The job's name and the remote's reason; no retry of what would end the same way."""
    contacts.write_text("id,name\n1\n")
    life = importing().go()
    assert (life.state, type(life.error), len(liquid.jobs)) == ("failed", JobFailed, 1)
    assert f"Liquid Decisions rejected {liquid.names[0]!r}" in str(life.error)
    assert "Rejected (Row 1 has 1 columns instead of 2)" in str(life.error)


def test_failed_immediately(importing, liquid, sluice_sandbox):
    """An answer is an answer: the next try is in no doubt and asks again, under another mark."""
    told = {"jobId": "7", "status": "Failed", "reason": "busy"}
    sluice_sandbox.faults([{"path": "batch/import", "status": 200, "body": told}])
    life = importing().go()
    assert (life.state, type(life.error)) == ("up_for_retry", JobFailed)
    first = str(life.error)
    assert life.retry().state == "success"
    assert len(liquid.names) == 1
    assert liquid.names[0] not in first


def test_rejected_later(importing, liquid):
    """Likewise, when it is found out while the job is watched."""
    life = importing(deferrable=True).defer()
    told = {**liquid.jobs[0]["response"], "status": "Rejected", "reason": "no such type"}
    liquid.trouble("batch/status", status=200, body=told)
    life.fire().leg()
    assert (life.state, type(life.error)) == ("failed", JobFailed)
    assert "Rejected (no such type); a retry would fail the same way" in str(life.error)


def test_a_failed_job_is_resubmitted_by_a_retry(importing, liquid):
    """With another mark, by the next try."""
    liquid.settings(fail_jobs=1)
    life = importing().go()
    assert (life.state, type(life.error)) == ("up_for_retry", JobFailed)
    assert "the item service did not answer" in str(life.error)
    assert life.retry().state == "success"
    assert [job["status"] for job in liquid.jobs] == ["Failed", "Completed"]
    assert len(set(liquid.names)) == 2


def test_too_large(importing, liquid):
    """413: nothing helps but another file."""
    liquid.settings(max_upload_bytes=100)
    life = importing().go()
    assert (life.state, type(life.error), liquid.jobs) == ("failed", TooLarge, [])
    assert liquid.asked("batch/import") == 1


def test_the_reason_is_logged_on_every_change(importing, liquid):
    """One line each."""
    life = importing().go()
    assert life.said("INFO", "Accepted (The file has been stored")
    assert life.said("INFO", "Completed (The job has been completed)")


# --- deaths and doubt


@pytest.mark.parametrize("moment", ["job written", "all written", "publishing", "end written"])
def test_a_recorded_job_is_never_resubmitted(importing, liquid, moment):
    """The worker dies, the next try goes on."""
    life = importing()
    with life.death(moment):
        life.go()
    assert life.retry().state == "success"
    assert set(liquid.contacts.values()) == {1}
    assert life.result["job_id"] == liquid.jobs[0]["id"]


@pytest.mark.parametrize("moment", ["before submitting", "after submitting"])
def test_an_unknown_outcome_fails_and_names_the_job(importing, liquid, moment):
    """It may be there: no retry, and a name by which a person can find it."""
    life = importing()
    with life.death(moment):
        life.go()
    life.retry()
    assert (life.state, type(life.error)) == ("failed", OutcomeUnknown)
    assert len(liquid.jobs) == (moment == "after submitting")
    for name in liquid.names:
        assert f"jobName is {name!r}" in str(life.error)


def test_cleared_before_the_unknown_outcome_was_found(importing, liquid):
    """The file may have arrived, and nobody was told: that comes first, and only then a second clearing asks again."""
    life = importing()
    with life.death("after submitting"):
        life.go()
    life.clear().go()
    assert (life.state, type(life.error), len(liquid.jobs)) == ("failed", OutcomeUnknown, 1)
    assert life.clear().go().state == "success"
    assert len(liquid.jobs) == 2


def test_cleared_after_an_unknown_outcome(importing, liquid):
    """A person looked, and wants it asked for again."""
    life = importing()
    with life.death("before submitting"):
        life.go()
    life.retry()
    assert life.clear().go().state == "success"
    assert len(liquid.jobs) == 1


def test_on_unknown_outcome_resubmit(importing, liquid):
    """With a new mark, and with a warning."""
    life = importing(on_unknown_outcome="resubmit")
    with life.death("after submitting"):
        life.go()
    life.retry()
    assert (life.state, len(set(liquid.names))) == ("success", 2)
    assert life.said("WARNING", f"Submitting again: the outcome of {liquid.names[0]!r} is unknown")
    assert life.result["replaced_jobs"] == [{"id": None, "state": "outcome_unknown"}]


def test_a_lost_response(importing, liquid):
    """The file arrived, the answer did not: no second import, no retry."""
    liquid.trouble("batch/import", drop="after")
    life = importing().go()
    assert (life.state, type(life.error), len(liquid.jobs)) == ("failed", OutcomeUnknown, 1)
    assert f"whose jobName is {liquid.names[0]!r}" in str(life.error)


def test_a_lost_response_with_resubmit(importing, liquid, sluice_sandbox):
    """It is submitted again at once, and the result tells of the first one."""
    sluice_sandbox.faults([{"path": "batch/import", "drop": "after"}])
    life = importing(on_unknown_outcome="resubmit").go()
    assert (life.state, len(set(liquid.names))) == ("success", 2)
    assert life.result["replaced_jobs"] == [{"id": None, "state": "outcome_unknown"}]


def test_a_response_without_a_status(importing, liquid):
    """Malformed JSON after the file was taken: doubt, and named."""
    liquid.trouble("batch/import", status=200, body="<html>")
    life = importing().go()
    assert (life.state, type(life.error), liquid.asked("batch/import")) == ("failed", OutcomeUnknown, 1)


def test_a_file_that_is_gone_by_the_next_try(importing, liquid, contacts):
    """It was handed over, so it is not needed any more."""
    life = importing()
    with life.death("all written"):
        life.go()
    contacts.unlink()
    assert life.retry().state == "success"
    assert len(liquid.jobs) == 1


def test_another_file_is_another_import(importing, liquid, contacts):
    """And the same bytes, written again, are not."""
    life = importing()
    with life.death("all written"):
        life.go()
    contacts.write_text(CONTACTS)
    with life.death("publishing"):
        life.retry()
    assert len(liquid.jobs) == 1
    contacts.write_text(CONTACTS + "5,Ed\n")
    life.retry()
    assert (life.state, len(liquid.jobs)) == ("success", 2)


# --- exports


@both
def test_an_export(exporting, liquid, tmp_path, deferrable):
    """Its files are in the folder, and the result tells where."""
    liquid.settings(export_rows_per_file=1)
    life = exporting(deferrable=deferrable).go()
    assert life.state == "success", life.error
    job_id = liquid.jobs[0]["id"]
    assert life.result["files"] == [str(tmp_path / "out" / f"{job_id}-{number}.json") for number in (1, 2)]
    items = [item["data"]["name"] for path in life.result["files"] for item in json.loads(Path(path).read_text())]
    assert (items, life.result["processed"]) == (["Acme", "Birch"], 2)
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == [f"{job_id}-1.json", f"{job_id}-2.json"]


def test_an_export_as_csv(exporting, liquid):
    """Through a query and a template, with a header."""
    query = "SELECT name, city FROM Account ORDER BY name DESC"
    life = exporting(content_type="csv", sql_query=query, template="$city|$name", row_header=True).go()
    assert Path(life.result["files"][0]).read_text().splitlines() == ["city,name", "Oslo|Birch", "Ghent|Acme"]
    assert life.result["files"][0].endswith(".csv")


def test_a_template_from_a_file(exporting, liquid, tmp_path):
    """Its text is what is sent."""
    template = tmp_path / "line.vm"
    template.write_text("$name")
    life = exporting(content_type="csv", template=template).go()
    assert (life.state, liquid.jobs[0]["fields"]["template"]) == ("success", "$name")
    assert "no such file" in str(exporting(template=tmp_path / "other.vm").go().error)


@pytest.mark.parametrize(
    ("style", "sent"), [("json", '{"city": "Oslo"}'), ("python", "{'city': 'Oslo'}")], ids=["json", "python"]
)
def test_filters(exporting, liquid, style, sent):
    """As JSON, or as the published script writes them."""
    life = exporting(filters={"city": "Oslo"}, filters_style=style).go()
    assert (liquid.jobs[0]["fields"]["filters"], life.result["processed"]) == (sent, 1)


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
    life = exporting(**args).go()
    assert (life.state, type(life.error), liquid.requests()) == ("failed", InvalidInput, [])
    assert words in str(life.error)


def test_prefer_query(exporting, liquid):
    """The remote disregards the filters."""
    query = "SELECT name FROM Account"
    life = exporting(sql_query=query, filters={"city": "Oslo"}, prefer_query=True).go()
    assert life.result["processed"] == 2


def test_an_invalid_query(exporting, liquid):
    """The remote's own words."""
    life = exporting(sql_query="SELEKT").go()
    assert (life.state, "The query cannot be run" in str(life.error)) == ("failed", True)


def test_no_links_in_the_status(exporting, liquid):
    """The result says so plainly, and the log."""
    liquid.settings(export_links="email")
    life = exporting(notification_email="ada@example.com").go()
    assert (life.state, life.result["files"]) == ("success", [])
    assert "contains no links" in life.result["note"]
    assert "ada@example.com" in life.result["note"]
    assert life.said("WARNING", "No results were downloaded")


def test_no_destination(exporting, liquid):
    """Links are not given away."""
    life = exporting(destination=None).go()
    assert (life.state, life.result["files"]) == ("success", [])
    assert "links to 1 files; set destination to download them" in life.result["note"]


@pytest.mark.parametrize("where", ["links", "reason", "other_host"])
def test_no_link_in_any_log(exporting, liquid, where):
    """Whoever has one may be let in; nor is a credential anywhere."""
    liquid.settings(export_links=where)
    life = exporting(deferrable=True).go()
    told = liquid.jobs[0]["response"]
    link = (told.get("links") or [told["reason"]])[0].rpartition("http://")[2]
    token = link.split("/export.")[0].rpartition("/")[2]
    words = "\n".join([*life.log, json.dumps(life.result), json.dumps(life.written)])
    assert life.state == "success"
    assert token not in words
    assert "signature=" not in words
    assert not any(secret in words for secret in SECRETS)


def test_the_signature_of_a_link_is_masked(exporting, liquid):
    """Should anything below us log it."""
    from airflow.sdk.log import redact

    liquid.settings(export_links="other_host")
    assert exporting().go().state == "success"
    query = liquid.jobs[0]["response"]["links"][0].partition("?")[2]
    assert query.startswith("signature=")
    assert query not in redact(f"GET https://x/y?{query}")


def test_a_failed_download_leaves_nothing_and_is_retried(exporting, liquid, sluice_sandbox, tmp_path):
    """The next try asks for no other export: it fetches what is there."""
    sluice_sandbox.faults([{"method": "GET", "path": "download", "status": 503, "times": 5}])
    life = exporting().go()
    assert life.state == "up_for_retry"
    assert list((tmp_path / "out").glob("*")) == []
    assert life.retry().state == "success"
    assert (len(liquid.jobs), len(life.result["files"])) == (1, 1)


def test_an_export_with_an_unknown_outcome(exporting, liquid):
    """An export changes nothing, so it is submitted again, unless the author says otherwise."""
    life = exporting()
    with life.death("after submitting"):
        life.go()
    assert (life.retry().state, len(liquid.jobs)) == ("success", 2)
    careful = exporting(on_unknown_outcome="fail")
    with careful.death("after submitting"):
        careful.go()
    assert type(careful.retry().error) is OutcomeUnknown


# --- cancelling


def test_a_user_ends_a_running_task(importing, liquid, clock):
    """Its job is cancelled, as far as the service can: lazily."""
    life = importing()

    def marked_failed():
        with life.row() as row:
            row.state = "failed"
        killed()

    clock.on_nap = marked_failed
    life.go()
    assert isinstance(life.error, ProcessDied)
    assert liquid.jobs[0]["status"] == "Canceling"
    assert life.summary["state"] == "cancelling"
    liquid.advance(60)
    assert liquid.jobs[0]["status"] == "Canceled"


@pytest.mark.parametrize("state", ["running", "queued", "up_for_retry", "restarting", None])
def test_the_platform_stops_a_worker(importing, liquid, clock, state):
    """No user ended the task, so its job goes on and the next try reconnects to it: rows arrive once."""
    life = importing()

    def stopped():
        with life.row() as row:
            before, row.state = row.state, state
        try:
            killed()
        finally:
            with life.row() as row:
                row.state = before

    clock.on_nap = stopped
    life.go()
    assert isinstance(life.error, ProcessDied)
    assert liquid.asked("batch/cancel") == 0
    assert life.said("WARNING", "continues in Liquid Decisions, and the next try reconnects")
    clock.on_nap = lambda: None
    assert life.retry().state == "success"
    assert set(liquid.contacts.values()) == {1}


def test_airflow_does_not_answer(importing, liquid, clock, monkeypatch):
    """Then nothing is known, so nothing is cancelled."""
    from sluice_provider import compat

    def away(**_):
        raise OSError("no route to host")

    monkeypatch.setattr(compat, "get_task_states", away)
    clock.on_nap = killed
    importing().go()
    assert liquid.asked("batch/cancel") == 0


def test_a_superseded_try_cancels_nothing(importing, liquid, clock):
    """Airflow says failed, but of a newer try: this one cannot write its record any more."""
    life = importing()

    def superseded():
        with life.row() as row:
            row.state, row.id = "failed", uuid7()
        killed()

    clock.on_nap = superseded
    life.leg()
    assert liquid.asked("batch/cancel") == 0
    assert life.said("WARNING", "The job could not be cancelled", "perhaps a newer try")


def test_cleared_while_it_ran(importing, liquid):
    """The next try cancels the job, sees it cancelled, and submits again; the result tells of both."""
    liquid.settings(job_seconds=100)
    life = importing()
    with life.death("all written"):
        life.go()
    assert life.clear().go().state == "success"
    assert [job["status"] for job in liquid.jobs] == ["Canceled", "Completed"]
    assert life.result["replaced_jobs"] == [{"id": liquid.jobs[0]["id"], "state": "cancelled", "rows": 0}]
    assert set(liquid.contacts.values()) == {1}


def test_cleared_while_it_ran_and_over_before_it_could_be_cancelled(importing, liquid, clock):
    """What the user wants is there, once."""
    liquid.settings(job_seconds=100)
    life = importing()
    with life.death("all written"):
        life.go()
    clock.move(90)  # in its last slice a job cannot be cancelled any more
    assert life.clear().go().state == "success"
    assert [job["status"] for job in liquid.jobs] == ["Completed"]
    assert life.said("WARNING", "had ended before it could be cancelled")


def test_cleared_while_it_ran_and_not_to_be_cancelled(importing, liquid):
    """With cancel_on_kill=False a cleared task reconnects."""
    life = importing(cancel_on_kill=False)
    with life.death("all written"):
        life.go()
    assert life.clear().go().state == "success"
    assert [job["status"] for job in liquid.jobs] == ["Completed"]


def test_a_killed_deferred_task_cancels_its_job(importing, liquid):
    """From the triggerer."""
    life = importing(deferrable=True).defer()
    trigger = life.trigger()
    with life.row() as row:
        row.state = "failed"
    life.in_triggerer(lambda one: one.on_kill(), trigger)
    assert liquid.jobs[0]["status"] == "Canceling"
    assert life.said("INFO", "the task was marked failed: asked liquid_decisions to cancel import")


def test_a_job_that_somebody_cancelled(importing, liquid, sluice_sandbox):
    """Ended badly, in its own words."""
    life = importing(deferrable=True).defer()
    sluice_sandbox.advance(1)
    liquid_cancel(sluice_sandbox, liquid.jobs[0]["id"])
    life.fire().leg()
    assert (life.state, type(life.error)) == ("up_for_retry", JobFailed)
    assert "Canceled (The job has been canceled)" in str(life.error)


def liquid_cancel(sandbox, job_id):
    """Somebody else cancels a job."""
    from sluice_provider.hooks.liquid_decisions import LiquidDecisionsHook

    LiquidDecisionsHook().cancel_job(job_id)


@both
def test_a_cancellation(importing, cancelling, liquid, deferrable):
    """Asks, and waits until the job is over."""
    liquid.settings(job_seconds=100)
    importing(wait_for_completion=False).go()
    job_id = liquid.jobs[0]["id"]
    life = cancelling(job_id, deferrable=deferrable).go()
    assert life.state == "success", life.error
    assert (life.result["cancelled"], life.result["status"], life.result["state"]) == (True, "Canceled", "cancelled")
    assert (life.result["job_id"], liquid.contacts) == (job_id, {})


@pytest.mark.parametrize("at", [90, 200], ids=["in its last slice", "after its end"])
def test_a_cancellation_that_came_too_late(importing, cancelling, liquid, clock, at):
    """Is told as what it is."""
    liquid.settings(job_seconds=100)
    importing(wait_for_completion=False).go()
    clock.move(at)
    life = cancelling(liquid.jobs[0]["id"]).go()
    assert (life.state, life.result["cancelled"], life.result["status"]) == ("success", False, "Completed")
    assert life.said("WARNING", "had ended before it could be cancelled")


def test_cancelling_an_unknown_job(cancelling, liquid):
    """There is no such job."""
    life = cancelling("other").go()
    assert (life.state, type(life.error)) == ("failed", NotFound)
    assert type(cancelling("").go().error) is InvalidInput


# --- what OpenLineage is told


def test_lineage(importing, exporting, liquid):
    """From the file into the items, and from the items into files."""
    pytest.importorskip("airflow.providers.openlineage")
    life = importing().go()
    facets = life.operator.get_openlineage_facets_on_complete(None)
    assert [each.name.endswith("contacts.csv") for each in facets.inputs] == [True]
    assert [each.name for each in facets.outputs] == ["item-types/Contact"]
    life = exporting().go()
    facets = life.operator.get_openlineage_facets_on_complete(None)
    assert ([each.name for each in facets.inputs], len(facets.outputs)) == (["item-types/Account"], 1)


# --- durable=False


@both
def test_not_durable(importing, liquid, deferrable):
    """One import in both modes, and the task state store has only what the page shows."""
    life = importing(durable=False, deferrable=deferrable).go()
    assert (life.state, len(liquid.jobs)) == ("success", 1), life.error
    assert life.result["job_id"] == liquid.jobs[0]["id"]
    assert set(life.head) == {"summary", "history"}
    assert (life.summary["state"], life.stored("sluice_record_state")) == ("succeeded", "succeeded")
    assert life.history("submitted") == [f"import: {liquid.jobs[0]['id']}"]
    assert len(life.written) == len(("head", "state", "history"))


@both
def test_not_durable_a_retry_submits_again(importing, liquid, deferrable):
    """Under another mark, whatever became of the job before; the page goes on with the history."""
    life = importing(durable=False, deferrable=deferrable)
    with life.death("publishing"):
        life.go()
    assert life.retry().state == "success", life.error
    assert (len(liquid.jobs), len(set(liquid.names))) == (2, 2)
    assert life.result["job_id"] == liquid.jobs[1]["id"]
    assert life.history("submitted") == [f"import: {job['id']}" for job in liquid.jobs]
    assert life.history("reconnected") == []
    assert not life.said("Reconnecting")


def test_durable_again_after_a_try_that_was_not(importing, liquid):
    """The author changes the DAG between two tries: there is nothing to reconnect to, and from then on there is."""
    life = importing(durable=False)
    with life.death("publishing"):
        life.go()
    with life.death("publishing"):
        life.retry(durable=True)
    assert life.retry().state == "success", life.error
    assert len(liquid.jobs) == 2
    assert life.said("Reconnecting")
