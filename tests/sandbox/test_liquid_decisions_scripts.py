"""The pretended Liquid Decisions: the requests of the vendor's published scripts, and all that it takes and refuses."""

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
    """Asks as the published scripts do: with `requests`, its form fields, parts and header casing."""

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
        """`batchImport.py`; what is None is not sent by `requests`."""
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
        """`batchExport.py`, its default filters and empty template included."""
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
        """What an export brings, file by file."""
        told = self.status(self.export(**fields).json()["jobId"])
        return [self.get(link, Authorization="Bearer " + self.token) for link in told["links"]]

    @property
    def items(self):
        return {item["id"]: item for item in self.sandbox.state()["liquid_decisions"]["items"].get("Attendee", [])}


@pytest.fixture
def script(sluice_sandbox):
    """Logged in; jobs are over at the first look."""
    sluice_sandbox.settings(job_seconds=0)
    return Script(sluice_sandbox)


# --- the published scripts


def test_batch_import(script, sluice_sandbox):
    """The wiki's example: a multipart form, and a status in return."""
    sluice_sandbox.settings(job_seconds=10)
    answer = script.import_(json.dumps(ITEMS), notificationEmail="ada@example.com")
    told = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert told.pop("jobId")
    assert told.pop("submitTime").endswith("+0000")
    assert told == {
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
    """With a template as a second file, and the header row that only the script knows of."""
    answer = script.import_(CSV, "plain/text", '{"id": "id", "name": "name"}', headerRow=True, merge=True)
    assert script.status(answer.json()["jobId"])["recordsProcessed"] == "2"
    assert script.items["1"] == {"id": "1", "name": "Ada", "__arrivals": 1}


def test_batch_export_and_status(script):
    """All items, as JSON, behind links that need the token."""
    script.import_(json.dumps(ITEMS))
    (file,) = script.results()
    assert file.json() == ITEMS
    assert file.headers["content-type"] == "application/json"


def test_batch_cancel(script, sluice_sandbox):
    """The script prints what comes back."""
    sluice_sandbox.settings(job_seconds=100)
    job_id = script.import_(json.dumps(ITEMS)).json()["jobId"]
    assert script.post("cancel", {"jobId": job_id}).json()["status"] == "Canceling"


def test_obtaining_a_token(script):
    """The Java example leaves client id and secret out; validate and tokenInfo tell that it is good."""
    for gone in ({}, {"client_id": None, "client_secret": None}):
        assert script.login(**gone).json()["access_token"]
    authorised = {"Authorization": "Bearer " + script.token}
    assert script.get(f"{script.server}/ls/api/oauth2/validate", **authorised).status_code == 200
    told = script.web.post(f"{script.server}/ls/api/oauth2/tokenInfo", headers=authorised).json()
    assert (told["userId"], told["community"]) == (script.known["username"], "Sluice")


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


def test_no_entry(script, sluice_sandbox):
    """Without a token, with a wrong one, with one that ran out."""
    for path in ("batch/status", "batch/import", "oauth2/tokenInfo"):
        assert requests.post(f"{script.server}/ls/api/{path}").status_code == 401
    sluice_sandbox.advance(4000)
    assert script.post("status", {"jobId": "x"}).status_code == 401


@pytest.mark.parametrize("name", ["jobName", "itemType", "contentType"])
def test_a_missing_field(script, name):
    """Is a malformed request, which the Upsert page answers with 400."""
    for answer in (script.import_("[]", **{name: None}), script.export(**{name: None})):
        assert (answer.status_code, answer.json()["error_description"]) == (400, f"{name} is missing")


def test_a_missing_file(script):
    """Likewise."""
    form = {"jobName": "n", "itemType": "Attendee", "contentType": "application/json"}
    assert script.post("import", form).status_code == 400


def test_unknown_things(script):
    """A path, a job."""
    assert script.post("other", {}).status_code == 404
    assert script.post("status", {"jobId": "other"}).status_code == 404
    assert script.post("cancel", {}).status_code == 404


def test_too_large(script, sluice_sandbox):
    """413, and no job."""
    sluice_sandbox.settings(max_upload_bytes=200)
    assert script.import_("x" * 300).status_code == 413
    assert sluice_sandbox.state()["liquid_decisions"]["jobs"] == []


def test_too_many(script, sluice_sandbox):
    """In its own words."""
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
    """At once, with a reason, and with a job to ask for."""
    told = script.import_(content).json()
    assert (told["status"], reason in told["reason"]) == ("Rejected", True)
    assert script.status(told["jobId"])["status"] == "Rejected"
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
    """Likewise."""
    told = script.import_(content, "plain/text", template, headerRow=header).json()
    assert (told["status"], reason in told["reason"]) == ("Rejected", True)


def test_other_content_is_rejected(script):
    """By the content type it says it has."""
    assert script.import_(CSV, "application/pdf").json()["status"] == "Rejected"
    assert script.export(contentType="application/pdf").json()["status"] == "Rejected"
    assert script.export(itemType="Unicorn").json()["reason"] == "There is no item type Unicorn"


# --- what an import does


def test_override_and_merge(script):
    """Merging keeps what the file does not tell, overriding does not; arrivals are counted."""
    script.import_(json.dumps([{"id": "1", "a": 1}]))
    script.import_(json.dumps([{"id": "1", "b": 2}]), merge=True)
    assert script.items["1"] == {"id": "1", "a": 1, "b": 2, "__arrivals": 2}
    script.import_(json.dumps([{"id": "1", "c": 3}]))
    assert script.items["1"] == {"id": "1", "c": 3, "__arrivals": 3}


def test_actions(script):
    """An item may say itself what is to be done with it."""
    script.import_(json.dumps(ITEMS))
    merge = {"headers": {"action": "Merge"}, "data": {"id": "1", "age": 7}}
    delete = {"headers": {"action": "Delete"}, "data": {"id": "2"}}
    script.import_(json.dumps([merge, delete]))
    assert {key: item.get("age") for key, item in script.items.items()} == {"1": 7}


def test_progress(script, sluice_sandbox):
    """A job waits, works in slices, and is over; its numbers are texts."""
    sluice_sandbox.settings(job_seconds=100)
    rows = [{"id": str(number)} for number in range(40)]
    job_id = script.import_(json.dumps(rows)).json()["jobId"]
    seen = []
    for _ in range(6):
        told = script.status(job_id)
        seen.append((told["status"], told["recordsProcessed"], len(script.items)))
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
    ("asked_at", "end", "items"), [(5, "Canceled", 0), (45, "Canceled", 20), (90, "Completed", 40)]
)
def test_cancelling_is_lazy(script, sluice_sandbox, asked_at, end, items):
    """It happens when the job is up for processing next; in its last slice it is too late."""
    sluice_sandbox.settings(job_seconds=100)
    rows = [{"id": str(number)} for number in range(40)]
    job_id = script.import_(json.dumps(rows)).json()["jobId"]
    sluice_sandbox.advance(asked_at)
    assert script.post("cancel", {"jobId": job_id}).json()["status"] == "Canceling"
    sluice_sandbox.advance(100)
    assert (script.status(job_id)["status"], len(script.items)) == (end, items)


def test_trouble_to_order(script, sluice_sandbox):
    """The next job is rejected, the next one fails in the end."""
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
    """Of the items in a file."""
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
    """As JSON or as Python writes a dict, path expressions included."""
    assert names(filled.results(filters=filters)[0]) == found


def test_bad_filters_are_rejected(filled):
    """At once."""
    assert filled.export(filters="name=Ben").json()["reason"] == "The filters cannot be read"


def test_a_query_wins_over_filters(filled):
    """As the wiki's note says."""
    query = "SELECT name, age FROM Attendee WHERE age < 10 ORDER BY age DESC LIMIT 5"
    (file,) = filled.results(sqlQuery=query, filters='{"name": "Ada"}')
    assert file.json() == [{"name": "Cy", "age": 7}, {"name": "Ben", "age": 5}]


@pytest.mark.parametrize(
    "query", ["DELETE FROM Attendee", "SELECT * FROM Account", "nonsense", "SELECT 1; DROP TABLE Attendee", "PRAGMA x"]
)
def test_a_bad_query_is_rejected(filled, query):
    """Anything but a SELECT on the one item type."""
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
    """With and without a header, plain or through a template."""
    (file,) = filled.results(contentType="text/plain", **fields)
    assert (file.text.splitlines(), file.headers["content-type"]) == (lines, "text/csv; charset=utf-8")


def test_several_files(filled, sluice_sandbox):
    """One or more links."""
    sluice_sandbox.settings(export_rows_per_file=2)
    assert [names(file) for file in filled.results()] == [["Ada", "Ben"], ["Cy"]]


def test_links_expire(filled, sluice_sandbox):
    """A week after the job."""
    link = filled.status(filled.export().json()["jobId"])["links"][0]
    sluice_sandbox.advance(7 * 86400)
    filled.token = filled.login().json()["access_token"]
    assert filled.get(link, Authorization="Bearer " + filled.token).status_code == 410
    assert filled.get(link).status_code == 401


def test_links_to_elsewhere(filled, sluice_sandbox):
    """Signed, good for anybody, and for nobody who shows a token as well."""
    sluice_sandbox.settings(export_links="other_host")
    link = filled.status(filled.export().json()["jobId"])["links"][0]
    assert link.startswith("http://localhost:")
    assert names(filled.get(link)) == ["Ada", "Ben", "Cy"]
    assert filled.get(link, Authorization="Bearer " + filled.token).status_code == 400
    assert filled.get(link.partition("?")[0]).status_code == 403


@pytest.mark.parametrize(("where", "in_status"), [("links", True), ("reason", True), ("email", False)])
def test_the_mail_is_written_down(filled, sluice_sandbox, where, in_status):
    """Instead of sent; its links may be the only ones."""
    sluice_sandbox.settings(export_links=where)
    told = filled.status(filled.export(notificationEmail="ada@example.com").json()["jobId"])
    (mail,) = sluice_sandbox.state()["liquid_decisions"]["emails"]
    assert (mail["to"], mail["subject"], len(mail["links"])) == ("ada@example.com", "Out: Completed", 1)
    assert (mail["links"][0] in json.dumps(told)) == in_status


def test_the_page_shows_jobs(filled, sluice_sandbox):
    """With kind, name and state, escaped."""
    filled.export(jobName="<b>")
    page = requests.get(sluice_sandbox.url).text
    assert all(
        text in page for text in ("Liquid Decisions", "export &lt;b&gt;", "Completed", "items of type Attendee: 3")
    )


def test_no_secret_is_shown(script, sluice_sandbox):
    """In the requests that were seen."""
    text = json.dumps(sluice_sandbox.requests())
    for name in ("password", "client_secret"):
        assert script.known[name] not in text
    assert script.token not in text
