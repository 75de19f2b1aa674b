"""Dry runs of every operator that submits a job: everything is checked, and the service is the same afterwards."""

from __future__ import annotations

import pytest

from sluice_provider.operators import finspace, kaleidoscope, kili, liquid_decisions
from sluice_provider.runtime.operator import RemoteJobOperator
from sluice_sandbox.finspace.store import ENVIRONMENT
from sluice_sandbox.kaleidoscope.fields import stable_id
from sluice_sandbox.kaleidoscope.workspace import FIRST_FILE
from sluice_sandbox.kili.store import INTEGRATION, PROJECT
from tests.operators.airflow_harness import ELEMENTS

pytestmark = pytest.mark.airflow

OPERATION = stable_id("operation")
COMPOUNDS = [{"name": "Aspirin", "smiles": "CC(=O)O"}]
RESULTS = [{"record_id": "r1", "status": "matched"}]

TASKS = {
    "push": (
        kaleidoscope.KaleidoscopePushOperator,
        {"records": ELEMENTS, "key_field_names": ["symbol"], "batch_size": 2},
        {"records": 3, "requests": 2},
        'Would push the given list in 2 requests; the first of 3 records|  {"symbol": "He", "name": "Helium"',
    ),
    "drafts": (
        kaleidoscope.KaleidoscopeStageDraftsOperator,
        {"records": COMPOUNDS, "key_field_names": ["name"], "operation_id": OPERATION, "replace_existing": True},
        {"operation_id": OPERATION, "records": 1, "requests": 1, "replaced": 2},
        "archive 2 of its 2 drafts",
    ),
    "submission": (
        kaleidoscope.KaleidoscopeSubmitDraftsOperator,
        {"operation_id": OPERATION},
        {"operation_id": OPERATION, "validate_only": False, "drafts": 2},
        "Would submit 2 of 2 drafts",
    ),
    "registration": (
        kaleidoscope.KaleidoscopeRegisterFileOperator,
        {"operation_id": OPERATION, "file_id": FIRST_FILE},
        {"operation_id": OPERATION, "file_id": FIRST_FILE, "reused": True},
        "Nothing is submitted: file",
    ),
    "status": (
        kaleidoscope.KaleidoscopePushRegistrationStatusOperator,
        {"operation_id": OPERATION, "file_id": FIRST_FILE, "status": "validated"},
        {
            "operation_id": OPERATION,
            "file_id": FIRST_FILE,
            "submission_id": None,
            "reported": "validated",
            "current_status": "pending",
        },
        "from pending to validated",
    ),
    "results": (
        kaleidoscope.KaleidoscopeSubmitRegistrationResultsOperator,
        {"operation_id": OPERATION, "file_id": FIRST_FILE, "status": "success", "records": RESULTS},
        {
            "operation_id": OPERATION,
            "file_id": FIRST_FILE,
            "submission_id": None,
            "reported": "success",
            "records": 1,
        },
        'Would report success for registration|  {"record_id": "r1"',
    ),
    "connection": (
        kili.KiliAddCloudStorageConnectionOperator,
        {"project_id": PROJECT, "cloud_storage_integration_id": INTEGRATION, "prefix": "somewhere/"},
        {"project_id": PROJECT, "integration_id": INTEGRATION, "reused": False},
        "Would add a connection of integration",
    ),
    "import of a file": (
        liquid_decisions.LiquidDecisionsImportOperator,
        {"file": __file__, "content_type": "csv", "item_type": "Contact", "job_name": "J"},
        None,
        "Would import file: ",
    ),
    "import of records": (
        liquid_decisions.LiquidDecisionsImportOperator,
        {"records": ELEMENTS, "item_type": "Contact", "job_name": "J"},
        {"item_type": "Contact", "records": 3, "bytes": 64},
        "Would import the records of the given list as Contact|Helium",
    ),
    "export": (
        liquid_decisions.LiquidDecisionsExportOperator,
        {"item_type": "Account", "job_name": "J"},
        {"item_type": "Account"},
        "Would export with ",
    ),
    "changeset": (
        finspace.FinSpaceCreateChangesetOperator,
        {
            "environment_id": ENVIRONMENT,
            "database_name": "markets",
            "change_requests": [finspace.put("s3://bucket/db/sym", "/")],
        },
        None,
        "Changeset 1 of ",
    ),
}


@pytest.fixture
def prepared(workspace):
    """Something that could be changed."""
    workspace.stage_drafts()
    workspace.register_file()
    return workspace


def states(sandbox):
    """What the services hold, without what reading changes."""
    state = sandbox.state()
    return {name: repr(state[name]) for name in ("kaleidoscope", "kili", "liquid_decisions", "finspace")}


@pytest.mark.parametrize("name", TASKS)
def test_a_dry_run_changes_nothing(airflow, prepared, sluice_sandbox, name):
    """It says what would be done, in the log with the first rows, in the result with numbers; both as an argument and
    as the method."""
    operator, args, plan, words = TASKS[name]
    before = states(sluice_sandbox)
    task = airflow.task(operator, dry_run=True, **args).run()
    assert task.state == "success", task.error
    assert states(sluice_sandbox) == before
    assert task.result["state"] == "planned"
    if plan is not None:
        assert {key: value for key, value in task.result.items() if key not in ("service", "state")} == plan
    for part in words.split("|"):
        assert task.logged("INFO", part), task.log
    assert task.logged("INFO", "Dry run: everything is valid, and nothing was submitted to")
    assert task.head == {}, "it leaves a record behind"
    operator(task_id="method", **args).dry_run()
    assert states(sluice_sandbox) == before


@pytest.mark.parametrize(
    ("operator", "args", "words"),
    [
        (
            kaleidoscope.KaleidoscopePushOperator,
            {"records": [{}], "key_field_names": ["symbol"]},
            "record 1 has no value",
        ),
        (kaleidoscope.KaleidoscopeSubmitDraftsOperator, {"operation_id": OPERATION}, "has no drafts to submit"),
        (liquid_decisions.LiquidDecisionsCancelJobOperator, {"job_id": "nobody"}, "There is no such job"),
    ],
)
def test_what_would_fail_fails(airflow, service, operator, args, words):
    """In the same words."""
    task = airflow.task(operator, dry_run=True, **args).run()
    assert task.state == "failed"
    assert words in str(task.error)


def test_cancelling(airflow, sluice_sandbox):
    """A job that runs goes on."""
    args = {"item_type": "Account", "job_name": "J", "wait_for_completion": False}
    job_id = airflow.task(liquid_decisions.LiquidDecisionsExportOperator, **args).run().result["job_id"]
    task = airflow.task(liquid_decisions.LiquidDecisionsCancelJobOperator, job_id=job_id, dry_run=True).run()
    assert task.state == "success", task.error
    assert task.logged("INFO", f"Would cancel job {job_id}")
    assert all("batch/cancel" not in each["path"] for each in sluice_sandbox.requests())


def test_every_operator_has_a_dry_run():
    """Whoever adds one is reminded. Kili's synchronisation computes the differences in the service."""
    modules = (finspace, kaleidoscope, kili, liquid_decisions)
    found = {each for module in modules for each in vars(module).values() if isinstance(each, type)}
    operators = {each for each in found if issubclass(each, RemoteJobOperator) and each.__name__.endswith("Operator")}
    tested = {operator for operator, *_ in TASKS.values()}
    untested = {"RemoteJobOperator", "KiliSyncCloudStorageOperator", "LiquidDecisionsCancelJobOperator"}
    assert {each.__name__ for each in operators - tested} <= untested
