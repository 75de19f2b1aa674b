"""Our requests around registration are those of the vendor's own client, recorded side by side."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sluice_provider.apis.kaleidoscope import drafts, files
from sluice_provider.apis.kaleidoscope import registration as reg
from sluice_provider.sources.output_files import AtomicFile

pytestmark = pytest.mark.vendor

CALLS = Path(__file__).with_name("kalbio_calls.py")
FOLDER = Path(os.environ.get("SLUICE_VENDOR_DIR", Path(sys.prefix) / "vendor")) / "kalbio-0.7.0"
RECORDS = [{"record_id": "r1", "status": "matched", "data": {"id": "1"}}]


def ours(run, ids, folder):
    """The same as in `kalbio_calls.py`, by our flows."""
    op, file_id = ids["operation_id"], ids["file_id"]
    run(reg.register_file(op, file_id))
    run(reg.get_registration_files(op))
    run(reg.push_status(op, file_id, "validated", "so far"))
    run(reg.submit_results(op, file_id, "success", "all", ["id"], RECORDS))
    run(files.download_file(file_id, AtomicFile(str(folder), "a.csv")))
    run(files.download_file(file_id, AtomicFile(str(folder), "a.csv"), op))
    elements = ids["entity_slices"]["Element"]
    atomic_file = AtomicFile(str(folder), "all.csv")
    run(files.export_records("all.csv", elements, atomic_file, operation_id=op, search_text="h & more"))

    staging = run(drafts.get_staging(op))
    import_id = run(drafts.create_draft_import(op, [{"name": "A", "smiles": "C", "molecular_weight": 16.0}]))
    run(drafts.run_draft_import(import_id, ["name"], ["molecular_weight", "smiles"], staging))
    dry = run(reg.validate_drafts(op))
    run(reg.push_submission_status(op, dry["id"], "pending"))
    run(reg.submit_submission_results(op, dry["id"], "success"))
    made = run(reg.submit_drafts(op, dry["submitted_record_ids"]))
    run(reg.get_draft_statuses(op))
    run(reg.get_registration_submissions(op))
    run(reg.submit_submission_results(op, made["id"], "error", "no"))
    run(drafts.clear_drafts(op, dry["submitted_record_ids"]))


def theirs(sandbox, state):
    """With the requests of the vendor's client."""
    arguments = (
        sandbox.url,
        json.dumps(state["kaleidoscope"]["ids"]),
        json.dumps(state["credentials"]["kaleidoscope"]),
    )
    environment = {**os.environ, "PYTHONPATH": str(FOLDER), "NO_PROXY": "*"}
    command = [sys.executable, CALLS, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def recorded(sandbox):
    """Method, path, query and body of each request; generated ids are replaced by their order."""
    known, recorded = {}, []
    requests = [
        each for each in sandbox.requests(clear=True) if "oauth" not in each["path"] and "/control/" not in each["path"]
    ]
    stable = json.dumps(sandbox.state()["kaleidoscope"]["ids"])
    for each in requests:
        text = json.dumps([each["method"], each["path"], each["query"], each["json"]], sort_keys=True)
        for found in _uuids(text):
            if found not in stable:
                text = text.replace(found, known.setdefault(found, f"id-{len(known)}"))
        recorded.append(json.loads(text))
    return recorded


def _uuids(text):
    return re.findall(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", text)


def test_requests_equal_those_of_the_vendors_client(worker, sluice_sandbox, tmp_path):
    """Call by call, but for what is ours on purpose: an error is said under both of its names, and the reads before
    staging, which the vendor takes more of."""
    if not FOLDER.is_dir():
        pytest.skip(f"kalbio 0.7.0 is not in {FOLDER}; make install puts it there")
    state = sluice_sandbox.state()
    sluice_sandbox.requests(clear=True)
    theirs(sluice_sandbox, state)
    wanted = recorded(sluice_sandbox)
    sluice_sandbox.reset()
    sluice_sandbox.settings(job_seconds=0)
    ours(worker, state["kaleidoscope"]["ids"], tmp_path)
    found = recorded(sluice_sandbox)
    (error,) = [each[3] for each in found if isinstance(each[3], dict) and "error_message" in each[3]]
    assert error.pop("error_message") == error["message"]
    reads = ("/activities", "/record_views", "/data_fields")
    assert [each for each in found if not each[1].endswith(reads)] == [
        each for each in wanted if not each[1].endswith(reads)
    ]
    assert {each[1] for each in found} == {each[1] for each in wanted}
    assert len(found) > 15
