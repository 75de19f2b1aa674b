"""Parsing deliveries, and making events of the registrations that the API lists."""

from __future__ import annotations

import json

import pytest

from sluice_provider.errors import Conflict, InvalidInput, UnexpectedResponse
from sluice_provider.webhooks.kaleidoscope import (
    DRAFTS_SUBMITTED,
    SUBMITTED,
    VALIDATION_REQUESTED,
    WebhookPayload,
    matching_registrations,
    parse_draft_submissions,
    parse_file_registrations,
    parse_payload,
)

FILE = {"event": SUBMITTED, "operation_id": "op-1", "file_id": "f-1", "file_name": "a.csv", "record_ids": ["r1", "r2"]}
DRAFTS = {"event": DRAFTS_SUBMITTED, "operation_id": "op-1", "submission_id": "s-1"}


def parse(**fields):
    """The payload of a delivery with these fields."""
    return parse_payload(json.dumps(fields).encode())


def entry(registration, file="f-1", status="pending", at="2026-11-20T10:00:00Z"):
    """An entry of `GET /operations/{id}/registrations`."""
    return {"id": registration, "file_id": file, "status": status, "created_at": at, "updated_at": at}


# --- parsing


def test_both_flows_are_parsed():
    """Registrations by file, and by drafts."""
    assert parse(**FILE) == WebhookPayload(SUBMITTED, "op-1", "f-1", None, "a.csv", ("r1", "r2"))
    assert parse(**DRAFTS) == WebhookPayload(DRAFTS_SUBMITTED, "op-1", None, "s-1")


def test_both_spellings_are_parsed():
    """The vendor documents neither the spelling nor whether there is an envelope."""
    camel = {"eventType": SUBMITTED, "operationId": "op-1", "fileId": "f-1", "fileName": "a.csv", "recordIds": ["r1"]}
    assert parse(**camel) == WebhookPayload(SUBMITTED, "op-1", "f-1", None, "a.csv", ("r1",))
    inside = {name: value for name, value in FILE.items() if name != "event"}
    assert parse(event=SUBMITTED, data=inside) == parse(**FILE)
    assert parse(**FILE, operationId="op-1") == parse(**FILE)


def test_unknown_fields_are_ignored():
    """Also a file_url, which may grant access to whoever has it."""
    assert "secret" not in repr(parse(**FILE, file_url="https://files/secret", workspace={"id": 1}))


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[]", b'"text"', b"null", b"1", b"[" * 100_000])
def test_bodies_that_are_no_json_object_are_rejected(body):
    """Whatever they are."""
    with pytest.raises(UnexpectedResponse):
        parse_payload(body)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"event": None}, "unknown event None"),
        ({"event": "record_deleted"}, "unknown event 'record_deleted'; known events"),
        ({"event": ["registration_submitted"]}, "event must be a string"),
        ({"operation_id": None}, "operation_id is missing"),
        ({"operation_id": "../../admin"}, "operation_id must be an id"),
        ({"operation_id": 7}, "operation_id must be an id"),
        ({"operation_id": ""}, "operation_id must be an id"),
        ({"operation_id": "x" * 101}, "operation_id must be an id"),
        ({"operation_id": "a\nb"}, "operation_id must be an id"),
        ({"operation_id": "é"}, "operation_id must be an id"),
        ({"operationId": "op-2"}, "operation_id and operationId have different values"),
        ({"file_id": None}, "file_id is missing"),
        ({"file_id": "a/b"}, "file_id must be an id"),
        ({"file_name": {"a": 1}}, "file_name must be a string"),
        ({"record_ids": "r1"}, "record_ids must be a list"),
        ({"record_ids": [{"id": "r1"}]}, "record_ids must be an id"),
        ({"event": DRAFTS_SUBMITTED}, "submission_id is missing"),
    ],
)
def test_an_invalid_field_is_named(change, message):
    """So that the sender can be fixed."""
    with pytest.raises(InvalidInput, match=message):
        parse(**{**FILE, **change})


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
def test_a_file_name_has_no_folder(name, kept):
    """On no operating system; if nothing is left, it is the file's id."""
    assert parse(**{**FILE, "file_name": name}).file_name == kept


# --- confirming with the API


def test_an_event_has_the_ids_of_the_api():
    """The file name and the records are taken from the delivery."""
    [found] = matching_registrations(
        parse(**FILE), parse_file_registrations("op-1", [entry("reg-0", "f-0"), entry("reg-1")])
    )
    payload = parse(**FILE)
    event = found.to_event("k", "2026-11-20T10:00:01+00:00", file_name=payload.file_name, record_ids=payload.record_ids)
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
        "id": found.event_id("k"),
        "received_at": "2026-11-20T10:00:01+00:00",
    }


def test_a_delivery_that_the_api_does_not_list_is_rejected():
    """Or that it lists as another type of event."""
    with pytest.raises(Conflict, match="does not list"):
        matching_registrations(parse(**FILE), parse_file_registrations("op-1", [entry("reg-0", "f-0")]))
    validation = {"id": "s-1", "submission_type": "validation", "status": "pending"}
    with pytest.raises(Conflict):
        matching_registrations(parse(**DRAFTS), parse_draft_submissions("op-1", [validation]))
    requested = parse(**{**DRAFTS, "event": VALIDATION_REQUESTED})
    assert [each.id for each in matching_registrations(requested, parse_draft_submissions("op-1", [validation]))] == [
        "s-1"
    ]


def test_a_file_that_was_registered_again():
    """A late delivery may be about either registration: all that wait for results match, or else the latest one."""
    both = [entry("reg-1", at="2026-11-20T10:00:00Z"), entry("reg-2", at="2026-11-20T11:00:00Z")]
    assert [each.id for each in matching_registrations(parse(**FILE), parse_file_registrations("op-1", both))] == [
        "reg-1",
        "reg-2",
    ]
    both[0]["status"] = "failed"
    assert [each.id for each in matching_registrations(parse(**FILE), parse_file_registrations("op-1", both))] == [
        "reg-2"
    ]
    both[1]["status"] = "completed"
    [last] = matching_registrations(parse(**FILE), parse_file_registrations("op-1", both))
    assert (last.id, last.finished) == ("reg-2", True)


@pytest.mark.parametrize(
    ("submission_type", "status", "finished"),
    [
        ("registration", "submitted", False),
        ("registration", "pending", False),
        ("registration", "validation_failed", False),
        ("registration", "completed", True),
        ("registration", "failed", True),
        ("validation", "pending", False),
        ("validation", "validated", True),
        ("validation", "validation_failed", True),
        ("registration", "a_future_status", False),
    ],
)
def test_when_a_submission_is_finished(submission_type, status, finished):
    """A validation is finished when it is validated; a registration only when it is completed or has failed."""
    [found] = parse_draft_submissions("op-1", [{"id": "s-1", "submission_type": submission_type, "status": status}])
    assert found.finished is finished


def test_event_ids_identify_registrations():
    """Status and time do not matter."""
    first, again = (
        parse_file_registrations("op-1", [entry("reg-1", status=each)])[0] for each in ("pending", "submitted")
    )
    assert first.event_id("k") == again.event_id("k")
    others = [
        parse_file_registrations("op-1", [entry("reg-2")])[0].event_id("k"),
        parse_file_registrations("op-2", [entry("reg-1")])[0].event_id("k"),
        first.event_id("k2"),
        parse_draft_submissions("op-1", [{"id": "reg-1", "submission_type": "registration"}])[0].event_id("k"),
        parse_draft_submissions("op-1", [{"id": "reg-1", "submission_type": "validation"}])[0].event_id("k"),
    ]
    assert len({first.event_id("k"), *others}) == 6
