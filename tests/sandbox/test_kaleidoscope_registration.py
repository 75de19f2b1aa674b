"""Registration of a file: requests of user and registrar, the lifecycle, and all errors."""

from __future__ import annotations

import pytest

RECORD = {"record_id": "r1", "status": "matched"}
FAILED = {"record_id": "r2", "status": "not_found", "error_message": "no such compound"}


@pytest.fixture
def ids(sluice_sandbox):
    """The initial ids."""
    return sluice_sandbox.state()["kaleidoscope"]["ids"]


@pytest.fixture
def requests(kal, ids):
    """The requests of user and registrar for the sample file and the operation."""
    return FileRegistration(kal, ids["operation_id"], ids["file_id"])


class FileRegistration:
    """Requests of user and registrar for one file."""

    def __init__(self, kal, operation_id, file_id):
        self.kal = kal
        self.at = f"operations/{operation_id}"
        self.file_id = file_id

    def register(self, content=None):
        """An empty object, as kalbio sends it."""
        return self.kal.post(f"{self.at}/register/{self.file_id}", {} if content is None else content)

    def listed(self):
        """All registrations of the operation."""
        return self.kal.get(f"{self.at}/registrations").json()

    def push(self, status, **more):
        """A status update of the registrar."""
        return self.kal.post(f"{self.at}/registration_files/{self.file_id}/status", {"status": status, **more})

    def results(self, status="success", **more):
        """The registrar's results."""
        return self.kal.post(f"{self.at}/register/{self.file_id}/results", {"status": status, **more})


def _status_and_code(response):
    return response.status_code, response.json()["code"], response.json()["message"]


def test_registration(requests, ids):
    """Pending, with an id of its own, by the user; listed without errors."""
    made = requests.register().json()
    assert (made["operation_id"], made["file_id"]) == (ids["operation_id"], ids["file_id"])
    assert made["id"] not in ids.values()
    assert (made["status"], made["message"], made["error_message"]) == ("pending", None, None)
    assert made["workspace_id"] == ids["workspace_id"]
    assert made["created_by"] == made["last_updated_by"]
    assert made["created_at"] == made["updated_at"]
    assert "record_errors" not in made
    assert requests.listed() == [{**made, "record_errors": []}]


def test_status_updates(requests):
    """The registrar's status and message are returned under both names of the message, with its user."""
    made = requests.register().json()
    response = requests.push("validated", message="looks good")
    assert (response.status_code, response.content) == (204, b"")
    (one,) = requests.listed()
    assert (one["status"], one["message"], one["error_message"]) == ("validated", "looks good", "looks good")
    assert one["last_updated_by"] != made["last_updated_by"]
    assert requests.push("pending").status_code == 204
    assert requests.listed()[0]["message"] == "looks good"


@pytest.mark.parametrize("name", ["message", "error_message"])
def test_successful_results(requests, name):
    """Either name of the message is accepted; errors of records are not listed if the whole succeeded."""
    requests.register()
    assert requests.results("success", **{name: "all there"}, records=[RECORD, FAILED]).status_code == 204
    (one,) = requests.listed()
    assert (one["status"], one["message"], one["error_message"]) == ("completed", "all there", "all there")
    assert one["record_errors"] == []


def test_failed_results(requests):
    """The failed records are listed, and `message` takes precedence over its older name."""
    requests.register()
    others = {"record_id": "r3", "status": "error"}, {"record_id": "r4", "status": "not_found"}
    records = [RECORD, FAILED, *others]
    requests.results("error", message="new", error_message="old", key_field_names=["id"], records=records)
    (one,) = requests.listed()
    assert (one["status"], one["message"]) == ("failed", "new")
    assert one["record_errors"] == [
        {"source_record_id": "r2", "status": "not_found", "error_message": "no such compound"},
        {"source_record_id": "r3", "status": "error", "error_message": None},
    ]


def test_results_processing_time(requests, sluice_sandbox):
    """Submitted, which is not final, and after the set time completed."""
    sluice_sandbox.settings(results_processing_seconds=10)
    requests.register()
    requests.results("error", message="no", records=[FAILED])
    assert (requests.listed()[0]["status"], requests.listed()[0]["record_errors"]) == (
        "submitted",
        [],
    )
    assert requests.results().status_code == 409
    sluice_sandbox.advance(10)
    (one,) = requests.listed()
    assert (one["status"], one["message"], len(one["record_errors"])) == ("failed", "no", 1)


def test_closed_registration_cannot_change(requests, sluice_sandbox):
    """Neither by a status nor by results, but repeated results are counted."""
    requests.register()
    requests.results()
    assert _status_and_code(requests.push("pending")) == (
        409,
        "REGISTRATION_CLOSED",
        "Nothing more is taken: the status is completed",
    )
    assert requests.results("error").status_code == 409
    (one,) = sluice_sandbox.state()["kaleidoscope"]["registrations"]
    assert (one["status"], one["results_received"]) == ("completed", 2)
    assert [each["status"] for each in one["history"]] == ["pending", "completed"]


def test_repeated_results_can_be_accepted(requests, sluice_sandbox):
    """By a setting, as the real behaviour is not documented."""
    sluice_sandbox.settings(accept_repeated_results=True)
    requests.register()
    requests.results()
    assert requests.results("error", message="after all").status_code == 204
    assert [(one["status"], one["message"]) for one in requests.listed()] == [("failed", "after all")]


def test_final_status_as_status_update(requests):
    """The client's list of statuses contains the final ones."""
    requests.register()
    requests.push("failed", message="no")
    assert requests.listed()[0]["status"] == "failed"
    assert requests.results().status_code == 409


def test_register_again_after_the_first_registration_closed(requests):
    """Not before; results are for the latest, and the newest is listed first."""
    first = requests.register().json()
    assert _status_and_code(requests.register())[:2] == (409, "REGISTRATION_IN_PROGRESS")
    requests.results("error")
    second = requests.register().json()
    requests.results("success")
    assert [(one["id"], one["status"]) for one in requests.listed()] == [
        (second["id"], "completed"),
        (first["id"], "failed"),
    ]


@pytest.mark.parametrize("call", ["register", "push", "results", "listed"])
def test_unknown_operation(requests, kal, call):
    """404 for user and registrar."""
    requests.at = "operations/other"
    response = (
        kal.get(f"{requests.at}/registrations")
        if call == "listed"
        else getattr(requests, call)(*["failed"] * (call == "push"))
    )
    assert _status_and_code(response) == (404, "NOT_FOUND", "Operation other not found")


@pytest.mark.parametrize("call", ["register", "push", "results"])
def test_unknown_file(requests, call):
    """404: the file must have been uploaded."""
    requests.file_id = "other"
    assert _status_and_code(getattr(requests, call)(*["failed"] * (call == "push"))) == (
        404,
        "NOT_FOUND",
        "File other not found",
    )


@pytest.mark.parametrize("call", ["push", "results"])
def test_unregistered_file(requests, call):
    """404 for the registrar."""
    assert _status_and_code(getattr(requests, call)(*["failed"] * (call == "push")))[:2] == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("content", "path"),
    [
        ([], "body Invalid"),
        ({}, "body/status Required"),
        ({"status": "done"}, 'body/status Invalid option: expected one of "pending"|"validated"'),
        ({"status": None}, "body/status Invalid"),
        ({"status": "failed", "message": None}, "body/message Invalid"),
        ({"status": "failed", "error_message": "x"}, "body/error_message Unrecognized key"),
    ],
)
def test_invalid_status(requests, content, path):
    """400 with the location, and nothing changes."""
    requests.register()
    response = requests.kal.post(f"{requests.at}/registration_files/{requests.file_id}/status", content)
    assert (response.status_code, response.json()["message"].startswith(path)) == (400, True), response.json()
    assert requests.listed()[0]["status"] == "pending"


@pytest.mark.parametrize(
    ("content", "path"),
    [
        ([], "body Invalid"),
        ({}, "body/status Required"),
        ({"status": "completed"}, 'body/status Invalid option: expected one of "success"|"error"'),
        ({"status": "success", "message": None}, "body/message Invalid"),
        ({"status": "success", "error_message": 1}, "body/error_message Invalid"),
        ({"status": "success", "key_field_names": "id"}, "body/key_field_names Invalid"),
        ({"status": "success", "records": {}}, "body/records Invalid"),
        ({"status": "success", "records": [1]}, "body/records/0 Invalid"),
        ({"status": "success", "records": [RECORD, {"status": "x"}]}, "body/records/1/record_id Required"),
        ({"status": "success", "records": [{"record_id": "x"}]}, "body/records/0/status Required"),
        ({"status": "success", "records": [{**RECORD, "record_id": ""}]}, "body/records/0/record_id Too small"),
        ({"status": "success", "records": [{**RECORD, "data": None}]}, "body/records/0/data Invalid"),
        ({"status": "success", "records": [{**RECORD, "error_message": None}]}, "body/records/0/error_message Invalid"),
        ({"status": "success", "records": [{**RECORD, "message": "x"}]}, "body/records/0/message Unrecognized"),
        ({"status": "success", "surprise": 1}, "body/surprise Unrecognized key"),
    ],
)
def test_invalid_results(requests, content, path):
    """400 with the location, and nothing changes."""
    requests.register()
    response = requests.kal.post(f"{requests.at}/register/{requests.file_id}/results", content)
    assert (response.status_code, response.json()["message"].startswith(path)) == (400, True), response.json()
    assert requests.listed()[0]["status"] == "pending"


def test_register_takes_only_an_empty_object(requests):
    """As the client sends it; Fastify requires a body with the JSON content type."""
    assert requests.register({"a": 1}).status_code == 400
    headers = {**requests.kal.headers(), "content-type": "application/json"}
    response = requests.kal.http.post(f"{requests.at}/register/{requests.file_id}", headers=headers)
    assert _status_and_code(response)[:2] == (400, "FST_ERR_CTP_EMPTY_JSON_BODY")


@pytest.mark.parametrize("path", ["register/{}", "register/{}/results", "registration_files/{}/status"])
def test_token_is_required(requests, path):
    """For all paths."""
    assert requests.kal.http.post(f"{requests.at}/{path.format(requests.file_id)}", json={}).status_code == 401
    assert requests.kal.http.get(f"{requests.at}/registrations").status_code == 401


@pytest.mark.parametrize(("registrar", "end", "errors"), [("completes", "completed", 0), ("fails", "failed", 2)])
def test_automatic_registrar(requests, sluice_sandbox, registrar, end, errors):
    """Returns its results after `job_seconds` on the sandbox's clock."""
    sluice_sandbox.settings(job_seconds=10, registrar=registrar)
    sluice_sandbox.register_file("x.csv", "name\n", record_ids=["r1", "r2"])
    assert requests.listed()[0]["status"] == "pending"
    sluice_sandbox.advance(10)
    (one,) = requests.listed()
    assert (one["status"], len(one["record_errors"]), bool(one["message"])) == (end, errors, registrar == "fails")


def test_polling_advances_the_clock(requests, sluice_sandbox):
    """Listing registrations counts as a poll."""
    sluice_sandbox.settings(job_seconds=3, registrar="completes", advance_per_poll=1)
    requests.register()
    assert [requests.listed()[0]["status"] for _ in range(3)] == ["pending", "pending", "completed"]


def test_manual_results_before_the_automatic_registrar(requests, sluice_sandbox):
    """The automatic registrar then returns nothing."""
    sluice_sandbox.settings(job_seconds=10, registrar="fails")
    requests.register()
    requests.results("success")
    sluice_sandbox.advance(20)
    assert [each["status"] for each in sluice_sandbox.state()["kaleidoscope"]["registrations"][0]["history"]] == [
        "pending",
        "completed",
    ]
