"""Runs in a separate process with one version of kalbio: registers files and drafts, as user and as registrar.

Not a test: `test_kaleidoscope_vendor.py` starts it and checks its output. It imports nothing of the provider.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import typing
from pathlib import Path

import requests
import typing_extensions

if sys.version_info < (3, 12):
    # As in kalbio_session.py.
    typing.TypedDict = typing_extensions.TypedDict

from kalbio.client import KaleidoscopeClient  # type: ignore[import-not-found]

ROOT, IDS, CREDENTIALS = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
OPERATION, CONTENT = IDS["operation_id"], "name,smiles\r\nA,C\r\n"
RECORDS = [
    {"record_id": "r1", "status": "matched", "data": {"id": "1"}},
    {"record_id": "r2", "status": "error", "error_message": "no such compound"},
]


def put_in(name):
    """Upload and register a file through the control API."""
    body = {"file_name": name, "content": CONTENT, "record_ids": ["r1", "r2"]}
    report = requests.post(f"{ROOT}/control/kaleidoscope/registrations", json=body, timeout=5)
    return report.json()["file_id"]


def failure(call):
    """The exception of a call that must fail, or what this version returns instead."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - which one differs by version, and is what we want to know
        return {"type": type(error).__name__, "status": getattr(error, "status_code", None)}


def download(client, file_id, name, folder):
    """Download by both paths, and of an unknown file."""
    paths = [
        client.files.download_file(file_id, name, folder),
        client.files.download_file(file_id, name, folder, activity_id=OPERATION),
    ]
    missing = failure(lambda: client.files.download_file("other", "other", folder))
    return {"content": [Path(path).read_bytes().decode() for path in paths], "missing": missing}


def answer(client, file_id):
    """The registrar's results in the format of this version, sent twice."""
    words = {"key_field_names": ["id"], "records": RECORDS}
    words["message" if hasattr(client.registration, "push_status") else "error_message"] = "one is missing"
    taken = client.registration.submit_results(OPERATION, file_id, "success", **words)
    again = failure(lambda: client.registration.submit_results(OPERATION, file_id, "error"))
    return {"taken": taken, "again": again}


def files(client):
    """What all versions since 0.2.4 support: download a file and send results."""
    report = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("a.csv", "a.sdf", "a.xlsx"):
            file_id = put_in(name)
            report[name] = download(client, file_id, name, folder)
            report[name]["answer"] = answer(client, file_id)
        names = {"filename": "all.csv", "entity_slice_id": IDS["entity_slices"]["Element"], "download_path": folder}
        client.imports.push_data(key_field_names=["symbol"], data=[{"symbol": "H", "name": "Hydrogen"}])
        path = client.exports.pull_data(**names, search_text="h")
        report["export"] = Path(path).read_bytes().decode()
    return report


def both_sides(client):
    """Since 0.4.0: upload, register, update the status, send results, list."""
    (definition,) = client.activities.get_definitions()
    (prop,) = client.activities.get_activity_by_id(OPERATION).properties
    upload = prop.update_property_file("b.csv", io.BytesIO(CONTENT.encode()), "text/csv")
    file_id = upload["content"]["file_id"]
    made = client.registration.register_file(OPERATION, file_id)
    client.registration.push_status(OPERATION, file_id, "validated", "so far so good")
    (midway,) = (each for each in client.registration.get_registration_files(OPERATION) if each.id == made.id)
    client.registration.submit_results(OPERATION, file_id, "error", records=RECORDS)
    listed = failure(lambda: [each.model_dump() for each in client.registration.get_registration_files(OPERATION)])
    return {
        "definition": definition.id,
        "made": [made.status, made.file_id == file_id],
        "midway": [midway.status, midway.message],
        "end": listed if isinstance(listed, dict) else next(each for each in listed if each["id"] == made.id),
        "unknown": failure(lambda: client.registration.register_file(OPERATION, "other")),
    }


def drafts(client):
    """Since 0.7.0: stage, validate, submit, send results, replace, clear."""
    registration = client.registration
    rows = [{"name": "A", "smiles": "C"}, {"name": "B", "smiles": "CC"}, {"name": "X", "molecular_weight": "heavy"}]
    staged = client.imports.get_import(registration.stage_drafts(OPERATION, ["name"], rows)).model_dump()
    run = registration.validate_drafts(OPERATION)
    first, second = run.submitted_record_ids
    report = {"staged": staged["import_result"], "run": [run.status, run.submission_type, run.file_ids]}
    verdicts = [{"record_id": first, "status": "ok"}, {"record_id": second, "status": "x", "error_message": "no"}]
    registration.push_submission_status(OPERATION, run.id, "pending", "looking")
    registration.submit_submission_results(OPERATION, run.id, "error", "see there", records=verdicts)
    report["verdicts"] = [[each.status, each.message] for each in registration.get_draft_statuses(OPERATION)]
    submission = registration.submit_drafts(OPERATION, [first])
    report["submitted"] = [submission.status, submission.submission_type, submission.submitted_record_ids == [first]]
    report["held"] = failure(lambda: registration.clear_drafts(OPERATION, [first]))
    result = [{"record_id": first, "status": "registered", "data": {"id": "CMP-1"}}]
    registration.submit_submission_results(OPERATION, submission.id, "success", key_field_names=["id"], records=result)
    report["listed"] = [
        [each.submission_type, each.status, each.message, [error.error_message for error in each.record_errors]]
        for each in registration.get_registration_submissions(OPERATION)
    ]
    client.clear_caches()
    report["left"] = client.activities.get_activity_by_id(OPERATION).data_table_draft_record_ids == [second]
    return {**report, **replaced(client, second)}


def replaced(client, old):
    """Replace and clear drafts."""
    registration = client.registration
    client.clear_caches()
    registration.stage_drafts(OPERATION, ["name"], [{"name": "C"}], replace_existing=True)
    client.clear_caches()
    (new,) = client.activities.get_activity_by_id(OPERATION).data_table_draft_record_ids
    record = client.records.get_record_by_id(new)
    cleared = registration.clear_drafts(OPERATION, [new])
    unknown = failure(lambda: registration.stage_drafts(OPERATION, ["name"], [{"name": "A", "colour": "red"}]))
    return {
        "replaced": new != old,
        "read": record.record_identifier,
        "cleared": cleared,
        "column": unknown,
        "none": failure(lambda: registration.submit_drafts(OPERATION)),
    }


def main():
    """All that this version supports."""
    client = KaleidoscopeClient(**CREDENTIALS, url=f"{ROOT}/kaleidoscope")
    requests.post(f"{ROOT}/control/settings", json={"job_seconds": 0}, timeout=5).raise_for_status()
    report = {"files": files(client)}
    if hasattr(client.registration, "register_file"):
        report["both"] = both_sides(client)
    if hasattr(client.registration, "stage_drafts"):
        report["drafts"] = drafts(client)
    sys.stdout.write("report:" + json.dumps(report, default=str))


main()
