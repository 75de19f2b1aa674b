"""Pushes to the mock Kaleidoscope: what is accepted, what is rejected, and how."""

from __future__ import annotations

import json

import httpx
import pytest

HYDROGEN = {"symbol": "H", "name": "Hydrogen", "atomic_number": 1}


def _push(**changes):
    body = {"key_field_names": ["symbol"], "data": [HYDROGEN], **changes}
    return {name: value for name, value in body.items() if value is not ...}


def test_push_by_field_name(kal, sluice_sandbox):
    """The response has an import id, and the row is written when the import completes."""
    answer = kal.push(HYDROGEN)
    assert answer.status_code == 200
    assert list(answer.json()) == ["import_id"]
    (record,) = sluice_sandbox.state()["kaleidoscope"]["records"]
    assert (record["key"], record["values"]) == ({"symbol": "H"}, {"name": "Hydrogen", "atomic_number": 1})
    assert (record["entity"], record["pushes"]) == ("Element", 1)


def test_push_by_source(kal, sluice_sandbox):
    """The source in the path must exist."""
    source_id = sluice_sandbox.state()["kaleidoscope"]["ids"]["source_id"]
    import_id = kal.post(f"push/imports/{source_id}", _push()).json()["import_id"]
    assert kal.get(f"imports/{import_id}").json()["source_id"] == source_id
    assert kal.post("push/imports/other", _push()).status_code == 404
    sluice_sandbox.settings(accept_any_source=True)
    assert kal.post("push/imports/other", _push()).status_code == 200


def test_push_by_field_id(kal, sluice_sandbox):
    """Keys and columns are field ids; record views are checked."""
    state = sluice_sandbox.state()["kaleidoscope"]
    keys = {field["field_name"]: field["id"] for field in kal.get("key_fields").json()}
    data = {field["field_name"]: field["id"] for field in kal.get("data_fields").json()}
    view = state["ids"]["record_view_id"]
    row = {keys["symbol"]: "He", data["atomic_number"]: "2"}
    body = {"key_field_ids": [keys["symbol"]], "data": [row], "record_view_ids": [view]}
    assert kal.post("push/imports/by-field-id", body).status_code == 200
    state = sluice_sandbox.state()["kaleidoscope"]
    assert (state["records"][0]["key"], state["records"][0]["values"]) == ({"symbol": "He"}, {"atomic_number": 2})
    assert (state["imports"][0]["record_view_ids"], state["imports"][0]["by_field_id"]) == ([view], True)
    for wrong, status in (
        ({"record_view_ids": ["other"]}, 404),
        ({"record_view_ids": None}, 400),
        ({"key_field_ids": [data["name"]], "data": [{data["name"]: 1}]}, 422),
        ({"data": [{**row, "other": 1}]}, 422),
        ({"record_view_id": view}, 400),
    ):
        assert kal.post("push/imports/by-field-id", {**body, **wrong}).status_code == status


@pytest.mark.parametrize("views", [[], None, ["anything"]])
def test_record_view_ids_by_name_are_ignored(kal, sluice_sandbox, views):
    """kalbio up to 0.2.4 always sends them; the server ignores them."""
    assert kal.push(HYDROGEN, record_view_ids=views).status_code == 200
    assert sluice_sandbox.state()["kaleidoscope"]["imports"][0]["record_view_ids"] == []


def test_push_with_all_optional_members(kal, sluice_sandbox):
    """The members that newer clients may send."""
    ids = sluice_sandbox.state()["kaleidoscope"]["ids"]
    view = ids["record_view_id"]
    more = {"program_id": ids["program_id"], "operation_id": ids["operation_id"], "set_name": "monday"}
    found = kal.result(HYDROGEN, record_view_id=view, add_fields_to_record_view_ids=[view], **more)
    assert found["operation_id"] == ids["operation_id"]
    state = sluice_sandbox.state()["kaleidoscope"]
    assert state["records"][0]["operation_ids"] == [ids["operation_id"]]
    assert all(state["imports"][0][name] == value for name, value in {"record_view_ids": [view], **more}.items())


@pytest.mark.parametrize("member", ["program_id", "operation_id", "record_view_id"])
def test_unknown_ids(kal, member):
    """404 or 422."""
    answer = kal.push(HYDROGEN, **{member: "00000000-0000-0000-0000-000000000000"})
    assert answer.status_code == 404
    assert "00000000" in answer.json()["message"]


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"surprise": 1}, "body/surprise"),
        ({"data": ...}, "body/data"),
        ({"data": []}, "body/data"),
        ({"data": {}}, "body/data"),
        ({"data": [[]]}, "body/data/0"),
        ({"data": [HYDROGEN, {"name": "no key"}]}, "body/data/1/symbol"),
        ({"data": [{"symbol": None}]}, "body/data/0/symbol"),
        ({"data": [{"symbol": ""}]}, "body/data/0/symbol"),
        ({"data": [{"symbol": {}}]}, "body/data/0/symbol"),
        ({"data": [{"symbol": "H", "": 1}]}, "body/data/0/"),
        ({"key_field_names": ...}, "body/key_field_names"),
        ({"key_field_names": []}, "body/key_field_names"),
        ({"key_field_names": "symbol"}, "body/key_field_names"),
        ({"key_field_names": ["symbol", "symbol"]}, "body/key_field_names"),
        ({"set_name": 7}, "body/set_name"),
        ({"operation_id": None}, "body/operation_id"),
        ({"add_fields_to_record_view_ids": None}, "body/add_fields_to_record_view_ids"),
    ],
)
def test_invalid_bodies(kal, sluice_sandbox, changes, where):
    """400 with the location of the error, and no import is created."""
    answer = kal.post("push/imports", _push(**changes))
    assert (answer.status_code, answer.json()["code"]) == (400, "FST_ERR_VALIDATION")
    assert answer.json()["message"].startswith(where)
    assert sluice_sandbox.state()["kaleidoscope"]["imports"] == []


def test_body_must_be_an_object(kal):
    """A list is rejected."""
    assert kal.post("push/imports", [1]).status_code == 400


def test_unknown_key_fields(kal, sluice_sandbox):
    """Named in the error, or created if the setting allows it."""
    answer = kal.push({"batch": 1}, keys=("batch",))
    assert answer.status_code == 422
    assert "batch" in answer.json()["message"]
    sluice_sandbox.settings(create_unknown_key_fields=True)
    assert kal.result({"batch": 1}, keys=("batch",))["import_result"]["records_created"] == 1


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"{}", "text/plain", 415, "FST_ERR_CTP_INVALID_MEDIA_TYPE"),
        (b"", "application/json", 400, "FST_ERR_CTP_EMPTY_JSON_BODY"),
        (b"{", "application/json", 400, "FST_ERR_CTP_INVALID_JSON_BODY"),
        (b'{"data": 1e999}', "application/json", 400, "FST_ERR_CTP_INVALID_JSON_BODY"),
        (b'{"data": NaN}', "application/json; charset=utf-8", 400, "FST_ERR_CTP_INVALID_JSON_BODY"),
    ],
)
def test_body_must_be_json(kal, content, kind, status, code):
    """Fastify's errors."""
    answer = kal.http.post("push/imports", content=content, headers={**kal.headers(), "Content-Type": kind})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_the_size_limit(kal, sluice_sandbox):
    """A body of exactly the limit is accepted, one byte more is not; the default is 1 MiB."""
    body = json.dumps(_push()).encode()
    headers = {**kal.headers(), "Content-Type": "application/json"}
    sluice_sandbox.settings(max_body_bytes=len(body))
    assert kal.http.post("push/imports", content=body, headers=headers).status_code == 200
    answer = kal.http.post("push/imports", content=body + b" ", headers=headers)
    assert answer.status_code == 413
    assert answer.json() == {
        "statusCode": 413,
        "code": "FST_ERR_CTP_BODY_TOO_LARGE",
        "error": "Payload Too Large",
        "message": "Request body is too large",
    }
    sluice_sandbox.settings(max_body_bytes=1_048_576)
    assert kal.http.post("push/imports", content=b" " * 1_048_577, headers=headers).status_code == 413


def test_a_body_sent_in_chunks(kal):
    """A body without Content-Length is accepted."""
    body = json.dumps(_push()).encode()
    headers = {**kal.headers(), "Content-Type": "application/json"}
    assert kal.http.post("push/imports", content=iter([body[:9], body[9:]]), headers=headers).status_code == 200


@pytest.mark.parametrize(("method", "path"), [("GET", "nowhere"), ("PUT", "push/imports"), ("GET", "")])
def test_unknown_paths_answer_fastifys_404(kal, method, path):
    """Also for a wrong method."""
    answer = kal.http.request(method, path)
    assert (answer.status_code, answer.json()["statusCode"]) == (404, 404)


def test_push_needs_a_token(kal, sluice_sandbox):
    """401 is answered before the body is validated."""
    assert httpx.post(f"{sluice_sandbox.url}/kaleidoscope/push/imports", json={}).status_code == 401
