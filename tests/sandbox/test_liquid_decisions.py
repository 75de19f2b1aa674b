"""The mock Liquid Decisions: the requests of the vendor's published scripts, and input validation."""

from __future__ import annotations

import io
import json

import pytest
import requests

ITEMS = [
    {"headers": {"category": "entity", "type": "Attendee", "action": "Create"}, "data": {"id": "1", "name": "Ada"}},
    {"headers": {"category": "entity", "type": "Attendee", "action": "Create"}, "data": {"id": "2", "name": "Ben"}},
]
CSV = "id,name\n1,Ada\n2,Ben\n"


class Script:
    """Sends the requests of the published scripts, with `requests` and their form fields, parts and headers."""

    def __init__(self, sandbox):
        self.sandbox = sandbox
        self.server = f"{sandbox.url}/liquid-decisions"
        self.known = sandbox.state()["credentials"]["liquid_decisions"]
        self.web = requests.Session()
        self.web.trust_env = False
        self.token = self.login().json()["access_token"]

    def login(self, **changes):
        """`oauth2Token.py`; the wiki's "Obtaining a Token"."""
        known = self.known
        form = {
            "grant_type": "password",
            **{name: known[name] for name in ("client_id", "client_secret", "username", "password")},
            "scope": f"community={known['community']} deviceId=d hardwareId=h hardwareName=n",
            **changes,
        }
        return self.web.post(f"{self.server}/ls/api/oauth2/token", data=form)

    def post(self, path, data, **more):
        headers = {"Authorization": "Bearer " + self.token}
        return self.web.post(f"{self.server}/ls/api/batch/{path}", headers=headers, data=data, **more)

    def get(self, url, **headers):
        return self.web.get(url, headers=headers)

    def import_(self, content, kind="application/json", template=None, filename="data.json", **fields):
        """`batchImport.py`; `requests` does not send None."""
        files = {"file": (filename, io.BytesIO(content.encode()), kind, {"Expires": "0"})}
        if template is not None:
            files["template"] = ("template.json", io.BytesIO(template.encode()), "application/json", {"Expires": "0"})
        form = {
            "notificationEmail": None,
            "jobName": "Attendee Import Job",
            "contentType": kind,
            "itemType": "Attendee",
            "merge": False,
            **fields,
        }
        return self.post("import", form, files=files)

    def export(self, **fields):
        """`batchExport.py`, with its default filters and empty template."""
        form = {
            "notificationEmail": None,
            "jobName": "Out",
            "itemType": "Attendee",
            "sqlQuery": None,
            "contentType": "application/json",
            "filters": "0",
            "template": "",
            **fields,
        }
        return self.post("export", form)

    def status(self, job_id):
        """`batchStatus.py`."""
        return self.post("status", {"jobId": job_id}).json()

    def results(self, **fields):
        """The contents of the files of an export."""
        response = self.status(self.export(**fields).json()["jobId"])
        return [self.get(link, Authorization="Bearer " + self.token) for link in response["links"]]

    @property
    def items(self):
        return {item["id"]: item for item in self.sandbox.state()["liquid_decisions"]["items"].get("Attendee", [])}


@pytest.fixture
def script(sluice_sandbox):
    """Logged in; jobs finish at once."""
    sluice_sandbox.settings(job_seconds=0)
    return Script(sluice_sandbox)


# --- the published scripts


def test_batch_import(script, sluice_sandbox):
    """The wiki's example: a multipart form, answered with a status."""
    sluice_sandbox.settings(job_seconds=10)
    answer = script.import_(json.dumps(ITEMS), notificationEmail="ada@example.com")
    response = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert response.pop("jobId")
    assert response.pop("submitTime").endswith("+0000")
    assert response == {
        "notificationEmail": "ada@example.com",
        "jobName": "Attendee Import Job",
        "contentType": "application/json",
        "itemType": "Attendee",
        "recordsProcessed": "0",
        "runTime": "0",
        "status": "Accepted",
        "reason": "The file has been stored and the job is ready for processing",
    }
    (job,) = sluice_sandbox.state()["liquid_decisions"]["jobs"]
    assert job["fields"]["merge"] == "False"
    assert job["files"]["file"]["headers"]["expires"] == "0"


def test_batch_import_of_csv(script):
    """With a template as a second file, and the header row of the script."""
    answer = script.import_(CSV, "plain/text", '{"id": "id", "name": "name"}', headerRow=True, merge=True)
    assert script.status(answer.json()["jobId"])["recordsProcessed"] == "2"
    assert script.items["1"] == {"id": "1", "name": "Ada", "__arrivals": 1}


def test_batch_export_and_status(script):
    """All items as JSON, by links that need the token."""
    script.import_(json.dumps(ITEMS))
    (file,) = script.results()
    assert file.json() == ITEMS
    assert file.headers["content-type"] == "application/json"


def test_batch_cancel(script, sluice_sandbox):
    """The response has the job's status."""
    sluice_sandbox.settings(job_seconds=100)
    job_id = script.import_(json.dumps(ITEMS)).json()["jobId"]
    assert script.post("cancel", {"jobId": job_id}).json()["status"] == "Canceling"


def test_obtaining_a_token(script):
    """Client id and secret are optional, as in the Java example; validate and tokenInfo accept the token."""
    for gone in ({}, {"client_id": None, "client_secret": None}):
        assert script.login(**gone).json()["access_token"]
    authorised = {"Authorization": "Bearer " + script.token}
    assert script.get(f"{script.server}/ls/api/oauth2/validate", **authorised).status_code == 200
    response = script.web.post(f"{script.server}/ls/api/oauth2/tokenInfo", headers=authorised).json()
    assert (response["userId"], response["community"]) == (script.known["username"], "Sluice")


# --- what is refused


@pytest.mark.parametrize(
    ("wrong", "status", "error"),
    [
        ({"grant_type": "client_credentials"}, 400, "unsupported_grant_type"),
        ({"client_secret": "other"}, 401, "invalid_client"),
        ({"password": "other"}, 400, "invalid_grant"),
        ({"username": None}, 400, "invalid_grant"),
        ({"scope": None}, 400, "invalid_scope"),
        ({"scope": "Sluice"}, 400, "invalid_scope"),
        ({"scope": "community=Other"}, 400, "invalid_scope"),
    ],
    ids=str,
)
def test_no_token(script, wrong, status, error):
    """`error` and `error_description`, as the demos expect."""
    answer = script.login(**wrong)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.json()["error_description"]


def test_wrong_credentials(script, sluice_sandbox):
    """Without a token, with a wrong one, with an expired one."""
    for path in ("batch/status", "batch/import", "oauth2/tokenInfo"):
        assert requests.post(f"{script.server}/ls/api/{path}").status_code == 401
    sluice_sandbox.advance(4000)
    assert script.post("status", {"jobId": "x"}).status_code == 401


@pytest.mark.parametrize("name", ["jobName", "itemType", "contentType"])
def test_a_missing_field(script, name):
    """400, as on the wiki's Upsert page."""
    for answer in (script.import_("[]", **{name: None}), script.export(**{name: None})):
        assert (answer.status_code, answer.json()["error_description"]) == (400, f"{name} is missing")


def test_a_missing_file(script):
    """400."""
    form = {"jobName": "n", "itemType": "Attendee", "contentType": "application/json"}
    assert script.post("import", form).status_code == 400


def test_unknown_jobs_and_files(script):
    """404 for a path and for a job."""
    assert script.post("other", {}).status_code == 404
    assert script.post("status", {"jobId": "other"}).status_code == 404
    assert script.post("cancel", {}).status_code == 404


def test_upload_size_limit(script, sluice_sandbox):
    """413, and no job is created."""
    sluice_sandbox.settings(max_upload_bytes=200)
    assert script.import_("x" * 300).status_code == 413
    assert sluice_sandbox.state()["liquid_decisions"]["jobs"] == []


def test_rate_limit(script, sluice_sandbox):
    """429 in the service's error format."""
    sluice_sandbox.settings(rate_limit=1)
    answers = [script.post("status", {"jobId": "x"}) for _ in range(3)]
    refused = [each for each in answers if each.status_code == 429]
    assert refused
    assert (refused[0].headers["retry-after"], refused[0].json()["error"]) == ("1", "too_many_requests")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "The file is empty"),
        ("{", "The file is not JSON"),
        ("{}", "must contain a list of items"),
        ("[]", "must contain a list of items"),
        ("[1]", "Item 1 is not an object"),
        ('[{"headers": {}}]', "must have headers and data"),
        ('[{"headers": {"type": "Account"}, "data": {}}]', "of type Account, not Attendee"),
        ('[{"headers": {"action": "Burn"}, "data": {}}]', "unknown action Burn"),
    ],
)
def test_bad_json_is_rejected(script, content, reason):
    """At once, with a reason, and with a job id."""
    response = script.import_(content).json()
    assert (response["status"], reason in response["reason"]) == ("Rejected", True)
    assert script.status(response["jobId"])["status"] == "Rejected"
    assert script.items == {}


@pytest.mark.parametrize(
    ("content", "template", "header", "reason"),
    [
        ("id,name\n1\n", None, True, "Row 1 has 1 columns instead of 2"),
        ("id,name\n", None, True, "contains no rows"),
        ('id\n"open\n', None, True, "The file is not CSV"),
        (CSV, None, False, "needs a template"),
        (CSV, "<velocity>", True, "The template cannot be read"),
        (CSV, "[]", True, "The template cannot be read"),
        (CSV, '{"id": "other"}', True, "names the column other"),
    ],
)
def test_bad_csv_is_rejected(script, content, template, header, reason):
    """At once, with a reason."""
    response = script.import_(content, "plain/text", template, headerRow=header).json()
    assert (response["status"], reason in response["reason"]) == ("Rejected", True)


def test_other_content_is_rejected(script):
    """By its content type."""
    assert script.import_(CSV, "application/pdf").json()["status"] == "Rejected"
    assert script.export(contentType="application/pdf").json()["status"] == "Rejected"
    assert script.export(itemType="Unicorn").json()["reason"] == "There is no item type Unicorn"


# --- what an import does


def test_override_and_merge(script):
    """Merging keeps fields that the file does not have, overriding does not; arrivals are counted."""
    script.import_(json.dumps([{"id": "1", "a": 1}]))
    script.import_(json.dumps([{"id": "1", "b": 2}]), merge=True)
    assert script.items["1"] == {"id": "1", "a": 1, "b": 2, "__arrivals": 2}
    script.import_(json.dumps([{"id": "1", "c": 3}]))
    assert script.items["1"] == {"id": "1", "c": 3, "__arrivals": 3}


def test_actions(script):
    """An item can have its own action."""
    script.import_(json.dumps(ITEMS))
    merge = {"headers": {"action": "Merge"}, "data": {"id": "1", "age": 7}}
    delete = {"headers": {"action": "Delete"}, "data": {"id": "2"}}
    script.import_(json.dumps([merge, delete]))
    assert {key: item.get("age") for key, item in script.items.items()} == {"1": 7}


def test_progress(script, sluice_sandbox):
    """A job is accepted, processed in slices, and completed; its numbers are strings."""
    sluice_sandbox.settings(job_seconds=100)
    rows = [{"id": str(number)} for number in range(40)]
    job_id = script.import_(json.dumps(rows)).json()["jobId"]
    seen = []
    for _ in range(6):
        response = script.status(job_id)
        seen.append((response["status"], response["recordsProcessed"], len(script.items)))
        sluice_sandbox.advance(20)
    assert seen == [
        ("Accepted", "0", 0),
        ("Processing", "0", 0),
        ("Processing", "10", 10),
        ("Processing", "20", 20),
        ("Processing", "30", 30),
        ("Completed", "40", 40),
    ]
    assert script.status(job_id)["runTime"] == "100000"


@pytest.mark.parametrize(
    ("cancelled_at", "end", "items"), [(5, "Canceled", 0), (45, "Canceled", 20), (90, "Completed", 40)]
)
def test_cancel_at_the_next_slice(script, sluice_sandbox, cancelled_at, end, items):
    """A job is cancelled at its next slice; in its last slice it is too late."""
    sluice_sandbox.settings(job_seconds=100)
    rows = [{"id": str(number)} for number in range(40)]
    job_id = script.import_(json.dumps(rows)).json()["jobId"]
    sluice_sandbox.advance(cancelled_at)
    assert script.post("cancel", {"jobId": job_id}).json()["status"] == "Canceling"
    sluice_sandbox.advance(100)
    assert (script.status(job_id)["status"], len(script.items)) == (end, items)


def test_rejected_and_failed_jobs(script, sluice_sandbox):
    """By settings, the next job is rejected, the next one fails at its end."""
    sluice_sandbox.settings(reject_jobs=1)
    assert script.import_(json.dumps(ITEMS)).json()["status"] == "Rejected"
    sluice_sandbox.settings(fail_jobs=1)
    assert script.status(script.import_(json.dumps(ITEMS)).json()["jobId"])["status"] == "Failed"
    assert script.status(script.import_(json.dumps(ITEMS)).json()["jobId"])["status"] == "Completed"


# --- what an export does


@pytest.fixture
def filled(script):
    """Three attendees."""
    rows = [("1", "Ada", "Editing", 36), ("2", "Ben", "Done", 5), ("3", "Cy", "Editing", 7)]
    items = [{"id": i, "name": name, "processStatus": state, "age": age} for i, name, state, age in rows]
    script.import_(json.dumps(items))
    return script


def names(file):
    """The items in a file."""
    return [item.get("data", item)["name"] for item in file.json()]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ('{"name": "Ben"}', ["Ben"]),
        ("{'name': 'Ben'}", ["Ben"]),
        ('{"processStatus": "/Workflow/processStatus[Editing]"}', ["Ada", "Cy"]),
        ('{"age": 7, "processStatus": "Editing"}', ["Cy"]),
        ("0", ["Ada", "Ben", "Cy"]),
        ("", ["Ada", "Ben", "Cy"]),
    ],
)
def test_filters(filled, filters, found):
    """As JSON or as the `str` of a Python dict, with path expressions."""
    assert names(filled.results(filters=filters)[0]) == found


def test_bad_filters_are_rejected(filled):
    """When the job is created."""
    assert filled.export(filters="name=Ben").json()["reason"] == "The filters cannot be read"


def test_query_takes_precedence_over_filters(filled):
    """As the wiki says."""
    query = "SELECT name, age FROM Attendee WHERE age < 10 ORDER BY age DESC LIMIT 5"
    (file,) = filled.results(sqlQuery=query, filters='{"name": "Ada"}')
    assert file.json() == [{"name": "Cy", "age": 7}, {"name": "Ben", "age": 5}]


@pytest.mark.parametrize(
    "query", ["DELETE FROM Attendee", "SELECT * FROM Account", "nonsense", "SELECT 1; DROP TABLE Attendee", "PRAGMA x"]
)
def test_a_bad_query_is_rejected(filled, query):
    """Everything except a SELECT on the item type."""
    assert filled.export(sqlQuery=query).json()["status"] == "Rejected"
    assert len(filled.items) == 3


@pytest.mark.parametrize(
    ("fields", "lines"),
    [
        ({}, ["1,Ada,Editing,36", "2,Ben,Done,5", "3,Cy,Editing,7"]),
        ({"rowHeader": "true"}, ["id,name,processStatus,age", "1,Ada,Editing,36", "2,Ben,Done,5", "3,Cy,Editing,7"]),
        ({"template": "$item.name;${age}"}, ["Ada;36", "Ben;5", "Cy;7"]),
        (
            {"template": "$!{name}", "headerRow": "True", "sqlQuery": "SELECT name FROM Attendee"},
            ["name", "Ada", "Ben", "Cy"],
        ),
    ],
    ids=str,
)
def test_csv(filled, fields, lines):
    """With and without a header, plain or by a template."""
    (file,) = filled.results(contentType="text/plain", **fields)
    assert (file.text.splitlines(), file.headers["content-type"]) == (lines, "text/csv; charset=utf-8")


def test_several_files(filled, sluice_sandbox):
    """By the number of rows per file."""
    sluice_sandbox.settings(export_rows_per_file=2)
    assert [names(file) for file in filled.results()] == [["Ada", "Ben"], ["Cy"]]


def test_links_expire(filled, sluice_sandbox):
    """After a week."""
    link = filled.status(filled.export().json()["jobId"])["links"][0]
    sluice_sandbox.advance(7 * 86400)
    filled.token = filled.login().json()["access_token"]
    assert filled.get(link, Authorization="Bearer " + filled.token).status_code == 410
    assert filled.get(link).status_code == 401


def test_links_to_another_host(filled, sluice_sandbox):
    """Signed: no token is needed, and a token is rejected."""
    sluice_sandbox.settings(export_links="other_host")
    link = filled.status(filled.export().json()["jobId"])["links"][0]
    assert link.startswith("http://localhost:")
    assert names(filled.get(link)) == ["Ada", "Ben", "Cy"]
    assert filled.get(link, Authorization="Bearer " + filled.token).status_code == 400
    assert filled.get(link.partition("?")[0]).status_code == 403


@pytest.mark.parametrize(("where", "in_status"), [("links", True), ("reason", True), ("email", False)])
def test_notification_email(filled, sluice_sandbox, where, in_status):
    """It is in the state, not sent; it may have the only links."""
    sluice_sandbox.settings(export_links=where)
    response = filled.status(filled.export(notificationEmail="ada@example.com").json()["jobId"])
    (mail,) = sluice_sandbox.state()["liquid_decisions"]["emails"]
    assert (mail["to"], mail["subject"], len(mail["links"])) == ("ada@example.com", "Out: Completed", 1)
    assert (mail["links"][0] in json.dumps(response)) == in_status


def test_the_page_shows_jobs(filled, sluice_sandbox):
    """With kind, name and status, escaped."""
    filled.export(jobName="<b>")
    page = requests.get(sluice_sandbox.url).text
    assert all(
        text in page for text in ("Liquid Decisions", "export &lt;b&gt;", "Completed", "items of type Attendee: 3")
    )


def test_no_secret_is_shown(script, sluice_sandbox):
    """The request log masks secrets."""
    text = json.dumps(sluice_sandbox.requests())
    for name in ("password", "client_secret"):
        assert script.known[name] not in text
    assert script.token not in text
