"""Liquid Decisions: requests, responses and transient faults, in worker and triggerer."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from sluice_provider.apis.liquid_decisions import endpoints as ld
from sluice_provider.apis.liquid_decisions.job_status import job_from_status
from sluice_provider.apis.liquid_decisions.job_types import JOB_TYPES
from sluice_provider.errors import (
    AuthenticationFailed,
    ClientError,
    InvalidInput,
    JobFailed,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    RateLimited,
    ServerError,
    TooLarge,
    UnexpectedResponse,
    Unreachable,
)
from sluice_provider.jobs import JobState
from sluice_provider.sources.output_files import AtomicFile
from tests.apis.liquid_decisions_runner import CSV, FlowRunner, file_part
from tests.flows import response, run_flow

IMPORT, EXPORT, STATUS = "batch/import$", "batch/export$", "batch/status$"


@pytest.fixture(params=["worker", "triggerer"])
def run(request, sluice_sandbox, sluice_connections):
    """Liquid Decisions with each driver; its jobs are over at the first poll."""
    sluice_sandbox.settings(job_seconds=0)
    return FlowRunner(request.param, sluice_sandbox)


def importing(content=CSV, **more):
    """A small import."""
    arguments = {"item_type": "Contact", "job_name": "Nightly [1a2b]", "content_type": ld.IMPORTED_TEXT, **more}
    return ld.import_file(file_part(content), header_row=True, **arguments)


def exporting(**more):
    """A small export."""
    return ld.export(**{"item_type": "Account", "job_name": "Out [3c4d]", "content_type": ld.JSON, **more})


def status(**changes):
    """The wiki's example of a status response."""
    return {
        "submitTime": "2015-05-26T13:35:25+0000",
        "jobId": "e25a5d4b-f9a5-4794-9ac2-4e026c0df40d",
        "notificationEmail": "ada@example.com",
        "jobName": "Attendee Import Job",
        "contentType": "application/json",
        "itemType": "Attendee",
        "recordsProcessed": "0",
        "runTime": "0",
        "status": "Accepted",
        "reason": "The file has been stored and the job is ready for processing",
        **changes,
    }


# --- what is sent


def test_an_import(run):
    """Fields as the wiki has them, booleans as Python spells them, nothing that was not given."""
    job_id = run(importing(merge=False, notification_email="ada@example.com"))
    (job,) = run.state["jobs"]
    assert (job["id"], job["status"]) == (job_id, "Completed")
    assert job["fields"] == {
        "jobName": "Nightly [1a2b]",
        "itemType": "Contact",
        "contentType": "plain/text",
        "merge": "False",
        "headerRow": "True",
        "notificationEmail": "ada@example.com",
    }
    assert list(job["files"]) == ["file"]
    assert run.state["items_count"]["Contact"] == 3


def test_an_import_with_a_template(run):
    """The template is a second file."""
    template = file_part(json.dumps({"id": "0", "name": "1"}).encode(), "template", "template.json")
    flow = ld.import_file(file_part(b"7,Gus\n"), "Contact", "N", "plain/text", template)
    assert run(ld.get_job(run(flow)))["status"] == "Completed"
    assert run.state["items"]["Contact"] == [{"id": "7", "name": "Gus", "__arrivals": 1}]
    assert run.state["jobs"][0]["files"]["template"]["filename"] == "template.json"


def test_an_export(run):
    """A form; an empty one beside the three that must be."""
    run(exporting())
    (job,) = run.state["jobs"]
    assert job["fields"] == {"jobName": "Out [3c4d]", "itemType": "Account", "contentType": "application/json"}


def test_an_export_with_everything(run):
    """Each under its own name: `rowHeader` here, where an import says `headerRow`."""
    run(
        exporting(
            content_type="text/plain",
            sql_query="SELECT name FROM Account",
            filters='{"city": "Oslo"}',
            template="$name",
            row_header=True,
            notification_email="a@example.com",
        )
    )
    assert set(run.state["jobs"][0]["fields"]) == {
        *("jobName", "itemType", "contentType", "sqlQuery", "filters", "template", "rowHeader", "notificationEmail")
    }


@pytest.mark.parametrize(
    ("word", "imported", "exported"),
    [
        ("csv", "plain/text", "text/plain"),
        ("CSV ", "plain/text", "text/plain"),
        ("text", "plain/text", "text/plain"),
        ("text/csv", "plain/text", "text/plain"),
        ("text/plain", "plain/text", "text/plain"),
        ("plain/text", "plain/text", "text/plain"),
        ("json", "application/json", "application/json"),
        ("application/json", "application/json", "application/json"),
        ("application/x-other", "application/x-other", "application/x-other"),
    ],
)
def test_content_types(word, imported, exported):
    """Each operation gets what its own page says; an unknown type is sent unchanged."""
    assert ld.content_type_of(word, text=ld.IMPORTED_TEXT) == imported
    assert ld.content_type_of(word, text=ld.EXPORTED_TEXT) == exported


def test_an_invalid_content_type():
    """Is found before anything is sent."""
    with pytest.raises(InvalidInput, match="must be 'csv', 'json' or a media type, not 'excel'"):
        ld.content_type_of("excel", text=ld.IMPORTED_TEXT)


def test_filters():
    """JSON, unless the script's own way is wanted; a text is the author's."""
    filters = {"userId": "ä@b", "s": "/Workflow/processStatus[Editing]"}
    assert ld.format_filters(filters) == '{"userId": "ä@b", "s": "/Workflow/processStatus[Editing]"}'
    assert ld.format_filters(filters, python_style=True) == str(filters)
    assert ld.format_filters("0") == "0"


@pytest.mark.parametrize("job_id", ["", "  ", "None", None, 7])
def test_invalid_ids(job_id):
    """Are found before anything is sent."""
    with pytest.raises(InvalidInput, match="job_id must be a non-empty id"):
        next(ld.get_job(job_id))


# --- what is understood


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("Initialized", JobState.RUNNING),
        ("Accepted", JobState.RUNNING),
        ("Processing", JobState.RUNNING),
        ("Canceling", JobState.RUNNING),
        ("Cancelling", JobState.RUNNING),
        ("Completed", JobState.SUCCEEDED),
        (" COMPLETED ", JobState.SUCCEEDED),
        ("Rejected", JobState.FAILED),
        ("Failed", JobState.FAILED),
        ("Canceled", JobState.CANCELLED),
        ("CANCELLED", JobState.CANCELLED),
        ("Archiving", JobState.RUNNING),
    ],
)
def test_statuses(word, state):
    """The wiki's eight, however they are spelled; any other is still going."""
    assert job_from_status(status(status=word)).state is state


def test_an_unknown_status_is_logged_once(caplog):
    """And not at every poll."""
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            job_from_status(status(status="Hibernating"))
    assert [each.message for each in caplog.records if "Hibernating" in each.message] == [
        "Liquid Decisions returned the unknown job status 'Hibernating'; the job is treated as running"
    ]


@pytest.mark.parametrize(
    ("given", "counts"),
    [
        ({"recordsProcessed": "12", "runTime": " 3400 "}, {"processed": 12, "milliseconds": 3400}),
        ({"recordsProcessed": 12, "runTime": 5}, {"processed": 12, "milliseconds": 5}),
        ({"recordsProcessed": "many", "runTime": None}, {}),
    ],
)
def test_numbers_may_be_strings(given, counts):
    """What is no number is left out."""
    assert job_from_status(status(**given)).counts == counts


def test_the_reason_is_in_the_message():
    """It is what people need to see."""
    assert str(job_from_status(status(status="Rejected", reason="no such type"))).endswith("Rejected (no such type)")


@pytest.mark.parametrize(
    "response",
    [
        {"links": ["https://h/a?s=1", "https://h/b"]},
        {"url": "https://h/a?s=1", "urls": ["https://h/b"]},
        {"downloadUrls": {"first": "https://h/a?s=1", "second": ["https://h/b"]}},
        {"reason": "Done. See https://h/a?s=1, (https://h/b)."},
        {"results": [{"href": "https://h/a?s=1"}, {"href": "https://h/b"}, {"href": "https://h/b"}]},
    ],
)
def test_links_in_any_field(response):
    """Each once, in order, and not the full stop behind it."""
    assert job_from_status(status(status="Completed", **response)).links == ("https://h/a?s=1", "https://h/b")


def test_links_that_are_not_results():
    """What we said ourselves, and what a job says that is not done."""
    assert (
        job_from_status(status(status="Completed", jobName="see https://h/x", notificationEmail="http://h/y")).links
        == ()
    )
    assert job_from_status(status(status="Failed", reason="see https://h/help")).links == ()


def test_a_link_in_the_reason_is_not_shown():
    """It may let anybody in who has it."""
    job = job_from_status(status(status="Completed", reason="Results: https://me:canary@h/canary/1?signature=canary."))
    assert "canary" not in str(job)
    assert "https://h/..." in str(job)


@pytest.mark.parametrize(
    "body", ["<html>", [], {}, {"jobId": "1"}, {"status": "Accepted"}, {"jobId": "1", "status": 7}]
)
def test_an_invalid_status_response(body):
    """Is misunderstood, with what was answered."""
    played = run_flow(ld.get_job("1"), response(200, body))
    assert isinstance(played.error, UnexpectedResponse)
    assert "200" in str(played.error)


# --- submitting: one request, or none


def test_rejected_immediately(run):
    """With the job's name and the service's reason, and not retried, as it would fail again."""
    with pytest.raises(
        JobFailed, match=r"Liquid Decisions rejected 'Nightly \[1a2b\]': .* Rejected \(The file is empty\)"
    ) as error:
        run(importing(content=b""))
    assert not error.value.retryable
    assert run.request_count("batch/import") == 1


def test_rejected_immediately_without_an_id():
    """A rejected job may have none."""
    played = run_flow(exporting(), response(200, {"status": "Rejected", "reason": "no"}))
    assert isinstance(played.error, JobFailed)
    assert "Rejected (no)" in str(played.error)


def test_failed_immediately_is_retryable():
    """Another try may do better."""
    played = run_flow(exporting(), response(200, status(status="Failed")))
    assert isinstance(played.error, JobFailed)
    assert played.error.retryable


@pytest.mark.parametrize("body", ["<html>", {"jobId": ""}, []])
def test_an_unexpected_response_is_an_unknown_outcome(run, sluice_sandbox, body):
    """It may have been accepted: nothing is sent twice, and the error contains the job name to search for."""
    sluice_sandbox.faults([{"path": IMPORT, "status": 200, "body": body}])
    with pytest.raises(OutcomeUnknown, match=r"accepted the job, its jobName is 'Nightly \[1a2b\]'"):
        run(importing())
    assert run.request_count("batch/import") == 1


@pytest.mark.parametrize("fault", [{"drop": "after"}, {"drop": "before"}, {"status": 500}, {"status": 503}], ids=str)
@pytest.mark.parametrize(("order", "path"), [(importing, IMPORT), (exporting, EXPORT)])
def test_no_response_is_an_unknown_outcome(run, sluice_sandbox, order, path, fault):
    """Never sent twice."""
    sluice_sandbox.faults([{"path": path, "times": 9, **fault}])
    with pytest.raises(OutcomeUnknown, match="its jobName is"):
        run(order())
    assert (run.request_count(path.rstrip("$")), run.pauses) == (1, [])
    assert len(run.state["jobs"]) == (fault == {"drop": "after"})


@pytest.mark.parametrize(
    ("code", "kind"),
    [(400, ClientError), (401, AuthenticationFailed), (403, PermissionDenied), (404, NotFound), (413, TooLarge)],
)
def test_a_rejected_submission(run, sluice_sandbox, code, kind):
    """With the service's message; nothing was changed."""
    body = {"error": "nope", "error_description": "because"}
    sluice_sandbox.faults([{"path": IMPORT, "times": 9, "status": code, "body": body}])
    with pytest.raises(kind, match=f"returned {code}: because"):
        run(importing())
    assert run.request_count("batch/import") == (2 if code == 401 else 1)


def test_a_file_too_large(run, sluice_sandbox):
    """The service's documented limit."""
    sluice_sandbox.settings(max_upload_bytes=100)
    with pytest.raises(TooLarge, match="413: The request is over the size limit"):
        run(importing())
    assert run.state["jobs"] == []


def test_rate_limited_submissions_wait(run, sluice_sandbox):
    """429 means that nothing was done."""
    sluice_sandbox.faults([{"path": IMPORT, "status": 429, "headers": {"Retry-After": "7"}}])
    run(importing())
    assert (run.pauses, len(run.state["jobs"])) == ([7.0], 1)


def test_an_expired_token(run, sluice_sandbox):
    """Its lifetime is not documented: a 401 gets another, and the file is sent again."""
    run(ld.get_token_info())
    sluice_sandbox.advance(3601 * 24)
    run(importing())
    assert (run.request_count("oauth2/token$".rstrip("$")) >= 2, len(run.state["jobs"])) == (True, 1)


# --- looking, cancelling


@pytest.mark.parametrize(
    ("fault", "pauses"), [({"status": 503}, 1), ({"drop": "before"}, 1), ({"status": 429}, 1)], ids=str
)
def test_status_checks_are_retried(run, sluice_sandbox, fault, pauses):
    """Also the status check, which is a POST."""
    job_id = run(importing())
    sluice_sandbox.faults([{"path": STATUS, **fault}])
    assert run(ld.get_job(job_id))["jobId"] == job_id
    assert len(run.pauses) == pauses


@pytest.mark.parametrize(
    ("fault", "kind"),
    [({"status": 503}, ServerError), ({"drop": "before"}, Unreachable), ({"status": 429}, RateLimited)],
    ids=str,
)
def test_status_checks_that_keep_failing(run, sluice_sandbox, fault, kind):
    """The error says what to do."""
    sluice_sandbox.faults([{"path": STATUS, "times": 99, **fault}])
    with pytest.raises(kind):
        run(ld.get_job("x"))
    assert run.request_count("batch/status") == 5


def test_an_unknown_job(run):
    """Is not found."""
    with pytest.raises(NotFound, match="There is no such job"):
        run(ld.get_job("other"))


def test_cancelling(run, sluice_sandbox):
    """Not immediate: it takes effect when the job is next processed."""
    sluice_sandbox.settings(job_seconds=100)
    job_id = run(importing())
    run(ld.cancel_job(job_id))
    assert job_from_status(run(ld.get_job(job_id))).service_status == "Canceling"
    sluice_sandbox.advance(30)
    assert job_from_status(run(ld.get_job(job_id))).state is JobState.CANCELLED


@pytest.mark.parametrize("code", [404, 409])
def test_cancelling_an_ended_job(run, sluice_sandbox, code):
    """The job is over, so there is nothing to cancel."""
    sluice_sandbox.faults([{"path": "batch/cancel", "status": code}])
    assert run(JOB_TYPES["job"].cancel("x", {})) is None


# --- results


@pytest.mark.parametrize("where", ["links", "reason", "other_host"])
def test_results_are_downloaded(run, sluice_sandbox, tmp_path, where):
    """With our credentials at home, and without them elsewhere, where they would be refused."""
    sluice_sandbox.settings(export_links=where, export_rows_per_file=1)
    job = job_from_status(run(ld.get_job(run(exporting()))))
    assert len(job.links) == 2
    names = []
    for number, link in enumerate(job.links):
        atomic_file = AtomicFile(str(tmp_path / "out"), f"{number}.json")
        run(ld.fetch(link, atomic_file))
        names += [item["data"]["name"] for item in json.loads(Path(atomic_file.path).read_text())]
    assert names == ["Acme", "Birch"]
    seen = [each["headers"] for each in sluice_sandbox.requests() if each["path"].endswith("export.json")]
    assert ["authorization" in each for each in seen] == [where != "other_host"] * 2


def test_a_link_that_is_no_url(run, tmp_path):
    """Neither the status nor the download ends with anything but an error of this package, which shows no link."""
    job = job_from_status(status(status="Completed", reason="Results: http://[::1/canary, http://h:port/canary"))
    assert job.links == ("http://[::1/canary", "http://h:port/canary")
    assert "canary" not in job.message
    for link in job.links:
        with pytest.raises(UnexpectedResponse, match="GET a result file was not sent, as its link is not a URL"):
            run(ld.fetch(link, AtomicFile(str(tmp_path), "x.json")))


def test_a_link_that_expired(run, sluice_sandbox, tmp_path):
    """After a week; nothing is left in the folder."""
    job = job_from_status(run(ld.get_job(run(exporting()))))
    sluice_sandbox.advance(7 * 86400)
    with pytest.raises(ClientError, match="410: This link has expired"):
        run(ld.fetch(job.links[0], AtomicFile(str(tmp_path), "x.json")))
    assert list(tmp_path.iterdir()) == []


def test_the_request_name_hides_the_link(tmp_path):
    """The path of a link to results may let anybody in who has it: neither the log nor the error shows it."""
    flow = ld.fetch("https://files.example.com/secret-path/x.json?sig=y", AtomicFile(str(tmp_path), "x.json"))
    played = run_flow(flow, response(410, {"message": "expired"}))
    assert str(played.error) == "GET a result file returned 410: expired"
    assert [str(call) for call in played.calls] == ["GET a result file"]
