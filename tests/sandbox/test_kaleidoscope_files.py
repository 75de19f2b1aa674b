"""Files of Kaleidoscope: downloads without a charset, and uploads with the header that kalbio sends."""

from __future__ import annotations

import json

import pytest

from tests.sandbox.conftest import status_and_code

CONTENT = bytes(range(256)) * 1000 + b"\r\n--x\r\n"


@pytest.fixture
def ids(sluice_sandbox):
    """The initial ids."""
    return sluice_sandbox.state()["kaleidoscope"]["ids"]


def _multipart(*parts, boundary="x1y"):
    """A multipart body as `requests` builds it: parts of (name, file name, content type, content)."""
    lines = []
    for name, file_name, content_type, content in parts:
        disposition = f'form-data; name="{name}"' + (f'; filename="{file_name}"' if file_name else "")
        kind = f"Content-Type: {content_type}\r\n" if content_type else ""
        lines.append(f"--{boundary}\r\nContent-Disposition: {disposition}\r\n{kind}\r\n".encode() + content + b"\r\n")
    return b"".join(lines) + f"--{boundary}--\r\n".encode()


def _upload(kal, path, *parts, content_type="application/json", body=None):
    headers = {**kal.headers(), "content-type": content_type}
    return kal.http.post(path, content=_multipart(*parts) if body is None else body, headers=headers)


def test_the_sample_file(kal, ids, sluice_sandbox):
    """It can be downloaded by both paths."""
    paths = f"files/{ids['file_id']}", f"activities/{ids['operation_id']}/file/{ids['file_id']}"
    first, second = (kal.get(path) for path in paths)
    assert first.content == second.content
    assert first.text.startswith("name,smiles")
    assert first.headers["content-length"] == str(len(first.content))


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a.csv", "text/csv"),
        ("a.SDF", "chemical/x-mdl-sdfile"),
        ("a.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("a.txt", "text/plain"),
        ("a", "application/octet-stream"),
    ],
)
def test_content_type_has_no_charset(kal, sluice_sandbox, name, content_type):
    """Old clients compare the whole header."""
    file_id = sluice_sandbox.register_file(name, "x")["file_id"]
    assert kal.get(f"files/{file_id}").headers["content-type"] == content_type


def test_content_disposition_has_the_file_name(kal, sluice_sandbox):
    """In ASCII and in UTF-8; no name can break the header or contain a path."""
    file_id = sluice_sandbox.register_file('..\\a/ü"\n.csv', "x")["file_id"]
    header = kal.get(f"files/{file_id}").headers["content-disposition"]
    assert header == "attachment; filename=\"___.csv\"; filename*=UTF-8''%C3%BC%22%0A.csv"


def test_unknown_files(kal, ids):
    """404 for file and activity, 401 without a token."""
    for path in (
        "files/other",
        f"activities/{ids['operation_id']}/file/other",
        f"activities/other/file/{ids['file_id']}",
    ):
        assert status_and_code(kal.get(path)) == (404, "NOT_FOUND")
    assert kal.http.get(f"files/{ids['file_id']}").status_code == 401


def test_download_link_needs_its_signature(kal, ids):
    """No token is needed with it."""
    for query in ("", "?signature=", "?signature=x"):
        assert kal.http.get(f"download/{ids['file_id']}{query}").status_code == 403
    assert kal.http.get("download/other?signature=x").status_code == 403


@pytest.mark.parametrize("content_type", ["application/json", 'multipart/form-data; boundary="x1y"'])
def test_upload_to_the_property(kal, ids, sluice_sandbox, content_type):
    """With kalbio's header and with the correct one; bytes are preserved; nothing is registered."""
    part = ("file", "x.sdf", "chemical/x-mdl-sdfile", CONTENT)
    response = _upload(kal, f"properties/{ids['property_id']}/file", part, content_type=content_type)
    content = response.json()["content"]
    assert content["file_name"] == "x.sdf"
    fetched = kal.get(f"files/{content['file_id']}")
    assert (fetched.content, fetched.headers["content-type"]) == (CONTENT, "chemical/x-mdl-sdfile")
    (shown,) = kal.get("activities").json()[0]["properties"]
    assert shown == response.json()
    assert sluice_sandbox.state()["kaleidoscope"]["registrations"] == []
    assert kal.post(f"operations/{ids['operation_id']}/register/{content['file_id']}", {}).status_code == 200


def test_large_upload(kal, ids):
    """The limit of JSON bodies does not apply."""
    part = ("file", "x.csv", "text/csv", b"x" * 3_000_000)
    assert _upload(kal, f"properties/{ids['property_id']}/file", part).status_code == 200


def test_upload_to_a_record(kal, ids, sluice_sandbox):
    """To the field that the part `body` names."""
    kal.push({"name": "A"}, keys=("name",))
    (record,) = sluice_sandbox.state()["kaleidoscope"]["records"]
    (field,) = (each for each in kal.get("data_fields").json() if each["field_name"] == "attachment")
    path, more = f"records/{record['id']}/values/file", json.dumps({"field_id": field["id"]}).encode()
    parts = ("body", "", "", more), ("file", "x.csv", "", b"a")
    value = _upload(kal, path, *parts).json()
    assert (value["record_id"], value["content"]["file_name"]) == (record["id"], "x.csv")
    assert kal.get(f"records/{record['id']}").json()["record_values"][field["id"]][0]["content"] == value["content"]
    assert kal.get(f"files/{value['content']['file_id']}").headers["content-type"] == "text/csv"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([("other", "x", "", b"")], (400, "FST_ERR_VALIDATION")),
        ([("file", "x", "", b"")], (400, "FST_ERR_VALIDATION")),
        ([("file", "x", "", b""), ("body", "", "", b"[]")], (400, "FST_ERR_VALIDATION")),
        ([("file", "x", "", b""), ("body", "", "", b"{")], (400, "FST_ERR_VALIDATION")),
        ([("file", "x", "", b""), ("body", "", "", b'{"field_id": 1}')], (400, "FST_ERR_VALIDATION")),
        ([("file", "x", "", b""), ("body", "", "", b'{"field_id": "x"}')], (404, "NOT_FOUND")),
    ],
)
def test_invalid_uploads_to_a_record(kal, sluice_sandbox, parts, expected):
    """Without a file, or with an invalid part `body`."""
    kal.push({"name": "A"}, keys=("name",))
    (record,) = sluice_sandbox.state()["kaleidoscope"]["records"]
    assert status_and_code(_upload(kal, f"records/{record['id']}/values/file", *parts)) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (406, "FST_INVALID_MULTIPART_CONTENT_TYPE")),
        (b"{}", (406, "FST_INVALID_MULTIPART_CONTENT_TYPE")),
        (b"--x\r\n", (400, "FST_ERR_VALIDATION")),
        (b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nhalf', (400, "FST_ERR_VALIDATION")),
    ],
)
def test_invalid_upload_bodies(kal, ids, body, expected):
    """No multipart body, or a truncated one."""
    assert status_and_code(_upload(kal, f"properties/{ids['property_id']}/file", body=body)) == expected


def test_uploads_to_unknown_targets(kal):
    """404."""
    for path in ("properties/other/file", "records/other/values/file"):
        assert status_and_code(_upload(kal, path, ("file", "x", "", b""))) == (404, "NOT_FOUND")
