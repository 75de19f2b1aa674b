"""Registering a file: the user's side, the registrar's side, the lifecycle between them, and every refusal."""

from __future__ import annotations

import pytest

RECORD = {"record_id": "r1", "status": "matched"}
FAILED = {"record_id": "r2", "status": "not_found", "error_message": "no such compound"}


@pytest.fixture
def ids(sluice_sandbox):
    """What there is from the start."""
    return sluice_sandbox.state()["kaleidoscope"]["ids"]


@pytest.fixture
def desk(kal, ids):
    """Both sides of the registration of the one file, on the one operation."""
    return Desk(kal, ids["operation_id"], ids["file_id"])


class Desk:
    """What a user and a registrar can do with one file."""

    def __init__(self, kal, operation_id, file_id):
        self.kal = kal
        self.at = f"operations/{operation_id}"
        self.file_id = file_id

    def register(self, content=None):
        """As kalbio does, with an empty object."""
        return self.kal.post(f"{self.at}/register/{self.file_id}", {} if content is None else content)

    def listed(self):
        """All registrations of the operation."""
        return self.kal.get(f"{self.at}/registrations").json()

    def push(self, status, **more):
        """The registrar is on its way."""
        return self.kal.post(f"{self.at}/registration_files/{self.file_id}/status", {"status": status, **more})

    def results(self, status="success", **more):
        """The registrar is done."""
        return self.kal.post(f"{self.at}/register/{self.file_id}/results", {"status": status, **more})


def _told(answer):
    return answer.status_code, answer.json()["code"], answer.json()["message"]


def test_registration(desk, ids):
    """A registration of its own id, pending, by the user; listed with its errors, of which there are none."""
    made = desk.register().json()
    assert (made["operation_id"], made["file_id"]) == (ids["operation_id"], ids["file_id"])
    assert made["id"] not in ids.values()
    assert (made["status"], made["message"], made["error_message"]) == ("pending", None, None)
    assert made["workspace_id"] == ids["workspace_id"]
    assert made["created_by"] == made["last_updated_by"]
    assert made["created_at"] == made["updated_at"]
    assert "record_errors" not in made
    assert desk.listed() == [{**made, "record_errors": []}]


def test_status_updates(desk):
    """The registrar's word and message show under both names of the message, and who said it."""
    made = desk.register().json()
    answer = desk.push("validated", message="looks good")
    assert (answer.status_code, answer.content) == (204, b"")
    (one,) = desk.listed()
    assert (one["status"], one["message"], one["error_message"]) == ("validated", "looks good", "looks good")
    assert one["last_updated_by"] != made["last_updated_by"]
    assert desk.push("pending").status_code == 204
    assert desk.listed()[0]["message"] == "looks good"


@pytest.mark.parametrize("name", ["message", "error_message"])
def test_successful_results(desk, name):
    """Either name of the message, of old and new clients; a record's error is none while the whole succeeded."""
    desk.register()
    assert desk.results("success", **{name: "all there"}, records=[RECORD, FAILED]).status_code == 204
    (one,) = desk.listed()
    assert (one["status"], one["message"], one["error_message"]) == ("completed", "all there", "all there")
    assert one["record_errors"] == []


def test_failed_results(desk):
    """The records that failed are listed then, and `message` wins over its older name."""
    desk.register()
    others = {"record_id": "r3", "status": "error"}, {"record_id": "r4", "status": "not_found"}
    records = [RECORD, FAILED, *others]
    desk.results("error", message="new", error_message="old", key_field_names=["id"], records=records)
    (one,) = desk.listed()
    assert (one["status"], one["message"]) == ("failed", "new")
    assert one["record_errors"] == [
        {"source_record_id": "r2", "status": "not_found", "error_message": "no such compound"},
        {"source_record_id": "r3", "status": "error", "error_message": None},
    ]


def test_results_processing_time(desk, sluice_sandbox):
    """If the setting says so: submitted, which is no end, and then the end at its time."""
    sluice_sandbox.settings(results_processing_seconds=10)
    desk.register()
    desk.results("error", message="no", records=[FAILED])
    assert (desk.listed()[0]["status"], desk.listed()[0]["record_errors"]) == ("submitted", [])
    assert desk.results().status_code == 409
    sluice_sandbox.advance(10)
    (one,) = desk.listed()
    assert (one["status"], one["message"], len(one["record_errors"])) == ("failed", "no", 1)


def test_closed_registration_cannot_change(desk, sluice_sandbox):
    """Neither a status nor a second answer; but the answer is counted, so that a test sees it doubled."""
    desk.register()
    desk.results()
    assert _told(desk.push("pending")) == (
        409,
        "REGISTRATION_CLOSED",
        "Nothing more is taken: the status is completed",
    )
    assert desk.results("error").status_code == 409
    (one,) = sluice_sandbox.state()["kaleidoscope"]["registrations"]
    assert (one["status"], one["results_received"]) == ("completed", 2)
    assert [each["status"] for each in one["history"]] == ["pending", "completed"]


def test_repeated_results_can_be_accepted(desk, sluice_sandbox):
    """By a setting, since nobody says what the real one does."""
    sluice_sandbox.settings(accept_repeated_results=True)
    desk.register()
    desk.results()
    assert desk.results("error", message="after all").status_code == 204
    assert [(one["status"], one["message"]) for one in desk.listed()] == [("failed", "after all")]


def test_final_status_as_status_update(desk):
    """The client's own list of words has them."""
    desk.register()
    desk.push("failed", message="no")
    assert desk.listed()[0]["status"] == "failed"
    assert desk.results().status_code == 409


def test_register_again_after_the_first_registration_closed(desk):
    """Not before; answers are for the latest, the newest is first."""
    first = desk.register().json()
    assert _told(desk.register())[:2] == (409, "REGISTRATION_IN_PROGRESS")
    desk.results("error")
    second = desk.register().json()
    desk.results("success")
    assert [(one["id"], one["status"]) for one in desk.listed()] == [
        (second["id"], "completed"),
        (first["id"], "failed"),
    ]


@pytest.mark.parametrize("call", ["register", "push", "results", "listed"])
def test_unknown_operation(desk, kal, call):
    """404 for everybody."""
    desk.at = "operations/other"
    answer = (
        kal.get(f"{desk.at}/registrations") if call == "listed" else getattr(desk, call)(*["failed"] * (call == "push"))
    )
    assert _told(answer) == (404, "NOT_FOUND", "Operation other not found")


@pytest.mark.parametrize("call", ["register", "push", "results"])
def test_unknown_file(desk, call):
    """It must have been uploaded before."""
    desk.file_id = "other"
    assert _told(getattr(desk, call)(*["failed"] * (call == "push"))) == (404, "NOT_FOUND", "File other not found")


@pytest.mark.parametrize("call", ["push", "results"])
def test_unregistered_file(desk, call):
    """There is nothing to answer."""
    assert _told(getattr(desk, call)(*["failed"] * (call == "push")))[:2] == (404, "NOT_FOUND")


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
def test_invalid_status(desk, content, path):
    """400 with the place, and nothing has changed."""
    desk.register()
    answer = desk.kal.post(f"{desk.at}/registration_files/{desk.file_id}/status", content)
    assert (answer.status_code, answer.json()["message"].startswith(path)) == (400, True), answer.json()
    assert desk.listed()[0]["status"] == "pending"


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
def test_invalid_results(desk, content, path):
    """400 with the place, and nothing has changed."""
    desk.register()
    answer = desk.kal.post(f"{desk.at}/register/{desk.file_id}/results", content)
    assert (answer.status_code, answer.json()["message"].startswith(path)) == (400, True), answer.json()
    assert desk.listed()[0]["status"] == "pending"


def test_register_takes_only_an_empty_object(desk):
    """As the client sends it; Fastify wants a body where the header says JSON."""
    assert desk.register({"a": 1}).status_code == 400
    headers = {**desk.kal.headers(), "content-type": "application/json"}
    answer = desk.kal.http.post(f"{desk.at}/register/{desk.file_id}", headers=headers)
    assert _told(answer)[:2] == (400, "FST_ERR_CTP_EMPTY_JSON_BODY")


@pytest.mark.parametrize("path", ["register/{}", "register/{}/results", "registration_files/{}/status"])
def test_token_is_required(desk, path):
    """Everywhere."""
    assert desk.kal.http.post(f"{desk.at}/{path.format(desk.file_id)}", json={}).status_code == 401
    assert desk.kal.http.get(f"{desk.at}/registrations").status_code == 401


@pytest.mark.parametrize(("registrar", "end", "errors"), [("completes", "completed", 0), ("fails", "failed", 2)])
def test_automatic_registrar(desk, sluice_sandbox, registrar, end, errors):
    """When a job's time is over, on the sandbox's clock."""
    sluice_sandbox.settings(job_seconds=10, registrar=registrar)
    sluice_sandbox.register_file("x.csv", "name\n", record_ids=["r1", "r2"])
    assert desk.listed()[0]["status"] == "pending"
    sluice_sandbox.advance(10)
    (one,) = desk.listed()
    assert (one["status"], len(one["record_errors"]), bool(one["message"])) == (end, errors, registrar == "fails")


def test_polling_advances_the_clock(desk, sluice_sandbox):
    """As looking at an import does."""
    sluice_sandbox.settings(job_seconds=3, registrar="completes", advance_per_poll=1)
    desk.register()
    assert [desk.listed()[0]["status"] for _ in range(3)] == ["pending", "pending", "completed"]


def test_manual_results_before_the_automatic_registrar(desk, sluice_sandbox):
    """Then the automatic one has nothing left to say."""
    sluice_sandbox.settings(job_seconds=10, registrar="fails")
    desk.register()
    desk.results("success")
    sluice_sandbox.advance(20)
    assert [each["status"] for each in sluice_sandbox.state()["kaleidoscope"]["registrations"][0]["history"]] == [
        "pending",
        "completed",
    ]
