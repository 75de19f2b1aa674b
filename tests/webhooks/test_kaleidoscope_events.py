"""From the body of a delivery, and what the API lists, to events."""

from __future__ import annotations

import json

import pytest

from sluice_provider.errors import Conflict, InvalidInput, UnexpectedResponse
from sluice_provider.webhooks.kaleidoscope import (
    DRAFTS_SUBMITTED,
    SUBMITTED,
    VALIDATION_REQUESTED,
    Announcement,
    announced,
    confirmed,
    registered_drafts,
    registered_files,
)

FILE = {"event": SUBMITTED, "operation_id": "op-1", "file_id": "f-1", "file_name": "a.csv", "record_ids": ["r1", "r2"]}
DRAFTS = {"event": DRAFTS_SUBMITTED, "operation_id": "op-1", "submission_id": "s-1"}


def read(**fields):
    """What a delivery with these fields announces."""
    return announced(json.dumps(fields).encode())


def listed(registration, file="f-1", status="pending", at="2026-11-20T10:00:00Z"):
    """An entry of `GET /operations/{id}/registrations`."""
    return {"id": registration, "file_id": file, "status": status, "created_at": at, "updated_at": at}


# --- reading


def test_both_flows_are_read():
    """A file, and drafts."""
    assert read(**FILE) == Announcement(SUBMITTED, "op-1", "f-1", None, "a.csv", ("r1", "r2"))
    assert read(**DRAFTS) == Announcement(DRAFTS_SUBMITTED, "op-1", None, "s-1")


def test_both_spellings_are_read():
    """The vendor does not say which it is; nor whether there is an envelope."""
    camel = {"eventType": SUBMITTED, "operationId": "op-1", "fileId": "f-1", "fileName": "a.csv", "recordIds": ["r1"]}
    assert read(**camel) == Announcement(SUBMITTED, "op-1", "f-1", None, "a.csv", ("r1",))
    inside = {name: value for name, value in FILE.items() if name != "event"}
    assert read(event=SUBMITTED, data=inside) == read(**FILE)
    assert read(**FILE, operationId="op-1") == read(**FILE)


def test_what_is_not_needed_is_not_looked_at():
    """Also a file_url, which may let in whoever has it."""
    assert "secret" not in repr(read(**FILE, file_url="https://files/secret", workspace={"id": 1}))


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[]", b'"text"', b"null", b"1", b"[" * 100_000])
def test_what_is_no_json_object_is_not_understood(body):
    """Whatever it is."""
    with pytest.raises(UnexpectedResponse):
        announced(body)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"event": None}, "event is None"),
        ({"event": "record_deleted"}, "none of"),
        ({"event": ["registration_submitted"]}, "event must be text"),
        ({"operation_id": None}, "operation_id is missing"),
        ({"operation_id": "../../admin"}, "operation_id must be an id"),
        ({"operation_id": 7}, "operation_id must be an id"),
        ({"operation_id": ""}, "operation_id must be an id"),
        ({"operation_id": "x" * 101}, "operation_id must be an id"),
        ({"operation_id": "a\nb"}, "operation_id must be an id"),
        ({"operation_id": "é"}, "operation_id must be an id"),
        ({"operationId": "op-2"}, "operation_id is there twice"),
        ({"file_id": None}, "file_id is missing"),
        ({"file_id": "a/b"}, "file_id must be an id"),
        ({"file_name": {"a": 1}}, "file_name must be text"),
        ({"record_ids": "r1"}, "record_ids must be a list"),
        ({"record_ids": [{"id": "r1"}]}, "record_ids must be an id"),
        ({"event": DRAFTS_SUBMITTED}, "submission_id is missing"),
    ],
)
def test_a_wrong_field_is_named(change, words):
    """So that whoever sends it can mend it."""
    with pytest.raises(InvalidInput, match=words):
        read(**{**FILE, **change})


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("plate 7.csv", "plate 7.csv"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\windows\\system.ini", "system.ini"),
        ("..", "f-1"),
        ("", None),
        (None, None),
    ],
)
def test_a_file_name_is_a_name(name, kept):
    """It leads into no other folder, on no system; where nothing is left of it, it is the file's id."""
    assert read(**{**FILE, "file_name": name}).file_name == kept


# --- confirming


def test_the_api_says_what_is_true():
    """Its ids go into the event, the name and the records are taken from the delivery."""
    [found] = confirmed(read(**FILE), registered_files("op-1", [listed("reg-0", "f-0"), listed("reg-1")]))
    said = read(**FILE)
    event = found.to_event("k", "2026-11-20T10:00:01+00:00", file_name=said.file_name, records=said.record_ids)
    assert event == {
        "service": "kaleidoscope",
        "conn_id": "k",
        "event": SUBMITTED,
        "operation_id": "op-1",
        "file_id": "f-1",
        "submission_id": None,
        "registration_id": "reg-1",
        "file_name": "a.csv",
        "record_ids": ["r1", "r2"],
        "id": found.identity("k"),
        "at": "2026-11-20T10:00:01+00:00",
    }


def test_what_the_api_does_not_list_is_denied():
    """Nothing of it, or under another kind of event."""
    with pytest.raises(Conflict, match="does not list"):
        confirmed(read(**FILE), registered_files("op-1", [listed("reg-0", "f-0")]))
    validation = {"id": "s-1", "submission_type": "validation", "status": "pending"}
    with pytest.raises(Conflict):
        confirmed(read(**DRAFTS), registered_drafts("op-1", [validation]))
    requested = read(**{**DRAFTS, "event": VALIDATION_REQUESTED})
    assert [each.id for each in confirmed(requested, registered_drafts("op-1", [validation]))] == ["s-1"]


def test_a_file_that_was_registered_again():
    """A late delivery may mean either registration: all that still wait are meant, or else the last one."""
    both = [listed("reg-1", at="2026-11-20T10:00:00Z"), listed("reg-2", at="2026-11-20T11:00:00Z")]
    assert [each.id for each in confirmed(read(**FILE), registered_files("op-1", both))] == ["reg-1", "reg-2"]
    both[0]["status"] = "failed"
    assert [each.id for each in confirmed(read(**FILE), registered_files("op-1", both))] == ["reg-2"]
    both[1]["status"] = "completed"
    [last] = confirmed(read(**FILE), registered_files("op-1", both))
    assert (last.id, last.over) == ("reg-2", True)


@pytest.mark.parametrize(
    ("kind", "status", "over"),
    [
        ("registration", "submitted", False),
        ("registration", "pending", False),
        ("registration", "validation_failed", False),
        ("registration", "completed", True),
        ("registration", "failed", True),
        ("validation", "pending", False),
        ("validation", "validated", True),
        ("validation", "validation_failed", True),
        ("registration", "a word of the future", False),
    ],
)
def test_when_nobody_waits_for_results_any_more(kind, status, over):
    """A dry run is over with its verdict; a registration only with its end."""
    [found] = registered_drafts("op-1", [{"id": "s-1", "submission_type": kind, "status": status}])
    assert found.over is over


def test_an_identity_tells_registrations_apart():
    """And not their tellings: status and time do not matter."""
    first, again = (registered_files("op-1", [listed("reg-1", status=each)])[0] for each in ("pending", "submitted"))
    assert first.identity("k") == again.identity("k")
    others = [
        registered_files("op-1", [listed("reg-2")])[0].identity("k"),
        registered_files("op-2", [listed("reg-1")])[0].identity("k"),
        first.identity("k2"),
        registered_drafts("op-1", [{"id": "reg-1", "submission_type": "registration"}])[0].identity("k"),
        registered_drafts("op-1", [{"id": "reg-1", "submission_type": "validation"}])[0].identity("k"),
    ]
    assert len({first.identity("k"), *others}) == 6
