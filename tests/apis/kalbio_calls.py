"""Run in a process of its own, with kalbio on the path: the calls whose requests ours must equal, in this order.

Not a test: `test_kaleidoscope_conformance.py` starts it. Nothing of ours is imported here.
"""

from __future__ import annotations

import json
import sys
import tempfile
import typing

import requests
import typing_extensions

if sys.version_info < (3, 12):
    # pydantic asks for the other TypedDict there.
    typing.TypedDict = typing_extensions.TypedDict

from kalbio.client import KaleidoscopeClient  # type: ignore[import-not-found]

ROOT, IDS, CREDENTIALS = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
OPERATION, FILE = IDS["operation_id"], IDS["file_id"]
RECORDS = [{"record_id": "r1", "status": "matched", "data": {"id": "1"}}]


def files(client):
    """Register, push a status, submit results, download."""
    registration = client.registration
    registration.register_file(OPERATION, FILE)
    registration.get_registration_files(OPERATION)
    registration.push_status(OPERATION, FILE, "validated", "so far")
    registration.submit_results(OPERATION, FILE, "success", message="all", key_field_names=["id"], records=RECORDS)
    with tempfile.TemporaryDirectory() as folder:
        client.files.download_file(FILE, "a.csv", folder)
        client.files.download_file(FILE, "a.csv", folder, activity_id=OPERATION)
        names = {"filename": "all.csv", "entity_slice_id": IDS["entity_slices"]["Element"]}
        client.exports.pull_data(**names, download_path=folder, operation_id=OPERATION, search_text="h & more")


def drafts(client):
    """Stage, validate, submit, report."""
    registration = client.registration
    rows = [{"name": "A", "smiles": "C", "molecular_weight": 16.0}]
    registration.stage_drafts(OPERATION, ["name"], rows)
    run = registration.validate_drafts(OPERATION)
    registration.push_submission_status(OPERATION, run.id, "pending")
    registration.submit_submission_results(OPERATION, run.id, "success")
    made = registration.submit_drafts(OPERATION, run.submitted_record_ids)
    registration.get_draft_statuses(OPERATION)
    registration.get_registration_submissions(OPERATION)
    registration.submit_submission_results(OPERATION, made.id, "error", message="no")
    registration.clear_drafts(OPERATION, run.submitted_record_ids)


def main():
    """Jobs are over at once."""
    requests.post(f"{ROOT}/control/settings", json={"job_seconds": 0}, timeout=5).raise_for_status()
    client = KaleidoscopeClient(**CREDENTIALS, url=f"{ROOT}/kaleidoscope")
    files(client)
    drafts(client)


main()
